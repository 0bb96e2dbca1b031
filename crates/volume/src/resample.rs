//! Resampling between voxel grids, separable, in float64: nnU-Net's recipe (scikit-image's `resize` with mode `edge`).
//!
//! Planes are interpolated within themselves as they are needed, and along z slab by slab, so that beside input and output only a
//! slab of float64 planes is held: the B-spline prefilter forgets what lies more than a few (`spline::REACH`) planes away.

use std::ops::Range;

use mnx_artifact::{Resampling, SeparateZ};
use rayon::prelude::*;

use crate::error::{VolumeError, try_filled};
use crate::orientation::AxisMap;
use crate::spline::{Axis, Lines, Order, Part, REACH};

/// See [`Passes::slab_bytes`].
const SLAB_BYTES: usize = 192 << 20;

/// Voxels per axis after going from `current` to `new` spacing: rounded half to even, at least 1.
pub fn new_shape(shape: [usize; 3], current: [f64; 3], new: [f64; 3]) -> [usize; 3] {
    std::array::from_fn(|a| ((current[a] / new[a] * shape[a] as f64).round_ties_even() as usize).max(1))
}

/// The one coarse axis that is resampled on its own: by default if the current spacing (else the new one) has a largest-to-smallest
/// ratio above the rule's, and only if a single axis has that spacing.
pub fn coarse_axis(rule: &Resampling, current: [f64; 3], new: [f64; 3]) -> Option<usize> {
    let largest = |s: [f64; 3]| s.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let smallest = |s: [f64; 3]| s.iter().copied().fold(f64::INFINITY, f64::min);
    let anisotropic = |s: [f64; 3]| largest(s) / smallest(s) > rule.anisotropy;
    let judged = match rule.separate_z {
        SeparateZ::Never => return None,
        SeparateZ::Always => current,
        SeparateZ::Auto if anisotropic(current) => current,
        SeparateZ::Auto if anisotropic(new) => new,
        SeparateZ::Auto => return None,
    };
    let top = largest(judged);
    let mut coarse = (0..3).filter(|&a| top / judged[a] == 1.0);
    let axis = coarse.next();
    if coarse.next().is_some() { None } else { axis }
}

/// Orders within planes and along the third axis, and what is clipped.
#[derive(Clone, Copy)]
struct Passes {
    plane: Order,
    along: Order,
    clip_planes: bool,
    clip_whole: bool,
    /// Bytes of float64 planes held at a time, unless the prefilter's reach needs more.
    slab_bytes: usize,
}

/// Resamples volumes, one after the other in `data`, from `shape` to `to` (z, y, x). With `separate`, every plane across that axis is resampled (and
/// clipped) by itself in the rule's `order` and the axis in its `order_z`; otherwise all axes are interpolated and each channel is
/// clipped to its own range. A volume that keeps its shape is copied.
///
/// # Errors
/// When the rule's orders are none of 0, 1 and 3, or memory cannot be had.
///
/// # Panics
/// When `data` is no whole number of volumes of `shape`, or an axis is empty.
pub fn resample(
    data: &[f32],
    shape: [usize; 3],
    to: [usize; 3],
    rule: &Resampling,
    separate: Option<usize>,
) -> Result<Vec<f32>, VolumeError> {
    let voxels: usize = shape.iter().product();
    assert!(shape.iter().chain(&to).all(|&n| n > 0), "an axis is empty");
    assert!(data.len().is_multiple_of(voxels), "voxels given and shape differ");
    let channels = data.len() / voxels;
    let target = to.iter().try_fold(channels, |acc, &n| acc.checked_mul(n));
    let target = target.ok_or_else(|| VolumeError::Memory { what: "resampled volume".into(), bytes: usize::MAX })?;
    let (plane, along) = (order(rule.order)?, order(rule.order_z)?);
    let passes = match separate {
        Some(_) => Passes { plane, along, clip_planes: rule.clip, clip_whole: false, slab_bytes: SLAB_BYTES },
        None => Passes { plane, along: plane, clip_planes: false, clip_whole: rule.clip, slab_bytes: SLAB_BYTES },
    };
    let mut out = try_filled(target, 0f32, "resampled volume")?;
    for (out, channel) in out.chunks_exact_mut(target / channels.max(1)).zip(data.chunks_exact(voxels)) {
        if shape == to {
            out.copy_from_slice(channel);
            continue;
        }
        // The axis to go along last comes to the front.
        let front = match separate {
            None | Some(0) => AxisMap::IDENTITY,
            Some(1) => AxisMap { perm: [1, 0, 2], flip: [false; 3] },
            Some(_) => AxisMap { perm: [2, 0, 1], flip: [false; 3] },
        };
        if front == AxisMap::IDENTITY {
            one_channel(channel, shape, to, passes, out)?;
        } else {
            let (from, onto) = (front.permute(shape), front.permute(to));
            let turned = front.apply(channel, 1, shape)?;
            let mut planes = try_filled(out.len(), 0f32, "resampled volume")?;
            one_channel(&turned, from, onto, passes, &mut planes)?;
            drop(turned);
            out.copy_from_slice(&front.inverse().apply(&planes, 1, onto)?);
        }
    }
    Ok(out)
}

fn order(number: u8) -> Result<Order, VolumeError> {
    Order::from_number(number).ok_or_else(|| VolumeError::Setting(format!("resampling order {number}, expected 0, 1 or 3")))
}

fn range(data: &[f32]) -> (f64, f64) {
    let piece = |c: &[f32]| c.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let (low, high) =
        data.par_chunks(1 << 16).map(piece).reduce(|| (f32::INFINITY, f32::NEG_INFINITY), |a, b| (a.0.min(b.0), a.1.max(b.1)));
    (f64::from(low), f64::from(high))
}

/// Clips as scikit-image does; plain comparisons, since `clamp` would panic on a volume of NaN.
fn clip(v: f64, (low, high): (f64, f64)) -> f64 {
    if v < low {
        low
    } else if v > high {
        high
    } else {
        v
    }
}

/// One channel, slab by slab along its first axis.
fn one_channel(data: &[f32], from: [usize; 3], to: [usize; 3], passes: Passes, out: &mut [f32]) -> Result<(), VolumeError> {
    let along = Axis::new(from[0], to[0], passes.along);
    let (y, x) = (Axis::new(from[1], to[1], passes.plane), Axis::new(from[2], to[2], passes.plane));
    let limits = passes.clip_whole.then(|| range(data));
    let (in_plane, out_plane) = (from[1] * from[2], to[1] * to[2]);
    let most = (passes.slab_bytes / (8 * out_plane)).max(2 * REACH + 20);
    // Input planes `held`, interpolated within themselves.
    let mut planes: Vec<f64> = Vec::new();
    let mut held = 0..0;
    let mut first = 0;
    while first < to[0] {
        let mut until = first + 1;
        while until < to[0] && along.needs(first, until + 1).len() <= most {
            until += 1;
        }
        let need = along.needs(first, until);
        let stale = need.start.min(held.end) - held.start;
        planes.drain(..stale * out_plane);
        let fresh = need.start.max(held.end)..need.end;
        let kept = planes.len();
        let room = fresh.len() * out_plane;
        planes.try_reserve_exact(room).map_err(|_| VolumeError::Memory { what: "planes of a slab".into(), bytes: room * 8 })?;
        planes.resize(kept + room, 0.0);
        let sources = data[fresh.start * in_plane..fresh.end * in_plane].par_chunks(in_plane);
        planes[kept..].par_chunks_mut(out_plane).zip(sources).for_each_init(PlanePass::new, |pass, (out, plane)| {
            pass.run(plane, &y, &x, out);
            if passes.clip_planes {
                let limits = range(plane);
                out.iter_mut().for_each(|v| *v = clip(*v, limits));
            }
        });
        held = need;
        let target = &mut out[first * out_plane..until * out_plane];
        let slab = Slab { planes: &planes, held: held.clone(), extents: [to[1], to[2]] };
        along_planes(&slab, &along, first, limits, target)?;
        first = until;
    }
    Ok(())
}

/// Neighbouring planes, interpolated within themselves.
struct Slab<'a> {
    planes: &'a [f64],
    /// Numbers of the planes along the axis.
    held: Range<usize>,
    /// Rows and columns of each.
    extents: [usize; 2],
}

/// From a slab to the output planes from `first` on that fill `out`.
fn along_planes(slab: &Slab<'_>, along: &Axis, first: usize, limits: Option<(f64, f64)>, out: &mut [f32]) -> Result<(), VolumeError> {
    let Slab { planes, held, extents: [ny, nx] } = slab;
    let (ny, nx) = (*ny, *nx);
    let plane = ny * nx;
    let fit = |v: f64| limits.map_or(v, |l| clip(v, l)) as f32;
    if along.order == Order::Nearest {
        out.par_chunks_mut(plane).enumerate().for_each(|(o, out)| {
            let source = if along.is_copy() { first + o } else { crate::spline::nearest(first + o, along.n, along.m) };
            for (o, v) in out.iter_mut().zip(&planes[(source - held.start) * plane..]) {
                *o = fit(*v);
            }
        });
        return Ok(());
    }
    // One task per row index y, whose lines are the columns x of every plane. The results come out as [y, o, x], because each task
    // writes one contiguous piece; a second pass puts them in place.
    const L: usize = 16;
    let depth = out.len() / plane;
    let mut turned = try_filled(out.len(), 0f32, "resampled slab")?;
    turned.par_chunks_mut(depth * nx).enumerate().for_each_init(Lines::<L>::new, |lines, (y, out)| {
        for x in (0..nx).step_by(L) {
            let n = L.min(nx - x);
            let load = |z: usize| {
                let at = (z - held.start) * plane + y * nx + x;
                let mut v = [0.0; L];
                v[..n].copy_from_slice(&planes[at..at + n]);
                v
            };
            lines.run(along, Part { inputs: held.clone(), outputs: first..first + depth }, load, |o, v| {
                for (o, v) in out[(o - first) * nx + x..][..n].iter_mut().zip(v) {
                    *o = fit(*v);
                }
            });
        }
    });
    out.par_chunks_mut(plane).enumerate().for_each(|(o, out)| {
        for (y, row) in out.chunks_exact_mut(nx).enumerate() {
            row.copy_from_slice(&turned[(y * depth + o) * nx..][..nx]);
        }
    });
    Ok(())
}

/// Interpolates one plane along x, then along y.
struct PlanePass {
    rows: Vec<f64>,
    across: Lines<8>,
    down: Lines<16>,
}

impl PlanePass {
    fn new() -> PlanePass {
        PlanePass { rows: Vec::new(), across: Lines::new(), down: Lines::new() }
    }

    fn run(&mut self, plane: &[f32], y_axis: &Axis, x_axis: &Axis, out: &mut [f64]) {
        let (ny, nx, mx) = (y_axis.n, x_axis.n, x_axis.m);
        self.rows.resize(ny * mx, 0.0);
        let rows = &mut self.rows[..ny * mx];
        if x_axis.is_copy() {
            for (r, v) in rows.iter_mut().zip(plane) {
                *r = f64::from(*v);
            }
        } else {
            for y in (0..ny).step_by(8) {
                let n = 8.min(ny - y);
                let load = |x: usize| std::array::from_fn(|l| if l < n { f64::from(plane[(y + l) * nx + x]) } else { 0.0 });
                self.across.run(x_axis, Part { inputs: 0..nx, outputs: 0..mx }, load, |x, v: &[f64; 8]| {
                    for (l, v) in v[..n].iter().enumerate() {
                        rows[(y + l) * mx + x] = *v;
                    }
                });
            }
        }
        if y_axis.is_copy() {
            out.copy_from_slice(rows);
            return;
        }
        for x in (0..mx).step_by(16) {
            let n = 16.min(mx - x);
            let load = |y: usize| {
                let mut v = [0.0; 16];
                v[..n].copy_from_slice(&rows[y * mx + x..][..n]);
                v
            };
            let store = |y: usize, v: &[f64; 16]| out[y * mx + x..][..n].copy_from_slice(&v[..n]);
            self.down.run(y_axis, Part { inputs: 0..ny, outputs: 0..y_axis.m }, load, store);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn slabs_do_not_show() {
        let mut state = 9u64;
        let mut draw = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / 16777216.0
        };
        for (n, m) in [(300, 211), (211, 300), (150, 700), (400, 75), (69, 70)] {
            let data: Vec<f32> = (0..n * 6).map(|_| draw() * 100.0).collect();
            for along in [Order::Nearest, Order::Linear, Order::Cubic] {
                let run = |slab_bytes| {
                    let passes = Passes { plane: Order::Cubic, along, clip_planes: false, clip_whole: true, slab_bytes };
                    let mut out = vec![0f32; m * 5 * 3];
                    one_channel(&data, [n, 2, 3], [m, 5, 3], passes, &mut out).unwrap();
                    out
                };
                let (small, large) = (run(0), run(SLAB_BYTES));
                for (i, (a, b)) in small.iter().zip(&large).enumerate() {
                    assert!((a - b).abs() <= 1e-5, "{n} -> {m} {along:?} at {i}: {a} {b}");
                }
            }
        }
    }
}
