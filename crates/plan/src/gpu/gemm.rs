//! One pointwise convolution as a GEMM: the two halves of an MLP whose channels are many and voxels few, and residual convolutions.

use super::epilogue::Epilogue;
use super::{Family, Geometry, Storage};
use crate::args::Arg;
use crate::kernel::{Extent, Gelu, voxels};
use crate::target::Gpu;

/// `value[m] = w x[m * stride] + b` for every voxel m of `grid`; with `gelu`, `value = gelu(value)`; with `squares`, only the sums of the squares
/// of the values leave the kernel; else the epilogue.
///
/// Args: `x` storage `[n, from, k]`, `w` storage `[n?, out, k]`, `b` f32 `[n?, out]` (`n?` where `folded`), then with `squares` `partials` f32 `[n, parts, out]`,
/// else those of [`Epilogue::args`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gemm {
    /// Samples.
    pub batch: usize,
    /// Grid of the result.
    pub grid: Extent,
    /// Extent of x.
    pub from: Extent,
    /// Stride per axis.
    pub stride: Extent,
    /// Input channels, padded.
    pub channels: usize,
    /// Output channels, padded.
    pub out_channels: usize,
    /// Whether w and b are per sample.
    pub folded: bool,
    /// GELU on the values, if any.
    pub gelu: Option<Gelu>,
    /// Whether sums of squares are all that is wanted.
    pub squares: bool,
    /// The block's end (no head).
    pub epilogue: Epilogue,
    /// Element type of activations and weights.
    pub storage: Storage,
    /// The schedule.
    pub tile: Tile,
}

/// How it is cut. Grid: x = row tiles, y = column tiles, z = samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tile {
    /// Warps per workgroup; each owns `16 * m_tiles` voxels.
    pub warps: usize,
    /// Tensor-core row blocks per warp.
    pub m_tiles: usize,
    /// Output channels per workgroup; a multiple of 16 that divides the output channels.
    pub columns: usize,
    /// Input channels per step; a multiple of 16 that divides the input channels.
    pub depth: usize,
    /// Steps in shared memory.
    pub stages: usize,
}

impl Gemm {
    /// Voxels per workgroup.
    pub fn rows(&self) -> usize {
        self.tile.warps * 16 * self.tile.m_tiles
    }

    /// Row tiles: rows of `partials` per sample.
    pub fn parts(&self) -> usize {
        voxels(self.grid).div_ceil(self.rows().max(1))
    }

    /// Elements between staged rows.
    pub fn pitch(&self) -> usize {
        self.tile.depth + 16 / self.storage.bytes()
    }

    /// Bytes of a stage: rows of x, then rows of w. The second number is where w starts.
    pub fn stage_bytes(&self) -> (usize, usize) {
        let row = self.pitch() * self.storage.bytes();
        let x = (self.rows() * row).next_multiple_of(128);
        (x + (self.tile.columns * row).next_multiple_of(128), x)
    }
}

impl Family for Gemm {
    fn args(&self) -> Vec<Arg> {
        let element = self.storage.element();
        let n = if self.folded { self.batch } else { 1 };
        let mut args = vec![
            Arg::read("x", self.batch * voxels(self.from) * self.channels).of(element),
            Arg::read("w", n * self.out_channels * self.channels).of(element),
            Arg::read("b", n * self.out_channels),
        ];
        if self.squares {
            args.push(Arg::write("partials", self.batch * self.parts() * self.out_channels));
        } else {
            args.extend(self.epilogue.args(self.batch, self.grid, self.out_channels, self.storage));
        }
        args
    }

    fn geometry(&self) -> Geometry {
        // Sums of squares are gathered over the warps in shared memory at the end, one row per warp.
        let gathered = if self.squares { self.tile.warps * self.tile.columns * 4 } else { 0 };
        Geometry {
            grid: [self.parts() as u32, self.out_channels.div_ceil(self.tile.columns.max(1)) as u32, self.batch as u32],
            block: [32 * self.tile.warps as u32, 1, 1],
            shared_bytes: (self.tile.stages * self.stage_bytes().0).max(gathered) as u32,
        }
    }

    fn knobs(&self) -> Vec<(&'static str, usize)> {
        let t = &self.tile;
        vec![("warps", t.warps), ("m_tiles", t.m_tiles), ("columns", t.columns), ("depth", t.depth), ("stages", t.stages)]
    }

    fn knob(&mut self, name: &str) -> Option<&mut usize> {
        let t = &mut self.tile;
        Some(match name {
            "warps" => &mut t.warps,
            "m_tiles" => &mut t.m_tiles,
            "columns" => &mut t.columns,
            "depth" => &mut t.depth,
            "stages" => &mut t.stages,
            _ => return None,
        })
    }

    fn choose(&mut self, gpu: &Gpu) {
        let divisor = |n: usize, most: &[usize]| most.iter().copied().find(|c| n.is_multiple_of(*c)).unwrap_or(16);
        let columns = divisor(self.out_channels, &[64, 48, 32]);
        let depth = divisor(self.channels, &[64, 32]);
        self.tile = Tile { warps: 4, m_tiles: 2, columns, depth, stages: (self.channels / depth).clamp(1, 3) };
        let groups = |k: &Self| k.geometry().grid.iter().product::<u32>() as usize;
        if groups(self) < 2 * gpu.sms || self.storage == Storage::F32 {
            self.tile.m_tiles = 1;
        }
        while groups(self) < gpu.sms && self.tile.columns % 32 == 0 {
            self.tile.columns /= 2;
        }
        while self.geometry().shared_bytes as usize > gpu.shared_block && self.tile.depth % 32 == 0 {
            self.tile.depth /= 2;
        }
    }

    fn legal(&self, _gpu: &Gpu) -> Result<(), String> {
        let t = &self.tile;
        if t.warps == 0 || t.m_tiles == 0 || t.stages == 0 {
            return Err(format!("tile {t:?}: nothing may be 0"));
        }
        let fits = |part: usize, whole: usize| part != 0 && part % 16 == 0 && whole % part == 0;
        if !fits(t.columns, self.out_channels) || !fits(t.depth, self.channels) {
            return Err(format!(
                "columns={} depth={} must be multiples of 16 that divide {} and {}",
                t.columns, t.depth, self.out_channels, self.channels
            ));
        }
        if t.m_tiles * t.columns / 2 > 128 {
            return Err(format!("{} accumulators per thread do not fit its registers", t.m_tiles * t.columns / 2));
        }
        if self.epilogue.head.is_some() {
            return Err("a head needs all output channels in one workgroup; gpu.mlp fuses it, gpu.gemm does not".into());
        }
        Ok(())
    }

    fn strategy(&self) -> &'static str {
        "gpu.gemm"
    }

    fn work(&self) -> (u64, u64) {
        let m = self.batch * voxels(self.grid);
        let flops = 2 * (m * self.channels * self.out_channels) as u64;
        let gelus = if self.gelu.is_some() { (m * self.out_channels) as u64 } else { 0 };
        (flops + self.epilogue.flops(m, self.out_channels), gelus)
    }
}
