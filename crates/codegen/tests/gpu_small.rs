//! Small GPU kernels compile to PTX for every target.
#![allow(clippy::unwrap_used)]

use mnx_plan::Kernel;
use mnx_plan::gpu::fold::Folded;
use mnx_plan::gpu::*;
use mnx_plan::target::GPU_TARGETS;
use mnx_plan::vocabulary::{Bits, Storage};
use mnx_plan::work::{self, GrnRatio, Moments};

#[test]
fn every_small_kernel_becomes_ptx() {
    let classify = |argmax| GpuKernel::Classify(Classify { classify: work::Classify { batch: 2, classes: 5, space: 105, argmax } });
    for storage in [Storage::F32, Storage::Bf16, Storage::F16] {
        let kernels = vec![
            GpuKernel::MergeStats(MergeStats { moments: Moments { batch: 2, channels: 48, count: 999, eps: Bits::of(1e-5) }, parts: 37 }),
            GpuKernel::Fold(Fold { batch: 2, channels: 48, rows: 96, folded: Folded::Norm, storage }),
            GpuKernel::Fold(Fold { batch: 2, channels: 96, rows: 48, folded: Folded::Grn, storage }),
            GpuKernel::LayerNorm(LayerNorm { voxels: 77, channels: 40, eps: Bits::of(1e-5), storage }),
            GpuKernel::SumParts(SumParts { batch: 2, channels: 96, parts: 77, group: 5 }),
            GpuKernel::MergeGrn(MergeGrn { ratio: GrnRatio { batch: 2, channels: 90, eps: Bits::of(1e-6), mean: true }, parts: 16 }),
            GpuKernel::Pointwise(Pointwise {
                pointwise: work::Pointwise {
                    batch: 2,
                    input: [3, 5, 7],
                    output: [3, 5, 7],
                    stride: [1; 3],
                    in_channels: 48,
                    out_channels: 11,
                    in_first: false,
                    out_first: true,
                    bias: true,
                },
                storage,
            }),
            classify(true),
            classify(false),
        ];
        let named: Vec<(String, Kernel)> = kernels
            .into_iter()
            .enumerate()
            .map(|(i, k)| (format!("{}_{i}", k.strategy().name.replace('.', "_")), Kernel::Gpu(k)))
            .collect();
        for target in GPU_TARGETS {
            let ptx = mnx_codegen::compile(&named, target, &mut |_, _, _| {}).unwrap();
            let text = String::from_utf8(ptx).unwrap();
            assert_eq!(text.matches(".visible .entry").count(), named.len());
            if let Some(dir) = std::env::var_os("MNX_SHOW_PTX") {
                std::fs::write(std::path::Path::new(&dir).join(format!("{}_{}.ptx", target.name, storage.as_str())), &text).unwrap();
            }
        }
    }
}
