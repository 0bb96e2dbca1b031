//! Registers suffice: no default tile makes the assembler spill. Needs ptxas; says so and passes without it.
#![allow(clippy::print_stdout)]

use crate::depthwise::{Case, PLAIN};
use mnx_codegen::ptxas;
use mnx_plan::gpu::Depthwise;
use mnx_plan::target::GPU_TARGETS;
use mnx_plan::vocabulary::Storage;

/// What a target's assembler makes of one convolution with its default tile; a complaint if it spills.
fn assembled(case: &Case, name: &str) -> Option<String> {
    let k: Depthwise = case.chosen(name);
    let target = crate::harness::target(name);
    let named = [("k".to_string(), k.clone().into())];
    let ptx = String::from_utf8(mnx_codegen::compile(&named, target, &mut |_, _, _| {}).unwrap_or_else(|e| panic!("{k:?}: {e}"))).unwrap();
    let (_, resources) = ptxas::assemble(&ptx, name, false).unwrap_or_else(|e| panic!("{k:?}: {e}"));
    let r = &resources[0];
    println!("{name} {:?} registers {} expected {} of {}", k.tile, r.registers, k.registers(), k.register_limit());
    ((r.spill_loads, r.spill_stores, r.stack) != (0, 0, 0)).then(|| format!("{name}: {k:?} spills: {r:?}"))
}

/// The convolutions of one level.
fn level(extent: usize, channels: usize, taps: usize, storage: Storage) -> Vec<Case> {
    let same = Case { channels, input: [extent; 3], taps: [taps; 3], storage, ..PLAIN };
    let mut all = vec![same, Case { stride: [2; 3], ..same }, Case { stride: [2; 3], transposed: true, input: [extent / 2; 3], ..same }];
    if extent == 128 {
        all.push(Case { stem: Some(1), ..same });
    }
    all
}

/// The largest level of each kernel size; with `MNX_EVERY_TILE` (a target's name or part of it) every level, storage and kernel size on those targets.
fn cases() -> Vec<(&'static str, Case)> {
    let Ok(only) = std::env::var("MNX_EVERY_TILE") else {
        let some = [(3, Storage::Bf16, 4), (5, Storage::F16, 1), (7, Storage::F32, 3), (9, Storage::Bf16, 1)];
        return some
            .into_iter()
            .flat_map(|(taps, storage, kinds)| level(128, 32, taps, storage).into_iter().take(kinds))
            .map(|c| ("sm_86", c))
            .collect();
    };
    let mut all = Vec::new();
    for target in GPU_TARGETS.iter().filter(|t| t.name.contains(&only)) {
        for taps in [3, 5, 7, 9] {
            for storage in [Storage::F32, Storage::Bf16, Storage::F16] {
                for (extent, channels) in [(128, 32), (64, 64), (32, 128), (16, 256), (8, 512), (4, 1024)] {
                    all.extend(level(extent, channels, taps, storage).into_iter().map(|c| (target.name, c)));
                }
            }
        }
    }
    all
}

#[test]
fn default_tiles_do_not_spill() {
    if ptxas::find().is_none() {
        println!("no ptxas on this machine: not checked");
        return;
    }
    let spilling: Vec<String> = cases().iter().filter_map(|(name, case)| assembled(case, name)).collect();
    assert!(spilling.is_empty(), "{spilling:#?}");
}
