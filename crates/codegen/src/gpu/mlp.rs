//! Expand, GELU, compress back to back: a warp keeps 16 hidden channels of its voxels at a time, in registers.
//!
//! A warp stages its own rows of x, so with all weights resident warps run free of each other after the first barrier. Otherwise the weights go by
//! in pieces through a ring of stages, one barrier a piece.

use super::atom::{Fragment, Rows, STEP, Sums, Warp};
use super::epilogue::{End, Share};
use super::gemm::{multiply, over_depth};
use super::ring::{Ring, Steps};
use super::stage::{Crew, PIECE, Source, Target, column_at};
use super::tile::Tile;
use super::{Args, vectors, warp_and_lane};
use crate::math;
use crate::mlir::{Buffer, Builder, Scalar, Val};
use mnx_plan::gpu::Mlp;
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::voxels;

pub(super) fn emit<'c>(k: &Mlp, b: &Builder<'c>, args: &Args<'c>) {
    let [x, w2, b2, w3, b3] = [Slot::X, Slot::W2, Slot::B2, Slot::W3, Slot::B3].map(|slot| args.of(slot));
    let stats = args.get(Slot::Stats);
    let crew = Crew { thread: b.thread(), threads: 32 * k.tile.warps };
    let (own, lane) = warp_and_lane(b, crew.thread);
    let warp = Warp::new(b, k.storage, lane);
    let (group, sample) = (b.block(0), b.block(1));
    let share = Share { sample, first_column: 0usize.into(), columns: k.out_channels };
    let end = End::new(&warp, &k.epilogue, (k.grid, k.out_channels), share, args);
    let of_sample = |per: bool, length: usize| if per { b.mul(sample, length) } else { 0usize.into() };
    let layout = k.shared();
    let bytes = b.shared_memory(layout.end);
    let element = k.storage.bytes();
    let stages = k.tile.stages;
    let rows = 16 * k.tile.m_tiles;
    let kernel = Kernel {
        k,
        b,
        warp: &warp,
        crew,
        lane,
        own,
        sample,
        x,
        stats: stats.map(|s| b.shifted(s, b.mul(sample, 2 * k.channels))),
        w2: b.shifted(w2, of_sample(k.folded, k.hidden * k.channels)),
        b2: b.shifted(b2, of_sample(k.folded, k.hidden)),
        w3: b.shifted(w3, of_sample(k.grn_folded, k.hidden * k.out_channels)),
        tile: b.shifted(b.view(bytes, 0usize, warp.scalar(), k.rows() * k.pitch()), b.mul(own, rows * k.pitch())),
        weights: b.view(bytes, layout.stage_0, warp.scalar(), stages * layout.stage / element),
        biases: b.view(bytes, layout.stage_0, Scalar::F32, stages * layout.stage / 4),
    };
    let bias = |row_blocks| end.start(b3, of_sample(k.grn_folded, k.out_channels), row_blocks);
    let tiles = voxels(k.grid).div_ceil(k.rows());
    let first_tile = b.mul(group, k.tile.tiles);
    let count = b.min(b.sub(tiles, first_tile), k.tile.tiles);
    let count = if tiles.is_multiple_of(k.tile.tiles) { k.tile.tiles.into() } else { count };
    kernel.run(first_tile, count, &bias, &|first, sums| end.finish(first, sums));
    b.phase("pad");
    let groups = tiles.div_ceil(k.tile.tiles);
    end.pad(Crew { thread: b.at(crew.thread, group, crew.threads), threads: crew.threads * groups }, k.out_channels);
}

struct Kernel<'k, 'a, 'c> {
    k: &'k Mlp,
    b: &'a Builder<'c>,
    warp: &'k Warp<'a, 'c>,
    crew: Crew<'c>,
    lane: Val<'c>,
    /// This warp's number.
    own: Val<'c>,
    sample: Val<'c>,
    x: Buffer<'c>,
    /// Mean and reciprocal deviation of this sample's channels.
    stats: Option<Buffer<'c>>,
    /// The weights of this sample.
    w2: Buffer<'c>,
    b2: Buffer<'c>,
    w3: Buffer<'c>,
    /// This warp's rows of x in shared memory.
    tile: Buffer<'c>,
    /// The stages in the storage type, and as float32.
    weights: Buffer<'c>,
    biases: Buffer<'c>,
}

impl<'c> Kernel<'_, '_, 'c> {
    fn pieces(&self) -> usize {
        self.k.hidden / self.k.tile.chunk
    }

    fn first_row(&self, tile: Val<'c>) -> Val<'c> {
        let rows = 16 * self.k.tile.m_tiles;
        self.b.at(self.b.mul(tile, self.k.rows()), self.own, rows)
    }

    /// All row tiles of this workgroup.
    fn run(&self, first_tile: Val<'c>, count: Val<'c>, bias: &dyn Fn(usize) -> Tile<'c>, finish: &dyn Fn(Val<'c>, Tile<'c>)) {
        let (k, b) = (self.k, self.b);
        let (pieces, resident) = (self.pieces(), k.resident());
        let fill = |piece, slot| self.stage_weights(piece, slot);
        // Towards the end of a tile the first pieces are fetched again, for the next tile.
        let steps = |again| Steps { count: pieces, again, fill: &fill };
        b.phase("stage");
        self.stage_rows(first_tile);
        // Resident weights are read in place; the ring then stands still.
        let mut ring = Ring::new(b, if resident { 1 } else { k.tile.stages });
        if resident {
            b.each(0usize, pieces, 1, |piece| self.stage_weights(piece, piece));
            b.commit_copies();
            b.copies_done(0);
        } else {
            ring.fill(b, &steps(None));
            b.copies_done(k.tile.stages - 2);
        }
        b.barrier();
        if let Some(stats) = self.stats {
            b.phase("fold");
            self.fold(stats);
            b.barrier();
        }
        let start = ring.state();
        b.steps(0usize, count, 1).carry(&start, |i, state| {
            ring = ring.with(state);
            let tile = b.add(first_tile, i);
            let more = b.lt(b.add(i, 1usize), count);
            let next_rows = || {
                b.warp_barrier();
                b.when(more, || self.stage_rows(b.add(tile, 1usize)));
            };
            let held = self.k.held().then(|| self.lefts());
            if held.is_some() && more.constant() != Some(0) {
                next_rows();
                // Streamed, these copies are of the group of the next piece of weights, which a later barrier of this tile waits for.
                if resident {
                    b.commit_copies();
                }
            }
            b.phase("hidden");
            let sums = bias(k.tile.m_tiles);
            let sums = if resident {
                sums.carry(b, pieces, 1, |piece, sums| self.piece(piece, held.as_ref(), sums))
            } else {
                let (turned, sums) = ring.run(b, &steps(Some(more)), sums, &|slot, sums| self.piece(slot, held.as_ref(), sums));
                ring = turned;
                sums
            };
            if held.is_none() && more.constant() != Some(0) {
                next_rows();
                b.commit_copies();
            }
            b.phase("epilogue");
            finish(self.first_row(tile), sums);
            if more.constant() != Some(0) && (resident || held.is_none()) {
                b.copies_done(0);
                b.warp_barrier();
            }
            ring.state().to_vec()
        });
    }

    /// Starts copying this warp's rows of a tile of x.
    fn stage_rows(&self, tile: Val<'c>) {
        let (k, b) = (self.k, self.b);
        let all = voxels(k.grid);
        let first = self.first_row(tile);
        let to = Target { buffer: self.tile, rows: 16 * k.tile.m_tiles, length: k.channels, pitch: k.pitch() };
        let ragged = !all.is_multiple_of(k.rows());
        let warp = Crew { thread: self.lane, threads: 32 };
        warp.copy(b, self.x, to, &|row| {
            let own = b.add(first, row);
            Source { at: b.mul(b.at(own, self.sample, all), k.channels), valid: ragged.then(|| b.lt(own, all)) }
        });
    }

    /// Starts copying a piece of the weights into a slot.
    fn stage_weights(&self, piece: Val<'c>, slot: Val<'c>) {
        let (k, b) = (self.k, self.b);
        let layout = k.shared();
        let element = k.storage.bytes();
        let (chunk, first) = (k.tile.chunk, b.mul(piece, k.tile.chunk));
        let to = b.shifted(self.weights, b.mul(slot, layout.stage / element));
        let w2 = Target { buffer: to, rows: chunk, length: k.channels, pitch: k.pitch() };
        self.crew.copy(b, self.w2, w2, &|row| b.mul(b.add(first, row), k.channels).into());
        let w3 = Target { buffer: b.shifted(to, layout.w3 / element), rows: k.out_channels, length: chunk, pitch: k.chunk_pitch() };
        self.crew.copy(b, self.w3, w3, &|position| b.at(first, column_at(b, position, k.out_channels), k.hidden).into());
        let biases = b.shifted(self.biases, b.at(layout.b2 / 4, slot, layout.stage / 4));
        let b2 = Target { buffer: biases, rows: 1, length: chunk, pitch: chunk };
        self.crew.copy(b, self.b2, b2, &|_| first.into());
    }

    /// Folds the normalisation into the resident w2 and b2: `w'[o, i] = w[o, i] rstd[i]`, rounded; `b'[o] = b[o] - sum_i w'[o, i] mean[i]`. A row of weights by as many lanes as
    /// it has pieces of 16 bytes.
    fn fold(&self, stats: Buffer<'c>) {
        let (k, b) = (self.k, self.b);
        let layout = k.shared();
        let element = k.storage.bytes();
        let own = PIECE / element;
        let pieces = k.channels / own;
        let width = pieces.next_power_of_two().min(32);
        let (lane, which) = (b.rem(self.lane, width), b.div(self.lane, width));
        let zero = b.f32(0.0);
        // What stays the same in all rows: this lane's channels.
        let turns: Vec<_> = (0..pieces.div_ceil(width))
            .map(|turn| {
                let piece = b.add(lane, turn * width);
                let valid = b.lt(piece, pieces);
                let channel = b.mul(piece, own);
                let load = |at: Val<'c>| b.choose(valid, || vectors::load(b, stats, at, own), || vec![zero; own]);
                (valid, channel, load(channel), load(b.add(channel, k.channels)))
            })
            .collect();
        let together = 32 / width;
        b.each(b.mul(self.own, together), k.hidden, together * k.tile.warps, |first| {
            let row = b.add(first, which);
            let (slot, inside) = (b.div(row, k.tile.chunk), b.rem(row, k.tile.chunk));
            let from = b.at(b.mul(inside, k.pitch()), slot, layout.stage / element);
            let moved = turns.iter().fold(zero, |moved, (valid, channel, mean, rstd)| {
                let at = b.add(from, *channel);
                let one = || {
                    let weights = vectors::load(b, self.weights, at, own);
                    let scaled: Vec<Val<'c>> = weights.iter().zip(rstd).map(|(&w, &r)| b.mul(w, r)).collect();
                    // The rounded weights, so that a channel's mean cancels exactly.
                    let used = b.narrow(b.pack(&scaled), self.warp.scalar());
                    b.store_whole(used, self.weights, at);
                    let sum = b.unpack(b.widen(used)).iter().zip(mean).fold(moved, |sum, (&w, &m)| b.fma(b.neg(w), m, sum));
                    vec![sum]
                };
                b.choose(*valid, one, || vec![moved])[0]
            });
            let moved = b.sum_lanes(moved, width - 1);
            b.when(b.eq(lane, 0usize), || {
                let at = b.add(b.at(layout.b2 / 4, slot, layout.stage / 4), inside);
                b.store(b.add(b.load(self.biases, at), moved), self.biases, at);
            });
        });
    }

    /// This warp's rows of x as left factors, by row block, then by step.
    fn lefts(&self) -> Lefts<'c> {
        let (k, warp) = (self.k, self.warp);
        let rows = warp.left_rows(self.tile, k.pitch());
        (0..k.tile.m_tiles).map(|m| (0..k.channels).step_by(STEP).map(|at| warp.left(rows, 16 * m, at)).collect()).collect()
    }

    /// The hidden channels of one piece, in its slot: from x to the sums of the result.
    fn piece(&self, slot: Val<'c>, held: Option<&Lefts<'c>>, sums: Tile<'c>) -> Tile<'c> {
        let (k, b, warp) = (self.k, self.b, self.warp);
        let layout = k.shared();
        let element = k.storage.bytes();
        let weights = b.shifted(self.weights, b.mul(slot, layout.stage / element));
        let w2 = warp.right_rows(weights, k.pitch());
        let w3 = warp.right_rows(b.shifted(weights, layout.w3 / element), k.chunk_pitch());
        let b2 = b.shifted(self.biases, b.at(layout.b2 / 4, slot, layout.stage / 4));
        let side = k.side();
        sums.carry(b, k.tile.chunk, side * STEP, |j, mut sums| {
            let hidden = self.expand(w2.moved(b, b.mul(j, w2.pitch())), b.shifted(b2, j), side, held);
            let values = hidden.like(&math::gelu(b, k.gelu, &hidden.flat()));
            let w3 = w3.moved(b, j);
            for i in 0..side {
                let lefts: Vec<Fragment<'c>> = values.rows().iter().map(|row| warp.as_left(&[row[2 * i], row[2 * i + 1]])).collect();
                multiply(warp, &lefts, w3, (i * STEP).into(), &mut sums);
            }
            sums
        })
    }

    /// `side` times 16 hidden channels before GELU, whose weights start at `w2` and biases at `b2`.
    fn expand(&self, w2: Rows<'c>, b2: Buffer<'c>, side: usize, held: Option<&Lefts<'c>>) -> Tile<'c> {
        let (k, b, warp) = (self.k, self.b, self.warp);
        let per_block: Vec<Sums<'c>> = (0..2 * side)
            .map(|block| {
                let own = b.load_whole(b2, b.at(8 * block, warp.quad, 2), 2);
                let own = b.unpack(own);
                [own[0], own[1], own[0], own[1]]
            })
            .collect();
        let start = Tile::of(per_block, k.tile.m_tiles);
        if let Some(held) = held {
            return (0..k.channels / STEP).fold(start, |mut sums, step| {
                let lefts: Vec<Fragment<'c>> = held.iter().map(|row| row[step].clone()).collect();
                multiply(warp, &lefts, w2, (step * STEP).into(), &mut sums);
                sums
            });
        }
        // Keeps the compiler from carrying x, which no iteration changes, in registers after all.
        b.warp_barrier();
        let rows = warp.left_rows(self.tile, k.pitch());
        over_depth(warp, k.channels, start, &|at, mut sums| {
            let lefts: Vec<Fragment<'c>> = (0..k.tile.m_tiles).map(|m| warp.left(rows, 16 * m, at)).collect();
            multiply(warp, &lefts, w2, at, &mut sums);
            sums
        })
    }
}

/// Left factors of a warp by row block, then by step.
type Lefts<'c> = Vec<Vec<Fragment<'c>>>;
