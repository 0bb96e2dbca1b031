//! Tiles of the depthwise convolution.

use crate::kernel::{Depthwise, DepthwiseTile, voxels};
use crate::target::Target;

/// Most scratch that a tile may ask for, per thread.
const SCRATCH_LIMIT: usize = 64 << 20;

/// Multiply-adds (one vector each) that copying one vector into the ring is worth.
const STAGING_COST: f64 = 3.0;

/// Vector multiply-adds below which more workgroups do not pay.
const LEAST_WORK: f64 = 20_000.0;

/// Workgroups that a launch with enough work is cut into, at least.
const WORKGROUPS: usize = 8;

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
                return Err(format!(
                    "stride {} on axis {a}: expected 1 or 2",
                    axis.stride
                ));
            }
            if axis.pad >= axis.taps {
                return Err(format!(
                    "padding {} on axis {a}: expected less than the {} taps",
                    axis.pad, axis.taps
                ));
            }
        }
        let t = &self.tile;
        if self.batch == 0 || self.channels == 0 || self.stem == Some(0) {
            return Err("no samples or no channels".into());
        }
        if t.channels == 0 || !self.channels.is_multiple_of(t.channels) {
            return Err(format!(
                "tile of {} channels: expected a divisor of {}",
                t.channels, self.channels
            ));
        }
        if t.depth == 0 || t.height == 0 {
            return Err("tile of depth or height 0".into());
        }
        let step = self.axis(2).out_step();
        if t.width == 0 || !t.width.is_multiple_of(step) || t.width + 2 > target.registers {
            return Err(format!(
                "tile of width {}: expected a multiple of {step} up to {}",
                t.width,
                target.registers - 2
            ));
        }
        match self.scratch_bytes() {
            bytes if bytes > SCRATCH_LIMIT => Err(format!(
                "tile needs {bytes} bytes of scratch: expected at most {SCRATCH_LIMIT}"
            )),
            _ => Ok(()),
        }
    }

    /// A good tile for a target, whatever `self.tile` is: the cheapest by a model of multiply-adds and staging whose ring fits in about half of L2.
    ///
    /// It does not depend on the number of threads, so that results do not either.
    pub fn choose_tile(&self, target: &Target) -> DepthwiseTile {
        let width = self.tile_width(target);
        let mut best: Option<(f64, DepthwiseTile)> = None;
        for channels in self.channel_blocks(target) {
            for height in cuts(self.output[1]) {
                for depth in cuts(self.output[0]) {
                    let tile = DepthwiseTile {
                        channels,
                        depth,
                        height,
                        width,
                    };
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
        (1..=(most / step).min(positions))
            .min_by_key(|&t| (cost(t), most - t))
            .unwrap_or(1)
            * step
    }

    /// Channel blocks worth trying: divisors made of whole vectors up to 64 channels, else all channels.
    fn channel_blocks(&self, target: &Target) -> Vec<usize> {
        let blocks: Vec<usize> = (1..=self.channels.min(64))
            .filter(|b| self.channels.is_multiple_of(*b) && b.is_multiple_of(target.lanes))
            .collect();
        if !blocks.is_empty() {
            return blocks;
        }
        (1..=self.channels)
            .rev()
            .filter(|b| self.channels.is_multiple_of(*b) && (*b <= 64 || *b == self.channels))
            .filter(|b| *b >= target.lanes || *b == self.channels)
            .collect()
    }

    fn tile_cost(&self, tile: DepthwiseTile, target: &Target) -> f64 {
        let k = Self {
            tile,
            ..self.clone()
        };
        let vectors: usize = {
            let whole = tile.channels / target.lanes;
            whole + (tile.channels % target.lanes).count_ones() as usize
        };
        let blocks = self.channels / tile.channels;
        let taps = if self.transposed {
            voxels(self.taps) as f64 / voxels(self.stride) as f64
        } else {
            voxels(self.taps) as f64
        };
        let compute = voxels(self.output) as f64 * taps;
        let staged = |a: usize, step: usize| -> f64 {
            let axis = self.axis(a);
            (0..axis.output)
                .step_by(step)
                .map(|o| axis.window(o, (o + step).min(axis.output)))
                .map(|(low, high)| (high - low) as f64)
                .sum()
        };
        let row = (self.input[2] + self.pad[2]) as f64;
        let staging = staged(0, tile.depth) * staged(1, tile.height) * row * STAGING_COST;
        let setup = (voxels(self.taps) * k.workgroups() / blocks / self.batch) as f64;
        let mut cost = (compute + staging + setup) * (vectors * blocks) as f64;
        let bytes = k.scratch_bytes();
        let budget = target.l2 / 2;
        if bytes > budget {
            cost *= 1.0 + (bytes - budget) as f64 / budget as f64;
        }
        let work = cost * self.batch as f64;
        let wanted = WORKGROUPS.min((work / LEAST_WORK) as usize).max(1);
        let groups = k.workgroups();
        if groups < wanted {
            cost *= wanted as f64 / groups as f64;
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
