//! The planned tiles as machine code: ptxas takes every kernel, and no register is spilled.
#![allow(clippy::print_stdout)]

use mnx_codegen::ptxas;
use mnx_plan::Kernel;
use mnx_plan::gpu::*;
use mnx_plan::target::{GPU_TARGETS, Target};
use mnx_plan::vocabulary::{Gelu, Storage};
use mnx_plan::work::Residual;

/// Ends of blocks: plain, first, last, down, up, up in place.
fn ends(grid: [usize; 3], channels: usize, out_channels: usize) -> Vec<Epilogue> {
    let plain = Epilogue { residual: Residual::Identity, ..Epilogue::STORE };
    let from = grid.map(|e| e.div_ceil(2));
    let up = Epilogue { residual: Residual::Scattered { from, stride: [2; 3] }, pad_front: [1; 3], skip: true, ..Epilogue::STORE };
    let mut all = vec![
        plain.clone(),
        Epilogue { residual: Residual::Stem { channels: 4 }, ..Epilogue::STORE },
        Epilogue { head: Some(14), store: false, ..plain },
        Epilogue { in_place: true, ..up.clone() },
        up,
    ];
    if out_channels > channels {
        all.push(Epilogue { residual: Residual::Strided { from: grid.map(|e| 2 * e), channels, stride: [2; 3] }, ..Epilogue::STORE });
    }
    all
}

/// The products of a network of `n` channels at ratio `ratio`, patch `patch`, with every end that may follow.
fn products(n: usize, ratio: usize, patch: usize, stream: Storage) -> Vec<GpuKernel> {
    let storage = if stream == Storage::F32 { Storage::F32 } else { Storage::F16 };
    let mut all = Vec::new();
    for level in 0..5 {
        let (c, extent) = (n << level, (patch >> level).max(1));
        for (out, extent) in [(c, extent), (2 * c, extent.div_ceil(2)), (c.div_ceil(2), 2 * extent - 1)] {
            let (channels, hidden, out_channels) = (padded(c), padded(ratio * c), padded(out));
            let (grid, folded, gelu) = ([extent; 3], true, Gelu::Accurate);
            let gemm = |channels, out_channels, gelu: Option<Gelu>, squares, epilogue| {
                let read_apart = gelu.is_none() && epilogue == Epilogue::STORE;
                let (from, stride) = if read_apart { (grid.map(|e| 2 * e), [2; 3]) } else { (grid, [1; 3]) };
                let tile = Default::default();
                GpuKernel::Gemm(Gemm {
                    batch: 1,
                    grid,
                    from,
                    stride,
                    channels,
                    out_channels,
                    folded,
                    gelu,
                    squares,
                    epilogue,
                    storage,
                    stream,
                    tile,
                })
            };
            if out_channels <= 128 && channels <= 256 {
                for epilogue in ends(grid, channels, out_channels) {
                    if storage == Storage::F32 && out_channels > 64 && matches!(epilogue.residual, Residual::Strided { .. }) {
                        all.push(gemm(hidden, out_channels, None, false, epilogue));
                        continue;
                    }
                    let (grn_folded, tile) = (false, Default::default());
                    let norm = Mlp::may_norm(channels, hidden, out_channels, storage);
                    all.push(GpuKernel::Mlp(Mlp {
                        batch: 1,
                        grid,
                        channels,
                        hidden,
                        out_channels,
                        norm,
                        folded: !norm,
                        grn_folded,
                        gelu,
                        epilogue,
                        storage,
                        stream,
                        tile,
                    }));
                }
            } else {
                all.extend(
                    ends(grid, channels, out_channels)
                        .into_iter()
                        .filter(|e| e.head.is_none())
                        .map(|e| gemm(hidden, out_channels, None, false, e)),
                );
            }
            all.push(gemm(channels, out_channels, None, false, Epilogue::STORE));
            all.push(gemm(channels, hidden, Some(gelu), false, Epilogue::STORE));
            all.push(gemm(channels, hidden, Some(gelu), true, Epilogue::STORE));
        }
    }
    all
}

fn assemble(kernels: Vec<GpuKernel>, target: &Target) {
    let mut named = Vec::new();
    for (i, kernel) in kernels.into_iter().enumerate() {
        let name = format!("{}_{i}", kernel.strategy().name.replace('.', "_"));
        let mut kernel = Kernel::Gpu(kernel);
        kernel.choose(target).unwrap();
        named.push((name, kernel));
    }
    let ptx = mnx_codegen::compile(&named, target, &mut |_, _, _| {}).unwrap();
    let text = String::from_utf8(ptx).unwrap();
    if let Some(dir) = std::env::var_os("MNX_SHOW_PTX") {
        std::fs::write(std::path::Path::new(&dir).join(format!("{}.ptx", target.name)), &text).unwrap();
    }
    if ptxas::find().is_none() {
        println!("ptxas is not here: {} kernels for {} NOT assembled", named.len(), target.name);
        return;
    }
    let (_, resources) = ptxas::assemble(&text, target.name, true).unwrap();
    assert_eq!(resources.len(), named.len());
    let spilled: Vec<_> = resources.iter().filter(|r| r.spill_stores + r.spill_loads + r.stack > 0).collect();
    for r in &spilled {
        println!("{} {:?}: {r:?}", target.name, named.iter().find(|(n, _)| *n == r.name).unwrap().1);
    }
    println!("{}: {} kernels, registers {:?}", target.name, named.len(), resources.iter().map(|r| r.registers).collect::<Vec<_>>());
    assert!(spilled.is_empty(), "{} of {} kernels spill registers", spilled.len(), named.len());
}

#[test]
fn planned_kernels_spill_no_register() {
    for (i, target) in GPU_TARGETS.iter().enumerate().filter(|(_, t)| std::env::var_os("MNX_TARGET").is_none_or(|c| *c == *t.name)) {
        let storage = [Storage::Bf16, Storage::F32, Storage::F16][i % 3];
        // A seventh of the kernels on each target, another seventh on the next.
        let some = products(32, 4, 64, storage).into_iter().skip(i).step_by(7).collect();
        assemble(some, target);
    }
}

#[test]
fn every_planned_kernel_spills_no_register() {
    // Minutes for each target, so only for those named: every kernel of several networks.
    let Ok(chosen) = std::env::var("MNX_EVERY_TILE") else { return };
    for target in GPU_TARGETS.iter().filter(|t| t.name.contains(&chosen)) {
        for storage in [Storage::Bf16, Storage::F32, Storage::F16] {
            for (n, ratio, patch) in [(32, 2, 128), (32, 8, 128), (32, 4, 128), (20, 5, 64), (8, 8, 32), (64, 8, 64), (32, 3, 128)] {
                assemble(products(n, ratio, patch, storage), target);
            }
        }
    }
}
