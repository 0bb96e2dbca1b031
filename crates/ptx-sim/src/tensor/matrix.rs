//! Lane maps of `ldmatrix`, `stmatrix` and `movmatrix` on 8 by 8 matrices of 16-bit elements.

use crate::Row;

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

/// `movmatrix.sync.aligned.m8n8.trans.b16`: lane `4 i + j` holds elements `2 j` and `2 j + 1` of row `i`, of the operand and of its
/// transpose.
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
