//! Number formats and arithmetic as PTX defines them, one scalar function each.

/// Rounding of one operation: nearest even, towards zero, down, up, nearest with ties away from zero (`.rna`, conversions only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Nearest, ties to even.
    Rn,
    /// Towards zero.
    Rz,
    /// Towards minus infinity.
    Rm,
    /// Towards plus infinity.
    Rp,
    /// Nearest, ties away from zero.
    Rna,
}

/// Sixteen-bit float formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
}

/// bf16 bits to f32, exact.
pub fn bf16_to_f32(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// f32 to bf16; NaN gives 0x7fff.
pub fn f32_to_bf16(x: f32, rounding: Rounding) -> u16 {
    if x.is_nan() {
        return 0x7fff;
    }
    let bits = x.to_bits();
    match rounding {
        Rounding::Rz => (bits >> 16) as u16,
        _ => ((u64::from(bits) + 0x7fff + u64::from(bits >> 16 & 1)) >> 16) as u16,
    }
}

/// f32 to bf16, nearest even; NaN gives 0x7fff.
pub fn f32_to_bf16_rn(x: f32) -> u16 {
    f32_to_bf16(x, Rounding::Rn)
}

/// f16 bits to f32, exact.
pub fn f16_to_f32(x: u16) -> f32 {
    let sign = u32::from(x >> 15) << 31;
    let (exponent, fraction) = (u32::from(x >> 10 & 31), u32::from(x & 1023));
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 * 2f32.powi(-24)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// f32 to f16 with the given rounding; NaN gives 0x7fff.
pub fn f32_to_f16(x: f32, rounding: Rounding) -> u16 {
    f64_to_half(Half::F16, f64::from(x), rounding)
}

/// f32 to f16, nearest even.
pub fn f32_to_f16_rn(x: f32) -> u16 {
    f32_to_f16(x, Rounding::Rn)
}

/// f32 to f16, towards zero.
pub fn f32_to_f16_rz(x: f32) -> u16 {
    f32_to_f16(x, Rounding::Rz)
}

/// f64 to a 16-bit format, one rounding.
pub fn f64_to_half(ty: Half, x: f64, rounding: Rounding) -> u16 {
    let (digits, lowest, highest) = match ty {
        Half::F16 => (10, -14, 15),
        Half::Bf16 => (7, -126, 127),
    };
    if x.is_nan() {
        return 0x7fff;
    }
    let sign = if x.is_sign_negative() { 0x8000u16 } else { 0 };
    let infinity = (((2 * highest + 1) as u16) << digits) | sign;
    let a = x.abs();
    if a.is_infinite() {
        return infinity;
    }
    let exponent = ((a.to_bits() >> 52) as i32 - 1023).max(lowest);
    let units = a * 2f64.powi(digits - exponent);
    let rounded = if rounding == Rounding::Rz { units.floor() } else { units.round_ties_even() };
    let magnitude = rounded as u32 + (((exponent - lowest) as u32) << digits);
    if magnitude >= u32::from(infinity & 0x7fff) {
        return if rounding == Rounding::Rz { infinity - 1 } else { infinity };
    }
    sign | magnitude as u16
}

/// A 16-bit float to f64, exact.
pub fn half_to_f64(ty: Half, x: u16) -> f64 {
    match ty {
        Half::F16 => f64::from(f16_to_f32(x)),
        Half::Bf16 => f64::from(bf16_to_f32(x)),
    }
}

/// f32 to tf32 (in the bits of an f32) with `.rna`, `.rn` or `.rz`.
pub fn f32_to_tf32(x: f32, rounding: Rounding) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() {
        return 0x7fff_ffff;
    }
    match rounding {
        Rounding::Rz => bits & !0x1fff,
        Rounding::Rn => bits.wrapping_add(0xfff + (bits >> 13 & 1)) & !0x1fff,
        _ => bits.wrapping_add(0x1000) & !0x1fff,
    }
}

/// `ex2.approx[.ftz].f32`.
pub fn ex2_approx(x: f32, _ftz: bool) -> f32 {
    x.exp2()
}
/// `lg2.approx[.ftz].f32`.
pub fn lg2_approx(x: f32, _ftz: bool) -> f32 {
    x.log2()
}
/// `rsqrt.approx[.ftz].f32`.
pub fn rsqrt_approx(x: f32, _ftz: bool) -> f32 {
    (1.0 / f64::from(x).sqrt()) as f32
}
/// `rcp.approx[.ftz].f32`.
pub fn rcp_approx(x: f32, _ftz: bool) -> f32 {
    1.0 / x
}
/// `sqrt.approx[.ftz].f32`.
pub fn sqrt_approx(x: f32, _ftz: bool) -> f32 {
    x.sqrt()
}
/// `sin.approx[.ftz].f32`.
pub fn sin_approx(x: f32, _ftz: bool) -> f32 {
    x.sin()
}
/// `cos.approx[.ftz].f32`.
pub fn cos_approx(x: f32, _ftz: bool) -> f32 {
    x.cos()
}
/// `tanh.approx.f32`.
pub fn tanh_approx(x: f32) -> f32 {
    x.tanh()
}
/// `div.approx[.ftz].f32` and `div.full[.ftz].f32`.
pub fn div_approx(a: f32, b: f32, _ftz: bool) -> f32 {
    a / b
}

/// `add[.rnd][.ftz][.sat].f32`.
pub fn add_f32(a: f32, b: f32, _rounding: Rounding, _ftz: bool, _sat: bool) -> f32 {
    a + b
}
/// `mul[.rnd][.ftz][.sat].f32`.
pub fn mul_f32(a: f32, b: f32, _rounding: Rounding, _ftz: bool, _sat: bool) -> f32 {
    a * b
}
/// `fma.rnd[.ftz][.sat].f32`.
pub fn fma_f32(a: f32, b: f32, c: f32, _rounding: Rounding, _ftz: bool, _sat: bool) -> f32 {
    a.mul_add(b, c)
}
/// `div.rnd[.ftz].f32`.
pub fn div_f32(a: f32, b: f32, _rounding: Rounding, _ftz: bool) -> f32 {
    a / b
}
/// `sqrt.rnd[.ftz].f32`.
pub fn sqrt_f32(a: f32, _rounding: Rounding, _ftz: bool) -> f32 {
    a.sqrt()
}
/// `rcp.rnd[.ftz].f32`.
pub fn rcp_f32(a: f32, _rounding: Rounding, _ftz: bool) -> f32 {
    1.0 / a
}
/// `min`/`max[.ftz][.NaN].f32`: without `nan` the number wins over a NaN; -0 < +0.
pub fn min_max_f32(a: f32, b: f32, max: bool, nan: bool, _ftz: bool) -> f32 {
    match (a.is_nan(), b.is_nan()) {
        (false, false) => {
            let a_less = a < b || (a == b && a.is_sign_negative());
            if a_less != max { a } else { b }
        }
        (true, true) => f32::from_bits(0x7fff_ffff),
        _ if nan => f32::from_bits(0x7fff_ffff),
        (true, false) => b,
        (false, true) => a,
    }
}

/// `add.rnd.f64`.
pub fn add_f64(a: f64, b: f64, _rounding: Rounding) -> f64 {
    a + b
}
/// `mul.rnd.f64`.
pub fn mul_f64(a: f64, b: f64, _rounding: Rounding) -> f64 {
    a * b
}
/// `fma.rnd.f64`.
pub fn fma_f64(a: f64, b: f64, c: f64, _rounding: Rounding) -> f64 {
    a.mul_add(b, c)
}

/// `add.rn` of a 16-bit format.
pub fn add_half(ty: Half, a: u16, b: u16) -> u16 {
    f64_to_half(ty, half_to_f64(ty, a) + half_to_f64(ty, b), Rounding::Rn)
}
/// `mul.rn` of a 16-bit format.
pub fn mul_half(ty: Half, a: u16, b: u16) -> u16 {
    f64_to_half(ty, half_to_f64(ty, a) * half_to_f64(ty, b), Rounding::Rn)
}
/// `fma.rn[.relu]` of a 16-bit format.
pub fn fma_half(ty: Half, a: u16, b: u16, c: u16, relu: bool) -> u16 {
    let x = half_to_f64(ty, a).mul_add(half_to_f64(ty, b), half_to_f64(ty, c));
    f64_to_half(ty, if relu && x < 0.0 { 0.0 } else { x }, Rounding::Rn)
}
/// `min`/`max[.NaN]` of a 16-bit format.
pub fn min_max_half(ty: Half, a: u16, b: u16, max: bool, nan: bool) -> u16 {
    let widen = |x| half_to_f64(ty, x) as f32;
    f64_to_half(ty, f64::from(min_max_f32(widen(a), widen(b), max, nan, false)), Rounding::Rn)
}
/// `tanh.approx` of a 16-bit format.
pub fn tanh_half(ty: Half, a: u16) -> u16 {
    f64_to_half(ty, half_to_f64(ty, a).tanh(), Rounding::Rn)
}
/// `ex2.approx` of a 16-bit format.
pub fn ex2_half(ty: Half, a: u16) -> u16 {
    f64_to_half(ty, half_to_f64(ty, a).exp2(), Rounding::Rn)
}

/// `cvt.rXi.{s,u}N.{f16,f32,f64}` (the source widened exactly to f64): rounds, clamps to the range, NaN gives 0 for up to 32 bits and the
/// smallest value's bits (0x8000...) for 64; the result in the low `bits` bits, zero above.
pub fn float_to_int(x: f64, bits: u32, signed: bool, rounding: Rounding) -> u64 {
    let r = round_to_integral(x, rounding);
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    if r.is_nan() {
        return if bits == 64 { 1 << 63 } else { 0 };
    }
    if signed {
        let (low, high) = (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1);
        ((r as i128).clamp(low, high) as u64) & mask
    } else {
        ((r as i128).clamp(0, (1i128 << bits) - 1) as u64) & mask
    }
}

/// `cvt.rXi.fN.fN`.
pub fn round_to_integral(x: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Rn => x.round_ties_even(),
        Rounding::Rz => x.trunc(),
        Rounding::Rm => x.floor(),
        Rounding::Rp => x.ceil(),
        Rounding::Rna => x.round(),
    }
}

/// `cvt.rnd.f32.{s,u}N`: any 64-bit signed or unsigned value.
pub fn int_to_f32(x: i128, _rounding: Rounding) -> f32 {
    x as f32
}
/// `cvt.rnd.f64.{s,u}N`.
pub fn int_to_f64(x: i128, _rounding: Rounding) -> f64 {
    x as f64
}
/// `cvt.rnd.f32.f64`.
pub fn f64_to_f32(x: f64, _rounding: Rounding) -> f32 {
    x as f32
}
/// Flushes a subnormal to a zero of its sign.
pub fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}
/// `.sat`: clamps to [0, 1]; NaN gives +0.
pub fn saturate(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) + 0.0 }
}
