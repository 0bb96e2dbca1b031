//! What a launch costs: arithmetic, and the bytes that must pass between it and memory at least once (each buffer once per direction).

use mnx_artifact::Cost;

use crate::kernel::{Depthwise, Grn, Kernel, Mlp, MlpSource, Residual, voxels};

/// Cost of one launch. A multiply-add counts two operations; GELU (counted apart) and
/// normalisation are left out, as the published figures do.
pub fn cost(kernel: &Kernel) -> Cost {
    let bytes = kernel.args().iter().map(|a| (a.bytes() * (usize::from(a.read) + usize::from(a.written))) as u64).sum();
    let flops = match kernel {
        Kernel::Depthwise(k) => depthwise(k),
        Kernel::MergeStats(k) => 2 * (k.batch * k.parts * 2 * k.channels) as u64,
        Kernel::MergeGrn(k) => 2 * (k.batch * k.parts * k.channels) as u64,
        Kernel::Mlp(k) => mlp(k),
        Kernel::Pointwise(k) => 2 * (k.batch * voxels(k.output) * k.in_channels * k.out_channels) as u64,
        Kernel::Classify(k) => (k.batch * k.space * k.classes) as u64,
        Kernel::Gpu(k) => k.work().0,
    };
    Cost { flops, bytes, gelus: gelus(kernel) }
}

/// GELUs evaluated: one per hidden value, in each launch that makes the hidden values.
fn gelus(kernel: &Kernel) -> u64 {
    match kernel {
        Kernel::Mlp(k) => (k.batch * voxels(k.grid) * k.hidden) as u64,
        Kernel::Gpu(k) => k.work().1,
        Kernel::Depthwise(_) | Kernel::MergeStats(_) | Kernel::MergeGrn(_) | Kernel::Pointwise(_) | Kernel::Classify(_) => 0,
    }
}

pub(crate) fn depthwise(k: &Depthwise) -> u64 {
    // A transposed convolution multiplies each input voxel by every tap.
    let sites = if k.transposed { k.input } else { k.output };
    let conv = k.channels * voxels(sites) * voxels(k.taps);
    let stem = k.stem.map_or(0, |image| voxels(k.input) * image * k.channels);
    2 * (k.batch * (conv + stem)) as u64
}

fn mlp(k: &Mlp) -> u64 {
    let m = voxels(k.grid);
    let compress = if k.grn == Grn::Partials { 0 } else { m * k.hidden * k.out_channels };
    let residual = match k.residual {
        Residual::Stem { channels } | Residual::Strided { channels, .. } => m * channels * k.out_channels,
        Residual::None | Residual::Identity | Residual::Scattered { .. } => 0,
    };
    let head = k.head.map_or(0, |classes| m * classes * k.out_channels);
    let conv = match &k.source {
        MlpSource::Tensor { .. } => 0,
        MlpSource::ConvLayerNorm { conv, .. } => depthwise(conv),
    };
    conv + 2 * (k.batch * (m * k.channels * k.hidden + compress + residual + head)) as u64
}
