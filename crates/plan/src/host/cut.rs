//! Cutting the voxels of a launch into workgroups and tiles: even work for several thread counts, little waste in register blocks.

/// Workgroups that a launch is cut into at most: enough for even work, few enough that calls cost nothing.
const WORKGROUPS: usize = 64;

/// Numbers of threads that the work should divide well over, with their weights.
const THREADS: [(usize, f64); 4] = [(1, 1.0), (2, 2.0), (4, 1.0), (8, 1.0)];

/// What may be chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Voxels per sample.
    pub(super) voxels: usize,
    /// Samples.
    pub(super) batch: usize,
    /// Least rows of a register block.
    pub(super) narrowest: usize,
    /// Most rows of a register block.
    pub(super) block: usize,
    /// Least rows of a tile (unless a sample has fewer).
    pub(super) least: usize,
    /// Most rows of a tile.
    pub(super) most: usize,
    /// What a tile costs beyond its rows, in rows.
    pub(super) overhead: f64,
}

impl Cut {
    /// Voxels per workgroup and rows per tile: those with the least time over [`THREADS`], by the model that a row costs 1,
    /// a register block 2 more, a tile the overhead, and a launch as many workgroups as its busiest thread gets.
    pub(super) fn choose(&self) -> (usize, usize) {
        let mut best = (f64::MAX, (self.voxels, self.voxels.max(1)));
        for block in (self.narrowest..=self.block).rev() {
            for count in 1..=self.most.div_ceil(block) {
                let rows = block * count;
                // a block that is not the largest divisor is met as the larger one
                let larger = (block + 1..=self.block).any(|b| rows.is_multiple_of(b));
                let beyond = rows >= self.voxels + block;
                let few = rows < self.least && rows < self.voxels;
                if larger || beyond || few || rows > self.most.max(block) {
                    continue;
                }
                let tiles = self.voxels.div_ceil(rows);
                let least = (tiles * self.batch).div_ceil(WORKGROUPS);
                for per_workgroup in least..(2 * least + 4).min(tiles + 1) {
                    let time = self.time(block, rows, per_workgroup);
                    if time < best.0 * 0.999 {
                        best = (time, ((per_workgroup * rows).min(self.voxels), rows));
                    }
                }
            }
        }
        best.1
    }

    fn time(&self, block: usize, rows: usize, per_workgroup: usize) -> f64 {
        let cost = |voxels: usize| {
            let blocks = voxels.div_ceil(block);
            (blocks * (block + 2)) as f64 + self.overhead * voxels.div_ceil(rows) as f64
        };
        let whole = per_workgroup * rows;
        let parts = self.voxels.div_ceil(whole);
        let last = cost(self.voxels - (parts - 1) * whole);
        let whole = cost(whole);
        let work = self.batch as f64 * ((parts - 1) as f64 * whole + last);
        let time = |threads: usize| {
            let turns = (self.batch * parts).div_ceil(threads);
            // the busiest thread has at least its share, and its turns but for one short one
            let busiest = (turns - 1) as f64 * whole + if parts == 1 { last } else { whole };
            let share = work / threads as f64;
            share.max(if threads == 1 { work } else { busiest }) * threads as f64
        };
        THREADS.iter().map(|&(threads, weight)| weight * time(threads)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Cut;

    #[test]
    fn work_divides_evenly_over_two_to_eight_threads() {
        for (voxels, batch, least, worst) in [
            (64, 1, 32, 2.0),
            (512, 1, 32, 1.25),
            (512, 2, 32, 1.25),
            (4096, 1, 12, 1.1),
            (32 * 48 * 32, 1, 12, 1.1),
            (64 * 64 * 64, 1, 12, 1.06),
            (64 * 64 * 64, 3, 12, 1.1),
        ] {
            for block in [6, 12] {
                let cut = Cut { voxels, batch, narrowest: block / 2, block, least, most: 60, overhead: 1.0 };
                let (per_workgroup, rows) = cut.choose();
                assert!(rows >= least && rows <= 60, "{voxels}: {rows}");
                let parts = voxels.div_ceil(per_workgroup) * batch;
                assert!(parts <= 96, "{voxels}: {parts}");
                for threads in [2, 4, 8] {
                    let share = voxels as f64 * batch as f64 / threads as f64;
                    let busiest = (parts.div_ceil(threads) * per_workgroup) as f64;
                    let bound = if voxels == 64 && threads > 2 { 5.0 } else { worst };
                    assert!(busiest <= share * bound, "{voxels} x {batch} on {threads}: {parts} of {per_workgroup} ({rows} rows)");
                }
            }
        }
    }
}
