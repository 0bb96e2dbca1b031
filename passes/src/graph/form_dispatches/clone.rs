//! Rules that clone ops, so that nothing large crosses a box's border.

use mnx_ir::{Builder, Diagnostic, Graph, Op, OpCode, OpId, Patch, ValueId};

use super::draw::hidden;
use crate::graph::merge_bias::MoveBias;
use crate::rewrite::{Rewrite, Site};
use crate::uses::Uses;

/// The pointwise convolution of a network's input that defines `v`.
pub(super) fn stem(graph: &Graph, v: ValueId) -> Option<OpId> {
    let id = graph.def(v)?;
    match (graph.op(id), graph.operands(id)) {
        (Op::ConvPointwise(a), [x, ..]) if a.stride == 1 && graph.def(*x).is_none() => Some(id),
        _ => None,
    }
}

/// Whether `add` sums `v` and the last convolution of a block: an identity residual.
fn is_identity_residual(graph: &Graph, uses: &Uses, add: OpId, v: ValueId) -> bool {
    let &[a, b] = graph.operands(add) else { return false };
    let other = if a == v { b } else { a };
    uses.sole_reader(other) == Some(add)
        && graph.def(other).is_some_and(|d| matches!(graph.op(d), Op::ConvPointwise(_)) && hidden(graph, graph.operands(d)[0]))
}

/// Gives each reader of the stem a stem of its own.
#[derive(Debug)]
pub(super) struct RecomputeStem;

impl Rewrite for RecomputeStem {
    fn name(&self) -> &'static str {
        "recompute-stem"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::ConvDepthwise, OpCode::Add]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let (g, uses) = (site.graph, site.uses);
        for (at, &s) in site.operands().iter().enumerate() {
            let Some(stem) = stem(g, s) else { continue };
            let readers = uses.readers(s);
            // A reader that needs the stem as a stored tensor makes cloning pointless.
            let free = readers
                .iter()
                .all(|&r| matches!(g.op(r), Op::ConvDepthwise(_)) || matches!(g.op(r), Op::Add(_)) && is_identity_residual(g, uses, r, s));
            if readers.len() < 2 || uses.is_output(s) || !free {
                continue;
            }
            let mut patch = site.draft(self.name());
            patch.locate(stem);
            let own = patch.push(g.op(stem).clone(), g.operands(stem))?;
            patch.locate(site.root);
            let mut operands = site.operands().to_vec();
            operands[at] = own;
            let y = patch.push(site.op().clone(), &operands)?;
            return Ok(Some(patch.replace_root(y)));
        }
        Ok(None)
    }
}

/// Moves the bias of a stem that is an identity residual onto the block's last convolution.
#[derive(Debug)]
pub(super) struct StemBias;

impl Rewrite for StemBias {
    fn name(&self) -> &'static str {
        "stem-bias"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::Add]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let own_stem = |&v: &ValueId| {
            stem(site.graph, v).is_some()
                && site.uses.sole_reader(v) == Some(site.root)
                && is_identity_residual(site.graph, site.uses, site.root, v)
        };
        if site.operands().iter().any(own_stem) { MoveBias.matches(site) } else { Ok(None) }
    }
}

/// Computes the hidden tensor once for `grn.stats` and once more for `grn.apply`: from the norm on, or with layer norm from the
/// depthwise convolution (and its own stem) on.
#[derive(Debug)]
pub(super) struct CloneHidden;

impl Rewrite for CloneHidden {
    fn name(&self) -> &'static str {
        "clone-hidden"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::GrnApply]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let (g, uses) = (site.graph, site.uses);
        let &[h, ratio, gamma, beta] = site.operands() else { return Ok(None) };
        let shared = uses.readers(h).len() > 1
            && !uses.is_output(h)
            && uses.readers(h).iter().all(|&r| r == site.root || matches!(g.op(r), Op::GrnStats(_)));
        if !shared {
            return Ok(None);
        }
        let chain = chain(g, h);
        if chain.len() < 2 {
            return Ok(None);
        }
        let mut patch = site.draft(self.name());
        let mut copy: Option<(ValueId, ValueId)> = None;
        for &id in chain.iter().rev() {
            let operands: Vec<ValueId> =
                g.operands(id).iter().map(|&v| copy.filter(|(old, _)| *old == v).map_or(v, |(_, new)| new)).collect();
            patch.locate(id);
            copy = Some((g.result(id), patch.push(g.op(id).clone(), &operands)?));
        }
        patch.locate(site.root);
        let copied = copy.map_or(h, |(_, new)| new);
        let y = patch.grn_apply(copied, ratio, gamma, beta)?;
        Ok(Some(patch.replace_root(y)))
    }
}

/// The ops that a box recomputes to have the hidden tensor `h`, last first: GELU, expansion, norm, and in front of a layer norm the
/// depthwise convolution with the stem.
fn chain(g: &Graph, h: ValueId) -> Vec<OpId> {
    let mut ops = Vec::new();
    let mut v = h;
    while let Some(id) = g.def(v) {
        let fits = match (g.op(id), ops.len()) {
            (Op::Gelu(_), 0) | (Op::ConvPointwise(_), 1) | (Op::NormApply(_) | Op::NormLayer(_), 2) => true,
            (Op::ConvDepthwise(_) | Op::ConvDepthwiseTransposed(_), 3) => matches!(g.op(ops[2]), Op::NormLayer(_)),
            (Op::ConvPointwise(_), 4) => stem(g, v).is_some(),
            _ => false,
        };
        if !fits {
            break;
        }
        ops.push(id);
        v = g.operands(id)[0];
    }
    ops
}
