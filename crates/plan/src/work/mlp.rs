//! Boxes of the patterns `mlp` and `grn_stats`: norm, expansion, GELU, GRN, compression and the block's end.

use mnx_ir::pattern::Part;
use mnx_ir::{Diagnostic, Op, ValueId};
use mnx_weights::Recipe;

use super::conv;
use super::tail::Tail;
use super::{Conv, ConvMlp, DispatchView, Grn, GrnRatio, Mlp, Operand, Operands, Residual, Task, Types, Work, add};
use crate::slot::Slot;
use crate::vocabulary::{Bits, Storage};

/// The task of an MLP box.
pub(super) fn tasks(b: &DispatchView<'_>) -> Result<Vec<Task>, Diagnostic> {
    let (mut front, mut work) = Front::read(b)?;
    let operands = &mut front.operands;
    if let Some(apply) = b.part(Part::Grn) {
        let y = b.g.operands(apply);
        operands.push((Slot::Ratio, Operand::Value(y[1])));
        operands.push((Slot::Gamma, Operand::Weight(b.recipe(y[2])?)));
        operands.push((Slot::Beta, Operand::Weight(b.recipe(y[3])?)));
        work.grn = Grn::Apply;
    }
    let compress = b.need(Part::Compress)?;
    let (y, main) = (b.g.operands(compress), b.g.result(compress));
    work.out_channels = b.channels(main);
    operands.push((Slot::W3, Operand::Weight(b.recipe(y[1])?)));
    let tail = Tail::read(b, main)?;
    let bias = b.bias(y.get(2).copied(), work.out_channels)?;
    operands.push((Slot::B3, Operand::Weight(add(bias, tail.bias))));
    work.residual = tail.residual;
    operands.extend(tail.residual_operands);
    if tail.padded {
        work.pad_front = if b.g.ty(main).space().len() == 2 { [0, 1, 1] } else { [1, 1, 1] };
    }
    if let Some(skip) = tail.skip {
        work.skip = true;
        operands.push((Slot::Skip, Operand::Value(skip)));
    }
    if let Some(head) = b.part(Part::Head) {
        let (w, logits) = (b.g.operands(head), b.g.result(head));
        if !b.is_port(logits) {
            return Err(b.refuse("a fused head writes the network's output, channels-first"));
        }
        work.head = Some(b.channels(logits));
        operands.push((Slot::HeadW, Operand::Weight(b.recipe(w[1])?)));
        operands.push((Slot::HeadB, Operand::Weight(b.bias(w.get(2).copied(), b.channels(logits))?)));
        operands.push((Slot::Logits, Operand::Value(logits)));
    }
    let result = b.stored(tail.result);
    work.store = b.leaves(result);
    if work.store {
        b.want_inner(result, "the block's result")?;
        operands.push((Slot::Out, Operand::Value(result)));
    }
    front.types.stream = stream(b, &front.operands, front.types)?;
    let hidden = b.storage(y[0])?;
    // GRN's factors are rounded as they are folded into the weight.
    if work.grn == Grn::None && hidden != front.types.factors {
        let (hidden, factors) = (hidden.as_str(), front.types.factors.as_str());
        return Err(b.refuse(&format!("hidden values are {hidden}, what the expansion reads is {factors}; a kernel keeps them alike")));
    }
    Ok(vec![front.task(work)])
}

/// The tasks of a box that only sums the squares of its hidden values, for GRN.
pub(super) fn grn_stats(b: &DispatchView<'_>) -> Result<Vec<Task>, Diagnostic> {
    let (mut front, mut work) = Front::read(b)?;
    let stats = b.need(Part::Grn)?;
    let Op::GrnStats(attrs) = b.g.op(stats) else { return Err(b.refuse("its `grn` is no grn.stats")) };
    let ratio = b.g.result(stats);
    work.grn = Grn::Partials;
    // Nothing is compressed here; the tile chooser still wants an extent.
    work.out_channels = work.channels;
    front.operands.push((Slot::Partials, Operand::Partial(0)));
    let ratio_of =
        GrnRatio { batch: work.batch, channels: work.hidden, eps: Bits::of(attrs.eps), mean: attrs.reduce == mnx_ir::GrnReduce::Mean };
    let merged = vec![(Slot::Partials, Operand::Partial(0)), (Slot::Ratio, Operand::Value(ratio))];
    let types = front.types;
    Ok(vec![front.task(work), Task { work: Work::GrnRatio(ratio_of), types, operands: merged }])
}

/// What stands in front of the GELU.
struct Front {
    /// The convolution in front of a layer norm, and its epsilon.
    conv: Option<(Conv, Bits)>,
    types: Types,
    operands: Operands,
}

impl Front {
    /// Norm and expansion, and the MLP as far as they say what it is.
    fn read(b: &DispatchView<'_>) -> Result<(Self, Mlp), Diagnostic> {
        let expand = b.need(Part::Expand)?;
        let x = b.g.operands(expand);
        let (a, hidden) = (x[0], b.g.result(expand));
        let (mut front, Normalised { stored: norm, affine }) = Self::source(b, a)?;
        // An affine that no pass folded is folded here: w2 gamma, b2 + w2 beta.
        let (mut w2, mut b2) = (b.recipe(x[1])?, b.bias(x.get(2).copied(), b.channels(hidden))?);
        if let Some((gamma, beta)) = affine {
            b2 = Recipe::FoldBias { weight: Box::new(w2.clone()), shift: Box::new(b.recipe(beta)?), bias: Box::new(b2) };
            w2 = Recipe::ScaleIn { weight: Box::new(w2), scale: Box::new(b.recipe(gamma)?) };
        }
        front.operands.push((Slot::W2, Operand::Weight(w2)));
        front.operands.push((Slot::B2, Operand::Weight(b2)));
        let work = Mlp {
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
        Ok((front, work))
    }

    /// Where the expansion's input comes from, and how it is normalised.
    fn source(b: &DispatchView<'_>, a: ValueId) -> Result<(Self, Normalised), Diagnostic> {
        let Some(op) = b.part(Part::Norm) else {
            b.want_inner(a, "the expansion's input")?;
            let types = like(b.storage(a)?);
            let front = Self { conv: None, types, operands: vec![(Slot::X, Operand::Value(a))] };
            return Ok((front, Normalised { stored: false, affine: None }));
        };
        let x = b.g.operands(op);
        if let Op::NormApply(attrs) = b.g.op(op) {
            if attrs.groups != b.channels(a) {
                return Err(b.refuse("only one normalisation group per channel is generated"));
            }
            b.want_inner(x[0], "the normalised tensor")?;
            let operands = vec![(Slot::X, Operand::Value(x[0])), (Slot::Stats, Operand::Value(x[1]))];
            let affine = (x.len() == 4).then(|| (x[2], x[3]));
            Ok((Self { conv: None, types: like(b.storage(x[0])?), operands }, Normalised { stored: true, affine }))
        } else if let Op::NormLayer(attrs) = b.g.op(op) {
            let (conv, operands) = conv::describe(b)?;
            let staged = conv::staged(b)?;
            let types = Types { staged, factors: b.rounded(b.g.result(b.need(Part::Conv)?))?, stream: staged };
            let affine = (x.len() == 3).then(|| (x[1], x[2]));
            Ok((Self { conv: Some((conv, Bits::of(attrs.eps))), types, operands }, Normalised { stored: false, affine }))
        } else {
            Err(b.refuse("its `norm` is neither norm.apply nor norm.layer"))
        }
    }

    /// The MLP's task, behind its convolution if the box has one.
    fn task(self, mlp: Mlp) -> Task {
        let work = match self.conv {
            Some((conv, eps)) => Work::ConvMlp(ConvMlp { conv, eps, mlp }),
            None => Work::Mlp(mlp),
        };
        Task { work, types: self.types, operands: self.operands }
    }
}

/// How the expansion's input is normalised.
struct Normalised {
    /// By stored statistics.
    stored: bool,
    /// Scale and shift that no pass folded.
    affine: Option<(ValueId, ValueId)>,
}

/// All of a block in one type.
fn like(storage: Storage) -> Types {
    Types { staged: storage, factors: storage, stream: storage }
}

/// The type of what flows from block to block: of the result, else of what is added to it.
fn stream(b: &DispatchView<'_>, operands: &Operands, own: Types) -> Result<Storage, Diagnostic> {
    let value = |slot: Slot| {
        operands.iter().find_map(|(s, o)| match o {
            Operand::Value(v) if *s == slot && !b.is_port(*v) => Some(*v),
            Operand::Value(_) | Operand::Partial(_) | Operand::Temp(_) | Operand::Weight(_) => None,
        })
    };
    match [Slot::Out, Slot::Res, Slot::Skip].into_iter().find_map(value) {
        Some(v) => b.storage(v),
        None => Ok(own.stream),
    }
}
