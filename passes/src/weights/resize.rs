//! Linear resizing of spatial kernels, as PyTorch's `interpolate(mode='trilinear' | 'bilinear', align_corners=False)` without antialias.

use mnx_weights::Tensor;

/// For each output position: the two source positions and the weight of the second.
///
/// Source coordinate `s = max((i + 1/2) * from / to - 1/2, 0)`, linear between `floor(s)` and `min(floor(s) + 1, from - 1)`.
fn taps(from: usize, to: usize) -> Vec<(usize, usize, f64)> {
    let scale = from as f64 / to as f64;
    (0..to)
        .map(|i| {
            let s = (i as f64 + 0.5).mul_add(scale, -0.5).max(0.0);
            let low = (s as usize).min(from - 1);
            (low, (low + 1).min(from - 1), s - low as f64)
        })
        .collect()
}

/// Resizes every axis from the third on; the first two stay. Sums run in float64, innermost axis first, and are rounded once.
///
/// Multiplications are fused with additions exactly where PyTorch's x86 build fuses them: with 24-bit weights and fifths, results fall
/// on ties of float32 often enough for the last bit to show.
///
/// # Panics
/// If the ranks differ or an extent is zero: the caller checks shapes.
pub fn resize_linear(x: &Tensor, space: &[usize]) -> Tensor {
    assert_eq!(x.shape.len(), space.len() + 2, "one extent for each spatial axis");
    let mut shape = x.shape.clone();
    let mut data: Vec<f64> = x.data.iter().map(|&v| f64::from(v)).collect();
    for axis in (2..shape.len()).rev() {
        let (from, to) = (shape[axis], space[axis - 2]);
        if from == to {
            continue;
        }
        assert!(from > 0 && to > 0, "an empty kernel cannot be resized");
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis + 1..].iter().product();
        let mut next = Vec::with_capacity(outer * to * inner);
        for o in 0..outer {
            for &(low, high, t) in &taps(from, to) {
                for i in 0..inner {
                    let at = |p: usize| data[(o * from + p) * inner + i];
                    next.push(at(low).mul_add(1.0 - t, t * at(high)));
                }
            }
        }
        data = next;
        shape[axis] = to;
    }
    Tensor::new(shape, data.into_iter().map(|v| v as f32).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use mnx_weights::det;

    /// Rows of the one-dimensional matrices , worked out by hand.
    #[test]
    fn one_axis_equals_the_published_matrices() {
        let rows = |from: usize, to: usize| -> Vec<Vec<f64>> {
            taps(from, to)
                .into_iter()
                .map(|(low, high, t)| {
                    let mut row = vec![0.0; from];
                    row[low] += 1.0 - t;
                    row[high] += t;
                    row
                })
                .collect()
        };
        let close = |a: &[Vec<f64>], b: &[&[f64]]| {
            assert_eq!(a.len(), b.len());
            for (x, y) in a.iter().flatten().zip(b.iter().copied().flatten()) {
                assert!((x - y).abs() < 1e-15, "{x} {y}");
            }
        };
        close(&rows(3, 5), &[&[1., 0., 0.], &[0.6, 0.4, 0.], &[0., 1., 0.], &[0., 0.4, 0.6], &[0., 0., 1.]]);
        let s = 1.0 / 7.0;
        close(
            &rows(3, 7),
            &[
                &[1., 0., 0.],
                &[6. * s, s, 0.],
                &[3. * s, 4. * s, 0.],
                &[0., 1., 0.],
                &[0., 4. * s, 3. * s],
                &[0., s, 6. * s],
                &[0., 0., 1.],
            ],
        );
        let t = 1.0 / 3.0;
        close(&rows(5, 3), &[&[2. * t, t, 0., 0., 0.], &[0., 0., 1., 0., 0.], &[0., 0., 0., t, 2. * t]]);
    }

    /// Axes are resized one after another; the sum over all corners says the same.
    #[test]
    fn separable_axes_equal_the_sum_over_corners() {
        for (from, to) in [([3usize, 3, 3], [5usize, 7, 4]), ([5, 3, 4], [3, 5, 4]), ([1, 2, 7], [3, 5, 5])] {
            let n: usize = from.iter().product();
            let x = Tensor::new(vec![2, 1, from[0], from[1], from[2]], det("resize", 2 * n).map(|v| v as f32).collect());
            let y = resize_linear(&x, &to);
            assert_eq!(y.shape, [2, 1, to[0], to[1], to[2]]);
            let t: Vec<_> = (0..3).map(|a| taps(from[a], to[a])).collect();
            for c in 0..2 {
                for (i, got) in y.data[c * y.len() / 2..(c + 1) * y.len() / 2].iter().enumerate() {
                    let at = [i / (to[1] * to[2]), i / to[2] % to[1], i % to[2]];
                    let mut want = 0.0;
                    for corner in 0..8 {
                        let (mut index, mut weight) = (c, 1.0);
                        for a in 0..3 {
                            let (low, high, f) = t[a][at[a]];
                            let upper = corner >> a & 1 == 1;
                            index = index * from[a] + if upper { high } else { low };
                            weight *= if upper { f } else { 1.0 - f };
                        }
                        want += weight * f64::from(x.data[index]);
                    }
                    assert!((f64::from(*got) - want).abs() <= 1e-6 * want.abs().max(0.1), "{got} {want}");
                }
            }
        }
    }
}
