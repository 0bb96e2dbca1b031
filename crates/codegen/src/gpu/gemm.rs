//! One pointwise convolution as a GEMM: pieces of x and w along k pass through shared memory in a ring, the sums stay in registers.

use super::atom::{Rows, STEP, Sums, Warp};
use super::epilogue::{End, Group, Share, Tile, unflatten};
use super::stage::{Crew, Source, Target, column_at, split};
use super::{Args, vectors, warp_and_lane};
use crate::math;
use crate::mlir::{Buffer, Builder, Scalar, Val};
use mnx_plan::gpu::{Epilogue, Gemm};
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::voxels;

pub(super) fn emit<'c>(k: &Gemm, b: &Builder<'c>, args: &Args<'c>) {
    let (x, w, bias) = (args.of(Slot::X), args.of(Slot::W), args.of(Slot::B));
    let partials = args.get(Slot::Partials);
    let crew = Crew { thread: b.thread(), threads: 32 * k.tile.warps };
    let (own, lane) = warp_and_lane(b, crew.thread);
    let warp = Warp::new(b, k.storage, lane);
    let (row_tile, sample) = (b.block(0), b.block(2));
    let share = Share { sample, first_column: b.mul(b.block(1), k.tile.columns), columns: k.tile.columns };
    let nothing = Epilogue { store: false, ..Epilogue::STORE };
    let epilogue = if k.squares { &nothing } else { &k.epilogue };
    let end = End::new(&warp, epilogue, (k.grid, k.out_channels), share, args);
    let bytes = b.shared_memory(k.launch().shared_bytes as usize);
    let (stage_bytes, w_at) = k.stage_bytes();
    let element = k.storage.bytes();
    let (stage, w_at) = (stage_bytes / element, w_at / element);
    let ring = b.view(bytes, 0usize, warp.scalar(), k.tile.stages * stage);
    let first_row = b.mul(row_tile, k.rows());
    let product = Product { k, b, warp: &warp, crew, x, w, ring, stage, w_at, first_row, share, own };

    b.phase("product");
    let first_bias = if k.folded { b.mul(sample, k.out_channels) } else { 0usize.into() };
    let sums = product.sums(end.start(bias, first_bias, k.tile.m_tiles));
    let sums = match k.gelu {
        None => sums,
        Some(form) => {
            let flat: Vec<Val<'c>> = sums.iter().flatten().flatten().copied().collect();
            // Enough at a time to hide latency, few enough for the registers.
            let done: Vec<Val<'c>> = flat.chunks(16).flat_map(|some| math::gelu(b, form, some)).collect();
            unflatten(&done, k.tile.columns / 8)
        }
    };
    let first_of_warp = b.at(first_row, own, 16 * k.tile.m_tiles);
    if let Some(partials) = partials {
        b.phase("squares");
        product.squares((bytes, partials), row_tile, first_of_warp, &sums);
        return;
    }
    b.phase("epilogue");
    end.finish(first_of_warp, sums);
    let all = Crew { thread: b.at(crew.thread, row_tile, crew.threads), threads: crew.threads * k.row_tiles() };
    end.pad(all, k.tile.columns);
}

struct Product<'k, 'a, 'c> {
    k: &'k Gemm,
    b: &'a Builder<'c>,
    warp: &'k Warp<'a, 'c>,
    crew: Crew<'c>,
    x: Buffer<'c>,
    w: Buffer<'c>,
    /// The stages, and elements of one: rows of x, from `w_at` on rows of w.
    ring: Buffer<'c>,
    stage: usize,
    w_at: usize,
    first_row: Val<'c>,
    share: Share<'c>,
    /// This warp's number.
    own: Val<'c>,
}

impl<'c> Product<'_, '_, 'c> {
    fn steps(&self) -> usize {
        self.k.channels / self.k.tile.depth
    }

    /// Starts copying the piece of step `step` into `slot`.
    fn fill(&self, step: Val<'c>, slot: Val<'c>) {
        let (k, b) = (self.k, self.b);
        let first_k = b.mul(step, k.tile.depth);
        let to = b.shifted(self.ring, b.mul(slot, self.stage));
        let length = k.tile.depth;
        let all = voxels(k.grid);
        let rows = Target { buffer: to, rows: k.rows(), length, pitch: k.pitch() };
        let ragged = !all.is_multiple_of(k.rows());
        self.crew.copy(b, self.x, rows, &|row| {
            let voxel = b.add(self.first_row, row);
            let valid = ragged.then(|| b.lt(voxel, all));
            let from = b.at(self.source(voxel), self.share.sample, voxels(k.from));
            Source { at: b.at(first_k, from, k.channels), valid }
        });
        let to = b.shifted(to, self.w_at);
        let columns = Target { buffer: to, rows: k.tile.columns, length, pitch: k.pitch() };
        self.crew.copy(b, self.w, columns, &|position| {
            let column = b.add(self.share.first_column, column_at(b, position, k.tile.columns));
            let row = if k.folded { b.at(column, self.share.sample, k.out_channels) } else { column };
            Source::from(b.at(first_k, row, k.channels))
        });
    }

    /// The voxel of x that a voxel of the result reads.
    fn source(&self, voxel: Val<'c>) -> Val<'c> {
        let (k, b) = (self.k, self.b);
        if k.stride == [1; 3] {
            return voxel;
        }
        let (line, x) = split(b, voxel, k.grid[2]);
        let (z, y) = split(b, line, k.grid[1]);
        let line = b.at(b.mul(y, k.stride[1]), b.mul(z, k.stride[0]), k.from[1]);
        b.at(b.mul(x, k.stride[2]), line, k.from[2])
    }

    /// All steps. A stage is filled again one barrier after its last reader, so one barrier per step is enough.
    fn sums(&self, start: Tile<'c>) -> Tile<'c> {
        let (k, b) = (self.k, self.b);
        let (steps, stages, blocks) = (self.steps(), k.tile.stages, k.tile.columns / 8);
        let ahead = stages - 1;
        for i in 0..ahead.min(steps) {
            self.fill(i.into(), i.into());
            b.commit_copies();
        }
        let mut carried = vec![b.index_value(0), b.index_value(ahead % stages)];
        carried.extend(start.iter().flatten().flatten());
        let after = b.steps(0usize, steps, 1).carry(&carried, |step, carried| {
            let (slot, free) = (carried[0], carried[1]);
            let sums = unflatten(&carried[2..], blocks);
            if ahead == 0 {
                b.barrier();
                self.fill(step, 0usize.into());
                b.commit_copies();
                b.copies_done(0);
                b.barrier();
            } else {
                b.copies_done(ahead.min(steps) - 1);
                b.barrier();
                let next = b.add(step, ahead);
                b.when(b.lt(next, steps), || self.fill(next, free));
                b.commit_copies();
            }
            let sums = self.step(b.shifted(self.ring, b.mul(slot, self.stage)), sums);
            let following = |s: Val<'c>| {
                let s = b.add(s, 1usize);
                b.select(b.eq(s, stages), 0usize.into(), s)
            };
            let mut next = vec![following(slot), following(free)];
            next.extend(sums.iter().flatten().flatten());
            next
        });
        unflatten(&after[2..], blocks)
    }

    /// The product over one stage.
    fn step(&self, stage: Buffer<'c>, sums: Tile<'c>) -> Tile<'c> {
        let (k, b, warp) = (self.k, self.b, self.warp);
        let pitch = k.pitch();
        let rows = 16 * k.tile.m_tiles;
        let left = warp.left_rows(stage, pitch).moved(b, b.mul(self.own, rows * pitch));
        let right = warp.right_rows(b.shifted(stage, self.w_at), pitch);
        over_depth(warp, k.tile.depth, sums, &|at, mut sums| {
            let lefts: Vec<_> = (0..k.tile.m_tiles).map(|m| warp.left(left, 16 * m, at)).collect();
            multiply(warp, &lefts, right, at, &mut sums);
            sums
        })
    }

    /// Sums over this workgroup's voxels of the squares of the values, per column: over a lane's rows, the lanes, the warps, always in this order.
    fn squares(&self, (bytes, partials): (Buffer<'c>, Buffer<'c>), row_tile: Val<'c>, first: Val<'c>, values: &Tile<'c>) {
        let (k, b, warp) = (self.k, self.b, self.warp);
        let columns = k.tile.columns;
        let gathered = b.view(bytes, 0usize, Scalar::F32, k.tile.warps * columns);
        b.copies_done(0);
        b.barrier();
        let valid: Vec<Val<'c>> = (0..2 * k.tile.m_tiles).map(|i| b.lt(b.add(b.add(first, warp.row), 8 * i), voxels(k.grid))).collect();
        let zero = b.f32(0.0);
        for group in Group::all(columns) {
            let mut totals = vec![zero; group.own()];
            for (i, &valid) in valid.iter().enumerate() {
                for (total, value) in totals.iter_mut().zip(group.values(&values[i / 2], i % 2)) {
                    let value = b.select(valid, value, zero);
                    *total = b.fma(value, value, *total);
                }
            }
            // Lanes of equal t hold the same columns.
            let totals: Vec<_> = totals.into_iter().map(|t| b.sum_lanes(t, 0b11100)).collect();
            b.when(b.eq(warp.row, 0usize), || {
                let at = b.at(b.at(group.column, self.own, columns), warp.quad, group.own());
                vectors::store(b, &totals, gathered, at);
            });
        }
        b.barrier();
        b.each(self.crew.thread, columns, self.crew.threads, |column| {
            let own = |warp: usize| b.load(gathered, b.add(column, warp * columns));
            let sum = (1..k.tile.warps).fold(own(0), |sum, warp| b.add(sum, own(warp)));
            let row = b.at(row_tile, self.share.sample, k.row_tiles());
            b.store(sum, partials, b.at(b.add(self.share.first_column, column), row, k.out_channels));
        });
    }
}

/// Runs `body` at every step of a depth: written out where a step is short, else as a loop.
pub(super) fn over_depth<'c>(warp: &Warp<'_, 'c>, depth: usize, sums: Tile<'c>, body: &dyn Fn(Val<'c>, Tile<'c>) -> Tile<'c>) -> Tile<'c> {
    if warp.is_short() || depth == STEP {
        return (0..depth).step_by(STEP).fold(sums, |sums, k| body(k.into(), sums));
    }
    let blocks = sums[0].len();
    let flat: Vec<Val<'c>> = sums.iter().flatten().flatten().copied().collect();
    let after = warp.b.steps(0usize, depth, STEP).carry(&flat, |k, flat| {
        let sums = body(k, unflatten(flat, blocks));
        sums.iter().flatten().flatten().copied().collect()
    });
    unflatten(&after, blocks)
}

/// One step: every row block of the warp with every block of columns; each right factor is loaded once.
pub(super) fn multiply<'c>(warp: &Warp<'_, 'c>, lefts: &[Vec<Val<'c>>], rights: Rows<'c>, at: Val<'c>, sums: &mut Tile<'c>) {
    let blocks = sums[0].len();
    for first in (0..blocks).step_by(2) {
        let pair = warp.right(rights, 8 * first, at);
        for (left, row) in lefts.iter().zip(sums.iter_mut()) {
            for (i, right) in pair.iter().enumerate() {
                let sum: Sums<'c> = row[first + i];
                row[first + i] = warp.multiply(left, right, sum);
            }
        }
    }
}
