//! Depthwise convolutions.

use std::ops::Range;

use mnx_ir::ConvAttrs;

use crate::array::Array;
use crate::real::Real;
use crate::shape::{Grid, axpy, three};

/// Step, padding and taps along each axis; the depth of a 2-D network has step 1, no padding, one tap.
struct Window {
    stride: [usize; 3],
    pad: [usize; 3],
    taps: [usize; 3],
}

impl Window {
    fn of(a: &ConvAttrs, weight: &[usize]) -> Self {
        let flat = weight.len() == 4;
        let lead = |value: usize, flat_value: usize| [if flat { flat_value } else { value }, value, value];
        Self { stride: lead(a.stride, 1), pad: lead(a.pad, 0), taps: three(&weight[2..], 1) }
    }

    /// Index `i * stride - pad + q` along an axis, if below `extent`.
    fn tap(&self, axis: usize, i: usize, q: usize, extent: usize) -> Option<usize> {
        (i * self.stride[axis] + q).checked_sub(self.pad[axis]).filter(|at| *at < extent)
    }

    /// Columns `i < count` along the width for which [`Window::tap`] exists.
    fn columns(&self, q: usize, count: usize, extent: usize) -> Range<usize> {
        let (s, p) = (self.stride[2], self.pad[2]);
        let low = p.saturating_sub(q).div_ceil(s);
        let high = (extent + p).saturating_sub(q).div_ceil(s).min(count);
        low.min(high)..high
    }
}

/// `conv.depthwise`.
pub(crate) fn depthwise<T: Real>(a: &ConvAttrs, x: &[&Array<T>], out: &[usize]) -> Array<T> {
    let (input, weight, bias) = (x[0], x[1], x.get(2));
    let window = Window::of(a, &weight.shape);
    let (gi, go) = (Grid::of(&input.shape), Grid::of(out));
    let mut y = Array::zeros(out);
    let [wi, wo] = [gi.space[2], go.space[2]];
    let [kd, kh, kw] = window.taps;
    for n in 0..go.n {
        for c in 0..go.c {
            let filter = &weight.data[c * kd * kh * kw..][..kd * kh * kw];
            let b = bias.map_or(T::ZERO, |b| b.data[c]);
            for od in 0..go.space[0] {
                for oh in 0..go.space[1] {
                    let row = &mut y.data[go.row(n, c, od, oh)..][..wo];
                    row.fill(b);
                    for qd in 0..kd {
                        let Some(id) = window.tap(0, od, qd, gi.space[0]) else {
                            continue;
                        };
                        for qh in 0..kh {
                            let Some(ih) = window.tap(1, oh, qh, gi.space[1]) else {
                                continue;
                            };
                            let source = &input.data[gi.row(n, c, id, ih)..][..wi];
                            for qw in 0..kw {
                                let columns = window.columns(qw, wo, wi);
                                let Some(first) = window.tap(2, columns.start, qw, wi) else {
                                    continue;
                                };
                                let w = filter[(qd * kh + qh) * kw + qw];
                                axpy(&mut row[columns], 1, w, &source[first..], window.stride[2]);
                            }
                        }
                    }
                }
            }
        }
    }
    y
}

/// `conv.depthwise_transposed`.
pub(crate) fn depthwise_transposed<T: Real>(a: &ConvAttrs, x: &[&Array<T>], out: &[usize]) -> Array<T> {
    let (input, weight, bias) = (x[0], x[1], x.get(2));
    let window = Window::of(a, &weight.shape);
    let (gi, go) = (Grid::of(&input.shape), Grid::of(out));
    let mut y = Array::zeros(out);
    let [wi, wo] = [gi.space[2], go.space[2]];
    let [kd, kh, kw] = window.taps;
    for n in 0..gi.n {
        for c in 0..gi.c {
            let filter = &weight.data[c * kd * kh * kw..][..kd * kh * kw];
            let start = go.row(n, c, 0, 0);
            y.data[start..][..go.voxels()].fill(bias.map_or(T::ZERO, |b| b.data[c]));
            for id in 0..gi.space[0] {
                for ih in 0..gi.space[1] {
                    let source = &input.data[gi.row(n, c, id, ih)..][..wi];
                    for qd in 0..kd {
                        let Some(od) = window.tap(0, id, qd, go.space[0]) else {
                            continue;
                        };
                        for qh in 0..kh {
                            let Some(oh) = window.tap(1, ih, qh, go.space[1]) else {
                                continue;
                            };
                            let row = &mut y.data[go.row(n, c, od, oh)..][..wo];
                            for qw in 0..kw {
                                let columns = window.columns(qw, wi, wo);
                                let Some(first) = window.tap(2, columns.start, qw, wo) else {
                                    continue;
                                };
                                let w = filter[(qd * kh + qh) * kw + qw];
                                axpy(&mut row[first..], window.stride[2], w, &source[columns], 1);
                            }
                        }
                    }
                }
            }
        }
    }
    y
}
