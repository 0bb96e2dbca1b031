//! Reading a box: its ops, what comes from outside, and weights as recipes.

use mnx_ir::ops::OpCode;
use mnx_ir::{Diagnostic, Graph, Layout, Op, OpId, ValueId};
use mnx_weights::Recipe;

use crate::kernel::{Extent, PANEL};

/// A box under examination.
pub(crate) struct Box_<'a> {
    pub g: &'a Graph,
    pub name: &'a str,
    pub ops: &'a [OpId],
}

impl<'a> Box_<'a> {
    pub fn new(g: &'a Graph, name: &'a str, ops: &'a [OpId]) -> Self {
        Self { g, name, ops }
    }

    /// The refusal, listing what the box holds.
    pub fn refuse(&self, why: &str) -> Diagnostic {
        let ops: Vec<_> = self.ops.iter().map(|&id| self.g.op(id).info().mnemonic).collect();
        Diagnostic::new("plan-0201", format!("@{}", self.name), format!("dispatch @{}: {why}", self.name))
            .note(format!("its ops: {}", ops.join(", ")))
            .note("`mnxc list strategies` says what can be launched; `form-dispatches` draws such boxes")
    }

    /// The op of the box that defines `v`, if it is inside.
    pub fn inside(&self, v: ValueId) -> Option<OpId> {
        self.g.def(v).filter(|id| self.ops.contains(id))
    }

    /// The only op of the box with this code.
    pub fn only(&self, code: OpCode) -> Result<Option<OpId>, Diagnostic> {
        let mut found = self.ops.iter().copied().filter(|&id| self.g.op(id).code() == code);
        let first = found.next();
        if found.next().is_some() {
            return Err(self.refuse(&format!("it holds more than one {}", code.info().mnemonic)));
        }
        Ok(first)
    }

    /// Whether `v` leaves the box: read outside it or an output of the graph.
    pub fn leaves(&self, v: ValueId) -> bool {
        self.g.is_output(v) || self.g.order().iter().any(|id| !self.ops.contains(id) && self.g.operands(*id).contains(&v))
    }

    /// Values of the box that leave it.
    pub fn leaving(&self) -> Vec<ValueId> {
        self.ops.iter().map(|&id| self.g.result(id)).filter(|&v| self.leaves(v)).collect()
    }

    /// Ops of the box that read `v`.
    pub fn readers(&self, v: ValueId) -> Vec<OpId> {
        self.ops.iter().copied().filter(|&id| self.g.operands(id).contains(&v)).collect()
    }

    /// Samples of an activation.
    pub fn batch(&self, v: ValueId) -> usize {
        self.g.ty(v).shape[0]
    }

    /// Channels of an activation.
    pub fn channels(&self, v: ValueId) -> usize {
        self.g.ty(v).shape[1]
    }

    /// Space of an activation.
    pub fn extent(&self, v: ValueId) -> Extent {
        extent(self.g.ty(v).space(), 1)
    }

    /// A per-axis figure of an op on `v`: `n` along its spatial axes, `flat` along the missing depth of a 2-D network.
    pub fn axes(&self, v: ValueId, n: usize, flat: usize) -> Extent {
        extent(&vec![n; self.g.ty(v).space().len()], flat)
    }

    /// Whether an activation lies channels-first, as ports do.
    pub fn is_port(&self, v: ValueId) -> bool {
        self.g.ty(v).layout == Layout::ChannelsFirst
    }

    /// Refuses an activation that should be channels-last.
    pub fn want_inner(&self, v: ValueId, what: &str) -> Result<(), Diagnostic> {
        if self.is_port(v) {
            Err(self.refuse(&format!("{what} lies channels-first; `assign-layouts` makes it channels_last")))
        } else {
            Ok(())
        }
    }

    /// A weight as a recipe over checkpoint tensors.
    pub fn recipe(&self, v: ValueId) -> Result<Recipe, Diagnostic> {
        let Some(id) = self.g.def(v) else {
            return Err(self.refuse("an input of the graph stands where a weight must"));
        };
        if !self.g.is_weight(v) {
            return Err(self.refuse("an activation stands where a weight must"));
        }
        let x = self.g.operands(id);
        let boxed = |v| self.recipe(v).map(Box::new);
        Ok(match self.g.op(id) {
            Op::Param(p) => Recipe::Source { key: p.key.clone(), shape: self.g.ty(v).shape.to_vec() },
            Op::WeightScaleIn(_) => Recipe::ScaleIn { weight: boxed(x[0])?, scale: boxed(x[1])? },
            Op::WeightFoldBias(_) => Recipe::FoldBias { weight: boxed(x[0])?, shift: boxed(x[1])?, bias: boxed(x[2])? },
            Op::WeightTransposeIo(_) => Recipe::TransposeIo { weight: boxed(x[0])? },
            Op::WeightAdd(_) => Recipe::Add { a: boxed(x[0])?, b: boxed(x[1])? },
            _ => return Err(self.refuse("a weight is derived by an op without a recipe")),
        })
    }

    /// A bias, or zeros.
    pub fn bias(&self, v: Option<ValueId>, channels: usize) -> Result<Recipe, Diagnostic> {
        v.map_or_else(|| Ok(Recipe::Zeros { shape: vec![channels] }), |v| self.recipe(v))
    }

    /// A pointwise weight in GEMM panels.
    pub fn panels(&self, v: ValueId) -> Result<Recipe, Diagnostic> {
        Ok(panels(self.recipe(v)?))
    }
}

/// A recipe in GEMM panels.
pub(crate) fn panels(weight: Recipe) -> Recipe {
    Recipe::Panels { weight: Box::new(weight), width: PANEL }
}

/// Sum of two biases; zeros vanish.
pub(crate) fn add(a: Recipe, b: Recipe) -> Recipe {
    match (a, b) {
        (Recipe::Zeros { .. }, x) | (x, Recipe::Zeros { .. }) => x,
        (a, b) => Recipe::Add { a: Box::new(a), b: Box::new(b) },
    }
}

/// Space as d, h, w; a 2-D network's missing depth is `flat`.
fn extent(space: &[usize], flat: usize) -> Extent {
    match *space {
        [d, h, w] => [d, h, w],
        [h, w] => [flat, h, w],
        _ => [flat, flat, space.first().copied().unwrap_or(flat)],
    }
}
