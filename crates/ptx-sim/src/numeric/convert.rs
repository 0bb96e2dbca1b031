//! `cvt`: between float formats, and between floats and integers.

use super::arith::canonical;
use super::exact::{BF16, Exact, F16, F32, F64, Format, TF32};
use super::{Half, Rounding};

/// The canonical NaN of f16 and bf16.
pub(crate) const NAN16: u16 = 0x7fff;

pub(crate) fn format(ty: Half) -> Format {
    match ty {
        Half::F16 => F16,
        Half::Bf16 => BF16,
    }
}

/// bf16 bits to f32, exact.
#[inline]
pub fn bf16_to_f32(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// f32 to bf16; NaN gives 0x7fff.
#[inline]
pub fn f32_to_bf16(x: f32, rounding: Rounding) -> u16 {
    match rounding {
        Rounding::Rn => f32_to_bf16_rn(x),
        _ => f64_to_half(Half::Bf16, f64::from(x), rounding),
    }
}

/// f32 to bf16, nearest even; NaN gives 0x7fff.
#[inline]
pub fn f32_to_bf16_rn(x: f32) -> u16 {
    let bits = x.to_bits();
    // Wraps only for NaNs, which are replaced.
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if x.is_nan() { NAN16 } else { rounded }
}

/// f16 bits to f32, exact; a NaN becomes the canonical one.
#[inline]
pub fn f16_to_f32(x: u16) -> f32 {
    let sign = u32::from(x >> 15) << 31;
    let shifted = u32::from(x & 0x7fff) << 13;
    // The exponents' biases differ by 112; the product is exact, of subnormals too.
    let finite = (f32::from_bits(shifted) * f32::from_bits(0x7780_0000)).to_bits() | sign;
    let special = if x & 0x3ff != 0 { 0x7fff_ffff } else { sign | 0x7f80_0000 };
    f32::from_bits(if x & 0x7c00 == 0x7c00 { special } else { finite })
}

/// f32 to f16 with the given rounding; NaN gives 0x7fff.
#[inline]
pub fn f32_to_f16(x: f32, rounding: Rounding) -> u16 {
    f64_to_half(Half::F16, f64::from(x), rounding)
}

/// f32 to f16, nearest even.
#[inline]
pub fn f32_to_f16_rn(x: f32) -> u16 {
    f32_to_f16(x, Rounding::Rn)
}

/// f32 to f16, towards zero.
#[inline]
pub fn f32_to_f16_rz(x: f32) -> u16 {
    f32_to_f16(x, Rounding::Rz)
}

/// `.relu` and `.satfinite` of a conversion to a 16-bit format, on its result: `relu` turns what is negative (-0 too) into +0, `satfinite`
/// turns infinities into the largest finite number; NaN stays NaN.
pub fn finish_half(ty: Half, bits: u16, relu: bool, satfinite: bool) -> u16 {
    let infinity = format(ty).infinity() as u16;
    match bits {
        NAN16 => NAN16,
        _ if relu && bits & 0x8000 != 0 => 0,
        _ if satfinite && bits & 0x7fff == infinity => bits - 1,
        _ => bits,
    }
}

/// `cvt.rnd[.relu][.satfinite].{f16,bf16}.f32`.
pub fn f32_to_half(ty: Half, x: f32, rounding: Rounding, relu: bool, satfinite: bool) -> u16 {
    let bits = match ty {
        Half::F16 => f32_to_f16(x, rounding),
        Half::Bf16 => f32_to_bf16(x, rounding),
    };
    finish_half(ty, bits, relu, satfinite)
}

/// f64 to a 16-bit format, one rounding.
#[inline]
pub fn f64_to_half(ty: Half, x: f64, rounding: Rounding) -> u16 {
    let format = format(ty);
    if x.is_nan() {
        return NAN16;
    }
    let sign = ((x.to_bits() >> 63) as u16) << 15;
    let magnitude = x.abs().to_bits();
    let infinity = format.infinity();
    // Normal numbers round as integers: a carry out of the fraction raises the exponent by itself.
    let dropped = 52 - format.fraction;
    let smallest = ((1023 + format.lowest) as u64) << 52;
    if x.is_infinite() {
        return sign | infinity as u16;
    }
    if rounding == Rounding::Rn && magnitude >= smallest {
        let rounded = magnitude + (1 << (dropped - 1)) - 1 + (magnitude >> dropped & 1);
        let bits = (rounded >> dropped) - (((1022 + format.lowest) as u64) << format.fraction);
        return sign | bits.min(infinity) as u16;
    }
    Exact::of(x).round(format, rounding) as u16
}

/// A 16-bit float to f64, exact.
#[inline]
pub fn half_to_f64(ty: Half, x: u16) -> f64 {
    match ty {
        Half::F16 => f64::from(f16_to_f32(x)),
        Half::Bf16 => f64::from(bf16_to_f32(x)),
    }
}

/// f32 to tf32 (in the bits of an f32, the 13 low ones zero); NaN gives 0x7fff_ffff.
pub fn f32_to_tf32(x: f32, rounding: Rounding) -> u32 {
    if x.is_nan() {
        return 0x7fff_ffff;
    }
    if x.is_infinite() {
        return x.to_bits();
    }
    let bits = Exact::of(f64::from(x)).round(TF32, rounding);
    (bits << 13) as u32
}

/// `.relu` and `.satfinite` of `cvt.tf32.f32`, on its result.
pub fn finish_tf32(bits: u32, relu: bool, satfinite: bool) -> u32 {
    match bits {
        0x7fff_ffff => bits,
        _ if relu && bits >> 31 != 0 => 0,
        _ if satfinite && bits & 0x7fff_ffff == 0x7f80_0000 => bits - (1 << 13),
        _ => bits,
    }
}

/// `cvt.rXi.{s,u}N.{f16,bf16,f32,f64}` (the source widened exactly to f64): rounds, clamps to the range; NaN gives 0 for up to 32 bits and
/// the top bit alone for 64. The result is in the low `bits` bits, zero above.
///
/// An f64 source converts NaN otherwise: see [`nan_as_int`].
pub fn float_to_int(x: f64, bits: u32, signed: bool, rounding: Rounding) -> u64 {
    if x.is_nan() {
        return nan_as_int(bits, false);
    }
    // `as` clamps to the range of i128, which every clamp below is inside of.
    let r = round_to_integral(x, rounding) as i128;
    let (low, high) = if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    (r.clamp(low, high) as u64) & mask
}

/// What a NaN converts to: 0 if neither the source is f64 nor the result has 64 bits, else the top bit of the result alone.
pub fn nan_as_int(bits: u32, from_f64: bool) -> u64 {
    if bits == 64 || from_f64 { 1 << (bits - 1) } else { 0 }
}

/// `cvt.rXi.fN.fN`: to a whole number of the same format. A zero keeps the sign of its operand.
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
pub fn int_to_f32(x: i128, rounding: Rounding) -> f32 {
    match rounding {
        Rounding::Rn => x as f32,
        _ => f32::from_bits(Exact::of_int(x).round(F32, rounding) as u32),
    }
}

/// `cvt.rnd.f64.{s,u}N`.
pub fn int_to_f64(x: i128, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Rn => x as f64,
        _ => f64::from_bits(Exact::of_int(x).round(F64, rounding)),
    }
}

/// `cvt.rnd.{f16,bf16}.{s,u}N`.
pub fn int_to_half(ty: Half, x: i128, rounding: Rounding) -> u16 {
    Exact::of_int(x).round(format(ty), rounding) as u16
}

/// `cvt.rnd.f32.f64`.
pub fn f64_to_f32(x: f64, rounding: Rounding) -> f32 {
    if rounding == Rounding::Rn || !x.is_finite() {
        return canonical(x as f32);
    }
    f32::from_bits(Exact::of(x).round(F32, rounding) as u32)
}
