//! The default tile: of a few hundred candidates, the one with the least predicted time.

use super::{Depthwise, Tile};
use crate::family::Family;
use crate::machine::{BARRIER, Block, LATENCY, START};
use crate::target::Gpu;
use crate::vocabulary::voxels;

/// Warp instructions per output pair of channels beside multiply-adds and reads: statistics, rounding, storing.
const FINISH: usize = 9;

/// Instructions per staged 16-byte piece.
const PIECE: usize = 14;

/// Instructions of a step that do not depend on the tile: waiting, barrier, addresses.
const STEP: usize = 60;

/// Instructions for an entry of the lists that a workgroup makes at its start: a tap, a piece's place.
const ENTRY: usize = 30;

impl Depthwise {
    /// The best tile for a device.
    pub fn best(&self, gpu: &Gpu) -> Tile {
        let mut best: Option<(f64, Tile)> = None;
        for tile in self.candidates() {
            let k = Self { tile, ..self.clone() };
            if !k.possible(gpu) {
                continue;
            }
            let time = k.predicted(gpu);
            if best.is_none_or(|(least, _)| time < least) {
                best = Some((time, tile));
            }
        }
        best.map_or_else(Tile::default, |(_, tile)| tile)
    }

    fn possible(&self, gpu: &Gpu) -> bool {
        let threads = self.threads();
        threads.is_multiple_of(32)
            && (32..=512).contains(&threads)
            && self.legal(gpu).is_ok()
            && self.layout().bytes <= gpu.shared_block
            && self.geometry().is_some_and(|g| g.grid[1] <= 65_535)
    }

    fn candidates(&self) -> Vec<Tile> {
        let [r_d, r_h, r_w] = [0, 1, 2].map(|a| self.conv.axis(a).out_step());
        let [d, h, w] = self.conv.output;
        let mut tiles = Vec::new();
        for channels in [16, 32, 64].into_iter().filter(|c| self.conv.channels.is_multiple_of(*c)) {
            // With a single output per thread, more taps are read than multiplied.
            let least = if (5..25).contains(&self.conv.taps[1]) { 2 } else { 1 };
            for run in [1, 2, 4, 8].into_iter().filter(|run| run % r_w == 0 && *run >= least) {
                for segments in [1, 2, 4, 8, 16].into_iter().filter(|s| s * run < 2 * w.max(run)) {
                    for groups in [1, 2, 4, 8, 16, 32].into_iter().filter(|g| g * r_h < 2 * h.max(r_h) || *g <= 8) {
                        let mut depth = d.next_multiple_of(r_d);
                        loop {
                            let stages = if self.conv.stem.is_some() { 2..=2 } else { 2..=4 };
                            tiles.extend(stages.map(|stages| Tile {
                                channels,
                                depth,
                                height: groups * r_h,
                                width: segments * run,
                                run,
                                stages,
                            }));
                            if depth <= 2 * r_d {
                                break;
                            }
                            depth = depth.div_ceil(2).next_multiple_of(r_d);
                        }
                    }
                }
            }
        }
        tiles
    }

    /// Seconds, roughly: instructions issued or bytes moved, whichever takes longer, with what is left idle.
    pub(super) fn predicted(&self, gpu: &Gpu) -> f64 {
        let t = &self.tile;
        let walk = self.walk();
        let (threads, columns, layout) = (self.threads(), self.columns(), self.layout());
        let [depth, _, _] = [0, 1, 2].map(|a| self.conv.axis(a).out_step());
        let steps = t.depth.min(self.conv.output[0]).div_ceil(depth) + walk.groups - 1;
        let per_row = columns.iter().map(|c| c.uses.len()).sum::<usize>();
        let rows = self.rows();
        let pairs: usize = walk.planes.iter().map(|p| p.uses.len()).sum::<usize>() * rows.iter().map(|r| r.uses.len()).sum::<usize>();
        let unpack = if self.storage.bytes() == 4 { 1 } else { 3 };
        let taps = if self.held() { 0 } else { voxels(self.conv.taps).div_ceil(2) };
        let reads = walk.planes.len() * rows.len() * columns.len();
        let multiply = 2 * pairs * per_row + reads * unpack + taps;
        let [r, c] = self.staged();
        let pieces = walk.planes.len() * r * c * t.channels * self.storage.bytes() / 16;
        let copies = pieces.div_ceil(threads) * if self.conv.stem.is_some() { 4 * PIECE } else { PIECE };
        let outputs = self.conv.axis(0).out_step() * self.conv.axis(1).out_step() * t.run;
        let warps = threads / 32;
        let finished = t.depth.min(self.conv.output[0]).div_ceil(depth) * outputs * FINISH;
        let issued = (warps * (steps * (multiply + copies + STEP) + finished)) as f64 / 4.0;
        // A read of the taps brings 16 bytes per pair of channels, one of the inputs 4 or 8 per lane; 128 bytes pass at a time.
        let passes = reads * self.storage.bytes() / 2 + taps * (8 * t.channels).div_ceil(128);
        let read = (warps * steps * passes) as f64;
        let blocks = self.workgroups();
        let block = Block { warps, registers: self.registers(), shared: layout.bytes };
        let resident = block.side_by_side(gpu).max(1).min(blocks.div_ceil(gpu.sms));
        // A multiprocessor issues four instructions at a time if it has warps enough to choose from; at a barrier others must.
        let busy = (warps * resident) as f64;
        let working = issued.max(read) * (busy + 4.0) / busy;
        // The copies of a plane have the time of the steps before it.
        let late = (LATENCY - (t.stages - 1) as f64 * working * resident as f64 / steps as f64).max(0.0);
        let cycles = working + steps as f64 * (BARRIER / resident as f64 + late) / resident as f64;
        let waves = (blocks as f64 / (gpu.sms * resident) as f64).ceil();
        let entries = if self.held() { 0 } else { voxels(self.conv.taps) * t.channels / 2 } + self.places();
        let prologue = START + (entries.div_ceil(threads) * warps * resident * ENTRY) as f64 / 4.0 * (busy + 4.0) / busy;
        let computing = waves * (resident as f64 * cycles + prologue) / gpu.clock();
        // Staged planes pass the second-level cache, short rows of channels less well; what is read again because tiles overlap counts too.
        let voxel = (t.channels * self.storage.bytes()) as f64;
        let moved = (blocks * steps * pieces * 16) as f64 * (1.0 + 32.0 / voxel);
        computing.hypot(moved / gpu.memory_rate)
    }
}
