//! Kernels of NVIDIA GPUs.
//!
//! Activations are channels-last (`[n, d, h, w, c]`) in the storage type, channels rounded up to a multiple of [`CHANNELS`] with zeros: padded
//! weights keep them zero all through the network, and every row is a whole number of 16-byte pieces. Ports stay channels-first float32.
//! Accumulation, statistics, biases and depthwise taps are float32.

mod chooser;
pub mod epilogue;
mod lower;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::family::kernel_enum;
use crate::target::Gpu;
use crate::vocabulary::Storage;

pub use epilogue::Epilogue;
pub use mnx_artifact::Geometry;

/// THE TABLE of GPU kernels: one row per family, handed to a macro as `callback! { rows }`. A row's module is the family's file here and its emitter's in code generation.
/// A task goes to the first family that takes it.
#[macro_export]
macro_rules! gpu_kernels {
    ($callback:ident ! ( $($before:tt)* )) => {
        $callback! { $($before)*
            /// Depthwise convolution with statistics.
            Depthwise in depthwise;
            /// Partial statistics to mean and reciprocal standard deviation.
            MergeStats in merge_stats;
            /// Normalisation or GRN folded into a pointwise weight, per sample.
            Fold in fold;
            /// Layer norm over channels.
            LayerNorm in layer_norm;
            /// Expand, GELU, compress and the block's end, back to back in registers.
            Mlp in mlp;
            /// One pointwise convolution as a GEMM, with GELU or the block's end.
            Gemm in gemm;
            /// Partial sums, fewer of them.
            SumParts in sum_parts;
            /// Partial sums of squares to GRN's ratio.
            MergeGrn in merge_grn;
            /// A pointwise convolution from or to a port: stem, heads.
            Pointwise in pointwise;
            /// Soft-max or arg-max.
            Classify in classify;
        }
    };
}

gpu_kernels!(kernel_enum!(
    /// One launch on a GPU.
    GpuKernel on Gpu;
));

/// Channel counts are rounded up to a multiple of this: the depth of one tensor-core step.
pub const CHANNELS: usize = 16;

/// Threads of the kernels whose workgroups are not tiled.
pub const THREADS: usize = 256;

/// A channel count as it is stored.
pub fn padded(channels: usize) -> usize {
    channels.next_multiple_of(CHANNELS)
}

/// A launch of [`THREADS`] threads per block, `per_block` items each, by sample.
fn flat(items: usize, per_block: usize, batch: usize, shared_bytes: usize) -> Geometry {
    Geometry { grid: [items.div_ceil(per_block) as u32, batch as u32, 1], block: [THREADS as u32, 1, 1], shared_bytes: shared_bytes as u32 }
}

impl GpuKernel {
    /// Grid, block and dynamic shared memory of the launch.
    pub fn geometry(&self) -> Geometry {
        self.family().geometry().unwrap_or(Geometry { grid: [0; 3], block: [0; 3], shared_bytes: 0 })
    }

    /// Blocks that the plan counts on having side by side on a multiprocessor, where it does.
    pub fn side_by_side(&self, gpu: &Gpu) -> Option<usize> {
        self.family().side_by_side(gpu)
    }

    /// Whether the launch is within what a driver accepts.
    pub(crate) fn launchable(&self, target: &str, gpu: &Gpu) -> Result<(), String> {
        let (g, name) = (self.geometry(), self.strategy().name);
        let threads = g.block.iter().product::<u32>();
        if threads == 0 || threads > 1024 || !threads.is_multiple_of(32) {
            return Err(format!("{name}: {threads} threads; a multiple of 32 up to 1024 expected"));
        }
        if g.shared_bytes as usize > gpu.shared_block {
            return Err(format!("{name}: {} bytes of shared memory, {target} has {} per block", g.shared_bytes, gpu.shared_block));
        }
        if g.grid[0] == 0 || g.grid[1] > 65_535 || g.grid[2] > 65_535 {
            return Err(format!("{name}: grid {} is outside what can be launched", mnx_words::extents(&g.grid)));
        }
        Ok(())
    }
}
