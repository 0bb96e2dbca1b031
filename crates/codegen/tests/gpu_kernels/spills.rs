//! Registers suffice: no default tile makes the assembler spill. Needs ptxas; says so and passes without it.

use crate::depthwise::{Case, PLAIN};
use mnx_codegen::ptxas;
use mnx_plan::gpu::{Depthwise, GpuKernel, Storage};
use mnx_plan::kernel::Kernel;
use mnx_plan::target::GPU_TARGETS;

/// What a target's assembler makes of one convolution with its default tile; a complaint if it spills.
fn assembled(case: &Case, name: &str) -> Option<String> {
    let k: Depthwise = case.chosen(name);
    let target = crate::harness::target(name);
    let named = [("k".to_string(), Kernel::Gpu(GpuKernel::Depthwise(k.clone())))];
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

fn available() -> bool {
    let found = ptxas::find().is_some();
    if !found {
        println!("no ptxas on this machine: not checked");
    }
    found
}

#[test]
fn default_tiles_do_not_spill() {
    if !available() {
        return;
    }
    let mut spilling = Vec::new();
    for (taps, storage, kinds) in [(3, Storage::Bf16, 4), (5, Storage::F16, 1), (7, Storage::F32, 3), (9, Storage::Bf16, 1)] {
        for case in level(128, 32, taps, storage).into_iter().take(kinds) {
            spilling.extend(assembled(&case, "sm_86"));
        }
    }
    assert!(spilling.is_empty(), "{spilling:#?}");
}

#[test]
#[ignore = "minutes: every level, storage and target"]
fn no_default_tile_spills() {
    if !available() {
        return;
    }
    let only = std::env::var("MNX_TARGET").unwrap_or_default();
    let mut spilling = Vec::new();
    for target in GPU_TARGETS.iter().filter(|t| t.name.contains(&only)) {
        for taps in [3, 5, 7, 9] {
            for storage in [Storage::F32, Storage::Bf16, Storage::F16] {
                for (extent, channels) in [(128, 32), (64, 64), (32, 128), (16, 256), (8, 512), (4, 1024)] {
                    for case in level(extent, channels, taps, storage) {
                        spilling.extend(assembled(&case, target.name));
                    }
                }
            }
        }
    }
    assert!(spilling.is_empty(), "{spilling:#?}");
}
