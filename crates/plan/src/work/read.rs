//! Reading a box: its ops, what comes from outside, and weights as recipes.

use mnx_ir::pattern::{self, Part};
use mnx_ir::{DType, Diagnostic, DispatchId, Graph, Layout, Op, OpId, ValueId};
use mnx_weights::{Half, Recipe};

use crate::vocabulary::{Extent, Storage};

/// A dispatch box: its pattern and parts, as they were recorded when it was drawn and hold since.
pub(crate) struct DispatchView<'a> {
    pub g: &'a Graph,
    pub name: &'a str,
    pub dispatch: DispatchId,
    ops: Vec<(Part, OpId)>,
}

impl<'a> DispatchView<'a> {
    /// The box, if it is what its pattern says.
    ///
    /// # Errors
    /// The first way in which it departs from its pattern.
    pub fn new(g: &'a Graph, dispatch: DispatchId) -> Result<Self, Diagnostic> {
        match pattern::check(g, dispatch).into_iter().next() {
            Some(departure) => Err(departure),
            None => Ok(Self { g, name: &g.dispatch(dispatch).name, dispatch, ops: g.parts(dispatch) }),
        }
    }

    /// The refusal, listing what the box holds.
    pub fn refuse(&self, why: &str) -> Diagnostic {
        let ops: Vec<_> = self.ops.iter().map(|&(_, id)| self.g.op(id).info().mnemonic).collect();
        Diagnostic::new("plan-0201", format!("@{}", self.name), format!("dispatch @{}: {why}", self.name))
            .note(format!("its ops: {}", ops.join(", ")))
            .note("`mnxc list strategies` says what can be launched; `form-dispatches` draws such boxes")
    }

    /// The op that plays a part, if the box has it.
    pub fn part(&self, part: Part) -> Option<OpId> {
        self.ops.iter().find(|(p, _)| *p == part).map(|(_, id)| *id)
    }

    /// The op that plays a part which the pattern needs.
    pub fn need(&self, part: Part) -> Result<OpId, Diagnostic> {
        self.part(part).ok_or_else(|| self.refuse(&format!("the part `{part}` is missing")))
    }

    /// The casts of the box that round `v`.
    fn casts(&self, v: ValueId) -> impl Iterator<Item = ValueId> + '_ {
        let rounds = move |&&(part, id): &&(Part, OpId)| part == Part::Cast && self.g.operands(id) == [v];
        self.ops.iter().filter(rounds).map(|(_, id)| self.g.result(*id))
    }

    /// The value as which `v` leaves the box: rounded, where a cast says so.
    pub fn stored(&self, v: ValueId) -> ValueId {
        self.casts(v).find(|&rounded| self.leaves(rounded)).unwrap_or(v)
    }

    /// The type in which other ops of the box read `v`.
    pub fn rounded(&self, v: ValueId) -> Result<Storage, Diagnostic> {
        let inside = self.casts(v).find(|&rounded| self.ops.iter().any(|(_, id)| self.g.operands(*id).contains(&rounded)));
        self.storage(inside.unwrap_or(v))
    }

    /// The type of a tensor.
    pub fn storage(&self, v: ValueId) -> Result<Storage, Diagnostic> {
        match self.g.ty(v).dtype {
            DType::F32 => Ok(Storage::F32),
            DType::Bf16 => Ok(Storage::Bf16),
            DType::F16 => Ok(Storage::F16),
            other @ (DType::F64 | DType::I32) => Err(self.refuse(&format!("a tensor of {other} is stored by no kernel"))),
        }
    }

    /// Whether `v` leaves the box: read outside it or an output of the graph.
    pub fn leaves(&self, v: ValueId) -> bool {
        self.g.is_output(v)
            || self.g.order().iter().any(|&id| self.g.node(id).dispatch != Some(self.dispatch) && self.g.operands(id).contains(&v))
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
    #[expect(clippy::wildcard_enum_match_arm, reason = "recipes are a language of their own; every other op has none")]
    pub fn recipe(&self, v: ValueId) -> Result<Recipe, Diagnostic> {
        let Some(id) = self.g.def(v) else {
            return Err(self.refuse("an input of the graph stands where a weight must"));
        };
        if !self.g.is_weight(v) {
            return Err(self.refuse("an activation stands where a weight must"));
        }
        let x = self.g.operands(id);
        let boxed = |v| match self.recipe(v)? {
            Recipe::Cast { .. } => Err(self.refuse("a weight is derived from one that is rounded already")),
            recipe => Ok(Box::new(recipe)),
        };
        Ok(match self.g.op(id) {
            Op::Param(p) => Recipe::Source { key: p.key.clone(), shape: self.g.ty(v).shape.to_vec() },
            Op::WeightScaleIn(_) => Recipe::ScaleIn { weight: boxed(x[0])?, scale: boxed(x[1])? },
            Op::WeightFoldBias(_) => Recipe::FoldBias { weight: boxed(x[0])?, shift: boxed(x[1])?, bias: boxed(x[2])? },
            Op::WeightTransposeIo(_) => Recipe::TransposeIo { weight: boxed(x[0])? },
            Op::WeightAdd(_) => Recipe::Add { a: boxed(x[0])?, b: boxed(x[1])? },
            Op::Cast(a) => match a.to {
                DType::Bf16 => Recipe::Cast { weight: boxed(x[0])?, to: Half::Bf16 },
                DType::F16 => Recipe::Cast { weight: boxed(x[0])?, to: Half::F16 },
                DType::F32 => self.recipe(x[0])?,
                other @ (DType::F64 | DType::I32) => return Err(self.refuse(&format!("a weight of {other} is read by no kernel"))),
            },
            other => return Err(self.refuse(&format!("a weight is derived by {}, which has no recipe", other.info().mnemonic))),
        })
    }

    /// A bias, or zeros.
    pub fn bias(&self, v: Option<ValueId>, channels: usize) -> Result<Recipe, Diagnostic> {
        v.map_or_else(|| Ok(Recipe::Zeros { shape: vec![channels] }), |v| self.recipe(v))
    }
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
