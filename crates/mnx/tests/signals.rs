//! Interrupted at any moment, mnx leaves whole files or none, and says by its exit code what happened.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

#[path = "../../files/tests/kill/mod.rs"]
mod kill;
#[path = "../../runtime/tests/sample/mod.rs"]
mod sample;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use kill::{SIGNALS, program, send, storm, wait};
use mnx_artifact::Bundle;
use mnx_volume::{Header, write_f32};
use mnx_weights::det;

const MNX: &str = env!("CARGO_BIN_EXE_mnx");
const SHAPE: [usize; 3] = [24, 40, 40];

fn bundle(dir: &Path) -> PathBuf {
    sample::bundle(dir, &sample::manifest(vec![sample::program("x86-64-v3", &["sse2"])]), [1.5, -0.5], [0.125, 0.325])
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let seen = entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap()));
    seen.filter(|(name, _)| !name.starts_with(".mnx-")).collect()
}

#[test]
fn predictions_are_whole_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    let (cases, out) = (dir.path().join("cases"), dir.path().join("out"));
    std::fs::create_dir(&cases).unwrap();
    let model = bundle(dir.path());
    let header = Header::new(SHAPE, [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]]).unwrap();
    for name in ["a", "b", "c"] {
        let voxels: Vec<f32> = det(name, SHAPE.iter().product()).map(|v| v as f32).collect();
        write_f32(&cases.join(format!("{name}_0000.nii")), &voxels, 1, &header).unwrap();
    }
    let command = || {
        let mut command = program(MNX);
        command.arg("predict").arg(&model).arg("-i").arg(&cases).arg("-o").arg(&out).args(["--save-probabilities", "--threads", "1"]);
        command
    };
    let wanted = OnceLock::new();
    let check = |done: bool| {
        let seen = files(&out);
        let wanted = wanted.get_or_init(|| seen.clone());
        assert_eq!(wanted.len(), 9);
        assert!(seen.iter().all(|(name, bytes)| wanted.get(name) == Some(bytes)), "a file is not whole");
        assert!(!done || seen.len() == wanted.len());
    };
    // Every second time over what is there.
    let round = std::cell::Cell::new(0);
    let prepare = || {
        round.set(round.get() + 1);
        if round.get() % 2 == 0 && out.exists() {
            files(&out).keys().for_each(|name| std::fs::remove_file(out.join(name)).unwrap());
        }
    };
    storm(11, &[dir.path()], &command, &prepare, &check);
}

#[test]
fn a_refitted_bundle_is_whole_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (bundle(dir.path()), dir.path().join("n.mnxa"));
    let command = || {
        let mut command = program(MNX);
        command.arg("refit").arg(&model).args(["--formula", "other"]).arg("-o").arg(&out);
        command
    };
    let check = |done: bool| {
        assert!(out.exists() || !done);
        if out.exists() {
            Bundle::open(&out).unwrap().read_weights(0).unwrap();
        }
    };
    let prepare = || {
        let _ = std::fs::remove_file(&out);
    };
    storm(12, &[dir.path()], &command, &prepare, &check);
}

/// `mnx bench --paced`, at rest after its first run.
fn at_rest(command: &mut Command, model: &Path) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
    let mut child = command.arg("bench").arg(model).arg("--paced").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.trim().parse::<f64>().is_ok(), "{line}");
    (child, out)
}

#[test]
fn a_signal_that_is_heard_is_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let model = bundle(dir.path());
    for (signal, number) in SIGNALS.into_iter().filter(|(_, n)| *n != 9) {
        let (mut child, _out) = at_rest(&mut program(MNX), &model);
        send(&child, signal);
        assert_eq!(wait(&mut child).code(), Some(128 + number));
    }
    // nohup: whoever started us wants it ignored.
    let mut shell = Command::new("sh");
    let (mut child, mut out) = at_rest(shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", MNX]), &model);
    send(&child, rustix::process::Signal::HUP);
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.trim().parse::<f64>().is_ok(), "{line}");
    drop(child.stdin.take());
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn the_next_run_clears_what_a_killed_one_left() {
    let dir = tempfile::tempdir().unwrap();
    let model = bundle(dir.path());
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let leftover = dir.path().join(format!(".mnx-{}-0000zz", dead.id()));
    std::fs::write(&leftover, "half a bundle").unwrap();
    let status = program(MNX).arg("refit").arg(&model).args(["--formula", "x"]).arg("-o").arg(dir.path().join("n.mnxa")).status().unwrap();
    assert_eq!((status.code(), leftover.exists()), (Some(0), false));
}
