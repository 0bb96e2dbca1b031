//! Loops and branches, as closures. Those that are decided while building leave no operation behind.

use super::builder::extend;
use super::{Builder, Ty, Val};
use melior::ir::{Block, BlockLike, Region, RegionLike};

/// The steps that a loop takes: `(low..high).step_by(step)`.
#[derive(Clone, Copy)]
pub struct Steps<'b, 'c> {
    builder: &'b Builder<'c>,
    low: Val<'c>,
    high: Val<'c>,
    step: usize,
}

impl<'c> Steps<'_, 'c> {
    /// A loop over the steps that carries values from iteration to iteration; returns the last ones.
    pub fn carry(self, first: &[Val<'c>], body: impl FnOnce(Val<'c>, &[Val<'c>]) -> Vec<Val<'c>>) -> Vec<Val<'c>> {
        let Self { builder: b, low, high, step } = self;
        if let (Some(l), Some(h)) = (low.constant, high.constant) {
            if h <= l {
                return first.to_vec();
            }
            if h - l <= step as i64 {
                return body(low, first);
            }
        }
        let mut operands = vec![b.raw(low), b.raw(high), b.raw(step.into())];
        operands.extend(first.iter().map(|&v| b.raw(v)));
        let types: Vec<Ty> = first.iter().map(|v| v.ty).collect();
        let mlir: Vec<_> = types.iter().map(|&t| b.ty(t)).collect();
        let mut arguments = vec![(b.ty(Ty::INDEX), b.location())];
        arguments.extend(mlir.iter().map(|&t| (t, b.location())));
        let block = Block::new(&arguments);
        b.inside(&block, || {
            let argument = |i: usize, ty: Ty| match block.argument(i) {
                Ok(a) => b.val(extend(a.into()), ty),
                Err(e) => unreachable!("loop argument {i}: {e}"),
            };
            let carried: Vec<_> = types.iter().enumerate().map(|(i, &ty)| argument(i + 1, ty)).collect();
            let next = body(argument(0, Ty::INDEX), &carried);
            b.yield_values(&next, &types);
        });
        let region = Region::new();
        region.append_block(block);
        let results = b.append_around("scf.for", &operands, &mlir, vec![region]);
        results.into_iter().zip(types).map(|(r, ty)| b.val(r, ty)).collect()
    }
}

impl<'c> Builder<'c> {
    /// The steps from `low` on, `step` apart, below `high`; for a loop that carries values.
    pub fn steps(&self, low: impl Into<Val<'c>>, high: impl Into<Val<'c>>, step: usize) -> Steps<'_, 'c> {
        Steps { builder: self, low: low.into(), high: high.into(), step }
    }

    /// `for i in (low..high).step_by(step)`, nothing carried.
    pub fn each(&self, low: impl Into<Val<'c>>, high: impl Into<Val<'c>>, step: usize, body: impl FnOnce(Val<'c>)) {
        self.steps(low, high, step).carry(&[], |i, _| {
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
        let results = self.append_around("scf.if", &[condition], &mlir, vec![yes, no]);
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
        self.append("scf.yield", &raw, &[], &[]);
    }
}
