//! Moves, selection, comparison.

use std::sync::Arc;

use super::integer::widen;
use super::mnemonic::Mnemonic;
use super::{Decoder, Result};
use crate::numeric::{self as n, Half};
use crate::program::{BoolOp, Compare, CompareType, Lane, Op, Reg, Un, W};
use crate::syntax::Operand;
use crate::ty::Ty;

impl Decoder<'_> {
    pub(super) fn mov(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        m.allow(&[])?;
        let ty = m.ty()?;
        let [d, a] = ops else { return Err("expected two operands".into()) };
        match (d, a) {
            (_, Operand::List(parts)) => return self.pack(ty, d, parts),
            (Operand::List(parts), _) => return self.unpack(ty, parts, a),
            _ => {}
        }
        if ty == Ty::Pred {
            let a = self.predicate(a)?;
            let d = self.predicate_out(d)?;
            self.emit(Op::PredMov(d, a));
            return Ok(true);
        }
        let a = self.source(a, ty, false)?;
        match (self.out(d, ty, false)?, a) {
            (Reg::W(d), Reg::W(a)) => self.emit(Op::Un(Un::Mov, d, a)),
            (Reg::D(d), Reg::D(a)) => self.emit(Op::Mov64(d, a)),
            _ => return Err("source and destination differ in width".into()),
        }
        Ok(true)
    }

    fn pack(&mut self, ty: Ty, d: &Operand, parts: &[Operand]) -> Result<bool> {
        match (ty.bits(), parts) {
            (64, [lo, hi]) => {
                let (lo, hi) = (self.word(lo, Ty::B(32))?, self.word(hi, Ty::B(32))?);
                let d = self.double_out(d)?;
                self.emit(Op::Pack64(d, lo, hi));
            }
            (32, [lo, hi]) => {
                let (lo, hi) = (self.word(lo, Ty::B(16))?, self.word(hi, Ty::B(16))?);
                let d = self.word_out(d)?;
                self.emit(Op::Pack32(d, lo, hi));
            }
            (64, [a, b, c, e]) => {
                let mut all = [0; 4];
                for (slot, op) in all.iter_mut().zip([a, b, c, e]) {
                    *slot = self.word(op, Ty::B(16))?;
                }
                let d = self.double_out(d)?;
                self.emit(Op::Pack16x4(d, all));
            }
            _ => return Err(format!("{} parts of a {}-bit register", parts.len(), ty.bits())),
        }
        Ok(true)
    }

    fn part_out(&mut self, op: &Operand, ty: Ty) -> Result<Option<W>> {
        match op {
            Operand::Sink => Ok(None),
            _ => match self.out(op, ty, false)? {
                Reg::W(w) => Ok(Some(w)),
                _ => Err("a part must be narrower than the whole".into()),
            },
        }
    }

    fn unpack(&mut self, ty: Ty, parts: &[Operand], a: &Operand) -> Result<bool> {
        match (ty.bits(), parts) {
            (64, [lo, hi]) => {
                let a = self.double(a)?;
                let (lo, hi) = (self.part_out(lo, Ty::B(32))?, self.part_out(hi, Ty::B(32))?);
                self.emit(Op::Unpack64(lo, hi, a));
            }
            (32, [lo, hi]) => {
                let a = self.word(a, Ty::B(32))?;
                let (lo, hi) = (self.part_out(lo, Ty::B(16))?, self.part_out(hi, Ty::B(16))?);
                self.emit(Op::Unpack32(lo, hi, a));
            }
            (64, [p, q, r, s]) => {
                let a = self.double(a)?;
                let mut all = [None; 4];
                for (slot, op) in all.iter_mut().zip([p, q, r, s]) {
                    *slot = self.part_out(op, Ty::B(16))?;
                }
                self.emit(Op::Unpack16x4(all, a));
            }
            _ => return Err(format!("{} parts of a {}-bit register", parts.len(), ty.bits())),
        }
        Ok(true)
    }

    pub(super) fn selp(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        m.allow(&[])?;
        let ty = m.ty()?;
        let [d, a, b, p] = ops else { return Err("expected four operands".into()) };
        let (a, b) = (self.source(a, ty, false)?, self.source(b, ty, false)?);
        let (p, negated) = self.condition(p)?;
        match (self.out(d, ty, false)?, a, b) {
            (Reg::W(d), Reg::W(a), Reg::W(b)) => self.emit(Op::Selp(d, a, b, p, negated)),
            (Reg::D(d), Reg::D(a), Reg::D(b)) => self.emit(Op::Selp64(d, a, b, p, negated)),
            _ => return Err("operands differ in width".into()),
        }
        Ok(true)
    }

    pub(super) fn setp(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        let ty = m.ty()?;
        let comparison = m.parts.first().copied().unwrap_or("");
        let combine = m.parts.iter().find_map(|p| match *p {
            "and" => Some(BoolOp::And),
            "or" => Some(BoolOp::Or),
            "xor" => Some(BoolOp::Xor),
            _ => None,
        });
        m.allow(&[comparison, "and", "or", "xor", "ftz"])?;
        let (d, a, b, with) = match ops {
            [d, a, b] if combine.is_none() => (d, a, b, None),
            [d, a, b, c] => (d, a, b, Some((combine.ok_or("four operands without `.and`, `.or` or `.xor`")?, c))),
            _ => return Err("wrong number of operands".into()),
        };
        let (a, b) = (self.source(a, ty, false)?, self.source(b, ty, false)?);
        let with = match with {
            Some((op, c)) => {
                let (p, negated) = self.condition(c)?;
                Some((op, p, negated))
            }
            None => None,
        };
        let (d, complement) = match d {
            Operand::Pair(p, q) => (p.as_ref(), Some(q.as_ref())),
            _ => (d, None),
        };
        let optional = |s: &mut Self, op: &Operand| if *op == Operand::Sink { Ok(None) } else { s.predicate_out(op).map(Some) };
        let d = optional(self, d)?;
        let complement = match complement {
            Some(q) => optional(self, q)?,
            None => None,
        };
        let packed = matches!(ty, Ty::F16x2 | Ty::Bf16x2);
        let ty = match ty {
            Ty::F16x2 => Ty::F16,
            Ty::Bf16x2 => Ty::Bf16,
            other => other,
        };
        let float = !ty.is_int() && ty != Ty::Pred;
        let simple = match comparison {
            "eq" | "equ" => Some(Compare::Eq),
            "ne" | "neu" => Some(Compare::Ne),
            "lt" | "ltu" | "lo" => Some(Compare::Lt),
            "le" | "leu" | "ls" => Some(Compare::Le),
            "gt" | "gtu" | "hi" => Some(Compare::Gt),
            "ge" | "geu" | "hs" => Some(Compare::Ge),
            "num" | "nan" if float => None,
            other => return Err(format!("comparison `.{other}` is not known")),
        };
        let unordered = comparison.ends_with('u');
        if unordered && !float {
            return Err(format!("comparison `.{comparison}` wants floats"));
        }
        let signed = ty.signed() && !matches!(comparison, "lo" | "ls" | "hi" | "hs");
        let fast = match ty {
            Ty::F32 if !m.has("ftz") => Some(CompareType::F32(unordered)),
            _ if float => None,
            _ => match ty.bits() {
                32 => Some(if signed { CompareType::S32 } else { CompareType::U32 }),
                64 => Some(if signed { CompareType::S64 } else { CompareType::U64 }),
                _ => None,
            },
        };
        if let (Some(compare), Some(ty)) = (simple, fast) {
            let (a, b) = match (a, b) {
                (Reg::W(a), Reg::W(b)) | (Reg::D(a), Reg::D(b)) => (a, b),
                _ => return Err("operands differ in width".into()),
            };
            self.emit(Op::Setp { compare, ty, d, complement, a, b, with });
            return Ok(true);
        }
        let f: Lane = if float {
            let ftz = m.has("ftz");
            let value = move |v: u64| match ty {
                Ty::F64 => f64::from_bits(v),
                Ty::F16 => n::half_to_f64(Half::F16, v as u16),
                Ty::Bf16 => n::half_to_f64(Half::Bf16, v as u16),
                _ if ftz => f64::from(n::flush(f32::from_bits(v as u32))),
                _ => f64::from(f32::from_bits(v as u32)),
            };
            let number = comparison == "num";
            Arc::new(move |a, b, _| {
                let (a, b) = (value(a), value(b));
                u64::from(match (simple, a.partial_cmp(&b)) {
                    (None, order) => order.is_some() == number,
                    // `ne` is ordered: false on NaN, unlike `neu`.
                    (Some(_), None) => unordered,
                    (Some(c), Some(order)) => holds(c, order),
                })
            })
        } else {
            let (bits, compare) = (ty.bits(), simple.ok_or("unknown comparison")?);
            Arc::new(move |a, b, _| u64::from(holds(compare, widen(a, bits, signed).cmp(&widen(b, bits, signed)))))
        };
        match (packed, a, b) {
            (true, Reg::W(a), Reg::W(b)) => self.emit(Op::SetpHalves { f, low: d, high: complement, a, b, with }),
            _ => self.emit(Op::SetpLane { f, d, complement, a, b, with }),
        }
        Ok(true)
    }
}

fn holds(c: Compare, order: std::cmp::Ordering) -> bool {
    match c {
        Compare::Eq => order.is_eq(),
        Compare::Ne => order.is_ne(),
        Compare::Lt => order.is_lt(),
        Compare::Le => order.is_le(),
        Compare::Gt => order.is_gt(),
        Compare::Ge => order.is_ge(),
    }
}
