//! The small kernels around convolution and GEMM: merging, folding, layer norm, ports, classification.

use super::{Family, Geometry, Storage, no_knobs};
use crate::args::{Arg, Element};
use crate::kernel::{Bits, Extent, voxels};
use crate::target::Gpu;

/// Threads of the kernels whose workgroups are not tiled.
pub const THREADS: usize = 256;

/// Channels per workgroup of [`MergeStats`] and [`SumParts`]; the other threads of a workgroup share the parts.
pub const MERGED_CHANNELS: usize = 16;

/// `mean = sum n_p mean_p / count`, `rstd = 1 / sqrt((sum m2_p + n_p (mean_p - mean)^2) / count + eps)`, parts in a fixed order, float32.
///
/// Args: `partials` f32 `[n, parts, 3, c]` (count, mean, sum of squared differences), `stats` f32 `[n, 2, c]` (mean, rstd). Grid: x = blocks of [`MERGED_CHANNELS`], y = samples.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MergeStats {
    /// Samples.
    pub batch: usize,
    /// Channels, padded.
    pub channels: usize,
    /// Parts per sample.
    pub parts: usize,
    /// Voxels the statistics run over.
    pub count: usize,
    /// Epsilon.
    pub eps: Bits,
}

/// What is folded into a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Folded {
    /// Normalisation: `w'[o, i] = w[o, i] rstd[i]`, rounded to the storage type; `b'[o] = b[o] - sum_i w'[o, i] mean[i]`. Reads `stats` f32 `[n, 2, k]`.
    Norm,
    /// GRN: `w'[o, i] = w[o, i] (gamma[i] ratio[i] + 1)`; `b'[o] = b[o] + sum_i w[o, i] beta[i]`. Reads `ratio` f32 `[n, k]`, `gamma` f32 `[k]`, `beta` f32 `[k]`.
    Grn,
}

/// A pointwise weight with what precedes it folded in, per sample.
///
/// Args: what [`Folded`] reads, `w` f32 `[rows, k]`, `b` f32 `[rows]`, `wf` storage `[n, rows, k]`, `bf` f32 `[n, rows]`. Grid: x = groups of 8 rows (a warp each), y = samples.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fold {
    /// Samples.
    pub batch: usize,
    /// Input channels of the weight, padded.
    pub channels: usize,
    /// Output channels of the weight, padded.
    pub rows: usize,
    /// What is folded in.
    pub folded: Folded,
    /// Element type of the result.
    pub storage: Storage,
}

/// `y = (x - mean) rsqrt(var + eps)` over the real channels of each voxel; padded channels stay zero. In place.
///
/// Args: `y` storage `[n, grid, c]`, updated. A warp per voxel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayerNorm {
    /// Voxels, over all samples.
    pub voxels: usize,
    /// Real channels.
    pub channels: usize,
    /// Epsilon.
    pub eps: Bits,
    /// Element type.
    pub storage: Storage,
}

/// Sums of groups of parts: `y[n, q, c] = sum of x[n, p, c]` for the parts p of group q, in order.
///
/// Args: `partials` f32 `[n, parts, c]`, `sums` f32 `[n, parts.div_ceil(group), c]`. Grid: x = groups, y = samples.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SumParts {
    /// Samples.
    pub batch: usize,
    /// Columns, padded.
    pub channels: usize,
    /// Parts per sample.
    pub parts: usize,
    /// Parts per group.
    pub group: usize,
}

/// `g[e] = sqrt(sum over parts)`, `ratio[e] = g[e] / (reduce_e(g) + eps)`.
///
/// Args: `partials` f32 `[n, parts, e]`, `ratio` f32 `[n, e]`. One workgroup per sample (grid y).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MergeGrn {
    /// Samples.
    pub batch: usize,
    /// Hidden channels, padded.
    pub channels: usize,
    /// Hidden channels that a mean is taken over.
    pub real: usize,
    /// Parts per sample.
    pub parts: usize,
    /// Epsilon.
    pub eps: Bits,
    /// Whether the denominator is the channel mean, else the sum.
    pub mean: bool,
}

/// `y[n, m] = w x[n, m * stride] + b`, a thread per voxel of `output`.
///
/// Args: `x` (port f32 `[n, ci, input]` or storage `[n, input, ci]`), `w` f32 `[co, ci]`, with bias `b` f32 `[co]`, `y` (port f32 or storage, likewise).
/// Channels of inner tensors are padded, those of ports are not.
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
    /// x is a port.
    pub in_first: bool,
    /// y is a port.
    pub out_first: bool,
    /// Whether a bias is added.
    pub bias: bool,
    /// Element type of inner tensors.
    pub storage: Storage,
}

/// Soft-max (max subtracted) or arg-max (first of equals) over the classes of a port, a thread per voxel.
///
/// Args: `x` f32 `[n, classes, voxels]`, `y` f32 `[n, classes, voxels]` or i32 `[n, voxels]`.
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
}

fn flat(items: usize, per_block: usize, batch: usize, shared_bytes: usize) -> Geometry {
    Geometry { grid: [items.div_ceil(per_block) as u32, batch as u32, 1], block: [THREADS as u32, 1, 1], shared_bytes: shared_bytes as u32 }
}

impl Family for MergeStats {
    fn args(&self) -> Vec<Arg> {
        vec![Arg::read("partials", self.batch * self.parts * 3 * self.channels), Arg::write("stats", self.batch * 2 * self.channels)]
    }
    fn geometry(&self) -> Geometry {
        flat(self.channels, MERGED_CHANNELS, self.batch, 4 * THREADS)
    }
    no_knobs!();
    fn legal(&self, _gpu: &Gpu) -> Result<(), String> {
        Ok(())
    }
    fn strategy(&self) -> &'static str {
        "gpu.merge_stats"
    }
    fn work(&self) -> (u64, u64) {
        ((6 * self.batch * self.parts * self.channels) as u64, 0)
    }
}

impl Family for Fold {
    fn args(&self) -> Vec<Arg> {
        let (n, k, rows) = (self.batch, self.channels, self.rows);
        let mut args = match self.folded {
            Folded::Norm => vec![Arg::read("stats", n * 2 * k)],
            Folded::Grn => vec![Arg::read("ratio", n * k), Arg::read("gamma", k), Arg::read("beta", k)],
        };
        args.push(Arg::read("w", rows * k));
        args.push(Arg::read("b", rows));
        args.push(Arg::write("wf", n * rows * k).of(self.storage.element()));
        args.push(Arg::write("bf", n * rows));
        args
    }
    fn geometry(&self) -> Geometry {
        flat(self.rows, THREADS / 32, self.batch, 0)
    }
    no_knobs!();
    fn legal(&self, _gpu: &Gpu) -> Result<(), String> {
        Ok(())
    }
    fn strategy(&self) -> &'static str {
        "gpu.fold"
    }
    fn work(&self) -> (u64, u64) {
        ((3 * self.batch * self.rows * self.channels) as u64, 0)
    }
}

impl Family for LayerNorm {
    fn args(&self) -> Vec<Arg> {
        vec![Arg::update("y", self.voxels * super::padded(self.channels)).of(self.storage.element())]
    }
    fn geometry(&self) -> Geometry {
        flat(self.voxels, THREADS / 32, 1, 0)
    }
    no_knobs!();
    fn legal(&self, _gpu: &Gpu) -> Result<(), String> {
        Ok(())
    }
    fn strategy(&self) -> &'static str {
        "gpu.layer_norm"
    }
    fn work(&self) -> (u64, u64) {
        ((6 * self.voxels * self.channels) as u64, 0)
    }
}

impl Family for SumParts {
    fn args(&self) -> Vec<Arg> {
        let groups = self.parts.div_ceil(self.group);
        vec![Arg::read("partials", self.batch * self.parts * self.channels), Arg::write("sums", self.batch * groups * self.channels)]
    }
    fn geometry(&self) -> Geometry {
        flat(self.parts, self.group, self.batch, 0)
    }
    no_knobs!();
    fn legal(&self, _gpu: &Gpu) -> Result<(), String> {
        Ok(())
    }
    fn strategy(&self) -> &'static str {
        "gpu.sum_parts"
    }
    fn work(&self) -> (u64, u64) {
        ((self.batch * self.parts * self.channels) as u64, 0)
    }
}

impl Family for MergeGrn {
    fn args(&self) -> Vec<Arg> {
        vec![Arg::read("partials", self.batch * self.parts * self.channels), Arg::write("ratio", self.batch * self.channels)]
    }
    fn geometry(&self) -> Geometry {
        Geometry { grid: [1, self.batch as u32, 1], block: [THREADS as u32, 1, 1], shared_bytes: (4 * (self.channels + THREADS)) as u32 }
    }
    no_knobs!();
    fn legal(&self, _gpu: &Gpu) -> Result<(), String> {
        Ok(())
    }
    fn strategy(&self) -> &'static str {
        "gpu.merge_grn"
    }
    fn work(&self) -> (u64, u64) {
        ((self.batch * self.parts * self.channels) as u64, 0)
    }
}

impl Family for Pointwise {
    fn args(&self) -> Vec<Arg> {
        let element = |port: bool| if port { Element::F32 } else { self.storage.element() };
        let mut args = vec![
            Arg::read("x", self.batch * voxels(self.input) * self.in_channels).of(element(self.in_first)),
            Arg::read("w", self.out_channels * self.in_channels),
        ];
        if self.bias {
            args.push(Arg::read("b", self.out_channels));
        }
        args.push(Arg::write("y", self.batch * voxels(self.output) * self.out_channels).of(element(self.out_first)));
        args
    }
    fn geometry(&self) -> Geometry {
        flat(voxels(self.output), THREADS, self.batch, 0)
    }
    no_knobs!();
    fn legal(&self, _gpu: &Gpu) -> Result<(), String> {
        Ok(())
    }
    fn strategy(&self) -> &'static str {
        "gpu.pointwise"
    }
    fn work(&self) -> (u64, u64) {
        ((2 * self.batch * voxels(self.output) * self.in_channels * self.out_channels) as u64, 0)
    }
}

impl Family for Classify {
    fn args(&self) -> Vec<Arg> {
        let x = Arg::read("x", self.batch * self.classes * self.space);
        let y = if self.argmax {
            Arg::write("y", self.batch * self.space).of(Element::I32)
        } else {
            Arg::write("y", self.batch * self.classes * self.space)
        };
        vec![x, y]
    }
    fn geometry(&self) -> Geometry {
        flat(self.space, THREADS, self.batch, 0)
    }
    no_knobs!();
    fn legal(&self, _gpu: &Gpu) -> Result<(), String> {
        Ok(())
    }
    fn strategy(&self) -> &'static str {
        "gpu.classify"
    }
    fn work(&self) -> (u64, u64) {
        ((self.batch * self.space * self.classes) as u64, 0)
    }
}
