//! f16 and bf16 arithmetic, each with one rounding to nearest even.
//!
//! Sums are formed in f64 and, where they are not exact there, moved to the neighbour with an odd last bit (rounding to odd): f64 has more
//! than twice the bits of either format plus two, so the second rounding then gives what one rounding of the exact value gives.

use super::convert::{NAN16, f64_to_half, format, half_to_f64};
use super::{Half, Rounding};

/// `a + b` rounded to odd. The error of the f64 sum is exact (Knuth's two-sum).
#[inline]
fn sum_to_odd(a: f64, b: f64) -> f64 {
    let sum = a + b;
    let share = sum - a;
    let error = (a - (sum - share)) + (b - share);
    let bits = sum.to_bits();
    if error == 0.0 || bits & 1 == 1 || !sum.is_finite() {
        return sum;
    }
    f64::from_bits(if (error > 0.0) == (sum > 0.0) { bits + 1 } else { bits - 1 })
}

/// `add.rn` of a 16-bit format.
#[inline]
pub fn add_half(ty: Half, a: u16, b: u16) -> u16 {
    f64_to_half(ty, sum_to_odd(half_to_f64(ty, a), half_to_f64(ty, b)), Rounding::Rn)
}

/// `mul.rn` of a 16-bit format.
#[inline]
pub fn mul_half(ty: Half, a: u16, b: u16) -> u16 {
    f64_to_half(ty, half_to_f64(ty, a) * half_to_f64(ty, b), Rounding::Rn)
}

/// `fma.rn[.relu]` of a 16-bit format; `relu` turns what is negative (-0 too) into +0, NaN stays NaN.
#[inline]
pub fn fma_half(ty: Half, a: u16, b: u16, c: u16, relu: bool) -> u16 {
    let product = half_to_f64(ty, a) * half_to_f64(ty, b);
    let result = f64_to_half(ty, sum_to_odd(product, half_to_f64(ty, c)), Rounding::Rn);
    if relu && result & 0x8000 != 0 { 0 } else { result }
}

/// `min`/`max[.NaN]` of a 16-bit format: without `nan` the number wins over a NaN; -0 < +0.
#[inline]
pub fn min_max_half(ty: Half, a: u16, b: u16, max: bool, nan: bool) -> u16 {
    let infinity = format(ty).infinity() as u16;
    let is_nan = |x: u16| x & 0x7fff > infinity;
    match (is_nan(a), is_nan(b)) {
        (false, false) => {
            // Bits as a sign-magnitude number, which orders as its value does and -0 below +0.
            let key = |x: u16| if x & 0x8000 != 0 { !x } else { x | 0x8000 };
            if (key(a) < key(b)) != max { a } else { b }
        }
        (true, false) if !nan => b,
        (false, true) if !nan => a,
        _ => NAN16,
    }
}

/// `.ftz` of a 16-bit format: a subnormal becomes a zero of its sign.
#[inline]
pub fn flush_half(ty: Half, x: u16) -> u16 {
    if x & format(ty).infinity() as u16 == 0 { x & 0x8000 } else { x }
}

/// `.sat` of a 16-bit format: clamps to [0, 1]; NaN and -0 give +0.
#[inline]
pub fn saturate_half(ty: Half, x: u16) -> u16 {
    let one = match ty {
        Half::F16 => 0x3c00,
        Half::Bf16 => 0x3f80,
    };
    if x & 0x8000 != 0 || x > format(ty).infinity() as u16 { 0 } else { x.min(one) }
}
