//! Elementary functions for vectors of f32, in plain arithmetic, shared by every target.
//!
//! The polynomials are fitted, and their errors measured, by `scripts/fit_gelu.py`.

use crate::mlir::{Builder, Scalar, Val};
use mnx_plan::vocabulary::Gelu;

/// `Q(a)^(1/4)` on `[0, GELU_CLAMP]`, lowest power first, where `Q(a) = erfc(a / sqrt 2) / 2`.
///
/// `|gelu - exact|` is at most 1.3e-7 in exact arithmetic and at most 3.7e-7 in float32 over all finite inputs (2.4e-7 where `|x| < 2`;
/// for larger x the spacing of float32 itself is the larger part).
const GELU: [f32; 9] = [
    0.840_898_4,
    -0.167_755_28,
    -0.050_120_74,
    0.004_519_066_3,
    0.003_914_32,
    -9.606_555e-5,
    -0.000_289_873_3,
    5.577_285_6e-5,
    -3.239_414_1e-6,
];

/// Beyond it `a Q(a)` is taken as its value there, 6.1e-10.
const GELU_CLAMP: f32 = 5.6;

/// Coefficients of the fast GELU, degree 4 on `[0, FAST_CLAMP]`: `|gelu - exact|` at most 1.6e-4, spacing of large x aside.
const FAST: [f32; 5] = [0.839_467_8, -0.158_290_16, -0.069_234_036, 0.020_245_014, -0.001_207_122_9];

/// Beyond it `a Q(a)` is taken as its value there.
const FAST_CLAMP: f32 = 4.6;

/// `e^r` on `[-ln 2 / 2, ln 2 / 2]`, lowest power first; relative error 1.9e-9 in exact arithmetic, 8.8e-8 in float32.
const EXP: [f32; 7] = [1.0, 1.0, 0.499_999_9, 0.166_664_2, 0.041_668_225, 0.008_374_824, 0.001_383_683_5];

/// ln 2 cut to 15 bits, so that products with small integers are exact, and the rest.
const LN2: [f32; 2] = [0.693_145_75, 1.428_606_8e-6];

/// `1.5 * 2^23`: added to a small float it leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;

/// GELU in its erf form, `x (1 + erf(x / sqrt 2)) / 2`, as `max(x, 0) - a Q(a)` with `a = |x|`, of several vectors in step:
/// the chain of dependent operations is long, so independent chains are written side by side.
///
/// 14 vector instructions each (10 in the fast form), no division. NaN gives NaN, +inf gives +inf, -inf and very negative x give -6e-10
/// (fast: -1.6e-4).
/// The fourth root of Q is a Gaussian-like curve twice as wide as Q, which degree 8 follows as closely as degree 13 follows Q itself.
pub fn gelu<'c>(b: &Builder<'c>, form: Gelu, x: &[Val<'c>]) -> Vec<Val<'c>> {
    let each = |values: &[Val<'c>], f: &dyn Fn(Val<'c>) -> Val<'c>| -> Vec<Val<'c>> { values.iter().map(|&v| f(v)).collect() };
    let (coefficients, clamp) = match form {
        Gelu::Accurate => (&GELU[..], GELU_CLAMP),
        Gelu::Fast => (&FAST[..], FAST_CLAMP),
    };
    let a = each(x, &|x| b.abs(x));
    let a = each(&a, &|a| b.min(a, splat(b, a, clamp)));
    let positive = each(x, &|x| b.positive(x));
    let mut from_top = coefficients.iter().rev();
    let top = from_top.next().copied().unwrap_or_default();
    let root = from_top.fold(each(x, &|x| splat(b, x, top)), |p, &c| {
        let terms = p.iter().zip(&a);
        terms.map(|(&p, &a)| b.fma(p, a, splat(b, a, c))).collect()
    });
    let square = each(&root, &|p| b.mul(p, p));
    let tail = each(&square, &|p| b.mul(p, p));
    let minus = each(&tail, &|q| b.neg(q));
    let terms = minus.iter().zip(&a).zip(&positive);
    terms.map(|((&q, &a), &x)| b.fma(q, a, x)).collect()
}

/// `e^x`, relative error at most 2e-7 where the result is normal; NaN gives NaN, overflow infinity, underflow a denormal or 0.
pub fn exp<'c>(b: &Builder<'c>, x: Val<'c>) -> Val<'c> {
    let x = b.max(splat(b, x, -104.0), x);
    let x = b.min(splat(b, x, 89.0), x);
    let magic = splat(b, x, ROUND);
    let shifted = b.fma(x, splat(b, x, std::f32::consts::LOG2_E), magic);
    let k = b.sub(shifted, magic);
    let minus = b.neg(k);
    let r = b.fma(minus, splat(b, x, LN2[0]), x);
    let r = b.fma(minus, splat(b, x, LN2[1]), r);
    let p = horner(b, r, &EXP);
    // 2^k in two factors, each a normal number, because k may lie outside the exponents of normal numbers.
    let bits = b.bitcast(shifted, Scalar::I32);
    let int = |v: i64| b.int(bits.ty(), v);
    let k = b.sub(bits, int(i64::from(ROUND.to_bits())));
    let half = b.sub(b.shr(b.add(k, int(512)), int(1)), int(256));
    let rest = b.sub(k, half);
    let power = |e: Val<'c>| b.bitcast(b.shl(b.add(e, int(127)), int(23)), Scalar::F32);
    let p = b.mul(p, power(half));
    b.mul(p, power(rest))
}

/// `1 / sqrt(x)`, correctly rounded twice.
pub fn rsqrt<'c>(b: &Builder<'c>, x: Val<'c>) -> Val<'c> {
    let one = b.float(x.ty(), 1.0);
    b.div(one, b.sqrt(x))
}

/// A constant of the type of `like`.
fn splat<'c>(b: &Builder<'c>, like: Val<'c>, value: f32) -> Val<'c> {
    b.float(like.ty(), f64::from(value))
}

fn horner<'c>(b: &Builder<'c>, x: Val<'c>, coefficients: &[f32]) -> Val<'c> {
    let mut from_top = coefficients.iter().rev();
    let top = from_top.next().copied().unwrap_or_default();
    from_top.fold(splat(b, x, top), |p, &c| b.fma(p, x, splat(b, x, c)))
}
