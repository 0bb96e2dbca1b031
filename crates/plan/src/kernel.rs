//! What a kernel computes, exactly, and how it is tiled: everything code generation needs to know.
//!
//! Inside the network activations are channels-last (`[n, d, h, w, c]`), ports are channels-first (`[n, c, d, h, w]`), all float32.
//! 2-D networks have `d = 1` and taps `[1, k, k]`. Equal descriptions are compiled once.
//!
//! The buffers of a kernel are listed by [`Kernel::args`], in the order of the kernel ABI (`mnx_artifact::program`).

/// Extents along d, h, w.
pub type Extent = [usize; 3];

/// Number of voxels.
pub fn voxels(e: Extent) -> usize {
    e.iter().product()
}

/// Width, in output channels, of the GEMM panels that pointwise weights are packed into (`Recipe::Panels`).
pub const PANEL: usize = 32;

/// One kernel launch, described.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Depthwise convolution, optionally with the stem recomputed on its input and partial statistics of its output.
    Depthwise(Depthwise),
    /// Partial statistics to mean and reciprocal standard deviation.
    MergeStats(MergeStats),
    /// Normalise, expand, GELU, (GRN), compress, residual, skip, pad, head.
    Mlp(Mlp),
    /// Partial sums of squares to GRN's ratio.
    MergeGrn(MergeGrn),
    /// A pointwise convolution on its own: stem, heads, low-resolution residuals.
    Pointwise(Pointwise),
    /// Soft-max or arg-max over the classes.
    Classify(Classify),
    /// Any kernel of a GPU target.
    Gpu(crate::gpu::GpuKernel),
}

/// Depthwise convolution `y[n,o,c] = (bias[c]) + sum_q x[n, o*stride - pad + q, c] * w[q, c]`, zeros outside;
/// transposed: `y[n,o,c] = (bias[c]) + sum over (i,q) with o = i*stride - pad + q of x[n,i,c] * w[q,c]` (weight not flipped).
///
/// Args: `x` f32 (`[n, input, c]`, or with `stem` the port `[n, ci, input]`), with stem: `stem_w` f32 panels of `[c, ci]` and `stem_b` f32 `[c]`,
/// `w` f32 `[taps, c]`, with bias: `b` f32 `[c]`, then `y` f32 `[n, output, c]`, with stats: `partials` f64 `[n, parts, 2, c]`.
/// With `stem`, the convolved tensor is `stem_b + stem_w x` inside the image and 0 outside.
/// `partials[n, p]` holds sum and sum of squares of `y` (float64, shift-free) over the voxels of spatial workgroup `p`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Depthwise {
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
    /// The schedule.
    pub tile: DepthwiseTile,
}

/// How a depthwise convolution is cut. Workgroups run over n, then depth slabs, then height slabs, then channel blocks (innermost).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DepthwiseTile {
    /// Channels per workgroup.
    pub channels: usize,
    /// Output planes per workgroup (streamed through a ring of input planes).
    pub depth: usize,
    /// Output rows per plane and workgroup.
    pub height: usize,
    /// Output voxels along w held in registers.
    pub width: usize,
}

impl Depthwise {
    /// Spatial workgroups: rows of `partials` per sample.
    pub fn parts(&self) -> usize {
        self.output[0].div_ceil(self.tile.depth) * self.output[1].div_ceil(self.tile.height)
    }

    /// Workgroups of the launch.
    pub fn workgroups(&self) -> usize {
        self.batch * self.parts() * self.channels.div_ceil(self.tile.channels)
    }
}

/// `mean = S/count`, `rstd = 1/sqrt(max(Q/count - mean^2, 0) + eps)`, S and Q summed over the parts in order, in float64.
///
/// Args: `partials` f64 `[n, parts, 2, c]`, `stats` f32 `[n, 2, c]` (mean, rstd). One workgroup per sample.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MergeStats {
    /// Samples.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Parts per sample.
    pub parts: usize,
    /// Voxels the statistics run over.
    pub count: usize,
    /// Epsilon, as bits (so that kernels can be hashed).
    pub eps: Bits,
}

/// GRN's ratio (ConvNeXt-V2, as the official MedNeXt has it): `g[e] = sqrt(sum over parts)`, `r[e] = g[e] / (reduce_e(g) + eps)`.
///
/// Args: `partials` f64 `[n, parts, e]`, `ratio` f32 `[n, e]`. One workgroup per sample.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MergeGrn {
    /// Samples.
    pub batch: usize,
    /// Hidden channels.
    pub channels: usize,
    /// Parts per sample.
    pub parts: usize,
    /// Epsilon.
    pub eps: Bits,
    /// Whether the denominator is the channel mean (official) or sum.
    pub mean: bool,
}

/// A float64 constant, compared and hashed by its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bits(pub u64);

impl Bits {
    /// From a number.
    pub fn of(v: f64) -> Self {
        Self(v.to_bits())
    }
    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// The pointwise half of a block, on the grid of its depthwise result; the hidden tensor never leaves the tile.
///
/// For every voxel m of `grid`: `a = norm(source)`, `h = gelu(w2 a + b2)`, GRN, `o = w3 h + b3 + residual`, then
/// `out[m + pad_front] = skip[m + pad_front] + o`. Where `pad_front`, voxels of the output with any coordinate 0 are `skip` alone (0 without skip).
///
/// Args, in order, each present if its part is:
/// 1. source `Tensor`: `x` f32 `[n, grid, c]`, with `norm`: `stats` f32 `[n, 2, c]` (a = (x - mean) * rstd).
///    source `ConvLayerNorm`: the args of its [`Depthwise`] up to the bias (its `stats` is false, its `y` and `partials` are absent), then
///    `a = (y - mean_c) * rsqrt(var_c + eps)` over channels at each voxel (affine folded into w2, b2).
/// 2. `w2` f32 panels of `[hidden, c]`, `b2` f32 `[hidden]`.
/// 3. GRN `Apply`: `ratio` f32 `[n, hidden]`, `gamma` f32 `[hidden]`, `beta` f32 `[hidden]`: `h = h * (gamma * ratio + 1) + beta`.
///    GRN `Partials`: `partials` f64 `[n, parts, hidden]` (sums of h squared), and nothing more.
/// 4. `w3` f32 panels of `[out, hidden]`, `b3` f32 `[out]`.
/// 5. residual `Identity`: `res` f32 `[n, grid, out]`. `Stem`: `input` f32 `[n, ci, grid]`, `stem_w` panels of `[out, ci]` (its bias is within b3).
///    `Strided`: `res` f32 `[n, from, cr]`, `res_w` f32 panels of `[out, cr]`, read at `m * stride` (its bias is within b3).
///    `Scattered`: `res` f32 `[n, low, out]`: added where every coordinate of m along a strided axis is even, from `res[m / stride]` (its bias is within b3).
/// 6. `skip` f32 `[n, output, out]`.
/// 7. head: `head_w` f32 panels of `[classes, out]`, `head_b` f32 `[classes]`, `logits` f32 `[n, classes, output]`.
/// 8. store: `out` f32 `[n, output, out]`. With `in_place`, `out` holds the skip (without one, the `Identity` residual) at the start, and that
///    buffer is not among the args: a voxel is read and written by the same tile, and padded planes, skip alone, stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// Where the normalised input comes from.
    pub source: MlpSource,
    /// GRN's part.
    pub grn: Grn,
    /// How closely GELU is computed.
    pub gelu: Gelu,
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
    /// Whether the result takes the place of the tensor it is added to ([`Mlp::overwritten`]).
    pub in_place: bool,
    /// The schedule.
    pub tile: MlpTile,
}

/// Where the MLP's input comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MlpSource {
    /// A stored tensor, normalised by stored statistics if `norm`.
    Tensor {
        /// Whether statistics are applied.
        norm: bool,
    },
    /// The depthwise convolution computed here, then layer norm over channels.
    ConvLayerNorm {
        /// The convolution; its tile's `channels` is all channels, its workgroups are this kernel's.
        conv: Depthwise,
        /// Epsilon.
        eps: Bits,
    },
}

/// How closely GELU (erf form) is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Gelu {
    /// Absolute error at most 1e-6, and half a unit in the last place of large values.
    #[default]
    Accurate,
    /// Absolute error at most 2e-4 (and as above): four multiply-adds less per value.
    Fast,
}

impl Gelu {
    /// The word for it on command lines and in bundles.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accurate => "accurate",
            Self::Fast => "fast",
        }
    }
}

/// GRN in an MLP kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grn {
    /// The network has none here.
    None,
    /// This launch only sums the squares of the hidden values.
    Partials,
    /// This launch applies the ratio.
    Apply,
}

/// What is added after the compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Residual {
    /// Nothing.
    None,
    /// A stored tensor on the same grid.
    Identity,
    /// The stem, recomputed from the input port.
    Stem {
        /// Image channels.
        channels: usize,
    },
    /// A strided pointwise convolution of a stored tensor (down block).
    Strided {
        /// Extent of the stored tensor.
        from: Extent,
        /// Its channels.
        channels: usize,
        /// Stride per axis.
        stride: Extent,
    },
    /// A low-resolution tensor scattered to the even voxels (up block).
    Scattered {
        /// Its extent.
        from: Extent,
        /// Stride per axis.
        stride: Extent,
    },
}

/// How an MLP kernel is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MlpTile {
    /// Voxels per workgroup (source `Tensor` only); a multiple of `rows` unless it is the whole grid.
    pub voxels: usize,
    /// Voxels per tile held in cache while the hidden channels go by.
    pub rows: usize,
    /// Hidden channels per step; a multiple of [`PANEL`] unless it is all of them.
    pub hidden: usize,
}

impl Mlp {
    /// Parts per sample: rows of `partials`.
    pub fn parts(&self) -> usize {
        match &self.source {
            MlpSource::Tensor { .. } => voxels(self.grid).div_ceil(self.tile.voxels),
            MlpSource::ConvLayerNorm { conv, .. } => conv.parts(),
        }
    }

    /// Workgroups of the launch.
    pub fn workgroups(&self) -> usize {
        self.batch * self.parts()
    }

    /// The argument that the result may overwrite: the one stored tensor of the result's size that every voxel reads at its own place alone.
    pub fn overwritten(&self) -> Option<&'static str> {
        if !self.store || self.grn == Grn::Partials {
            None
        } else if self.skip {
            Some("skip")
        } else if self.residual == Residual::Identity && self.pad_front == [0; 3] {
            Some("res")
        } else {
            None
        }
    }

    /// Extent of the output.
    pub fn output(&self) -> Extent {
        [0, 1, 2].map(|a| self.grid[a] + self.pad_front[a])
    }
}

/// `y[n, m] = w x[n, m * stride] + b` for every voxel m of `output`.
///
/// Args: `x` f32, `w` f32 panels of `[out, in]`, with bias: `b` f32 `[out]`, `y` f32. Layouts as flagged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// Voxels per workgroup.
    pub voxels: usize,
    /// Voxels per tile.
    pub rows: usize,
}

impl Pointwise {
    /// Workgroups of the launch.
    pub fn workgroups(&self) -> usize {
        self.batch * voxels(self.output).div_ceil(self.voxels)
    }
}

/// Soft-max (max subtracted) or arg-max (first of equals) over the classes of a port.
///
/// Args: `x` f32 `[n, classes, voxels]`, `y` f32 `[n, classes, voxels]` (soft-max) or i32 `[n, voxels]` (arg-max).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Classify {
    /// Samples.
    pub batch: usize,
    /// Classes.
    pub classes: usize,
    /// Voxels per sample.
    pub space: usize,
    /// Arg-max, else soft-max.
    pub argmax: bool,
    /// Voxels per workgroup.
    pub voxels: usize,
}

impl Classify {
    /// Workgroups of the launch.
    pub fn workgroups(&self) -> usize {
        self.batch * self.space.div_ceil(self.voxels)
    }
}

impl Kernel {
    /// Workgroups of the launch.
    pub fn workgroups(&self) -> usize {
        match self {
            Self::Depthwise(k) => k.workgroups(),
            Self::MergeStats(k) => k.batch,
            Self::Mlp(k) => k.workgroups(),
            Self::MergeGrn(k) => k.batch,
            Self::Pointwise(k) => k.workgroups(),
            Self::Classify(k) => k.workgroups(),
            Self::Gpu(k) => k.geometry().workgroups() as usize,
        }
    }

    /// Grid, block and shared memory, where the launch has them.
    pub fn geometry(&self) -> Option<mnx_artifact::Geometry> {
        match self {
            Self::Gpu(k) => Some(k.geometry()),
            Self::Depthwise(_) | Self::MergeStats(_) | Self::Mlp(_) | Self::MergeGrn(_) | Self::Pointwise(_) | Self::Classify(_) => None,
        }
    }

    /// The strategy that this kernel follows, as `mnxc list strategies` prints it.
    pub fn strategy(&self) -> &'static str {
        match self {
            Self::Depthwise(_) => "depthwise.ring",
            Self::MergeStats(_) => "merge.stats",
            Self::Mlp(k) => match k.source {
                MlpSource::Tensor { .. } => "mlp.tile",
                MlpSource::ConvLayerNorm { .. } => "mlp.conv_tile",
            },
            Self::MergeGrn(_) => "merge.grn",
            Self::Pointwise(_) => "pointwise.tile",
            Self::Classify(_) => "classify.rows",
            Self::Gpu(k) => k.strategy(),
        }
    }
}
