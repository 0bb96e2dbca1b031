//! `drop-dead-bias`: a bias that the next norm takes away again.

use std::ops::RangeInclusive;

use mnx_ir::{Builder, Diagnostic, Graph, Op, OpCode, OpId, Patch, Stage, ValueId};

use crate::error::PassError;
use crate::pass::{Changed, Pass, PassCx, Promise};
use crate::rewrite::{Rewrite, Site, rewrite};

/// Drops a convolution's bias if only per-channel norms (`groups` = channels) read the result:
/// a constant per channel moves the mean along and leaves the variance.
///
/// ```text
/// %1 = conv.depthwise %x, %w, %b {stride=1, pad=1}
/// %2 = norm.stats %1 {groups=32, eps=1e-5}
/// %3 = norm.apply %1, %2 {groups=32}
///     becomes
/// %1 = conv.depthwise %x, %w {stride=1, pad=1}         (the norm as before)
/// ```
///
/// *Requires* stage model or graph. *Ensures* equal results in real arithmetic.
/// *Declines when* the norm has fewer groups than channels, is a layer norm, or anything else reads the convolution or the statistics.
#[derive(Debug, Clone, Copy)]
pub struct DropDeadBias;

impl Pass for DropDeadBias {
    fn name(&self) -> &'static str {
        "drop-dead-bias"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Model..=Stage::Graph, Promise::Same)
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        rewrite(graph, cx, &[&DropBias])
    }
}

#[derive(Debug)]
struct DropBias;

impl Rewrite for DropBias {
    fn name(&self) -> &'static str {
        "drop-bias"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::ConvDepthwise, OpCode::ConvDepthwiseTransposed, OpCode::ConvPointwise]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let &[x, w, _bias] = site.operands() else {
            return Ok(None);
        };
        let y = site.result();
        let readers = site.uses.readers(y);
        let dead = !site.uses.is_output(y) && !readers.is_empty() && readers.iter().all(|&r| removes_shift(site, r, y));
        if !dead {
            return Ok(None);
        }
        let mut patch = site.draft(self.name());
        let plain = patch.push(site.op().clone(), &[x, w])?;
        Ok(Some(patch.replace_root(plain)))
    }
}

/// Whether `reader`'s effect on the outputs stays if a constant per channel is taken from `y`.
#[expect(clippy::wildcard_enum_match_arm, reason = "an op that is not known to take a shift away keeps it")]
fn removes_shift(site: &Site<'_>, reader: OpId, y: ValueId) -> bool {
    let g = site.graph;
    let channels = site.ty(y).shape[1];
    let per_channel_stats = |id: OpId| matches!(g.op(id), Op::NormStats(a) if a.groups == channels);
    let operands = g.operands(reader);
    match g.op(reader) {
        Op::NormGroup(a) => a.groups == channels,
        // The statistics themselves move with the bias: only norms of this very tensor may read them.
        Op::NormStats(_) => {
            let stats = g.result(reader);
            per_channel_stats(reader)
                && !site.uses.is_output(stats)
                && site.uses.readers(stats).iter().all(|&r| matches!(g.op(r), Op::NormApply(_)) && g.operands(r).first() == Some(&y))
        }
        Op::NormApply(_) => operands[0] == y && g.def(operands[1]).is_some_and(|s| per_channel_stats(s) && g.operands(s) == [y]),
        _ => false,
    }
}
