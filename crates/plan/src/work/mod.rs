//! What the dispatch boxes compute, whatever the target: no tile, no form of a weight, no element type.
//!
//! A box becomes one or two [`Task`]s; a target's families of kernels turn each into launches. Operands are views of values: an activation of the graph, a
//! weight as a recipe over checkpoint tensors (not yet in the form a kernel wants), or partial results that pass from task to task.

mod conv;
mod mlp;
mod read;
mod single;
mod tail;

use mnx_ir::pattern::Pattern;
use mnx_ir::{Diagnostic, DispatchId, Graph, ValueId};
use mnx_weights::Recipe;
use serde::{Deserialize, Serialize};

use crate::axis::Axis;
use crate::slot::{Arg, Element, Slot};
use crate::vocabulary::{Bits, Extent, Storage, voxels};

pub(crate) use read::{DispatchView, add};

/// What a task reads or writes.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// An activation: a port or a value that a box yields.
    Value(ValueId),
    /// Partial results that pass between tasks or launches of one box, by number.
    Partial(usize),
    /// Another tensor that lives between launches of one box, by number.
    Temp(usize),
    /// A weight: of a task, as the network has it; of a launch, as it must lie in memory.
    Weight(Recipe),
}

/// Operands by slot.
pub(crate) type Operands = Vec<(Slot, Operand)>;

/// Element types of a task's tensors, as the graph's casts say them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Types {
    /// What a convolution reads: the stored tensor, or the stem recomputed in front of it.
    pub staged: Storage,
    /// Both factors of products: of an MLP the normalised tensor, hidden values and both weights; of a convolution its result.
    pub factors: Storage,
    /// What flows from block to block: residuals, skips and results.
    pub stream: Storage,
}

impl Types {
    /// Nothing is rounded.
    pub const F32: Self = Self { staged: Storage::F32, factors: Storage::F32, stream: Storage::F32 };
}

/// One computation of a box with what it reads and writes.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// What is computed.
    pub work: Work,
    /// In which element types.
    pub types: Types,
    /// Operands by slot.
    pub operands: Vec<(Slot, Operand)>,
}

/// A computation, free of any target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Depthwise convolution, optionally with the stem recomputed on its input and partial statistics of its output.
    Conv(Conv),
    /// Partial statistics to mean and reciprocal standard deviation.
    Moments(Moments),
    /// Normalise, expand, GELU, GRN, compress, residual, skip, pad, head.
    Mlp(Mlp),
    /// An MLP behind a depthwise convolution and layer norm.
    ConvMlp(ConvMlp),
    /// Partial sums of squares to GRN's ratio.
    GrnRatio(GrnRatio),
    /// A pointwise convolution on its own: stem, heads, low-resolution residuals.
    Pointwise(Pointwise),
    /// Soft-max or arg-max over the classes.
    Classify(Classify),
}

/// Depthwise convolution `y[n,o,c] = (bias[c]) + sum_q x[n, o*stride - pad + q, c] * w[q, c]`, zeros outside;
/// transposed: `y[n,o,c] = (bias[c]) + sum over (i,q) with o = i*stride - pad + q of x[n,i,c] * w[q,c]` (weight not flipped).
///
/// Slots: `x` (`[n, input, c]`, or with `stem` the port `[n, ci, input]`), with stem `stem_w` `[c, ci]` and `stem_b` `[c]`, `w` (`[c, 1, taps]`), with bias `b` `[c]`,
/// `y` `[n, output, c]`, with stats `partials`. With `stem`, the convolved tensor is `stem_b + stem_w x` inside the image and 0 outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Conv {
    /// Samples.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Extent of the convolved tensor.
    pub input: Extent,
    /// Extent of the result.
    pub output: Extent,
    /// Taps per axis.
    pub taps: Extent,
    /// Stride per axis (1 or 2; for the transposed convolution the upsampling factor).
    pub stride: Extent,
    /// Padding per axis.
    pub pad: Extent,
    /// Transposed convolution.
    pub transposed: bool,
    /// Whether a bias is added.
    pub bias: bool,
    /// Image channels, if the input is the stem recomputed from the input port.
    pub stem: Option<usize>,
    /// Whether partial statistics are written.
    pub stats: bool,
}

impl Conv {
    /// The geometry along axis 0 (d), 1 (h) or 2 (w).
    pub fn axis(&self, a: usize) -> Axis {
        Axis {
            input: self.input[a],
            output: self.output[a],
            taps: self.taps[a],
            stride: self.stride[a],
            pad: self.pad[a],
            transposed: self.transposed,
        }
    }

    /// The buffers that a convolution reads: all of its args up to the bias.
    pub fn inputs(&self) -> Vec<Arg> {
        let mut args = Vec::new();
        let space = self.batch * voxels(self.input);
        match self.stem {
            None => args.push(Arg::read(Slot::X, space * self.channels)),
            Some(image) => {
                args.push(Arg::read(Slot::X, space * image));
                args.push(Arg::read(Slot::StemW, self.channels * image));
                args.push(Arg::read(Slot::StemB, self.channels));
            }
        }
        args.push(Arg::read(Slot::W, voxels(self.taps) * self.channels));
        if self.bias {
            args.push(Arg::read(Slot::B, self.channels));
        }
        args
    }

    /// Whether there is something to compute on every axis, at a stride and padding that kernels know.
    pub(crate) fn check(&self) -> Result<(), String> {
        for a in 0..3 {
            let axis = self.axis(a);
            if self.input[a] == 0 || self.output[a] == 0 || self.taps[a] == 0 {
                return Err(format!("axis {a} has an extent or tap count of 0"));
            }
            if !(1..=2).contains(&axis.stride) {
                return Err(format!("stride {} on axis {a}: expected 1 or 2", axis.stride));
            }
            if axis.pad >= axis.taps {
                return Err(format!("padding {} on axis {a}: expected less than the {} taps", axis.pad, axis.taps));
            }
        }
        if self.batch == 0 || self.channels == 0 || self.stem == Some(0) {
            return Err("no samples or no channels".into());
        }
        Ok(())
    }

    /// Floating-point operations; a multiply-add counts two.
    pub fn flops(&self) -> u64 {
        // A transposed convolution multiplies each input voxel by every tap.
        let sites = if self.transposed { self.input } else { self.output };
        let conv = self.channels * voxels(sites) * voxels(self.taps);
        let stem = self.stem.map_or(0, |image| voxels(self.input) * image * self.channels);
        2 * (self.batch * (conv + stem)) as u64
    }
}

/// `mean = S/count`, `rstd = 1/sqrt(max(Q/count - mean^2, 0) + eps)`, from the partial statistics of a convolution.
///
/// Slots: `partials`, `stats` `[n, 2, c]` (mean, rstd).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Moments {
    /// Samples.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Voxels the statistics run over.
    pub count: usize,
    /// Epsilon.
    pub eps: Bits,
}

/// The pointwise half of a block, on the grid of its depthwise result.
///
/// For every voxel m of `grid`: `a = norm(x)`, `h = gelu(w2 a + b2)`, GRN, `o = w3 h + b3 + residual`, then
/// `out[m + pad_front] = skip[m + pad_front] + o`. Where `pad_front`, voxels of the output with any coordinate 0 are `skip` alone (0 without skip).
///
/// Slots: `x` `[n, grid, c]`, with `norm` `stats` `[n, 2, c]` (a = (x - mean) * rstd), `w2` `[hidden, c]`, `b2` `[hidden]`. GRN `Apply`: `ratio` `[n, hidden]`, `gamma`, `beta` `[hidden]`:
/// `h = h * (gamma * ratio + 1) + beta`; GRN `Partials`: `partials` (sums of h squared), and nothing more. `w3` `[out, hidden]`, `b3` `[out]`. Residual `Identity`: `res` `[n, grid, out]`;
/// `Stem`: `res` the port `[n, ci, grid]`, `res_w` `[out, ci]`; `Strided`: `res` `[n, from, cr]`, `res_w` `[out, cr]`, read at `m * stride`; `Scattered`: `res` `[n, from, out]`, added where every
/// coordinate of m along a strided axis is even, from `res[m / stride]`; biases of residuals are within `b3`. `skip` `[n, output, out]`; head: `head_w` `[classes, out]`, `head_b` `[classes]`,
/// `logits` `[n, classes, output]`; store: `out` `[n, output, out]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mlp {
    /// Samples.
    pub batch: usize,
    /// Grid the MLP runs on.
    pub grid: Extent,
    /// Input channels.
    pub channels: usize,
    /// Hidden channels.
    pub hidden: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Whether `x` is normalised by `stats`.
    pub norm: bool,
    /// GRN's part.
    pub grn: Grn,
    /// What is added to the compressed result.
    pub residual: Residual,
    /// Zero planes put in front, per axis (0 or 1); `output = grid + pad_front`.
    pub pad_front: Extent,
    /// Whether an encoder skip is added.
    pub skip: bool,
    /// Classes, if a head reads the result (never with `pad_front`).
    pub head: Option<usize>,
    /// Whether the result itself is stored.
    pub store: bool,
}

/// As [`Mlp`], with its input computed in the same box: a depthwise convolution, then layer norm over channels (affine folded into w2, b2):
/// `x = (y - mean_c) * rsqrt(var_c + eps)` at each voxel.
///
/// Slots: those of the convolution up to the bias, then those of the MLP without `x`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvMlp {
    /// The convolution, without statistics.
    pub conv: Conv,
    /// Epsilon of the layer norm.
    pub eps: Bits,
    /// What follows, without normalisation of its own.
    pub mlp: Mlp,
}

/// GRN in an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grn {
    /// The network has none here.
    None,
    /// The squares of the hidden values are summed, nothing else.
    Partials,
    /// The ratio is applied.
    Apply,
}

/// What is added after the compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residual {
    /// Nothing.
    None,
    /// A stored tensor on the same grid.
    Identity,
    /// The stem, recomputed from the input port (its bias is within the other bias).
    Stem {
        /// Image channels.
        channels: usize,
    },
    /// A strided pointwise convolution of a stored tensor (a down block's; its bias is within the other bias).
    Strided {
        /// Extent of the stored tensor.
        from: Extent,
        /// Channels of the stored tensor.
        channels: usize,
        /// Stride per axis.
        stride: Extent,
    },
    /// A low-resolution tensor added where every coordinate along a strided axis is even (an up block's).
    Scattered {
        /// Extent of the low-resolution tensor.
        from: Extent,
        /// Stride per axis.
        stride: Extent,
    },
}

impl Residual {
    /// The slot of the tensor that a block's stored result may overwrite: the skip, else a residual on the same grid.
    pub(crate) fn overwritten(self, skip: bool, pad_front: Extent) -> Option<Slot> {
        if skip {
            Some(Slot::Skip)
        } else if self == Self::Identity && pad_front == [0; 3] {
            Some(Slot::Res)
        } else {
            None
        }
    }

    /// Channels of the tensor that a residual's own product reads; 0 where it has none.
    pub fn product(self) -> usize {
        match self {
            Self::Stem { channels } | Self::Strided { channels, .. } => channels,
            Self::None | Self::Identity | Self::Scattered { .. } => 0,
        }
    }
}

impl Mlp {
    /// Extent of the output.
    pub fn output(&self) -> Extent {
        [0, 1, 2].map(|a| self.grid[a] + self.pad_front[a])
    }

    /// The slot of the tensor that the result may overwrite: the one stored tensor of the result's size that every voxel reads at its own place alone.
    pub fn overwritten(&self) -> Option<Slot> {
        let stored = self.store && self.grn != Grn::Partials;
        if stored { self.residual.overwritten(self.skip, self.pad_front) } else { None }
    }
}

/// GRN's ratio (ConvNeXt-V2, as the official MedNeXt has it): `g[e] = sqrt(sum over parts)`, `r[e] = g[e] / (reduce_e(g) + eps)`.
///
/// Slots: `partials`, `ratio` `[n, e]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GrnRatio {
    /// Samples.
    pub batch: usize,
    /// Hidden channels.
    pub channels: usize,
    /// Epsilon.
    pub eps: Bits,
    /// Whether the denominator is the channel mean (official) or sum.
    pub mean: bool,
}

/// `y[n, m] = w x[n, m * stride] + b` for every voxel m of `output`.
///
/// Slots: `x`, `w` `[out, in]`, with bias `b` `[out]`, `y`. Layouts as flagged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pointwise {
    /// Samples.
    pub batch: usize,
    /// Extent of x.
    pub input: Extent,
    /// Extent of y.
    pub output: Extent,
    /// Stride per axis.
    pub stride: Extent,
    /// Channels of x.
    pub in_channels: usize,
    /// Channels of y.
    pub out_channels: usize,
    /// x is a port (`[n, c, space]`), else channels-last.
    pub in_first: bool,
    /// y is a port (`[n, c, space]`), else channels-last.
    pub out_first: bool,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Pointwise {
    /// Floating-point operations; a multiply-add counts two.
    pub fn flops(&self) -> u64 {
        2 * (self.batch * voxels(self.output) * self.in_channels * self.out_channels) as u64
    }
}

/// Soft-max (max subtracted) or arg-max (first of equals) over the classes of a port.
///
/// Slots: `x` f32 `[n, classes, voxels]`, `y` f32 `[n, classes, voxels]` (soft-max) or i32 `[n, voxels]` (arg-max).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Classify {
    /// Samples.
    pub batch: usize,
    /// Classes.
    pub classes: usize,
    /// Voxels per sample.
    pub space: usize,
    /// Arg-max, else soft-max.
    pub argmax: bool,
}

impl Classify {
    /// The buffers, the same for every target.
    pub fn args(&self) -> Vec<Arg> {
        let all = self.batch * self.classes * self.space;
        let y = if self.argmax { Arg::write(Slot::Y, self.batch * self.space).of(Element::I32) } else { Arg::write(Slot::Y, all) };
        vec![Arg::read(Slot::X, all), y]
    }

    /// Comparisons or exponentials, one per value.
    pub fn flops(&self) -> u64 {
        (self.batch * self.space * self.classes) as u64
    }
}

/// The tasks of one box, by the pattern it was drawn after.
///
/// # Errors
/// If the box departs from its pattern, or no kernel does what it holds.
pub fn tasks(g: &Graph, dispatch: DispatchId) -> Result<Vec<Task>, Diagnostic> {
    let b = DispatchView::new(g, dispatch)?;
    match g.dispatch(dispatch).pattern {
        Pattern::Conv => conv::tasks(&b),
        Pattern::Mlp => mlp::tasks(&b),
        Pattern::GrnStats => mlp::grn_stats(&b),
        Pattern::Pointwise => single::pointwise(&b),
        Pattern::Classify => single::classify(&b),
        pattern @ (Pattern::Alone | Pattern::Fragment) => Err(b.refuse(&format!("no kernel does a box of pattern {pattern}"))),
    }
}
