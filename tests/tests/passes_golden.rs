//! Golden files of the IR and of every pass.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use mnx_passes::PASSES;
use mnx_tests::golden::{graphs, run_folder};

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(folder)
}

#[test]
fn ir() {
    run_folder(&golden("ir"), &graphs::test);
}

#[test]
fn passes() {
    run_folder(&golden("passes"), &graphs::test);
}

#[test]
fn every_pass_has_a_golden_file_a_source_file_and_a_line_about_it() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../passes/src/graph");
    for pass in PASSES {
        let stem = pass.name.replace('-', "_");
        let text = std::fs::read_to_string(golden("passes").join(format!("{stem}.mnx"))).unwrap_or_default();
        assert!(text.lines().any(|l| l.starts_with("// test: opt") && l.contains(pass.name)), "{}: no golden file runs it", pass.name);
        let source = [sources.join(format!("{stem}.rs")), sources.join(&stem).join("mod.rs")];
        let source = source.iter().find_map(|p| std::fs::read_to_string(p).ok()).unwrap_or_default();
        for part in ["*Requires*", "*Ensures*", "*Declines when", "```text"] {
            assert!(source.contains(part), "{}: its documentation lacks {part}", pass.name);
        }
        assert!(pass.about.len() > 20 && pass.about.is_ascii(), "{}: says too little about itself", pass.name);
    }
    assert!(PASSES.is_sorted_by_key(|p| p.name), "the table is in the order of the alphabet");
}
