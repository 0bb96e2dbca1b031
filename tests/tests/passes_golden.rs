//! Golden files of the IR and of every pass.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use mnx_passes::PASSES;
use mnx_tests::golden::{run_folder, run_text};

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(folder)
}

#[test]
fn ir() {
    run_folder(&golden("ir"));
}

#[test]
fn passes() {
    run_folder(&golden("passes"));
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

/// The runner itself must be able to fail.
#[test]
fn the_runner_sees_differences() {
    let graph = "graph @g(%x: f32[1,2,3,3]) -> (y: f32[1,2,3,3]) stage=graph {\n  %0 = gelu %x : f32[1,2,3,3]\n  return %0\n}\n";
    let fails = |text: &str| run_text("t.mnx", text, false).unwrap_err();
    assert!(run_text("t.mnx", &format!("// test: roundtrip\n{graph}"), false).unwrap().is_none());
    assert!(fails(&format!("// test: roundtrip\n{}", graph.replace("%0", "%a"))).contains("line 2 differs"));
    assert!(fails(&format!("// test: opt --pipeline=dce\n{graph}")).contains("no expected part"));
    let expected = "// === expected (MNX_BLESS=1 rewrites from here on)\n";
    assert!(fails(&format!("// test: opt --pipeline=dce\n{graph}{expected}{}", graph.replace("gelu", "softmax"))).contains("differs"));
    assert!(fails(&format!("// test: opt --pipeline=dc\n{graph}")).contains("unknown pass"));
    assert!(fails(&format!("// test: opt --pipeline=dce\n// same: interp\n{graph}")).contains("expected `same:"));
    assert!(fails(&format!("// test: verify\n// error: weight\n{graph}")).contains("no error says"));
    assert!(fails(&format!("// test: verify\n{}", graph.replace("3] {", "4] {").replace("gelu", "glu"))).contains("no `// error:`"));
    assert!(fails(graph).contains("no `// test:"));
    // Two graphs that differ by a bias do not pass for the same.
    let two = graph.replace("%0 = gelu %x", "%0 = softmax %x");
    let outputs = |t: &str| mnx_tests::same::outputs(&mnx_ir::parse::parse(t, "t").unwrap(), 1).unwrap();
    assert!(mnx_tests::same::compare(&outputs(graph), &outputs(&two), 1e-9).is_err());
}
