//! A warp's tile of sums, as a value that loops carry.

use super::atom::Sums;
use crate::mlir::{Builder, Val};
use std::ops::{Index, IndexMut};

/// Sums of a warp by row block, then by block of eight columns.
#[derive(Clone)]
pub(super) struct Tile<'c> {
    rows: Vec<Vec<Sums<'c>>>,
}

impl<'c> Tile<'c> {
    /// Equal row blocks of these blocks of columns.
    pub(super) fn of(columns: Vec<Sums<'c>>, row_blocks: usize) -> Self {
        Self { rows: vec![columns; row_blocks] }
    }

    /// Values in the order that [`Self::flat`] gives them, in rows of `blocks` blocks of columns.
    pub(super) fn from_flat(flat: &[Val<'c>], blocks: usize) -> Self {
        let sums: Vec<Sums<'c>> = flat.chunks_exact(4).map(|v| [v[0], v[1], v[2], v[3]]).collect();
        Self { rows: sums.chunks_exact(blocks).map(<[_]>::to_vec).collect() }
    }

    /// Row blocks.
    pub(super) fn row_blocks(&self) -> usize {
        self.rows.len()
    }

    /// Blocks of eight columns.
    pub(super) fn column_blocks(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// Row blocks, each by block of columns.
    pub(super) fn rows(&self) -> &[Vec<Sums<'c>>] {
        &self.rows
    }

    /// Row blocks, to be changed.
    pub(super) fn rows_mut(&mut self) -> &mut [Vec<Sums<'c>>] {
        &mut self.rows
    }

    /// All values: row block by row block, block by block, a lane's four.
    pub(super) fn flat(&self) -> Vec<Val<'c>> {
        self.rows.iter().flatten().flatten().copied().collect()
    }

    /// Other values in the same places.
    pub(super) fn like(&self, flat: &[Val<'c>]) -> Self {
        Self::from_flat(flat, self.column_blocks())
    }

    /// Carried through `for i in (0..high).step_by(step)`.
    pub(super) fn carry(self, b: &Builder<'c>, high: impl Into<Val<'c>>, step: usize, body: impl FnOnce(Val<'c>, Self) -> Self) -> Self {
        let after = b.steps(0usize, high, step).carry(&self.flat(), |i, flat| body(i, self.like(flat)).flat());
        self.like(&after)
    }
}

impl<'c> Index<usize> for Tile<'c> {
    type Output = Vec<Sums<'c>>;
    fn index(&self, row_block: usize) -> &Self::Output {
        &self.rows[row_block]
    }
}

impl IndexMut<usize> for Tile<'_> {
    fn index_mut(&mut self, row_block: usize) -> &mut Self::Output {
        &mut self.rows[row_block]
    }
}
