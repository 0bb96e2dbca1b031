//! Operands to slots.

use super::{Decoder, Result, Symbol};
use crate::numeric::{Half, Rounding, f64_to_half};
use crate::program::{Compare, Constant, D, P, Reg, Special, W};
use crate::syntax::{Operand, Space};
use crate::ty::Ty;

impl Decoder<'_> {
    /// The slot that holds a constant of the class of `bits`.
    pub(super) fn constant(&mut self, c: Constant, bits: u32) -> Result<Reg> {
        if bits == 64 {
            if let Some(&d) = self.doubles.get(&c) {
                return Ok(Reg::D(d));
            }
            let d = self.slots(Ty::B(64), 1)?;
            self.doubles.insert(c, d);
            self.program.double_constants.push((d, c));
            return Ok(Reg::D(d));
        }
        if let Some(&w) = self.words.get(&c) {
            return Ok(Reg::W(w));
        }
        let w = self.slots(Ty::B(32), 1)?;
        self.words.insert(c, w);
        self.program.word_constants.push((w, c));
        Ok(Reg::W(w))
    }

    /// A source of type `ty`. Registers may be wider than the type only where `wide` (memory accesses and conversions).
    pub(super) fn source(&mut self, op: &Operand, ty: Ty, wide: bool) -> Result<Reg> {
        let reg = match op {
            Operand::Int(_) | Operand::F32(_) | Operand::F64(_) => return self.constant(Constant::Value(literal(op, ty)?), ty.bits()),
            Operand::Name(name, offset) => match self.lookup(name) {
                Some(Symbol::Register(reg, declared)) if *offset == 0 => {
                    check_width(name, declared, ty, wide)?;
                    reg
                }
                Some(Symbol::Register(..)) => return Err(format!("`{name}` plus an offset outside an address")),
                Some(Symbol::Address(_, c)) => return self.constant(shifted(c, *offset)?, ty.bits()),
                None => {
                    let special = special(name).ok_or_else(|| format!("`{name}` is not declared"))?;
                    return self.constant(special, ty.bits());
                }
            },
            other => return Err(format!("{other} where a value is expected")),
        };
        self.uses.push(reg);
        Ok(reg)
    }

    /// A 32-bit (or narrower) source.
    pub(super) fn word(&mut self, op: &Operand, ty: Ty) -> Result<W> {
        match self.source(op, ty, false)? {
            Reg::W(w) => Ok(w),
            _ => Err(format!("a register of 32 bits is expected, not {op}")),
        }
    }

    pub(super) fn double(&mut self, op: &Operand) -> Result<D> {
        match self.source(op, Ty::B(64), false)? {
            Reg::D(d) => Ok(d),
            _ => Err(format!("a register of 64 bits is expected, not {op}")),
        }
    }

    /// A destination of type `ty`; `_` gives a slot that nobody reads.
    pub(super) fn out(&mut self, op: &Operand, ty: Ty, wide: bool) -> Result<Reg> {
        let reg = match op {
            Operand::Sink => super::register(ty, self.slots(ty, 1)?),
            Operand::Name(name, 0) => match self.lookup(name) {
                Some(Symbol::Register(reg, declared)) => {
                    check_width(name, declared, ty, wide)?;
                    reg
                }
                _ => return Err(format!("`{name}` is no register")),
            },
            other => return Err(format!("{other} where a destination is expected")),
        };
        self.defs.push(reg);
        Ok(reg)
    }

    /// Bits of a destination register as declared (16-bit registers share the slots of 32-bit ones).
    pub(super) fn declared_bits(&mut self, op: &Operand, ty: Ty) -> u32 {
        let first = match op {
            Operand::List(parts) => parts.first().unwrap_or(op),
            _ => op,
        };
        match first {
            Operand::Name(name, _) => match self.lookup(name) {
                Some(Symbol::Register(_, declared)) => declared.bits().max(16),
                _ => ty.bits(),
            },
            _ => ty.bits(),
        }
    }

    pub(super) fn word_out(&mut self, op: &Operand) -> Result<W> {
        match self.out(op, Ty::B(32), true)? {
            Reg::W(w) => Ok(w),
            _ => Err(format!("a destination of 32 bits is expected, not {op}")),
        }
    }

    pub(super) fn double_out(&mut self, op: &Operand) -> Result<D> {
        match self.out(op, Ty::B(64), false)? {
            Reg::D(d) => Ok(d),
            _ => Err(format!("a destination of 64 bits is expected, not {op}")),
        }
    }

    pub(super) fn predicate(&mut self, op: &Operand) -> Result<P> {
        match op {
            Operand::Int(v) => {
                let value = *v != 0;
                if let Some(&p) = self.predicates.get(&value) {
                    return Ok(p);
                }
                let p = self.slots(Ty::Pred, 1)?;
                self.predicates.insert(value, p);
                self.program.predicate_constants.push((p, value));
                Ok(p)
            }
            Operand::Name(name, 0) => match self.lookup(name) {
                Some(Symbol::Register(Reg::P(p), _)) => {
                    self.uses.push(Reg::P(p));
                    Ok(p)
                }
                _ => Err(format!("`{name}` is no predicate")),
            },
            other => Err(format!("{other} where a predicate is expected")),
        }
    }

    /// A predicate that may be negated.
    pub(super) fn condition(&mut self, op: &Operand) -> Result<(P, bool)> {
        match op {
            Operand::Not(name) => Ok((self.predicate(&Operand::Name(name.clone(), 0))?, true)),
            _ => Ok((self.predicate(op)?, false)),
        }
    }

    pub(super) fn predicate_out(&mut self, op: &Operand) -> Result<P> {
        match self.out(op, Ty::Pred, false)? {
            Reg::P(p) => Ok(p),
            _ => Err("a predicate destination is expected".into()),
        }
    }

    /// An address `[base+offset]`: the space of its symbol if it names one, the base and the offset.
    pub(super) fn address(&mut self, op: &Operand) -> Result<(Option<Space>, Reg, i64)> {
        let Operand::Address(base, offset) = op else { return Err(format!("{op} where an address is expected")) };
        match &**base {
            Operand::Name(name, _) => match self.lookup(name) {
                Some(Symbol::Register(Reg::P(_), _)) => Err(format!("predicate `{name}` as an address")),
                Some(Symbol::Register(reg, ty)) => {
                    if ty.bits() < 32 {
                        return Err(format!("`{name}` is too narrow for an address"));
                    }
                    self.uses.push(reg);
                    Ok((None, reg, *offset))
                }
                Some(Symbol::Address(space, c)) => Ok((Some(space), self.constant(c, 64)?, *offset)),
                None => Err(format!("`{name}` is not declared")),
            },
            Operand::Int(v) => Ok((None, self.constant(Constant::Value(*v as u64), 64)?, *offset)),
            other => Err(format!("{other} as an address")),
        }
    }
}

fn check_width(name: &str, declared: Ty, ty: Ty, wide: bool) -> Result<()> {
    let (have, want) = (declared.bits(), ty.bits());
    let fits = have == want || (want == 8 && have >= 8) || (wide && have >= want) || (have == 8 && want == 16);
    if fits && (have == 1) == (want == 1) { Ok(()) } else { Err(format!("`{name}` has {have} bits where {want} are expected")) }
}

fn shifted(c: Constant, offset: i64) -> Result<Constant> {
    Ok(match c {
        Constant::Value(v) => Constant::Value(v.wrapping_add_signed(offset)),
        Constant::DynamicShared(v) => Constant::DynamicShared(v.wrapping_add_signed(offset)),
        Constant::ModuleGlobal(v) => Constant::ModuleGlobal(v.wrapping_add_signed(offset)),
        Constant::Special(_) if offset == 0 => c,
        Constant::Special(_) => return Err("a special register plus an offset".into()),
    })
}

/// The bits of a literal in an instruction of type `ty`.
fn literal(op: &Operand, ty: Ty) -> Result<u64> {
    let mask = if ty.bits() >= 64 { u64::MAX } else { (1 << ty.bits()) - 1 };
    match (op, ty) {
        (Operand::Int(_), Ty::F32 | Ty::F64) => Err("an integer literal in a float instruction".into()),
        (Operand::Int(v), _) => Ok(*v as u64 & mask),
        (Operand::F32(bits), _) if ty.bits() == 32 => Ok(u64::from(*bits)),
        (Operand::F32(bits), Ty::F64) => Ok(f64::from(f32::from_bits(*bits)).to_bits()),
        (Operand::F64(bits), Ty::F32) => Ok(u64::from((f64::from_bits(*bits) as f32).to_bits())),
        (Operand::F64(bits), Ty::F16) => Ok(u64::from(f64_to_half(Half::F16, f64::from_bits(*bits), Rounding::Rn))),
        (Operand::F64(bits), Ty::Bf16) => Ok(u64::from(f64_to_half(Half::Bf16, f64::from_bits(*bits), Rounding::Rn))),
        (Operand::F64(bits), _) if ty.bits() == 64 => Ok(*bits),
        _ => Err(format!("{op} does not fit the type {ty}")),
    }
}

fn special(name: &str) -> Option<Constant> {
    let axis = |s: &str| match s {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    };
    let s = match name.strip_prefix('%')? {
        "laneid" => Special::Lane,
        "warpid" => Special::Warp,
        "nwarpid" => Special::Warps,
        "lanemask_eq" => Special::LaneMask(Compare::Eq),
        "lanemask_lt" => Special::LaneMask(Compare::Lt),
        "lanemask_le" => Special::LaneMask(Compare::Le),
        "lanemask_gt" => Special::LaneMask(Compare::Gt),
        "lanemask_ge" => Special::LaneMask(Compare::Ge),
        "dynamic_smem_size" => Special::DynamicShared,
        "total_smem_size" => Special::TotalShared,
        // A launch is one grid of clusters of one CTA.
        "cluster_ctarank" | "cluster_ctaid.x" | "cluster_ctaid.y" | "cluster_ctaid.z" => return Some(Constant::Value(0)),
        "cluster_nctarank" | "cluster_nctaid.x" | "cluster_nctaid.y" | "cluster_nctaid.z" => return Some(Constant::Value(1)),
        other => {
            let (base, suffix) = other.split_once('.')?;
            let axis = axis(suffix)?;
            match base {
                "tid" => Special::Tid(axis),
                "ntid" => Special::Ntid(axis),
                "ctaid" | "clusterid" => Special::Ctaid(axis),
                "nctaid" | "nclusterid" => Special::Nctaid(axis),
                _ => return None,
            }
        }
    };
    Some(Constant::Special(s))
}
