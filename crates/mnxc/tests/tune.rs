//! `mnxc tune` and `mnxc compile --tuned`, end to end on a tiny network. Nothing here depends on what was faster.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod scratch;
use std::path::Path;

use mnx_artifact::Bundle;
use scratch::{Scratch, TINY};
use serde_json::Value;

fn tiny() -> Scratch {
    let s = Scratch::new();
    s.file("tiny.toml", TINY);
    s
}

/// Whether `mnx` stands beside `mnxc`; cargo builds it only with the workspace, or with `-p mnx`.
fn has_runtime() -> bool {
    let mnx = Path::new(env!("CARGO_BIN_EXE_mnxc")).with_file_name("mnx");
    if !mnx.is_file() {
        eprintln!("SKIPPED: {} is not built, so nothing can be tuned here (cargo build --release -p mnx)", mnx.display());
    }
    mnx.is_file()
}

/// The launch lines of a plan.
fn launches(plan: &str) -> Vec<String> {
    plan.lines().filter(|l| l.trim().starts_with("launch ")).map(|l| l.split("//").next().unwrap().trim().to_string()).collect()
}

#[test]
fn a_tuned_file_is_written_and_compilation_obeys_it() {
    if !has_runtime() {
        return;
    }
    let s = tiny();
    let said = s.good("tune tiny.toml --patch 32,16,16 --heads main --budget 1s --threads 1 --runs 1 --cache c.jsonl");
    assert!(said.out.contains("whole network:") && said.out.contains("mlp.tile"), "{}", said.out);
    assert!(said.err.contains("round 1:") && said.err.contains("c.jsonl:"), "{}", said.err);
    assert_eq!(s.names(), ["c.jsonl", "tiny.toml"], "nothing else is left behind");
    let entries: Vec<Value> = s.text("c.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let target = entries[0]["target"].as_str().unwrap();
    assert!(entries.len() > 5 && entries.iter().all(|e| e["target"] == target && e["threads"] == 1), "{entries:#?}");
    assert!(entries.iter().all(|e| e["default_s"].as_f64().unwrap() > 0.0 && e["knobs"].is_object() && e["machine"] != ""));

    // Whatever won: with one entry's knobs edited by hand the plan has them wherever that kernel runs.
    let mut edited = entries.clone();
    let at = edited.iter().position(|e| e["kernel"].as_str().unwrap().starts_with("depthwise.ring ")).unwrap();
    let height = &mut edited[at]["knobs"]["height"];
    *height = if *height == 1 { 2.into() } else { 1.into() };
    let text: Vec<String> = edited.iter().map(Value::to_string).collect();
    s.file("e.jsonl", &text.join("\n"));
    let line = format!("compile tiny.toml --patch 32,16,16 --heads main --target {target}");
    let default = launches(&s.good(&format!("{line} --to plan")).out);
    let tuned = launches(&s.good(&format!("{line} --to plan --tuned c.jsonl")).out);
    let by_hand = launches(&s.good(&format!("{line} --to plan --tuned e.jsonl")).out);
    assert_eq!(default.len(), tuned.len());
    assert_ne!(tuned, by_hand);
    let knobs = edited[at]["knobs"].as_object().unwrap();
    for (a, b) in tuned.iter().zip(&by_hand).filter(|(a, b)| a != b) {
        assert!(knobs.iter().all(|(k, v)| b.contains(&format!("{k}={v}"))), "{a}\n{b}");
    }

    // A bundle says that it did, and is the same every time.
    s.good(&format!("{line} --seed 3 --tuned e.jsonl -o a.mnxa"));
    s.good(&format!("{line} --seed 3 --tuned e.jsonl -o b.mnxa"));
    assert_eq!(s.bytes("a.mnxa"), s.bytes("b.mnxa"));
    let notes = Bundle::open(s.path("a.mnxa")).unwrap().manifest().notes.clone();
    let shapes = entries.len();
    let want = format!("tuned tiles for {target}: {shapes} of {shapes} kernel shapes found in e.jsonl");
    assert!(notes.contains(&want), "{notes:?} lack {want}");

    // Another compiler's entries change nothing, and that is said.
    s.file("f.jsonl", &text.join("\n").replace(edited[0]["compiler"].as_str().unwrap(), "0"));
    let said = s.good(&format!("{line} --to plan --tuned f.jsonl"));
    assert_eq!(launches(&said.out), default);
    assert!(said.err.contains(&format!("0 of {shapes} kernel shapes")) && said.err.contains("another compiler"), "{}", said.err);

    // Illegal knobs and damage are refused by line.
    edited[at]["knobs"]["height"] = 0.into();
    s.file("g.jsonl", &edited.iter().map(|e| format!("{e}\n")).collect::<String>());
    s.bad(&format!("{line} --to plan --tuned g.jsonl"), 1, &[&format!("g.jsonl:{}", at + 1), "height"]);
    s.file("h.jsonl", &s.text("c.jsonl")[..200]);
    s.bad(&format!("{line} --to plan --tuned h.jsonl"), 1, &["h.jsonl:1", "not an entry"]);
    s.bad("tune tiny.toml --patch 32,16,16 --cache h.jsonl", 1, &["h.jsonl:1", "not an entry"]);
}

#[test]
fn wrong_input_is_named_before_anything_is_measured() {
    let s = tiny();
    s.bad("compile tiny.toml --seed 1 --tuned none.jsonl", 1, &["none.jsonl", "no such file"]);
    s.bad("tune tiny.toml --cache no/c.jsonl --runner tiny.toml", 1, &["directory no does not exist"]);
    s.bad("tune tiny.toml --cache c.jsonl --runner ./none", 1, &["./none", "runtime binary"]);
}
