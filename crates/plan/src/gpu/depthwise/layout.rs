//! What a workgroup holds in shared memory, and a thread in registers.

use super::Depthwise;
use crate::machine::{REGISTER_PIECE, REGISTERS};
use crate::vocabulary::voxels;

/// Byte offsets in the workgroup's shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Bytes from one staged plane to the next; planes stand at the start.
    pub plane: usize,
    /// Elements from one staged row to the next.
    pub pitch: usize,
    /// Where the taps stand, unless they are in registers or stay in global memory.
    pub weights: Option<usize>,
    /// Where the places in x of a plane's pieces (with a stem: voxels) stand, unless they are in registers.
    pub places: Option<usize>,
    /// Where the port's planes stand (as many as staged planes), with a stem.
    pub raw: usize,
    /// Bytes of one plane of the port.
    pub raw_plane: usize,
    /// Where the stem's bias and then its weights by image channel stand, float32 of the workgroup's channels.
    pub stem: usize,
    /// All of it.
    pub bytes: usize,
}

/// Bytes of a piece: the longest that one asynchronous copy moves.
pub const PIECE: usize = 16;

/// Pieces per thread whose places stay in registers.
const REMEMBERED: usize = 4;

/// Rows of taps from which on the rows of a plane are a loop.
const LOOPED: usize = 5;

/// Bytes of shared memory that the taps of the fewest channels may take, of any chip's 99 KiB.
const TAPS: usize = 80 << 10;

/// Fewest channels of a workgroup.
const FEWEST: usize = 16;

/// Registers per thread that stay free of plans.
const MARGIN: usize = 8;

/// Taps that a thread may hold in registers (of two channels each).
const HELD_TAPS: usize = 27;

/// Sums beside which it may.
const HELD_BESIDE: usize = 36;

impl Depthwise {
    /// Rows and columns of a staged plane.
    pub fn staged(&self) -> [usize; 2] {
        [self.touched(1, self.tile.height), self.touched(2, self.tile.width)]
    }

    /// Whether taps stay in registers all the time; else they stand in shared memory as float32 pairs, two taps to 16 bytes.
    pub fn held(&self) -> bool {
        voxels(self.conv.taps) <= HELD_TAPS && 2 * voxels(self.sums()) <= HELD_BESIDE
    }

    /// Whether taps stay in global memory: kernels of 11 and more in three dimensions.
    pub fn remote(&self) -> bool {
        4 * self.row_taps() * self.conv.taps[1] * FEWEST > TAPS
    }

    /// Elements from one staged row to the next.
    pub fn pitch(&self) -> usize {
        // Lanes of a warp go on from row to row where the channels do not fill it: rows are so far apart that they meet different banks.
        let voxel = self.tile.channels * self.storage.bytes();
        let apart = (voxel / self.conv.axis(1).in_step()).max(PIECE);
        let mut pitch = self.staged()[1] * voxel;
        if voxel < 128 {
            while pitch % (2 * apart) != apart {
                pitch += PIECE;
            }
        }
        pitch / self.storage.bytes()
    }

    /// Entries of the list of places: the pieces of a plane with the gaps between its rows, or with a stem its voxels.
    pub fn places(&self) -> usize {
        let [rows, columns] = self.staged();
        match self.conv.stem {
            None => rows * self.pitch() * self.storage.bytes() / PIECE,
            Some(_) => rows * columns,
        }
    }

    /// Whether the places are listed in shared memory, not in registers.
    pub fn listed(&self) -> bool {
        self.conv.stem.is_some() || self.places() > REMEMBERED * self.threads()
    }

    /// Float32 values of the taps of one row, of all planes, per channel of the workgroup: rounded up to a whole pair of taps.
    pub fn row_taps(&self) -> usize {
        (self.conv.taps[0] * self.conv.taps[2]).next_multiple_of(2)
    }

    /// Where things stand.
    pub fn layout(&self) -> Layout {
        let element = self.storage.bytes();
        let t = &self.tile;
        let [rows, columns] = self.staged();
        let pitch = self.pitch() * element;
        let plane = (rows * pitch).next_multiple_of(128);
        let planes = self.walk().planes.len() * t.stages;
        let mut end = plane * planes;
        let weights = (!self.held() && !self.remote()).then_some(end);
        if weights.is_some() {
            end += 4 * self.row_taps() * self.conv.taps[1] * t.channels;
        }
        let places = self.listed().then_some(end);
        if places.is_some() {
            end += 4 * self.places();
        }
        let raw = end.next_multiple_of(16);
        let raw_plane = (4 * rows * columns * self.conv.stem.unwrap_or(0)).next_multiple_of(16);
        let stem = raw + raw_plane * planes;
        let bytes = stem + self.conv.stem.map_or(0, |image| 4 * (image + 1) * t.channels);
        let merged = if self.conv.stats { 20 * self.threads() } else { 0 };
        Layout { plane, pitch: pitch / element, weights, places, raw, raw_plane, stem, bytes: bytes.max(merged) }
    }

    /// Whether the rows of a plane are a loop: unrolled, the code would outgrow the instruction cache.
    pub fn looped(&self) -> bool {
        !self.conv.transposed && self.conv.taps[1] >= LOOPED && !self.held()
    }

    /// Registers per thread, about what the assembler takes: measured with ptxas 13.0 on all kernel sizes.
    pub fn registers(&self) -> usize {
        let (sums, inputs) = (2 * voxels(self.sums()), 2 * self.columns().len());
        if self.held() {
            sums + inputs + 2 * voxels(self.conv.taps) + 40
        } else if self.looped() {
            // The sums of the row loop and of the steps' loop meet in part.
            sums * 3 / 2 + inputs + 36
        } else {
            sums + inputs + 56
        }
    }

    /// Registers that a thread may plan with: what the assembler takes differs by a few from what [`Self::registers`] says.
    pub fn register_limit(&self) -> usize {
        (REGISTERS / self.threads().max(1) / REGISTER_PIECE * REGISTER_PIECE).min(255).saturating_sub(MARGIN)
    }

    /// Workgroups that reside on a multiprocessor at a time, by registers.
    pub(crate) fn resident_by_registers(&self) -> usize {
        REGISTERS / (self.registers().next_multiple_of(REGISTER_PIECE) * self.threads().max(1))
    }
}
