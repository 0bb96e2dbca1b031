//! Float instructions: f32, f64, f16, bf16 and the packed pairs.

use std::sync::Arc;

use super::mnemonic::Mnemonic;
use super::{Decoder, Result};
use crate::numeric::{self as n, Half, Rounding};
use crate::program::{Bin, FloatMode, Lane, Op, Reg, Tri, Un};
use crate::syntax::Operand;
use crate::ty::Ty;

const SUFFIXES: &[&str] = &["rn", "rz", "rm", "rp", "ftz", "sat", "approx", "full", "NaN", "relu", "noftz"];

fn f(v: u64) -> f32 {
    f32::from_bits(v as u32)
}
fn b(v: f32) -> u64 {
    u64::from(v.to_bits())
}
fn g(v: u64) -> f64 {
    f64::from_bits(v)
}

/// A lane function on one 16-bit float from one on both halves or on one.
fn halves(packed: bool, one: impl Fn(u16, u16, u16) -> u16 + Send + Sync + 'static) -> Lane {
    if packed {
        Arc::new(move |a, b, c| {
            let low = one(a as u16, b as u16, c as u16);
            let high = one((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16);
            u64::from(high) << 16 | u64::from(low)
        })
    } else {
        Arc::new(move |a, b, c| u64::from(one(a as u16, b as u16, c as u16)))
    }
}

/// The registers of an instruction: its result and its sources in order.
#[derive(Clone, Copy)]
struct Registers {
    d: Reg,
    s: [Option<Reg>; 3],
}

impl Decoder<'_> {
    pub(super) fn float(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        m.allow(SUFFIXES)?;
        let ty = m.ty()?;
        let count = match m.base {
            "fma" | "mad" => 3,
            "add" | "sub" | "mul" | "min" | "max" | "div" | "copysign" => 2,
            _ => 1,
        };
        let three_way = matches!(m.base, "min" | "max") && ops.len() == 4;
        if ops.len() != count + 1 && !three_way {
            return Err(format!("expected {} operands, found {}", count + 1, ops.len()));
        }
        if three_way {
            return Ok(false);
        }
        let [d, inputs @ ..] = ops else { return Ok(false) };
        // Mixed precision: all sources but the last are of the second type.
        let narrow = match (m.base, m.types()) {
            ("add" | "sub" | "fma", [Ty::F32, narrow @ (Ty::F16 | Ty::Bf16)]) => Some(*narrow),
            (_, [_]) => None,
            _ => return Ok(false),
        };
        let mut sources = [None; 3];
        for (i, (slot, op)) in sources.iter_mut().zip(inputs).enumerate() {
            let own = if i + 1 < inputs.len() { narrow.unwrap_or(ty) } else { ty };
            *slot = Some(self.source(op, own, false)?);
        }
        let d = if m.base == "testp" { return Ok(false) } else { self.out(d, ty, false)? };
        let mode = FloatMode { rounding: m.rounding().unwrap_or(Rounding::Rn), ftz: m.has("ftz"), sat: m.has("sat") };
        let pair = if matches!(ty, Ty::F16x2 | Ty::Bf16x2 | Ty::F32x2) { 2 } else { 1 };
        self.flops = match m.base {
            "fma" | "mad" => 2 * pair,
            "abs" | "neg" | "copysign" | "min" | "max" => 0,
            _ => pair,
        };
        let registers = Registers { d, s: sources };
        if let Some(narrow) = narrow {
            return self.mixed(m, mode, narrow, registers);
        }
        match ty {
            Ty::F32 => self.single(m, mode, registers),
            Ty::F64 => self.double_precision(m, mode.rounding, registers),
            Ty::F16 | Ty::F16x2 => self.half(m, Half::F16, ty == Ty::F16x2, registers),
            Ty::Bf16 | Ty::Bf16x2 => self.half(m, Half::Bf16, ty == Ty::Bf16x2, registers),
            Ty::F32x2 => self.pair(m, mode, registers),
            _ => Ok(false),
        }
    }

    fn single(&mut self, m: &Mnemonic<'_>, mode: FloatMode, Registers { d, s }: Registers) -> Result<bool> {
        let plain = mode == FloatMode { rounding: Rounding::Rn, ftz: false, sat: false };
        if let (true, Reg::W(d), Some(Reg::W(a))) = (plain, d, s[0]) {
            match (m.base, s[1], s[2]) {
                ("neg", ..) => return self.unary(Un::NegF, d, a),
                ("abs", ..) => return self.unary(Un::AbsF, d, a),
                ("ex2", ..) => return self.unary(Un::Ex2, d, a),
                ("lg2", ..) => return self.unary(Un::Lg2, d, a),
                ("rsqrt", ..) => return self.unary(Un::Rsqrt, d, a),
                ("rcp", ..) if m.has("approx") => return self.unary(Un::Rcp, d, a),
                (base, Some(Reg::W(b)), None) => {
                    let kind = match base {
                        "add" => Some(Bin::AddF),
                        "sub" => Some(Bin::SubF),
                        "mul" => Some(Bin::MulF),
                        "div" if m.has("rn") => Some(Bin::DivF),
                        "min" if !m.has("NaN") => Some(Bin::MinF),
                        "max" if !m.has("NaN") => Some(Bin::MaxF),
                        _ => None,
                    };
                    if let Some(kind) = kind {
                        self.emit(Op::Bin(kind, d, a, b));
                        return Ok(true);
                    }
                }
                ("fma" | "mad", Some(Reg::W(b)), Some(Reg::W(c))) => {
                    self.emit(Op::Tri(Tri::Fma, d, a, b, c));
                    return Ok(true);
                }
                _ => {}
            }
        }
        let FloatMode { rounding: r, ftz, sat } = mode;
        let (approx, nan) = (m.has("approx"), m.has("NaN"));
        let flushed = move |v: u64| if ftz { n::flush(f(v)) } else { f(v) };
        let lane: Lane = match m.base {
            "add" => Arc::new(move |x, y, _| b(n::add_f32(f(x), f(y), r, ftz, sat))),
            "sub" => Arc::new(move |x, y, _| b(n::add_f32(f(x), -f(y), r, ftz, sat))),
            "mul" => Arc::new(move |x, y, _| b(n::mul_f32(f(x), f(y), r, ftz, sat))),
            "fma" | "mad" => Arc::new(move |x, y, z| b(n::fma_f32([f(x), f(y), f(z)], r, ftz, sat))),
            "min" | "max" => {
                let max = m.base == "max";
                Arc::new(move |x, y, _| b(n::min_max_f32(f(x), f(y), max, nan, ftz)))
            }
            "abs" => Arc::new(move |x, _, _| b(flushed(x & 0x7fff_ffff))),
            "neg" => Arc::new(move |x, _, _| b(flushed(x ^ 0x8000_0000))),
            "copysign" => Arc::new(|x, y, _| (y & 0x7fff_ffff) | (x & 0x8000_0000)),
            "div" if approx => Arc::new(move |x, y, _| b(n::div_approx(f(x), f(y), ftz))),
            "div" if m.has("full") => Arc::new(move |x, y, _| b(n::div_full(f(x), f(y), ftz))),
            "div" => Arc::new(move |x, y, _| b(n::div_f32(f(x), f(y), r, ftz))),
            "sqrt" if approx => Arc::new(move |x, _, _| b(n::sqrt_approx(f(x), ftz))),
            "sqrt" => Arc::new(move |x, _, _| b(n::sqrt_f32(f(x), r, ftz))),
            "rcp" if approx => Arc::new(move |x, _, _| b(n::rcp_approx(f(x), ftz))),
            "rcp" => Arc::new(move |x, _, _| b(n::rcp_f32(f(x), r, ftz))),
            "rsqrt" => Arc::new(move |x, _, _| b(n::rsqrt_approx(f(x), ftz))),
            "ex2" => Arc::new(move |x, _, _| b(n::ex2_approx(f(x), ftz))),
            "lg2" => Arc::new(move |x, _, _| b(n::lg2_approx(f(x), ftz))),
            "sin" => Arc::new(move |x, _, _| b(n::sin_approx(f(x), ftz))),
            "cos" => Arc::new(move |x, _, _| b(n::cos_approx(f(x), ftz))),
            "tanh" => Arc::new(move |x, _, _| b(n::tanh_approx(f(x)))),
            _ => return Ok(false),
        };
        self.lane(lane, d, s)
    }

    /// `add`, `sub` and `fma` of 16-bit floats and a float32 (PTX ISA, "Mixed Precision Floating Point Instructions").
    fn mixed(&mut self, m: &Mnemonic<'_>, mode: FloatMode, narrow: Ty, Registers { d, s }: Registers) -> Result<bool> {
        m.allow(&["rn", "rz", "rm", "rp", "sat"])?;
        let FloatMode { rounding: r, sat, .. } = mode;
        let wide = if narrow == Ty::F16 { n::f16_to_f32 } else { n::bf16_to_f32 };
        let lane: Lane = match m.base {
            "add" => Arc::new(move |x, y, _| b(n::add_f32(wide(x as u16), f(y), r, false, sat))),
            "sub" => Arc::new(move |x, y, _| b(n::add_f32(wide(x as u16), -f(y), r, false, sat))),
            _ => Arc::new(move |x, y, z| b(n::fma_f32([wide(x as u16), wide(y as u16), f(z)], r, false, sat))),
        };
        self.lane(lane, d, s)
    }

    fn double_precision(&mut self, m: &Mnemonic<'_>, r: Rounding, Registers { d, s }: Registers) -> Result<bool> {
        let lane: Lane = match m.base {
            "add" => Arc::new(move |x, y, _| n::add_f64(g(x), g(y), r).to_bits()),
            "sub" => Arc::new(move |x, y, _| n::add_f64(g(x), -g(y), r).to_bits()),
            "mul" => Arc::new(move |x, y, _| n::mul_f64(g(x), g(y), r).to_bits()),
            "fma" | "mad" => Arc::new(move |x, y, z| n::fma_f64(g(x), g(y), g(z), r).to_bits()),
            "div" => Arc::new(move |x, y, _| n::div_f64(g(x), g(y), r).to_bits()),
            "sqrt" => Arc::new(move |x, _, _| n::sqrt_f64(g(x), r).to_bits()),
            "rcp" => Arc::new(move |x, _, _| n::rcp_f64(g(x), r).to_bits()),
            "rsqrt" => Arc::new(|x, _, _| (1.0 / g(x).sqrt()).to_bits()),
            "min" => Arc::new(|x, y, _| if g(x).is_nan() || less(g(y), g(x)) { y } else { x }),
            "max" => Arc::new(|x, y, _| if g(x).is_nan() || less(g(x), g(y)) { y } else { x }),
            "abs" => Arc::new(|x, _, _| x & !(1 << 63)),
            "neg" => Arc::new(|x, _, _| x ^ 1 << 63),
            "copysign" => Arc::new(|x, y, _| (y & !(1 << 63)) | (x & 1 << 63)),
            _ => return Ok(false),
        };
        self.lane(lane, d, s)
    }

    fn half(&mut self, m: &Mnemonic<'_>, ty: Half, packed: bool, Registers { d, s }: Registers) -> Result<bool> {
        let (relu, nan, ftz, sat) = (m.has("relu"), m.has("NaN"), m.has("ftz"), m.has("sat"));
        let plain = !(relu || ftz || sat);
        if let (true, true, Reg::W(d), Some(Reg::W(a)), Some(Reg::W(b))) = (packed, plain, d, s[0], s[1]) {
            let op = match (m.base, s[2]) {
                ("add", None) => Some(Op::Bin(Bin::AddH2(ty), d, a, b)),
                ("mul", None) => Some(Op::Bin(Bin::MulH2(ty), d, a, b)),
                ("fma", Some(Reg::W(c))) => Some(Op::Tri(Tri::FmaH2(ty), d, a, b, c)),
                _ => None,
            };
            if let Some(op) = op {
                self.emit(op);
                return Ok(true);
            }
        }
        let one: fn(Half, [u16; 3], bool) -> u16 = match m.base {
            "add" => |ty, [x, y, _], _| n::add_half(ty, x, y),
            "sub" => |ty, [x, y, _], _| n::add_half(ty, x, y ^ 0x8000),
            "mul" => |ty, [x, y, _], _| n::mul_half(ty, x, y),
            "fma" => |ty, [x, y, z], relu| n::fma_half(ty, x, y, z, relu),
            "min" => |ty, [x, y, _], nan| n::min_max_half(ty, x, y, false, nan),
            "max" => |ty, [x, y, _], nan| n::min_max_half(ty, x, y, true, nan),
            "abs" => |_, [x, ..], _| x & 0x7fff,
            "neg" => |_, [x, ..], _| x ^ 0x8000,
            "tanh" => |ty, [x, ..], _| n::tanh_half(ty, x),
            "ex2" => |ty, [x, ..], _| n::ex2_half(ty, x),
            _ => return Ok(false),
        };
        let flag = relu || nan;
        let flushed = move |x: u16| if ftz { n::flush_half(ty, x) } else { x };
        let lane = halves(packed, move |x, y, z| {
            let v = flushed(one(ty, [flushed(x), flushed(y), flushed(z)], flag));
            if sat { n::saturate_half(ty, v) } else { v }
        });
        self.lane(lane, d, s)
    }

    fn pair(&mut self, m: &Mnemonic<'_>, mode: FloatMode, Registers { d, s }: Registers) -> Result<bool> {
        let (Reg::D(d), Some(Reg::D(a)), Some(Reg::D(b))) = (d, s[0], s[1]) else { return Ok(false) };
        if mode.rounding != Rounding::Rn || mode.ftz || mode.sat {
            return Err("only `.rn` is simulated for f32x2".into());
        }
        let c = match s[2] {
            Some(Reg::D(c)) => c,
            _ => b,
        };
        let f: fn(f32, f32, f32) -> f32 = match m.base {
            "add" => |a, b, _| a + b,
            "sub" => |a, b, _| a - b,
            "mul" => |a, b, _| a * b,
            "fma" => f32::mul_add,
            _ => return Ok(false),
        };
        self.emit(Op::PairF32 { f, d, a, b, c });
        Ok(true)
    }
}

/// `a < b` with -0 below +0; false if either is NaN.
fn less(a: f64, b: f64) -> bool {
    a < b || (a == b && a.is_sign_negative() && b.is_sign_positive())
}
