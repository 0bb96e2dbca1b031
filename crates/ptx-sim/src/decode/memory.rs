//! Loads, stores, atomics, asynchronous copies.

use super::convert::space_of;
use super::mnemonic::Mnemonic;
use super::{Decoder, Result};
use crate::numeric::Half;
use crate::program::{Access, AtomOp, AtomType, Op, Reg};
use crate::syntax::{Operand, Space};
use crate::ty::Ty;

const QUALIFIERS: &[&str] = &[
    "weak",
    "volatile",
    "relaxed",
    "acquire",
    "release",
    "acq_rel",
    "cta",
    "cluster",
    "gpu",
    "sys",
    "global",
    "shared",
    "local",
    "const",
    "param",
    "shared::cta",
    "shared::cluster",
    "param::entry",
    "param::func",
    "nc",
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "v2",
    "v4",
    "v8",
    "unified",
    "L1::no_allocate",
    "L1::evict_first",
    "L1::evict_last",
    "L1::evict_normal",
    "L1::evict_unchanged",
    "L2::64B",
    "L2::128B",
    "L2::256B",
    "L2::evict_first",
    "L2::evict_last",
    "L2::evict_normal",
];

impl Decoder<'_> {
    fn access(&mut self, m: &Mnemonic<'_>, op: &Operand, ty: Ty) -> Result<Access> {
        let named = space_of(m).unwrap_or(Space::Generic);
        let (symbol, base, offset) = self.address(op)?;
        let space = match (named, symbol) {
            // Parameters of calls live in the frame of the thread.
            (Space::Param, Some(Space::Local)) => Space::Local,
            (Space::Generic, Some(s)) => s,
            (n, Some(s)) if n != s => return Err(format!("{op} lies in {s}, not in {n}")),
            (n, _) => n,
        };
        if matches!(base, Reg::W(_)) && matches!(space, Space::Global | Space::Generic) {
            return Err("a 32-bit register as the address of 64-bit memory".into());
        }
        let bits = ty.bits();
        if !matches!(bits, 8 | 16 | 32 | 64) {
            return Err(format!("accesses of {bits} bits are not simulated"));
        }
        let strong = ["volatile", "relaxed", "acquire", "release"].iter().any(|p| m.has(p));
        Ok(Access { space, base, offset, width: (bits / 8) as u8, strong })
    }

    fn vector<'a>(&self, m: &Mnemonic<'_>, op: &'a Operand) -> Result<&'a [Operand]> {
        let count = if m.has("v8") {
            8
        } else if m.has("v4") {
            4
        } else if m.has("v2") {
            2
        } else {
            1
        };
        let parts = match op {
            Operand::List(parts) => &parts[..],
            one => std::slice::from_ref(one),
        };
        if parts.len() == count { Ok(parts) } else { Err(format!("expected {count} registers, found {}", parts.len())) }
    }

    pub(super) fn load(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        m.allow(QUALIFIERS)?;
        let ty = m.ty()?;
        let [d, address] = ops else { return Err("expected two operands".into()) };
        let access = self.access(m, address, ty)?;
        let mut out = Vec::new();
        for part in self.vector(m, d)? {
            out.push(if *part == Operand::Sink { None } else { Some(self.out(part, ty, true)?) });
        }
        let sign = if ty.signed() { self.declared_bits(d, ty) } else { 0 };
        self.emit(Op::Load { access, sign: sign as u8, d: out.into() });
        Ok(true)
    }

    pub(super) fn store(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        m.allow(QUALIFIERS)?;
        let ty = m.ty()?;
        let [address, s] = ops else { return Err("expected two operands".into()) };
        let access = self.access(m, address, ty)?;
        if matches!(access.space, Space::Param | Space::Const) {
            return Err(format!("a store to {} memory", access.space));
        }
        let mut values = Vec::new();
        for part in self.vector(m, s)? {
            values.push(self.source(part, ty, true)?);
        }
        self.emit(Op::Store { access, s: values.into() });
        Ok(true)
    }

    pub(super) fn atomic(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        let operations = ["add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"];
        let all: Vec<&str> = QUALIFIERS.iter().copied().filter(|q| !q.starts_with('v')).chain(operations).chain(["noftz"]).collect();
        m.allow(&all)?;
        let ty = m.ty()?;
        let op = m.parts.iter().find_map(|p| AtomOp::named(p)).ok_or("no operation")?;
        let kind = match ty {
            Ty::F32 => AtomType::F32,
            Ty::F64 => AtomType::F64,
            Ty::F16 => AtomType::Half(Half::F16),
            Ty::Bf16 => AtomType::Half(Half::Bf16),
            Ty::F16x2 => AtomType::Half2(Half::F16),
            Ty::Bf16x2 => AtomType::Half2(Half::Bf16),
            _ => AtomType::Int { bits: ty.bits() as u8, signed: ty.signed() },
        };
        let integer = matches!(kind, AtomType::Int { .. });
        if !integer && !matches!(op, AtomOp::Add | AtomOp::Min | AtomOp::Max | AtomOp::Exch) {
            return Err("a bit operation on floats".into());
        }
        let returns = m.base == "atom";
        let (d, rest) = match (returns, ops) {
            (true, [d, rest @ ..]) => (Some(d), rest),
            (false, rest) => (None, rest),
            _ => return Err("operands are missing".into()),
        };
        let (address, s, compare) = match (op, rest) {
            (AtomOp::Cas, [address, compare, s]) => (address, s, Some(compare)),
            (AtomOp::Cas, _) => return Err("expected an address, a comparand and a value".into()),
            (_, [address, s]) => (address, s, None),
            _ => return Err("expected an address and a value".into()),
        };
        let mut access = self.access(m, address, ty)?;
        access.strong = true;
        if !matches!(access.space, Space::Global | Space::Shared | Space::Generic) {
            return Err(format!("an atomic in {} memory", access.space));
        }
        let s = self.source(s, ty, false)?;
        let compare = match compare {
            Some(c) => Some(self.source(c, ty, false)?),
            None => None,
        };
        let d = match d {
            Some(Operand::Sink) | None => None,
            Some(d) => Some(self.out(d, ty, false)?),
        };
        if matches!(kind, AtomType::F32) && op == AtomOp::Add {
            self.flops = 1;
        }
        self.emit(Op::Atom { op, ty: kind, access, d, s, compare });
        Ok(true)
    }

    pub(super) fn cp_async(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        match (&m.parts[..], ops) {
            (["async", "commit_group"], []) => self.emit(Op::CpCommit),
            (["async", "wait_group"], [Operand::Int(n)]) => {
                let n = u32::try_from(*n).map_err(|_| format!("{n} groups"))?;
                self.emit(Op::CpWait(Some(n)));
            }
            (["async", "wait_all"], []) => self.emit(Op::CpWait(None)),
            (
                ["async", "ca" | "cg", "shared" | "shared::cta" | "shared::cluster", "global", rest @ ..],
                [shared, global, Operand::Int(bytes), more @ ..],
            ) if rest.iter().all(|p| p.starts_with("L2::") && *p != "L2::cache_hint") => {
                let bytes = match (*bytes, m.has("cg")) {
                    (4 | 8, false) | (16, _) => *bytes as u8,
                    (n, _) => return Err(format!("{n} bytes: `.ca` copies 4, 8 or 16, `.cg` 16")),
                };
                let (space, shared, shared_offset) = self.address(shared)?;
                if space.is_some_and(|s| s != Space::Shared) {
                    return Err("the destination is not in shared memory".into());
                }
                let (space, global, global_offset) = self.address(global)?;
                if space.is_some_and(|s| s != Space::Global) || matches!(global, Reg::W(_)) {
                    return Err("the source is not in global memory".into());
                }
                let (mut source_bytes, mut ignore) = (None, None);
                match more {
                    [] => {}
                    [op] => {
                        let predicate = match op {
                            Operand::Not(_) => true,
                            Operand::Name(name, _) => matches!(self.lookup(name), Some(super::Symbol::Register(Reg::P(_), _))),
                            _ => false,
                        };
                        if predicate {
                            ignore = Some(self.condition(op)?);
                        } else {
                            source_bytes = Some(self.word(op, Ty::U(32))?);
                        }
                    }
                    _ => return Err("cache policies are not simulated".into()),
                }
                self.emit(Op::CpAsync { shared, shared_offset, global, global_offset, bytes, source_bytes, ignore });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
