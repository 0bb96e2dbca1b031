//! Whole warp registers at once, compiled for the vector instructions of the machine at hand (chosen at run time).

use crate::Row;
use std::sync::LazyLock;

static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// `fma.rn.f32` of all lanes: in software where the machine has no fused multiply-add, the bits are the same.
#[inline]
pub fn fma_f32_row(a: &Row, b: &Row, c: &Row) -> Row {
    let mut d = [0; 32];
    ARCH.dispatch(|| {
        for i in 0..32 {
            let x = f32::from_bits(a[i]).mul_add(f32::from_bits(b[i]), f32::from_bits(c[i]));
            d[i] = if x.is_nan() { 0x7fff_ffff } else { x.to_bits() };
        }
    });
    d
}

/// `cvt.rn.bf16x2.f32` of all lanes: `a` into the high half, `b` into the low half.
#[inline]
pub fn cvt_bf16x2_row(a: &Row, b: &Row) -> Row {
    let mut d = [0; 32];
    ARCH.dispatch(|| {
        let round = |bits: u32| {
            let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
            if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff } else { rounded }
        };
        for i in 0..32 {
            d[i] = round(a[i]) << 16 | round(b[i]);
        }
    });
    d
}
