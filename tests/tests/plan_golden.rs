//! Golden files of plans: which launches a box becomes on which target, and what is refused.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use mnx_plan::Kernel;
use mnx_tests::golden::{plans, run_folder};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/plan")
}

#[test]
fn plans_are_as_stored_and_launch_every_strategy() {
    run_folder(&folder(), &plans::test);
    let texts: Vec<String> = std::fs::read_dir(folder()).unwrap().map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap()).collect();
    for strategy in Kernel::strategies() {
        let launch = format!("launch {} ", strategy.name);
        assert!(texts.iter().any(|t| t.contains(&launch)), "{}: no golden file launches it", strategy.name);
    }
}

/// The test itself must be able to fail.
#[test]
fn wrong_cases_are_told_so() {
    let fails = |head: &str| {
        let text = format!(
            "// P.\n{head}graph @g(%x: f32[1,3,4,5]) -> (y: f32[1,3,4,5]) stage=graph {{\n  %0 = softmax %x : f32[1,3,4,5]\n  return %0\n}}\n"
        );
        let report = mnx_tests::golden::run_text("t.mnx", &text, true, &plans::test).unwrap();
        assert_eq!((report.text, report.failures.len()), (text, 1), "{head}");
        report.failures[0].clone()
    };
    for (head, why) in [
        ("", "no `// test: plan"),
        ("// test: plans --target=x\n", "expected plan --target=..."),
        ("// test: plan --precision=f32\n", "no --target=..."),
        ("// test: plan --target=host\n", "--target=host: expected the name of one target"),
        ("// test: plan --target=sm_90a --target=sm_80\n", "`--target` stands twice"),
        ("// test: plan --target=sm_90a --precision=f64\n", "--precision=f64: expected"),
        ("// test: plan --target=sm_90a --gelu=exact\n", "--gelu=exact: expected"),
        ("// test: plan --target=sm_90a f32\n", "expected --key=value, found `f32`"),
        ("// test: plan --target=sm_90a --kernel=x\n", "unknown argument `--kernel=x`"),
        ("// test: plan --target=sm_90a --pipeline=form-boxes\n", "unknown pass `form-boxes`"),
        ("// test: plan --target=sm_90a --pipeline=form-dispatches --dispatch=soft\n", "--dispatch=soft: expected one of softmax"),
        ("// test: plan --target=sm_90a\n", "is refused"),
        ("// test: plan --target=sm_90a\n// test: plan --pipeline=form-dispatches --target=sm_90a\n", "a refusal has a case of its own"),
    ] {
        let got = fails(head);
        assert!(got.contains(why), "{head}: {got}");
    }
}
