//! Weighted sums of tiles over one patch depth of planes, in float32 or, as nnU-Net v2 keeps them, in float16.

use half::f16;
use half::slice::HalfFloatSliceExt;
use mnx_artifact::Gaussian;
use rayon::prelude::*;

use crate::error::{VolumeError, try_filled};
use crate::sliding_window::{Band, Grid, Sink, SlidingWindow, covered};

/// Planes handed on at a time, per thread: enough for all to share, few enough to cost no memory.
const PLANES_PER_THREAD: usize = 4;

/// Values rounded at a time.
const PIECE: usize = 256;

/// Rounds to float16 and back.
pub(crate) fn round_to_half(values: &mut [f32]) {
    let mut half = [f16::ZERO; PIECE];
    for piece in values.chunks_mut(PIECE) {
        let half = &mut half[..piece.len()];
        half.convert_from_f32_slice(piece);
        half.convert_to_f32_slice(piece);
    }
}

/// Numbers in the format that they are added in.
enum Store {
    Single(Vec<f32>),
    Half(Vec<f16>),
}

impl Store {
    fn new(half: bool, len: usize, what: &str) -> Result<Store, VolumeError> {
        Ok(if half { Store::Half(try_filled(len, f16::ZERO, what)?) } else { Store::Single(try_filled(len, 0.0, what)?) })
    }

    /// Pieces of `len` numbers, to be worked on in parallel.
    fn pieces(&mut self, len: usize) -> Vec<Piece<'_>> {
        match self {
            Store::Single(v) => v.chunks_mut(len).map(Piece::Single).collect(),
            Store::Half(v) => v.chunks_mut(len).map(Piece::Half).collect(),
        }
    }

    /// Numbers from `at` on as float32.
    fn read(&self, at: usize, out: &mut [f32]) {
        match self {
            Store::Single(v) => out.copy_from_slice(&v[at..at + out.len()]),
            Store::Half(v) => v[at..at + out.len()].convert_to_f32_slice(out),
        }
    }
}

/// A part of a store.
enum Piece<'a> {
    Single(&'a mut [f32]),
    Half(&'a mut [f16]),
}

impl Piece<'_> {
    /// Adds `values`, each times its weight, from `at` on.
    fn add(&mut self, at: usize, values: &[f32], weights: &[f32]) {
        match self {
            Piece::Single(sums) => {
                for ((o, v), w) in sums[at..].iter_mut().zip(values).zip(weights) {
                    *o += v * w;
                }
            }
            Piece::Half(sums) => {
                let mut wide = [0f32; PIECE];
                for ((sums, v), w) in sums[at..at + values.len()].chunks_mut(PIECE).zip(values.chunks(PIECE)).zip(weights.chunks(PIECE)) {
                    let wide = &mut wide[..sums.len()];
                    sums.convert_to_f32_slice(wide);
                    for ((o, v), w) in wide.iter_mut().zip(v).zip(w) {
                        *o += v * w;
                    }
                    sums.convert_from_f32_slice(wide);
                }
            }
        }
    }

    /// Drops the first `n` numbers, moves the others up and puts zeros behind them.
    fn shift(&mut self, n: usize) {
        fn moved<T: Copy>(v: &mut [T], n: usize, zero: T) {
            v.copy_within(n.., 0);
            let end = v.len();
            v[end - n..].fill(zero);
        }
        match self {
            Piece::Single(v) => moved(v, n, 0.0),
            Piece::Half(v) => moved(v, n, f16::ZERO),
        }
    }
}

/// Weighted sums over one patch depth of planes.
pub(crate) struct Accumulator {
    members: usize,
    classes: usize,
    patch: [usize; 3],
    plane: usize,
    depth: usize,
    half: bool,
    /// Image plane of the first accumulated one.
    base: usize,
    /// `[member, k, depth, y, x]`.
    sums: Store,
    /// `[depth, y, x]`.
    weights: Store,
}

impl Accumulator {
    /// For as many scores as the window's network gives.
    pub fn new(window: &SlidingWindow, grid: &Grid, classes: usize) -> Result<Accumulator, VolumeError> {
        let depth = window.patch[0].min(grid.shape[0]);
        let plane = grid.shape[1] * grid.shape[2];
        let half = window.gaussian == Gaussian::NnunetV2;
        Ok(Accumulator {
            members: window.members,
            classes,
            patch: window.patch,
            plane,
            depth,
            half,
            base: 0,
            sums: Store::new(half, window.members * classes * depth * plane, "scores of a band")?,
            weights: Store::new(half, depth * plane, "weights of a band")?,
        })
    }

    /// Adds the tile at `start`: scores `[member, k, pz, py, px]` under weights `[pz, py, px]`.
    pub fn add(&mut self, scores: &[f32], weights: &[f32], grid: &Grid, start: [usize; 3]) {
        let cover = covered(self.patch, grid, start);
        let [pz, py, px] = self.patch;
        let nx = grid.shape[2];
        let (plane, z0) = (self.plane, cover.image[0] - self.base);
        let rows = (0..cover.size[0]).flat_map(|z| (0..cover.size[1]).map(move |y| (z, y)));
        // Offsets of a row in the patch and in the accumulator.
        let place = |z: usize, y: usize| {
            let from = ((cover.patch[0] + z) * py + cover.patch[1] + y) * px + cover.patch[2];
            (from, (z0 + z) * plane + (cover.image[1] + y) * nx + cover.image[2])
        };
        let n = cover.size[2];
        let pieces = self.sums.pieces(self.depth * plane);
        pieces.into_par_iter().zip(scores.par_chunks(pz * py * px)).for_each(|(mut sums, scores)| {
            for (z, y) in rows.clone() {
                let (from, to) = place(z, y);
                sums.add(to, &scores[from..from + n], &weights[from..from + n]);
            }
        });
        let ones = vec![1.0; n];
        for mut total in self.weights.pieces(self.depth * plane) {
            for (z, y) in rows.clone() {
                let (from, to) = place(z, y);
                total.add(to, &ones, &weights[from..from + n]);
            }
        }
    }

    /// Hands over the planes before `until`, a few at a time, and makes room for as many after the last.
    pub fn emit<E: From<VolumeError>>(&mut self, until: usize, sink: &mut Sink<'_, E>) -> Result<(), E> {
        let depth = until - self.base;
        let (plane, whole) = (self.plane, self.depth * self.plane);
        let most = (PLANES_PER_THREAD * rayon::current_num_threads()).max(8);
        for first in (0..depth).step_by(most) {
            let planes = most.min(depth - first);
            let mut scores = try_filled(self.classes * planes * plane, 0f32, "scores of a band")?;
            let (sums, totals) = (&self.sums, &self.weights);
            scores.par_chunks_mut(plane).enumerate().for_each_init(
                || (vec![0f32; plane], vec![0f32; plane]),
                |(sum, total), (i, out)| {
                    let (class, at) = (i / planes, (first + i % planes) * plane);
                    totals.read(at, total);
                    for member in 0..self.members {
                        sums.read((member * self.classes + class) * whole + at, sum);
                        sum.iter_mut().zip(&*total).for_each(|(s, w)| *s /= w);
                        if self.half {
                            round_to_half(sum);
                        }
                        out.iter_mut().zip(&*sum).for_each(|(o, s)| *o += s);
                        if self.half && member > 0 {
                            round_to_half(out);
                        }
                    }
                    if self.members > 1 {
                        let share = self.members as f32;
                        out.iter_mut().for_each(|v| *v /= share);
                        if self.half {
                            round_to_half(out);
                        }
                    }
                },
            );
            sink(Band { z: self.base + first, depth: planes, logits: &scores })?;
        }
        let stale = depth * plane;
        let pieces = self.sums.pieces(whole).into_iter().chain(self.weights.pieces(whole));
        pieces.collect::<Vec<_>>().into_par_iter().for_each(|mut piece| piece.shift(stale));
        self.base = until;
        Ok(())
    }
}
