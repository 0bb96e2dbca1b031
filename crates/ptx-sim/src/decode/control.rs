//! Branches, returns, calls.

use super::mnemonic::Mnemonic;
use super::{Decoder, MOST_CALLS, Result, Scope, Symbol};
use crate::program::{NO_GUARD, Op};
use crate::syntax::Operand;
use crate::ty::Ty;

impl Decoder<'_> {
    fn label(&self, op: &Operand) -> Result<u32> {
        let Operand::Name(name, 0) = op else { return Err(format!("{op} where a label is expected")) };
        let found = self.scopes.iter().rev().find_map(|s| s.labels.get(name.as_str()));
        found.copied().ok_or_else(|| format!("label `{name}` is not placed in reach"))
    }

    pub(super) fn control(&mut self, m: &Mnemonic<'_>, ops: &[Operand]) -> Result<bool> {
        m.allow(&["uni", "idx"])?;
        match (m.base, ops) {
            ("bra", [target]) => {
                let label = self.label(target)?;
                self.emit(Op::Bra(label));
            }
            ("brx", [index, Operand::Name(list, 0)]) => {
                let index = self.word(index, Ty::U(32))?;
                let names = self.scopes.iter().rev().find_map(|s| s.targets.get(list.as_str())).copied();
                let names = names.ok_or_else(|| format!("branch table `{list}` is not declared"))?;
                let labels = names.iter().map(|n| self.label(&Operand::Name(n.clone(), 0))).collect::<Result<Vec<u32>>>()?;
                self.emit(Op::BrxIdx(index, labels.into()));
            }
            ("ret", []) => match self.ret {
                Some(label) => self.emit(Op::Bra(label)),
                None => self.emit(Op::Exit),
            },
            ("exit", []) => self.emit(Op::Exit),
            ("trap", []) => self.emit(Op::Trap),
            ("call", _) => return self.call(ops),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Expands the callee in place; its formals are names for the caller's `.param` variables.
    fn call(&mut self, ops: &[Operand]) -> Result<bool> {
        let empty = Operand::List(Vec::new());
        let (returns, name, arguments) = match ops {
            [r @ Operand::List(_), Operand::Name(name, 0), a @ Operand::List(_)] => (r, name, a),
            [Operand::Name(name, 0), a @ Operand::List(_)] => (&empty, name, a),
            [r @ Operand::List(_), Operand::Name(name, 0)] => (r, name, &empty),
            [Operand::Name(name, 0)] => (&empty, name, &empty),
            _ => return Err("only direct calls are simulated".into()),
        };
        let unit = self.unit;
        // The definition, which may follow a declaration of the same name.
        let f = unit.functions.iter().find(|f| f.name == *name && f.body.is_some());
        let Some(f) = f else { return Err(format!("function `{name}` has no body in this module")) };
        let Some(body) = &f.body else { return Ok(false) };
        if f.entry {
            return Err(format!("`{name}` is a kernel"));
        }
        if self.calls.contains(&f.name.as_str()) || self.calls.len() >= MOST_CALLS {
            return Err(format!("`{name}` calls itself, directly or not"));
        }
        let mut scope = Scope::default();
        for (formals, actuals) in [(&f.returns, returns), (&f.params, arguments)] {
            let Operand::List(actuals) = actuals else { return Ok(false) };
            if formals.len() != actuals.len() {
                return Err(format!("`{name}` takes {} parameters, not {}", formals.len(), actuals.len()));
            }
            for (formal, actual) in formals.iter().zip(actuals) {
                let Operand::Name(actual, 0) = actual else { return Err(format!("{actual} as a parameter")) };
                match self.lookup(actual) {
                    Some(s @ Symbol::Address(..)) => scope.symbols.insert(&formal.name, s),
                    _ => return Err(format!("`{actual}` is no `.param` variable")),
                };
            }
        }
        let after = self.new_label();
        let line = self.line;
        if self.guard.0 != NO_GUARD {
            self.guard.1 = !self.guard.1;
            self.emit(Op::Bra(after));
            self.guard = (NO_GUARD, false);
        }
        let scopes = std::mem::replace(&mut self.scopes, vec![scope]);
        let ret = self.ret.replace(after);
        self.calls.push(&f.name);
        self.block(body)?;
        self.calls.pop();
        self.ret = ret;
        self.scopes = scopes;
        self.line = line;
        self.place(after);
        // A label needs an instruction to stand at.
        self.guard = (NO_GUARD, false);
        self.emit(Op::Nop);
        Ok(true)
    }
}
