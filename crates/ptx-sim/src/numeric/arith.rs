//! f32 and f64 arithmetic in every rounding, with `.ftz` and `.sat`.

use super::Rounding;
use super::exact::{Exact, F32, F64};

const NAN32: f32 = f32::from_bits(0x7fff_ffff);

/// Any NaN becomes the one that f32 instructions give, 0x7fff_ffff.
#[inline]
pub fn canonical(x: f32) -> f32 {
    if x.is_nan() { NAN32 } else { x }
}

/// Flushes a subnormal to a zero of its sign.
#[inline]
pub fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// `.sat`: clamps to [0, 1]; NaN and -0 give +0.
#[inline]
pub fn saturate(x: f32) -> f32 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

/// `.sat` of an f64 `cvt`: clamps to [0, 1]; NaN and -0 give +0.
#[inline]
pub fn saturate_f64(x: f64) -> f64 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

#[inline]
fn flushed(x: f32, ftz: bool) -> f32 {
    if ftz { flush(x) } else { x }
}

#[inline]
fn finish(x: f32, ftz: bool, sat: bool) -> f32 {
    let x = flushed(canonical(x), ftz);
    if sat { saturate(x) } else { x }
}

/// `fma` of widened f32 values in a directed rounding; `nearest` is the host's result, right where an operand is not finite.
fn fused_f32(a: f32, b: f32, c: f32, nearest: f32, rounding: Rounding) -> f32 {
    if !(a.is_finite() && b.is_finite() && c.is_finite()) {
        return nearest;
    }
    let product = Exact::of(f64::from(a)).times(Exact::of(f64::from(b)));
    f32::from_bits(product.plus(Exact::of(f64::from(c)), rounding).round(F32, rounding) as u32)
}

/// `add[.rnd][.ftz][.sat].f32`.
#[inline]
pub fn add_f32(a: f32, b: f32, rounding: Rounding, ftz: bool, sat: bool) -> f32 {
    let (a, b) = (flushed(a, ftz), flushed(b, ftz));
    let sum = match rounding {
        Rounding::Rn => a + b,
        _ => fused_f32(a, 1.0, b, a + b, rounding),
    };
    finish(sum, ftz, sat)
}

/// `mul[.rnd][.ftz][.sat].f32`.
#[inline]
pub fn mul_f32(a: f32, b: f32, rounding: Rounding, ftz: bool, sat: bool) -> f32 {
    let (a, b) = (flushed(a, ftz), flushed(b, ftz));
    let product = match rounding {
        Rounding::Rn => a * b,
        _ if a.is_finite() && b.is_finite() => {
            f32::from_bits(Exact::of(f64::from(a)).times(Exact::of(f64::from(b))).round(F32, rounding) as u32)
        }
        _ => a * b,
    };
    finish(product, ftz, sat)
}

/// `fma.rnd[.ftz][.sat].f32`.
#[inline]
pub fn fma_f32([a, b, c]: [f32; 3], rounding: Rounding, ftz: bool, sat: bool) -> f32 {
    let (a, b, c) = (flushed(a, ftz), flushed(b, ftz), flushed(c, ftz));
    let nearest = a.mul_add(b, c);
    let result = match rounding {
        Rounding::Rn => nearest,
        _ => fused_f32(a, b, c, nearest, rounding),
    };
    finish(result, ftz, sat)
}

/// `div.rnd[.ftz].f32`.
#[inline]
pub fn div_f32(a: f32, b: f32, rounding: Rounding, ftz: bool) -> f32 {
    let (a, b) = (flushed(a, ftz), flushed(b, ftz));
    let quotient = match rounding {
        Rounding::Rn => a / b,
        _ if a.is_finite() && b.is_finite() && b != 0.0 => {
            f32::from_bits(Exact::of(f64::from(a)).over(Exact::of(f64::from(b))).round(F32, rounding) as u32)
        }
        _ => a / b,
    };
    finish(quotient, ftz, false)
}

/// `sqrt.rnd[.ftz].f32`; the root of -0 is -0.
#[inline]
pub fn sqrt_f32(a: f32, rounding: Rounding, ftz: bool) -> f32 {
    let a = flushed(a, ftz);
    let root = match rounding {
        Rounding::Rn => a.sqrt(),
        _ if a.is_finite() && a > 0.0 => f32::from_bits(Exact::of(f64::from(a)).root().round(F32, rounding) as u32),
        _ => a.sqrt(),
    };
    finish(root, ftz, false)
}

/// `rcp.rnd[.ftz].f32`.
#[inline]
pub fn rcp_f32(a: f32, rounding: Rounding, ftz: bool) -> f32 {
    div_f32(1.0, a, rounding, ftz)
}

/// `min`/`max[.ftz][.NaN].f32`: without `nan` the number wins over a NaN; -0 < +0.
#[inline]
pub fn min_max_f32(a: f32, b: f32, max: bool, nan: bool, ftz: bool) -> f32 {
    let (a, b) = (flushed(a, ftz), flushed(b, ftz));
    if a.is_nan() || b.is_nan() {
        return match (a.is_nan(), b.is_nan()) {
            (true, false) if !nan => b,
            (false, true) if !nan => a,
            _ => NAN32,
        };
    }
    let a_less = a < b || (a == b && a.is_sign_negative());
    if a_less != max { a } else { b }
}

/// `min`/`max.f64`: the number wins over a NaN; -0 < +0.
pub fn min_max_f64(a: f64, b: f64, max: bool) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ => {
            let a_less = a < b || (a == b && a.is_sign_negative());
            if a_less != max { a } else { b }
        }
    }
}

/// `add.rnd.f64`.
pub fn add_f64(a: f64, b: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Rn || !(a.is_finite() && b.is_finite()) {
        return a + b;
    }
    f64::from_bits(Exact::of(a).plus(Exact::of(b), rounding).round(F64, rounding))
}

/// `mul.rnd.f64`.
pub fn mul_f64(a: f64, b: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Rn || !(a.is_finite() && b.is_finite()) {
        return a * b;
    }
    f64::from_bits(Exact::of(a).times(Exact::of(b)).round(F64, rounding))
}

/// `fma.rnd.f64`.
pub fn fma_f64(a: f64, b: f64, c: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Rn || !(a.is_finite() && b.is_finite() && c.is_finite()) {
        return a.mul_add(b, c);
    }
    f64::from_bits(Exact::of(a).times(Exact::of(b)).plus(Exact::of(c), rounding).round(F64, rounding))
}

/// `div.rnd.f64`.
pub fn div_f64(a: f64, b: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Rn || !(a.is_finite() && b.is_finite() && b != 0.0) {
        return a / b;
    }
    f64::from_bits(Exact::of(a).over(Exact::of(b)).round(F64, rounding))
}

/// `sqrt.rnd.f64`.
pub fn sqrt_f64(a: f64, rounding: Rounding) -> f64 {
    if rounding == Rounding::Rn || !(a.is_finite() && a > 0.0) {
        return a.sqrt();
    }
    f64::from_bits(Exact::of(a).root().round(F64, rounding))
}

/// `rcp.rnd.f64`.
pub fn rcp_f64(a: f64, rounding: Rounding) -> f64 {
    div_f64(1.0, a, rounding)
}
