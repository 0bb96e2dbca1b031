//! `merge-bias`: one bias where two convolutions meet in a sum.

use std::ops::RangeInclusive;

use mnx_ir::{Builder, Diagnostic, Graph, Op, OpCode, OpId, Patch, Stage, ValueId};

use crate::error::PassError;
use crate::pass::{Changed, Pass, PassCx, Promise};
use crate::rewrite::{Rewrite, Site, rewrite};

/// Moves a residual branch's bias onto the main branch's convolution, and padding behind the sum, so that a block's
/// last convolution carries the one bias of its output.
///
/// ```text
/// add (conv.pointwise %h, %w3, %b3), (conv.pointwise %x, %wr, %br)  -> add (conv.pointwise %h, %w3, %b), (conv.pointwise %x, %wr)
/// add (conv.pointwise %h, %w3, %b3), (add.bias %s, %br)             -> add (conv.pointwise %h, %w3, %b), %s
///                                                                      with %b = weight.add %b3, %br
/// add (pad.front %a), (pad.front %b)                                -> pad.front (add %a, %b)
/// ```
///
/// The main branch is the convolution behind a GELU or a GRN; without one, the sum's second operand.
///
/// *Requires* stage model or graph. *Ensures* equal results in real arithmetic (the padding rule: bit-equal).
/// *Declines when* anything else reads one of the branches.
#[derive(Debug, Clone, Copy)]
pub struct MergeBias;

impl Pass for MergeBias {
    fn name(&self) -> &'static str {
        "merge-bias"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Model..=Stage::Graph, Promise::Same)
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        rewrite(graph, cx, &[&SinkPad, &MoveBias])
    }
}

#[derive(Debug)]
struct SinkPad;

impl Rewrite for SinkPad {
    fn name(&self) -> &'static str {
        "sink-pad"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::Add]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let &[a, b] = site.operands() else {
            return Ok(None);
        };
        let (Some((_, Op::PadFront(_), &[x])), Some((_, Op::PadFront(_), &[y]))) =
            (site.sole_def(a, site.root), site.sole_def(b, site.root))
        else {
            return Ok(None);
        };
        let mut patch = site.draft(self.name());
        let sum = patch.add(x, y)?;
        let padded = patch.pad_front(sum)?;
        Ok(Some(patch.replace_root(padded)))
    }
}

/// The rule that moves the bias; `form-dispatches` uses it on the recomputed stem.
#[derive(Debug)]
pub(crate) struct MoveBias;

impl Rewrite for MoveBias {
    fn name(&self) -> &'static str {
        "move-bias"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::Add]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let &[a, b] = site.operands() else {
            return Ok(None);
        };
        // One direction only: tried both ways, a bias would move to and fro.
        let main_first = behind_activation(site, a) || pointwise(site, b).is_none();
        let (main, side) = if main_first { (a, b) } else { (b, a) };
        move_bias(self.name(), site, main, side, main_first)
    }
}

fn pointwise<'a>(site: &Site<'a>, v: ValueId) -> Option<(OpId, &'a [ValueId])> {
    match site.sole_def(v, site.root) {
        Some((id, Op::ConvPointwise(_), operands)) => Some((id, operands)),
        _ => None,
    }
}

fn behind_activation(site: &Site<'_>, v: ValueId) -> bool {
    pointwise(site, v)
        .and_then(|(_, operands)| site.def(operands[0]))
        .is_some_and(|(_, op, _)| matches!(op, Op::Gelu(_) | Op::GrnApply(_) | Op::Grn(_)))
}

fn move_bias(rule: &'static str, site: &Site<'_>, main: ValueId, side: ValueId, main_first: bool) -> Result<Option<Patch>, Diagnostic> {
    let g = site.graph;
    let Some((main_op, main_operands)) = pointwise(site, main) else {
        return Ok(None);
    };
    let mut patch = site.draft(rule);
    // The side branch without its bias.
    let (bare, bias) = match site.sole_def(side, site.root) {
        Some((_, Op::AddBias(_), &[x, bias])) => (x, bias),
        Some((id, conv @ Op::ConvPointwise(_), &[x, w, bias])) => {
            patch.locate(id);
            (patch.push(conv.clone(), &[x, w])?, bias)
        }
        _ => return Ok(None),
    };
    patch.locate(main_op);
    let merged = match main_operands {
        [_, _, own] => patch.weight_add(*own, bias)?,
        _ => bias,
    };
    let conv = patch.push(g.op(main_op).clone(), &[main_operands[0], main_operands[1], merged])?;
    patch.locate(site.root);
    let y = if main_first { patch.add(conv, bare)? } else { patch.add(bare, conv)? };
    Ok(Some(patch.replace_root(y)))
}
