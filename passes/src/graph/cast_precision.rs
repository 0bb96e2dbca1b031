//! `cast-precision`: says where GPU kernels round.

use std::ops::RangeInclusive;

use mnx_ir::builder::Draft;
use mnx_ir::{Builder, CastAttrs, DType, DispatchId, Graph, Layout, Op, OpId, Part, Pattern, Stage, ValueId};

use crate::error::PassError;
use crate::options::{OptionInfo, Options};
use crate::pass::{Changed, Pass, PassCx, Promise};
use crate::uses::Uses;

/// Makes the roundings of kernels with 16-bit storage visible, as casts inside boxes and on weights.
///
/// ```text
/// dispatch @b.dwconv_stats : conv {
///   %1 = conv.depthwise %x, %w : f32 as conv
///   %2 = norm.stats %1 : f32 as stats
/// } yield %1, %2
///     becomes
/// dispatch @b.dwconv_stats : conv {
///   %1 = conv.depthwise %x, %w : f32 as conv
///   %2 = cast %1 {to=f16} : f16 as cast
///   %3 = norm.stats %1 : f32 as stats
/// } yield %2, %3
/// ```
///
/// With `storage` S (bf16 or f16; f32 changes nothing) and W = f16, what never leaves a block:
///
/// | value | type | note |
/// |---|---|---|
/// | result of a box `mlp` (behind compression, sum, pad or skip) | S | the head of the same box reads the unrounded sum |
/// | result of a box `pointwise` between inner tensors, or from a port to one (the stem) | S | |
/// | convolution of a box `conv` | W if normalisations (`norm.apply` of a box) alone read it, else S | statistics are of the unrounded values |
/// | stem recomputed in front of a convolution | S | rounded as it is staged, even where W is what the box computes in |
/// | stem recomputed as the residual of a box `mlp` | not rounded | summed in float32 with float32 weights |
/// | convolution in front of a `norm.layer` in one box | W | mean and variance are of the rounded values |
/// | result of that `norm.layer` | W | written over what it reads |
/// | result of `norm.apply` | not rounded | see below |
/// | hidden values, behind GELU | T: the type of what the box normalises or expands (W behind a convolution in the box) | `grn.stats` sums unrounded ones |
/// | result of `grn.apply` | not rounded | see below |
/// | weights of expansion and compression | T | derived weights are rounded once, as a whole |
/// | weight of a residual convolution of an inner tensor, weight of a box `pointwise` between inner tensors | S | |
/// | weights of stem and heads, depthwise taps, biases, statistics, ratios, sums of products | float32 | |
/// | ports: what lies channels-first (inputs, outputs, logits, soft-max) | float32 | |
///
/// Two roundings of kernels are said differently. Kernels never write normalised values: they round `weight * rstd` per sample (behind a weight that
/// is rounded already, where the folding is done in shared memory), and with GRN `weight * (gamma * ratio + 1)`. Here the weight itself is rounded and
/// the normalisation is exact: as many roundings of the same relative size, of other numbers.
///
/// *Requires* stage dispatch, with layouts: what lies channels-first counts as a port. *Ensures* what leaves a box of a pattern that kernels know has the
/// type in which it is stored. *Declines when* a value or weight is rounded already, is an output or goes into an update, or its box is `alone` or a `fragment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CastPrecision {
    /// Element type of what flows from block to block: bf16, f16 or f32.
    pub storage: DType,
}

impl Default for CastPrecision {
    fn default() -> Self {
        Self { storage: DType::Bf16 }
    }
}

impl CastPrecision {
    /// What it can be told.
    pub const OPTIONS: &'static [OptionInfo] =
        &[OptionInfo { name: "storage", default: "bf16", about: "type of what flows from block to block: bf16, f16 or f32" }];

    /// From options.
    ///
    /// # Errors
    /// If the type is not one in which kernels store.
    pub fn from_options(o: &Options) -> Result<Self, PassError> {
        let Some(text) = o.text("storage") else { return Ok(Self::default()) };
        match text.parse() {
            Ok(storage @ (DType::Bf16 | DType::F16 | DType::F32)) => Ok(Self { storage }),
            Ok(DType::F64 | DType::I32) | Err(_) => Err(PassError::Option {
                pass: "cast-precision".to_string(),
                reason: format!("option `storage`: expected bf16, f16 or f32, got `{text}`"),
            }),
        }
    }
}

impl Pass for CastPrecision {
    fn name(&self) -> &'static str {
        "cast-precision"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Dispatch..=Stage::Dispatch, Promise::Same)
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        if self.storage == DType::F32 {
            return Ok(Changed::No);
        }
        let mut changed = Changed::No;
        // In program order, so that a box finds what it reads rounded.
        for (d, ops) in graph.boxes() {
            for op in ops {
                let Some((to, readers)) = self.activation(graph, d, op) else { continue };
                if !apply(graph, cx, "round-activation", op, (to, &readers))? {
                    return Ok(changed);
                }
                changed = Changed::Yes;
            }
        }
        for (weight, to, readers) in self.weights(graph) {
            if !apply(graph, cx, "round-weight", weight, (to, &readers))? {
                return Ok(changed);
            }
            changed = Changed::Yes;
        }
        Ok(changed)
    }
}

/// Lets some readers of an op's result read it rounded; false once the patch limit is reached.
fn apply(graph: &mut Graph, cx: &mut PassCx, rule: &'static str, op: OpId, (to, readers): (DType, &[OpId])) -> Result<bool, PassError> {
    let v = graph.result(op);
    let mut patch = Draft::new(rule, graph, op);
    patch.stand_behind();
    patch.stand_as(Part::Cast);
    let rounded = patch.cast(v, CastAttrs { to })?;
    patch.shunt_for(v, rounded, readers);
    let patch = patch.finish();
    Ok(cx.apply(graph, patch))
}

/// Whether a value is a tensor between boxes, and not a port.
fn is_inner(g: &Graph, v: ValueId) -> bool {
    let ty = g.ty(v);
    ty.is_activation() && ty.layout == Layout::ChannelsLast
}

impl CastPrecision {
    /// Type of what never leaves a block: as many bytes, three bits more than bf16.
    fn within(self) -> DType {
        match self.storage {
            DType::Bf16 | DType::F16 => DType::F16,
            DType::F32 | DType::F64 | DType::I32 => self.storage,
        }
    }

    /// The type that the result of an op in box `d` is rounded to, and the readers that see it rounded; `None` if nothing is to be done.
    fn activation(self, g: &Graph, d: DispatchId, op: OpId) -> Option<(DType, Vec<OpId>)> {
        let v = g.result(op);
        let pattern = g.dispatch(d).pattern;
        let uses = Uses::of(g);
        let readers = uses.readers(v).iter().copied().filter(|&r| !matches!(g.op(r), Op::Cast(_)));
        let (inside, outside): (Vec<OpId>, Vec<OpId>) = readers.partition(|&r| g.node(r).dispatch == Some(d));
        let stored = is_inner(g, v) && !g.is_kept(v);
        let (to, readers) = match (pattern, g.node(op).part?) {
            (Pattern::Alone | Pattern::Fragment | Pattern::Classify, _) => return None,
            (_, Part::Stem) => (self.storage, inside),
            (Pattern::Conv, Part::Conv) if stored => {
                let normalises = |&r: &OpId| matches!(g.op(r), Op::NormApply(_)) && g.node(r).part == Some(Part::Norm);
                (if outside.iter().all(normalises) { self.within() } else { self.storage }, outside)
            }
            (Pattern::Mlp | Pattern::GrnStats, Part::Conv) => (self.within(), inside),
            (Pattern::Mlp | Pattern::GrnStats, Part::Norm) if matches!(g.op(op), Op::NormLayer(_)) => (self.within(), inside),
            (Pattern::Mlp, Part::Gelu) => (self.factors(g, d), inside),
            (Pattern::Mlp, Part::Compress | Part::Sum | Part::Pad | Part::Skip) if stored => (self.storage, outside),
            (Pattern::Pointwise, Part::Pointwise) if stored => (self.storage, outside),
            (
                Pattern::Conv | Pattern::Mlp | Pattern::GrnStats | Pattern::Pointwise,
                Part::Conv
                | Part::Stats
                | Part::Norm
                | Part::Expand
                | Part::Gelu
                | Part::Grn
                | Part::Compress
                | Part::Residual
                | Part::Bias
                | Part::Sum
                | Part::Pad
                | Part::Skip
                | Part::Head
                | Part::Pointwise
                | Part::Classify
                | Part::Cast
                | Part::Alone,
            ) => return None,
        };
        (!readers.is_empty()).then_some((to, readers))
    }

    /// Type of the factors of both products of a box: that of what it normalises or expands.
    fn factors(self, g: &Graph, d: DispatchId) -> DType {
        if g.part(d, Part::Conv).is_some() {
            return self.within();
        }
        let first = g.part(d, Part::Norm).or_else(|| g.part(d, Part::Expand));
        match first.map(|op| g.ty(g.operands(op)[0]).dtype) {
            Some(stored @ (DType::Bf16 | DType::F16)) => stored,
            Some(DType::F32 | DType::F64 | DType::I32) | None => self.storage,
        }
    }

    /// Ops that make weights to be rounded, the types, and their readers that see them rounded, in program order.
    fn weights(self, g: &Graph) -> Vec<(OpId, DType, Vec<OpId>)> {
        let mut found: Vec<(OpId, DType, Vec<OpId>)> = Vec::new();
        for (d, ops) in g.boxes() {
            for op in ops {
                let (Some(to), Some(&w)) = (self.weight(g, d, op), g.operands(op).get(1)) else { continue };
                let Some(def) = g.def(w).filter(|&def| g.is_weight(w) && g.node(def).dispatch.is_none()) else { continue };
                if matches!(g.ty(w).dtype, DType::Bf16 | DType::F16) {
                    continue;
                }
                match found.iter_mut().find(|(other, t, _)| (*other, *t) == (def, to)) {
                    Some((_, _, readers)) => readers.push(op),
                    None => found.push((def, to, vec![op])),
                }
            }
        }
        found
    }

    /// The type that the weight of an op in box `d` is rounded to.
    fn weight(self, g: &Graph, d: DispatchId, op: OpId) -> Option<DType> {
        let inner = |v: ValueId| is_inner(g, v);
        match (g.dispatch(d).pattern, g.node(op).part?) {
            (Pattern::Mlp | Pattern::GrnStats, Part::Expand | Part::Compress) => Some(self.factors(g, d)),
            (Pattern::Mlp, Part::Residual) => {
                (matches!(g.op(op), Op::ConvPointwise(_)) && inner(g.operands(op)[0])).then_some(self.storage)
            }
            (Pattern::Pointwise, Part::Pointwise) => (inner(g.operands(op)[0]) && inner(g.result(op))).then_some(self.storage),
            _ => None,
        }
    }
}
