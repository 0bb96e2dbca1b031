//! Plain float64 definitions of the matrix kernels.

use crate::bench::Buffers;
use mnx_plan::gpu::{Epilogue, Gemm, Mlp};
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::{Extent, voxels};
use mnx_plan::work::Residual;

/// GELU in its erf form; erf by its Taylor series, erfc by its continued fraction.
pub fn gelu(x: f64) -> f64 {
    x * 0.5 * erfc(-x / std::f64::consts::SQRT_2)
}

fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let scale = 2.0 / std::f64::consts::PI.sqrt();
    if x < 2.5 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return 1.0 - scale * sum;
    }
    let tail = (1..200).rev().fold(0.0, |f, n| f64::from(n) / 2.0 / (x + f));
    scale / 2.0 * (-x * x).exp() / (x + tail)
}

/// `w x + b` of one voxel.
fn affine(x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
    w.chunks_exact(x.len()).zip(b).map(|(row, b)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b).collect()
}

/// The sample's part of a buffer that may be per sample.
fn part(buffer: &[f64], per: bool, n: usize, batch: usize) -> &[f64] {
    if per { &buffer[n * buffer.len() / batch..][..buffer.len() / batch] } else { buffer }
}

fn coordinates(voxel: usize, e: Extent) -> Extent {
    [voxel / (e[1] * e[2]), voxel / e[2] % e[1], voxel % e[2]]
}

fn flat(e: Extent, n: usize, p: Extent) -> usize {
    ((n * e[0] + p[0]) * e[1] + p[1]) * e[2] + p[2]
}

/// Values of an MLP before its epilogue, `[n, voxel, out]`.
pub fn mlp(k: &Mlp, given: &Buffers) -> Vec<f64> {
    let m = voxels(k.grid);
    let one = |i: usize| {
        let n = i / m;
        let get = |slot, per| part(given.get(slot), per, n, k.batch);
        let x = &given.get(Slot::X)[i * k.channels..][..k.channels];
        let x: Vec<f64> = if k.norm {
            let (mean, rstd) = given.get(Slot::Stats)[2 * n * k.channels..][..2 * k.channels].split_at(k.channels);
            x.iter().zip(mean).zip(rstd).map(|((x, mean), rstd)| (x - mean) * rstd).collect()
        } else {
            x.to_vec()
        };
        let hidden: Vec<f64> = affine(&x, get(Slot::W2, k.folded), get(Slot::B2, k.folded)).into_iter().map(gelu).collect();
        affine(&hidden, get(Slot::W3, k.grn_folded), get(Slot::B3, k.grn_folded))
    };
    (0..k.batch * m).flat_map(one).collect()
}

/// Values of a GEMM before its epilogue.
pub fn gemm(k: &Gemm, given: &Buffers) -> Vec<f64> {
    let m = voxels(k.grid);
    let one = |i: usize| {
        let n = i / m;
        let at = coordinates(i % m, k.grid);
        let from = flat(k.from, n, [0, 1, 2].map(|a| at[a] * k.stride[a]));
        let x = &given.get(Slot::X)[from * k.channels..][..k.channels];
        let values = affine(x, part(given.get(Slot::W), k.folded, n, k.batch), part(given.get(Slot::B), k.folded, n, k.batch));
        if k.gelu.is_some() { values.into_iter().map(gelu).collect() } else { values }
    };
    (0..k.batch * m).flat_map(one).collect::<Vec<f64>>()
}

/// What a block's end starts from: the values of its product, `[batch, grid, channels]`.
pub struct Values<'a> {
    pub batch: usize,
    pub grid: Extent,
    pub channels: usize,
    pub values: &'a [f64],
}

/// The result and the logits. `res` and `skip` are read by these slots, in place or not.
pub fn end(e: &Epilogue, before: &Values, given: &Buffers) -> (Vec<f64>, Vec<f64>) {
    let &Values { batch, grid, channels, values } = before;
    let output = e.output(grid);
    let all = batch * voxels(output);
    let mut out = if e.skip { given.get(Slot::Skip).to_vec() } else { vec![0.0; all * channels] };
    for i in 0..batch * voxels(grid) {
        let (n, at) = (i / voxels(grid), coordinates(i % voxels(grid), grid));
        let to = flat(output, n, [0, 1, 2].map(|a| at[a] + e.pad_front[a]));
        for c in 0..channels {
            let residual = match e.residual {
                Residual::None => 0.0,
                Residual::Identity => given.get(Slot::Res)[i * channels + c],
                Residual::Stem { channels: image } => {
                    let m = voxels(grid);
                    let value = |j: usize| given.get(Slot::ResW)[c * image + j] * given.get(Slot::Res)[(n * image + j) * m + i % m];
                    (0..image).map(value).sum()
                }
                Residual::Strided { from, channels: own, stride } => {
                    let x = &given.get(Slot::Res)[flat(from, n, [0, 1, 2].map(|a| at[a] * stride[a])) * own..][..own];
                    x.iter().zip(&given.get(Slot::ResW)[c * own..]).map(|(x, w)| x * w).sum()
                }
                Residual::Scattered { from, stride } => {
                    if (0..3).all(|a| at[a] % stride[a] == 0) {
                        given.get(Slot::Res)[flat(from, n, [0, 1, 2].map(|a| at[a] / stride[a])) * channels + c]
                    } else {
                        0.0
                    }
                }
            };
            out[to * channels + c] += values[i * channels + c] + residual;
        }
    }
    let mut logits = vec![0.0; all * e.head.unwrap_or(0)];
    if let Some(classes) = e.head {
        let m = voxels(output);
        for i in 0..all {
            let row = &out[i * channels..][..channels];
            for (class, value) in affine(row, given.get(Slot::HeadW), given.get(Slot::HeadB)).into_iter().enumerate() {
                logits[(i / m * classes + class) * m + i % m] = value;
            }
        }
    }
    (out, logits)
}
