//! The GEMM engine: register blocks of rows by columns over packed panels.
//!
//! A row of the operand is a voxel, a column of the product an output channel. Rows beyond the valid ones of a tile are computed on
//! whatever the scratch holds: nothing traps, and their results are never stored outside the tile nor counted.

use crate::kernels::pieces;
use crate::mlir::{Buffer, Builder, Val};
use mnx_plan::host::PANEL;

/// The left operand: element `(row, k)` lies at `row * row_stride + k * k_stride`.
#[derive(Clone, Copy)]
pub struct Rows<'c> {
    /// Memory, seen from element (0, 0).
    pub buffer: Buffer<'c>,
    /// Elements between rows.
    pub row_stride: usize,
    /// Elements between values of one row.
    pub k_stride: usize,
}

/// The right operand: a weight `[columns, depth]` packed into panels of [`PANEL`] columns (`Recipe::Panels`).
#[derive(Clone, Copy)]
pub struct Panels<'c> {
    /// Memory, seen from the first panel.
    pub buffer: Buffer<'c>,
    /// Values of `k` that every panel holds.
    pub depth: usize,
}

/// Which part of the product is wanted.
#[derive(Clone, Copy)]
pub struct Part<'c> {
    /// Rows of a register block.
    pub block: usize,
    /// Number of register blocks.
    pub blocks: Val<'c>,
    /// First value of `k` in the panels (the operand starts at its own 0).
    pub first_k: Val<'c>,
    /// Values of `k`.
    pub k: usize,
    /// First column, a multiple of [`PANEL`].
    pub first_column: Val<'c>,
    /// Columns.
    pub columns: usize,
}

/// Where a vector of the product stands.
#[derive(Clone, Copy)]
pub struct Spot<'c> {
    /// Row within the tile.
    pub row: Val<'c>,
    /// Column, counted from `Part::first_column`.
    pub column: Val<'c>,
    /// Columns that the vector covers.
    pub lanes: usize,
}

/// `width` in vectors of falling power-of-two lengths, at most `lanes`: `(first, lanes)` each.
fn vectors(width: usize, lanes: usize) -> Vec<(usize, usize)> {
    pieces(width, lanes).into_iter().flat_map(|p| (0..p.count).map(move |i| (p.first + i * p.lanes, p.lanes))).collect()
}

/// Runs `body` over `width` columns in groups of at most `group` vectors: a loop over full groups, then the rest one by one.
pub fn column_groups<'c>(b: &Builder<'c>, width: usize, lanes: usize, group: usize, mut body: impl FnMut(&[(Val<'c>, usize)])) {
    let step = lanes * group;
    let full = width / step * step;
    if full > 0 {
        b.each(0usize, full, step, |first| {
            let spots: Vec<_> = (0..group).map(|i| (b.add(first, i * lanes), lanes)).collect();
            body(&spots);
        });
    }
    for rest in vectors(width - full, lanes).chunks(group) {
        let spots: Vec<_> = rest.iter().map(|&(at, lanes)| ((full + at).into(), lanes)).collect();
        body(&spots);
    }
}

/// The vectors of a register block and where they stand.
pub type Sums<'c> = [(Spot<'c>, Val<'c>)];

/// Vectors of columns in a register block.
const VECTORS: usize = 2;

/// A product of operands in memory.
#[derive(Clone, Copy)]
pub struct Product<'c> {
    /// float32 lanes of a vector.
    pub lanes: usize,
    /// The left operand.
    pub rows: Rows<'c>,
    /// The right operand.
    pub panels: Panels<'c>,
}

/// How the vectors of a product start, and what becomes of them.
#[derive(Clone, Copy)]
pub struct Ends<'e, 'c> {
    /// What a vector's sums start from.
    pub init: &'e dyn Fn(Spot<'c>) -> Val<'c>,
    /// What is done with the vectors of a register block.
    pub finish: &'e dyn Fn(&Sums<'c>),
}

/// `sum over k of rows(r, k) * panels(c, k)`, started at `init` and handed to `finish`
/// register block by register block, for every vector of `part`.
pub fn gemm<'c>(b: &Builder<'c>, product: Product<'c>, part: Part<'c>, ends: Ends<'_, 'c>) {
    gemm_beside(b, product, part, ends, &|_, _| {});
}

/// As [`gemm`], with `beside(first row of the register block, k)` emitted in the inner loop: what can be done in the shadow of the sums.
pub fn gemm_beside<'c>(b: &Builder<'c>, product: Product<'c>, part: Part<'c>, ends: Ends<'_, 'c>, beside: &dyn Fn(Val<'c>, Val<'c>)) {
    let full = part.columns / PANEL * PANEL;
    let panel = |column: Val<'c>, width: usize| {
        let first = b.mul(b.add(part.first_column, column), product.panels.depth);
        let base = b.at(first, part.first_k, width);
        for group in vectors(width, product.lanes).chunks(VECTORS) {
            b.each(0usize, part.blocks, 1, |block| {
                let row = b.mul(block, part.block);
                let own = RegisterBlock { part, row, column, base, width, group };
                own.emit(b, product, ends, beside);
            });
        }
    };
    if full > 0 {
        b.each(0usize, full, PANEL, |column| panel(column, PANEL));
    }
    if full < part.columns {
        panel(full.into(), part.columns - full);
    }
}

/// One register block: `part.block` rows by the vectors of `group`.
struct RegisterBlock<'g, 'c> {
    part: Part<'c>,
    /// First row.
    row: Val<'c>,
    /// First column of the panel.
    column: Val<'c>,
    /// Where the panel starts, and its columns.
    base: Val<'c>,
    width: usize,
    /// Vectors: first column within the panel, lanes.
    group: &'g [(usize, usize)],
}

impl<'c> RegisterBlock<'_, 'c> {
    /// Emits it, the sums carried in registers over k.
    fn emit(&self, b: &Builder<'c>, product: Product<'c>, ends: Ends<'_, 'c>, beside: &dyn Fn(Val<'c>, Val<'c>)) {
        let rows = product.rows;
        let spots: Vec<_> = (0..self.part.block)
            .flat_map(|r| self.group.iter().map(move |&piece| (r, piece)))
            .map(|(r, (at, lanes))| Spot { row: b.add(self.row, r), column: b.add(self.column, at), lanes })
            .collect();
        let first: Vec<_> = spots.iter().map(|&s| (ends.init)(s)).collect();
        let left = b.shifted(rows.buffer, b.mul(self.row, rows.row_stride));
        let right = b.shifted(product.panels.buffer, self.base);
        let sums = b.steps(0usize, self.part.k, 1).carry(&first, |k, sums| {
            beside(self.row, k);
            let from = b.mul(k, self.width);
            let weights: Vec<_> = self.group.iter().map(|&(at, lanes)| b.load_vec(right, b.add(from, at), lanes)).collect();
            let at = b.mul(k, rows.k_stride);
            let mut next = Vec::with_capacity(sums.len());
            for r in 0..self.part.block {
                let value = b.load(left, b.add(at, r * rows.row_stride));
                for (v, weight) in weights.iter().enumerate() {
                    let value = b.broadcast(value, weight.lanes());
                    next.push(b.fma(value, *weight, sums[r * self.group.len() + v]));
                }
            }
            next
        });
        let block: Vec<_> = spots.into_iter().zip(sums).collect();
        (ends.finish)(&block);
    }
}

/// Columns that [`gemm_columns_first`] sums at once.
const COLUMNS: usize = 8;

/// The product with voxels along the vector: for `rows` (a multiple of `lanes`) from 0 on, `finish(column, first row, vector of rows)`.
///
/// For few columns (classes) whose result is stored channels-first. Reads whole vectors along k where `k_stride` is 1, up to the next
/// multiple of `lanes`, which the rows of a scratch tile hold; what lies beyond `panels.depth` is not used.
pub fn gemm_columns_first<'c>(
    b: &Builder<'c>,
    product: Product<'c>,
    (columns, count): (usize, Val<'c>),
    init: &dyn Fn(usize) -> Val<'c>,
    finish: &dyn Fn(usize, Val<'c>, Val<'c>),
) {
    let Product { lanes, rows, panels } = product;
    let groups: Vec<_> = (0..columns).collect::<Vec<_>>().chunks(COLUMNS).map(<[usize]>::to_vec).collect();
    b.each(0usize, count, lanes, |row| {
        let left = b.shifted(rows.buffer, b.mul(row, rows.row_stride));
        for group in &groups {
            let first: Vec<_> = group.iter().map(|&c| b.broadcast(init(c), lanes)).collect();
            let weight = |c: usize, k: Val<'c>| {
                let panel = c / PANEL * PANEL;
                let width = (columns - panel).min(PANEL);
                let at = b.at(panel * panels.depth + c % PANEL, k, width);
                b.broadcast(b.load(panels.buffer, at), lanes)
            };
            let add = |k: Val<'c>, value: Val<'c>, sums: &[Val<'c>]| -> Vec<Val<'c>> {
                let terms = group.iter().zip(sums);
                terms.map(|(&c, &sum)| b.fma(value, weight(c, k), sum)).collect()
            };
            let sums = if rows.row_stride == 1 {
                b.steps(0usize, panels.depth, 1).carry(&first, |k, sums| {
                    let value = b.load_vec(left, b.mul(k, rows.k_stride), lanes);
                    add(k, value, sums)
                })
            } else {
                let square = |k: Val<'c>, used: usize, sums: &[Val<'c>]| {
                    let square: Vec<_> = (0..lanes).map(|r| b.load_vec(left, b.add(k, r * rows.row_stride), lanes)).collect();
                    let turned = transpose(b, square);
                    let values = turned.into_iter().take(used).enumerate();
                    values.fold(sums.to_vec(), |sums, (i, value)| add(b.add(k, i), value, &sums))
                };
                let full = panels.depth / lanes * lanes;
                let sums = b.steps(0usize, full, lanes).carry(&first, |k, sums| square(k, lanes, sums));
                if full < panels.depth { square(full.into(), panels.depth - full, &sums) } else { sums }
            };
            for (&c, sum) in group.iter().zip(sums) {
                finish(c, row, sum);
            }
        }
    });
}

/// The transpose of a square of vectors, by swapping ever smaller off-diagonal blocks.
fn transpose<'c>(b: &Builder<'c>, mut rows: Vec<Val<'c>>) -> Vec<Val<'c>> {
    let n = rows.len();
    let mut step = n / 2;
    while step > 0 {
        let (mut low, mut high) = (Vec::new(), Vec::new());
        for j in 0..n {
            let second = j & step != 0;
            low.push(if second { n + j - step } else { j } as i64);
            high.push(if second { n + j } else { j + step } as i64);
        }
        for i in (0..n).filter(|i| i & step == 0) {
            let (x, y) = (rows[i], rows[i + step]);
            rows[i] = b.shuffle(x, y, &low);
            rows[i + step] = b.shuffle(x, y, &high);
        }
        step /= 2;
    }
    rows
}

/// Writes a vector of rows to consecutive elements from `at` on, only the first `valid` of them where they are fewer than its lanes;
/// `spare` has room for one vector.
pub fn store_valid<'c>(b: &Builder<'c>, value: Val<'c>, valid: Val<'c>, (to, at): (Buffer<'c>, Val<'c>), spare: Buffer<'c>) {
    let lanes = value.lanes();
    b.choose(
        b.ge(valid, lanes),
        || {
            b.store(value, to, at);
            vec![]
        },
        || {
            b.store(value, spare, 0usize);
            b.each(0usize, valid, 1, |i| b.store(b.load(spare, i), to, b.add(at, i)));
            vec![]
        },
    );
}

/// Copies `count` consecutive elements.
pub fn copy<'c>(b: &Builder<'c>, lanes: usize, count: Val<'c>, from: Buffer<'c>, to: Buffer<'c>) {
    let full = b.mul(b.div(count, lanes), lanes);
    b.each(0usize, full, lanes, |i| b.store(b.load_vec(from, i, lanes), to, i));
    b.each(full, count, 1, |i| b.store(b.load(from, i), to, i));
}
