//! Resampling between voxel grids, separable, in float64: nnU-Net's recipe.
//!
//! Output sample `o` of an axis going from `n` to `m` samples lies at `t = (o + 0.5) n / m - 0.5`.
//! Order 3 interpolates with a cubic B-spline whose coefficients come from the recursive prefilter
//! with pole sqrt(3) - 2; order 1 is linear between clamped neighbours; order 0 takes the sample at
//! `floor(t + 0.5)`. The result is clipped to the range of its input, as scikit-image's `resize` does.

use rayon::prelude::*;

use crate::error::{VolumeError, try_filled};
use crate::orientation::AxisMap;

/// Interpolation order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nearest sample.
    Nearest,
    /// Linear.
    Linear,
    /// Cubic B-spline.
    Cubic,
}

/// A grid counts as anisotropic from this ratio of largest to smallest spacing.
const ANISOTROPY: f64 = 3.0;

/// The pole of the cubic B-spline prefilter, sqrt(3) - 2.
const POLE: f64 = -0.267_949_192_431_122_7;

/// Edge samples added on each side. The recursions start and end in closed form for a signal that
/// stays at its edge value for ever, so the pad only has to reach the outermost taps; SciPy's pad of
/// 12 with reflected ends agrees with that to 1e-14.
const PAD: usize = 3;

/// Lines filtered side by side, so that the recursion along a line is vector code across lines.
const LANES: usize = 8;

type Lanes = [f64; LANES];

/// Voxels per axis after going from `current` to `new` spacing: rounded half to even, at least 1.
pub fn new_shape(shape: [usize; 3], current: [f64; 3], new: [f64; 3]) -> [usize; 3] {
    std::array::from_fn(|a| ((current[a] / new[a] * shape[a] as f64).round_ties_even() as usize).max(1))
}

/// The one coarse axis that is resampled on its own with the nearest sample, if the current spacing
/// (else the new one) has a largest-to-smallest ratio above 3 and only one axis has that spacing.
pub fn separate_axis(current: [f64; 3], new: [f64; 3]) -> Option<usize> {
    let largest = |s: [f64; 3]| s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let smallest = |s: [f64; 3]| s.iter().copied().fold(f64::INFINITY, f64::min);
    let anisotropic = |s: [f64; 3]| largest(s) / smallest(s) > ANISOTROPY;
    let judged = if anisotropic(current) {
        current
    } else if anisotropic(new) {
        new
    } else {
        return None;
    };
    let top = largest(judged);
    let mut coarse = (0..3).filter(|&a| top / judged[a] == 1.0);
    let axis = coarse.next();
    if coarse.next().is_some() { None } else { axis }
}

/// Resamples `channels` volumes from `shape` to `to` (z, y, x). With `separate`, every plane across
/// that axis is resampled (and clipped) by itself in `order` and the axis takes nearest planes;
/// otherwise all axes are interpolated and each channel is clipped to its own range.
///
/// # Errors
/// When memory for the result cannot be had.
///
/// # Panics
/// When `data` is not `channels` times `shape` long or an axis is empty.
pub fn resample(
    data: &[f32],
    channels: usize,
    shape: [usize; 3],
    to: [usize; 3],
    order: Order,
    separate: Option<usize>,
) -> Result<Vec<f32>, VolumeError> {
    let voxels: usize = shape.iter().product();
    assert_eq!(data.len(), channels * voxels, "voxels given and shape differ");
    assert!(shape.iter().chain(&to).all(|&n| n > 0), "an axis is empty");
    let target = to.iter().try_fold(channels, |acc, &n| acc.checked_mul(n));
    let target = target.ok_or_else(|| VolumeError::Memory { what: "resampled volume".into(), bytes: usize::MAX })?;
    let mut out = crate::error::try_reserve(target, "resampled volume")?;
    for channel in data.chunks_exact(voxels) {
        if shape == to {
            out.extend_from_slice(channel);
        } else if let Some(axis) = separate {
            // Bring the coarse axis to the front, work plane by plane, and turn back.
            let front = match axis {
                0 => AxisMap::IDENTITY,
                1 => AxisMap { perm: [1, 0, 2], flip: [false; 3] },
                _ => AxisMap { perm: [2, 0, 1], flip: [false; 3] },
            };
            let (from, onto) = (front.permute(shape), front.permute(to));
            let turned = front.apply(channel, 1, shape)?;
            let planes = by_planes(&turned, from, onto, order)?;
            out.extend_from_slice(&front.inverse().apply(&planes, 1, onto)?);
        } else {
            out.extend_from_slice(&whole(channel, shape, to, order)?);
        }
    }
    Ok(out)
}

fn range(data: &[f32]) -> (f64, f64) {
    let (low, high) = data.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    (f64::from(low), f64::from(high))
}

/// Clips as scikit-image does; plain comparisons, since `clamp` would panic on a volume of NaN.
fn clip(v: f64, (low, high): (f64, f64)) -> f32 {
    (if v < low {
        low
    } else if v > high {
        high
    } else {
        v
    }) as f32
}

/// Planes interpolated each by itself, then the nearest plane per output plane.
fn by_planes(data: &[f32], from: [usize; 3], to: [usize; 3], order: Order) -> Result<Vec<f32>, VolumeError> {
    let (y, x) = (Axis::new(from[1], to[1], order), Axis::new(from[2], to[2], order));
    let (in_plane, out_plane) = (from[1] * from[2], to[1] * to[2]);
    let mut planes = try_filled(from[0] * out_plane, 0f32, "resampled planes")?;
    planes.par_chunks_mut(out_plane).zip(data.par_chunks(in_plane)).for_each(|(out, plane)| {
        let limits = range(plane);
        for (o, v) in out.iter_mut().zip(in_plane_pass(plane, &y, &x)) {
            *o = clip(v, limits);
        }
    });
    if from[0] == to[0] {
        return Ok(planes);
    }
    let mut out = try_filled(to[0] * out_plane, 0f32, "resampled planes")?;
    for (o, chunk) in out.chunks_exact_mut(out_plane).enumerate() {
        let at = nearest(o, from[0], to[0]);
        chunk.copy_from_slice(&planes[at * out_plane..][..out_plane]);
    }
    Ok(out)
}

/// All three axes of one channel.
fn whole(data: &[f32], from: [usize; 3], to: [usize; 3], order: Order) -> Result<Vec<f32>, VolumeError> {
    let limits = range(data);
    let axes: [Axis; 3] = std::array::from_fn(|a| Axis::new(from[a], to[a], order));
    let (in_plane, out_plane) = (from[1] * from[2], to[1] * to[2]);
    let mut planes = try_filled(from[0] * out_plane, 0f64, "resampled planes")?;
    planes.par_chunks_mut(out_plane).zip(data.par_chunks(in_plane)).for_each(|(out, plane)| {
        out.copy_from_slice(&in_plane_pass(plane, &axes[1], &axes[2]));
    });
    // Along z: one task per output row index y, whose lines are the columns x of every plane. The
    // results come out as [y, z, x], because each task writes one contiguous piece.
    let nx = to[2];
    let mut turned = try_filled(to[1] * to[0] * nx, 0f32, "resampled volume")?;
    turned.par_chunks_mut(to[0] * nx).enumerate().for_each(|(y, out)| {
        let mut line = Line::new(&axes[0]);
        for x in (0..nx).step_by(LANES) {
            let lanes = LANES.min(nx - x);
            line.run(
                |z| {
                    let mut v = [0.0; LANES];
                    let at = z * out_plane + y * nx + x;
                    v[..lanes].copy_from_slice(&planes[at..at + lanes]);
                    v
                },
                |z, v| {
                    for (o, v) in out[z * nx + x..][..lanes].iter_mut().zip(v) {
                        *o = clip(*v, limits);
                    }
                },
            );
        }
    });
    drop(planes);
    let back = AxisMap { perm: [1, 0, 2], flip: [false; 3] };
    back.apply(&turned, 1, [to[1], to[0], nx])
}

/// Interpolates one plane along x, then along y.
fn in_plane_pass(plane: &[f32], y_axis: &Axis, x_axis: &Axis) -> Vec<f64> {
    let (ny, nx) = (y_axis.n, x_axis.n);
    let mx = x_axis.m;
    let mut rows = vec![0f64; ny * mx];
    if nx == mx {
        for (r, v) in rows.iter_mut().zip(plane) {
            *r = f64::from(*v);
        }
    } else {
        let mut line = Line::new(x_axis);
        for y in (0..ny).step_by(LANES) {
            let lanes = LANES.min(ny - y);
            line.run(
                |x| std::array::from_fn(|l| if l < lanes { f64::from(plane[(y + l) * nx + x]) } else { 0.0 }),
                |x, v| {
                    for (l, v) in v[..lanes].iter().enumerate() {
                        rows[(y + l) * mx + x] = *v;
                    }
                },
            );
        }
    }
    if ny == y_axis.m {
        return rows;
    }
    let mut out = vec![0f64; y_axis.m * mx];
    let mut line = Line::new(y_axis);
    for x in (0..mx).step_by(LANES) {
        let lanes = LANES.min(mx - x);
        line.run(
            |y| {
                let mut v = [0.0; LANES];
                v[..lanes].copy_from_slice(&rows[y * mx + x..][..lanes]);
                v
            },
            |y, v| out[y * mx + x..][..lanes].copy_from_slice(&v[..lanes]),
        );
    }
    out
}

/// The input sample that order 0 takes for output `o`.
pub(crate) fn nearest(o: usize, n: usize, m: usize) -> usize {
    let t = position(o, n, m);
    ((t + 0.5).floor().max(0.0) as usize).min(n - 1)
}

/// The two input samples between which output `o` lies, and the weight of the second.
pub(crate) fn neighbours(o: usize, n: usize, m: usize) -> (usize, usize, f64) {
    let t = position(o, n, m).clamp(0.0, (n - 1) as f64);
    let low = t.floor();
    let i = low as usize;
    (i, (i + 1).min(n - 1), t - low)
}

fn position(o: usize, n: usize, m: usize) -> f64 {
    (o as f64 + 0.5) * n as f64 / m as f64 - 0.5
}

/// The taps of one axis: where each output's run of four begins in the padded line, and its weights.
struct Axis {
    n: usize,
    m: usize,
    order: Order,
    taps: Vec<(usize, [f64; 4])>,
}

impl Axis {
    fn new(n: usize, m: usize, order: Order) -> Axis {
        let taps = (0..m)
            .map(|o| match order {
                Order::Nearest => (nearest(o, n, m) + PAD, [1.0, 0.0, 0.0, 0.0]),
                Order::Linear => {
                    let (i, _, w) = neighbours(o, n, m);
                    (i + PAD, [1.0 - w, w, 0.0, 0.0])
                }
                Order::Cubic => {
                    let t = position(o, n, m);
                    let low = t.floor();
                    let f = t - low;
                    let g = 1.0 - f;
                    let weights =
                        [g * g * g / 6.0, 2.0 / 3.0 - f * f * (2.0 - f) / 2.0, 2.0 / 3.0 - g * g * (2.0 - g) / 2.0, f * f * f / 6.0];
                    // `low` is at least -1, so the first of the four taps is at least PAD - 2.
                    ((low + PAD as f64 - 1.0) as usize, weights)
                }
            })
            .collect();
        Axis { n, m, order, taps }
    }
}

/// Scratch for one group of lines.
struct Line<'a> {
    axis: &'a Axis,
    padded: Vec<Lanes>,
}

impl Line<'_> {
    fn new(axis: &Axis) -> Line<'_> {
        Line { axis, padded: vec![[0.0; LANES]; axis.n + 2 * PAD] }
    }

    /// Reads the lines sample by sample, filters, and writes the resampled lines.
    fn run(&mut self, load: impl Fn(usize) -> Lanes, mut store: impl FnMut(usize, &Lanes)) {
        let n = self.axis.n;
        for (i, slot) in self.padded[PAD..PAD + n].iter_mut().enumerate() {
            *slot = load(i);
        }
        let (first, last) = (self.padded[PAD], self.padded[PAD + n - 1]);
        self.padded[..PAD].fill(first);
        self.padded[PAD + n..].fill(last);
        if self.axis.order == Order::Cubic {
            prefilter(&mut self.padded);
        }
        for (o, (start, w)) in self.axis.taps.iter().enumerate() {
            let mut sum = [0.0; LANES];
            for (tap, weight) in self.padded[*start..*start + 4].iter().zip(w) {
                for (s, t) in sum.iter_mut().zip(tap) {
                    *s += t * weight;
                }
            }
            store(o, &sum);
        }
    }
}

/// Samples to B-spline coefficients in place, the signal taken as constant beyond both ends:
/// `p[i] = 6 s[i] + z p[i-1]` forwards, `c[i] = z (c[i+1] - p[i])` backwards.
fn prefilter(line: &mut [Lanes]) {
    let Some(last_sample) = line.last().copied() else {
        return;
    };
    let mut previous = line[0].map(|s| 6.0 * s / (1.0 - POLE));
    for slot in line.iter_mut() {
        for (s, p) in slot.iter_mut().zip(&mut previous) {
            *p = 6.0 * *s + POLE * *p;
            *s = *p;
        }
    }
    // What the backward recursion would have gathered from the constant continuation.
    let mut next = [0.0; LANES];
    for l in 0..LANES {
        let settled = 6.0 * last_sample[l] / (1.0 - POLE);
        let rest = previous[l] - settled;
        // c[last + 1] = -z * sum over k of z^k p[last + 1 + k], p decaying towards `settled`.
        next[l] = -POLE * (settled / (1.0 - POLE) + POLE * rest / (1.0 - POLE * POLE));
    }
    for slot in line.iter_mut().rev() {
        for (s, c) in slot.iter_mut().zip(&mut next) {
            *c = POLE * (*c - *s);
            *s = *c;
        }
    }
}
