//! From the kernels that a box needs, whatever the target, to the launches of a GPU.

use std::collections::HashSet;

use mnx_ir::ValueId;
use mnx_weights::{Half, Recipe};

use super::small::Folded;
use super::{
    Classify, Depthwise, Epilogue, Fold, Gemm, GpuKernel, LayerNorm, MergeGrn, MergeStats, Mlp, Pointwise, Residual, Storage, SumParts,
    padded,
};
use crate::kernel::{self, Grn, Kernel, MlpSource, voxels};
use crate::strategy::{Operand, Operands, Step};

/// Output channels up to which the hidden values stay in registers: the accumulators of the result must fit beside them.
const FUSED_OUT: usize = 128;

/// Input channels up to which a tile of voxels is held whole in shared memory.
const FUSED_IN: usize = 256;

/// The launches of one step, where `within` are the values that never leave a block. Tiles are chosen later.
///
/// # Errors
/// A weight that is not in the form strategies give it.
pub(crate) fn lower(step: Step, storage: Storage, within: &HashSet<ValueId>) -> Result<Vec<Step>, String> {
    let mut to = Lowering { storage, within, out: Vec::new(), temps: 0, operands: step.operands };
    match step.kernel {
        Kernel::Depthwise(k) => to.depthwise(k)?,
        Kernel::MergeStats(k) => {
            let merge = MergeStats { batch: k.batch, channels: padded(k.channels), parts: 0, count: k.count, eps: k.eps };
            let operands = to.take(&["partials", "stats"])?;
            to.push(GpuKernel::MergeStats(merge), operands);
        }
        Kernel::Mlp(k) => to.mlp(k)?,
        Kernel::MergeGrn(k) => {
            let channels = padded(k.channels);
            let sum = SumParts { batch: k.batch, channels, parts: 0, group: 1 };
            let partials = to.operand("partials")?;
            let sums = to.temp();
            to.push(GpuKernel::SumParts(sum), vec![("partials", partials), ("sums", sums.clone())]);
            let merge = MergeGrn { batch: k.batch, channels, real: k.channels, parts: 0, eps: k.eps, mean: k.mean };
            let ratio = to.operand("ratio")?;
            to.push(GpuKernel::MergeGrn(merge), vec![("partials", sums), ("ratio", ratio)]);
        }
        Kernel::Pointwise(k) => to.pointwise(k)?,
        Kernel::Classify(k) => {
            let operands = to.take(&["x", "y"])?;
            let k = Classify { batch: k.batch, classes: k.classes, space: k.space, argmax: k.argmax };
            to.push(GpuKernel::Classify(k), operands);
        }
        Kernel::Gpu(_) => return Err("a GPU kernel is lowered twice".into()),
    }
    Ok(to.out)
}

struct Lowering<'a> {
    /// Element type of what flows from block to block.
    storage: Storage,
    within: &'a HashSet<ValueId>,
    out: Vec<Step>,
    temps: usize,
    operands: Operands,
}

impl Lowering<'_> {
    fn push(&mut self, kernel: GpuKernel, operands: Operands) {
        self.out.push(Step { kernel: Kernel::Gpu(kernel), operands });
    }

    fn temp(&mut self) -> Operand {
        self.temps += 1;
        Operand::Temp(self.temps)
    }

    fn operand(&self, name: &str) -> Result<Operand, String> {
        self.operands.iter().find(|(n, _)| *n == name).map(|(_, o)| o.clone()).ok_or_else(|| format!("buffer {name} is missing"))
    }

    fn take(&self, names: &[&'static str]) -> Result<Operands, String> {
        names.iter().map(|n| Ok((*n, self.operand(n)?))).collect()
    }

    /// A pointwise weight as a row-major matrix in float32.
    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Recipe, String> {
        match self.operand(name)? {
            Operand::Weight(Recipe::Panels { weight, .. }) => Ok(Recipe::Rows { weight, rows, columns }),
            _ => Err(format!("weight {name} is not in panels")),
        }
    }

    /// Element type of an operand that is no port.
    fn element(&self, operand: &Operand) -> Storage {
        match operand {
            Operand::Value(v) if self.within.contains(v) => self.storage.within_block(),
            _ => self.storage,
        }
    }

    /// The same in a storage type.
    fn stored(&self, name: &str, storage: Storage, rows: usize, columns: usize) -> Result<Operand, String> {
        let weight = self.matrix(name, rows, columns)?;
        let to = match storage {
            Storage::F32 => return Ok(Operand::Weight(weight)),
            Storage::Bf16 => Half::Bf16,
            Storage::F16 => Half::F16,
        };
        Ok(Operand::Weight(Recipe::Cast { weight: Box::new(weight), to }))
    }

    /// A vector, or rows of channels, with the last axis padded.
    fn padded_last(&self, name: &str, to: usize) -> Result<Operand, String> {
        match self.operand(name)? {
            Operand::Weight(weight) => Ok(Operand::Weight(Recipe::PadLast { weight: Box::new(weight), to })),
            _ => Err(format!("{name} is no weight")),
        }
    }

    fn depthwise(&mut self, k: kernel::Depthwise) -> Result<(), String> {
        let (conv, mut operands) = self.conv(k)?;
        let y = self.operand("y")?;
        let result = self.element(&y);
        operands.push(("y", y));
        if conv.stats {
            operands.push(("partials", self.operand("partials")?));
        }
        self.push(GpuKernel::Depthwise(Depthwise { conv, storage: self.storage, result, tile: Default::default() }), operands);
        Ok(())
    }

    fn conv(&self, mut k: kernel::Depthwise) -> Result<(kernel::Depthwise, Operands), String> {
        k.channels = padded(k.channels);
        let mut operands = vec![("x", self.operand("x")?)];
        if let Some(image) = k.stem {
            operands.push(("stem_w", Operand::Weight(self.matrix("stem_w", k.channels, image)?)));
            operands.push(("stem_b", self.padded_last("stem_b", k.channels)?));
        }
        operands.push(("w", self.padded_last("w", k.channels)?));
        if k.bias {
            operands.push(("b", self.padded_last("b", k.channels)?));
        }
        Ok((k, operands))
    }

    /// Residuals, skip, head and result.
    fn epilogue(&mut self, k: &kernel::Mlp) -> Result<(Epilogue, Operands), String> {
        let out = padded(k.out_channels);
        let mut operands = Vec::new();
        let over = if k.in_place { k.overwritten() } else { None };
        let residual = match k.residual {
            kernel::Residual::None => Residual::None,
            kernel::Residual::Identity => {
                if over != Some("res") {
                    operands.push(("res", self.operand("res")?));
                }
                Residual::Identity
            }
            kernel::Residual::Stem { channels } => {
                operands.push(("input", self.operand("input")?));
                operands.push(("stem_w", Operand::Weight(self.matrix("stem_w", out, channels)?)));
                Residual::Stem { channels }
            }
            kernel::Residual::Strided { from, channels, stride } => {
                let channels = padded(channels);
                operands.push(("res", self.operand("res")?));
                operands.push(("res_w", self.stored("res_w", self.storage, out, channels)?));
                Residual::Strided { from, channels, stride }
            }
            kernel::Residual::Scattered { from, stride } => {
                operands.push(("res", self.operand("res")?));
                Residual::Scattered { from, stride }
            }
        };
        if k.skip && over != Some("skip") {
            operands.push(("skip", self.operand("skip")?));
        }
        if let Some(classes) = k.head {
            operands.push(("head_w", Operand::Weight(self.matrix("head_w", classes, out)?)));
            operands.push(("head_b", self.operand("head_b")?));
            operands.push(("logits", self.operand("logits")?));
        }
        if k.store {
            operands.push(("out", self.operand("out")?));
        }
        let epilogue = Epilogue { residual, pad_front: k.pad_front, skip: k.skip, head: k.head, store: k.store, in_place: k.in_place };
        Ok((epilogue, operands))
    }

    fn mlp(&mut self, k: kernel::Mlp) -> Result<(), String> {
        let (channels, hidden, out) = (padded(k.channels), padded(k.hidden), padded(k.out_channels));
        // The type of both products' factors.
        let storage = match k.source {
            MlpSource::Tensor { .. } => self.element(&self.operand("x")?),
            MlpSource::ConvLayerNorm { .. } => self.storage.within_block(),
        };
        // A fused head needs all output channels in one workgroup.
        // float32 lacks the registers for a strided residual beside many sums.
        let wide = storage == Storage::F32 && matches!(k.residual, kernel::Residual::Strided { .. });
        let most = if wide { FUSED_OUT / 2 } else { FUSED_OUT };
        let fused = k.grn != Grn::Partials && ((out <= most && channels <= FUSED_IN) || k.head.is_some());
        let norm = fused && k.source == MlpSource::Tensor { norm: true } && Mlp::may_norm(channels, hidden, out, storage);
        // The input, and the expansion's weight with the normalisation folded in.
        let (x, w2, b2, folded) = match k.source.clone() {
            MlpSource::Tensor { norm: normalised } if norm || !normalised => {
                (self.operand("x")?, self.stored("w2", storage, hidden, channels)?, self.padded_last("b2", hidden)?, false)
            }
            MlpSource::Tensor { .. } => {
                let (wf, bf) = (self.temp(), self.temp());
                let fold = Fold { batch: k.batch, channels, rows: hidden, folded: Folded::Norm, storage };
                let operands = vec![
                    ("stats", self.operand("stats")?),
                    ("w", Operand::Weight(self.matrix("w2", hidden, channels)?)),
                    ("b", self.padded_last("b2", hidden)?),
                    ("wf", wf.clone()),
                    ("bf", bf.clone()),
                ];
                self.push(GpuKernel::Fold(fold), operands);
                (self.operand("x")?, wf, bf, true)
            }
            MlpSource::ConvLayerNorm { conv, eps } => {
                let real = conv.channels;
                let y = self.temp();
                let (conv, mut operands) = self.conv(conv)?;
                operands.push(("y", y.clone()));
                let all = conv.batch * voxels(conv.output);
                self.push(
                    GpuKernel::Depthwise(Depthwise { conv, storage: self.storage, result: storage, tile: Default::default() }),
                    operands,
                );
                let norm = LayerNorm { voxels: all, channels: real, eps, storage };
                self.push(GpuKernel::LayerNorm(norm), vec![("y", y.clone())]);
                (y, self.stored("w2", storage, hidden, channels)?, self.padded_last("b2", hidden)?, false)
            }
        };
        let expand = Gemm {
            batch: k.batch,
            grid: k.grid,
            from: k.grid,
            stride: [1; 3],
            channels,
            out_channels: hidden,
            folded,
            gelu: Some(k.gelu),
            squares: k.grn == Grn::Partials,
            epilogue: Epilogue { store: k.grn != Grn::Partials, ..Epilogue::STORE },
            storage,
            stream: storage,
            tile: Default::default(),
        };
        if k.grn == Grn::Partials {
            let operands = vec![("x", x), ("w", w2), ("b", b2), ("partials", self.operand("partials")?)];
            self.push(GpuKernel::Gemm(expand), operands);
            return Ok(());
        }
        let grn_folded = k.grn == Grn::Apply;
        let (w3, b3) = if grn_folded {
            let (wf, bf) = (self.temp(), self.temp());
            let fold = Fold { batch: k.batch, channels: hidden, rows: out, folded: Folded::Grn, storage };
            let operands = vec![
                ("ratio", self.operand("ratio")?),
                ("gamma", self.padded_last("gamma", hidden)?),
                ("beta", self.padded_last("beta", hidden)?),
                ("w", Operand::Weight(self.matrix("w3", out, hidden)?)),
                ("b", self.padded_last("b3", out)?),
                ("wf", wf.clone()),
                ("bf", bf.clone()),
            ];
            self.push(GpuKernel::Fold(fold), operands);
            (wf, bf)
        } else {
            (self.stored("w3", storage, out, hidden)?, self.padded_last("b3", out)?)
        };
        let (epilogue, tail) = self.epilogue(&k)?;
        if fused {
            let mlp = Mlp {
                batch: k.batch,
                grid: k.grid,
                channels,
                hidden,
                out_channels: out,
                norm,
                folded,
                grn_folded,
                gelu: k.gelu,
                epilogue,
                storage,
                stream: self.storage,
                tile: Default::default(),
            };
            let mut operands = vec![("x", x), ("w2", w2), ("b2", b2), ("w3", w3), ("b3", b3)];
            if norm {
                operands.push(("stats", self.operand("stats")?));
            }
            operands.extend(tail);
            self.push(GpuKernel::Mlp(mlp), operands);
            return Ok(());
        }
        let h = self.temp();
        self.push(GpuKernel::Gemm(expand), vec![("x", x), ("w", w2), ("b", b2), ("out", h.clone())]);
        let compress = Gemm {
            batch: k.batch,
            grid: k.grid,
            from: k.grid,
            stride: [1; 3],
            channels: hidden,
            out_channels: out,
            folded: grn_folded,
            gelu: None,
            squares: false,
            epilogue,
            storage,
            stream: self.storage,
            tile: Default::default(),
        };
        let mut operands = vec![("x", h), ("w", w3), ("b", b3)];
        operands.extend(tail);
        self.push(GpuKernel::Gemm(compress), operands);
        Ok(())
    }

    fn pointwise(&mut self, k: kernel::Pointwise) -> Result<(), String> {
        let stored = |port: bool, channels: usize| if port { channels } else { padded(channels) };
        let (channels, out) = (stored(k.in_first, k.in_channels), stored(k.out_first, k.out_channels));
        if !k.in_first && !k.out_first {
            let bias = if k.bias { self.padded_last("b", out)? } else { Operand::Weight(Recipe::Zeros { shape: vec![out] }) };
            let gemm = Gemm {
                batch: k.batch,
                grid: k.output,
                from: k.input,
                stride: k.stride,
                channels,
                out_channels: out,
                folded: false,
                gelu: None,
                squares: false,
                epilogue: Epilogue::STORE,
                storage: self.storage,
                stream: self.storage,
                tile: Default::default(),
            };
            let operands = vec![
                ("x", self.operand("x")?),
                ("w", self.stored("w", self.storage, out, channels)?),
                ("b", bias),
                ("out", self.operand("y")?),
            ];
            self.push(GpuKernel::Gemm(gemm), operands);
            return Ok(());
        }
        let mut operands = vec![("x", self.operand("x")?), ("w", Operand::Weight(self.matrix("w", out, channels)?))];
        if k.bias {
            operands.push(("b", self.padded_last("b", out)?));
        }
        operands.push(("y", self.operand("y")?));
        let kernel = Pointwise {
            batch: k.batch,
            input: k.input,
            output: k.output,
            stride: k.stride,
            in_channels: channels,
            out_channels: out,
            in_first: k.in_first,
            out_first: k.out_first,
            bias: k.bias,
            storage: self.storage,
        };
        self.push(GpuKernel::Pointwise(kernel), operands);
        Ok(())
    }
}
