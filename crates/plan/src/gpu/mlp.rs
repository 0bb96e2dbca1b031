//! Expand, GELU, compress and the block's end in one kernel, the hidden values in registers.

use super::epilogue::Epilogue;
use super::{Family, Geometry, Storage};
use crate::args::Arg;
use crate::kernel::{Extent, Gelu, voxels};
use crate::target::Gpu;

/// `h = gelu(w2 x + b2)`, `value = w3 h + b3`, then the epilogue. Normalisation (and GRN) are folded into the weights, per sample, by an earlier launch.
///
/// Args: `x` storage `[n, grid, c]`, `w2` storage `[n?, hidden, c]`, `b2` f32 `[n?, hidden]`, `w3` storage `[n?, out, hidden]`, `b3` f32 `[n?, out]`, then those of
/// [`Epilogue::args`]. `n?` is there where `folded` (w2, b2) and `grn_folded` (w3, b3) say so.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mlp {
    /// Samples.
    pub batch: usize,
    /// Grid.
    pub grid: Extent,
    /// Input channels, padded.
    pub channels: usize,
    /// Hidden channels, padded.
    pub hidden: usize,
    /// Output channels, padded.
    pub out_channels: usize,
    /// Whether w2 and b2 are per sample.
    pub folded: bool,
    /// Whether w3 and b3 are per sample.
    pub grn_folded: bool,
    /// How closely GELU is computed.
    pub gelu: Gelu,
    /// The block's end.
    pub epilogue: Epilogue,
    /// Element type of activations and weights.
    pub storage: Storage,
    /// The schedule.
    pub tile: Tile,
}

/// How it is cut. Grid: x = groups of `tiles` row tiles, y = samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tile {
    /// Warps per workgroup; each owns `16 * m_tiles` voxels of a tile.
    pub warps: usize,
    /// Tensor-core row blocks per warp.
    pub m_tiles: usize,
    /// Hidden channels per staged piece of the weights; a multiple of 16 that divides the hidden channels.
    pub chunk: usize,
    /// Weight pieces in shared memory; if all fit, they are loaded once per workgroup.
    pub stages: usize,
    /// Row tiles that a workgroup works through.
    pub tiles: usize,
}

impl Mlp {
    /// Voxels per row tile.
    pub fn rows(&self) -> usize {
        self.tile.warps * 16 * self.tile.m_tiles
    }

    /// Elements between rows of the staged input and of staged w2: 16 bytes more than a row, so that eight rows fall into different banks.
    pub fn pitch(&self) -> usize {
        self.channels + 16 / self.storage.bytes()
    }

    /// Elements between rows of staged w3.
    pub fn chunk_pitch(&self) -> usize {
        self.tile.chunk + 16 / self.storage.bytes()
    }

    /// Byte offsets in shared memory: input tile, stages (each w2 piece, w3 piece, b2 piece), end.
    pub fn shared(&self) -> Shared {
        let e = self.storage.bytes();
        let x = (self.rows() * self.pitch() * e).next_multiple_of(128);
        let w2 = (self.tile.chunk * self.pitch() * e).next_multiple_of(128);
        let w3 = (self.out_channels * self.chunk_pitch() * e).next_multiple_of(128);
        let b2 = (self.tile.chunk * 4).next_multiple_of(128);
        Shared { stage_0: x, w3: w2, b2: w2 + w3, stage: w2 + w3 + b2, end: x + self.tile.stages * (w2 + w3 + b2) }
    }

    /// Whether all weights stay in shared memory.
    pub fn resident(&self) -> bool {
        self.tile.stages * self.tile.chunk >= self.hidden
    }
}

/// Byte offsets in shared memory; the input tile stands at 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shared {
    /// First stage (its w2 piece).
    pub stage_0: usize,
    /// w3 piece within a stage.
    pub w3: usize,
    /// b2 piece within a stage.
    pub b2: usize,
    /// Bytes of a stage.
    pub stage: usize,
    /// All of it.
    pub end: usize,
}

impl Family for Mlp {
    fn args(&self) -> Vec<Arg> {
        let element = self.storage.element();
        let per = |folded: bool| if folded { self.batch } else { 1 };
        let (n2, n3) = (per(self.folded), per(self.grn_folded));
        let mut args = vec![
            Arg::read("x", self.batch * voxels(self.grid) * self.channels).of(element),
            Arg::read("w2", n2 * self.hidden * self.channels).of(element),
            Arg::read("b2", n2 * self.hidden),
            Arg::read("w3", n3 * self.out_channels * self.hidden).of(element),
            Arg::read("b3", n3 * self.out_channels),
        ];
        args.extend(self.epilogue.args(self.batch, self.grid, self.out_channels, self.storage));
        args
    }

    fn geometry(&self) -> Geometry {
        let tiles = voxels(self.grid).div_ceil(self.rows().max(1));
        Geometry {
            grid: [tiles.div_ceil(self.tile.tiles.max(1)) as u32, self.batch as u32, 1],
            block: [32 * self.tile.warps as u32, 1, 1],
            shared_bytes: self.shared().end as u32,
        }
    }

    fn knobs(&self) -> Vec<(&'static str, usize)> {
        let t = &self.tile;
        vec![("warps", t.warps), ("m_tiles", t.m_tiles), ("chunk", t.chunk), ("stages", t.stages), ("tiles", t.tiles)]
    }

    fn knob(&mut self, name: &str) -> Option<&mut usize> {
        let t = &mut self.tile;
        Some(match name {
            "warps" => &mut t.warps,
            "m_tiles" => &mut t.m_tiles,
            "chunk" => &mut t.chunk,
            "stages" => &mut t.stages,
            "tiles" => &mut t.tiles,
            _ => return None,
        })
    }

    fn choose(&mut self, gpu: &Gpu) {
        let m_tiles = if self.out_channels.max(self.channels) <= 64 && self.storage != Storage::F32 { 2 } else { 1 };
        let chunk = [64, 48, 32, 16].into_iter().find(|c| self.hidden.is_multiple_of(*c)).unwrap_or(16);
        self.tile = Tile { warps: 4, m_tiles, chunk, stages: (self.hidden / chunk).min(4), tiles: 1 };
        // Two workgroups should stand on a multiprocessor side by side.
        while self.shared().end > gpu.shared_sm / 2 - 1024 && self.tile.stages > 2 {
            self.tile.stages -= 1;
        }
        while self.shared().end > gpu.shared_block && self.tile.chunk > 16 {
            self.tile.chunk = [32, 16].into_iter().find(|c| *c < self.tile.chunk && self.hidden.is_multiple_of(*c)).unwrap_or(16);
        }
        let tiles = voxels(self.grid).div_ceil(self.rows());
        self.tile.tiles = (tiles * self.batch / (4 * gpu.sms)).clamp(1, 16);
    }

    fn legal(&self, _gpu: &Gpu) -> Result<(), String> {
        let t = &self.tile;
        if t.warps == 0 || t.m_tiles == 0 || t.tiles == 0 || t.stages == 0 {
            return Err(format!("tile {t:?}: nothing may be 0"));
        }
        if t.chunk == 0 || t.chunk % 16 != 0 || self.hidden % t.chunk != 0 {
            return Err(format!("{} hidden channels per piece must be a multiple of 16 that divides {}", t.chunk, self.hidden));
        }
        if !self.resident() && t.stages < 2 {
            return Err("streamed weights need two stages".into());
        }
        // Accumulators of a warp, 4 per thread and block of 16 by 8, beside everything else.
        if t.m_tiles * self.out_channels / 2 > 160 {
            return Err(format!("{} accumulators per thread do not fit its registers", t.m_tiles * self.out_channels / 2));
        }
        Ok(())
    }

    fn strategy(&self) -> &'static str {
        "gpu.mlp"
    }

    fn work(&self) -> (u64, u64) {
        let m = self.batch * voxels(self.grid);
        let flops = 2 * (m * self.hidden * (self.channels + self.out_channels)) as u64;
        (flops + self.epilogue.flops(m, self.out_channels), (m * self.hidden) as u64)
    }
}
