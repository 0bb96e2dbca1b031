//! Weights derived from weights.

use crate::array::Array;
use crate::real::Real;

/// Values of each of the weight's `[o, i]` slices.
fn slice<T: Real>(weight: &Array<T>) -> usize {
    weight.shape[2..].iter().product()
}

/// `weight.scale_in`.
pub(crate) fn scale_in<T: Real>(weight: &Array<T>, scale: &Array<T>) -> Array<T> {
    let mut y = weight.clone();
    let inputs = weight.shape[1];
    let size = slice(weight);
    for (j, v) in y.data.iter_mut().enumerate() {
        *v = *v * scale.data[j / size % inputs];
    }
    y
}

/// `weight.fold_bias`: summed in float64, rounded once.
pub(crate) fn fold_bias<T: Real>(weight: &Array<T>, shift: &Array<T>, bias: &Array<T>) -> Array<T> {
    let rows = weight.data.chunks_exact(weight.shape[1]);
    let folded = rows.zip(&bias.data).map(|(row, b)| {
        let products = row.iter().zip(&shift.data);
        let sum: f64 = products.map(|(w, s)| w.to_f64() * s.to_f64()).sum();
        T::from_f64(b.to_f64() + sum)
    });
    Array::new(&bias.shape, folded.collect())
}

/// `weight.transpose_io`.
pub(crate) fn transpose_io<T: Real>(weight: &Array<T>, out: &[usize]) -> Array<T> {
    let mut y = Array::zeros(out);
    let (rows, columns) = (weight.shape[0], weight.shape[1]);
    let size = slice(weight);
    for r in 0..rows {
        for c in 0..columns {
            for s in 0..size {
                y.data[(c * rows + r) * size + s] = weight.data[(r * columns + c) * size + s];
            }
        }
    }
    y
}
