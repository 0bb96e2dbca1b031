//! The forms of operands that GPU kernels want, and the launches of a block's pointwise half, which several families share.

use mnx_weights::{Half, Recipe};

use super::depthwise::{self, Depthwise};
use super::fold::{Fold, Folded};
use super::gemm::{self, Gemm};
use super::layer_norm::LayerNorm;
use super::mlp::{self, Mlp};
use super::{Epilogue, GpuKernel, Storage, padded};
use crate::lowering::Lowering;
use crate::slot::Slot;
use crate::vocabulary::{Bits, voxels};
use crate::work::{Conv, Grn, Operand, Operands, Residual, Task};

/// Output channels up to which the hidden values stay in registers: the accumulators of the result must fit beside them.
const FUSED_OUT: usize = 128;

/// Input channels up to which a tile of voxels is held whole in shared memory.
const FUSED_IN: usize = 256;

/// A pointwise weight as a row-major matrix in float32, zeros behind its own rows and columns.
pub(super) fn matrix(task: &Task, slot: Slot, rows: usize, columns: usize) -> Result<Recipe, String> {
    Ok(Recipe::Rows { weight: Box::new(task.weight(slot)?), rows, columns })
}

/// A pointwise weight as a row-major matrix in the type that the graph rounds it to, which must be `storage`.
pub(super) fn stored(task: &Task, slot: Slot, [rows, columns]: [usize; 2], storage: Storage) -> Result<Operand, String> {
    let (weight, rounded) = task.rounded_weight(slot)?;
    if rounded != storage {
        let (have, want) = (rounded.as_str(), storage.as_str());
        return Err(format!("weight {slot} is {have}, what it multiplies is {want}; `cast-precision` says where kernels round"));
    }
    let rows = Recipe::Rows { weight: Box::new(weight), rows, columns };
    let to = match storage {
        Storage::F32 => return Ok(Operand::Weight(rows)),
        Storage::Bf16 => Half::Bf16,
        Storage::F16 => Half::F16,
    };
    Ok(Operand::Weight(Recipe::Cast { weight: Box::new(rows), to }))
}

/// A vector, or rows of channels, with the last axis padded.
pub(super) fn padded_last(task: &Task, slot: Slot, to: usize) -> Result<Operand, String> {
    Ok(Operand::Weight(Recipe::PadLast { weight: Box::new(task.weight(slot)?), to }))
}

/// A convolution with its channels padded, and its operands up to the bias.
pub(super) fn conv_operands(task: &Task, conv: &Conv) -> Result<(Conv, Operands), String> {
    let conv = Conv { channels: padded(conv.channels), ..conv.clone() };
    let mut operands = vec![(Slot::X, task.operand(Slot::X)?)];
    if let Some(image) = conv.stem {
        operands.push((Slot::StemW, Operand::Weight(matrix(task, Slot::StemW, conv.channels, image)?)));
        operands.push((Slot::StemB, padded_last(task, Slot::StemB, conv.channels)?));
    }
    let taps = Recipe::TapMajor { weight: Box::new(task.weight(Slot::W)?) };
    operands.push((Slot::W, Operand::Weight(Recipe::PadLast { weight: Box::new(taps), to: conv.channels })));
    if conv.bias {
        operands.push((Slot::B, padded_last(task, Slot::B, conv.channels)?));
    }
    Ok((conv, operands))
}

/// The block's end: residual, skip, head and result.
fn epilogue(task: &Task, k: &crate::work::Mlp, storage: Storage) -> Result<(Epilogue, Operands), String> {
    let out = padded(k.out_channels);
    let mut operands = Vec::new();
    let mut residual = k.residual;
    match &mut residual {
        Residual::None => {}
        Residual::Identity | Residual::Scattered { .. } => operands.push((Slot::Res, task.operand(Slot::Res)?)),
        Residual::Stem { channels } => {
            operands.push((Slot::Res, task.operand(Slot::Res)?));
            operands.push((Slot::ResW, Operand::Weight(matrix(task, Slot::ResW, out, *channels)?)));
        }
        Residual::Strided { channels, .. } => {
            *channels = padded(*channels);
            operands.push((Slot::Res, task.operand(Slot::Res)?));
            operands.push((Slot::ResW, stored(task, Slot::ResW, [out, *channels], storage)?));
        }
    }
    if k.skip {
        operands.push((Slot::Skip, task.operand(Slot::Skip)?));
    }
    if let Some(classes) = k.head {
        operands.push((Slot::HeadW, Operand::Weight(matrix(task, Slot::HeadW, classes, out)?)));
        operands.push((Slot::HeadB, task.operand(Slot::HeadB)?));
        operands.push((Slot::Logits, task.operand(Slot::Logits)?));
    }
    if k.store {
        operands.push((Slot::Out, task.operand(Slot::Out)?));
    }
    let epilogue = Epilogue { residual, pad_front: k.pad_front, skip: k.skip, head: k.head, store: k.store, in_place: false };
    Ok((epilogue, operands))
}

/// The pointwise half of a block as it is gathered.
struct Block<'t> {
    task: &'t Task,
    k: &'t crate::work::Mlp,
    channels: usize,
    hidden: usize,
    out: usize,
    /// Element type of both products' factors.
    storage: Storage,
    /// Whether one kernel does it all.
    fused: bool,
    /// Whether that kernel folds the normalisation in by itself.
    norm: bool,
}

/// A product's input, weight and bias, and whether the latter two are per sample.
struct Factors {
    x: Operand,
    w: Operand,
    b: Operand,
    folded: bool,
}

/// The launches of a block's pointwise half, behind its convolution and layer norm where it has them: one kernel with the hidden values in registers, or two GEMMs.
pub(super) fn block(task: &Task, k: &crate::work::Mlp, conv: Option<(&Conv, Bits)>, to: &mut Lowering<GpuKernel>) -> Result<(), String> {
    let (channels, hidden, out) = (padded(k.channels), padded(k.hidden), padded(k.out_channels));
    let storage = task.types.factors;
    // A fused head needs all output channels in one workgroup. float32 lacks the registers for a strided residual beside many sums.
    let wide = storage == Storage::F32 && matches!(k.residual, Residual::Strided { .. });
    let most = if wide { FUSED_OUT / 2 } else { FUSED_OUT };
    let fused = k.grn != Grn::Partials && ((out <= most && channels <= FUSED_IN) || k.head.is_some());
    let norm = fused && k.norm && Mlp::may_norm(channels, hidden, out, storage);
    let block = Block { task, k, channels, hidden, out, storage, fused, norm };
    let expand = match conv {
        Some((conv, eps)) => block.behind_layer_norm(conv, eps, to)?,
        None => block.expansion(to)?,
    };
    if k.grn == Grn::Partials {
        let gemm = Gemm { squares: true, epilogue: Epilogue { store: false, ..Epilogue::STORE }, ..block.expand(&expand, to) };
        let partials = task.operand(Slot::Partials)?;
        to.push(gemm, vec![(Slot::X, expand.x), (Slot::W, expand.w), (Slot::B, expand.b), (Slot::Partials, partials)]);
        return Ok(());
    }
    let (w3, b3) = block.compression(to)?;
    let (epilogue, tail) = epilogue(task, k, task.types.stream)?;
    if block.fused {
        return block.one_kernel(expand, (w3, b3), (epilogue, tail), to);
    }
    let h = to.temp();
    let gemm = block.expand(&expand, to);
    to.push(gemm, vec![(Slot::X, expand.x), (Slot::W, expand.w), (Slot::B, expand.b), (Slot::Out, h.clone())]);
    let compress = Gemm {
        channels: hidden,
        out_channels: out,
        folded: k.grn == Grn::Apply,
        gelu: None,
        epilogue,
        stream: task.types.stream,
        ..block.product(storage)
    };
    let mut operands = vec![(Slot::X, h), (Slot::W, w3), (Slot::B, b3)];
    operands.extend(tail);
    to.push(compress, operands);
    Ok(())
}

impl Block<'_> {
    /// A product on the block's grid, its channels those of the expansion.
    fn product(&self, storage: Storage) -> Gemm {
        Gemm {
            batch: self.k.batch,
            grid: self.k.grid,
            from: self.k.grid,
            stride: [1; 3],
            channels: self.channels,
            out_channels: self.hidden,
            folded: false,
            gelu: None,
            squares: false,
            epilogue: Epilogue::STORE,
            storage,
            stream: storage,
            tile: gemm::Tile::default(),
        }
    }

    /// The expansion as a kernel of its own.
    fn expand(&self, factors: &Factors, to: &Lowering<GpuKernel>) -> Gemm {
        Gemm { folded: factors.folded, gelu: Some(to.choices.gelu), ..self.product(self.storage) }
    }

    /// The expansion's factors where x is a stored tensor: its weight with the normalisation folded in, unless the kernel does that by itself.
    fn expansion(&self, to: &mut Lowering<GpuKernel>) -> Result<Factors, String> {
        let x = self.task.operand(Slot::X)?;
        if self.norm || !self.k.norm {
            return self.plain(x);
        }
        let (w, b) = (to.temp(), to.temp());
        let fold = Fold { batch: self.k.batch, channels: self.channels, rows: self.hidden, folded: Folded::Norm, storage: self.storage };
        let operands = vec![
            (Slot::Stats, self.task.operand(Slot::Stats)?),
            (Slot::W, Operand::Weight(matrix(self.task, Slot::W2, self.hidden, self.channels)?)),
            (Slot::B, padded_last(self.task, Slot::B2, self.hidden)?),
            (Slot::Wf, w.clone()),
            (Slot::Bf, b.clone()),
        ];
        to.push(fold, operands);
        Ok(Factors { x, w, b, folded: true })
    }

    /// The expansion's factors with the weight as it is.
    fn plain(&self, x: Operand) -> Result<Factors, String> {
        let w = stored(self.task, Slot::W2, [self.hidden, self.channels], self.storage)?;
        Ok(Factors { x, w, b: padded_last(self.task, Slot::B2, self.hidden)?, folded: false })
    }

    /// The expansion's factors where x is a convolution of the box, normalised over channels in place.
    fn behind_layer_norm(&self, conv: &Conv, eps: Bits, to: &mut Lowering<GpuKernel>) -> Result<Factors, String> {
        let real = conv.channels;
        let y = to.temp();
        let (conv, mut operands) = conv_operands(self.task, conv)?;
        operands.push((Slot::Y, y.clone()));
        let all = conv.batch * voxels(conv.output);
        to.push(Depthwise { conv, storage: self.task.types.staged, result: self.storage, tile: depthwise::Tile::default() }, operands);
        to.push(LayerNorm { voxels: all, channels: real, eps, storage: self.storage }, vec![(Slot::Y, y.clone())]);
        self.plain(y)
    }

    /// Weight and bias of the compression, with GRN folded in where the block has it.
    fn compression(&self, to: &mut Lowering<GpuKernel>) -> Result<(Operand, Operand), String> {
        if self.k.grn != Grn::Apply {
            let w = stored(self.task, Slot::W3, [self.out, self.hidden], self.storage)?;
            return Ok((w, padded_last(self.task, Slot::B3, self.out)?));
        }
        let (w, b) = (to.temp(), to.temp());
        let fold = Fold { batch: self.k.batch, channels: self.hidden, rows: self.out, folded: Folded::Grn, storage: self.storage };
        let operands = vec![
            (Slot::Ratio, self.task.operand(Slot::Ratio)?),
            (Slot::Gamma, padded_last(self.task, Slot::Gamma, self.hidden)?),
            (Slot::Beta, padded_last(self.task, Slot::Beta, self.hidden)?),
            (Slot::W, Operand::Weight(matrix(self.task, Slot::W3, self.out, self.hidden)?)),
            (Slot::B, padded_last(self.task, Slot::B3, self.out)?),
            (Slot::Wf, w.clone()),
            (Slot::Bf, b.clone()),
        ];
        to.push(fold, operands);
        Ok((w, b))
    }

    /// All of it in one kernel.
    fn one_kernel(
        &self,
        expand: Factors,
        (w3, b3): (Operand, Operand),
        (epilogue, tail): (Epilogue, Operands),
        to: &mut Lowering<GpuKernel>,
    ) -> Result<(), String> {
        let mlp = Mlp {
            batch: self.k.batch,
            grid: self.k.grid,
            channels: self.channels,
            hidden: self.hidden,
            out_channels: self.out,
            norm: self.norm,
            folded: expand.folded,
            grn_folded: self.k.grn == Grn::Apply,
            gelu: to.choices.gelu,
            epilogue,
            storage: self.storage,
            stream: self.task.types.stream,
            tile: mlp::Tile::default(),
        };
        let mut operands = vec![(Slot::X, expand.x), (Slot::W2, expand.w), (Slot::B2, expand.b), (Slot::W3, w3), (Slot::B3, b3)];
        if self.norm {
            operands.push((Slot::Stats, self.task.operand(Slot::Stats)?));
        }
        operands.extend(tail);
        to.push(mlp, operands);
        Ok(())
    }
}
