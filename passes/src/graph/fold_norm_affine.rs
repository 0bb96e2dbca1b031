//! `fold-norm-affine`: a norm's scale and shift move into the convolution behind it.

use std::ops::RangeInclusive;

use mnx_ir::{Builder, Diagnostic, Graph, Op, OpCode, Patch, Stage};

use crate::error::PassError;
use crate::pass::{Changed, Pass, PassCx, Promise};
use crate::rewrite::{Rewrite, Site, rewrite};

/// `W (gamma n + beta) + b = (W diag(gamma)) n + (b + W beta)`: the affine of `norm.apply` and `norm.layer` becomes part
/// of the weights of the pointwise convolutions behind it, computed once.
///
/// ```text
/// %n = norm.apply %x, %s, %g, %h {groups=32}
/// %y = conv.pointwise %n, %w, %b {stride=1}
///     becomes
/// %w1 = weight.scale_in %w, %g
/// %b1 = weight.fold_bias %w, %h, %b
/// %n1 = norm.apply %x, %s {groups=32}
/// %y  = conv.pointwise %n1, %w1, %b1 {stride=1}
/// ```
///
/// *Requires* stage model or graph (`norm.group` is not touched: decompose first). *Ensures* equal results in real arithmetic.
/// *Declines when* anything but pointwise convolutions reads the norm, or the convolution has no bias to take the shift.
#[derive(Debug, Clone, Copy)]
pub struct FoldNormAffine;

impl Pass for FoldNormAffine {
    fn name(&self) -> &'static str {
        "fold-norm-affine"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Model..=Stage::Graph, Promise::Same)
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        rewrite(graph, cx, &[&FoldAffine])
    }
}

#[derive(Debug)]
struct FoldAffine;

impl Rewrite for FoldAffine {
    fn name(&self) -> &'static str {
        "fold-affine"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::ConvPointwise]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let &[n, w, b] = site.operands() else {
            return Ok(None);
        };
        let g = site.graph;
        let Some((norm_op, norm, operands)) = site.def(n) else {
            return Ok(None);
        };
        // Operands without the affine, and the affine.
        let (plain, gamma, beta) = match (norm, operands) {
            (Op::NormApply(_), &[x, stats, gamma, beta]) => (vec![x, stats], gamma, beta),
            (Op::NormLayer(_), &[x, gamma, beta]) => (vec![x], gamma, beta),
            _ => return Ok(None),
        };
        let foldable = !site.uses.is_output(n)
            && site.uses.readers(n).iter().all(|&r| matches!(g.op(r), Op::ConvPointwise(_)) && g.operands(r).len() == 3);
        if !foldable {
            return Ok(None);
        }
        let mut patch = site.draft(self.name());
        let w1 = patch.weight_scale_in(w, gamma)?;
        let b1 = patch.weight_fold_bias(w, beta, b)?;
        patch.locate(norm_op);
        let n1 = patch.push(norm.clone(), &plain)?;
        patch.locate(site.root);
        let y = patch.push(site.op().clone(), &[n1, w1, b1])?;
        Ok(Some(patch.replace_root(y)))
    }
}
