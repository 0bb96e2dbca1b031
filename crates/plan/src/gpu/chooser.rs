//! A coarse time that ranks tiles of the matrix kernels, from what a block costs.
//!
//! Times are in cycles of one multiprocessor and presume that what runs side by side overlaps once enough warps are there. They order tiles;
//! they predict no launch.

use crate::machine::{BARRIER, Block, LATENCY, REGISTER_PIECE, REGISTERS, START};
use crate::target::Gpu;

/// Most registers that a thread may seem to need: 255 less what estimates miss.
const PER_THREAD: usize = 232;

/// Registers that estimates may miss.
const MISSED: usize = 16;

/// Warps per multiprocessor that hide the latency of a chain of products, GELU and products.
const ENOUGH_WARPS: f64 = 12.0;

/// Most registers a thread may seem to need with so many warps per block.
pub(super) fn most_registers(warps: usize) -> usize {
    (REGISTERS / (32 * warps) / REGISTER_PIECE * REGISTER_PIECE).saturating_sub(MISSED).min(PER_THREAD)
}

/// What one block costs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    /// Warp instructions.
    pub(super) instructions: f64,
    /// Cycles of shared memory at 128 bytes each.
    pub(super) shared: f64,
    /// Multiply-adds on tensor cores.
    pub(super) tensor: f64,
    /// Bytes from or to the second-level cache.
    pub(super) cache: f64,
    /// Bytes from or to memory.
    pub(super) memory: f64,
    /// Steps that pass through a ring of stages, a barrier each.
    pub(super) steps: f64,
    /// Steps whose copies are under way ahead of their use.
    pub(super) ahead: f64,
}

impl Block {
    /// Blocks that a plan may count on side by side; 0 where not even one fits, estimates being what they are.
    pub(super) fn planned(&self, gpu: &Gpu) -> usize {
        if self.registers > most_registers(self.warps) || self.shared > gpu.shared_block { 0 } else { self.side_by_side(gpu) }
    }

    /// Cycles of a launch of `blocks` such blocks; none where it does not fit.
    pub(super) fn cycles(&self, gpu: &Gpu, blocks: usize, load: &Load) -> Option<f64> {
        let most = self.planned(gpu);
        if most == 0 {
            return None;
        }
        let rate = |per_second: f64| per_second / gpu.sms as f64 / gpu.clock();
        let busy = [
            load.instructions / 4.0,
            load.instructions * 32.0 / rate(gpu.lane_rate) * 0.8,
            load.shared,
            load.tensor / rate(gpu.tensor_rate / 2.0),
            load.cache / rate(2.0 * gpu.memory_rate),
            load.memory / rate(gpu.memory_rate),
        ];
        // What is not the bottleneck still gets in its way at times.
        let busy = busy.iter().copied().fold(0.0, f64::max) + 0.2 * busy.iter().sum::<f64>();
        let each = blocks.div_ceil(gpu.sms);
        let side = most.min(each);
        let hidden = ((side * self.warps) as f64 / ENOUGH_WARPS).min(1.0);
        let rounds = each.div_ceil(side) as f64;
        // A step's copies are late by what the steps before it, of all blocks side by side, do not cover.
        let step = busy * side as f64 / load.steps.max(1.0);
        let late = (LATENCY - load.ahead * step).max(0.0) + BARRIER / side as f64;
        Some(each as f64 * busy / hidden + rounds * (START + load.steps * late))
    }
}

/// The candidate that takes the fewest cycles; the first of several. None if none fits.
pub(super) fn best<T>(candidates: impl Iterator<Item = (T, Option<f64>)>) -> Option<T> {
    let timed = candidates.filter_map(|(tile, cycles)| cycles.map(|c| (tile, c)));
    timed.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(tile, _)| tile)
}
