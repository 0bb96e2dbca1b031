//! Parameter counts, keys and multiply-accumulates against the figures published for each network.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use mnx_model::{Config, Flavour, build, map_keys, signature, summary, to_monai, to_official};
use mnx_weights::{Checkpoint, Role, Signature, Tensor};

fn config(toml: &str) -> Config {
    Config::from_toml(toml, "test.toml").unwrap()
}

fn sized(variant: &str, k: usize, [channels, classes]: [usize; 2], supervised: bool, more: &str) -> Config {
    config(&format!(
        "variant = \"{variant}\"\nkernel_size = {k}\nin_channels = {channels}\nn_classes = {classes}\ndeep_supervision = {supervised}\n{more}"
    ))
}

/// Official code, in the columns: (1, 3) off, on; (1, 14) off, on; (4, 4) on; each (input channels, classes), deep supervision.
const OFFICIAL: [(&str, usize, [u64; 5]); 8] = [
    ("S", 3, [5_550_948, 5_553_840, 5_551_311, 5_564_807, 5_554_933]),
    ("S", 5, [5_980_580, 5_983_472, 5_980_943, 5_994_439, 5_984_565]),
    ("B", 3, [10_526_340, 10_529_232, 10_526_703, 10_540_199, 10_530_325]),
    ("B", 5, [10_955_972, 10_958_864, 10_956_335, 10_969_831, 10_959_957]),
    ("M", 3, [17_548_996, 17_551_888, 17_549_359, 17_562_855, 17_552_981]),
    ("M", 5, [18_260_868, 18_263_760, 18_261_231, 18_274_727, 18_264_853]),
    ("L", 3, [61_779_300, 61_782_192, 61_779_663, 61_793_159, 61_783_285]),
    ("L", 5, [62_992_932, 62_995_824, 62_993_295, 63_006_791, 62_996_917]),
];

#[test]
fn official_parameter_counts() {
    for (variant, k, counts) in OFFICIAL {
        let columns = [(1, 3, false), (1, 3, true), (1, 14, false), (1, 14, true), (4, 4, true)];
        for ((channels, classes, supervised), want) in columns.into_iter().zip(counts) {
            let cfg = sized(variant, k, [channels, classes], supervised, "");
            assert_eq!(signature(&cfg).parameters(), want, "{} {channels} {classes} {supervised}", cfg.name);
        }
    }
}

#[test]
fn monai_parameter_counts() {
    for (variant, k, off, on) in [
        ("S", 3, 5_550_947, 5_553_839),
        ("S", 5, 5_980_579, 5_983_471),
        ("B", 3, 10_510_883, 10_513_775),
        ("B", 5, 10_940_515, 10_943_407),
        ("M", 3, 17_533_539, 17_536_431),
        ("M", 5, 18_245_411, 18_248_303),
        ("L", 3, 61_726_787, 61_729_679),
        ("L", 5, 62_940_419, 62_943_311),
    ] {
        for (supervised, want) in [(false, off), (true, on)] {
            let cfg = sized(variant, k, [1, 3], supervised, "flavour = \"monai\"\n");
            assert_eq!(signature(&cfg).parameters(), want, "{} {supervised}", cfg.name);
        }
    }
}

#[test]
fn v2_parameter_counts() {
    for (n, want) in [(32, 61_969_507), (64, 246_536_387)] {
        let cfg = config(&format!("flavour = \"v2\"\nin_channels = 1\nn_classes = 3\nn_channels = {n}"));
        assert_eq!(signature(&cfg).parameters(), want);
    }
    // The v1 code with the flag on: no GRN in down_0, but the dummy.
    let cfg = sized("L", 3, [1, 3], false, "grn = true");
    assert_eq!(signature(&cfg).parameters(), 61_969_252);
    assert!(signature(&cfg).get("down_0.grn_beta").is_none());
    assert!(signature(&cfg).get("down_1.grn_beta").is_some());
}

#[test]
fn keys_of_official_s_k3() {
    let table = include_str!("../../../tests/vectors/mednext_s_k3_keys.tsv");
    let classes = 7;
    let want: Vec<(String, Vec<usize>)> = table
        .lines()
        .map(|line| {
            let (key, shape) = line.split_once('\t').unwrap();
            let extent = |n: &str| {
                if n == "N" { classes } else { n.parse().unwrap() }
            };
            (key.to_string(), shape.split('x').map(extent).collect())
        })
        .collect();
    assert_eq!(want.len(), 237);
    let cfg = sized("S", 3, [1, classes], true, "");
    let got: Vec<_> = signature(&cfg).tensors.into_iter().map(|t| (t.key, t.shape)).collect();
    assert_eq!(got, want);
}

#[test]
fn key_counts() {
    for (variant, on, off) in [("S", 237, 229), ("B", 237, 229), ("M", 365, 357), ("L", 525, 517)] {
        assert_eq!(signature(&sized(variant, 3, [1, 2], true, "")).tensors.len(), on);
        assert_eq!(signature(&sized(variant, 3, [1, 2], false, "")).tensors.len(), off);
    }
}

#[test]
fn grn_keys_stand_before_conv1_beta_first() {
    let cfg = sized("S", 3, [1, 2], false, "grn = true");
    let keys: Vec<String> = signature(&cfg).tensors.into_iter().map(|t| t.key).collect();
    let at = |key: &str| keys.iter().position(|k| k == key).unwrap();
    for block in ["enc_block_0.0", "down_3", "bottleneck.1", "up_0", "dec_block_2.1"] {
        let beta = at(&format!("{block}.grn_beta"));
        assert_eq!(at(&format!("{block}.grn_gamma")), beta + 1);
        assert_eq!(at(&format!("{block}.conv1.weight")), beta + 2);
    }
}

#[test]
fn roles_and_fan_in_follow_shapes() {
    let cfg = sized("B", 5, [2, 3], true, "grn = true");
    for t in signature(&cfg).tensors {
        let fan: usize = t.shape.iter().skip(1).product();
        match t.role {
            Role::SpatialKernel => {
                assert!(t.key.ends_with("conv1.weight"));
                assert_eq!((t.fan_in, t.shape[1]), (125, 1));
            }
            Role::Pointwise | Role::PointwiseTransposed => assert_eq!(t.fan_in, fan, "{}", t.key),
            Role::Bias => assert!(t.key.ends_with(".bias") && t.fan_in > 1, "{}", t.key),
            Role::NormScale => assert!(t.key.ends_with("norm.weight")),
            Role::NormShift => assert!(t.key.ends_with("norm.bias")),
            Role::Grn => assert!(t.key.contains("grn_")),
            Role::Dummy => assert_eq!(t.key, "dummy_tensor"),
        }
    }
    // A bias has its weight's fan-in; transposed pointwise counts outputs.
    let s = signature(&cfg);
    assert_eq!(s.get("up_0.res_conv.bias").unwrap().fan_in, 32);
    assert_eq!(s.get("out_0.conv_out.bias").unwrap().fan_in, 3);
    assert_eq!(s.get("stem.bias").unwrap().fan_in, 2);
}

fn shapes(s: &Signature) -> BTreeMap<String, Vec<usize>> {
    s.tensors.iter().map(|t| (t.key.clone(), t.shape.clone())).collect()
}

#[test]
fn monai_keys_map_both_ways() {
    let official = signature(&sized("S", 3, [1, 3], true, "grn = false"));
    let monai = signature(&sized("S", 3, [1, 3], true, "flavour = \"monai\""));
    let mapped: BTreeMap<_, _> = official.tensors.iter().filter_map(|t| Some((to_monai(&t.key)?, t.shape.clone()))).collect();
    assert_eq!(mapped, shapes(&monai));
    for t in &monai.tensors {
        let back = to_official(&t.key).unwrap();
        assert_eq!(to_monai(&back).as_deref(), Some(t.key.as_str()));
    }
    assert_eq!(to_monai("up_0.grn_beta").unwrap(), "up_blocks.3.global_resp_beta");
    assert_eq!(to_official("out_blocks.0.conv_out.weight").unwrap(), "out_4.conv_out.weight");
    assert_eq!(to_monai("dummy_tensor"), None);
    for foreign in ["encoder.0.weight", "enc_stages.7.0.conv1.weight", "up_blocks.x", "out_blocks.4.conv_out.bias", "stemming"] {
        assert_eq!(to_official(foreign), None, "{foreign}");
    }
    for foreign in ["down_4.conv1.weight", "enc_block_.0", "out_5.conv_out.bias", "up_03.conv1.bias"] {
        assert_eq!(to_monai(foreign), None, "{foreign}");
    }
}

#[test]
fn checkpoints_are_renamed_whole_or_not_at_all() {
    let official: Checkpoint =
        signature(&sized("S", 3, [1, 3], true, "")).tensors.iter().map(|t| (t.key.clone(), Tensor::zeros(t.shape.clone()))).collect();
    let monai = map_keys(&official, Flavour::Monai).unwrap();
    assert_eq!(monai.len(), official.len() - 1);
    let back = map_keys(&monai, Flavour::Official).unwrap();
    assert_eq!(back.names().collect::<Vec<_>>(), official.names().collect::<Vec<_>>());
    let mut odd = monai;
    odd.insert("encoder.weight", Tensor::zeros(vec![1]));
    let error = map_keys(&odd, Flavour::Official).unwrap_err().to_string();
    assert!(error.contains("encoder.weight"), "{error}");
}

#[test]
fn monai_differs_from_official_where_known() {
    // B/M/L: conv2 and conv3 of down blocks 0 and 1, whose ratio is that of the stage they leave.
    for (variant, first, second) in [("B", (96, 64), (256, 192)), ("L", (128, 96), (512, 256))] {
        let a = signature(&sized(variant, 3, [1, 3], false, ""));
        let b = signature(&sized(variant, 3, [1, 3], false, "flavour = \"monai\""));
        let differing: Vec<_> =
            b.tensors.iter().filter(|t| a.get(&to_official(&t.key).unwrap()).unwrap().shape != t.shape).map(|t| t.key.as_str()).collect();
        assert_eq!(differing.len(), 6, "{differing:?}");
        for (i, (official, monai)) in [first, second].into_iter().enumerate() {
            assert_eq!(a.get(&format!("down_{i}.conv2.bias")).unwrap().shape, [official]);
            assert_eq!(b.get(&format!("down_blocks.{i}.conv2.bias")).unwrap().shape, [monai]);
        }
    }
    let grn = signature(&sized("S", 3, [1, 3], false, "flavour = \"monai\"\ngrn = true"));
    assert!(grn.get("enc_stages.0.0.global_resp_beta").is_some());
    assert!(grn.get("up_blocks.0.global_resp_gamma").is_some());
    assert!(!grn.tensors.iter().any(|t| t.key.starts_with("down_blocks") && t.key.contains("global_resp")));
}

/// Convolution GMAC at 128^3, one input channel, 14 classes: depthwise, pointwise of blocks, total.
#[test]
fn multiply_accumulates_at_128() {
    for (variant, k, depthwise, pointwise, total) in [
        ("S", 3, 10.54, 114.49, 128.05),
        ("S", 5, 48.81, 114.49, 166.32),
        ("B", 3, 10.54, 153.91, 167.47),
        ("B", 5, 48.81, 153.91, 205.74),
        ("M", 3, 16.56, 224.78, 244.36),
        ("M", 5, 76.66, 224.78, 304.46),
        ("L", 3, 17.72, 474.61, 495.35),
        ("L", 5, 82.03, 474.61, 559.66),
    ] {
        let cfg = sized(variant, k, [1, 14], false, "");
        let graph = build(&cfg, 1, &[128; 3]).unwrap();
        let s = summary(&graph);
        let giga = |keep: &dyn Fn(&str) -> bool| s.layers.iter().filter(|l| keep(&l.name)).map(|l| l.macs).sum::<u64>() as f64 / 1e9;
        let near = |got: f64, want: f64| assert!((got - want).abs() < 0.0051, "{}: {got} is not {want}", cfg.name);
        near(giga(&|name| name.ends_with("conv1")), depthwise);
        near(giga(&|name| name.ends_with("conv2") || name.ends_with("conv3")), pointwise);
        near(giga(&|name| name.ends_with("res_conv")), 2.01);
        near(giga(&|name| name == "stem" || name == "out_0.conv_out"), 1.01);
        near(giga(&|_| true), total);
        assert_eq!(s.macs, s.layers.iter().map(|l| l.macs).sum::<u64>());
        // The graph reads everything but the dummy.
        assert_eq!(s.parameters + 1, signature(&cfg).parameters());
        assert_eq!(s.parameters, s.layers.iter().map(|l| l.parameters).sum::<u64>());
    }
}

#[test]
fn summary_prints_a_table() {
    let graph = build(&sized("S", 3, [1, 3], false, ""), 1, &[32; 3]).unwrap();
    let text = summary(&graph).to_string();
    let rows: Vec<&str> = text.lines().collect();
    assert!(rows[0].starts_with("layer"));
    assert!(rows[1].starts_with("stem") && rows[1].contains("1x32x32x32x32"), "{}", rows[1]);
    assert!(rows.last().unwrap().starts_with("total") && rows.last().unwrap().contains("5,550,947"));
}
