//! Global response normalisation.

use mnx_ir::{GrnAttrs, GrnReduce};

use crate::array::Array;
use crate::real::Real;
use crate::shape::Grid;

/// `grn.stats`: sums over space and channels run in float64.
pub(crate) fn stats<T: Real>(a: &GrnAttrs, input: &Array<T>) -> Array<T> {
    let g = Grid::of(&input.shape);
    let norms: Vec<f64> =
        input.data.chunks_exact(g.voxels()).map(|channel| channel.iter().map(|v| v.to_f64().powi(2)).sum::<f64>().sqrt()).collect();
    let mut ratios = Vec::with_capacity(norms.len());
    for sample in norms.chunks_exact(g.c) {
        let sum: f64 = sample.iter().sum();
        let denominator = a.eps
            + match a.reduce {
                GrnReduce::Mean => sum / g.c as f64,
                GrnReduce::Sum => sum,
            };
        ratios.extend(sample.iter().map(|norm| T::from_f64(norm / denominator)));
    }
    Array::new(&[g.n, g.c], ratios)
}

/// `grn.apply`, in the official order of operations: `gamma * (x * r) + beta + x`.
pub(crate) fn apply<T: Real>(x: &[&Array<T>]) -> Array<T> {
    let (input, ratio, gamma, beta) = (x[0], x[1], x[2], x[3]);
    let g = Grid::of(&input.shape);
    let mut y = input.clone();
    for (i, channel) in y.data.chunks_exact_mut(g.voxels()).enumerate() {
        let (r, gamma, beta) = (ratio.data[i], gamma.data[i % g.c], beta.data[i % g.c]);
        for v in channel {
            *v = gamma * (*v * r) + beta + *v;
        }
    }
    y
}

/// `grn`.
pub(crate) fn grn<T: Real>(a: &GrnAttrs, x: &[&Array<T>]) -> Array<T> {
    let (input, gamma, beta) = (x[0], x[1], x[2]);
    apply(&[input, &stats(a, input), gamma, beta])
}
