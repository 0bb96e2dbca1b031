//! Graphs of every flavour: shapes, params, locations, refused patches.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use mnx_ir::{Graph, Op};
use mnx_model::{Config, build, signature};

fn config(toml: &str) -> Config {
    Config::from_toml(toml, "test.toml").unwrap()
}

const TINY: &str =
    "in_channels = 2\nn_channels = 4\nn_classes = 3\nkernel_size = 3\ndo_res = true\nblock_counts = [1, 2, 1, 1, 1, 1, 1, 0, 1]\n";

fn mnemonics(graph: &Graph) -> Vec<&'static str> {
    graph.order().iter().map(|id| graph.op(*id).info().mnemonic).collect()
}

#[test]
fn outputs_have_every_resolution() {
    let cfg = config(&format!("{TINY}deep_supervision = true"));
    let graph = build(&cfg, 2, &[32, 48, 16]).unwrap();
    assert_eq!(graph.inputs()[0].0, "input");
    assert_eq!(graph.ty(graph.inputs()[0].1).shape[..], [2, 2, 32, 48, 16]);
    for (i, (name, v)) in graph.outputs().iter().enumerate() {
        assert_eq!(*name, format!("out_{i}"));
        assert_eq!(graph.ty(*v).shape[..], [2, 3, 32 >> i, 48 >> i, 16 >> i]);
    }
    assert_eq!(graph.outputs().len(), 5);
}

#[test]
fn two_dimensions() {
    let cfg = config(&format!("{TINY}dim = \"2d\""));
    let graph = build(&cfg, 1, &[48, 32]).unwrap();
    assert_eq!(graph.ty(graph.outputs()[0].1).shape[..], [1, 3, 48, 32]);
    assert_eq!(graph.outputs().len(), 1);
}

#[test]
fn params_are_the_signature_without_the_dummy() {
    for more in ["", "grn = true", "flavour = \"monai\"\ngrn = true", "flavour = \"v2\"", "do_res_up_down = true\ndeep_supervision = true"]
    {
        let cfg = config(&format!("{TINY}{more}"));
        let graph = build(&cfg, 1, &[32; 3]).unwrap();
        let s = signature(&cfg);
        for (key, v) in graph.params() {
            assert_eq!(graph.ty(v).shape[..], s.get(key).unwrap().shape[..], "{key}");
        }
        let used: BTreeSet<&str> = graph.params().into_iter().map(|(key, _)| key).collect();
        let kept: BTreeSet<&str> = s.tensors.iter().map(|t| t.key.as_str()).filter(|k| *k != "dummy_tensor").collect();
        assert_eq!(used, kept, "{more}");
    }
}

#[test]
fn flags_shape_the_graph() {
    let count = |more: &str, mnemonic: &str| {
        let graph =
            build(&config(&format!("in_channels = 1\nn_channels = 2\nn_classes = 2\nkernel_size = 3\n{more}")), 1, &[32; 3]).unwrap();
        mnemonics(&graph).into_iter().filter(|m| *m == mnemonic).count()
    };
    // Official defaults: two blocks a stage, no residuals; the four skip sums stay.
    assert_eq!(count("", "conv.depthwise"), 18 + 4);
    assert_eq!(count("", "conv.depthwise_transposed"), 4);
    assert_eq!(count("", "add"), 4);
    assert_eq!(count("do_res = true", "add"), 4 + 18);
    assert_eq!(count("do_res_up_down = true", "add"), 4 + 8);
    assert_eq!(count("do_res_up_down = true", "pad.front"), 8);
    assert_eq!(count("", "grn"), 0);
    assert_eq!(count("grn = true", "grn"), 18 + 7);
    assert_eq!(count("grn = true\nflavour = \"monai\"", "grn"), 18 + 4);
    assert_eq!(count("flavour = \"v2\"\nvariant = \"S\"", "grn"), 18 + 8);
    assert_eq!(count("norm_type = \"layer\"", "norm.layer"), 26);
    assert_eq!(count("norm_type = \"layer\"", "norm.group"), 0);
}

#[test]
fn kernels_of_encoder_and_decoder() {
    let cfg = config("in_channels = 1\nn_channels = 2\nn_classes = 2\nenc_kernel_size = 3\ndec_kernel_size = 5");
    for t in signature(&cfg).tensors.iter().filter(|t| t.key.ends_with("conv1.weight")) {
        let encoder = t.key.starts_with("enc_") || t.key.starts_with("down_");
        assert_eq!(t.shape[4], if encoder { 3 } else { 5 }, "{}", t.key);
    }
}

#[test]
fn locations_are_layer_names() {
    let names = |more: &str| -> BTreeSet<String> {
        let graph = build(&config(&format!("{TINY}{more}")), 1, &[32; 3]).unwrap();
        graph.order().iter().map(|id| graph.node(*id).loc.to_string()).collect()
    };
    let official = names("");
    for name in ["stem", "enc_block_1.1.conv2", "enc_block_0.0.act", "down_3.norm", "up_2.pad", "up_2.skip", "out_0.conv_out"] {
        assert!(official.contains(name), "{name}");
    }
    let monai = names("flavour = \"monai\"");
    for name in ["enc_stages.1.1.conv2", "up_blocks.3.skip", "dec_stages.3.0.conv1"] {
        assert!(monai.contains(name), "{name}");
    }
}

#[test]
fn grn_reduce_and_eps_reach_the_ops() {
    let cfg = config(&format!("{TINY}grn = true\ngrn_reduce = \"sum\""));
    let graph = build(&cfg, 1, &[32; 3]).unwrap();
    let mut seen = 0;
    for &id in graph.order() {
        if let Op::Grn(a) = graph.op(id) {
            assert_eq!((a.reduce, a.eps), (mnx_ir::GrnReduce::Sum, 1e-6));
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn patches_that_do_not_fit_are_refused() {
    let cfg = config(TINY);
    let refused = |batch: usize, patch: &[usize]| -> String {
        let list = build(&cfg, batch, patch).unwrap_err();
        list.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(refused(1, &[32, 40, 32]).contains("extent 40 is not a positive multiple of 16; take 32 or 48"));
    assert!(refused(1, &[8, 32, 32]).contains("take 16"));
    assert!(refused(1, &[0, 32, 32]).contains("extent 0"));
    assert!(refused(1, &[32, 32]).contains("expected 3 for a 3-D network"));
    assert!(refused(0, &[32; 3]).contains("batch is 0"));
    assert!(refused(1, &[17, 33, 32]).matches("error[").count() == 2);
    assert!(refused(1, &[16; 3]).contains("one voxel"));
    assert!(refused(1 << 40, &[1 << 20; 3]).contains("memory"));
    assert!(refused(1, &[1 << 63, 16, 16]).contains("memory"));
    // Two samples, or a layer norm, make one voxel enough.
    build(&cfg, 2, &[16; 3]).unwrap();
    build(&config(&format!("{TINY}norm_type = \"layer\"")), 1, &[16; 3]).unwrap();
}

/// What was built is sound, and its text reads back to the same graph.
#[test]
fn built_graphs_verify_and_round_trip() {
    let many = [
        "name = \"a name, with (odd) signs; 7\"",
        "name = \"7 of 9\"\ngrn = true\ndeep_supervision = true",
        "flavour = \"monai\"\ngrn = true",
        "flavour = \"v2\"\ngrn_reduce = \"sum\"",
        "norm_type = \"layer\"\ndo_res_up_down = true",
        "dim = \"2d\"\ngrn = true\ndo_res_up_down = true",
    ];
    for more in many {
        let cfg = config(&format!("{TINY}{more}"));
        let graph = build(&cfg, 2, &[32, 16, 48][..cfg.dim.axes()]).unwrap();
        mnx_ir::verify::verify(&graph).unwrap();
        let text = graph.to_string();
        let back = mnx_ir::parse::parse(&text, "back.mnx").unwrap();
        assert_eq!(back.to_string(), text, "{more}");
        let locations = |g: &Graph| g.order().iter().map(|id| g.node(*id).loc.clone()).collect::<Vec<_>>();
        assert_eq!(locations(&back), locations(&graph));
    }
}

#[test]
fn the_sample_config_builds() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/brain_tissue/config.toml");
    let cfg = Config::load(path).unwrap();
    let labels: Vec<&str> = cfg.labels.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(labels, ["background", "csf", "grey_matter", "white_matter"]);
    assert_eq!(cfg.preprocess.as_ref().unwrap().normalization, [mnx_model::Normalization::ZScore]);
    let graph = build(&cfg, 1, &[64; 3]).unwrap();
    assert_eq!(graph.outputs().len(), 5);
}
