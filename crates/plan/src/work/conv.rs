//! Boxes of pattern `conv`: `{stem?, conv, stats?}`.

use mnx_ir::pattern::Part;
use mnx_ir::{Diagnostic, Op, ValueId};
use mnx_weights::Recipe;

use super::{Conv, DispatchView, Moments, Operand, Operands, Task, Types, Work};
use crate::slot::Slot;
use crate::vocabulary::{Bits, Storage, voxels};

/// The convolution and statistics of a box.
pub(super) fn tasks(b: &DispatchView<'_>) -> Result<Vec<Task>, Diagnostic> {
    let (mut conv, mut operands) = describe(b)?;
    let y = b.stored(b.g.result(b.need(Part::Conv)?));
    operands.push((Slot::Y, Operand::Value(y)));
    let types = Types { staged: staged(b)?, factors: b.storage(y)?, stream: staged(b)? };
    let Some(stats) = b.part(Part::Stats) else {
        return Ok(vec![Task { work: Work::Conv(conv), types, operands }]);
    };
    let Op::NormStats(attrs) = b.g.op(stats) else { return Err(b.refuse("its `stats` is no norm.stats")) };
    if attrs.groups != conv.channels {
        return Err(b.refuse(&format!(
            "statistics over {} groups of {} channels; only one group per channel is generated",
            attrs.groups, conv.channels
        )));
    }
    conv.stats = true;
    operands.push((Slot::Partials, Operand::Partial(0)));
    let moments = Moments { batch: conv.batch, channels: conv.channels, count: voxels(conv.output), eps: Bits::of(attrs.eps) };
    let merged = vec![(Slot::Partials, Operand::Partial(0)), (Slot::Stats, Operand::Value(b.g.result(stats)))];
    Ok(vec![Task { work: Work::Conv(conv), types, operands }, Task { work: Work::Moments(moments), types, operands: merged }])
}

/// The type of what the convolution of a box reads: the stored tensor, or the recomputed stem as it is staged.
pub(super) fn staged(b: &DispatchView<'_>) -> Result<Storage, Diagnostic> {
    match b.part(Part::Stem) {
        Some(stem) => b.rounded(b.g.result(stem)),
        None => b.storage(b.g.operands(b.need(Part::Conv)?)[0]),
    }
}

/// The depthwise convolution of a box without its statistics, and its operands up to the bias.
pub(super) fn describe(b: &DispatchView<'_>) -> Result<(Conv, Operands), Diagnostic> {
    let op = b.need(Part::Conv)?;
    let x = b.g.operands(op);
    let (attrs, transposed) = if let Op::ConvDepthwise(a) = b.g.op(op) {
        (a, false)
    } else if let Op::ConvDepthwiseTransposed(a) = b.g.op(op) {
        (a, true)
    } else {
        return Err(b.refuse("its `conv` is no depthwise convolution"));
    };
    let y = b.g.result(op);
    b.want_inner(y, "the convolution's result")?;
    let taps = &b.g.ty(x[1]).shape[2..];
    let mut operands = Vec::new();
    let stem = match b.part(Part::Stem) {
        Some(stem) => {
            let image = b.g.operands(stem);
            if !b.is_port(image[0]) {
                return Err(b.refuse("only a stem on the network's input can be recomputed in front of a convolution"));
            }
            let bias: Option<ValueId> = image.get(2).copied();
            operands.push((Slot::X, Operand::Value(image[0])));
            operands.push((Slot::StemW, Operand::Weight(b.recipe(image[1])?)));
            operands.push((Slot::StemB, Operand::Weight(b.bias(bias, b.channels(x[0]))?)));
            Some(b.channels(image[0]))
        }
        None => {
            b.want_inner(x[0], "the convolution's input")?;
            operands.push((Slot::X, Operand::Value(x[0])));
            None
        }
    };
    let weight: Recipe = b.recipe(x[1])?;
    operands.push((Slot::W, Operand::Weight(weight)));
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
