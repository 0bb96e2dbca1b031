//! A warp's step of a matrix product over operands in shared memory: the one file that knows who owns which element.
//!
//! Lane `4 g + t` holds, of every block of 16 rows by 8 columns, rows `g` and `g + 8` of columns `2t` and `2t + 1`. Tensor cores want it so; float32 keeps
//! the same ownership with FMAs, so that everything outside this file is written once.

use crate::mlir::{Buffer, Builder, Multiplicand, Scalar, Shuffle, Ty, Val};
use mnx_plan::vocabulary::Storage;

/// Depth of a step, and the columns that a right factor is loaded for at once.
pub(super) const STEP: usize = 16;

/// A lane's part of a factor over one step.
///
/// Tensor cores: registers of two values. float32: every k of the lane's first row or column, then of its second; any number of them.
pub(super) type Fragment<'c> = Vec<Val<'c>>;

/// A lane's part of a block of 16 by 8 sums: columns `2t`, `2t + 1` of row `g`, then of row `g + 8`.
pub(super) type Sums<'c> = [Val<'c>; 4];

/// Rows of a factor in shared memory, k running within a row, as one lane addresses them.
#[derive(Clone, Copy)]
pub(super) struct Rows<'c> {
    buffer: Buffer<'c>,
    pitch: usize,
}

impl<'c> Rows<'c> {
    /// Rows that lie `elements` further on.
    pub(super) fn moved(self, b: &Builder<'c>, elements: impl Into<Val<'c>>) -> Self {
        Self { buffer: b.shifted(self.buffer, elements), ..self }
    }

    /// Elements between rows.
    pub(super) fn pitch(&self) -> usize {
        self.pitch
    }
}

/// A warp, seen from one of its lanes.
pub(super) struct Warp<'a, 'c> {
    pub(super) b: &'a Builder<'c>,
    storage: Storage,
    lane: Val<'c>,
    /// `g`.
    pub(super) row: Val<'c>,
    /// `t`.
    pub(super) quad: Val<'c>,
}

impl<'a, 'c> Warp<'a, 'c> {
    pub(super) fn new(b: &'a Builder<'c>, storage: Storage, lane: Val<'c>) -> Self {
        Self { b, storage, lane, row: b.div(lane, 4usize), quad: b.rem(lane, 4usize) }
    }

    /// The lane of this thread where factors are of another element type.
    pub(super) fn of(&self, scalar: Scalar) -> Self {
        let storage = match scalar {
            Scalar::Bf16 => Storage::Bf16,
            Scalar::F16 => Storage::F16,
            Scalar::F32 => Storage::F32,
            Scalar::I1 | Scalar::I8 | Scalar::I32 | Scalar::I64 | Scalar::Index | Scalar::F64 => {
                unreachable!("no product has factors of this type")
            }
        };
        Self { storage, ..*self }
    }

    /// Element type in memory.
    pub(super) fn scalar(&self) -> Scalar {
        match self.storage {
            Storage::F32 => Scalar::F32,
            Storage::Bf16 => Scalar::Bf16,
            Storage::F16 => Scalar::F16,
        }
    }

    fn kind(&self) -> Option<Multiplicand> {
        match self.storage {
            Storage::F32 => None,
            Storage::Bf16 => Some(Multiplicand::Bf16),
            Storage::F16 => Some(Multiplicand::F16),
        }
    }

    /// Whether a step costs a few instructions only, so that it is written out rather than looped over.
    pub(super) fn is_short(&self) -> bool {
        self.kind().is_some()
    }

    /// Rows of left factors from the first element of `buffer` on.
    pub(super) fn left_rows(&self, buffer: Buffer<'c>, pitch: usize) -> Rows<'c> {
        let b = self.b;
        let own = match self.kind() {
            // Lane l names row l % 16 of the eight columns l / 16: the order in which the four blocks become registers.
            Some(_) => b.at(b.mul(b.div(self.lane, 16usize), 8usize), b.rem(self.lane, 16usize), pitch),
            None => b.mul(self.row, pitch),
        };
        Rows { buffer: b.shifted(buffer, b.opaque(own)), pitch }
    }

    /// Rows of right factors (a row for every column of the product) from the first element of `buffer` on.
    pub(super) fn right_rows(&self, buffer: Buffer<'c>, pitch: usize) -> Rows<'c> {
        let b = self.b;
        let own = match self.kind() {
            Some(_) => {
                let row = b.at(b.rem(self.lane, 8usize), b.div(self.lane, 16usize), 8);
                let k = b.mul(b.rem(b.div(self.lane, 8usize), 2usize), 8usize);
                b.at(k, row, pitch)
            }
            None => b.mul(self.quad, 2 * pitch),
        };
        Rows { buffer: b.shifted(buffer, b.opaque(own)), pitch }
    }

    /// Rows `row..row + 16` over the step from `k` on.
    pub(super) fn left(&self, rows: Rows<'c>, row: usize, k: impl Into<Val<'c>>) -> Fragment<'c> {
        let b = self.b;
        let at = b.add(k, row * rows.pitch);
        match self.kind() {
            Some(_) => b.load_matrix(rows.buffer, at, 4, false),
            None => [self.run(rows, at), self.run(rows, b.add(at, 8 * rows.pitch))].concat(),
        }
    }

    /// Columns `column..column + 16`, as two blocks of eight, over the step from `k` on.
    pub(super) fn right(&self, rows: Rows<'c>, column: usize, k: impl Into<Val<'c>>) -> [Fragment<'c>; 2] {
        let b = self.b;
        let at = b.add(k, column * rows.pitch);
        match self.kind() {
            Some(_) => {
                let words = b.load_matrix(rows.buffer, at, 4, false);
                [words[..2].to_vec(), words[2..].to_vec()]
            }
            None => [0, 8].map(|block| [0, 1].map(|c| self.run(rows, b.add(at, (block + c) * rows.pitch))).concat()),
        }
    }

    /// How far along k factors are read from global memory at once, where `left` is left: tensor-core steps in pairs, so that a lane reads 16 bytes of a row.
    pub(super) fn reach(&self, left: usize) -> usize {
        match self.kind() {
            Some(_) if left >= 2 * STEP => 2 * STEP,
            Some(_) => STEP,
            // A piece of 16 bytes: every lane holds all of it.
            None => STEP / 4,
        }
    }

    /// Left factors, by step, over the next `reach` of k, of rows in global memory: row g starts at `rows[0]`, row g + 8 at `rows[1]`. The order of k within
    /// them is that of [`Warp::right_stored`] alone.
    pub(super) fn left_stored(&self, from: Buffer<'c>, rows: [Val<'c>; 2], reach: usize) -> Vec<Fragment<'c>> {
        let [upper, lower] = rows.map(|row| self.share(from, row, reach));
        let steps = upper.len();
        match self.kind() {
            Some(_) => (0..steps / 2).map(|s| vec![upper[2 * s], lower[2 * s], upper[2 * s + 1], lower[2 * s + 1]]).collect(),
            None => vec![[upper, lower].concat()],
        }
    }

    /// Right factors likewise; the rows of this lane's columns ([`Warp::columns`]) start at `columns`.
    pub(super) fn right_stored(&self, from: Buffer<'c>, columns: &[Val<'c>], reach: usize) -> Vec<Fragment<'c>> {
        let shares: Vec<Val<'c>> = columns.iter().flat_map(|&column| self.share(from, column, reach)).collect();
        match self.kind() {
            Some(_) => shares.chunks(2).map(<[_]>::to_vec).collect(),
            None => vec![shares],
        }
    }

    /// What this lane holds of a row: its quarter as pairs of values; in float32 all of it.
    fn share(&self, from: Buffer<'c>, row: Val<'c>, reach: usize) -> Vec<Val<'c>> {
        let b = self.b;
        match self.kind() {
            Some(_) => b.words(b.load_whole(from, b.at(row, self.quad, reach / 4), reach / 4)),
            None => b.unpack(b.load_whole(from, row, reach)),
        }
    }

    /// Whose right factors this lane holds of a first block of eight columns, of columns dealt out `own` to a lane; in block j they are `2 j` further on.
    pub(super) fn columns(&self, own: usize) -> Vec<Val<'c>> {
        let b = self.b;
        match self.kind() {
            Some(_) => vec![b.at(b.rem(self.row, 2usize), b.div(self.row, 2usize), own)],
            None => [0usize, 1].map(|i| b.add(b.mul(self.quad, own), i)).to_vec(),
        }
    }

    /// One row's values over a step.
    fn run(&self, rows: Rows<'c>, at: Val<'c>) -> Vec<Val<'c>> {
        let b = self.b;
        (0..STEP).step_by(4).flat_map(|k| b.unpack(b.load_whole(rows.buffer, b.add(at, k), 4))).collect()
    }

    /// `sums + left right`.
    pub(super) fn multiply(&self, left: &Fragment<'c>, right: &Fragment<'c>, sums: Sums<'c>) -> Sums<'c> {
        let b = self.b;
        match self.kind() {
            Some(kind) => {
                let sums = b.multiply(kind, left, right, &sums);
                [sums[0], sums[1], sums[2], sums[3]]
            }
            None => {
                let [mut p, mut q, mut r, mut s] = sums;
                let depth = left.len() / 2;
                for k in 0..depth {
                    let (upper, lower) = (left[k], left[depth + k]);
                    let (first, second) = (right[k], right[depth + k]);
                    (p, q) = (b.fma(upper, first, p), b.fma(upper, second, q));
                    (r, s) = (b.fma(lower, first, r), b.fma(lower, second, s));
                }
                [p, q, r, s]
            }
        }
    }

    /// Two blocks of results side by side as the left factor of a product over those 16 columns. All lanes take part.
    pub(super) fn as_left(&self, blocks: &[Sums<'c>; 2]) -> Fragment<'c> {
        let b = self.b;
        if self.kind().is_some() {
            let pair = |x: Val<'c>, y: Val<'c>| b.pair_bits(b.narrow(b.pack(&[x, y]), self.scalar()));
            return blocks.iter().flat_map(|v| [pair(v[0], v[1]), pair(v[2], v[3])]).collect();
        }
        let lane = b.index_cast(self.lane, Scalar::I32);
        let first = b.and(lane, b.int(Ty::I32, !3));
        let row = |half: usize| {
            (0..STEP).map(move |k| {
                let owner = b.or(first, b.int(Ty::I32, (k % 8 / 2) as i64));
                b.shuffle_lanes(Shuffle::Index, blocks[k / 8][2 * half + k % 2], owner)
            })
        };
        row(0).chain(row(1)).collect()
    }
}
