//! The sums of `mma.sync`, in each rounding model.

use super::MmaType;
use super::exact_sum::ExactSum;
use super::fragment::{Fragments, M, Matrices, N};
use crate::Row;
use crate::numeric::exact::{F16, F32};
use crate::numeric::{Half, Rounding, f16_to_f32, f64_to_half};
use std::sync::LazyLock;

const NAN32: u32 = 0x7fff_ffff;
const NAN16: u32 = 0x7fff;

static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// The registers of an instruction.
pub(crate) struct Operands<'a> {
    pub fragments: Fragments,
    /// A, B and C.
    pub abc: [&'a [Row]; 3],
    pub d: &'a mut [Row],
}

/// The exact sum rounded once.
///
/// In f64 first, with a bound on its error; where the bound does not settle the rounding, exactly.
pub(crate) fn exact<const K: usize>(operands: Operands<'_>) {
    ARCH.dispatch(ExactProduct::<K>(operands));
}

/// Arguments of [`exact`], so that its body is compiled once per instruction set.
struct ExactProduct<'a, const K: usize>(Operands<'a>);

impl<const K: usize> pulp::WithSimd for ExactProduct<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Operands { fragments, abc: [a, b, c], d } = self.0;
        let Matrices { a, b, c } = fragments.unpack::<K>(a, b, c);
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
                    bits[i][j] = fragments.settled(&a[i], &std::array::from_fn(|k| b[k][j]), c[i][j], sum[j]);
                }
            }
        }
        fragments.pack(&bits, d);
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

    /// One element of D, exactly, of a row of A and a column of B; `nearly` is its f64 sum, right where an operand is not finite.
    #[cold]
    #[inline(never)]
    fn settled<const K: usize>(self, a: &[f32; K], b: &[f32; K], c: f32, nearly: f64) -> u32 {
        if !nearly.is_finite() {
            return self.special(nearly);
        }
        let mut sum = ExactSum::new();
        sum.add_product(c, 1.0);
        for (&x, &y) in a.iter().zip(b) {
            sum.add_product(x, y);
        }
        sum.total().round(if self.acc_f32 { F32 } else { F16 }, Rounding::Rn) as u32
    }
}

/// Significand (with the hidden bit, signed) and exponent of a value of a format with `fraction` stored bits and smallest normal exponent
/// `lowest`. Zero has the exponent -126 in every format.
#[inline(always)]
fn split(x: f32, fraction: i32, lowest: i32) -> (i32, i32) {
    let bits = x.to_bits();
    let field = (bits >> 23 & 0xff) as i32;
    let exponent = (field.max(1) - 127).max(lowest);
    let stored = (bits & 0x7f_ffff | if field == 0 { 0 } else { 1 << 23 }) as i32;
    // Of x's 24 bits those that the format holds; all others are zero.
    let magnitude = stored >> (23 - fraction + exponent - (field.max(1) - 127)).min(31);
    (if bits >> 31 == 0 { magnitude } else { -magnitude }, if x == 0.0 { -126 } else { exponent })
}

/// `significand * 2^(up - down)`, towards zero; `up` brings no significand beyond 27 bits.
#[inline(always)]
fn cut(significand: i32, up: i32, down: i32) -> i64 {
    let magnitude = i64::from((significand.unsigned_abs() << up) >> down.min(31));
    if significand < 0 { -magnitude } else { magnitude }
}

/// Sums aligned to the largest exponent with `kept` fractional bits, in steps of `step` products.
pub(crate) fn aligned(operands: Operands<'_>, kept: i32, step: usize) {
    match operands.fragments.shape.k() {
        16 => ARCH.dispatch(AlignedProduct::<16> { operands, kept, step }),
        8 => ARCH.dispatch(AlignedProduct::<8> { operands, kept, step }),
        _ => ARCH.dispatch(AlignedProduct::<4> { operands, kept, step }),
    }
}

/// Arguments of [`aligned`], so that its body is compiled once per instruction set.
struct AlignedProduct<'a, const K: usize> {
    operands: Operands<'a>,
    kept: i32,
    step: usize,
}

impl<const K: usize> pulp::WithSimd for AlignedProduct<'_, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { operands: Operands { fragments, abc: [a, b, c], d }, kept, step } = self;
        let Matrices { a, b, c } = fragments.unpack::<K>(a, b, c);
        let (fraction, lowest) = match fragments.ab {
            MmaType::Bf16 => (7, -126),
            MmaType::F16 => (10, -14),
            MmaType::Tf32 => (10, -126),
        };
        let (fraction_c, lowest_c) = if fragments.acc_f32 { (23, -126) } else { (10, -14) };
        let (mut significand_b, mut exponent_b) = ([[0; N]; K], [[0; N]; K]);
        for k in 0..K {
            for j in 0..N {
                (significand_b[k][j], exponent_b[k][j]) = split(b[k][j], fraction, lowest);
            }
        }
        let special_b = b.as_flattened().iter().any(|x| !x.is_finite());
        let mut bits = [[0; N]; M];
        for i in 0..M {
            let (mut significand_a, mut exponent_a) = ([0; K], [0; K]);
            for k in 0..K {
                (significand_a[k], exponent_a[k]) = split(a[i][k], fraction, lowest);
            }
            let special = special_b || a[i].iter().any(|x| !x.is_finite());
            let mut acc = c[i];
            for first in (0..K).step_by(step) {
                let steps = first..(first + step).min(K);
                let (mut start, mut largest, mut sum) = ([(0, 0); N], [0; N], [0i64; N]);
                for j in 0..N {
                    start[j] = split(acc[j], fraction_c, lowest_c);
                    largest[j] = start[j].1;
                }
                for k in steps.clone() {
                    for j in 0..N {
                        largest[j] = largest[j].max(exponent_a[k] + exponent_b[k][j]);
                    }
                }
                for j in 0..N {
                    sum[j] = cut(start[j].0, kept - fraction_c, largest[j] - start[j].1);
                }
                for k in steps.clone() {
                    for j in 0..N {
                        let exponent = exponent_a[k] + exponent_b[k][j];
                        sum[j] += cut(significand_a[k] * significand_b[k][j], kept - 2 * fraction, largest[j] - exponent);
                    }
                }
                for j in 0..N {
                    if special || !acc[j].is_finite() {
                        let plain = steps.clone().fold(f64::from(acc[j]), |s, k| s + f64::from(a[i][k]) * f64::from(b[k][j]));
                        if !plain.is_finite() {
                            acc[j] = plain as f32;
                            continue;
                        }
                    }
                    // At most 32 bits times a power of two that f64 has: exact.
                    let scale = f64::from_bits(((1023 + largest[j] - kept) as u64) << 52);
                    acc[j] = fragments.narrowed(sum[j] as f64 * scale);
                }
            }
            for j in 0..N {
                bits[i][j] = fragments.special(f64::from(acc[j]));
            }
        }
        fragments.pack(&bits, d);
    }
}

impl Fragments {
    /// The sum of a step as the next step's accumulator: truncated to f32, or rounded to f16; beyond the largest finite number, infinity.
    #[inline(always)]
    fn narrowed(self, sum: f64) -> f32 {
        if !self.acc_f32 {
            return f16_to_f32(f64_to_half(Half::F16, sum, Rounding::Rn));
        }
        let near = sum as f32;
        // One unit back where the nearest number lies outside; but what reaches 2^128 is infinite.
        let outside = f64::from(near.abs()) > sum.abs() && sum.abs() < (1u128 << 127) as f64 * 2.0;
        if outside { f32::from_bits(near.to_bits() - 1) } else { near }
    }
}
