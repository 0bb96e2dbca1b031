//! `cvt`, and conversions between address spaces.

use std::sync::Arc;

use super::integer::{mask, widen};
use super::mnemonic::Mnemonic;
use super::{Decoder, Result};
use crate::numeric::{self as n, Half, Rounding};
use crate::program::{Bin, Lane, Op, Reg, Un};
use crate::syntax::{Operand, Space};
use crate::ty::Ty;

impl Decoder<'_> {
    pub(super) fn cvt(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        m.allow(&["rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi", "ftz", "sat", "relu", "satfinite"])?;
        let &[to, from] = m.types() else { return Err("expected two types".into()) };
        if let [d, a, b] = ops {
            return self.cvt_pack(m, to, from, [d, a, b]);
        }
        let [d, a] = ops else { return Err("expected two operands".into()) };
        let (rounding, ftz, sat, relu) = (m.rounding(), m.has("ftz"), m.has("sat"), m.has("relu"));
        let satfinite = m.has("satfinite");
        let a = self.source(a, from, true)?;
        // Integer results may go to a wider register, extended by their own sign.
        let register_bits = self.declared_bits(d, to);
        let d = self.out(d, to, true)?;
        if !sat && !ftz && !relu {
            match (to, from, d, a) {
                (Ty::F32, Ty::Bf16, Reg::W(d), Reg::W(a)) => return self.unary(Un::Bf16ToF32, d, a),
                (Ty::F32, Ty::F16, Reg::W(d), Reg::W(a)) => return self.unary(Un::F16ToF32, d, a),
                (Ty::F32, Ty::S(32), Reg::W(d), Reg::W(a)) if rounding == Some(Rounding::Rn) => return self.unary(Un::S32ToF32, d, a),
                (Ty::F32, Ty::U(32), Reg::W(d), Reg::W(a)) if rounding == Some(Rounding::Rn) => return self.unary(Un::U32ToF32, d, a),
                (Ty::U(64) | Ty::S(64), Ty::U(32) | Ty::S(32), Reg::D(d), Reg::W(a)) => {
                    self.emit(Op::Widen(from.signed(), d, a));
                    return Ok(true);
                }
                (Ty::U(32) | Ty::S(32), Ty::U(64) | Ty::S(64), Reg::W(d), Reg::D(a)) => {
                    self.emit(Op::Narrow(d, a));
                    return Ok(true);
                }
                _ => {}
            }
        }
        let lane: Lane = match (to.is_int(), from.is_int()) {
            (true, true) => {
                let (from_bits, from_signed, to_bits, to_signed) = (from.bits(), from.signed(), to.bits(), to.signed());
                let (low, high) =
                    if to_signed { (-(1i128 << (to_bits - 1)), (1i128 << (to_bits - 1)) - 1) } else { (0, (1i128 << to_bits) - 1) };
                Arc::new(move |v, _, _| {
                    let value = widen(v, from_bits, from_signed);
                    let value = if sat { value.clamp(low, high) } else { value };
                    widen(value as u64, to_bits, to_signed) as u64 & mask(register_bits)
                })
            }
            (false, true) => {
                let (bits, signed) = (from.bits(), from.signed());
                let r = rounding.ok_or("a rounding suffix is missing")?;
                let half = match to {
                    Ty::F32 | Ty::F64 => None,
                    Ty::F16 => Some(Half::F16),
                    Ty::Bf16 => Some(Half::Bf16),
                    _ => return Ok(false),
                };
                if relu || satfinite {
                    return Ok(false);
                }
                Arc::new(move |v, _, _| {
                    let value = widen(v, bits, signed);
                    match half {
                        Some(ty) if sat => u64::from(n::saturate_half(ty, n::int_to_half(ty, value, r))),
                        Some(ty) => u64::from(n::int_to_half(ty, value, r)),
                        None if to == Ty::F32 && sat => u64::from(n::saturate(n::int_to_f32(value, r)).to_bits()),
                        None if to == Ty::F32 => u64::from(n::int_to_f32(value, r).to_bits()),
                        None if sat => n::saturate_f64(n::int_to_f64(value, r)).to_bits(),
                        None => n::int_to_f64(value, r).to_bits(),
                    }
                })
            }
            (true, false) => {
                let r = rounding.ok_or("a rounding suffix is missing")?;
                let (bits, signed, exact, from_f64) = (to.bits(), to.signed(), to_double(from, ftz)?, from == Ty::F64);
                Arc::new(move |v, _, _| {
                    let x = exact(v);
                    let value = if x.is_nan() { n::nan_as_int(bits, from_f64) } else { n::float_to_int(x, bits, signed, r) };
                    widen(value, bits, signed) as u64 & mask(register_bits)
                })
            }
            (false, false) => {
                let integral = m.parts.iter().any(|p| matches!(*p, "rni" | "rzi" | "rmi" | "rpi"));
                let r = rounding.unwrap_or(Rounding::Rn);
                let (exact, narrow) =
                    (to_double(from, ftz)?, from_double(to, if integral { Rounding::Rn } else { r }, Finish { sat, relu, satfinite })?);
                Arc::new(move |v, _, _| {
                    let x = exact(v);
                    let out = narrow(if integral { n::round_to_integral(x, r) } else { x });
                    if ftz && to == Ty::F32 { u64::from(n::flush(f32::from_bits(out as u32)).to_bits()) } else { out }
                })
            }
        };
        self.lane(lane, d, [Some(a), None, None])
    }

    /// `cvt.rn[.relu].{bf16x2,f16x2}.f32 d, a, b`: a in the high half.
    fn cvt_pack(&mut self, m: &Mnemonic<'_>, to: Ty, from: Ty, [d, a, b]: [&Operand; 3]) -> Result<bool> {
        let ty = match (to, from) {
            (Ty::Bf16x2, Ty::F32) => Half::Bf16,
            (Ty::F16x2, Ty::F32) => Half::F16,
            _ => return Ok(false),
        };
        if m.has("sat") {
            return Ok(false);
        }
        let (a, b) = (self.word(a, Ty::F32)?, self.word(b, Ty::F32)?);
        let d = self.word_out(d)?;
        let r = m.rounding().ok_or("a rounding suffix is missing")?;
        let relu = m.has("relu");
        let satfinite = m.has("satfinite");
        if r == Rounding::Rn && !relu && !satfinite {
            self.emit(Op::Bin(Bin::PackRn(ty), d, a, b));
            return Ok(true);
        }
        let lane: Lane = Arc::new(move |a, b, _| {
            let half = |v: u64| u64::from(n::f32_to_half(ty, f32::from_bits(v as u32), r, relu, satfinite));
            half(a) << 16 | half(b)
        });
        self.lane(lane, Reg::W(d), [Some(Reg::W(a)), Some(Reg::W(b)), None])
    }

    /// `cvta[.to].space` and `isspacep`.
    pub(super) fn address_conversion(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        m.allow(&["to", "global", "shared", "local", "const", "param", "shared::cta", "shared::cluster", "param::entry"])?;
        let space = space_of(m).ok_or("no state space")?;
        let [d, s] = ops else { return Err("expected two operands".into()) };
        if m.base == "isspacep" {
            let s = self.double(s)?;
            let d = self.predicate_out(d)?;
            self.emit(Op::IsSpace(space, d, s));
            return Ok(true);
        }
        let ty = m.ty()?;
        if ty.bits() != 64 {
            return Err("only 64-bit generic addresses are known".into());
        }
        let s = self.source(s, ty, false)?;
        let d = self.out(d, ty, false)?;
        self.emit(Op::Cvta { to: m.has("to"), space, d, s });
        Ok(true)
    }
}

/// The state space a mnemonic names.
pub(super) fn space_of(m: &Mnemonic<'_>) -> Option<Space> {
    m.parts.iter().find_map(|p| match *p {
        "global" => Some(Space::Global),
        "shared" | "shared::cta" | "shared::cluster" => Some(Space::Shared),
        "local" => Some(Space::Local),
        "const" => Some(Space::Const),
        "param" | "param::entry" | "param::func" => Some(Space::Param),
        _ => None,
    })
}

/// Exact widening of a float's bits.
fn to_double(from: Ty, ftz: bool) -> Result<fn(u64) -> f64> {
    Ok(match (from, ftz) {
        (Ty::F32, false) => |v| f64::from(f32::from_bits(v as u32)),
        (Ty::F32, true) => |v| f64::from(n::flush(f32::from_bits(v as u32))),
        (Ty::F64, _) => f64::from_bits,
        (Ty::F16, _) => |v| n::half_to_f64(Half::F16, v as u16),
        (Ty::Bf16, _) => |v| n::half_to_f64(Half::Bf16, v as u16),
        _ => return Err(format!("conversion from {from} is not simulated")),
    })
}

/// What a conversion does with its result.
#[derive(Clone, Copy)]
struct Finish {
    sat: bool,
    relu: bool,
    satfinite: bool,
}

/// One rounding from f64 to the bits of `to`.
fn from_double(to: Ty, r: Rounding, finish: Finish) -> Result<Box<dyn Fn(f64) -> u64 + Send + Sync>> {
    let Finish { sat, relu, satfinite } = finish;
    if relu && !matches!(to, Ty::F16 | Ty::Bf16 | Ty::Tf32) || satfinite && !matches!(to, Ty::F16 | Ty::Bf16 | Ty::Tf32) {
        return Err("`.relu` and `.satfinite` are for f16, bf16 and tf32".into());
    }
    let half = move |ty: Half, x: f64| {
        let bits = n::finish_half(ty, n::f64_to_half(ty, x, r), relu, satfinite);
        u64::from(if sat { n::saturate_half(ty, bits) } else { bits })
    };
    Ok(match to {
        Ty::F32 if sat => Box::new(move |x| u64::from(n::saturate(n::f64_to_f32(x, r)).to_bits())),
        Ty::F32 => Box::new(move |x| u64::from(n::f64_to_f32(x, r).to_bits())),
        Ty::F64 if sat => Box::new(|x| n::saturate_f64(x).to_bits()),
        Ty::F64 => Box::new(f64::to_bits),
        Ty::F16 => Box::new(move |x| half(Half::F16, x)),
        Ty::Bf16 => Box::new(move |x| half(Half::Bf16, x)),
        Ty::Tf32 => Box::new(move |x| u64::from(n::finish_tf32(n::f32_to_tf32(x as f32, r), relu, satfinite))),
        _ => return Err(format!("conversion to {to} is not simulated")),
    })
}
