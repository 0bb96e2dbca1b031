//! `{stem?, depthwise conv, norm.stats?}`.

use mnx_ir::ops::OpCode;
use mnx_ir::{Diagnostic, Op, OpId, ValueId};
use mnx_weights::Recipe;

use super::{Box_, Operand, Operands, Step};
use crate::kernel::{Bits, Depthwise, DepthwiseTile, Kernel, MergeStats, voxels};

/// The convolution and statistics of a box.
pub(super) fn steps(b: &Box_<'_>) -> Result<Vec<Step>, Diagnostic> {
    let conv = find(b)?;
    let y = b.g.result(conv);
    let stats = b.only(OpCode::NormStats)?;
    let (mut kernel, mut operands) = describe(b, conv)?;
    kernel.stats = stats.is_some();
    operands.push(("y", Operand::Value(y)));
    let mut known = 1 + usize::from(kernel.stem.is_some());
    let mut out = Vec::new();
    if let Some(stats) = stats {
        known += 1;
        if b.g.operands(stats)[0] != y {
            return Err(b.refuse("norm.stats reads something else than the convolution"));
        }
        let Op::NormStats(attrs) = b.g.op(stats) else { return Err(b.refuse("norm.stats expected")) };
        if attrs.groups != kernel.channels {
            return Err(b.refuse(&format!(
                "statistics over {} groups of {} channels; only one group per channel is generated",
                attrs.groups, kernel.channels
            )));
        }
        operands.push(("partials", Operand::Partials));
        let merge =
            MergeStats { batch: kernel.batch, channels: kernel.channels, parts: 0, count: voxels(kernel.output), eps: Bits::of(attrs.eps) };
        out.push(Step { kernel: Kernel::Depthwise(kernel), operands });
        out.push(Step {
            kernel: Kernel::MergeStats(merge),
            operands: vec![("partials", Operand::Partials), ("stats", Operand::Value(b.g.result(stats)))],
        });
    } else {
        out.push(Step { kernel: Kernel::Depthwise(kernel), operands });
    }
    if b.ops.len() != known {
        return Err(b.refuse("ops besides stem, depthwise convolution and statistics"));
    }
    Ok(out)
}

/// The depthwise convolution of a box.
pub(super) fn find(b: &Box_<'_>) -> Result<OpId, Diagnostic> {
    match (b.only(OpCode::ConvDepthwise)?, b.only(OpCode::ConvDepthwiseTransposed)?) {
        (Some(id), None) | (None, Some(id)) => Ok(id),
        _ => Err(b.refuse("exactly one depthwise convolution is expected")),
    }
}

/// The kernel of a depthwise convolution without its statistics, and its operands up to the bias.
pub(super) fn describe(b: &Box_<'_>, conv: OpId) -> Result<(Depthwise, Operands), Diagnostic> {
    let x = b.g.operands(conv);
    let (attrs, transposed) = match b.g.op(conv) {
        Op::ConvDepthwise(a) => (a, false),
        Op::ConvDepthwiseTransposed(a) => (a, true),
        _ => return Err(b.refuse("a depthwise convolution is expected")),
    };
    let y = b.g.result(conv);
    b.want_inner(y, "the convolution's result")?;
    let taps = &b.g.ty(x[1]).shape[2..];
    let mut operands = Vec::new();
    let stem = match b.inside(x[0]) {
        Some(stem) => {
            let (image, w, bias) = stem_of(b, stem)?;
            operands.push(("x", Operand::Value(image)));
            operands.push(("stem_w", Operand::Weight(w)));
            operands.push(("stem_b", Operand::Weight(bias)));
            Some(b.channels(image))
        }
        None => {
            b.want_inner(x[0], "the convolution's input")?;
            operands.push(("x", Operand::Value(x[0])));
            None
        }
    };
    operands.push(("w", Operand::Weight(Recipe::TapMajor { weight: Box::new(b.recipe(x[1])?) })));
    if let Some(&bias) = x.get(2) {
        operands.push(("b", Operand::Weight(b.recipe(bias)?)));
    }
    let flat = taps.len() == 2;
    let kernel = Depthwise {
        batch: b.batch(y),
        channels: b.channels(y),
        input: b.extent(x[0]),
        output: b.extent(y),
        taps: if flat { [1, taps[0], taps[1]] } else { [taps[0], taps[1], taps[2]] },
        stride: b.axes(y, attrs.stride, 1),
        pad: b.axes(y, attrs.pad, 0),
        transposed,
        bias: x.len() > 2,
        stem,
        stats: false,
        tile: DepthwiseTile { channels: 0, depth: 0, height: 0, width: 0 },
    };
    Ok((kernel, operands))
}

/// A stem recomputed in the box: the port it reads, its weight in panels, its bias.
pub(super) fn stem_of(b: &Box_<'_>, op: OpId) -> Result<(ValueId, Recipe, Recipe), Diagnostic> {
    let x = b.g.operands(op);
    match b.g.op(op) {
        Op::ConvPointwise(a) if a.stride == 1 && b.inside(x[0]).is_none() && b.is_port(x[0]) => {
            Ok((x[0], b.panels(x[1])?, b.bias(x.get(2).copied(), b.channels(b.g.result(op)))?))
        }
        _ => Err(b.refuse("only a stem on the network's input can be recomputed in front of a convolution")),
    }
}
