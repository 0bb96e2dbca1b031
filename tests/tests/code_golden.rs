//! Golden files of code: the MLIR of a few host kernels as their emitters write it, and the PTX of a few GPU kernels, each of the smallest graph that shows
//! its point. `tests/digest` watches all the others.
//!
//! ```text
//! // test: mlir --pipeline=infer --target=x86-64-v4 --kernel=merge.stats
//! // test: ptx --pipeline=infer --target=sm_90a --kernel=gpu.merge_stats
//! ```
//!
//! The arguments are those of plans (`mnx_tests::golden::plans`); the kernel is the one launch of that strategy, in that `--dispatch` if there are several.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used)]

use std::path::Path;

use mnx_codegen::{Options, Stage};
use mnx_plan::Kernel;
use mnx_tests::golden::plans::Settings;
use mnx_tests::golden::split::Case;
use mnx_tests::golden::{Outcome, run_folder, run_text};

/// The code of the launch that a case names.
fn code(case: &Case<'_>) -> Result<Outcome, String> {
    let (stage, arguments) = case.test()?;
    let stage = match stage {
        "mlir" => Stage::Mlir,
        "ptx" => Stage::Asm,
        _ => return Err(format!("unknown test `{stage}`: expected mlir or ptx")),
    };
    let (settings, rest) = Settings::read(arguments)?;
    let (dispatch, strategy) = match rest[..] {
        [("kernel", strategy)] => (None, strategy),
        [("dispatch", dispatch), ("kernel", strategy)] => (Some(dispatch), strategy),
        _ => return Err(format!("expected --kernel=..., and in front of it --dispatch=... where there are several, found `{arguments}`")),
    };
    let plan = match settings.plan(case)? {
        Ok(plan) => plan,
        Err(refusal) => return Ok(refusal),
    };
    let dispatches = plan.dispatches.iter().filter(|d| dispatch.is_none_or(|name| d.name == name));
    let launches: Vec<&Kernel> = dispatches.flat_map(|d| &d.launches).map(|l| &l.kernel).collect();
    let found: Vec<&&Kernel> = launches.iter().filter(|k| k.strategy().name == strategy).collect();
    let [kernel] = found[..] else {
        let names: Vec<_> = launches.iter().map(|k| k.strategy().name).collect();
        return Err(format!("--kernel={strategy}: expected one launch of it, there are {}", names.join(", ")));
    };
    let mut text = None;
    let options = Options { stages: vec![stage], threads: 1 };
    mnx_codegen::compile_with(&[("kernel".to_string(), (*kernel).clone())], settings.target, &options, &mut |_, _, code| {
        text = Some(String::from_utf8(code.to_vec()));
    })
    .map_err(|e| e.to_string())?;
    let text = text.ok_or("the compiler shows no code")?.map_err(|e| e.to_string())?;
    Ok(Outcome::Code { llvm: mnx_codegen::llvm_version(), text })
}

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

#[test]
fn mlir() {
    run_folder(&folder("mlir"), &code);
}

#[test]
fn ptx() {
    run_folder(&folder("ptx"), &code);
}

/// The test itself must be able to fail.
#[test]
fn wrong_cases_are_told_so() {
    let arguments = "--pipeline=form-dispatches --target=x86-64-v4";
    let body = "graph @g(%x: f32[1,3,4,5]) -> (y: f32[1,3,4,5]) stage=graph {\n  %0 = softmax %x : f32[1,3,4,5]\n  return %0\n}\n";
    let run = |test: &str, bless| run_text("t.mnx", &format!("// P.\n// test: {test}\n{body}"), bless, &code).unwrap();
    for (test, why) in [
        (format!("object {arguments} --kernel=classify.rows"), "unknown test `object`"),
        (format!("mlir {arguments}"), "expected --kernel=..."),
        (format!("mlir {arguments} --kernel=merge.stats"), "there are classify.rows"),
        (format!("mlir {arguments} --kernels=classify.rows"), "expected --kernel=..."),
        (format!("mlir {arguments} --dispatch=here --kernel=classify.rows"), "expected one launch of it, there are "),
        ("mlir --target=x86-64-v4 --kernel=classify.rows".to_string(), "is refused"),
        (format!("mlir {arguments} --kernel=classify.rows"), "no expected part"),
    ] {
        let report = run(&test, false);
        assert!(report.failures.len() == 1 && report.failures[0].contains(why), "{test}: {report:?}");
    }
    let right = format!("mlir {arguments} --kernel=classify.rows");
    let blessed = run(&right, true);
    assert!(blessed.failures.is_empty() && blessed.text.contains("// llvm ") && blessed.text.contains("module"), "{blessed:?}");
    let again = |text: &str| run_text("t.mnx", text, false, &code).unwrap();
    assert!(again(&blessed.text).failures.is_empty());
    assert!(again(&blessed.text.replace("module", "modul")).failures[0].contains("\n-modul"));
}
