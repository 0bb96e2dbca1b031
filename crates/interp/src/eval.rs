//! One op on values: an exhaustive match over the op table.

use mnx_ir::{Op, TensorType};

use crate::array::Array;
use crate::real::Real;
use crate::{conv, elementwise, grn, norm, pointwise, round, weight};

/// The value of `op` on operands of the shapes that inference admitted, or none for `param` and `state`, whose values are named memory's.
///
/// # Panics
/// If the operands do not fit `op` or `result`: check with [`mnx_ir::infer::infer`] first, as [`crate::Interpreter`] does.
pub fn eval<T: Real>(op: &Op, x: &[&Array<T>], result: &TensorType) -> Option<Array<T>> {
    let out = &result.shape[..];
    Some(match op {
        Op::Param(_) | Op::State(_) => return None,
        Op::ConvDepthwise(a) => conv::depthwise(a, x, out),
        Op::ConvDepthwiseTransposed(a) => conv::depthwise_transposed(a, x, out),
        Op::ConvPointwise(a) => pointwise::pointwise(a, x, out),
        Op::ConvPointwiseTransposed(a) => pointwise::pointwise_transposed(a, x, out),
        Op::NormGroup(a) => norm::group(a, x),
        Op::NormLayer(a) => norm::layer(a, x),
        Op::NormStats(a) => norm::stats(a, x[0], out),
        Op::NormApply(a) => norm::apply(a, x),
        Op::Grn(a) => grn::grn(a, x),
        Op::GrnStats(a) => grn::stats(a, x[0]),
        Op::GrnApply(_) => grn::apply(x),
        Op::Gelu(_) => elementwise::gelu(x[0]),
        Op::Add(_) | Op::WeightAdd(_) => elementwise::add(x[0], x[1]),
        Op::SumValues(_) => elementwise::sum_values(x),
        Op::Cast(a) => round::cast(a.to, x[0]),
        Op::AddBias(_) => elementwise::add_bias(x[0], x[1]),
        Op::PadFront(_) => elementwise::pad_front(x[0], out),
        Op::Scatter(a) => elementwise::scatter(a, x[0], out),
        Op::Softmax(_) => elementwise::softmax(x[0]),
        Op::Argmax(_) => elementwise::argmax(x[0], out),
        Op::WeightScaleIn(_) => weight::scale_in(x[0], x[1]),
        Op::WeightFoldBias(_) => weight::fold_bias(x[0], x[1], x[2]),
        Op::WeightTransposeIo(_) => weight::transpose_io(x[0], out),
    })
}
