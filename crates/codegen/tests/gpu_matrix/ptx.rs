//! The matrix kernels compile to PTX, as planned for every level of the networks.
#![allow(clippy::unwrap_used)]

use mnx_plan::gpu::*;
use mnx_plan::kernel::{Gelu, Kernel};
use mnx_plan::target::GPU_TARGETS;

fn mlp(grid: [usize; 3], channels: usize, ratio: usize, out: usize, epilogue: Epilogue, storage: Storage) -> GpuKernel {
    let hidden = channels * ratio;
    let (folded, grn_folded, gelu) = (true, false, Gelu::Accurate);
    GpuKernel::Mlp(Mlp {
        batch: 1,
        grid,
        channels,
        hidden,
        out_channels: out,
        folded,
        grn_folded,
        gelu,
        epilogue,
        storage,
        tile: Default::default(),
    })
}

#[test]
fn shown() {
    let plain = Epilogue { residual: Residual::Identity, ..Epilogue::STORE };
    for storage in [Storage::Bf16, Storage::F16, Storage::F32] {
        let kernels = vec![
            mlp([128; 3], 32, 2, 32, plain.clone(), storage),
            mlp([64; 3], 64, 3, 64, plain.clone(), storage),
            mlp([32; 3], 128, 4, 128, plain.clone(), storage),
            mlp([64; 3], 32, 2, 64, plain.clone(), storage),
            mlp([63; 3], 128, 3, 64, Epilogue { pad_front: [1; 3], skip: true, residual: Residual::Scattered { from: [32; 3], stride: [2; 3] }, ..plain.clone() }, storage),
            mlp([33; 3], 48, 3, 48, Epilogue { residual: Residual::Stem { channels: 2 }, head: Some(5), store: false, ..plain.clone() }, storage),
            mlp([32; 3], 256, 4, 128, plain.clone(), storage),
        ];
        for target in GPU_TARGETS {
            let named: Vec<(String, Kernel)> = kernels
                .iter()
                .enumerate()
                .map(|(i, k)| {
                    let mut kernel = Kernel::Gpu(k.clone());
                    mnx_plan::knobs::choose(&mut kernel, target);
                    (format!("{}_{i}", k.strategy().replace('.', "_")), kernel)
                })
                .collect();
            let ptx = mnx_codegen::compile(&named, target, &mut |_, _, _| {}).unwrap();
            let text = String::from_utf8(ptx).unwrap();
            if let Some(dir) = std::env::var_os("MNX_SHOW_PTX") {
                std::fs::write(std::path::Path::new(&dir).join(format!("{}_{}.ptx", target.name, storage.as_str())), &text).unwrap();
            }
        }
    }
}
