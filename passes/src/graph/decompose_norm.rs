//! `decompose-norm`: splits norms and GRN where a reduction over the whole volume stands in the way.

use std::ops::RangeInclusive;

use mnx_ir::{ApplyAttrs, Builder, Diagnostic, Graph, Op, OpCode, Patch, Stage};

use crate::error::PassError;
use crate::pass::{Changed, Pass, PassCx, Promise};
use crate::rewrite::{Rewrite, Site, rewrite_everywhere};

/// Splits `norm.group` into `norm.stats` and `norm.apply`, and `grn` into `grn.stats` and `grn.apply`,
/// so that a box may end between them.
///
/// ```text
/// %y = norm.group %x, %g, %b {groups=32, eps=1e-5}
///     becomes
/// %s = norm.stats %x {groups=32, eps=1e-5}
/// %y = norm.apply %x, %s, %g, %b {groups=32}
/// ```
///
/// *Requires* stage model or graph. *Ensures* (for dead ops too) neither `norm.group` nor `grn` is left; stage graph if no other sugar is.
/// *Declines when:* never; every such op has this form.
#[derive(Debug, Clone, Copy)]
pub struct DecomposeNorm;

impl Pass for DecomposeNorm {
    fn name(&self) -> &'static str {
        "decompose-norm"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Model..=Stage::Graph, Promise::GraphIfNoSugar)
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        rewrite_everywhere(graph, cx, &[&SplitNormGroup, &SplitGrn])
    }
}

#[derive(Debug)]
struct SplitNormGroup;

impl Rewrite for SplitNormGroup {
    fn name(&self) -> &'static str {
        "split-norm-group"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::NormGroup]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let (Op::NormGroup(attrs), &[x, gamma, beta]) = (site.op(), site.operands()) else {
            return Ok(None);
        };
        let mut patch = site.draft(self.name());
        let stats = patch.norm_stats(x, attrs.clone())?;
        let y = patch.norm_apply(x, stats, Some(gamma), Some(beta), ApplyAttrs { groups: attrs.groups })?;
        Ok(Some(patch.replace_root(y)))
    }
}

#[derive(Debug)]
struct SplitGrn;

impl Rewrite for SplitGrn {
    fn name(&self) -> &'static str {
        "split-grn"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::Grn]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let (Op::Grn(attrs), &[x, gamma, beta]) = (site.op(), site.operands()) else {
            return Ok(None);
        };
        let mut patch = site.draft(self.name());
        let ratio = patch.grn_stats(x, attrs.clone())?;
        let y = patch.grn_apply(x, ratio, gamma, beta)?;
        Ok(Some(patch.replace_root(y)))
    }
}
