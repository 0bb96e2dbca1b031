//! The scratch of a depthwise convolution: weights packed for the channel block, a ring of input planes, sums.

use super::{Carver, Region};
use crate::kernel::{Depthwise, voxels};

/// Where everything lies. All regions are float32 but `sums`, which is float64; `block` is the tile's channels.
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
        let block = k.tile.channels;
        let planes = k.axis(0).span(1).max(1);
        let rows = k.axis(1).span(k.tile.height).max(1);
        let (before, behind) = k.axis(2).margins();
        let row = before + k.input[2] + behind;
        Self {
            weights: carver.region(voxels(k.taps) * block, 4),
            stem: carver.region(k.stem.unwrap_or(0) * block, 4),
            ring: carver.region(planes * rows * row * block, 4),
            sums: carver.region(if k.stats { 2 * block } else { 0 }, 8),
            planes,
            rows,
            row,
            before,
            behind,
        }
    }
}

impl Depthwise {
    /// Bytes of scratch of the kernel on its own.
    pub fn scratch_bytes(&self) -> usize {
        let mut carver = Carver::default();
        DepthwiseScratch::carve(self, &mut carver);
        carver.bytes()
    }
}
