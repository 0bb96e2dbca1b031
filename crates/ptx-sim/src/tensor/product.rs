//! The sums of `mma.sync`, in each rounding model.

use super::MmaType;
use super::exact_sum::ExactSum;
use super::fragment::{Fragments, M, Matrices, N};
use crate::Row;
use crate::numeric::exact::{Exact, F16, F32};
use crate::numeric::{Half, Rounding, f64_to_half};
use std::sync::LazyLock;

const NAN32: u32 = 0x7fff_ffff;
const NAN16: u32 = 0x7fff;

static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// The exact sum rounded once.
///
/// In f64 first, with a bound on its error; where the bound does not settle the rounding, exactly.
pub(crate) fn exact<const K: usize>(fragments: Fragments, a: &[Row], b: &[Row], c: &[Row], d: &mut [Row]) {
    ARCH.dispatch(ExactProduct::<K> { fragments, a, b, c, d });
}

/// Arguments of [`exact`], so that its body is compiled once per instruction set.
struct ExactProduct<'a, const K: usize> {
    fragments: Fragments,
    a: &'a [Row],
    b: &'a [Row],
    c: &'a [Row],
    d: &'a mut [Row],
}

impl<const K: usize> pulp::WithSimd for ExactProduct<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let fragments = self.fragments;
        let Matrices { a, b, c } = fragments.unpack::<K>(self.a, self.b, self.c);
        let mut wide = [[0.0f64; N]; K];
        for (to, from) in wide.iter_mut().zip(&b) {
            for j in 0..N {
                to[j] = f64::from(from[j]);
            }
        }
        let mut bits = [[0; N]; M];
        for i in 0..M {
            let (mut sum, mut size) = ([0.0f64; N], [0.0f64; N]);
            for j in 0..N {
                sum[j] = f64::from(c[i][j]);
                size[j] = sum[j].abs();
            }
            for k in 0..K {
                let x = f64::from(a[i][k]);
                for j in 0..N {
                    let product = x * wide[k][j];
                    sum[j] += product;
                    size[j] += product.abs();
                }
            }
            let mut settled = true;
            for j in 0..N {
                // K + 1 terms, each addition wrong by at most 2^-53 of the sizes so far: 17 * 2^-53 < 2^-48.
                let error = size[j] * (1.0 / (1u64 << 48) as f64);
                let (low, high) = (fragments.nearest(sum[j] - error), fragments.nearest(sum[j] + error));
                bits[i][j] = low;
                settled &= low == high && sum[j].is_finite();
            }
            if !settled {
                for j in 0..N {
                    bits[i][j] = fragments.settled(&a[i], &b, j, c[i][j], sum[j]);
                }
            }
        }
        fragments.pack(&bits, self.d);
    }
}

impl Fragments {
    /// The bits of a number in the format of D, nearest even.
    #[inline(always)]
    fn nearest(self, x: f64) -> u32 {
        if self.acc_f32 { (x as f32).to_bits() } else { u32::from(f64_to_half(Half::F16, x, Rounding::Rn)) }
    }

    fn special(self, sum: f64) -> u32 {
        match (sum.is_nan(), self.acc_f32) {
            (true, true) => NAN32,
            (true, false) => NAN16,
            _ => self.nearest(sum),
        }
    }

    /// One element of D, exactly; `nearly` is its f64 sum, right where an operand is not finite.
    #[cold]
    #[inline(never)]
    fn settled<const K: usize>(self, a: &[f32; K], b: &[[f32; N]; K], column: usize, c: f32, nearly: f64) -> u32 {
        if !nearly.is_finite() {
            return self.special(nearly);
        }
        let mut sum = ExactSum::new();
        sum.add_product(c, 1.0);
        for (&x, row) in a.iter().zip(b) {
            sum.add_product(x, row[column]);
        }
        sum.total().round(if self.acc_f32 { F32 } else { F16 }, Rounding::Rn) as u32
    }
}

/// A number as the tensor core sees it: an integer significand and the exponent of its hidden bit.
#[derive(Clone, Copy)]
struct Scaled {
    significand: i64,
    exponent: i32,
}

/// Splits `x`, a value of a format with `fraction` stored bits and smallest normal exponent `lowest`. Zero has the exponent -126 in every
/// format.
fn split(x: f32, fraction: i32, lowest: i32) -> Scaled {
    if x == 0.0 {
        return Scaled { significand: 0, exponent: -126 };
    }
    let bits = x.to_bits();
    let field = (bits >> 23 & 0xff) as i32;
    let exponent = (field.max(1) - 127).max(lowest);
    let stored = i64::from(bits & 0x7f_ffff | if field == 0 { 0 } else { 1 << 23 });
    // Of x's 24 bits those that the format holds; all others are zero.
    let significand = stored >> (23 - fraction + exponent - (field.max(1) - 127));
    Scaled { significand: if bits >> 31 == 0 { significand } else { -significand }, exponent }
}

/// `significand * 2^shift`, towards zero.
fn truncated(significand: i64, shift: i32) -> i64 {
    match shift {
        0.. => significand << shift,
        -62..0 => {
            let magnitude = significand.abs() >> -shift;
            if significand < 0 { -magnitude } else { magnitude }
        }
        _ => 0,
    }
}

/// Sums aligned to the largest exponent with `kept` fractional bits, in steps of `step` products.
pub(crate) fn aligned(fragments: Fragments, a: &[Row], b: &[Row], c: &[Row], d: &mut [Row], kept: i32, step: usize) {
    match fragments.shape.k() {
        16 => aligned_k::<16>(fragments, a, b, c, d, kept, step),
        8 => aligned_k::<8>(fragments, a, b, c, d, kept, step),
        _ => aligned_k::<4>(fragments, a, b, c, d, kept, step),
    }
}

fn aligned_k<const K: usize>(fragments: Fragments, a: &[Row], b: &[Row], c: &[Row], d: &mut [Row], kept: i32, step: usize) {
    let Matrices { a, b, c } = fragments.unpack::<K>(a, b, c);
    let (fraction, lowest) = match fragments.ab {
        MmaType::Bf16 => (7, -126),
        MmaType::F16 => (10, -14),
        MmaType::Tf32 => (10, -126),
    };
    let (fraction_c, lowest_c) = if fragments.acc_f32 { (23, -126) } else { (10, -14) };
    let split_a = a.map(|row| row.map(|x| split(x, fraction, lowest)));
    let split_b = b.map(|row| row.map(|x| split(x, fraction, lowest)));
    let mut bits = [[0; N]; M];
    for i in 0..M {
        for j in 0..N {
            let mut acc = c[i][j];
            for first in (0..K).step_by(step) {
                let steps = first..(first + step).min(K);
                let plain = steps.clone().fold(f64::from(acc), |s, k| s + f64::from(a[i][k]) * f64::from(b[k][j]));
                if !plain.is_finite() {
                    acc = plain as f32;
                    continue;
                }
                let start = split(acc, fraction_c, lowest_c);
                let products = || {
                    steps.clone().map(|k| Scaled {
                        significand: split_a[i][k].significand * split_b[k][j].significand,
                        exponent: split_a[i][k].exponent + split_b[k][j].exponent,
                    })
                };
                let largest = products().map(|p| p.exponent).fold(start.exponent, i32::max);
                let mut sum = truncated(start.significand, kept - fraction_c + start.exponent - largest);
                for p in products() {
                    sum += truncated(p.significand, kept - 2 * fraction + p.exponent - largest);
                }
                acc = fragments.narrowed(Exact::new(sum < 0, u128::from(sum.unsigned_abs()), largest - kept));
            }
            bits[i][j] = fragments.special(f64::from(acc));
        }
    }
    fragments.pack(&bits, d);
}

impl Fragments {
    /// The sum of a step as the next step's accumulator: truncated to f32, or rounded to f16; beyond the largest finite number, infinity.
    fn narrowed(self, sum: Exact) -> f32 {
        if !self.acc_f32 {
            return crate::numeric::f16_to_f32(sum.round(F16, Rounding::Rn) as u16);
        }
        match sum.top() {
            Some(top) if top > F32.highest => {
                if sum.is_negative() {
                    f32::NEG_INFINITY
                } else {
                    f32::INFINITY
                }
            }
            _ => f32::from_bits(sum.round(F32, Rounding::Rz) as u32),
        }
    }
}
