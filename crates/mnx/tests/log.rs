//! `--verbose` and `--log`: what happens, where it was asked for and nowhere else.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

#[path = "../../runtime/tests/sample/mod.rs"]
mod sample;

use std::path::Path;
use std::process::Command;

use mnx_volume::{Header, write_f32};
use mnx_weights::det;
use sample::{manifest, program};

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn mnx(dir: &Path, line: &str) -> Said {
    let got = Command::new(env!("CARGO_BIN_EXE_mnx")).args(line.split_whitespace()).current_dir(dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: got.status.code(), out: text(got.stdout), err: text(got.stderr) }
}

fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    sample::bundle(
        dir.path(),
        &manifest(vec![program("x86-64-v9", &["avx9000"]), program("x86-64-v3", &["sse2"])]),
        [1.5, -0.5],
        [0.1, 0.3],
    );
    for entry in std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "mnxa")) {
        std::fs::rename(entry, dir.path().join("m.mnxa")).unwrap();
    }
    let header = Header::new([5, 6, 7], [[-1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.5, 0.0], [0.0, 0.0, 0.0, 1.0]]).unwrap();
    let voxels: Vec<f32> = det("log", 210).map(|v| v as f32).collect();
    write_f32(&dir.path().join("image.nii.gz"), &voxels, 1, &header).unwrap();
    dir
}

/// Whether every line of a log has its date, time and level.
fn is_log(text: &str) -> bool {
    let dated = |l: &str| l.len() > 30 && l.as_bytes()[10] == b'T' && l[..4].bytes().all(|b| b.is_ascii_digit()) && l[19..].contains("Z ");
    !text.is_empty() && text.lines().all(|l| dated(l) && [" INFO ", "DEBUG ", "TRACE "].iter().any(|level| l.contains(level)))
}

const PREDICT: &str = "predict m.mnxa -i image.nii.gz -o s.nii.gz --threads 1";

#[test]
fn what_happens_is_said_where_it_was_asked_for() {
    let dir = filled();
    let at = |name: &str| dir.path().join(name);
    let plain = mnx(dir.path(), PREDICT);
    assert_eq!(plain.code, Some(0), "{}", plain.err);
    let told =
        ["bundle opened path=m.mnxa", "program chosen", "target=x86-64-v3", "volume read path=image.nii.gz", "shape=5x6x7", "mm=2.5, 1, 1"];
    let more =
        ["orientation=LAS", "sform=2", "volume prepared", "sliding window", "patch=3x5x7", "network seconds=", "mnx has ended code=0"];
    for text in told.iter().chain(&more) {
        assert!(!plain.err.contains(text), "unasked: {text}\n{}", plain.err);
    }
    let loud = mnx(dir.path(), &format!("{PREDICT} -v"));
    for text in told.iter().chain(&more) {
        assert!(loud.err.contains(text), "no {text} in\n{}", loud.err);
    }
    assert!(!loud.err.contains("avx9000") && !loud.err.contains("DEBUG"), "{}", loud.err);
    let details = mnx(dir.path(), &format!("-vv {PREDICT}"));
    assert!(details.err.contains("DEBUG code not taken: x86-64-v9 needs avx9000, which this CPU lacks"), "{}", details.err);
    // Standard output holds results alone, but for the time that they took.
    let steady = |s: &Said| s.out.lines().filter(|l| !l.contains("patches on")).collect::<Vec<_>>().join("\n");
    assert!(steady(&plain) == steady(&loud) && steady(&plain) == steady(&details) && plain.out.contains("patches on"));

    // The file has all of it, though nothing is said.
    let quiet = mnx(dir.path(), &format!("{PREDICT} --quiet --log a.log"));
    assert_eq!((quiet.code, quiet.err.as_str(), quiet.out.as_str()), (Some(0), "", ""));
    let log = std::fs::read_to_string(at("a.log")).unwrap();
    assert!(is_log(&log), "{log}");
    for text in told.iter().chain(&more).chain(&["avx9000", "--log a.log"]) {
        assert!(log.contains(text), "no {text} in\n{log}");
    }
    // A second run goes on where the first ended; what is said is there too, errors first of all.
    let failed = mnx(dir.path(), "verify m.mnxa --log a.log");
    assert!(failed.code == Some(1) && !failed.err.contains("INFO"), "{}", failed.err);
    let longer = std::fs::read_to_string(at("a.log")).unwrap();
    assert!(longer.starts_with(&log) && is_log(&longer), "{longer}");
    assert!(longer[log.len()..].contains(failed.err.lines().next().unwrap()) && longer.contains("code=1"), "{longer}");
}

#[test]
fn a_log_that_cannot_be_kept_is_refused_before_any_work() {
    let dir = filled();
    for (log, reason) in
        [("none/a.log", "none/a.log: cannot write the log"), ("m.mnxa", "m.mnxa: cannot write the log: is there and is no log")]
    {
        let before = std::fs::read(dir.path().join(log)).ok();
        let said = mnx(dir.path(), &format!("{PREDICT} --log {log}"));
        assert!(said.code == Some(1) && said.err.contains(reason) && said.out.is_empty(), "{}", said.err);
        assert_eq!(std::fs::read(dir.path().join(log)).ok(), before);
        assert!(!dir.path().join("s.nii.gz").exists());
    }
    for line in ["-q -v devices", "-q devices -v", "devices -q -vv"] {
        let said = mnx(dir.path(), line);
        assert!(said.code == Some(2) && said.err.contains("cannot be used"), "{line}: {}", said.err);
    }
}
