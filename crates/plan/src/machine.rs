//! THE MACHINE MODEL: what tiles are chosen by and `mnxc explain` predicts with, each figure once.
//!
//! Figures that differ from chip to chip stand in the target table; those here hold for all that there is code for. Of a GPU nothing has been measured yet: they order tiles.

use crate::target::Gpu;
use crate::vocabulary::Gelu;

/// Vector instructions of one GELU, each as long as a multiply-add: counted in the code that is made of it, the same polynomial on every target.
pub fn gelu_instructions(form: Gelu) -> f64 {
    match form {
        Gelu::Accurate => 14.0,
        Gelu::Fast => 10.0,
    }
}

/// What starting a launch and waiting for its threads takes on a CPU, in seconds.
pub const CPU_LAUNCH_SECONDS: f64 = 5e-6;

/// What starting a launch within a captured graph takes on a GPU, in seconds.
pub const GPU_LAUNCH_SECONDS: f64 = 2e-6;

/// How many times faster than its memory a GPU's second-level cache is, for tensors that fit half of it.
pub const CACHE_SPEED: f64 = 2.5;

/// 32-bit registers of a multiprocessor.
pub const REGISTERS: usize = 65_536;

/// Registers per thread are handed out in pieces of this many.
pub const REGISTER_PIECE: usize = 8;

/// Shared memory that the system keeps of each block.
pub const RESERVED_SHARED: usize = 1024;

/// Cycles that a block takes to start and to end: launch, addresses, the first copies.
pub(crate) const START: f64 = 2000.0;

/// Cycles from an asynchronous copy's start to its end.
pub(crate) const LATENCY: f64 = 1000.0;

/// Cycles that a block loses at a barrier if it is alone on its multiprocessor; others fill in.
pub(crate) const BARRIER: f64 = 400.0;

/// A block as the multiprocessor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Warps.
    pub warps: usize,
    /// Registers per thread.
    pub registers: usize,
    /// Bytes of shared memory.
    pub shared: usize,
}

impl Block {
    /// Blocks whose registers fit a multiprocessor.
    pub fn by_registers(&self) -> usize {
        REGISTERS / (self.registers.next_multiple_of(REGISTER_PIECE) * 32 * self.warps).max(1)
    }

    /// Blocks that stand side by side on a multiprocessor; 0 where not even one fits.
    pub fn side_by_side(&self, gpu: &Gpu) -> usize {
        let shared = gpu.shared_sm / (self.shared + RESERVED_SHARED);
        self.by_registers().min(shared).min(gpu.threads_sm / (32 * self.warps).max(1)).min(gpu.blocks_sm)
    }
}

impl Gpu {
    /// Cycles per second: the chip's lane rate over its lanes.
    pub(crate) fn clock(&self) -> f64 {
        self.lane_rate / (self.sms * 128) as f64
    }
}
