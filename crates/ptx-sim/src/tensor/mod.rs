//! Warp matrix instructions as pure functions of register rows.

use crate::Row;

/// How the tensor core rounds its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MmaModel {
    /// The exact sum, rounded once to nearest.
    #[default]
    Exact,
    /// 24 fractional bits, k16 in two k8 steps, truncated.
    Ampere,
    /// 25 fractional bits, truncated.
    Hopper,
}

/// The shape of `mma.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MmaShape {
    M16N8K16,
    M16N8K8,
    M16N8K4,
}

/// Type of A and B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MmaType {
    Bf16,
    F16,
    Tf32,
}

/// `mma.sync.aligned.SHAPE.row.col`: the registers of D, as many as there are in C.
///
/// # Errors
/// Names the shape and type where PTX has no such instruction or the numbers of registers do not fit.
pub fn mma(shape: MmaShape, ab: MmaType, acc_f32: bool, a: &[Row], b: &[Row], c: &[Row], model: MmaModel) -> Result<Vec<Row>, String> {
    let _ = (a, b, c, model);
    Err(format!("mma.sync {shape:?} {ab:?} acc_f32={acc_f32} has no implementation"))
}

/// The two b16 elements (low half first) of result register `reg` of `lane` of `ldmatrix.xCOUNT[.trans]`: for each, the lane whose address
/// points to its row and the byte offset in that 16-byte row. `stmatrix` is the inverse.
pub fn ldmatrix_source(count: usize, trans: bool, lane: usize, reg: usize) -> [(usize, usize); 2] {
    debug_assert!(reg < count);
    let element = |e: usize| {
        let (row, column) = (lane / 4, 2 * (lane % 4) + e);
        let (row, column) = if trans { (column, row) } else { (row, column) };
        (8 * reg + row, 2 * column)
    };
    [element(0), element(1)]
}

/// `movmatrix.sync.aligned.m8n8.trans.b16`.
pub fn movmatrix(a: &Row) -> Row {
    let mut out = [0; 32];
    for (lane, d) in out.iter_mut().enumerate() {
        for e in 0..2 {
            let (row, column) = (2 * (lane % 4) + e, lane / 4);
            let half = a[4 * row + column / 2] >> (16 * (column % 2)) & 0xffff;
            *d |= half << (16 * e);
        }
    }
    out
}
