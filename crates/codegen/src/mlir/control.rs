//! Loops and branches, as closures. Those that are decided while building leave no operation behind.

use super::builder::extend;
use super::{Builder, Ty, Val};
use melior::ir::{Block, BlockLike, Region, RegionLike};

impl<'c> Builder<'c> {
    /// `for i in (low..high).step_by(step)`, carrying values from iteration to iteration; returns the last ones.
    pub fn carry(
        &self,
        low: impl Into<Val<'c>>,
        high: impl Into<Val<'c>>,
        step: usize,
        first: &[Val<'c>],
        body: impl FnOnce(Val<'c>, &[Val<'c>]) -> Vec<Val<'c>>,
    ) -> Vec<Val<'c>> {
        let (low, high) = (low.into(), high.into());
        if let (Some(l), Some(h)) = (low.constant, high.constant) {
            if h <= l {
                return first.to_vec();
            }
            if h - l <= step as i64 {
                return body(low, first);
            }
        }
        let mut operands = vec![self.raw(low), self.raw(high), self.raw(step.into())];
        operands.extend(first.iter().map(|&v| self.raw(v)));
        let types: Vec<Ty> = first.iter().map(|v| v.ty).collect();
        let mlir: Vec<_> = types.iter().map(|&t| self.ty(t)).collect();
        let mut arguments = vec![(self.ty(Ty::INDEX), self.location())];
        arguments.extend(mlir.iter().map(|&t| (t, self.location())));
        let block = Block::new(&arguments);
        self.inside(&block, || {
            let argument = |i: usize, ty: Ty| match block.argument(i) {
                Ok(a) => self.val(extend(a.into()), ty),
                Err(e) => unreachable!("loop argument {i}: {e}"),
            };
            let carried: Vec<_> = types.iter().enumerate().map(|(i, &ty)| argument(i + 1, ty)).collect();
            let next = body(argument(0, Ty::INDEX), &carried);
            self.yield_values(&next, &types);
        });
        let region = Region::new();
        region.append_block(block);
        let results = self.append("scf.for", &operands, &mlir, &[], vec![region]);
        results.into_iter().zip(types).map(|(r, ty)| self.val(r, ty)).collect()
    }

    /// `for i in (low..high).step_by(step)`, nothing carried.
    pub fn each(&self, low: impl Into<Val<'c>>, high: impl Into<Val<'c>>, step: usize, body: impl FnOnce(Val<'c>)) {
        self.carry(low, high, step, &[], |i, _| {
            body(i);
            vec![]
        });
    }

    /// `if condition { then } else { otherwise }`, both giving values of the same types.
    pub fn choose(
        &self,
        condition: Val<'c>,
        then: impl FnOnce() -> Vec<Val<'c>>,
        otherwise: impl FnOnce() -> Vec<Val<'c>>,
    ) -> Vec<Val<'c>> {
        match condition.constant {
            Some(0) => return otherwise(),
            Some(_) => return then(),
            None => {}
        }
        let condition = self.raw(condition);
        let branch = |body: &mut dyn FnMut() -> Vec<Val<'c>>| {
            let block = Block::new(&[]);
            let types = self.inside(&block, || {
                let values = body();
                let types: Vec<Ty> = values.iter().map(|v| v.ty).collect();
                self.yield_values(&values, &types);
                types
            });
            let region = Region::new();
            region.append_block(block);
            (region, types)
        };
        let (mut then, mut otherwise) = (Some(then), Some(otherwise));
        let (yes, types) = branch(&mut || then.take().map(|f| f()).unwrap_or_default());
        let (no, other) = branch(&mut || otherwise.take().map(|f| f()).unwrap_or_default());
        debug_assert_eq!(types, other, "branches give different types");
        let mlir: Vec<_> = types.iter().map(|&t| self.ty(t)).collect();
        let results = self.append("scf.if", &[condition], &mlir, &[], vec![yes, no]);
        results.into_iter().zip(types).map(|(r, ty)| self.val(r, ty)).collect()
    }

    /// `if condition { body }`.
    pub fn when(&self, condition: Val<'c>, body: impl FnOnce()) {
        self.choose(
            condition,
            || {
                body();
                vec![]
            },
            Vec::new,
        );
    }

    fn yield_values(&self, values: &[Val<'c>], types: &[Ty]) {
        debug_assert!(values.iter().map(|v| v.ty).eq(types.iter().copied()));
        let raw: Vec<_> = values.iter().map(|&v| self.raw(v)).collect();
        self.append("scf.yield", &raw, &[], &[], vec![]);
    }
}
