//! The exit code is the verdict, whoever reads: every command with streams closed, full and gone.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod scratch;
#[path = "../../console/tests/streams/mod.rs"]
mod streams;

use std::os::unix::fs::PermissionsExt;

use mnx_weights::Checkpoint;
use scratch::{FLAT, Scratch};
use streams::{Line, check, line};

fn fill(s: &Scratch) {
    s.file("flat.toml", FLAT);
    s.file("seven.toml", &FLAT.replace("kernel_size = 5", "kernel_size = 7"));
    s.file("bad.toml", "n_chanels = 3\n");
    let config = mnx_model::Config::load(s.path("flat.toml")).unwrap();
    let weights = |name: &str| {
        let tensors = mnx_model::signature(&config).tensors;
        let made: Checkpoint = tensors.iter().map(|t| (t.key.clone(), mnx_weights::golden_weight(name, &t.key, &t.shape))).collect();
        made.save(s.path(name)).unwrap();
    };
    weights("w.safetensors");
    s.good("model flat.toml --patch 32,32");
    s.good("compile flat.toml --patch 32,32 --to graph -o a.mnx");
    for (name, code) in [("yes.sh", 0), ("no.sh", 1)] {
        s.file(name, &format!("#!/bin/sh\nexit {code}\n"));
        std::fs::set_permissions(s.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn the_exit_code_is_the_verdict_whoever_reads() {
    let s = Scratch::new();
    fill(&s);
    let mut lines: Vec<Line> = vec![
        line(0, "--help"),
        line(0, "compile --help"),
        line(0, "--version"),
        line(2, ""),
        line(2, "compile"),
        line(2, "model flat.toml --nonsense"),
        line(2, "-q -v list ops"),
        line(1, "list ops --log none/log"),
        line(0, "completions bash"),
        line(0, "list ops"),
        line(0, "list targets -vv --log log"),
        line(0, "model flat.toml"),
        line(0, "model flat.toml --summary"),
        line(1, "model bad.toml"),
        line(1, "import none -o d"),
        line(0, "compile flat.toml --patch 32,32 --to plan"),
        line(0, "compile -v flat.toml --patch 32,32 --to dispatch -o b.mnx --time-passes --dump-dir dump"),
        line(1, "compile bad.toml --patch 32,32 --to plan"),
        line(1, "compile flat.toml --patch 17,32 --to plan"),
        line(1, "explain none.mnxa"),
        line(0, "opt a.mnx --pipeline=cse,dce"),
        line(2, "opt a.mnx --pipeline=nonsense"),
        line(1, "opt none.mnx --pipeline=dce"),
        line(0, "bisect a.mnx --pipeline=cse,dce"),
        line(0, "bisect a.mnx --pipeline=cse,dce --json"),
        line(1, "bisect none.mnx --pipeline=dce"),
        line(0, "reduce a.mnx --if yes.sh"),
        line(1, "reduce a.mnx --if no.sh"),
        line(1, "tune none.toml --budget 1s --cache c.jsonl --runner yes.sh"),
        line(0, "upkern --from flat.toml --weights w.safetensors --to seven.toml -o u.safetensors"),
        line(1, "upkern --from flat.toml --weights none.safetensors --to seven.toml -o u.safetensors"),
        line(0, "export-onnx flat.toml --weights w.safetensors --patch 32,32 -o o.onnx"),
        line(1, "export-onnx bad.toml --weights w.safetensors --patch 32,32 -o o.onnx"),
        line(0, "view a.mnx"),
        line(1, "view none.mnx"),
    ];
    if cfg!(feature = "llvm") {
        s.good("compile flat.toml --seed 1 --patch 32,32 --target x86-64-v3 -o m.mnxa");
        lines.push(line(0, "explain m.mnxa"));
        lines.push(line(0, "explain m.mnxa --json - --html h.html"));
        lines.push(line(0, "compile flat.toml --seed 1 --patch 32,32 --target x86-64-v3 --to asm"));
    }
    check(env!("CARGO_BIN_EXE_mnxc"), s.path("").as_path(), &lines);
    // An import takes a new name each time.
    for state in ["d1 >&-", "d2 2>&-", "d3 >/dev/full", "d4 2>/dev/full"] {
        let line = format!("{} import w.safetensors -o {state}", env!("CARGO_BIN_EXE_mnxc"));
        let status = std::process::Command::new("sh").args(["-c", &line]).current_dir(s.path("")).output().unwrap().status;
        assert_eq!(status.code(), Some(0), "{state}");
        assert!(s.path(&state[..2]).join("config.toml").is_file(), "{state}");
    }
    let left = s.names();
    assert!(!left.iter().any(|n| n.contains(".mnx-")), "{left:?}");
}
