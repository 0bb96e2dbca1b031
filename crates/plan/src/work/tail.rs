//! The end of an MLP box: residual, pad, skip and head, read from the box's last ops.

use mnx_ir::{Diagnostic, Op, OpId, ValueId};
use mnx_weights::Recipe;

use super::{DispatchView, Operand, Operands, Residual, add};
use crate::slot::Slot;
use crate::vocabulary::Extent;

/// What is done to the compressed result, read from the box's end.
pub(super) struct Tail {
    pub(super) bias: Recipe,
    pub(super) residual: Residual,
    pub(super) residual_operands: Operands,
    pub(super) padded: bool,
    pub(super) skip: Option<ValueId>,
    pub(super) head: Option<OpId>,
    pub(super) result: ValueId,
}

/// A sum of terms; `padded` once a zero plane is in front.
struct Terms {
    main: bool,
    bias: Option<Recipe>,
    residual: Option<(Residual, Operands)>,
    outside: Option<ValueId>,
    padded: bool,
}

impl Terms {
    fn empty() -> Self {
        Self { main: false, bias: None, residual: None, outside: None, padded: false }
    }
}

impl Tail {
    pub(super) fn read(b: &DispatchView<'_>, main: ValueId) -> Result<Self, Diagnostic> {
        // Follow the readers of the compressed result to the last sum; a pointwise convolution after it is the head.
        let (mut result, mut head) = (main, None);
        loop {
            let readers = b.readers(result);
            match readers.as_slice() {
                [] => break,
                &[op] => match b.g.op(op) {
                    Op::Add(_) | Op::PadFront(_) | Op::AddBias(_) => result = b.g.result(op),
                    Op::ConvPointwise(_) => {
                        head = Some(op);
                        break;
                    }
                    _ => return Err(b.refuse("an op after the compression is none of add, pad.front, add.bias and the head")),
                },
                _ => return Err(b.refuse("a value after the compression is read twice")),
            }
        }
        let terms = terms(b, result, main)?;
        if !terms.main {
            return Err(b.refuse("the box's result does not hold the compressed tensor"));
        }
        let channels = b.channels(main);
        let zero = Recipe::Zeros { shape: vec![channels] };
        let (mut residual, mut residual_operands) = terms.residual.unwrap_or((Residual::None, Vec::new()));
        let mut skip = None;
        if let Some(v) = terms.outside {
            b.want_inner(v, "the tensor added to the result")?;
            if terms.padded || !matches!(residual, Residual::None) {
                skip = Some(v);
            } else {
                residual = Residual::Identity;
                residual_operands = vec![(Slot::Res, Operand::Value(v))];
            }
        }
        if head.is_some() && terms.padded {
            return Err(b.refuse("a head cannot be fused behind a front pad"));
        }
        Ok(Self { bias: terms.bias.unwrap_or(zero), residual, residual_operands, padded: terms.padded, skip, head, result })
    }
}

fn terms(b: &DispatchView<'_>, v: ValueId, main: ValueId) -> Result<Terms, Diagnostic> {
    if v == main {
        return Ok(Terms { main: true, ..Terms::empty() });
    }
    let Some(op) = b.inside(v) else {
        return Ok(Terms { outside: Some(v), ..Terms::empty() });
    };
    let x = b.g.operands(op);
    match b.g.op(op) {
        Op::Add(_) => {
            let (l, r) = (terms(b, x[0], main)?, terms(b, x[1], main)?);
            merge(b, l, r)
        }
        Op::AddBias(_) => {
            let mut t = terms(b, x[0], main)?;
            if t.padded {
                return Err(b.refuse("a bias is added behind a front pad"));
            }
            let bias = b.recipe(x[1])?;
            t.bias = Some(match t.bias.take() {
                Some(other) => add(other, bias),
                None => bias,
            });
            Ok(t)
        }
        Op::PadFront(_) => {
            let mut t = terms(b, x[0], main)?;
            if t.padded || t.outside.is_some() {
                return Err(b.refuse("a front pad covers something else than the block's own result"));
            }
            t.padded = true;
            Ok(t)
        }
        Op::Scatter(a) => {
            if b.inside(x[0]).is_some() {
                return Err(b.refuse("a scattered tensor is made by an earlier box"));
            }
            b.want_inner(x[0], "the scattered tensor")?;
            let stride: Extent = b.axes(v, a.stride, 1);
            let residual = Residual::Scattered { from: b.extent(x[0]), stride };
            Ok(Terms { residual: Some((residual, vec![(Slot::Res, Operand::Value(x[0]))])), ..Terms::empty() })
        }
        Op::ConvPointwise(a) => {
            if b.inside(x[0]).is_some() {
                return Err(b.refuse("a residual convolution reads a tensor of its own box"));
            }
            let bias = x.get(2).map(|&v| b.recipe(v)).transpose()?;
            let weight = Operand::Weight(b.recipe(x[1])?);
            let residual = if b.is_port(x[0]) {
                if a.stride != 1 {
                    return Err(b.refuse("a strided convolution of the network's input"));
                }
                (Residual::Stem { channels: b.channels(x[0]) }, vec![(Slot::Res, Operand::Value(x[0])), (Slot::ResW, weight)])
            } else {
                let residual = Residual::Strided { from: b.extent(x[0]), channels: b.channels(x[0]), stride: b.axes(v, a.stride, 1) };
                (residual, vec![(Slot::Res, Operand::Value(x[0])), (Slot::ResW, weight)])
            };
            Ok(Terms { bias, residual: Some(residual), ..Terms::empty() })
        }
        _ => Err(b.refuse("an op beside the compression is none of add, pad.front, add.bias, scatter and a residual convolution")),
    }
}

fn merge(b: &DispatchView<'_>, l: Terms, r: Terms) -> Result<Terms, Diagnostic> {
    // Terms of the block itself must be padded alike; an outside tensor joins after the pad.
    let own = |t: &Terms| t.main || t.residual.is_some() || t.bias.is_some();
    if own(&l) && own(&r) && l.padded != r.padded {
        return Err(b.refuse("two parts of the block's result are padded differently"));
    }
    let once = |what: &str| b.refuse(&format!("{what} is added twice"));
    if l.main && r.main {
        return Err(once("the compressed tensor"));
    }
    if l.residual.is_some() && r.residual.is_some() {
        return Err(once("a residual"));
    }
    if l.outside.is_some() && r.outside.is_some() {
        return Err(b.refuse("two stored tensors are added to the result"));
    }
    Ok(Terms {
        main: l.main || r.main,
        bias: match (l.bias, r.bias) {
            (Some(x), Some(y)) => Some(add(x, y)),
            (x, y) => x.or(y),
        },
        residual: l.residual.or(r.residual),
        outside: l.outside.or(r.outside),
        padded: l.padded || r.padded,
    })
}
