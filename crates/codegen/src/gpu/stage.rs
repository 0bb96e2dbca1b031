//! Copies from global to shared memory: rows in pieces of 16 bytes, whoever of the threads is next.

use crate::mlir::{Buffer, Builder, Scalar, Transfer, Ty, Val};

/// Bytes of a piece.
pub(super) const PIECE: usize = 16;

/// Copies that a thread writes out one by one; more are looped over.
const WRITTEN_OUT: usize = 16;

/// The threads that share a copy: `thread` of `threads`.
#[derive(Clone, Copy)]
pub(super) struct Crew<'c> {
    pub(super) thread: Val<'c>,
    pub(super) threads: usize,
}

/// Rows of shared memory to fill.
#[derive(Clone, Copy)]
pub(super) struct Target<'c> {
    /// Where the first row starts.
    pub(super) buffer: Buffer<'c>,
    /// Rows.
    pub(super) rows: usize,
    /// Elements of a row; whole pieces.
    pub(super) length: usize,
    /// Elements between rows.
    pub(super) pitch: usize,
}

/// Where a row comes from.
pub(super) struct Source<'c> {
    /// Element index of its start.
    pub(super) at: Val<'c>,
    /// Where false, the row is filled with zeros and nothing is read.
    pub(super) valid: Option<Val<'c>>,
}

impl<'c> From<Val<'c>> for Source<'c> {
    fn from(at: Val<'c>) -> Self {
        Self { at, valid: None }
    }
}

impl<'c> Crew<'c> {
    /// Starts copying every row of `to` from `from` at `source(row)`. The caller commits and waits.
    pub(super) fn copy(self, b: &Builder<'c>, from: Buffer<'c>, to: Target<'c>, source: &dyn Fn(Val<'c>) -> Source<'c>) {
        let elements = PIECE / from.scalar().bytes();
        let per_row = to.length / elements;
        let pieces = to.rows * per_row;
        let one = |row: Val<'c>, piece: Val<'c>| {
            let offset = b.mul(piece, elements);
            let source = source(row);
            let (at, slot) = (b.add(source.at, offset), b.at(offset, row, to.pitch));
            b.copy_async(Transfer { from, at, to: to.buffer, slot, bytes: PIECE }, source.valid);
        };
        let turns = pieces.div_ceil(self.threads);
        if turns > WRITTEN_OUT {
            b.each(self.thread, pieces, self.threads, |i| {
                let (row, piece) = split(b, i, per_row);
                one(row, piece);
            });
            return;
        }
        // A thread keeps its column where the crew covers whole rows at a time.
        let level = self.threads.is_multiple_of(per_row);
        let (row, piece) = split(b, self.thread, per_row);
        for turn in 0..turns {
            let index = b.add(self.thread, turn * self.threads);
            let (row, piece) = if level { (b.add(row, turn * self.threads / per_row), piece) } else { split(b, index, per_row) };
            if (turn + 1) * self.threads <= pieces {
                one(row, piece);
            } else {
                b.when(b.lt(index, pieces), || one(row, piece));
            }
        }
    }
}

/// Quotient and remainder of an index below 2^31, in 32 bits: a 64-bit division by a constant takes several times the instructions.
pub(super) fn split<'c>(b: &Builder<'c>, index: Val<'c>, by: usize) -> (Val<'c>, Val<'c>) {
    if by == 1 || index.constant().is_some() {
        return (b.div(index, by), b.rem(index, by));
    }
    let word = b.index_cast(index, Scalar::I32);
    let by = b.int(Ty::I32, by as i64);
    (b.index_cast(b.div(word, by), Scalar::Index), b.index_cast(b.rem(word, by), Scalar::Index))
}

/// The column of a product whose row of the right factor stands at `position`, such that a lane owns consecutive columns: of every 32 columns
/// eight, of 16 that are left over four.
///
/// Within 32, position `8 j + 2 t + e` (block j, lane t of its quad, e of its two columns) is column `8 t + 2 j + e`; within 16, `4 t + 2 j + e`.
pub(super) fn column_at<'c>(b: &Builder<'c>, position: Val<'c>, columns: usize) -> Val<'c> {
    let within = |width: usize| {
        let (base, inside) = (b.div(position, width), b.rem(position, width));
        let (block, low) = (b.div(inside, 8usize), b.rem(inside, 8usize));
        let (quad, own) = (b.div(low, 2usize), b.rem(low, 2usize));
        b.add(b.mul(base, width), b.add(b.mul(quad, width / 4), b.add(b.mul(block, 2usize), own)))
    };
    let wide = columns / 32 * 32;
    match (wide, columns - wide) {
        (_, 0) => within(32),
        (0, _) => within(16),
        _ => b.select(b.lt(position, wide), within(32), within(16)),
    }
}
