//! Digests the sources that schedules depend on: a tile tuned for other kernels or other emitters is not used.
// Cargo reads what a build script prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    // Asked when it runs, not when it is compiled: two checkouts may share a target directory, and with it this program.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo tells a build script where its crate lies");
    let crates = Path::new(&here).join("..");
    let mut files = Vec::new();
    for room in ["plan/src", "codegen/src"] {
        let dir = crates.join(room);
        println!("cargo::rerun-if-changed={}", dir.display());
        gather(&dir, &mut files);
    }
    // Names relative to the crates' folder, so that the digest does not know where the repository lies.
    let mut named: Vec<(String, PathBuf)> = files
        .into_iter()
        .map(|f| (f.strip_prefix(&crates).map_or_else(|_| String::new(), |p| p.to_string_lossy().replace('\\', "/")), f))
        .collect();
    named.sort();
    let mut hash = Fnv::new();
    for (name, file) in &named {
        hash.part(name.as_bytes());
        let text = fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        hash.part(&text);
    }
    println!("cargo::rustc-env=MNXC_SCHEDULE_DIGEST={:016x}", hash.0);
}

fn gather(dir: &Path, files: &mut Vec<PathBuf>) {
    let list = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    for entry in list.flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// FNV-1a, 64 bits: enough to tell builds apart, and no dependency.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn part(&mut self, bytes: &[u8]) {
        let length = (bytes.len() as u64).to_le_bytes();
        for b in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
