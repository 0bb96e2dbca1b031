//! Tiles of the depthwise convolution.

use crate::kernel::{Depthwise, DepthwiseTile, voxels};
use crate::target::Target;

/// Most scratch that a tile may ask for, per thread.
const SCRATCH_LIMIT: usize = 64 << 20;

/// Costs are counted in multiply-adds of one vector. Copying a vector into the ring costs this much,
const STAGING: f64 = 3.0;

/// starting on another voxel this much,
const VOXEL: f64 = 2.0;

/// and a vector that the compute loop reads from a ring that has outgrown its share of L2 this much more, per share.
const OVERFLOW: f64 = 2.0;

/// That share: what streams through, input and output, needs room as well (measured: a quarter beats a half).
const L2_SHARE: f64 = 0.25;

/// Least work of a workgroup: below it, cutting further does not pay.
const LEAST_WORK: f64 = 20_000.0;

/// Workgroups that a launch with enough work is cut into, at least.
const WORKGROUPS: usize = 16;

/// float32 elements of a cache line: narrower channel blocks would share lines between threads.
const LINE: usize = 16;

impl Depthwise {
    /// Whether code can be made for this description and tile; the reason if not.
    ///
    /// # Errors
    /// The sizes contradict each other, or the tile does not suit them or the target.
    pub fn legal(&self, target: &Target) -> Result<(), String> {
        for a in 0..3 {
            let axis = self.axis(a);
            if self.input[a] == 0 || self.output[a] == 0 || self.taps[a] == 0 {
                return Err(format!("axis {a} has an extent or tap count of 0"));
            }
            if !(1..=2).contains(&axis.stride) {
                return Err(format!("stride {} on axis {a}: expected 1 or 2", axis.stride));
            }
            if axis.pad >= axis.taps {
                return Err(format!("padding {} on axis {a}: expected less than the {} taps", axis.pad, axis.taps));
            }
        }
        let t = &self.tile;
        if self.batch == 0 || self.channels == 0 || self.stem == Some(0) {
            return Err("no samples or no channels".into());
        }
        if t.channels == 0 || !self.channels.is_multiple_of(t.channels) {
            return Err(format!("tile of {} channels: expected a divisor of {}", t.channels, self.channels));
        }
        if t.depth == 0 || t.height == 0 {
            return Err("tile of depth or height 0".into());
        }
        let step = self.axis(2).out_step();
        if t.width == 0 || !t.width.is_multiple_of(step) || t.width + 2 > target.registers {
            return Err(format!("tile of width {}: expected a multiple of {step} up to {}", t.width, target.registers - 2));
        }
        match self.scratch_bytes() {
            bytes if bytes > SCRATCH_LIMIT => Err(format!("tile needs {bytes} bytes of scratch: expected at most {SCRATCH_LIMIT}")),
            _ => Ok(()),
        }
    }

    /// A good tile for a target, whatever `self.tile` is: the cheapest by a model of multiply-adds, staging and cache.
    ///
    /// It does not depend on the number of threads, so that results do not either.
    pub fn choose_tile(&self, target: &Target) -> DepthwiseTile {
        self.choose(target, &self.channel_blocks())
    }

    /// As [`Depthwise::choose_tile`], with all channels in one block, as kernels that go on with whole rows need it.
    pub fn choose_row_tile(&self, target: &Target) -> DepthwiseTile {
        self.choose(target, &[self.channels])
    }

    fn choose(&self, target: &Target, blocks: &[usize]) -> DepthwiseTile {
        let width = self.tile_width(target);
        let mut best: Option<(f64, DepthwiseTile)> = None;
        for &channels in blocks {
            for height in cuts(self.output[1]) {
                for depth in cuts(self.output[0]) {
                    let tile = DepthwiseTile { channels, depth, height, width };
                    let cost = self.tile_cost(tile, target);
                    if best.is_none_or(|(least, _)| cost < least) {
                        best = Some((cost, tile));
                    }
                }
            }
        }
        best.map_or(self.tile, |(_, tile)| tile)
    }

    /// Widest tile whose accumulators, one row of weights and two inputs fit in the registers, and which leaves few narrow rests.
    fn tile_width(&self, target: &Target) -> usize {
        let step = self.axis(2).out_step();
        let most = if target.registers >= 32 { 16 } else { 8 };
        let positions = self.output[2].div_ceil(step);
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
        let divisors = || (1..=self.channels).filter(|b| self.channels.is_multiple_of(*b));
        let lines: Vec<usize> = divisors().filter(|b| *b <= 64 && b.is_multiple_of(LINE)).collect();
        if !lines.is_empty() {
            return lines;
        }
        divisors().filter(|b| *b == self.channels || (LINE..=64).contains(b)).collect()
    }

    fn tile_cost(&self, tile: DepthwiseTile, target: &Target) -> f64 {
        let k = Self { tile, ..self.clone() };
        let whole = tile.channels / target.lanes;
        let vectors = whole + (tile.channels % target.lanes).count_ones() as usize;
        let blocks = self.channels / tile.channels;
        let outputs = voxels(self.output) as f64;
        let upsampling = if self.transposed { voxels(self.stride) } else { 1 };
        let compute = outputs * (voxels(self.taps) as f64 / upsampling as f64);
        let staged = |a: usize, step: usize| -> f64 {
            let axis = self.axis(a);
            (0..axis.output).step_by(step).map(|o| axis.window(o, (o + step).min(axis.output))).map(|(low, high)| (high - low) as f64).sum()
        };
        let copied = staged(0, tile.depth) * staged(1, tile.height) * self.input[2] as f64;
        let setup = (voxels(self.taps) * k.parts()) as f64;
        let share = target.l2 as f64 * L2_SHARE;
        let over = (k.scratch_bytes() as f64 / share - 1.0).max(0.0);
        let overflow = over * OVERFLOW * outputs * self.taps[0] as f64 / upsampling as f64;
        let per_vector = compute + (copied + setup) * STAGING + overflow;
        let per_block = per_vector * vectors as f64 + copied * VOXEL;
        let mut cost = per_block * blocks as f64;
        let work = cost * self.batch as f64;
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
