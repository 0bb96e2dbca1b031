//! Kernels of GPU targets: what each computes, its buffers, its tile and its launch geometry.
//!
//! Activations are channels-last (`[n, d, h, w, c]`) in the storage type, channels rounded up to a multiple of [`CHANNELS`] with zeros: padded
//! weights keep them zero all through the network, and every row is a whole number of 16-byte pieces. Ports stay channels-first float32.
//! Accumulation, statistics, biases and depthwise taps are float32.

pub mod depthwise;
pub mod epilogue;
pub mod gemm;
mod lower;
pub mod mlp;
mod occupancy;
pub mod small;

use crate::args::{Arg, Element};
use crate::target::{Gpu, Target};

pub use depthwise::Depthwise;
pub use epilogue::{Epilogue, Residual};
pub use gemm::Gemm;
pub(crate) use lower::lower;
pub use mlp::Mlp;
pub use small::{Classify, Fold, LayerNorm, MergeGrn, MergeStats, Pointwise, SumParts};

pub use mnx_artifact::Geometry;

/// Channel counts are rounded up to a multiple of this: the depth of one tensor-core step.
pub const CHANNELS: usize = 16;

/// A channel count as it is stored.
pub fn padded(channels: usize) -> usize {
    channels.next_multiple_of(CHANNELS)
}

/// How activations and GEMM weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Storage {
    /// float32, multiplied by FMA: for checking.
    F32,
    /// bfloat16, multiplied by tensor cores.
    #[default]
    Bf16,
    /// float16, multiplied by tensor cores.
    F16,
}

impl Storage {
    /// Name on command lines and in bundles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// By name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::F32, Self::Bf16, Self::F16].into_iter().find(|s| s.as_str() == name)
    }

    /// Element type of a buffer.
    pub fn element(self) -> Element {
        match self {
            Self::F32 => Element::F32,
            Self::Bf16 => Element::Bf16,
            Self::F16 => Element::F16,
        }
    }

    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        self.element().bytes()
    }

    /// Element type of what never leaves a block: the convolution's result, hidden values, the weights that multiply them. Beside bfloat16 that is float16:
    /// as many bytes, as fast on tensor cores, three bits more. Normalisation and weights keep these values near 1; what flows from block to block,
    /// which nothing bounds, keeps the range of bfloat16.
    pub fn within_block(self) -> Self {
        match self {
            Self::F32 => Self::F32,
            Self::Bf16 | Self::F16 => Self::F16,
        }
    }
}

/// One launch on a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GpuKernel {
    /// Depthwise convolution with statistics.
    Depthwise(Depthwise),
    /// Partial statistics to mean and reciprocal standard deviation.
    MergeStats(MergeStats),
    /// Normalisation or GRN folded into a pointwise weight, per sample.
    Fold(Fold),
    /// Layer norm over channels.
    LayerNorm(LayerNorm),
    /// Expand, GELU, compress and the block's end, back to back in registers.
    Mlp(Mlp),
    /// One pointwise convolution as a GEMM, with GELU or the block's end.
    Gemm(Gemm),
    /// Partial sums, fewer of them.
    SumParts(SumParts),
    /// Partial sums of squares to GRN's ratio.
    MergeGrn(MergeGrn),
    /// A pointwise convolution from or to a port: stem, heads.
    Pointwise(Pointwise),
    /// Soft-max or arg-max.
    Classify(Classify),
}

/// Knobs for a message: `warps=4, stages=2`.
fn named(knobs: &[(&'static str, usize)]) -> String {
    mnx_words::commas(&knobs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
}

/// What every family of kernels answers.
pub(crate) trait Family {
    /// Buffers in the order of the kernel ABI.
    fn args(&self) -> Vec<Arg>;
    /// Grid, block and dynamic shared memory.
    fn geometry(&self) -> Geometry;
    /// The knobs of the tile.
    fn knobs(&self) -> Vec<(&'static str, usize)>;
    /// The place of a knob's value.
    fn knob(&mut self, name: &str) -> Option<&mut usize>;
    /// Takes the default tile for a target.
    fn choose(&mut self, gpu: &Gpu);
    /// What is wrong with the tile on this target.
    fn legal(&self, gpu: &Gpu) -> Result<(), String>;
    /// Name in the strategy table.
    fn strategy(&self) -> &'static str;
    /// Floating-point operations and GELUs.
    fn work(&self) -> (u64, u64);
}

impl GpuKernel {
    fn family(&self) -> &dyn Family {
        match self {
            Self::Depthwise(k) => k,
            Self::MergeStats(k) => k,
            Self::Fold(k) => k,
            Self::LayerNorm(k) => k,
            Self::Mlp(k) => k,
            Self::Gemm(k) => k,
            Self::SumParts(k) => k,
            Self::MergeGrn(k) => k,
            Self::Pointwise(k) => k,
            Self::Classify(k) => k,
        }
    }

    fn family_mut(&mut self) -> &mut dyn Family {
        match self {
            Self::Depthwise(k) => k,
            Self::MergeStats(k) => k,
            Self::Fold(k) => k,
            Self::LayerNorm(k) => k,
            Self::Mlp(k) => k,
            Self::Gemm(k) => k,
            Self::SumParts(k) => k,
            Self::MergeGrn(k) => k,
            Self::Pointwise(k) => k,
            Self::Classify(k) => k,
        }
    }

    /// Buffers in the order of the kernel ABI: one 64-bit pointer parameter each.
    pub fn args(&self) -> Vec<Arg> {
        self.family().args()
    }

    /// Grid, block and dynamic shared memory of the launch.
    pub fn geometry(&self) -> Geometry {
        self.family().geometry()
    }

    /// Blocks that the plan counts on having side by side on a multiprocessor, where it does. ptxas is told: left to itself, it spills a few registers
    /// for more blocks.
    pub fn side_by_side(&self, target: &Target) -> Option<usize> {
        let gpu = target.gpu.as_ref()?;
        match self {
            // Half of what was counted on leaves ptxas room where the estimate is low; it takes no more registers than it has use for.
            Self::Mlp(k) => Some((k.block().per_multiprocessor(gpu) / 2).max(1)),
            Self::Gemm(k) if k.gelu.is_some() => Some(1),
            Self::Gemm(k) => Some((k.block().per_multiprocessor(gpu) / 2).max(1)),
            // The estimate holds for plain 16-bit convolutions of few taps; elsewhere ptxas takes more, and would spill rather than give up a workgroup.
            Self::Depthwise(k) => {
                let plain = !k.conv.transposed && k.conv.stride == [1; 3] && k.conv.stem.is_none() && k.storage != Storage::F32;
                let few = crate::kernel::voxels(k.conv.taps) <= 27;
                Some(if plain && few { k.resident_by_registers().clamp(1, gpu.blocks_sm) } else { 1 })
            }
            _ => None,
        }
    }

    /// Knobs and values, as plans print them.
    pub fn knobs(&self) -> Vec<(&'static str, usize)> {
        self.family().knobs()
    }

    /// Name in the strategy table.
    pub fn strategy(&self) -> &'static str {
        self.family().strategy()
    }

    /// The place of a knob's value.
    pub(crate) fn knob(&mut self, name: &str) -> Option<&mut usize> {
        self.family_mut().knob(name)
    }

    /// Takes the default tile.
    pub(crate) fn choose(&mut self, target: &Target) {
        if let Some(gpu) = &target.gpu {
            self.family_mut().choose(gpu);
        }
    }

    /// Whether code can be made with this tile.
    ///
    /// # Errors
    /// What is wrong.
    pub fn legal(&self, target: &Target) -> Result<(), String> {
        let Some(gpu) = &target.gpu else { return Err(format!("{} is a GPU kernel, {} is no GPU", self.strategy(), target.name)) };
        self.family().legal(gpu)?;
        let g = self.geometry();
        let threads = g.block.iter().product::<u32>();
        if threads == 0 || threads > 1024 || !threads.is_multiple_of(32) {
            return Err(format!("{}: {threads} threads; a multiple of 32 up to 1024 expected", self.strategy()));
        }
        if g.shared_bytes as usize > gpu.shared_block {
            let most = gpu.shared_block;
            return Err(format!("{}: {} bytes of shared memory, {} has {most} per block", self.strategy(), g.shared_bytes, target.name));
        }
        if g.grid[0] == 0 || g.grid[1] > 65_535 || g.grid[2] > 65_535 {
            return Err(format!("{}: grid {} is outside what can be launched", self.strategy(), mnx_words::extents(&g.grid)));
        }
        Ok(())
    }

    /// Floating-point operations and GELUs of the launch.
    pub(crate) fn work(&self) -> (u64, u64) {
        self.family().work()
    }
}

/// Shorthand for the many kernels whose tile has no knobs.
macro_rules! no_knobs {
    () => {
        fn knobs(&self) -> Vec<(&'static str, usize)> {
            Vec::new()
        }
        fn knob(&mut self, _name: &str) -> Option<&mut usize> {
            None
        }
        fn choose(&mut self, _gpu: &Gpu) {}
    };
}
use no_knobs;

#[cfg(test)]
mod matrix_tests {
    use super::*;
    use crate::kernel::{Gelu, Kernel};
    use crate::knobs::choose;
    use crate::target::GPU_TARGETS;

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

    #[test]
    fn the_tile_of_every_product_is_legal_on_every_gpu() {
        for target in GPU_TARGETS {
            for (n, ratio, patch) in
                [(8, 2, 32), (12, 3, 64), (16, 3, 32), (20, 5, 64), (32, 2, 128), (32, 8, 128), (48, 4, 96), (64, 8, 64), (64, 4, 160)]
            {
                for storage in [Storage::F32, Storage::Bf16, Storage::F16] {
                    for kernel in products(n, ratio, patch, storage) {
                        let mut kernel = Kernel::Gpu(kernel);
                        choose(&mut kernel, target);
                        let Kernel::Gpu(kernel) = kernel else { unreachable!() };
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
                let mut kernel = Kernel::Gpu(kernel);
                choose(&mut kernel, target);
                if let Kernel::Gpu(GpuKernel::Mlp(k)) = &kernel
                    && crate::kernel::voxels(k.grid) > 100_000
                {
                    assert!(k.rows() >= 64, "{}: {k:?}", target.name);
                }
            }
        }
    }
}
