//! Every instruction from its PTX text: small kernels, run by the simulator on fresh random operands and the special ones, against plain
//! Rust. The same texts go through ptxas where there is one.
#![allow(clippy::unwrap_used)]

mod convert;
mod double;
mod float;
mod half;
mod integer;
mod matrix;
mod memory;
mod rig;
mod select;
mod warp;

/// The compiled kernels that other tests run are PTX to ptxas too.
#[test]
fn fixtures_are_ptx() {
    for folder in ["ptx", "clang_kernels"] {
        for entry in std::fs::read_dir(format!("{}/tests/{folder}", env!("CARGO_MANIFEST_DIR"))).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "ptx") {
                let name = path.file_stem().unwrap().to_string_lossy().into_owned();
                rig::accepted_by_ptxas(&name, &std::fs::read_to_string(&path).unwrap());
            }
        }
    }
}
