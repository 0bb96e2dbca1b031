//! Boxes of one op: pointwise convolutions and classification.

use mnx_ir::{Diagnostic, Op};

use super::{Box_, Operand, Step};
use crate::kernel::{Classify, Kernel, Pointwise, voxels};

pub(super) fn pointwise(b: &Box_<'_>) -> Result<Vec<Step>, Diagnostic> {
    let &[op] = b.ops else {
        return Err(b.refuse("a pointwise convolution must be alone here"));
    };
    let Op::ConvPointwise(attrs) = b.g.op(op) else {
        return Err(b.refuse("a pointwise convolution is expected"));
    };
    let (x, y) = (b.g.operands(op), b.g.result(op));
    let mut operands = vec![("x", Operand::Value(x[0])), ("w", Operand::Weight(b.panels(x[1])?))];
    if let Some(&bias) = x.get(2) {
        operands.push(("b", Operand::Weight(b.recipe(bias)?)));
    }
    operands.push(("y", Operand::Value(y)));
    let kernel = Pointwise {
        batch: b.batch(y),
        input: b.extent(x[0]),
        output: b.extent(y),
        stride: b.axes(y, attrs.stride, 1),
        in_channels: b.channels(x[0]),
        out_channels: b.channels(y),
        in_first: b.is_port(x[0]),
        out_first: b.is_port(y),
        bias: x.len() > 2,
        voxels: 0,
        rows: 0,
    };
    Ok(vec![Step { kernel: Kernel::Pointwise(kernel), operands }])
}

pub(super) fn classify(b: &Box_<'_>) -> Result<Vec<Step>, Diagnostic> {
    let &[op] = b.ops else {
        return Err(b.refuse("softmax or argmax must be alone here"));
    };
    let (x, y) = (b.g.operands(op)[0], b.g.result(op));
    if !b.is_port(x) || !b.is_port(y) {
        return Err(b.refuse("classification reads and writes channels-first tensors"));
    }
    let kernel = Classify {
        batch: b.batch(x),
        classes: b.channels(x),
        space: voxels(b.extent(x)),
        argmax: matches!(b.g.op(op), Op::Argmax(_)),
        voxels: 0,
    };
    Ok(vec![Step { kernel: Kernel::Classify(kernel), operands: vec![("x", Operand::Value(x)), ("y", Operand::Value(y))] }])
}
