//! Scratch memory: what each kernel keeps in its thread's private bytes, and where. The memory plan and the emitters both read it here.

mod depthwise;
mod mlp;

pub use depthwise::DepthwiseScratch;
pub use mlp::{MlpScratch, PointwiseScratch, ScratchTile, max_row_block, row_block, row_stride};

use crate::kernel::Kernel;

/// Every region starts at a multiple of this many bytes.
pub const SCRATCH_ALIGNMENT: usize = 64;

/// A part of a kernel's scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First byte, a multiple of [`SCRATCH_ALIGNMENT`].
    pub byte: usize,
    /// Elements.
    pub len: usize,
}

/// Hands out regions one after another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carver {
    bytes: usize,
}

impl Carver {
    /// A region of `len` elements of `element_bytes` each.
    pub fn region(&mut self, len: usize, element_bytes: usize) -> Region {
        let byte = self.bytes;
        self.bytes += (len * element_bytes).next_multiple_of(SCRATCH_ALIGNMENT);
        Region { byte, len }
    }

    /// Bytes handed out so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Kernel {
    /// Bytes of scratch that a thread running this kernel needs.
    pub fn scratch_bytes(&self) -> usize {
        match self {
            Self::MergeStats(_) | Self::MergeGrn(_) | Self::Classify(_) | Self::Gpu(_) => 0,
            Self::Depthwise(k) => k.scratch_bytes(),
            Self::Mlp(k) => MlpScratch::of(k).bytes,
            Self::Pointwise(k) => PointwiseScratch::of(k).bytes,
        }
    }
}
