//! A folder that `mnxc import` made goes into every command that takes a config.
#![allow(clippy::unwrap_used)]

mod scratch;
use mnx_weights::Checkpoint;
use scratch::{Scratch, TINY};

/// The test formula's weights of a folder's network; `case` tells folds apart.
fn weights(config: &str, case: &str) -> Checkpoint {
    let config = mnx_model::Config::from_toml(config, "config.toml").unwrap();
    let mut made = Checkpoint::new();
    for t in mnx_model::signature(&config).tensors {
        made.insert(t.key.clone(), mnx_weights::golden_weight(case, &t.key, &t.shape));
    }
    made
}

/// A folder `net` of two folds, at a patch of its own, and its parts beside it.
fn folder() -> Scratch {
    let s = Scratch::new();
    let config = format!("name = \"net\"\npatch = [32, 16, 48]\n{TINY}");
    std::fs::create_dir(s.path("net")).unwrap();
    s.file("net/config.toml", &config);
    s.file("tiny.toml", &config);
    for fold in ["0", "3"] {
        weights(&config, fold).save(s.path(&format!("net/weights_fold_{fold}.safetensors"))).unwrap();
        weights(&config, fold).save(s.path(&format!("w{fold}.safetensors"))).unwrap();
    }
    s
}

#[test]
fn the_graph_of_a_folder_is_its_configs() {
    let s = folder();
    // The header names the file, so that it is set aside.
    let body = |text: String| text.split_once("graph @").unwrap().1.to_string();
    assert_eq!(body(s.good("model net").out), body(s.good("model tiny.toml").out));
    assert!(s.good("model net --summary").out.contains("input input: f32[1,2,32,16,48]"));
    assert_eq!(body(s.good("opt net --pipeline=dce").out), body(s.good("opt tiny.toml --pipeline=dce").out));
    assert_eq!(s.good("view net").out, s.good("view tiny.toml").out);
    assert_eq!(s.good("compile net --to dispatch").out.lines().last(), Some("}"));
    for command in ["model net", "view net", "opt net --pipeline=dce"] {
        assert_eq!(s.good(command).out, s.good(&command.replace("net", "net/config.toml")).out, "{command}");
    }
}

#[test]
fn a_fold_is_exported_and_the_first_by_default() {
    let s = folder();
    for (fold, file) in [("", "w0"), (" --fold 0", "w0"), (" --fold 3", "w3")] {
        s.good(&format!("export-onnx net{fold} -o a.onnx"));
        s.good(&format!("export-onnx tiny.toml --weights {file}.safetensors --heads main -o b.onnx"));
        assert!(s.bytes("a.onnx") == s.bytes("b.onnx"), "{fold}");
    }
    s.good("export-onnx net --weights w3.safetensors -o c.onnx");
    assert!(s.bytes("c.onnx") == s.bytes("a.onnx"));
    s.good("export-onnx net --heads all -o all.onnx");
    assert!(s.bytes("all.onnx").len() > s.bytes("a.onnx").len());
    s.bad("export-onnx net --fold 1 -o d.onnx", 1, &["error[mnxc-0003]: net: --fold 1: the folder has the folds 0, 3"]);
    s.bad("export-onnx tiny.toml --fold 1 -o d.onnx", 2, &["--fold 1: tiny.toml is a file"]);
    s.bad("export-onnx tiny.toml -o d.onnx", 2, &["an ONNX file holds weights: give --weights"]);
}

#[test]
fn bisect_and_upkern_take_a_fold() {
    let s = folder();
    assert!(s.good("bisect net --patch 32,16,16 --pipeline=infer --fold 3").out.contains("passes keep the results"));
    // Rounding shows with which weights the graph was run.
    let exact = |line: &str| {
        s.mnxc(&format!(
            "bisect {line} --patch 32,16,16 --pipeline=canonicalize,decompose-norm,decompose-transposed,fold-norm-affine --tol 0"
        ))
        .out
    };
    assert_eq!(exact("net --fold 3"), exact("tiny.toml --weights w3.safetensors"));
    assert_ne!(exact("net --fold 3"), exact("net"));

    s.file("k5.toml", &s.text("tiny.toml").replace("kernel_size = 3", "kernel_size = 5"));
    s.good("upkern --from net --fold 3 --to k5.toml -o a.safetensors");
    s.good("upkern --from tiny.toml --weights w3.safetensors --to k5.toml -o b.safetensors");
    assert_eq!(s.bytes("a.safetensors"), s.bytes("b.safetensors"));
    s.good("upkern --from net --to k5.toml -o c.safetensors");
    assert_ne!(s.bytes("c.safetensors"), s.bytes("b.safetensors"));
    s.bad("upkern --from tiny.toml --to k5.toml -o d.safetensors", 2, &["--from names a config", "--weights"]);
}

#[test]
fn a_folder_that_import_could_not_have_made_is_named() {
    let s = folder();
    std::fs::create_dir(s.path("other")).unwrap();
    let commands = [
        "model other",
        "view other",
        "opt other --pipeline=dce",
        "bisect other --pipeline=dce",
        "compile other --to plan",
        "export-onnx other -o x.onnx",
        "upkern --from other --to tiny.toml -o x.safetensors",
        "explain other",
    ];
    for command in commands {
        s.bad(command, 1, &["error[mnxc-0003]: other: is a folder without config.toml"]);
    }
    s.file("other/config.toml", TINY);
    s.bad("model other", 1, &["error[mnxc-0003]: other: holds neither weights.safetensors nor weights_fold_*.safetensors"]);
}

#[cfg(feature = "llvm")]
#[test]
fn a_folder_is_explained_as_its_bundle_is() {
    let s = folder();
    s.good("compile net -o net.mnxa");
    for isa in ["", " --isa x86-64-v3"] {
        let (folder, bundle) = (s.good(&format!("explain net{isa} --json -")).out, s.good(&format!("explain net.mnxa{isa} --json -")).out);
        assert_eq!(folder, bundle, "{isa}");
    }
    let before = s.names();
    assert!(s.good("explain net").out.contains("at patch 32x16x48"));
    assert_eq!(s.names(), before);
    s.bad("explain net --isa z80", 2, &["--isa z80", "mnxc list targets"]);
}

/// Kernels and their tiles are those that compiling the folder asks for: main head alone, at the folder's patch.
#[cfg(feature = "llvm")]
#[test]
fn a_folder_is_tuned_for_what_compiling_it_makes() {
    let s = folder();
    let runtime = std::path::Path::new(env!("CARGO_BIN_EXE_mnxc")).with_file_name("mnx");
    if !runtime.is_file() {
        s.bad("tune net --cache t.jsonl", 1, &["error[mnxc-0501]", "mnx"]);
        return;
    }
    s.good("tune net --budget 0s --runs 1 --threads 1 --target x86-64-v3 --cache t.jsonl");
    let said = s.good("compile net --target x86-64-v3 --tuned t.jsonl --to plan -o p.plan").err;
    let (found, all) = said.split_once("tuned tiles for x86-64-v3: ").unwrap().1.split_once(" of ").unwrap();
    assert_eq!(found, all.split(' ').next().unwrap(), "{said}");
}
