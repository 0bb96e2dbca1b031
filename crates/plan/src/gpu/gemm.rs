//! One pointwise convolution as a GEMM: the two halves of an MLP whose channels are many and voxels few, and residual convolutions.

use mnx_weights::Recipe;
use serde::{Deserialize, Serialize};

use super::chooser::{self, Load};
use super::epilogue::Epilogue;
use super::lower::{padded_last, stored};
use super::{Geometry, GpuKernel, Storage, padded};
use crate::family::{Arithmetic, Family, Row, Strategy, named, tile, tiled};
use crate::lowering::Lowering;
use crate::machine::{Block, gelu_instructions};
use crate::slot::{Arg, Slot};
use crate::target::Gpu;
use crate::vocabulary::{Extent, Gelu, voxels};
use crate::work::{Operand, Task, Work};

/// `value[m] = w x[m * stride] + b` for every voxel m of `grid`; with `gelu`, `value = gelu(value)`; with `squares`, only the sums of the squares
/// of the values leave the kernel; else the epilogue.
///
/// Args: `x` storage `[n, from, k]`, `w` storage `[n?, out, k]`, `b` f32 `[n?, out]` (`n?` where `folded`), then with `squares` `partials` f32 `[n, parts, out]`,
/// else those of the epilogue.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// Element type of both factors.
    pub storage: Storage,
    /// Element type of what the block's end reads and writes, of as many bytes.
    pub stream: Storage,
    /// The schedule.
    #[serde(skip)]
    pub tile: Tile,
}

tile! {
    /// How it is cut. Grid: x = row tiles, y = column tiles, z = samples.
    pub struct Tile {
        /// Warps per workgroup; each owns `16 * m_tiles` voxels.
        warps,
        /// Tensor-core row blocks per warp.
        m_tiles,
        /// Output channels per workgroup; a multiple of 16 that divides the output channels.
        columns,
        /// Input channels per step; a multiple of 16 that divides the input channels.
        depth,
        /// Steps in shared memory.
        stages,
    }
}

impl Gemm {
    /// Voxels per workgroup.
    pub fn rows(&self) -> usize {
        self.tile.warps * 16 * self.tile.m_tiles
    }

    /// Row tiles: rows of `partials` per sample.
    pub fn row_tiles(&self) -> usize {
        voxels(self.grid).div_ceil(self.rows().max(1))
    }

    /// Elements between staged rows.
    pub fn pitch(&self) -> usize {
        self.tile.depth + 16 / self.storage.bytes()
    }

    /// Registers that a thread needs, about: sums, one step's factors and the addresses of what it copies, or what the
    /// block's end adds.
    fn registers(&self) -> usize {
        let t = &self.tile;
        let sums = t.m_tiles * t.columns / 2;
        let rows = (t.depth * self.storage.bytes() / 16 * (self.rows() + t.columns)).div_ceil(32 * t.warps);
        let addresses = if self.stride == [1; 3] { rows.min(8) } else { 2 * rows.min(16) };
        let factors = if self.storage == Storage::F32 { 64 + 32 * t.m_tiles } else { 8 + 4 * t.m_tiles };
        // GELU on 16 values at a time.
        let gelu = if self.gelu.is_some() { 40 } else { 0 };
        sums + 48 + (factors + addresses).max(gelu).max(self.epilogue.registers(t.m_tiles, t.columns, self.storage))
    }

    /// What a launch costs with this tile; none where it does not fit.
    fn cycles(&self, gpu: &Gpu) -> Option<f64> {
        let t = &self.tile;
        let [row_tiles, column_tiles, samples] = self.launch().grid.map(|n| n as usize);
        let e = self.storage.bytes() as f64;
        let (k, columns, m) = (self.channels as f64, t.columns as f64, t.m_tiles as f64);
        // Of 16 voxels over 16 input channels.
        let unit = if self.storage == Storage::F32 {
            let loads = 8.0 + columns / m;
            (8.0 * columns + loads, 2.0 * loads, 0.0)
        } else {
            let loads = 1.0 + columns / 16.0 / m;
            (columns / 8.0 + loads, 4.0 * loads, 256.0 * columns)
        };
        let row_blocks = (t.warps * t.m_tiles) as f64;
        let units = row_blocks * k / 16.0;
        let rows = 16.0 * row_blocks;
        let staged = (rows + columns) * k * e;
        let gelu = self.gelu.map_or(0.0, |g| columns / 2.0 * gelu_instructions(g));
        let written = if self.squares { 0.0 } else { 2.0 * rows * columns * e };
        let load = Load {
            instructions: units * unit.0 + row_blocks * (gelu + 4.0 * columns + 60.0) + staged / 16.0 / 32.0 * 3.0,
            shared: units * unit.1 + staged / 128.0,
            tensor: units * unit.2,
            cache: staged + written,
            // Column tiles of the same rows find x in the cache.
            memory: rows * k * e / column_tiles as f64 + written,
            steps: k / t.depth as f64,
            ahead: t.stages as f64 - 1.0,
        };
        self.block().cycles(gpu, row_tiles * column_tiles * samples, &load)
    }

    /// Grid, block and shared memory.
    pub fn launch(&self) -> Geometry {
        // Sums of squares are gathered over the warps in shared memory at the end, one row per warp.
        let gathered = if self.squares { self.tile.warps * self.tile.columns * 4 } else { 0 };
        Geometry {
            grid: [self.row_tiles() as u32, self.out_channels.div_ceil(self.tile.columns.max(1)) as u32, self.batch as u32],
            block: [32 * self.tile.warps as u32, 1, 1],
            shared_bytes: (self.tile.stages * self.stage_bytes().0).max(gathered) as u32,
        }
    }

    /// A workgroup as the multiprocessor sees it.
    pub(super) fn block(&self) -> Block {
        Block { warps: self.tile.warps, registers: self.registers(), shared: self.launch().shared_bytes as usize }
    }

    /// Bytes of a stage: rows of x, then rows of w. The second number is where w starts.
    pub fn stage_bytes(&self) -> (usize, usize) {
        let row = self.pitch() * self.storage.bytes();
        let x = (self.rows() * row).next_multiple_of(128);
        (x + (self.tile.columns * row).next_multiple_of(128), x)
    }
}

impl Family for Gemm {
    type Machine = Gpu;
    tiled!();
    fn args(&self) -> Vec<Arg> {
        let element = self.storage.element();
        let n = if self.folded { self.batch } else { 1 };
        let mut args = vec![
            Arg::read(Slot::X, self.batch * voxels(self.from) * self.channels).of(element),
            Arg::read(Slot::W, n * self.out_channels * self.channels).of(element),
            Arg::read(Slot::B, n * self.out_channels),
        ];
        if self.squares {
            args.push(Arg::write(Slot::Partials, self.batch * self.row_tiles() * self.out_channels));
        } else {
            args.extend(self.epilogue.args(self.batch, self.grid, self.out_channels, self.stream));
        }
        args
    }

    fn geometry(&self) -> Option<Geometry> {
        Some(self.launch())
    }

    fn choose(&mut self, gpu: &Gpu) {
        // A tile that is always legal; what follows looks for the best.
        self.tile = Tile { warps: 1, m_tiles: 1, columns: 16, depth: 16, stages: 2.min(self.channels / 16) };
        let divisors = |n: usize| (16..=128).step_by(16).filter(move |d| n.is_multiple_of(*d));
        let mut found = Vec::new();
        for depth in divisors(self.channels) {
            let steps = self.channels / depth;
            for stages in (1..=4).rev().filter(|s| *s <= steps && (*s > 1 || steps == 1)) {
                for columns in divisors(self.out_channels) {
                    for (warps, m_tiles) in [(4, 2), (4, 1), (8, 2), (8, 1), (2, 2), (2, 1), (1, 1)] {
                        let mut k = self.clone();
                        k.tile = Tile { warps, m_tiles, columns, depth, stages };
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
        if t.warps == 0 || t.m_tiles == 0 || t.stages == 0 {
            return Err(format!("tile {}: nothing may be 0", named(&self.knobs())));
        }
        let fits = |part: usize, whole: usize| part != 0 && part.is_multiple_of(16) && whole.is_multiple_of(part);
        if !fits(t.columns, self.out_channels) || !fits(t.depth, self.channels) {
            return Err(format!(
                "columns={} depth={} must be multiples of 16 that divide {} and {}",
                t.columns, t.depth, self.out_channels, self.channels
            ));
        }
        // Seen with ptxas 13.0 on several targets, whatever registers it is left.
        let most = if self.squares { 48 } else { 96 };
        if self.gelu.is_some() && t.depth <= 32 && t.m_tiles * t.columns > most {
            return Err(format!("GELUs of {} sums per thread beside pieces of {} channels spill", t.m_tiles * t.columns / 2, t.depth));
        }
        let (needed, most) = (self.registers(), chooser::most_registers(t.warps));
        if needed > most {
            return Err(format!("about {needed} registers per thread are needed, {} warps leave it {most}", t.warps));
        }
        if self.epilogue.head.is_some() {
            return Err("a head needs all output channels in one workgroup; gpu.mlp fuses it, gpu.gemm does not".into());
        }
        Ok(())
    }

    fn overwritable(&self) -> Option<Slot> {
        if self.squares { None } else { self.epilogue.overwritten() }
    }
    fn overwrite(&mut self) {
        self.epilogue.in_place = true;
    }
    fn side_by_side(&self, gpu: &Gpu) -> Option<usize> {
        Some(if self.gelu.is_some() { 1 } else { (self.block().planned(gpu) / 2).max(1) })
    }
    fn parts(&self) -> Option<usize> {
        self.squares.then(|| self.row_tiles())
    }
    fn arithmetic(&self) -> Arithmetic {
        let m = self.batch * voxels(self.grid);
        let flops = 2 * (m * self.channels * self.out_channels) as u64;
        let gelus = if self.gelu.is_some() { (m * self.out_channels) as u64 } else { 0 };
        Arithmetic { flops: flops + self.epilogue.flops(m, self.out_channels), gelus }
    }
}

impl Row for Gemm {
    type Kernel = GpuKernel;
    const STRATEGY: Strategy = Strategy {
        name: "gpu.gemm",
        knobs: Tile::KNOBS,
        tensor: true,
        about: "one pointwise convolution: the halves of an MLP of many channels and few voxels, residual convolutions",
    };

    fn take(task: &Task, to: &mut Lowering<GpuKernel>) -> Result<bool, String> {
        let Work::Pointwise(k) = &task.work else { return Ok(false) };
        if k.in_first || k.out_first {
            return Ok(false);
        }
        let (channels, out) = (padded(k.in_channels), padded(k.out_channels));
        let storage = task.types.stream;
        let bias = if k.bias { padded_last(task, Slot::B, out)? } else { Operand::Weight(Recipe::Zeros { shape: vec![out] }) };
        let gemm = Self {
            batch: k.batch,
            grid: k.output,
            from: k.input,
            stride: k.stride,
            channels,
            out_channels: out,
            folded: false,
            gelu: None,
            squares: false,
            epilogue: Epilogue::STORE,
            storage,
            stream: storage,
            tile: Tile::default(),
        };
        let operands = vec![
            (Slot::X, task.operand(Slot::X)?),
            (Slot::W, stored(task, Slot::W, [out, channels], storage)?),
            (Slot::B, bias),
            (Slot::Out, task.operand(Slot::Y)?),
        ];
        to.push(gemm, operands);
        Ok(true)
    }
}
