//! What `scripts/gpu-check.sh` packs for a GPU machine, rehearsed on the PTX interpreter: `benches/gpu/run.sh` fills hollow bundles, verifies, records, writes its table.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use mnx_tests::cases::Case;

#[test]
fn the_script_for_gpu_machines_runs_from_a_pack() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("NOT CHECKED: no python3 here, so benches/gpu/run.sh is not rehearsed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pack = dir.path().join("gpu-check");
    std::fs::create_dir_all(pack.join("bundles")).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/gpu");
    for name in ["run.sh", "table.py"] {
        std::fs::copy(source.join(name), pack.join(name)).unwrap();
    }
    std::fs::copy(mnx_tests::binaries::folder().join("mnx"), pack.join("mnx")).unwrap();
    std::fs::write(pack.join("commit"), "none\n").unwrap();
    let case = Case::load("tiny_2d");
    let shape = case.input_shape();
    let patch: Vec<String> = shape[2..].iter().map(ToString::to_string).collect();
    let config = dir.path().join("tiny_2d.toml");
    std::fs::write(&config, case.toml(None)).unwrap();
    for precision in ["f32", "bf16"] {
        let bundle = pack.join(format!("bundles/verify-tiny_2d-{precision}.mnxa"));
        let words = ["mnxc", "compile", "--quiet", "--formula", "tiny_2d", "--hollow", "--vectors", "always", "--target", "sm_80"];
        let mut args: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        args.extend(["--precision", precision, "--batch", &shape[0].to_string(), "--patch", &patch.join(","), "-o"].map(OsString::from));
        args.extend([bundle.into_os_string(), config.clone().into_os_string()]);
        assert_eq!(mnxc::cli::run(args), 0);
    }
    let results = dir.path().join("results");
    let run = |device: &str| {
        let output = Command::new("bash").arg(pack.join("run.sh")).arg(&results).args(["verify", "record"]).env("DEVICE", device).output();
        let output = output.unwrap();
        (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    let (passed, said) = run("ptx-sim");
    assert!(passed && said.matches("ok   verify-tiny_2d-").count() == 2, "{said}");
    let reports = std::fs::read_to_string(results.join("verify.jsonl")).unwrap();
    for line in reports.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["report"].is_object(), "{line}");
    }
    assert!(std::fs::read_to_string(results.join("gpu.md")).unwrap().contains("| predicted ms |"), "{said}");
    let recorded = std::fs::metadata(results.join("tiny_2d-bf16.safetensors")).unwrap().len();
    assert!((10_000..1_000_000).contains(&recorded), "{recorded} bytes");
    // A device that is not there fails every step, and the script says which.
    let (passed, said) = run("cuda:99");
    assert!(!passed && said.contains("FAILED: verify-tiny_2d-bf16: verify") && said.contains("FAILED: record"), "{said}");
}
