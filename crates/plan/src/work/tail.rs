//! The end of an MLP box: residual, pad and skip.

use mnx_ir::pattern::Part;
use mnx_ir::{Diagnostic, Op, OpId, ValueId};
use mnx_weights::Recipe;

use super::{DispatchView, Operand, Operands, Residual, add};
use crate::slot::Slot;

/// What is done to the compressed result.
pub(super) struct Tail {
    /// Biases of what is added.
    pub(super) bias: Recipe,
    pub(super) residual: Residual,
    pub(super) residual_operands: Operands,
    pub(super) padded: bool,
    pub(super) skip: Option<ValueId>,
    pub(super) result: ValueId,
}

impl Tail {
    /// What follows the compressed tensor `main`.
    pub(super) fn read(b: &DispatchView<'_>, main: ValueId) -> Result<Self, Diagnostic> {
        let zeros = Recipe::Zeros { shape: vec![b.channels(main)] };
        let mut tail =
            Self { bias: zeros, residual: Residual::None, residual_operands: Vec::new(), padded: false, skip: None, result: main };
        if let Some(branch) = b.part(Part::Residual) {
            tail.branch(b, branch)?;
        }
        if let Some(bias) = b.part(Part::Bias) {
            tail.bias = add(tail.bias, b.recipe(b.g.operands(bias)[1])?);
        }
        if let Some(sum) = b.part(Part::Sum) {
            if tail.residual == Residual::None {
                let stored = tail.other(b, sum)?;
                tail.residual = Residual::Identity;
                tail.residual_operands = vec![(Slot::Res, Operand::Value(stored))];
            }
            tail.result = b.g.result(sum);
        }
        if let Some(pad) = b.part(Part::Pad) {
            if tail.residual == Residual::Identity {
                return Err(b.refuse("a front pad covers a stored residual, not the block's own result"));
            }
            tail.padded = true;
            tail.result = b.g.result(pad);
        }
        if let Some(skip) = b.part(Part::Skip) {
            tail.skip = Some(tail.other(b, skip)?);
            tail.result = b.g.result(skip);
        }
        Ok(tail)
    }

    /// The stored tensor that a sum adds to the block's own value.
    fn other(&self, b: &DispatchView<'_>, sum: OpId) -> Result<ValueId, Diagnostic> {
        let other = b.g.other_operand(sum, self.result).ok_or_else(|| b.refuse("a sum does not read the block's own result"))?;
        b.want_inner(other, "the tensor added to the result")?;
        Ok(other)
    }

    /// A residual branch that the box computes itself.
    fn branch(&mut self, b: &DispatchView<'_>, op: OpId) -> Result<(), Diagnostic> {
        let (x, v) = (b.g.operands(op), b.g.result(op));
        if let Op::Scatter(a) = b.g.op(op) {
            b.want_inner(x[0], "the scattered tensor")?;
            self.residual = Residual::Scattered { from: b.extent(x[0]), stride: b.axes(v, a.stride, 1) };
            self.residual_operands = vec![(Slot::Res, Operand::Value(x[0]))];
            return Ok(());
        }
        let Op::ConvPointwise(a) = b.g.op(op) else {
            return Err(b.refuse("its `residual` is neither a scatter nor a pointwise convolution"));
        };
        if let Some(&bias) = x.get(2) {
            self.bias = b.recipe(bias)?;
        }
        self.residual = if !b.is_port(x[0]) {
            Residual::Strided { from: b.extent(x[0]), channels: b.channels(x[0]), stride: b.axes(v, a.stride, 1) }
        } else if a.stride == 1 {
            Residual::Stem { channels: b.channels(x[0]) }
        } else {
            return Err(b.refuse("a strided convolution of the network's input"));
        };
        let weight = Operand::Weight(b.recipe(x[1])?);
        self.residual_operands = vec![(Slot::Res, Operand::Value(x[0])), (Slot::ResW, weight)];
        Ok(())
    }
}
