//! Whole compilations: the bundle's contents, its determinism, and the stages behind the plan.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used)]

mod scratch;
use mnx_artifact::{Bundle, Command, Space};
use mnx_weights::{Checkpoint, Recipe};
use scratch::{FLAT, Scratch, TINY};

fn tiny() -> Scratch {
    let s = Scratch::new();
    s.file("tiny.toml", TINY);
    s.file("flat.toml", FLAT);
    s
}

fn checkpoint(s: &Scratch, config: &str) -> Checkpoint {
    let config = mnx_model::Config::load(s.path(config)).unwrap();
    let mut made = Checkpoint::new();
    for t in mnx_model::signature(&config).tensors {
        made.insert(t.key.clone(), mnx_weights::golden_weight("bundle", &t.key, &t.shape));
    }
    made
}

#[test]
fn a_bundle_says_what_the_config_said_and_is_the_same_every_time() {
    let s = tiny();
    let weights = checkpoint(&s, "tiny.toml");
    weights.save(s.path("w.safetensors")).unwrap();
    let said = s.good("compile tiny.toml --weights w.safetensors --patch 32,16,16 --batch 2 -o a.mnxa --dump-dir d --time-passes");
    for text in ["kernels for x86-64-v4", "kernels for x86-64-v3", "a.mnxa: tiny at patch 32x16x16, batch 2", "optimise (cpu)", "dce"] {
        assert!(said.err.contains(text), "no `{text}` in\n{}", said.err);
    }
    assert_eq!(said.out, "");
    let bundle = Bundle::open(s.path("a.mnxa")).unwrap();
    let m = bundle.manifest();
    assert_eq!((m.batch, m.patch.as_slice(), m.precision.as_str()), (2, &[32, 16, 16][..], "f32"));
    assert_eq!((m.model.name.as_str(), m.model.in_channels, m.model.n_classes, m.model.output.as_str()), ("tiny", 2, 3, "logits"));
    let config = mnx_model::Config::load(s.path("tiny.toml")).unwrap();
    assert_eq!(m.model.parameters, mnx_model::signature(&config).parameters());
    let model = mnx_model::build(&config, 2, &[32, 16, 16]).unwrap();
    assert_eq!(m.model.macs, mnx_model::summary(&model).macs, "work of the network, however often boxes recompute");
    assert_eq!(m.inputs[0].shape, [2, 2, 32, 16, 16]);
    assert_eq!(m.outputs.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["out_0", "out_1", "out_2", "out_3", "out_4"]);
    assert_eq!(m.labels.iter().map(|l| (l.name.as_str(), l.value)).collect::<Vec<_>>(), [("background", 0), ("grey", 1), ("white", 2)]);
    let p = m.preprocess.as_ref().unwrap();
    assert_eq!((p.spacing.as_deref(), p.orientation.as_deref(), p.normalization.len()), (Some(&[2.0, 1.0, 1.0][..]), Some("RAS"), 2));
    assert_eq!(m.programs.iter().map(|p| p.target.as_str()).collect::<Vec<_>>(), ["x86-64-v4", "x86-64-v3"]);

    // Every weight holds what its recipe says, and every launch's weights are entries.
    let section = bundle.read_weights(0).unwrap();
    for w in &m.weights {
        let recipe: Recipe = serde_json::from_value(w.recipe.clone()).unwrap();
        let want = recipe.eval(&weights).unwrap();
        let got: Vec<f32> = section[w.offset as usize..(w.offset + w.bytes) as usize]
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        assert_eq!(got, want.data, "{}", w.name);
    }
    for program in &m.programs {
        for command in &program.commands {
            let Command::Launch { args, .. } = command else { continue };
            for a in args.iter().filter(|a| a.space == Space::Weights) {
                assert!(m.weights.iter().any(|w| (w.offset, w.bytes) == (a.offset, a.bytes)));
            }
        }
    }
    let vectors = m.vectors.as_ref().unwrap();
    assert_eq!(vectors.outputs.iter().map(Vec::len).collect::<Vec<_>>(), [1024, 1024, 768, 96, 12]);
    assert!(vectors.maxima.iter().all(|x| *x > 0.0));

    // The dump holds every stage.
    let names = scratch::names(&s.path("d"));
    for end in
        ["model.mnx", "form-dispatches.mnx", "v4.plan", "v3.plan", "v4.mlir", "v4.ll", "v4.s", "v4.so", "v3.mlir", "v3.ll", "v3.s", "v3.so"]
    {
        assert_eq!(names.iter().filter(|n| n.ends_with(end)).count(), 1, "{end} in {names:?}");
    }
    let object = names.iter().find(|n| n.ends_with("v4.so")).unwrap();
    assert_eq!(s.bytes(&format!("d/{object}")), bundle.code(0));

    // The same again, and from every stage on the way.
    s.good("-q compile tiny.toml --weights w.safetensors --patch 32,16,16 --batch 2 -o b.mnxa");
    assert!(s.bytes("a.mnxa") == s.bytes("b.mnxa"), "two runs differ");
    for stage in ["graph", "dispatch"] {
        s.good(&format!("compile tiny.toml --patch 32,16,16 --batch 2 --to {stage} -o s.mnx"));
        let said = s.good("-q compile s.mnx --weights w.safetensors -o c.mnxa");
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
        assert!(s.bytes("a.mnxa") == s.bytes("c.mnxa"), "by way of {stage}");
    }
}

#[test]
fn weights_that_do_not_fit_are_all_listed_and_nothing_is_written() {
    let s = tiny();
    let mut weights = checkpoint(&s, "tiny.toml");
    weights.remove("stem.bias");
    weights.remove("dummy_tensor");
    weights.insert("up_2.conv1.weight", mnx_weights::Tensor::zeros(vec![32, 1, 5, 5, 5]));
    weights.insert("momentum", mnx_weights::Tensor::zeros(vec![7]));
    weights.save(s.path("bad.safetensors")).unwrap();
    let line = "compile tiny.toml --patch 32,16,16 --target x86-64-v3 -o x.mnxa --weights";
    let texts = [
        "2 tensors do not fit",
        "\"stem.bias\" is missing, the network needs [4]",
        "\"up_2.conv1.weight\" has shape [32, 1, 5, 5, 5], the network needs [32, 1, 3, 3, 3]",
        "\"momentum\" [7]",
    ];
    s.bad(&format!("{line} bad.safetensors"), 1, &texts);
    s.bad(&format!("{line} none.safetensors"), 1, &["none.safetensors", "no such file"]);
    s.bad(&format!("{line} tiny.toml"), 1, &["tiny.toml"]);
    s.file("monai.toml", "flavour = \"monai\"\nin_channels = 2\nn_channels = 4\nn_classes = 3\n");
    checkpoint(&s, "monai.toml").save(s.path("monai.safetensors")).unwrap();
    s.bad(&format!("{line} monai.safetensors"), 1, &["the file has MONAI's key names"]);
    let mut nan = checkpoint(&s, "tiny.toml");
    let mut w = nan.get("stem.weight").unwrap().clone();
    w.data[3] = f32::NAN;
    nan.insert("stem.weight", w);
    nan.save(s.path("nan.safetensors")).unwrap();
    s.bad(&format!("{line} nan.safetensors"), 1, &["stem.weight", "1 of 8 values are NaN or infinite"]);
}

#[test]
fn surplus_tensors_are_a_warning_and_dropped_heads_need_no_weights() {
    let s = tiny();
    let mut weights = checkpoint(&s, "tiny.toml");
    for i in 1..5 {
        weights.remove(&format!("out_{i}.conv_out.weight"));
        weights.remove(&format!("out_{i}.conv_out.bias"));
    }
    weights.insert("momentum", mnx_weights::Tensor::zeros(vec![7]));
    weights.save(s.path("w.safetensors")).unwrap();
    let line = "compile tiny.toml --patch 32,16,16 --target x86-64-v3 -o x.mnxa --weights w.safetensors";
    s.bad(line, 1, &["8 tensors do not fit"]);
    let said = s.good(&format!("{line} --heads main --output argmax"));
    assert!(
        said.err.contains("warning: w.safetensors: not used, because the network has no such tensors: \"momentum\" [7]"),
        "{}",
        said.err
    );
    let bundle = Bundle::open(s.path("x.mnxa")).unwrap();
    let m = bundle.manifest();
    assert_eq!((m.outputs.len(), m.outputs[0].dtype.as_str(), m.outputs[0].shape.as_slice()), (1, "i32", &[1, 32, 16, 16][..]));
    assert_eq!((m.model.output.as_str(), m.model.n_classes, m.programs.len()), ("argmax", 3, 1));
    assert!(m.vectors.as_ref().unwrap().outputs[0].iter().all(|(_, v)| [0.0, 1.0, 2.0].contains(v)));
}

#[test]
fn seeds_flat_networks_and_graphs_by_hand_compile() {
    let s = tiny();
    s.good("compile flat.toml --seed 3 --patch 32,48 --target x86-64-v3 --vectors none");
    let one = s.bytes("flat.mnxa");
    let m = Bundle::open(s.path("flat.mnxa")).unwrap().manifest().clone();
    assert_eq!((m.model.spatial_dims, m.patch.as_slice(), m.vectors.is_none()), (2, &[32, 48][..], true));
    assert!(m.notes.iter().any(|n| n.contains("seed 3")) && m.notes.iter().any(|n| n.contains("no test vectors")), "{:?}", m.notes);
    s.good("compile flat.toml --seed 4 --patch 32,48 --target x86-64-v3 --vectors none -o other.mnxa");
    assert!(one != s.bytes("other.mnxa"), "another seed, other weights");

    s.file(
        "hand.mnx",
        "graph @hand(%input: f32[1,2,5,6,7]) -> (out_0: f32[1,3,5,6,7]) stage=graph {\n  %0 = param \"w\" : f32[3,2,1,1,1]\n  \
         %1 = param \"b\" : f32[3]\n  %2 = conv.pointwise %input, %0, %1 {stride=1} : f32[1,3,5,6,7]\n  return %2\n}\n",
    );
    s.good("compile hand.mnx --seed 1 --target x86-64-v3");
    let m = Bundle::open(s.path("hand.mnxa")).unwrap().manifest().clone();
    assert_eq!((m.model.flavour.as_str(), m.model.macs, m.model.n_classes, m.patch.as_slice()), ("graph", 6 * 210, 3, &[5, 6, 7][..]));
    assert_eq!(m.vectors.unwrap().outputs[0].len(), 630);
}

#[test]
fn the_bundle_says_how_gelu_is_computed() {
    let s = tiny();
    s.good("compile flat.toml --seed 3 --patch 32,48 --target x86-64-v3 --vectors always -o accurate.mnxa");
    s.good("compile flat.toml --seed 3 --patch 32,48 --target x86-64-v3 --vectors always --gelu fast -o fast.mnxa");
    let open = |name: &str| Bundle::open(s.path(name)).unwrap();
    let (accurate, fast) = (open("accurate.mnxa"), open("fast.mnxa"));
    let (a, f) = (accurate.manifest(), fast.manifest());
    assert_eq!((a.gelu.as_str(), f.gelu.as_str()), ("accurate", "fast"));
    assert_ne!(a.source_digest, f.source_digest);
    // verify allows what the form may err by
    let tolerance = |m: &mnx_artifact::Manifest| m.vectors.as_ref().unwrap().tolerance;
    assert!(tolerance(a) < tolerance(f) && tolerance(f) < 1e-2);
    s.bad("compile flat.toml --seed 3 --patch 32,48 --gelu exact", 2, &["exact", "accurate"]);
    let said = s.good("compile flat.toml --patch 32,48 --target x86-64-v3 --gelu fast --to plan");
    assert!(said.out.contains("\"gelu\":\"fast\""), "{}", said.out);
}

#[test]
fn the_stages_behind_the_plan_are_texts_and_an_object() {
    let s = tiny();
    for (stage, text) in [("mlir", "func.func"), ("llvm", "define"), ("asm", ".globl")] {
        let said = s.good(&format!("-q compile flat.toml --patch 32,32 --target x86-64-v3 --to {stage}"));
        assert!(
            said.out.contains(text) && said.out.contains("----- depthwise_ring_0"),
            "{stage}: {}",
            &said.out[..said.out.len().min(300)]
        );
        assert!(stage != "asm" || !said.out.contains("zmm"), "AVX-512 registers in code for x86-64-v3");
    }
    s.bad("compile flat.toml --patch 32,32 --to binary", 2, &["--target"]);
    s.bad("compile flat.toml --patch 32,32 --to asm --target sm_80,sm_90a", 2, &["--to asm", "one target", "sm_80 or sm_90a"]);
    for stage in ["asm", "binary"] {
        s.bad(&format!("compile flat.toml --patch 32,32 --to {stage} --target sm_90a --cubin"), 2, &["--cubin", &format!("--to {stage}")]);
    }
    s.bad("compile flat.toml --patch 32,32 --seed 1 -o -", 2, &["goes to a file"]);
    s.good("-q compile flat.toml --patch 32,32 --target x86-64-v4 --to binary -o f.so");
    assert_eq!(&s.bytes("f.so")[..4], b"\x7fELF");
}
