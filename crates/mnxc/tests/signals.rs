//! Interrupted at any moment, mnxc leaves whole files or none, no scratch folder and no child.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

#[path = "../../files/tests/kill/mod.rs"]
mod kill;
mod scratch;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kill::{SIGNALS, left, program, send, storm, wait};
use mnx_weights::Checkpoint;
use rustix::process::{Pid, test_kill_process};
use scratch::{FLAT, Scratch};

fn made() -> Scratch {
    let s = Scratch::new();
    s.file("flat.toml", FLAT);
    std::fs::create_dir(s.path("tmp")).unwrap();
    s
}

/// `mnxc`, with its temporary files where they can be seen.
fn mnxc(s: &Scratch, line: &str) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_mnxc"));
    command.args(line.split_whitespace()).current_dir(s.path("")).env("TMPDIR", s.path("tmp"));
    command
}

#[test]
fn an_imported_folder_is_whole_or_absent() {
    let s = made();
    let config = mnx_model::Config::load(s.path("flat.toml")).unwrap();
    let tensors = mnx_model::signature(&config).tensors;
    let weights: Checkpoint = tensors.iter().map(|t| (t.key.clone(), mnx_weights::golden_weight("kill", &t.key, &t.shape))).collect();
    weights.save(s.path("w.safetensors")).unwrap();
    let d = s.path("d");
    let check = |done: bool| {
        assert!(d.exists() || !done);
        if d.exists() {
            let read = Checkpoint::load(d.join("weights.safetensors")).unwrap();
            assert_eq!(read.len(), weights.len());
            mnx_model::Config::load(d.join("config.toml")).unwrap();
        }
    };
    let prepare = || {
        let _ = std::fs::remove_dir_all(&d);
    };
    let place = s.path("");
    storm(21, &[&place], &|| mnxc(&s, "import w.safetensors -o d"), &prepare, &check);
}

#[cfg(feature = "llvm")]
#[test]
fn a_compiled_bundle_is_whole_or_absent() {
    let s = made();
    let out = s.path("m.mnxa");
    let check = |done: bool| {
        assert!(out.exists() || !done);
        if out.exists() {
            mnx_artifact::Bundle::open(&out).unwrap().read_weights(0).unwrap();
        }
    };
    let prepare = || {
        let _ = std::fs::remove_file(&out);
    };
    let place = s.path("");
    let line = "compile flat.toml --seed 1 --patch 32,32 --target x86-64-v3 --vectors none -o m.mnxa";
    storm(22, &[&place], &|| mnxc(&s, line), &prepare, &check);
}

/// Runs a command whose child, a script, notes its number and sleeps; ends it by a signal, and demands that the child is gone.
fn takes_its_child_along(s: &Scratch, line: &str) {
    s.file("sleeper.sh", "#!/bin/sh\nsleep 300 &\necho $! >sleep.pid.new && mv sleep.pid.new \"$NOTE\"\nwait\n");
    std::fs::set_permissions(s.path("sleeper.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let note = s.path("sleep.pid");
    for (signal, number) in SIGNALS.into_iter().filter(|(_, n)| *n != 9) {
        let _ = std::fs::remove_file(&note);
        let mut child = mnxc(s, line).env("NOTE", &note).spawn().unwrap();
        let pid = Pid::from_raw(soon(|| std::fs::read_to_string(&note).ok()?.trim().parse().ok())).unwrap();
        send(&child, signal);
        assert_eq!(wait(&mut child).code(), Some(128 + number), "mnxc {line}");
        // Ended, or waiting for the system's first process to notice.
        soon(|| {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
            (test_kill_process(pid).is_err() || state.contains(") Z ")).then_some(())
        });
        assert_eq!(left(Path::new(&s.path(""))), Vec::<String>::new(), "mnxc {line}");
    }
}

/// What comes to be true within a while.
fn soon<T>(mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "nothing happens");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_script_is_not_left_behind() {
    let s = made();
    s.good("compile flat.toml --patch 32,32 --to graph -o a.mnx");
    takes_its_child_along(&s, "reduce a.mnx --if ./sleeper.sh -o b.mnx");
    assert!(!s.path("b.mnx").exists());
}

#[cfg(feature = "llvm")]
#[test]
fn a_measuring_runtime_is_not_left_behind() {
    let s = made();
    s.good("compile flat.toml --seed 1 --patch 32,32 --target x86-64-v3 --vectors none -o m.mnxa");
    takes_its_child_along(&s, "explain m.mnxa --measure --runner ./sleeper.sh");
    takes_its_child_along(&s, "tune flat.toml --patch 32,32 --target x86-64-v3 --budget 1s --cache c.jsonl --runner ./sleeper.sh");
    assert!(!s.path("c.jsonl").exists());
}
