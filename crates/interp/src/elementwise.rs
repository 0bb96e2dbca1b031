//! Ops without weights: GELU, sums, padding, scatter, soft-max, arg-max.

use mnx_ir::StrideAttrs;

use crate::array::Array;
use crate::erf::erf;
use crate::real::Real;
use crate::shape::Grid;

/// `gelu`: in float64, rounded once.
pub(crate) fn gelu<T: Real>(input: &Array<T>) -> Array<T> {
    let value = |v: &T| {
        let x = v.to_f64();
        T::from_f64(0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)))
    };
    Array::new(&input.shape, input.data.iter().map(value).collect())
}

/// `add` and `weight.add`.
pub(crate) fn add<T: Real>(a: &Array<T>, b: &Array<T>) -> Array<T> {
    let sums = a.data.iter().zip(&b.data).map(|(&a, &b)| a + b).collect();
    Array::new(&a.shape, sums)
}

/// `sum.values`: from the first to the last.
pub(crate) fn sum_values<T: Real>(x: &[&Array<T>]) -> Array<T> {
    let mut y = x[0].clone();
    for other in &x[1..] {
        y = add(&y, other);
    }
    y
}

/// `add.bias`.
pub(crate) fn add_bias<T: Real>(input: &Array<T>, bias: &Array<T>) -> Array<T> {
    let g = Grid::of(&input.shape);
    let mut y = input.clone();
    for (i, channel) in y.data.chunks_exact_mut(g.voxels()).enumerate() {
        for v in channel {
            *v += bias.data[i % g.c];
        }
    }
    y
}

/// Copies each voxel `m` to `m * stride + shift` along every axis; zero elsewhere.
fn spread<T: Real>(input: &Array<T>, out: &[usize], stride: usize, shift: usize) -> Array<T> {
    let (gi, go) = (Grid::of(&input.shape), Grid::of(out));
    let flat = out.len() == 4;
    let depth = |d: usize| if flat { d } else { d * stride + shift };
    let mut y = Array::zeros(out);
    for n in 0..gi.n {
        for c in 0..gi.c {
            for d in 0..gi.space[0] {
                for h in 0..gi.space[1] {
                    let source = &input.data[gi.row(n, c, d, h)..][..gi.space[2]];
                    let row = &mut y.data[go.row(n, c, depth(d), h * stride + shift)..][..go.space[2]];
                    for (w, &v) in source.iter().enumerate() {
                        row[w * stride + shift] = v;
                    }
                }
            }
        }
    }
    y
}

/// `pad.front`.
pub(crate) fn pad_front<T: Real>(input: &Array<T>, out: &[usize]) -> Array<T> {
    spread(input, out, 1, 1)
}

/// `scatter`.
pub(crate) fn scatter<T: Real>(a: &StrideAttrs, input: &Array<T>, out: &[usize]) -> Array<T> {
    spread(input, out, a.stride, 0)
}

/// `softmax`: the channel maximum is subtracted first; a NaN makes its voxel NaN.
pub(crate) fn softmax<T: Real>(input: &Array<T>) -> Array<T> {
    let g = Grid::of(&input.shape);
    let voxels = g.voxels();
    let mut y = input.clone();
    for sample in y.data.chunks_exact_mut(g.c * voxels) {
        for v in 0..voxels {
            let logits: Vec<f64> = (0..g.c).map(|c| sample[c * voxels + v].to_f64()).collect();
            let largest = logits[largest(&logits)];
            let exps: Vec<f64> = logits.iter().map(|x| (x - largest).exp()).collect();
            let sum: f64 = exps.iter().sum();
            for (c, e) in exps.iter().enumerate() {
                sample[c * voxels + v] = T::from_f64(e / sum);
            }
        }
    }
    y
}

/// `argmax`: the first of equals; as in PyTorch, a NaN counts as largest.
pub(crate) fn argmax<T: Real>(input: &Array<T>, out: &[usize]) -> Array<T> {
    let g = Grid::of(&input.shape);
    let voxels = g.voxels();
    let mut y = Array::zeros(out);
    for n in 0..g.n {
        for v in 0..voxels {
            let logits: Vec<T> = (0..g.c).map(|c| input.data[(n * g.c + c) * voxels + v]).collect();
            y.data[n * voxels + v] = T::from_f64(largest(&logits) as f64);
        }
    }
    y
}

/// Index of the largest value, or of the first NaN.
fn largest<T: Real>(values: &[T]) -> usize {
    let mut best = 0;
    for (i, v) in values.iter().enumerate() {
        if values[best].is_nan() {
            return best;
        }
        if *v > values[best] || v.is_nan() {
            best = i;
        }
    }
    best
}
