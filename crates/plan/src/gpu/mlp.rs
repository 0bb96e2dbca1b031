//! Expand, GELU, compress and the block's end in one kernel, the hidden values in registers.

use serde::{Deserialize, Serialize};

use super::chooser::{self, Load};
use super::epilogue::Epilogue;
use super::lower::block;
use super::{Geometry, GpuKernel, Storage};
use crate::family::{Arithmetic, Family, Row, Strategy, named, tile, tiled};
use crate::lowering::Lowering;
use crate::machine::{Block, gelu_instructions};
use crate::slot::{Arg, Slot};
use crate::target::Gpu;
use crate::vocabulary::{Extent, Gelu, voxels};
use crate::work::{Task, Work};

/// Registers up to which a warp keeps its rows of x.
const HELD: usize = 32;

/// Bytes of weights up to which every workgroup folds the normalisation in by itself: they fit in any chip's shared memory, and folding them costs less
/// than a launch does.
const FOLDED_WITHIN: usize = 48 * 1024;

/// `h = gelu(w2 x + b2)`, `value = w3 h + b3`, then the epilogue. Normalisation is folded into the weights: with `norm` by each workgroup before its first row tile, else,
/// as GRN always is, by an earlier launch per sample.
///
/// Args: `x` storage `[n, grid, c]`, with `norm` `stats` f32 `[n, 2, c]` (mean, rstd), `w2` storage `[n?, hidden, c]`, `b2` f32 `[n?, hidden]`, `w3` storage `[n?, out, hidden]`, `b3` f32 `[n?, out]`, then those of
/// the epilogue. `n?` is there where `folded` (w2, b2) and `grn_folded` (w3, b3) say so.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Whether x is normalised by `stats`; all weights then stay in shared memory.
    pub norm: bool,
    /// Whether w2 and b2 are per sample.
    pub folded: bool,
    /// Whether w3 and b3 are per sample.
    pub grn_folded: bool,
    /// How closely GELU is computed.
    pub gelu: Gelu,
    /// The block's end.
    pub epilogue: Epilogue,
    /// Element type of both factors.
    pub storage: Storage,
    /// Element type of what the block's end reads and writes, of as many bytes.
    pub stream: Storage,
    /// The schedule.
    #[serde(skip)]
    pub tile: Tile,
}

tile! {
    /// How it is cut. Grid: x = groups of `tiles` row tiles, y = samples.
    pub struct Tile {
        /// Warps per workgroup; each owns `16 * m_tiles` voxels of a tile.
        warps,
        /// Tensor-core row blocks per warp.
        m_tiles,
        /// Hidden channels per staged piece of the weights; a multiple of 16 that divides the hidden channels.
        chunk,
        /// Weight pieces in shared memory; if all fit, they are loaded once per workgroup.
        stages,
        /// Row tiles that a workgroup works through.
        tiles,
    }
}

impl Mlp {
    /// Whether the weights are few enough for `norm`.
    pub fn may_norm(channels: usize, hidden: usize, out_channels: usize, storage: Storage) -> bool {
        hidden * (channels + out_channels) * storage.bytes() <= FOLDED_WITHIN
    }

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

    /// Whether a warp keeps its rows of x in registers for all hidden channels.
    pub fn held(&self) -> bool {
        self.storage != Storage::F32 && self.tile.m_tiles * self.channels / 4 <= HELD
    }

    /// Times 16 hidden channels that a warp works on side by side: two where one row block would leave too few independent GELUs.
    pub fn side(&self) -> usize {
        if self.storage != Storage::F32 && self.tile.m_tiles == 1 && self.tile.chunk.is_multiple_of(32) { 2 } else { 1 }
    }

    /// Registers that a thread needs, about: sums of the result beside x and hidden values with GELU's intermediate ones, or beside what the block's
    /// end adds to them; addresses.
    fn registers(&self) -> usize {
        let m = self.tile.m_tiles;
        let sums = m * self.out_channels / 2;
        let inner = if self.storage == Storage::F32 {
            64 + 40 * m
        } else {
            let held = if self.held() { m * self.channels / 4 } else { 4 * m };
            held + 16 * m * self.side()
        };
        // The ring of stages has places of its own.
        let ring = if self.resident() { 0 } else { 16 };
        // So have voxels whose coordinates matter.
        let located = if self.epilogue.located() && self.storage != Storage::F32 { 16 } else { 0 };
        sums + 48 + ring + located + inner.max(self.epilogue.registers(m, self.out_channels, self.storage))
    }

    /// What a launch costs with this tile; none where it does not fit.
    fn cycles(&self, gpu: &Gpu) -> Option<f64> {
        let t = &self.tile;
        let tiles = voxels(self.grid).div_ceil(self.rows());
        let groups = tiles.div_ceil(t.tiles);
        // Row tiles of an average workgroup.
        let own = tiles as f64 / groups as f64;
        let e = self.storage.bytes() as f64;
        let (c, out, hidden, m) = (self.channels as f64, self.out_channels as f64, self.hidden as f64, t.m_tiles as f64);
        let gelu = 8.0 * gelu_instructions(self.gelu);
        // Of 16 voxels by 16 hidden channels: instructions, cycles of shared memory, multiply-adds on tensor cores.
        let unit = if self.storage == Storage::F32 {
            let loads = c / 16.0 * (8.0 + 16.0 / m) + out / m + 32.0;
            (gelu + 8.0 * (c + out) + loads, 2.0 * loads, 0.0)
        } else {
            let again = if self.held() { 0.0 } else { c / 16.0 };
            let loads = ((c + out) / 16.0 + 2.0) / m + again;
            (gelu + 4.0 + (c + out) / 8.0 + loads + 8.0 / m, 4.0 * loads, 256.0 * (c + out))
        };
        let row_blocks = own * (t.warps * t.m_tiles) as f64;
        let units = row_blocks * hidden / 16.0;
        let weights = hidden * (c + out) * e * if self.resident() { 1.0 } else { own };
        let steps = if self.resident() { 0.0 } else { own * (self.hidden / t.chunk) as f64 };
        let moved = row_blocks * 16.0 * (c + 2.0 * out) * e;
        // A piece of 16 bytes of w2 at a time: loaded, multiplied, rounded, stored, summed.
        let folding = if self.norm { hidden * c * e / 16.0 / 32.0 * 50.0 } else { 0.0 };
        let load = Load {
            instructions: units * unit.0 + row_blocks * (4.0 * out + 60.0) + weights / 16.0 / 32.0 * 4.0 + folding,
            shared: units * unit.1 + (weights + row_blocks * 16.0 * c * e) / 128.0,
            tensor: units * unit.2,
            cache: weights + moved,
            memory: moved,
            steps,
            ahead: t.stages as f64 - 1.0,
        };
        self.block().cycles(gpu, groups * self.batch, &load)
    }

    /// A workgroup as the multiprocessor sees it.
    pub(super) fn block(&self) -> Block {
        Block { warps: self.tile.warps, registers: self.registers(), shared: self.shared().end }
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
    type Machine = Gpu;
    tiled!();
    fn args(&self) -> Vec<Arg> {
        let element = self.storage.element();
        let per = |folded: bool| if folded { self.batch } else { 1 };
        let (n2, n3) = (per(self.folded), per(self.grn_folded));
        let mut args = vec![Arg::read(Slot::X, self.batch * voxels(self.grid) * self.channels).of(element)];
        if self.norm {
            args.push(Arg::read(Slot::Stats, self.batch * 2 * self.channels));
        }
        args.extend([
            Arg::read(Slot::W2, n2 * self.hidden * self.channels).of(element),
            Arg::read(Slot::B2, n2 * self.hidden),
            Arg::read(Slot::W3, n3 * self.out_channels * self.hidden).of(element),
            Arg::read(Slot::B3, n3 * self.out_channels),
        ]);
        args.extend(self.epilogue.args(self.batch, self.grid, self.out_channels, self.stream));
        args
    }

    fn geometry(&self) -> Option<Geometry> {
        let tiles = voxels(self.grid).div_ceil(self.rows().max(1));
        Some(Geometry {
            grid: [tiles.div_ceil(self.tile.tiles.max(1)) as u32, self.batch as u32, 1],
            block: [32 * self.tile.warps as u32, 1, 1],
            shared_bytes: self.shared().end as u32,
        })
    }

    fn choose(&mut self, gpu: &Gpu) {
        // A tile that is always legal; what follows looks for the best.
        let pieces = self.hidden / 16;
        self.tile = Tile { warps: 1, m_tiles: 1, chunk: 16, stages: if self.norm { pieces } else { pieces.min(2) }, tiles: 1 };
        let whole = voxels(self.grid);
        let mut found = Vec::new();
        for chunk in (16..=128).step_by(16).filter(|c| self.hidden.is_multiple_of(*c)) {
            let pieces = self.hidden / chunk;
            for stages in [pieces, 4, 3, 2].into_iter().filter(|s| *s <= pieces) {
                for (warps, m_tiles) in [(4, 2), (4, 1), (8, 2), (8, 1), (6, 2), (6, 1), (12, 2), (12, 1), (2, 2), (2, 1), (1, 1)] {
                    let count = whole.div_ceil(16 * warps * m_tiles);
                    for tiles in [1, 2, 3, 4, 6, 8, 12, 16].into_iter().filter(|t| *t <= count) {
                        let mut k = self.clone();
                        k.tile = Tile { warps, m_tiles, chunk, stages, tiles };
                        if k.legal(gpu).is_ok() {
                            found.push((k.tile, k.cycles(gpu)));
                        }
                    }
                }
            }
        }
        if let Some(tile) = chooser::best(found.into_iter()) {
            self.tile = tile;
        }
    }

    fn legal(&self, _gpu: &Gpu) -> Result<(), String> {
        let t = &self.tile;
        if t.warps == 0 || t.m_tiles == 0 || t.tiles == 0 || t.stages == 0 {
            return Err(format!("tile {}: nothing may be 0", named(&self.knobs())));
        }
        if t.chunk == 0 || !t.chunk.is_multiple_of(16) || !self.hidden.is_multiple_of(t.chunk) {
            return Err(format!("{} hidden channels per piece must be a multiple of 16 that divides {}", t.chunk, self.hidden));
        }
        if !self.resident() && t.stages < 2 {
            return Err("streamed weights need two stages".into());
        }
        if self.norm && !self.resident() {
            return Err(format!(
                "normalisation is folded into weights that stay: chunk={} times stages={} must reach {} hidden channels",
                t.chunk, t.stages, self.hidden
            ));
        }
        let (needed, most) = (self.registers(), chooser::most_registers(t.warps));
        if needed > most {
            return Err(format!("about {needed} registers per thread are needed, {} warps leave it {most}", t.warps));
        }
        Ok(())
    }

    fn overwritable(&self) -> Option<Slot> {
        self.epilogue.overwritten()
    }
    fn overwrite(&mut self) {
        self.epilogue.in_place = true;
    }
    fn side_by_side(&self, gpu: &Gpu) -> Option<usize> {
        // Half of what was counted on leaves ptxas room where the estimate is low; it takes no more registers than it has use for.
        Some((self.block().planned(gpu) / 2).max(1))
    }
    fn arithmetic(&self) -> Arithmetic {
        let m = self.batch * voxels(self.grid);
        let flops = 2 * (m * self.hidden * (self.channels + self.out_channels)) as u64;
        Arithmetic { flops: flops + self.epilogue.flops(m, self.out_channels), gelus: (m * self.hidden) as u64 }
    }
}

impl Row for Mlp {
    type Kernel = GpuKernel;
    const STRATEGY: Strategy = Strategy {
        name: "gpu.mlp",
        knobs: Tile::KNOBS,
        tensor: true,
        about: "expand, GELU, compress, residual, skip, pad and head back to back, hidden values in registers",
    };

    fn take(task: &Task, to: &mut Lowering<GpuKernel>) -> Result<bool, String> {
        match &task.work {
            Work::Mlp(mlp) => block(task, mlp, None, to),
            Work::ConvMlp(work) => block(task, &work.mlp, Some((&work.conv, work.eps)), to),
            Work::Conv(_) | Work::Moments(_) | Work::GrnRatio(_) | Work::Pointwise(_) | Work::Classify(_) => return Ok(false),
        }
        .map(|()| true)
    }
}
