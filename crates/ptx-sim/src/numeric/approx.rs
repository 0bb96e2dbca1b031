//! The `.approx` instructions.
//!
//! Hardware gives other last bits than these: the ISA states bounds only. Here every result is the exact value, computed in f64 and rounded
//! to nearest (save for the odd last bit where f64's own error of about 1e-16 meets a tie). Compare with a GPU by the ISA's bounds, quoted
//! at each function.

use super::arith::{canonical, flush};
use super::convert::{f64_to_half, half_to_f64};
use super::{Half, Rounding};

/// One-operand function on f64, with `.ftz` on operand and result.
fn through_f64(x: f32, ftz: bool, f: impl Fn(f64) -> f64) -> f32 {
    let on = |x| if ftz { flush(x) } else { x };
    canonical(on(f(f64::from(on(x))) as f32))
}

/// `ex2.approx[.ftz].f32`: 2^x. Hardware: relative error 2^-22.
pub fn ex2_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, f64::exp2)
}

/// `lg2.approx[.ftz].f32`: the logarithm to base 2. Hardware: absolute error 2^-22 for arguments in (0.5, 2), elsewhere relative 2^-22.
pub fn lg2_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, f64::log2)
}

/// `rsqrt.approx[.ftz].f32`: of -0 minus infinity, of a negative number NaN. Hardware: relative error 2^-22.9.
pub fn rsqrt_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, |x| 1.0 / x.sqrt())
}

/// `rcp.approx[.ftz].f32`. Hardware: 1 ulp.
pub fn rcp_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, |x| 1.0 / x)
}

/// `sqrt.approx[.ftz].f32`. Hardware: relative error 2^-23.
pub fn sqrt_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, f64::sqrt)
}

/// `sin.approx[.ftz].f32`, radians. Hardware: absolute error 2^-20.5 in [-pi, pi], growing outside.
pub fn sin_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, f64::sin)
}

/// `cos.approx[.ftz].f32`, radians. Hardware: absolute error 2^-20.5 in [-pi, pi], growing outside.
pub fn cos_approx(x: f32, ftz: bool) -> f32 {
    through_f64(x, ftz, f64::cos)
}

/// `tanh.approx.f32`. Hardware: relative error 2^-11.
pub fn tanh_approx(x: f32) -> f32 {
    through_f64(x, false, f64::tanh)
}

/// `div.approx[.ftz].f32`. Hardware: 2 ulp for a divisor in [2^-126, 2^126]. A larger finite divisor gives 0, or NaN under an infinity.
pub fn div_approx(a: f32, b: f32, ftz: bool) -> f32 {
    let on = |x| if ftz { flush(x) } else { x };
    if b.is_finite() && b.abs() > 2f32.powi(126) {
        // The reciprocal underflows to a zero of the divisor's sign.
        return canonical(on(a) * 0f32.copysign(b));
    }
    div_full(a, b, ftz)
}

/// `div.full[.ftz].f32`. Hardware: 2 ulp.
pub fn div_full(a: f32, b: f32, ftz: bool) -> f32 {
    let on = |x| if ftz { flush(x) } else { x };
    canonical(on(on(a) / on(b)))
}

/// `tanh.approx` of a 16-bit format. Hardware: absolute error 2^-10.987 (f16), 2^-8 (bf16).
pub fn tanh_half(ty: Half, a: u16) -> u16 {
    f64_to_half(ty, half_to_f64(ty, a).tanh(), Rounding::Rn)
}

/// `ex2.approx` of a 16-bit format. Hardware: relative error 2^-9.9 (f16), 2^-7 (bf16).
pub fn ex2_half(ty: Half, a: u16) -> u16 {
    f64_to_half(ty, half_to_f64(ty, a).exp2(), Rounding::Rn)
}
