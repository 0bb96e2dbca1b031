//! `decompose-transposed`: transposed pointwise convolutions become pointwise convolutions at low resolution.

use std::ops::RangeInclusive;

use mnx_ir::{Diagnostic, Graph, NoAttrs, Op, OpCode, Patch, Stage, StrideAttrs};

use crate::error::PassError;
use crate::pass::{Changed, Pass, PassCx, Promise};
use crate::rewrite::{Rewrite, Site, rewrite_everywhere};

/// A transposed pointwise convolution is a pointwise convolution with the weight's axes swapped, whose result is
/// spread out by zero insertion; the bias reaches every voxel.
///
/// ```text
/// %y = conv.pointwise_transposed %x, %w, %b {stride=2}
///     becomes
/// %t = weight.transpose_io %w
/// %l = conv.pointwise %x, %t {stride=1}
/// %s = scatter %l {stride=2}
/// %y = add.bias %s, %b                 (stride 1: conv.pointwise %x, %t, %b)
/// ```
///
/// *Requires* stage model or graph. *Ensures* (for dead ops too) no `conv.pointwise_transposed` is left; stage graph if no other sugar is.
/// *Declines when:* never.
#[derive(Debug, Clone, Copy)]
pub struct DecomposeTransposed;

impl Pass for DecomposeTransposed {
    fn name(&self) -> &'static str {
        "decompose-transposed"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Model..=Stage::Graph, Promise::GraphIfNoSugar)
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        rewrite_everywhere(graph, cx, &[&SplitTransposed { any_stride: true }])
    }
}

/// The rule; `canonicalize` uses it for stride 1 alone.
#[derive(Debug)]
pub(crate) struct SplitTransposed {
    /// Whether strides above 1 are its business.
    pub any_stride: bool,
}

impl Rewrite for SplitTransposed {
    fn name(&self) -> &'static str {
        "split-transposed"
    }
    fn roots(&self) -> &'static [OpCode] {
        &[OpCode::ConvPointwiseTransposed]
    }
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic> {
        let (Op::ConvPointwiseTransposed(attrs), &[x, w, ref bias @ ..]) = (site.op(), site.operands()) else {
            return Ok(None);
        };
        if attrs.stride != 1 && !self.any_stride {
            return Ok(None);
        }
        let g = site.graph;
        let mut patch = Patch::new(self.name(), g, site.root);
        let t = patch.push(g, Op::WeightTransposeIo(NoAttrs {}), &[w])?;
        let conv = Op::ConvPointwise(StrideAttrs { stride: 1 });
        let y = if attrs.stride == 1 {
            let mut operands = vec![x, t];
            operands.extend(bias);
            patch.push(g, conv, &operands)?
        } else {
            let low = patch.push(g, conv, &[x, t])?;
            let spread = patch.push(g, Op::Scatter(attrs.clone()), &[low])?;
            match bias {
                [b] => patch.push(g, Op::AddBias(NoAttrs {}), &[spread, *b])?,
                _ => spread,
            }
        };
        patch.shunt(site.result(), y);
        Ok(Some(patch))
    }
}
