//! Exact Euclidean distances from one surface to another.
//!
//! The separable transform of Felzenszwalb and Huttenlocher ("Distance Transforms of Sampled Functions", Theory of Computing 8, 2012):
//! along x the nearest surface voxel of the row, then along y and along z the lower envelope of parabolas. It runs from the box
//! around `to` straight into the box around `from`, so that two small things far apart need no volume between them, and the last
//! axis is evaluated at surface voxels only.

use rayon::prelude::*;

use super::surface::Surface;
use crate::error::{VolumeError, try_filled};

/// Columns taken together: 16 float32 are a cache line.
const LANES: usize = 16;

/// The squared distance in mm² of every voxel of `from` to the nearest voxel of `to` (not empty), in no promised order.
/// `spacing` in mm, z, y, x.
///
/// # Errors
/// When memory cannot be had: 4 bytes times the depth of `to`'s box times the height and width of `from`'s.
pub(super) fn squared_distances(from: &Surface, to: &Surface, spacing: [f64; 3]) -> Result<Vec<f32>, VolumeError> {
    let [_, ny, nx] = from.shape;
    let pair = Pair { from, to, spacing };
    let mut planes = try_filled(to.shape[0] * ny * nx, f32::INFINITY, "distances of a class")?;
    planes.par_chunks_mut(ny * nx).enumerate().for_each_init(Scratch::default, |scratch, (z, plane)| {
        scratch.plane(pair, z, plane);
    });
    let rows: Vec<Vec<f32>> = (0..ny)
        .into_par_iter()
        .map_init(Scratch::default, |scratch, y| {
            let mut out = Vec::new();
            scratch.columns(pair, &planes, y, &mut out);
            out
        })
        .collect();
    Ok(rows.concat())
}

/// Squared distances along one row: from each of the voxels `start..` to the nearest of `sites` (ascending), infinite without any.
fn row(sites: &[usize], start: usize, step: f64, out: &mut [f32]) {
    let Some(&first) = sites.first() else {
        return out.fill(f32::INFINITY);
    };
    let (mut nearest, mut rest) = (first, &sites[1..]);
    for (at, v) in (start..).zip(out) {
        while let Some((&next, after)) = rest.split_first()
            && next.abs_diff(at) <= nearest.abs_diff(at)
        {
            (nearest, rest) = (next, after);
        }
        let d = nearest.abs_diff(at) as f64 * step;
        *v = (d * d) as f32;
    }
}

/// Two surfaces on one grid: distances go from the voxels of one to those of the other.
#[derive(Clone, Copy)]
struct Pair<'a> {
    from: &'a Surface,
    to: &'a Surface,
    /// Millimetres, z, y, x.
    spacing: [f64; 3],
}

/// What one thread works in.
#[derive(Default)]
struct Scratch {
    sites: Vec<usize>,
    /// A plane after the first axis.
    rows: Vec<f32>,
    /// `LANES` columns, each contiguous.
    columns: Vec<f32>,
    /// Where each column is to be evaluated.
    asked: [Vec<usize>; LANES],
    envelope: Envelope,
}

impl Scratch {
    /// Distances within plane `z` of `to`'s box, at all rows and columns of `from`'s box.
    fn plane(&mut self, Pair { from, to, spacing }: Pair<'_>, z: usize, out: &mut [f32]) {
        let surface = to.plane(z);
        if !surface.contains(&true) {
            return;
        }
        let [_, ny, nx] = from.shape;
        let [_, height, width] = to.shape;
        self.rows.resize(height * nx, 0.0);
        for (line, out) in surface.chunks_exact(width).zip(self.rows.chunks_exact_mut(nx)) {
            self.sites.clear();
            self.sites.extend(line.iter().enumerate().filter(|(_, on)| **on).map(|(x, _)| to.origin[2] + x));
            row(&self.sites, from.origin[2], spacing[2], out);
        }
        for x in (0..nx).step_by(LANES) {
            let lanes = LANES.min(nx - x);
            gather(&self.rows[x..], nx, lanes, height, &mut self.columns);
            for lane in 0..lanes {
                self.envelope.build(&self.columns[lane * height..][..height], to.origin[1], spacing[1]);
                self.envelope.evaluate(from.origin[1]..from.origin[1] + ny, |y, d| out[(y - from.origin[1]) * nx + x + lane] = d);
            }
        }
    }

    /// Distances of the surface voxels of `from` in row `y` of its box, given the planes of [`Scratch::plane`].
    fn columns(&mut self, Pair { from, to, spacing }: Pair<'_>, planes: &[f32], y: usize, out: &mut Vec<f32>) {
        let [nz, ny, nx] = from.shape;
        let depth = to.shape[0];
        for x in (0..nx).step_by(LANES) {
            let lanes = LANES.min(nx - x);
            self.asked.iter_mut().for_each(Vec::clear);
            for z in 0..nz {
                for (lane, on) in from.mask[(z * ny + y) * nx + x..][..lanes].iter().enumerate() {
                    if *on {
                        self.asked[lane].push(from.origin[0] + z);
                    }
                }
            }
            if self.asked.iter().all(Vec::is_empty) {
                continue;
            }
            gather(&planes[y * nx + x..], ny * nx, lanes, depth, &mut self.columns);
            for lane in 0..lanes {
                if self.asked[lane].is_empty() {
                    continue;
                }
                self.envelope.build(&self.columns[lane * depth..][..depth], to.origin[0], spacing[0]);
                self.envelope.evaluate(self.asked[lane].iter().copied(), |_, d| out.push(d));
            }
        }
    }
}

/// Copies the first `lanes` columns of `n` values, `stride` apart, so that each is contiguous.
fn gather(data: &[f32], stride: usize, lanes: usize, n: usize, out: &mut Vec<f32>) {
    out.resize(lanes * n, 0.0);
    for i in 0..n {
        for (lane, v) in data[i * stride..][..lanes].iter().enumerate() {
            out[lane * n + i] = *v;
        }
    }
}

/// A parabola of the lower envelope.
struct Parabola {
    site: f64,
    height: f64,
    /// The envelope is this parabola from here on, in voxels.
    from: f64,
}

/// The lower envelope of the parabolas `height[i] + (step (v - i))²`.
#[derive(Default)]
struct Envelope {
    parts: Vec<Parabola>,
    step: f64,
}

impl Envelope {
    /// Sites are `start..`; infinite heights are no sites.
    fn build(&mut self, heights: &[f32], start: usize, step: f64) {
        self.parts.clear();
        self.step = step;
        let scale = 0.5 / (step * step);
        for (site, height) in (start..).zip(heights).filter(|(_, h)| h.is_finite()) {
            let (site, height) = (site as f64, f64::from(*height));
            let mut from = f64::NEG_INFINITY;
            while let Some(last) = self.parts.last() {
                from = 0.5 * (site + last.site) + scale * (height - last.height) / (site - last.site);
                if from > last.from {
                    break;
                }
                self.parts.pop();
                from = f64::NEG_INFINITY;
            }
            self.parts.push(Parabola { site, height, from });
        }
    }

    /// Calls `take` with each of the ascending voxels `at` and the envelope there; infinite if there is no parabola.
    fn evaluate(&self, at: impl Iterator<Item = usize>, mut take: impl FnMut(usize, f32)) {
        let mut parts = self.parts.as_slice();
        for v in at {
            while parts.len() > 1 && parts[1].from < v as f64 {
                parts = &parts[1..];
            }
            let value = parts.first().map_or(f64::INFINITY, |p| {
                let d = (v as f64 - p.site) * self.step;
                d * d + p.height
            });
            take(v, value as f32);
        }
    }
}
