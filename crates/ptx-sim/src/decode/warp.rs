//! Barriers, instructions across the lanes of a warp, tensor-core instructions.

use super::mnemonic::Mnemonic;
use super::{Decoder, Result};
use crate::program::{AtomOp, Mma, Op, Reg, Shuffle, Vote, W};
use crate::syntax::{Operand, Space};
use crate::tensor::{MmaShape, MmaType};
use crate::ty::Ty;

impl Decoder<'_> {
    fn barrier(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        m.allow(&["sync", "arrive", "warp", "cta", "aligned"])?;
        let u32_ = Ty::U(32);
        if m.has("warp") {
            let [mask] = ops else { return Err("expected a lane mask".into()) };
            let mask = self.word(mask, u32_)?;
            self.emit(Op::WarpBar(mask));
            return Ok(true);
        }
        let arrive = m.has("arrive");
        if !arrive && !m.has("sync") {
            return Ok(false);
        }
        let (id, threads) = match ops {
            [] => return Err("expected the barrier's number".into()),
            [id] if !arrive => (id, None),
            [id, n] => (id, Some(n)),
            _ => return Err("wrong number of operands".into()),
        };
        let id = self.word(id, u32_)?;
        let threads = match threads {
            Some(n) => Some(self.word(n, u32_)?),
            None => None,
        };
        self.emit(Op::Bar { id, threads, aligned: m.base == "bar" || m.has("aligned"), arrive });
        Ok(true)
    }

    pub(super) fn warp(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        let word = Ty::B(32);
        match (m.base, ops) {
            ("bar" | "barrier", _) => return self.barrier(m, ops),
            ("shfl", [d, a, b, c, mask]) => {
                m.allow(&["sync", "up", "down", "bfly", "idx"])?;
                let kind = match m.parts.get(1) {
                    Some(&"up") => Shuffle::Up,
                    Some(&"down") => Shuffle::Down,
                    Some(&"bfly") => Shuffle::Bfly,
                    Some(&"idx") => Shuffle::Idx,
                    _ => return Ok(false),
                };
                let (a, b, c, mask) = (self.word(a, word)?, self.word(b, word)?, self.word(c, word)?, self.word(mask, word)?);
                let (d, p) = match d {
                    Operand::Pair(d, p) => (self.word_out(d)?, if **p == Operand::Sink { None } else { Some(self.predicate_out(p)?) }),
                    d => (self.word_out(d)?, None),
                };
                self.emit(Op::Shfl { kind, d, p, a, b, c, mask });
            }
            ("vote", [d, p, mask]) => {
                m.allow(&["sync", "all", "any", "uni", "ballot"])?;
                let (p, negated) = self.condition(p)?;
                let mask = self.word(mask, word)?;
                let (kind, d) = if m.has("ballot") {
                    (Vote::Ballot, Reg::W(self.word_out(d)?))
                } else {
                    let kind = if m.has("all") {
                        Vote::All
                    } else if m.has("any") {
                        Vote::Any
                    } else {
                        Vote::Uni
                    };
                    (kind, Reg::P(self.predicate_out(d)?))
                };
                self.emit(Op::Vote { kind, d, p, negated, mask });
            }
            ("match", [d, a, mask]) => {
                m.allow(&["sync", "any", "all"])?;
                let ty = m.ty()?;
                let a = self.source(a, ty, false)?;
                let mask = self.word(mask, word)?;
                let (d, p) = match d {
                    Operand::Pair(d, p) => (self.word_out(d)?, Some(self.predicate_out(p)?)),
                    d => (self.word_out(d)?, None),
                };
                self.emit(Op::Match { all: m.has("all"), d, p, a, mask });
            }
            ("redux", [d, a, mask]) => {
                m.allow(&["sync", "add", "min", "max", "and", "or", "xor"])?;
                let ty = m.ty()?;
                if !ty.is_int() {
                    return Ok(false);
                }
                let Some(op) = m.parts.get(1).and_then(|p| AtomOp::named(p)) else { return Ok(false) };
                let (a, mask) = (self.word(a, word)?, self.word(mask, word)?);
                let d = self.word_out(d)?;
                self.emit(Op::Redux { op, signed: ty.signed(), d, a, mask });
            }
            ("activemask", [d]) => {
                let d = self.word_out(d)?;
                self.emit(Op::ActiveMask(d));
            }
            ("elect", [Operand::Pair(d, p), mask]) => {
                m.allow(&["sync"])?;
                let mask = self.word(mask, word)?;
                let d = if **d == Operand::Sink { None } else { Some(self.word_out(d)?) };
                let p = self.predicate_out(p)?;
                self.emit(Op::Elect { d, p, mask });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn fragment(&mut self, op: &Operand, ty: Ty) -> Result<Vec<W>> {
        match op {
            Operand::List(parts) => parts.iter().map(|p| self.word(p, ty)).collect(),
            one => Ok(vec![self.word(one, ty)?]),
        }
    }

    fn fragment_out(&mut self, op: &Operand) -> Result<Vec<W>> {
        match op {
            Operand::List(parts) => parts.iter().map(|p| self.word_out(p)).collect(),
            one => Ok(vec![self.word_out(one)?]),
        }
    }

    pub(super) fn matrix(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        let word = Ty::B(32);
        match (m.base, ops) {
            ("ldmatrix" | "stmatrix", [x, y]) => {
                m.allow(&["sync", "aligned", "m8n8", "x1", "x2", "x4", "trans", "shared", "shared::cta"])?;
                if m.ty()? != Ty::B(16) {
                    return Ok(false);
                }
                let count = if m.has("x4") {
                    4
                } else if m.has("x2") {
                    2
                } else {
                    1
                };
                let (address, registers) = if m.base == "ldmatrix" { (y, x) } else { (x, y) };
                let (space, base, offset) = self.address(address)?;
                if space.is_some_and(|s| s != Space::Shared) {
                    return Err("the address is not in shared memory".into());
                }
                let registers = if m.base == "ldmatrix" { self.fragment_out(registers)? } else { self.fragment(registers, word)? };
                if registers.len() != count {
                    return Err(format!("expected {count} registers, found {}", registers.len()));
                }
                let trans = m.has("trans");
                self.emit(if m.base == "ldmatrix" {
                    Op::Ldmatrix { trans, d: registers.into(), base, offset }
                } else {
                    Op::Stmatrix { trans, s: registers.into(), base, offset }
                });
            }
            ("movmatrix", [d, a]) => {
                m.allow(&["sync", "aligned", "m8n8", "trans"])?;
                let a = self.word(a, word)?;
                let d = self.word_out(d)?;
                self.emit(Op::Movmatrix(d, a));
            }
            ("mma", [d, a, b, c]) => {
                m.allow(&["sync", "aligned", "m16n8k16", "m16n8k8", "m16n8k4", "row", "col"])?;
                if m.parts.iter().filter(|p| matches!(**p, "row" | "col")).copied().ne(["row", "col"]) {
                    return Err("only `.row.col` is known".into());
                }
                let (shape, k) = if m.has("m16n8k16") {
                    (MmaShape::M16N8K16, 16)
                } else if m.has("m16n8k8") {
                    (MmaShape::M16N8K8, 8)
                } else {
                    (MmaShape::M16N8K4, 4)
                };
                let &[td, ta, tb, tc] = m.types() else { return Err("expected four types".into()) };
                let ab = match (ta, tb) {
                    (Ty::Bf16, Ty::Bf16) => MmaType::Bf16,
                    (Ty::F16, Ty::F16) => MmaType::F16,
                    (Ty::Tf32, Ty::Tf32) => MmaType::Tf32,
                    _ => return Ok(false),
                };
                let acc_f32 = match (td, tc) {
                    (Ty::F32, Ty::F32) => true,
                    (Ty::F16, Ty::F16) if ab == MmaType::F16 => false,
                    _ => return Ok(false),
                };
                let per_register = if ab == MmaType::Tf32 { 1 } else { 2 };
                let expected = [16 * k / 32 / per_register, 8 * k / 32 / per_register, if acc_f32 { 4 } else { 2 }];
                let (a, b, c) = (self.fragment(a, word)?, self.fragment(b, word)?, self.fragment(c, word)?);
                let d = self.fragment_out(d)?;
                if [a.len(), b.len(), c.len()] != expected || d.len() != c.len() {
                    return Err(format!("expected {expected} registers in a, b and c (and d as c)", expected = mnx_words::list(&expected)));
                }
                self.emit(Op::Mma(Box::new(Mma { shape, ab, acc_f32, a, b, c, d, flops: 2 * 16 * 8 * k as u64 })));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
