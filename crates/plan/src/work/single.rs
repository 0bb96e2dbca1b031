//! Boxes of the patterns `pointwise` and `classify`: one op each.

use mnx_ir::pattern::Part;
use mnx_ir::{Diagnostic, Op};

use super::{Classify, DispatchView, Operand, Pointwise, Task, Types, Work};
use crate::slot::Slot;
use crate::vocabulary::voxels;

/// The task of a pointwise convolution.
pub(super) fn pointwise(b: &DispatchView<'_>) -> Result<Vec<Task>, Diagnostic> {
    let op = b.need(Part::Pointwise)?;
    let Op::ConvPointwise(attrs) = b.g.op(op) else { return Err(b.refuse("its `pointwise` is no conv.pointwise")) };
    let (x, y) = (b.g.operands(op), b.stored(b.g.result(op)));
    let stream = b.storage(if b.is_port(x[0]) { y } else { x[0] })?;
    let types = Types { staged: stream, factors: stream, stream };
    let mut operands = vec![(Slot::X, Operand::Value(x[0])), (Slot::W, Operand::Weight(b.recipe(x[1])?))];
    if let Some(&bias) = x.get(2) {
        operands.push((Slot::B, Operand::Weight(b.recipe(bias)?)));
    }
    operands.push((Slot::Y, Operand::Value(y)));
    let work = Pointwise {
        batch: b.batch(y),
        input: b.extent(x[0]),
        output: b.extent(y),
        stride: b.axes(y, attrs.stride, 1),
        in_channels: b.channels(x[0]),
        out_channels: b.channels(y),
        in_first: b.is_port(x[0]),
        out_first: b.is_port(y),
        bias: x.len() > 2,
    };
    Ok(vec![Task { work: Work::Pointwise(work), types, operands }])
}

/// The task of soft-max or arg-max.
pub(super) fn classify(b: &DispatchView<'_>) -> Result<Vec<Task>, Diagnostic> {
    let op = b.need(Part::Classify)?;
    let (x, y) = (b.g.operands(op)[0], b.g.result(op));
    if !b.is_port(x) || !b.is_port(y) {
        return Err(b.refuse("classification reads and writes channels-first tensors"));
    }
    let work =
        Classify { batch: b.batch(x), classes: b.channels(x), space: voxels(b.extent(x)), argmax: matches!(b.g.op(op), Op::Argmax(_)) };
    Ok(vec![Task {
        work: Work::Classify(work),
        types: Types::F32,
        operands: vec![(Slot::X, Operand::Value(x)), (Slot::Y, Operand::Value(y))],
    }])
}
