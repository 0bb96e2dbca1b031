//! `{normalise, expand, gelu, grn?, compress, residual, pad, skip, head}`.

use mnx_ir::ops::OpCode;
use mnx_ir::{Diagnostic, Op, OpId, ValueId};
use mnx_weights::Recipe;

use super::depthwise;
use super::read::{add, panels};
use super::{Box_, Operand, Operands, Step};
use crate::kernel::{Bits, Extent, Gelu, Grn, Kernel, MergeGrn, Mlp, MlpSource, MlpTile, Residual};

pub(super) fn steps(b: &Box_<'_>) -> Result<Vec<Step>, Diagnostic> {
    let gelu = b.only(OpCode::Gelu)?.ok_or_else(|| b.refuse("a GELU is expected"))?;
    let expand = b.inside(b.g.operands(gelu)[0]).ok_or_else(|| b.refuse("the GELU's input comes from outside"))?;
    let x = conv(b, expand)?;
    let (a, hidden) = (x[0], b.g.result(expand));
    let (source, mut operands, gamma_beta) = source(b, a)?;
    // An affine that no pass folded is folded here: w2 gamma, b2 + w2 beta.
    let (mut w2, mut b2) = (b.recipe(x[1])?, b.bias(x.get(2).copied(), b.channels(hidden))?);
    if let Some((gamma, beta)) = gamma_beta {
        b2 = Recipe::FoldBias { weight: Box::new(w2.clone()), shift: Box::new(b.recipe(beta)?), bias: Box::new(b2) };
        w2 = Recipe::ScaleIn { weight: Box::new(w2), scale: Box::new(b.recipe(gamma)?) };
    }
    operands.push(("w2", Operand::Weight(panels(w2))));
    operands.push(("b2", Operand::Weight(b2)));
    let mut kernel = Mlp {
        batch: b.batch(a),
        grid: b.extent(a),
        channels: b.channels(a),
        hidden: b.channels(hidden),
        out_channels: 0,
        source,
        grn: Grn::None,
        gelu: Gelu::Accurate,
        residual: Residual::None,
        pad_front: [0; 3],
        skip: false,
        head: None,
        store: false,
        in_place: false,
        tile: MlpTile { voxels: 0, rows: 0, hidden: 0 },
    };
    if let Some(stats) = b.only(OpCode::GrnStats)? {
        return grn_partials(b, kernel, operands, gelu, stats);
    }
    let mut h = b.g.result(gelu);
    if let Some(apply) = b.only(OpCode::GrnApply)? {
        let y = b.g.operands(apply);
        if y[0] != h {
            return Err(b.refuse("grn.apply does not read the GELU"));
        }
        operands.push(("ratio", Operand::Value(y[1])));
        operands.push(("gamma", Operand::Weight(b.recipe(y[2])?)));
        operands.push(("beta", Operand::Weight(b.recipe(y[3])?)));
        kernel.grn = Grn::Apply;
        h = b.g.result(apply);
    }
    let &[compress] = b.readers(h).as_slice() else {
        return Err(b.refuse("one pointwise convolution must read the hidden tensor"));
    };
    let y = conv(b, compress)?;
    let main = b.g.result(compress);
    kernel.out_channels = b.channels(main);
    operands.push(("w3", Operand::Weight(b.panels(y[1])?)));
    let tail = Tail::read(b, main)?;
    operands.push(("b3", Operand::Weight(add(b.bias(y.get(2).copied(), kernel.out_channels)?, tail.bias))));
    kernel.residual = tail.residual;
    operands.extend(tail.residual_operands);
    if tail.padded {
        let space = b.g.ty(main).space().len();
        kernel.pad_front = if space == 2 { [0, 1, 1] } else { [1, 1, 1] };
    }
    if let Some(skip) = tail.skip {
        kernel.skip = true;
        operands.push(("skip", Operand::Value(skip)));
    }
    if let Some(head) = tail.head {
        let w = conv(b, head)?;
        let logits = b.g.result(head);
        if !b.is_port(logits) {
            return Err(b.refuse("a fused head writes the network's output, channels-first"));
        }
        kernel.head = Some(b.channels(logits));
        operands.push(("head_w", Operand::Weight(b.panels(w[1])?)));
        operands.push(("head_b", Operand::Weight(b.bias(w.get(2).copied(), b.channels(logits))?)));
        operands.push(("logits", Operand::Value(logits)));
    }
    kernel.store = b.leaves(tail.result);
    if kernel.store {
        b.want_inner(tail.result, "the block's result")?;
        operands.push(("out", Operand::Value(tail.result)));
    }
    // Nothing of the box may be left out.
    let produced = usize::from(kernel.store) + usize::from(kernel.head.is_some());
    if b.leaving().len() != produced {
        return Err(b.refuse("values besides the block's result and its head leave the box"));
    }
    Ok(vec![Step { kernel: Kernel::Mlp(kernel), operands }])
}

fn grn_partials(b: &Box_<'_>, mut kernel: Mlp, mut operands: Operands, gelu: OpId, stats: OpId) -> Result<Vec<Step>, Diagnostic> {
    let Op::GrnStats(attrs) = b.g.op(stats) else { return Err(b.refuse("grn.stats expected")) };
    let ratio = b.g.result(stats);
    if b.g.operands(stats)[0] != b.g.result(gelu) || b.leaving() != [ratio] {
        return Err(b.refuse("a box with grn.stats yields the ratio of its GELU and nothing else"));
    }
    kernel.grn = Grn::Partials;
    // Nothing is compressed here; the tile chooser still wants an extent.
    kernel.out_channels = kernel.channels;
    operands.push(("partials", Operand::Partials));
    let merge = MergeGrn {
        batch: kernel.batch,
        channels: kernel.hidden,
        parts: 0,
        eps: Bits::of(attrs.eps),
        mean: attrs.reduce == mnx_ir::GrnReduce::Mean,
    };
    Ok(vec![
        Step { kernel: Kernel::Mlp(kernel), operands },
        Step { kernel: Kernel::MergeGrn(merge), operands: vec![("partials", Operand::Partials), ("ratio", Operand::Value(ratio))] },
    ])
}

/// Operands of a stride-1 pointwise convolution.
fn conv<'a>(b: &Box_<'a>, op: OpId) -> Result<&'a [ValueId], Diagnostic> {
    match b.g.op(op) {
        Op::ConvPointwise(a) if a.stride == 1 => Ok(b.g.operands(op)),
        _ => Err(b.refuse("a pointwise convolution of stride 1 is expected around the GELU and in the head")),
    }
}

type Source = (MlpSource, Operands, Option<(ValueId, ValueId)>);

/// Where the expansion's input comes from, and the affine that no pass folded.
fn source(b: &Box_<'_>, a: ValueId) -> Result<Source, Diagnostic> {
    let Some(op) = b.inside(a) else {
        b.want_inner(a, "the expansion's input")?;
        return Ok((MlpSource::Tensor { norm: false }, vec![("x", Operand::Value(a))], None));
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
            let operands = vec![("x", Operand::Value(x[0])), ("stats", Operand::Value(x[1]))];
            Ok((MlpSource::Tensor { norm: true }, operands, (x.len() == 4).then(|| (x[2], x[3]))))
        }
        Op::NormLayer(attrs) => {
            let conv = b.inside(x[0]).ok_or_else(|| b.refuse("layer norm is fused with its depthwise convolution, which is outside"))?;
            let (conv, operands) = depthwise::describe(b, conv)?;
            let source = MlpSource::ConvLayerNorm { conv, eps: Bits::of(attrs.eps) };
            Ok((source, operands, (x.len() == 3).then(|| (x[1], x[2]))))
        }
        _ => Err(b.refuse("the expansion reads neither a norm nor a stored tensor")),
    }
}

/// What is done to the compressed result, read from the box's end.
struct Tail {
    bias: Recipe,
    residual: Residual,
    residual_operands: Operands,
    padded: bool,
    skip: Option<ValueId>,
    head: Option<OpId>,
    result: ValueId,
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
    fn read(b: &Box_<'_>, main: ValueId) -> Result<Self, Diagnostic> {
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
                residual_operands = vec![("res", Operand::Value(v))];
            }
        }
        if head.is_some() && terms.padded {
            return Err(b.refuse("a head cannot be fused behind a front pad"));
        }
        Ok(Self { bias: terms.bias.unwrap_or(zero), residual, residual_operands, padded: terms.padded, skip, head, result })
    }
}

fn terms(b: &Box_<'_>, v: ValueId, main: ValueId) -> Result<Terms, Diagnostic> {
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
            Ok(Terms { residual: Some((residual, vec![("res", Operand::Value(x[0]))])), ..Terms::empty() })
        }
        Op::ConvPointwise(a) => {
            if b.inside(x[0]).is_some() {
                return Err(b.refuse("a residual convolution reads a tensor of its own box"));
            }
            let bias = x.get(2).map(|&v| b.recipe(v)).transpose()?;
            let weight = Operand::Weight(b.panels(x[1])?);
            let residual = if b.is_port(x[0]) {
                if a.stride != 1 {
                    return Err(b.refuse("a strided convolution of the network's input"));
                }
                (Residual::Stem { channels: b.channels(x[0]) }, vec![("input", Operand::Value(x[0])), ("stem_w", weight)])
            } else {
                let residual = Residual::Strided { from: b.extent(x[0]), channels: b.channels(x[0]), stride: b.axes(v, a.stride, 1) };
                (residual, vec![("res", Operand::Value(x[0])), ("res_w", weight)])
            };
            Ok(Terms { bias, residual: Some(residual), ..Terms::empty() })
        }
        _ => Err(b.refuse("an op beside the compression is none of add, pad.front, add.bias, scatter and a residual convolution")),
    }
}

fn merge(b: &Box_<'_>, l: Terms, r: Terms) -> Result<Terms, Diagnostic> {
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
