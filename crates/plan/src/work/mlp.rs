//! `{normalise, expand, gelu, grn?, compress, residual, pad, skip, head}`.

use mnx_ir::ops::OpCode;
use mnx_ir::{Diagnostic, Op, OpId, ValueId};
use mnx_weights::Recipe;

use super::conv;
use super::tail::Tail;
use super::{Conv, ConvMlp, DispatchView, Grn, GrnRatio, Mlp, Operand, Operands, Residual, Task, Work, add};
use crate::slot::Slot;
use crate::vocabulary::Bits;

/// The tasks of an MLP box.
pub(super) fn tasks(b: &DispatchView<'_>) -> Result<Vec<Task>, Diagnostic> {
    let gelu = b.only(OpCode::Gelu)?.ok_or_else(|| b.refuse("a GELU is expected"))?;
    let expand = b.inside(b.g.operands(gelu)[0]).ok_or_else(|| b.refuse("the GELU's input comes from outside"))?;
    let x = unit(b, expand)?;
    let (a, hidden) = (x[0], b.g.result(expand));
    let Input { norm, conv, mut operands, affine } = Input::read(b, a)?;
    // An affine that no pass folded is folded here: w2 gamma, b2 + w2 beta.
    let (mut w2, mut b2) = (b.recipe(x[1])?, b.bias(x.get(2).copied(), b.channels(hidden))?);
    if let Some((gamma, beta)) = affine {
        b2 = Recipe::FoldBias { weight: Box::new(w2.clone()), shift: Box::new(b.recipe(beta)?), bias: Box::new(b2) };
        w2 = Recipe::ScaleIn { weight: Box::new(w2), scale: Box::new(b.recipe(gamma)?) };
    }
    operands.push((Slot::W2, Operand::Weight(w2)));
    operands.push((Slot::B2, Operand::Weight(b2)));
    let mut work = Mlp {
        batch: b.batch(a),
        grid: b.extent(a),
        channels: b.channels(a),
        hidden: b.channels(hidden),
        out_channels: 0,
        norm,
        grn: Grn::None,
        residual: Residual::None,
        pad_front: [0; 3],
        skip: false,
        head: None,
        store: false,
    };
    if let Some(stats) = b.only(OpCode::GrnStats)? {
        return grn_partials(b, (conv, work), operands, gelu, stats);
    }
    let mut h = b.g.result(gelu);
    if let Some(apply) = b.only(OpCode::GrnApply)? {
        let y = b.g.operands(apply);
        if y[0] != h {
            return Err(b.refuse("grn.apply does not read the GELU"));
        }
        operands.push((Slot::Ratio, Operand::Value(y[1])));
        operands.push((Slot::Gamma, Operand::Weight(b.recipe(y[2])?)));
        operands.push((Slot::Beta, Operand::Weight(b.recipe(y[3])?)));
        work.grn = Grn::Apply;
        h = b.g.result(apply);
    }
    let &[compress] = b.readers(h).as_slice() else {
        return Err(b.refuse("one pointwise convolution must read the hidden tensor"));
    };
    let y = unit(b, compress)?;
    let main = b.g.result(compress);
    work.out_channels = b.channels(main);
    operands.push((Slot::W3, Operand::Weight(b.recipe(y[1])?)));
    let tail = Tail::read(b, main)?;
    operands.push((Slot::B3, Operand::Weight(add(b.bias(y.get(2).copied(), work.out_channels)?, tail.bias))));
    work.residual = tail.residual;
    operands.extend(tail.residual_operands);
    if tail.padded {
        let space = b.g.ty(main).space().len();
        work.pad_front = if space == 2 { [0, 1, 1] } else { [1, 1, 1] };
    }
    if let Some(skip) = tail.skip {
        work.skip = true;
        operands.push((Slot::Skip, Operand::Value(skip)));
    }
    if let Some(head) = tail.head {
        let w = unit(b, head)?;
        let logits = b.g.result(head);
        if !b.is_port(logits) {
            return Err(b.refuse("a fused head writes the network's output, channels-first"));
        }
        work.head = Some(b.channels(logits));
        operands.push((Slot::HeadW, Operand::Weight(b.recipe(w[1])?)));
        operands.push((Slot::HeadB, Operand::Weight(b.bias(w.get(2).copied(), b.channels(logits))?)));
        operands.push((Slot::Logits, Operand::Value(logits)));
    }
    work.store = b.leaves(tail.result);
    if work.store {
        b.want_inner(tail.result, "the block's result")?;
        operands.push((Slot::Out, Operand::Value(tail.result)));
    }
    // Nothing of the box may be left out.
    let produced = usize::from(work.store) + usize::from(work.head.is_some());
    if b.leaving().len() != produced {
        return Err(b.refuse("values besides the block's result and its head leave the box"));
    }
    Ok(vec![Task { work: behind(conv, work), operands }])
}

fn grn_partials(b: &DispatchView<'_>, (conv, mut work): (Option<(Conv, Bits)>, Mlp), mut operands: Operands, gelu: OpId, stats: OpId) -> Result<Vec<Task>, Diagnostic> {
    let Op::GrnStats(attrs) = b.g.op(stats) else { return Err(b.refuse("grn.stats expected")) };
    let ratio = b.g.result(stats);
    if b.g.operands(stats)[0] != b.g.result(gelu) || b.leaving() != [ratio] {
        return Err(b.refuse("a box with grn.stats yields the ratio of its GELU and nothing else"));
    }
    work.grn = Grn::Partials;
    // Nothing is compressed here; the tile chooser still wants an extent.
    work.out_channels = work.channels;
    operands.push((Slot::Partials, Operand::Partial(0)));
    let ratio_of = GrnRatio {
        batch: work.batch,
        channels: work.hidden,
        eps: Bits::of(attrs.eps),
        mean: attrs.reduce == mnx_ir::GrnReduce::Mean,
    };
    Ok(vec![
        Task { work: behind(conv, work), operands },
        Task { work: Work::GrnRatio(ratio_of), operands: vec![(Slot::Partials, Operand::Partial(0)), (Slot::Ratio, Operand::Value(ratio))] },
    ])
}

/// Operands of a stride-1 pointwise convolution.
fn unit<'a>(b: &DispatchView<'a>, op: OpId) -> Result<&'a [ValueId], Diagnostic> {
    match b.g.op(op) {
        Op::ConvPointwise(a) if a.stride == 1 => Ok(b.g.operands(op)),
        _ => Err(b.refuse("a pointwise convolution of stride 1 is expected around the GELU and in the head")),
    }
}

/// The MLP, behind its convolution if the box has one.
fn behind(conv: Option<(Conv, Bits)>, mlp: Mlp) -> Work {
    match conv {
        Some((conv, eps)) => Work::ConvMlp(ConvMlp { conv, eps, mlp }),
        None => Work::Mlp(mlp),
    }
}

/// Where the expansion's input comes from.
struct Input {
    /// Whether stored statistics normalise it.
    norm: bool,
    /// The convolution in front of a layer norm, and its epsilon.
    conv: Option<(Conv, Bits)>,
    operands: Operands,
    /// Scale and shift that no pass folded.
    affine: Option<(ValueId, ValueId)>,
}

impl Input {
    fn read(b: &DispatchView<'_>, a: ValueId) -> Result<Self, Diagnostic> {
        let Some(op) = b.inside(a) else {
            b.want_inner(a, "the expansion's input")?;
            return Ok(Self { norm: false, conv: None, operands: vec![(Slot::X, Operand::Value(a))], affine: None });
        };
        let x = b.g.operands(op);
        match b.g.op(op) {
            Op::NormApply(attrs) => {
                if attrs.groups != b.channels(a) {
                    return Err(b.refuse("only one normalisation group per channel is generated"));
                }
                if b.inside(x[0]).is_some() || b.inside(x[1]).is_some() {
                    return Err(b.refuse("statistics and the tensor they normalise come from an earlier box"));
                }
                b.want_inner(x[0], "the normalised tensor")?;
                let operands = vec![(Slot::X, Operand::Value(x[0])), (Slot::Stats, Operand::Value(x[1]))];
                Ok(Self { norm: true, conv: None, operands, affine: (x.len() == 4).then(|| (x[2], x[3])) })
            }
            Op::NormLayer(attrs) => {
                let conv = b.inside(x[0]).ok_or_else(|| b.refuse("layer norm is fused with its depthwise convolution, which is outside"))?;
                let (conv, operands) = conv::describe(b, conv)?;
                let affine = (x.len() == 3).then(|| (x[1], x[2]));
                Ok(Self { norm: false, conv: Some((conv, Bits::of(attrs.eps))), operands, affine })
            }
            _ => Err(b.refuse("the expansion reads neither a norm nor a stored tensor")),
        }
    }
}
