//! Integer and bit instructions of 16, 32 and 64 bits.

use std::sync::Arc;

use super::mnemonic::Mnemonic;
use super::{Decoder, Result};
use crate::program::{Bin, Bin64, BoolOp, Lane, Op, Reg, Shift64, Tri, Un};
use crate::syntax::Operand;
use crate::ty::Ty;

/// Low `bits` bits set.
pub(super) fn mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// The value of the low `bits` bits.
pub(super) fn widen(v: u64, bits: u32, signed: bool) -> i128 {
    if signed { i128::from((v << (64 - bits)) as i64 >> (64 - bits)) } else { i128::from(v & mask(bits)) }
}

impl Decoder<'_> {
    pub(super) fn lane(&mut self, f: Lane, d: Reg, sources: [Option<Reg>; 3]) -> Result<bool> {
        self.emit(Op::Lane { f, d, sources });
        Ok(true)
    }

    pub(super) fn integer(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        m.allow(&["lo", "hi", "wide", "l", "r", "wrap", "clamp", "b4e", "f4e", "rc8", "ecl", "ecr", "rc16", "sat", "shiftamt"])?;
        let ty = m.ty()?;
        if ty == Ty::Pred {
            return match m.base {
                "and" => self.predicate_logic(BoolOp::And, ops),
                "or" => self.predicate_logic(BoolOp::Or, ops),
                "xor" => self.predicate_logic(BoolOp::Xor, ops),
                "not" => {
                    let [d, a] = ops else { return Err("expected two operands".into()) };
                    let a = self.predicate(a)?;
                    let d = self.predicate_out(d)?;
                    self.emit(Op::PredNot(d, a));
                    Ok(true)
                }
                _ => Ok(false),
            };
        }
        if !matches!(ty.bits(), 16 | 32 | 64) {
            return Ok(false);
        }
        if m.has("sat") && m.base != "add" && m.base != "sub" {
            return Ok(false);
        }
        match (m.base, ops) {
            ("not" | "neg" | "abs" | "popc" | "clz" | "brev" | "cnot" | "bfind", [d, a]) => self.integer_unary(m, ty, d, a),
            ("shl" | "shr", [d, a, b]) => self.shift(m, ty, [d, a, b]),
            ("mad", [d, a, b, c]) => self.multiply(m, ty, [d, a, b], Some(c)),
            ("mul", [d, a, b]) => self.multiply(m, ty, [d, a, b], None),
            ("lop3", [d, a, b, c, Operand::Int(table)]) => {
                let (a, b, c) = (self.word(a, ty)?, self.word(b, ty)?, self.word(c, ty)?);
                let d = self.word_out(d)?;
                self.emit(Op::Tri(Tri::Lop3(*table as u8), d, a, b, c));
                Ok(true)
            }
            ("prmt", [d, a, b, c]) => self.prmt(m, [d, a, b, c]),
            ("shf", [d, a, b, c]) => {
                let (l, clamp) = (m.has("l"), m.has("clamp"));
                let (a, b, c) = (self.word(a, ty)?, self.word(b, ty)?, self.word(c, ty)?);
                let d = self.word_out(d)?;
                if clamp {
                    let f: Lane = Arc::new(move |lo, hi, n| {
                        let (v, n) = (hi << 32 | lo, n.min(32));
                        if l { (v << n) >> 32 & 0xffff_ffff } else { v >> n & 0xffff_ffff }
                    });
                    return self.lane(f, Reg::W(d), [Some(Reg::W(a)), Some(Reg::W(b)), Some(Reg::W(c))]);
                }
                self.emit(Op::Tri(if l { Tri::ShfL } else { Tri::ShfR }, d, a, b, c));
                Ok(true)
            }
            ("bfe", [d, a, b, c]) => {
                let sources =
                    [Some(self.source(a, ty, false)?), Some(self.source(b, Ty::U(32), false)?), Some(self.source(c, Ty::U(32), false)?)];
                let d = self.out(d, ty, false)?;
                let (bits, signed) = (ty.bits(), ty.signed());
                self.lane(Arc::new(move |v, pos, len| bit_field(v, pos, len, bits, signed)), d, sources)
            }
            ("bfi", [d, a, b, pos, len]) => {
                // Four sources: position and length must be known to fit one lane function.
                let (Operand::Int(pos), Operand::Int(len)) = (pos, len) else {
                    return Err("bit position and length must be numbers".into());
                };
                let bits = ty.bits();
                let (pos, len) = ((*pos as u64 & 0xff) as u32, (*len as u64 & 0xff) as u32);
                let field = if pos >= bits { 0 } else { (mask(len.min(64)) << pos) & mask(bits) };
                let sources = [Some(self.source(a, ty, false)?), Some(self.source(b, ty, false)?), None];
                let d = self.out(d, ty, false)?;
                self.lane(Arc::new(move |a, b, _| (b & !field) | (a.checked_shl(pos).unwrap_or(0) & field)), d, sources)
            }
            ("sad", [d, a, b, c]) => {
                let sources = [Some(self.source(a, ty, false)?), Some(self.source(b, ty, false)?), Some(self.source(c, ty, false)?)];
                let d = self.out(d, ty, false)?;
                let (bits, signed) = (ty.bits(), ty.signed());
                let f: Lane = Arc::new(move |a, b, c| {
                    let difference = (widen(a, bits, signed) - widen(b, bits, signed)).unsigned_abs() as u64;
                    c.wrapping_add(difference) & mask(bits)
                });
                self.lane(f, d, sources)
            }
            ("add" | "sub" | "and" | "or" | "xor" | "min" | "max" | "div" | "rem", [d, a, b]) => self.integer_binary(m, ty, [d, a, b]),
            _ => Ok(false),
        }
    }

    fn integer_unary(&mut self, m: &Mnemonic<'_>, ty: Ty, d: &Operand, a: &Operand) -> Result<bool> {
        let a = self.source(a, ty, false)?;
        let d = match m.base {
            "popc" | "clz" | "bfind" => self.out(d, Ty::U(32), false)?,
            _ => self.out(d, ty, false)?,
        };
        if let (Reg::W(d), Reg::W(a), 32) = (d, a, ty.bits()) {
            match m.base {
                "not" => return self.unary(Un::Not, d, a),
                "neg" => return self.unary(Un::NegI, d, a),
                _ => {}
            }
        }
        let (bits, signed) = (ty.bits(), ty.signed());
        let f: Lane = match m.base {
            "not" => Arc::new(move |v, _, _| !v & mask(bits)),
            "cnot" => Arc::new(move |v, _, _| u64::from(v & mask(bits) == 0)),
            "neg" => Arc::new(move |v, _, _| v.wrapping_neg() & mask(bits)),
            "abs" => Arc::new(move |v, _, _| widen(v, bits, true).unsigned_abs() as u64 & mask(bits)),
            "popc" => Arc::new(move |v, _, _| u64::from((v & mask(bits)).count_ones())),
            "clz" => Arc::new(move |v, _, _| u64::from((v & mask(bits)).leading_zeros() - (64 - bits))),
            "brev" => Arc::new(move |v, _, _| v.reverse_bits() >> (64 - bits)),
            "bfind" => {
                let shift = m.has("shiftamt");
                Arc::new(move |v, _, _| {
                    let v = if signed && widen(v, bits, true) < 0 { !v & mask(bits) } else { v & mask(bits) };
                    match v {
                        0 => 0xffff_ffff,
                        _ if shift => u64::from(v.leading_zeros() - (64 - bits)),
                        _ => u64::from(63 - v.leading_zeros()),
                    }
                })
            }
            _ => return Ok(false),
        };
        self.lane(f, d, [Some(a), None, None])
    }

    pub(super) fn unary(&mut self, un: Un, d: u32, a: u32) -> Result<bool> {
        self.emit(Op::Un(un, d, a));
        Ok(true)
    }

    fn shift(&mut self, m: &Mnemonic<'_>, ty: Ty, [d, a, b]: [&Operand; 3]) -> Result<bool> {
        let (left, signed, bits) = (m.base == "shl", ty.signed(), ty.bits());
        let a = self.source(a, ty, false)?;
        let b = self.word(b, Ty::U(32))?;
        let d = self.out(d, ty, false)?;
        match (d, a) {
            (Reg::W(d), Reg::W(a)) if bits == 32 => {
                let kind = if left {
                    Bin::Shl
                } else if signed {
                    Bin::ShrS
                } else {
                    Bin::ShrU
                };
                self.emit(Op::Bin(kind, d, a, b));
            }
            (Reg::D(d), Reg::D(a)) => {
                let kind = if left {
                    Shift64::Shl
                } else if signed {
                    Shift64::ShrS
                } else {
                    Shift64::ShrU
                };
                self.emit(Op::Shift64(kind, d, a, b));
            }
            _ => {
                let f: Lane = if left {
                    Arc::new(move |v, n, _| v.checked_shl(n.min(64) as u32).unwrap_or(0) & mask(bits))
                } else {
                    Arc::new(move |v, n, _| (widen(v, bits, signed) >> n.min(64)) as u64 & mask(bits))
                };
                return self.lane(f, d, [Some(a), Some(Reg::W(b)), None]);
            }
        }
        Ok(true)
    }

    fn integer_binary(&mut self, m: &Mnemonic<'_>, ty: Ty, [d, a, b]: [&Operand; 3]) -> Result<bool> {
        let (a, b) = (self.source(a, ty, false)?, self.source(b, ty, false)?);
        let d = self.out(d, ty, false)?;
        let (bits, signed) = (ty.bits(), ty.signed());
        if m.has("sat") {
            let sub = m.base == "sub";
            let (low, high) = (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1);
            let f: Lane = Arc::new(move |a, b, _| {
                let (a, b) = (widen(a, bits, true), widen(b, bits, true));
                (if sub { a - b } else { a + b }).clamp(low, high) as u64 & mask(bits)
            });
            return self.lane(f, d, [Some(a), Some(b), None]);
        }
        match (d, a, b) {
            (Reg::W(d), Reg::W(a), Reg::W(b)) if bits == 32 => {
                let kind = match (m.base, signed) {
                    ("add", _) => Some(Bin::Add),
                    ("sub", _) => Some(Bin::Sub),
                    ("and", _) => Some(Bin::And),
                    ("or", _) => Some(Bin::Or),
                    ("xor", _) => Some(Bin::Xor),
                    ("min", true) => Some(Bin::MinS),
                    ("min", false) => Some(Bin::MinU),
                    ("max", true) => Some(Bin::MaxS),
                    ("max", false) => Some(Bin::MaxU),
                    _ => None,
                };
                if let Some(kind) = kind {
                    self.emit(Op::Bin(kind, d, a, b));
                    return Ok(true);
                }
            }
            (Reg::D(d), Reg::D(a), Reg::D(b)) => {
                let kind = match m.base {
                    "add" => Some(Bin64::Add),
                    "sub" => Some(Bin64::Sub),
                    "and" => Some(Bin64::And),
                    "or" => Some(Bin64::Or),
                    "xor" => Some(Bin64::Xor),
                    _ => None,
                };
                if let Some(kind) = kind {
                    self.emit(Op::Bin64(kind, d, a, b));
                    return Ok(true);
                }
            }
            _ => {}
        }
        let f: Lane = match m.base {
            "add" => Arc::new(move |a, b, _| a.wrapping_add(b) & mask(bits)),
            "sub" => Arc::new(move |a, b, _| a.wrapping_sub(b) & mask(bits)),
            "and" => Arc::new(|a, b, _| a & b),
            "or" => Arc::new(|a, b, _| a | b),
            "xor" => Arc::new(|a, b, _| a ^ b),
            "min" => Arc::new(move |a, b, _| widen(a, bits, signed).min(widen(b, bits, signed)) as u64 & mask(bits)),
            "max" => Arc::new(move |a, b, _| widen(a, bits, signed).max(widen(b, bits, signed)) as u64 & mask(bits)),
            // The ISA leaves division by zero open; devices give all ones, and the dividend as remainder.
            "div" if signed => Arc::new(move |a, b, _| {
                let (a, b) = (widen(a, bits, true), widen(b, bits, true));
                if b == 0 { mask(bits) } else { (a / b) as u64 & mask(bits) }
            }),
            "div" => Arc::new(move |a, b, _| a.checked_div(b).unwrap_or(mask(bits))),
            "rem" if signed => Arc::new(move |a, b, _| {
                let (a, b) = (widen(a, bits, true), widen(b, bits, true));
                (if b == 0 { a } else { a % b }) as u64 & mask(bits)
            }),
            "rem" => Arc::new(move |a, b, _| a.checked_rem(b).unwrap_or(a)),
            _ => return Ok(false),
        };
        self.lane(f, d, [Some(a), Some(b), None])
    }

    fn multiply(&mut self, m: &Mnemonic<'_>, ty: Ty, [d, a, b]: [&Operand; 3], c: Option<&Operand>) -> Result<bool> {
        let (bits, signed, wide, high) = (ty.bits(), ty.signed(), m.has("wide"), m.has("hi"));
        let out = match (wide, bits) {
            (false, _) => ty,
            (true, 16) => Ty::U(32),
            (true, 32) => Ty::U(64),
            _ => return Ok(false),
        };
        let (a, b) = (self.source(a, ty, false)?, self.source(b, ty, false)?);
        let c = c.map(|c| self.source(c, out, false)).transpose()?;
        let d = self.out(d, out, false)?;
        match (d, a, b, c) {
            (Reg::D(d), Reg::W(a), Reg::W(b), c) => {
                let c = match c {
                    Some(Reg::D(c)) => c,
                    _ => match self.constant(crate::program::Constant::Value(0), 64)? {
                        Reg::D(c) => c,
                        _ => return Ok(false),
                    },
                };
                self.emit(Op::MadWide(signed, d, a, b, c));
                return Ok(true);
            }
            (Reg::W(d), Reg::W(a), Reg::W(b), None) if bits == 32 => {
                self.emit(Op::Bin(
                    if !high {
                        Bin::Mul
                    } else if signed {
                        Bin::MulHiS
                    } else {
                        Bin::MulHiU
                    },
                    d,
                    a,
                    b,
                ));
                return Ok(true);
            }
            (Reg::W(d), Reg::W(a), Reg::W(b), Some(Reg::W(c))) if bits == 32 && !high => {
                self.emit(Op::Tri(Tri::Mad, d, a, b, c));
                return Ok(true);
            }
            (Reg::D(d), Reg::D(a), Reg::D(b), None) if !high => {
                self.emit(Op::Bin64(Bin64::Mul, d, a, b));
                return Ok(true);
            }
            (Reg::D(d), Reg::D(a), Reg::D(b), Some(Reg::D(c))) if !high => {
                self.emit(Op::Mad64(d, a, b, c));
                return Ok(true);
            }
            _ => {}
        }
        let out_bits = out.bits();
        let f: Lane = Arc::new(move |a, b, c| {
            let product = widen(a, bits, signed).wrapping_mul(widen(b, bits, signed));
            let part = if high { product >> bits } else { product };
            (part as u64).wrapping_add(c) & mask(out_bits)
        });
        self.lane(f, d, [Some(a), Some(b), c])
    }

    fn prmt(&mut self, m: &Mnemonic<'_>, [d, a, b, c]: [&Operand; 4]) -> Result<bool> {
        let ty = Ty::B(32);
        let (a, b, c) = (self.word(a, ty)?, self.word(b, ty)?, self.word(c, ty)?);
        let d = self.word_out(d)?;
        let mode: fn(u32) -> u32 = if m.has("f4e") {
            |n| [0x3210, 0x4321, 0x5432, 0x6543][n as usize]
        } else if m.has("b4e") {
            |n| [0x5670, 0x6701, 0x7012, 0x0123][n as usize]
        } else if m.has("rc8") {
            |n| n * 0x1111
        } else if m.has("ecl") {
            |n| [0x3210, 0x3211, 0x3222, 0x3333][n as usize]
        } else if m.has("ecr") {
            |n| [0x0000, 0x1110, 0x2210, 0x3210][n as usize]
        } else if m.has("rc16") {
            |n| [0x1010, 0x3232, 0x1010, 0x3232][n as usize]
        } else {
            self.emit(Op::Tri(Tri::Prmt, d, a, b, c));
            return Ok(true);
        };
        let f: Lane = Arc::new(move |a, b, c| u64::from(permute(a as u32, b as u32, mode(c as u32 & 3))));
        self.lane(f, Reg::W(d), [Some(Reg::W(a)), Some(Reg::W(b)), Some(Reg::W(c))])
    }
}

/// `prmt.b32` with a selector of four nibbles; the top bit of a nibble replicates the sign of its byte.
pub(crate) fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    let mut out = 0;
    for i in 0..4 {
        let s = selector >> (4 * i) & 15;
        let byte = (bytes >> (8 * (s & 7))) as u32 & 0xff;
        let byte = if s & 8 == 0 {
            byte
        } else if byte & 0x80 == 0 {
            0
        } else {
            0xff
        };
        out |= byte << (8 * i);
    }
    out
}

/// `bfe`: signed fields replicate their top bit, which for a field beyond the word is the word's.
fn bit_field(v: u64, pos: u64, len: u64, bits: u32, signed: bool) -> u64 {
    let (pos, len) = ((pos & 0xff) as u32, (len & 0xff) as u32);
    let top = (pos + len).saturating_sub(1).min(bits - 1);
    let sign = signed && len > 0 && v >> top & 1 == 1;
    let field = v.checked_shr(pos).unwrap_or(0) & mask(len.min(bits));
    let available = bits.saturating_sub(pos).min(len);
    if sign { (field | !mask(available)) & mask(bits) } else { field & mask(bits) }
}
