//! Tidiness: what every file of the house keeps to.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut out = Vec::new();
    let mut stack: Vec<PathBuf> = ["ir", "passes", "crates", "tests", "benches"].iter().map(|d| root.join(d)).collect();
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                out.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(out.len() > 50, "the house has more files than {}", out.len());
    out
}

#[test]
fn files_stay_small() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 800, "{name} has {lines} lines; split it by idea");
    }
}

#[test]
fn no_room_is_called_utils() {
    for (name, _) in sources() {
        let stem = Path::new(&name).file_stem().unwrap().to_string_lossy().into_owned();
        let banned = ["utils", "util", "helpers", "helper", "common", "base", "misc"];
        assert!(!banned.contains(&stem.as_str()), "{name}: name a file by its idea");
    }
}

#[test]
fn every_crate_opens_with_a_room_card() {
    for (name, text) in sources() {
        if name.ends_with("src/lib.rs") {
            for line in ["//! Room:", "//! May import:", "//! Never:", "//! Start reading at:"] {
                assert!(text.contains(line), "{name} lacks `{line}`");
            }
        }
    }
}

#[test]
fn nothing_unfinished_is_left_behind() {
    // Spelled in halves so that this file does not find itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["todo", "!("], ["unimplemented", "!("], ["dbg", "!("], ["#[ign", "ore"]];
    for (name, text) in sources() {
        for [a, b] in marks {
            assert!(!text.contains(&format!("{a}{b}")), "{name} holds {a}{b}");
        }
    }
}

#[test]
fn unsafe_code_stays_in_two_rooms() {
    for (name, text) in sources() {
        let free = name.starts_with("crates/runtime/src/device/") || name.starts_with("crates/codegen/");
        if name.ends_with("src/lib.rs") && !name.starts_with("crates/codegen/") && !name.starts_with("crates/runtime/") {
            assert!(text.contains("#![forbid(unsafe_code)]"), "{name} does not forbid unsafe code");
        }
        let block = ["unsafe", " {"].concat();
        assert!(free || !text.contains(&block) || name.ends_with("tidy.rs"), "{name} holds an unsafe block");
    }
}
