//! `{stem?, depthwise conv, norm.stats?}`.

use mnx_ir::ops::OpCode;
use mnx_ir::{Diagnostic, Op, OpId, ValueId};
use mnx_weights::Recipe;

use super::{Conv, DispatchView, Moments, Operand, Operands, Task, Work};
use crate::slot::Slot;
use crate::vocabulary::{Bits, voxels};

/// The convolution and statistics of a box.
pub(super) fn tasks(b: &DispatchView<'_>) -> Result<Vec<Task>, Diagnostic> {
    let op = find(b)?;
    let y = b.g.result(op);
    let stats = b.only(OpCode::NormStats)?;
    let (mut conv, mut operands) = describe(b, op)?;
    conv.stats = stats.is_some();
    operands.push((Slot::Y, Operand::Value(y)));
    let mut known = 1 + usize::from(conv.stem.is_some());
    let mut out = Vec::new();
    if let Some(stats) = stats {
        known += 1;
        if b.g.operands(stats)[0] != y {
            return Err(b.refuse("norm.stats reads something else than the convolution"));
        }
        let Op::NormStats(attrs) = b.g.op(stats) else { return Err(b.refuse("norm.stats expected")) };
        if attrs.groups != conv.channels {
            return Err(b.refuse(&format!(
                "statistics over {} groups of {} channels; only one group per channel is generated",
                attrs.groups, conv.channels
            )));
        }
        operands.push((Slot::Partials, Operand::Partial(0)));
        let moments = Moments { batch: conv.batch, channels: conv.channels, count: voxels(conv.output), eps: Bits::of(attrs.eps) };
        out.push(Task { work: Work::Conv(conv), operands });
        out.push(Task {
            work: Work::Moments(moments),
            operands: vec![(Slot::Partials, Operand::Partial(0)), (Slot::Stats, Operand::Value(b.g.result(stats)))],
        });
    } else {
        out.push(Task { work: Work::Conv(conv), operands });
    }
    if b.ops.len() != known {
        return Err(b.refuse("ops besides stem, depthwise convolution and statistics"));
    }
    Ok(out)
}

/// The depthwise convolution of a box.
pub(super) fn find(b: &DispatchView<'_>) -> Result<OpId, Diagnostic> {
    match (b.only(OpCode::ConvDepthwise)?, b.only(OpCode::ConvDepthwiseTransposed)?) {
        (Some(id), None) | (None, Some(id)) => Ok(id),
        _ => Err(b.refuse("exactly one depthwise convolution is expected")),
    }
}

/// A depthwise convolution without its statistics, and its operands up to the bias.
pub(super) fn describe(b: &DispatchView<'_>, conv: OpId) -> Result<(Conv, Operands), Diagnostic> {
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
            operands.push((Slot::X, Operand::Value(image)));
            operands.push((Slot::StemW, Operand::Weight(w)));
            operands.push((Slot::StemB, Operand::Weight(bias)));
            Some(b.channels(image))
        }
        None => {
            b.want_inner(x[0], "the convolution's input")?;
            operands.push((Slot::X, Operand::Value(x[0])));
            None
        }
    };
    operands.push((Slot::W, Operand::Weight(b.recipe(x[1])?)));
    if let Some(&bias) = x.get(2) {
        operands.push((Slot::B, Operand::Weight(b.recipe(bias)?)));
    }
    let flat = taps.len() == 2;
    let work = Conv {
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
    };
    Ok((work, operands))
}

/// A stem recomputed in the box: the port it reads, its weight, its bias.
pub(super) fn stem_of(b: &DispatchView<'_>, op: OpId) -> Result<(ValueId, Recipe, Recipe), Diagnostic> {
    let x = b.g.operands(op);
    match b.g.op(op) {
        Op::ConvPointwise(a) if a.stride == 1 && b.inside(x[0]).is_none() && b.is_port(x[0]) => {
            Ok((x[0], b.recipe(x[1])?, b.bias(x.get(2).copied(), b.channels(b.g.result(op)))?))
        }
        _ => Err(b.refuse("only a stem on the network's input can be recomputed in front of a convolution")),
    }
}
