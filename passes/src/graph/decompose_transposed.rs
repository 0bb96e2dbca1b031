//! `decompose-transposed`: transposed pointwise convolutions become pointwise convolutions at low resolution.

use std::ops::RangeInclusive;

use mnx_ir::{Builder, Diagnostic, Graph, Op, OpCode, Patch, Stage, StrideAttrs};

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
        let bias = bias.first().copied();
        let unit = StrideAttrs { stride: 1 };
        let mut patch = site.draft(self.name());
        let t = patch.weight_transpose_io(w)?;
        let y = if attrs.stride == 1 {
            patch.conv_pointwise(x, t, bias, unit)?
        } else {
            let low = patch.conv_pointwise(x, t, None, unit)?;
            let spread = patch.scatter(low, attrs.clone())?;
            match bias {
                Some(b) => patch.add_bias(spread, b)?,
                None => spread,
            }
        };
        Ok(Some(patch.replace_root(y)))
    }
}
