//! Group and layer norms.

use mnx_ir::{ApplyAttrs, LayerAttrs, NormAttrs};

use crate::array::Array;
use crate::real::Real;
use crate::shape::Grid;

/// Mean and biased variance, summed in float64.
fn moments<T: Real>(values: &[T]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().map(|x| x.to_f64()).sum::<f64>() / count;
    let squares: f64 = values.iter().map(|x| (x.to_f64() - mean).powi(2)).sum();
    (mean, squares / count)
}

/// `norm.group`.
pub(crate) fn group<T: Real>(a: &NormAttrs, x: &[&Array<T>]) -> Array<T> {
    let (input, gamma, beta) = (x[0], x[1], x[2]);
    let g = Grid::of(&input.shape);
    let mut y = input.clone();
    let per_group = g.c / a.groups;
    for (i, values) in y.data.chunks_exact_mut(per_group * g.voxels()).enumerate() {
        let (mean, variance) = moments(values);
        let (mean, deviation) = (T::from_f64(mean), T::from_f64((variance + a.eps).sqrt()));
        for (j, channel) in values.chunks_exact_mut(g.voxels()).enumerate() {
            let c = i % a.groups * per_group + j;
            for v in channel {
                *v = (*v - mean) / deviation * gamma.data[c] + beta.data[c];
            }
        }
    }
    y
}

/// `norm.stats`.
pub(crate) fn stats<T: Real>(a: &NormAttrs, input: &Array<T>, out: &[usize]) -> Array<T> {
    let g = Grid::of(&input.shape);
    let mut y = Array::zeros(out);
    let size = g.c / a.groups * g.voxels();
    for (i, values) in input.data.chunks_exact(size).enumerate() {
        let (n, group) = (i / a.groups, i % a.groups);
        let (mean, variance) = moments(values);
        y.data[n * 2 * a.groups + group] = T::from_f64(mean);
        y.data[(n * 2 + 1) * a.groups + group] = T::from_f64(1.0 / (variance + a.eps).sqrt());
    }
    y
}

/// `norm.apply`.
pub(crate) fn apply<T: Real>(a: &ApplyAttrs, x: &[&Array<T>]) -> Array<T> {
    let (input, stats) = (x[0], x[1]);
    let affine = x.get(2).zip(x.get(3));
    let g = Grid::of(&input.shape);
    let mut y = input.clone();
    for (i, channel) in y.data.chunks_exact_mut(g.voxels()).enumerate() {
        let (n, c) = (i / g.c, i % g.c);
        let group = c / (g.c / a.groups);
        let mean = stats.data[n * 2 * a.groups + group];
        let rstd = stats.data[(n * 2 + 1) * a.groups + group];
        match affine {
            Some((gamma, beta)) => {
                for v in channel {
                    *v = (*v - mean) * rstd * gamma.data[c] + beta.data[c];
                }
            }
            None => {
                for v in channel {
                    *v = (*v - mean) * rstd;
                }
            }
        }
    }
    y
}

/// `norm.layer`.
pub(crate) fn layer<T: Real>(a: &LayerAttrs, x: &[&Array<T>]) -> Array<T> {
    let input = x[0];
    let affine = x.get(1).zip(x.get(2));
    let g = Grid::of(&input.shape);
    let voxels = g.voxels();
    let count = T::from_f64(g.c as f64);
    let mut y = input.clone();
    for sample in y.data.chunks_exact_mut(g.c * voxels) {
        let mut mean = vec![T::ZERO; voxels];
        for channel in sample.chunks_exact(voxels) {
            for (m, &v) in mean.iter_mut().zip(channel) {
                *m += v;
            }
        }
        for m in &mut mean {
            *m = *m / count;
        }
        let mut variance = vec![T::ZERO; voxels];
        for channel in sample.chunks_exact(voxels) {
            for ((s, &m), &v) in variance.iter_mut().zip(&mean).zip(channel) {
                *s += (v - m) * (v - m);
            }
        }
        let eps = T::from_f64(a.eps);
        for s in &mut variance {
            *s = (*s / count + eps).sqrt();
        }
        for (c, channel) in sample.chunks_exact_mut(voxels).enumerate() {
            for ((v, &m), &deviation) in channel.iter_mut().zip(&mean).zip(&variance) {
                *v = (*v - m) / deviation;
                if let Some((gamma, beta)) = affine {
                    *v = *v * gamma.data[c] + beta.data[c];
                }
            }
        }
    }
    y
}
