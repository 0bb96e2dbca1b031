//! `canonicalize`: one way to write each thing, so that later rules match one form.

use std::ops::RangeInclusive;

use mnx_ir::{Builder, Diagnostic, Graph, Op, OpCode, Patch, Stage, ValueId};

use super::decompose_transposed::SplitTransposed;
use crate::error::PassError;
use crate::pass::{Changed, Pass, PassCx, Promise};
use crate::rewrite::{Rewrite, Site, rewrite};

/// Rewrites equal ways of writing into one:
///
/// ```text
/// add %late, %early                             -> add %early, %late        (skip + up, block input + block)
/// scatter %x {stride=1}                         -> %x
/// conv.pointwise_transposed {stride=1}          -> conv.pointwise on weight.transpose_io
/// weight.transpose_io (weight.transpose_io %w)  -> %w
/// add.bias (conv %x, %w), %b                    -> conv %x, %w, %b          (if nobody else reads the convolution)
/// cast %x {to=T}, where %x is of type T          -> %x
/// ```
///
/// *Requires* stage model or graph. *Ensures* none of the left sides is left. *Declines when* a convolution that would
/// take a bias has one already or has other readers.
#[derive(Debug, Clone, Copy)]
pub struct Canonicalize;

impl Pass for Canonicalize {
    fn name(&self) -> &'static str {
        "canonicalize"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Model..=Stage::Graph, Promise::Same)
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        rewrite(
            graph,
            cx,
            &[&OrderAdd, &DropUnitScatter, &SplitTransposed { any_stride: false }, &DropDoubleTranspose, &BiasIntoConv, &DropIdleCast],
        )
    }
}

/// Position at which a value comes into being: inputs first.
fn position(graph: &Graph, v: ValueId) -> (usize, usize) {
    match graph.def(v) {
        None => (0, v.index()),
        Some(id) => (1, graph.order().iter().position(|&o| o == id).unwrap_or(usize::MAX)),
    }
}

#[derive(Debug)]
struct OrderAdd;

impl Rewrite for OrderAdd {
    fn name(&self) -> &'static str {
        "order-add"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::Add, OpCode::WeightAdd]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let &[a, b] = site.operands() else {
            return Ok(None);
        };
        if position(site.graph, a) <= position(site.graph, b) {
            return Ok(None);
        }
        let mut patch = site.draft(self.name());
        let y = patch.push(site.op().clone(), &[b, a])?;
        Ok(Some(patch.replace_root(y)))
    }
}

#[derive(Debug)]
struct DropUnitScatter;

impl Rewrite for DropUnitScatter {
    fn name(&self) -> &'static str {
        "drop-unit-scatter"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::Scatter]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let (Op::Scatter(attrs), &[x]) = (site.op(), site.operands()) else {
            return Ok(None);
        };
        if attrs.stride != 1 {
            return Ok(None);
        }
        Ok(Some(site.draft(self.name()).replace_root(x)))
    }
}

#[derive(Debug)]
struct DropDoubleTranspose;

impl Rewrite for DropDoubleTranspose {
    fn name(&self) -> &'static str {
        "drop-double-transpose"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::WeightTransposeIo]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let &[t] = site.operands() else {
            return Ok(None);
        };
        let Some((_, Op::WeightTransposeIo(_), &[w])) = site.def(t) else {
            return Ok(None);
        };
        Ok(Some(site.draft(self.name()).replace_root(w)))
    }
}

#[derive(Debug)]
struct DropIdleCast;

impl Rewrite for DropIdleCast {
    fn name(&self) -> &'static str {
        "drop-idle-cast"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::Cast]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let (Op::Cast(attrs), &[x]) = (site.op(), site.operands()) else {
            return Ok(None);
        };
        if site.ty(x) != site.ty(site.result()) || site.ty(x).dtype != attrs.to {
            return Ok(None);
        }
        Ok(Some(site.draft(self.name()).replace_root(x)))
    }
}

#[derive(Debug)]
struct BiasIntoConv;

impl Rewrite for BiasIntoConv {
    fn name(&self) -> &'static str {
        "bias-into-conv"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::AddBias]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let &[y, bias] = site.operands() else {
            return Ok(None);
        };
        let Some((_, conv, &[x, w])) = site.sole_def(y, site.root) else {
            return Ok(None);
        };
        if !matches!(conv, Op::ConvDepthwise(_) | Op::ConvDepthwiseTransposed(_) | Op::ConvPointwise(_) | Op::ConvPointwiseTransposed(_)) {
            return Ok(None);
        }
        let mut patch = site.draft(self.name());
        let z = patch.push(conv.clone(), &[x, w, bias])?;
        Ok(Some(patch.replace_root(z)))
    }
}
