//! Default tiles of the matrix kernels over the shapes of the MedNeXt family.

use super::*;
use crate::kernel::Kernel;
use crate::target::{GPU_TARGETS, Target};
use crate::vocabulary::{Gelu, voxels};
use crate::work::Residual;

/// Every MLP of the networks of `n` channels at ratio `ratio`, patch `patch`: plain, down and up blocks, as one kernel or two.
fn products(n: usize, ratio: usize, patch: usize, storage: Storage) -> Vec<GpuKernel> {
    let mut all = Vec::new();
    for level in 0..5 {
        let (c, extent) = (n << level, patch >> level);
        let ends = [(c, extent, [0; 3]), (2 * c, extent.div_ceil(2), [0; 3]), (c.div_ceil(2), 2 * extent - 1, [1; 3])];
        for (out, grid, pad_front) in ends {
            let (channels, hidden, out_channels) = (padded(c), padded(ratio * c), padded(out));
            let grid = [grid; 3];
            let epilogue = Epilogue { residual: Residual::Identity, pad_front, skip: true, ..Epilogue::STORE };
            let (folded, gelu) = (true, Gelu::Accurate);
            if out_channels <= 128 && channels <= 256 {
                let tile = Default::default();
                let grn_folded = false;
                let epilogue = epilogue.clone();
                all.push(GpuKernel::Mlp(Mlp {
                    batch: 1,
                    grid,
                    channels,
                    hidden,
                    out_channels,
                    norm: Mlp::may_norm(channels, hidden, out_channels, storage),
                    folded,
                    grn_folded,
                    gelu,
                    epilogue,
                    storage,
                    stream: storage,
                    tile,
                }));
            }
            let gemm = |channels, out_channels, gelu, epilogue| {
                let (squares, tile) = (false, Default::default());
                let (from, stride) = (grid, [1; 3]);
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
                    stream: storage,
                    tile,
                })
            };
            all.push(gemm(channels, hidden, Some(gelu), Epilogue::STORE));
            all.push(gemm(hidden, out_channels, None, epilogue));
        }
    }
    all
}

fn chosen(kernel: GpuKernel, target: &Target) -> Kernel {
    let mut kernel = Kernel::Gpu(kernel);
    kernel.choose(target).unwrap();
    kernel
}

#[test]
fn the_tile_of_every_product_is_legal_on_every_gpu() {
    for target in GPU_TARGETS {
        for (n, ratio, patch) in
            [(8, 2, 32), (12, 3, 64), (16, 3, 32), (20, 5, 64), (32, 2, 128), (32, 8, 128), (48, 4, 96), (64, 8, 64), (64, 4, 160)]
        {
            for storage in [Storage::F32, Storage::Bf16, Storage::F16] {
                for kernel in products(n, ratio, patch, storage) {
                    let kernel = chosen(kernel, target);
                    assert_eq!(kernel.legal(target), Ok(()), "{}: {kernel:?}", target.name);
                }
            }
        }
    }
}

#[test]
fn large_tensors_get_tiles_that_share_weights() {
    for target in GPU_TARGETS {
        for kernel in products(32, 3, 128, Storage::Bf16) {
            let kernel = chosen(kernel, target);
            if let Kernel::Gpu(GpuKernel::Mlp(k)) = &kernel
                && voxels(k.grid) > 100_000
            {
                assert!(k.rows() >= 64, "{}: {k:?}", target.name);
            }
        }
    }
}
