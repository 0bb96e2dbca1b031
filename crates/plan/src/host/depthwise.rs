//! Depthwise convolution, optionally with the stem recomputed on its input and partial statistics of its output.

use serde::{Deserialize, Serialize};

use super::HostKernel;
use super::formed;
use super::scratch::{Carver, Region};
use crate::family::{Arithmetic, Family, Neighbours, Row, Strategy, tile, tiled};
use crate::lowering::Lowering;
use crate::slot::{Arg, Element, Slot};
use crate::target::Cpu;
use crate::vocabulary::voxels;
use crate::work::{Conv, Task, Work};

/// Most scratch that a tile may ask for, per thread.
const SCRATCH_LIMIT: usize = 64 << 20;

/// Cost of copying a vector into the ring, in multiply-adds of one vector.
const STAGING: f64 = 3.0;

/// Cost of starting on another voxel, in multiply-adds of one vector.
const VOXEL: f64 = 2.0;

/// Cost of a vector that the compute loop reads from a ring that has outgrown its share of L2, per share, in multiply-adds of one vector.
const OVERFLOW: f64 = 2.0;

/// Share of the second-level cache for the ring: what streams through, input and output, needs room as well (measured: a quarter beats a half).
const L2_SHARE: f64 = 0.25;

/// Least work of a workgroup: below it, cutting further does not pay.
const LEAST_WORK: f64 = 20_000.0;

/// Workgroups that a launch with enough work is cut into, at least.
const WORKGROUPS: usize = 16;

/// float32 elements of a cache line: narrower channel blocks would share lines between threads.
const LINE: usize = 16;

/// The convolution `conv`, with partial statistics if it has them.
///
/// Args: `x` f32 (`[n, input, c]`, or with `stem` the port `[n, ci, input]`), with stem: `stem_w` f32 panels of `[c, ci]` and `stem_b` f32 `[c]`,
/// `w` f32 `[taps, c]`, with bias: `b` f32 `[c]`, then `y` f32 `[n, output, c]`, with stats: `partials` f64 `[n, parts, 2, c]`.
/// `partials[n, p]` holds sum and sum of squares of `y` (float64, shift-free) over the voxels of spatial workgroup `p`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Depthwise {
    /// What is computed.
    pub conv: Conv,
    /// The schedule.
    #[serde(skip)]
    pub tile: Tile,
}

tile! {
    /// How a depthwise convolution is cut. Workgroups run over n, then depth slabs, then height slabs, then channel blocks (innermost).
    pub struct Tile {
        /// Channels per workgroup.
        channels,
        /// Output planes per workgroup (streamed through a ring of input planes).
        depth,
        /// Output rows per plane and workgroup.
        height,
        /// Output voxels along w held in registers.
        width,
    }
}

/// Where everything of a convolution's scratch lies. All regions are float32 but `sums`, which is float64; `block` is the tile's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthwiseScratch {
    /// Weights `[taps, block]`.
    pub weights: Region,
    /// Stem weights `[ci, block]`; empty without a stem.
    pub stem: Region,
    /// The ring `[planes, rows, row, block]`.
    pub ring: Region,
    /// Sums and sums of squares `[2, block]`; empty without statistics.
    pub sums: Region,
    /// Planes of the ring: the most that one output plane reads.
    pub planes: usize,
    /// Rows of a plane: the most that a height slab reads.
    pub rows: usize,
    /// Voxels of a row: the input's and the zeros around it.
    pub row: usize,
    /// Zeros before a row's first voxel.
    pub before: usize,
    /// Zeros behind a row's last voxel.
    pub behind: usize,
}

impl DepthwiseScratch {
    /// Lays the regions out behind whatever `carver` has handed out.
    pub fn carve(k: &Depthwise, carver: &mut Carver) -> Self {
        let (block, conv) = (k.tile.channels, &k.conv);
        let planes = conv.axis(0).span(1).max(1);
        let rows = conv.axis(1).span(k.tile.height).max(1);
        let (before, behind) = conv.axis(2).margins();
        let row = before + conv.input[2] + behind;
        Self {
            weights: carver.region(voxels(conv.taps) * block, 4),
            stem: carver.region(conv.stem.unwrap_or(0) * block, 4),
            ring: carver.region(planes * rows * row * block, 4),
            sums: carver.region(if conv.stats { 2 * block } else { 0 }, 8),
            planes,
            rows,
            row,
            before,
            behind,
        }
    }
}

impl Family for Depthwise {
    type Machine = Cpu;
    tiled!();
    fn args(&self) -> Vec<Arg> {
        let k = &self.conv;
        let mut args = k.inputs();
        args.push(Arg::write(Slot::Y, k.batch * voxels(k.output) * k.channels));
        if k.stats {
            args.push(Arg::write(Slot::Partials, k.batch * self.spatial_parts() * 2 * k.channels).of(Element::F64));
        }
        args
    }
    fn workgroups(&self) -> usize {
        self.conv.batch * self.spatial_parts() * self.conv.channels.div_ceil(self.tile.channels)
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops(self.conv.flops())
    }
    fn scratch_bytes(&self) -> usize {
        let mut carver = Carver::default();
        DepthwiseScratch::carve(self, &mut carver);
        carver.bytes()
    }
    fn parts(&self) -> Option<usize> {
        self.conv.stats.then(|| self.spatial_parts())
    }
    fn choose(&mut self, cpu: &Cpu) {
        self.tile = self.cheapest(cpu, &self.channel_blocks());
    }
    /// The sizes must not contradict each other, the tile must suit them and the target.
    fn legal(&self, cpu: &Cpu) -> Result<(), String> {
        self.conv.check()?;
        let t = &self.tile;
        if t.channels == 0 || !self.conv.channels.is_multiple_of(t.channels) {
            return Err(format!("tile of {} channels: expected a divisor of {}", t.channels, self.conv.channels));
        }
        if t.depth == 0 || t.height == 0 {
            return Err("tile of depth or height 0".into());
        }
        let step = self.conv.axis(2).out_step();
        if t.width == 0 || !t.width.is_multiple_of(step) || t.width + 2 > cpu.registers {
            return Err(format!("tile of width {}: expected a multiple of {step} up to {}", t.width, cpu.registers - 2));
        }
        match self.scratch_bytes() {
            bytes if bytes > SCRATCH_LIMIT => Err(format!("tile needs {bytes} bytes of scratch: expected at most {SCRATCH_LIMIT}")),
            _ => Ok(()),
        }
    }
    fn neighbours(&self, near: &mut Neighbours, _cpu: &Cpu) {
        let t = self.tile;
        near.sizes(self.conv.output, self.conv.axis(2).out_step());
        for c in [t.channels * 2, t.channels / 2, 16, 32, 64] {
            near.offer(&[("channels", c)]);
            near.offer(&[("channels", c), ("height", (t.height * t.channels / c.max(1)).clamp(1, self.conv.output[1]))]);
        }
    }
}

impl Row for Depthwise {
    type Kernel = HostKernel;
    const STRATEGY: Strategy = Strategy {
        name: "depthwise.ring",
        knobs: Tile::KNOBS,
        tensor: false,
        about: "depthwise conv streamed along depth through a ring of padded planes, statistics in the same pass, stem recomputed if fused",
    };

    fn take(task: &Task, to: &mut Lowering<HostKernel>) -> Result<bool, String> {
        let Work::Conv(conv) = &task.work else { return Ok(false) };
        to.push(Self { conv: conv.clone(), tile: Tile::default() }, formed(task, true)?);
        Ok(true)
    }
}

impl Depthwise {
    /// Spatial workgroups: rows of `partials` per sample.
    pub fn spatial_parts(&self) -> usize {
        self.conv.output[0].div_ceil(self.tile.depth) * self.conv.output[1].div_ceil(self.tile.height)
    }

    /// A good tile with all channels in one block, as kernels that go on with whole rows need it.
    pub(super) fn row_tile(&self, cpu: &Cpu) -> Tile {
        self.cheapest(cpu, &[self.conv.channels])
    }

    /// The tile that is cheapest by a model of multiply-adds, staging and cache. It does not depend on the number of threads, so that results do not either.
    fn cheapest(&self, cpu: &Cpu, blocks: &[usize]) -> Tile {
        let width = self.tile_width(cpu);
        let mut best: Option<(f64, Tile)> = None;
        for &channels in blocks {
            for height in cuts(self.conv.output[1]) {
                for depth in cuts(self.conv.output[0]) {
                    let tile = Tile { channels, depth, height, width };
                    let cost = self.tile_cost(tile, cpu);
                    if best.is_none_or(|(least, _)| cost < least) {
                        best = Some((cost, tile));
                    }
                }
            }
        }
        best.map_or(self.tile, |(_, tile)| tile)
    }

    /// Widest tile whose accumulators, one row of weights and two inputs fit in the registers, and which leaves few narrow rests.
    fn tile_width(&self, cpu: &Cpu) -> usize {
        let step = self.conv.axis(2).out_step();
        let most = if cpu.registers >= 32 { 16 } else { 8 };
        let positions = self.conv.output[2].div_ceil(step);
        let cost = |t: usize| {
            // A tile costs its multiply-adds, at least what their latency takes, and a little for its loads.
            let tile = |n: usize| (n * step).max(most / 2) + 3;
            let mut rest = positions % t;
            let mut sum = positions / t * tile(t);
            while rest > 0 {
                let part = 1 << rest.ilog2();
                sum += tile(part);
                rest -= part;
            }
            sum
        };
        (1..=(most / step).min(positions)).min_by_key(|&t| (cost(t), most - t)).unwrap_or(1) * step
    }

    /// Channel blocks worth trying: divisors made of whole cache lines up to 64 channels, else divisors of at least one line, else all channels.
    fn channel_blocks(&self) -> Vec<usize> {
        let divisors = || (1..=self.conv.channels).filter(|b| self.conv.channels.is_multiple_of(*b));
        let lines: Vec<usize> = divisors().filter(|b| *b <= 64 && b.is_multiple_of(LINE)).collect();
        if !lines.is_empty() {
            return lines;
        }
        divisors().filter(|b| *b == self.conv.channels || (LINE..=64).contains(b)).collect()
    }

    fn tile_cost(&self, tile: Tile, cpu: &Cpu) -> f64 {
        let k = Self { tile, ..self.clone() };
        let whole = tile.channels / cpu.lanes;
        let vectors = whole + (tile.channels % cpu.lanes).count_ones() as usize;
        let blocks = self.conv.channels / tile.channels;
        let outputs = voxels(self.conv.output) as f64;
        let upsampling = if self.conv.transposed { voxels(self.conv.stride) } else { 1 };
        let compute = outputs * (voxels(self.conv.taps) as f64 / upsampling as f64);
        let staged = |a: usize, step: usize| -> f64 {
            let axis = self.conv.axis(a);
            (0..axis.output).step_by(step).map(|o| axis.window(o, (o + step).min(axis.output))).map(|(low, high)| (high - low) as f64).sum()
        };
        let copied = staged(0, tile.depth) * staged(1, tile.height) * self.conv.input[2] as f64;
        let setup = (voxels(self.conv.taps) * k.spatial_parts()) as f64;
        let share = cpu.l2 as f64 * L2_SHARE;
        let over = (k.scratch_bytes() as f64 / share - 1.0).max(0.0);
        let overflow = over * OVERFLOW * outputs * self.conv.taps[0] as f64 / upsampling as f64;
        let per_vector = compute + (copied + setup) * STAGING + overflow;
        let per_block = per_vector * vectors as f64 + copied * VOXEL;
        let mut cost = per_block * blocks as f64;
        let work = cost * self.conv.batch as f64;
        let wanted = WORKGROUPS.min((work / LEAST_WORK) as usize).max(1);
        if k.workgroups() < wanted {
            cost *= wanted as f64 / k.workgroups() as f64;
        }
        cost
    }
}

/// Slab sizes that cut an extent into 1, 2, 3, ... nearly equal parts.
fn cuts(extent: usize) -> Vec<usize> {
    let mut sizes: Vec<usize> = (1..=extent).map(|parts| extent.div_ceil(parts)).collect();
    sizes.dedup();
    sizes
}
