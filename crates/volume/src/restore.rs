//! From logits on the model's grid to labels or probabilities on the file's grid.

use rayon::prelude::*;

use crate::crop::paste;
use crate::error::{VolumeError, try_filled};
use crate::preprocess::Geometry;
use crate::resample::{Order, nearest, neighbours, resample};

/// Turns finished bands of logits into labels as they come, so that the classes never exist over the
/// whole volume: each band is resampled (order 1, planes of a coarse axis by themselves) to the
/// crop's grid and the largest class kept.
pub struct LabelRestorer<'a> {
    geometry: &'a Geometry,
    classes: usize,
    /// Labels on the crop's grid.
    labels: Vec<u16>,
    /// Model planes seen.
    seen: usize,
    /// Crop planes done.
    done: usize,
    /// The last model plane of the previous band, `[k, y, x]`: an output plane may lie between bands.
    previous: Vec<f32>,
    taps: [Vec<(usize, usize, f64)>; 3],
}

impl<'a> LabelRestorer<'a> {
    /// Prepares for logits of `classes` classes.
    ///
    /// # Errors
    /// When `classes` is 0 or beyond 65536, or memory for the labels cannot be had.
    pub fn new(geometry: &'a Geometry, classes: usize) -> Result<LabelRestorer<'a>, VolumeError> {
        if classes == 0 || classes > 65536 {
            return Err(VolumeError::Setting(format!("{classes} classes, expected 1 to 65536")));
        }
        let taps = std::array::from_fn(|a| {
            let (n, m) = (geometry.model_shape[a], geometry.crop_size[a]);
            let tap = |o| match geometry.separate {
                Some(axis) if axis == a => (nearest(o, n, m), nearest(o, n, m), 0.0),
                _ => neighbours(o, n, m),
            };
            (0..m).map(tap).collect()
        });
        let voxels = geometry.crop_size.iter().product();
        Ok(LabelRestorer { geometry, classes, labels: try_filled(voxels, 0u16, "labels")?, seen: 0, done: 0, previous: Vec::new(), taps })
    }

    /// Takes the next `depth` model planes: logits `[k, depth, y, x]`, bands in ascending z.
    ///
    /// # Errors
    /// When the band is not the next one, has another size, or holds values that are not numbers.
    pub fn push(&mut self, z: usize, depth: usize, logits: &[f32]) -> Result<(), VolumeError> {
        let [nz, ny, nx] = self.geometry.model_shape;
        let plane = ny * nx;
        if z != self.seen || z + depth > nz || logits.len() != self.classes * depth * plane {
            return Err(VolumeError::Setting(format!(
                "a band of {} logits at plane {z}, {depth} deep, was given; expected plane {} and {} classes of {plane} voxels a plane",
                logits.len(),
                self.seen,
                self.classes
            )));
        }
        refuse_odd(logits)?;
        if depth == 0 {
            return Ok(());
        }
        self.seen = z + depth;
        let ready = self.taps[0][self.done..].iter().take_while(|t| t.1 < self.seen).count();
        let [_, cy, cx] = self.geometry.crop_size;
        let (first, last) = (self.done, self.done + ready);
        let (classes, previous, taps) = (self.classes, &self.previous, &self.taps);
        // A model plane of one class: from this band, or the one plane kept of the last.
        let source = |class: usize, at: usize| -> &[f32] {
            if at < z { &previous[class * plane..][..plane] } else { &logits[(class * depth + at - z) * plane..][..plane] }
        };
        let same_plane = [ny, nx] == [cy, cx];
        self.labels[first * cy * cx..last * cy * cx].par_chunks_mut(cy * cx).enumerate().for_each(|(i, labels)| {
            let (z0, z1, w) = taps[0][first + i];
            let mut best = vec![f32::NEG_INFINITY; cy * cx];
            let mut mixed = vec![0f64; plane];
            let mut row = vec![0f64; nx];
            for class in 0..classes {
                let (a, b) = (source(class, z0), source(class, z1));
                for ((m, a), b) in mixed.iter_mut().zip(a).zip(b) {
                    *m = f64::from(*a) * (1.0 - w) + f64::from(*b) * w;
                }
                let mut keep = |at: usize, v: f32| {
                    if v > best[at] {
                        best[at] = v;
                        labels[at] = class as u16;
                    }
                };
                if same_plane {
                    for (at, v) in mixed.iter().enumerate() {
                        keep(at, *v as f32);
                    }
                    continue;
                }
                for (y, &(y0, y1, wy)) in taps[1].iter().enumerate() {
                    let (a, b) = (&mixed[y0 * nx..][..nx], &mixed[y1 * nx..][..nx]);
                    for ((r, a), b) in row.iter_mut().zip(a).zip(b) {
                        *r = a * (1.0 - wy) + b * wy;
                    }
                    for (x, &(x0, x1, wx)) in taps[2].iter().enumerate() {
                        keep(y * cx + x, (row[x0] * (1.0 - wx) + row[x1] * wx) as f32);
                    }
                }
            }
        });
        self.done = last;
        self.previous.clear();
        for class in 0..self.classes {
            let at = (class * depth + depth - 1) * plane;
            self.previous.extend_from_slice(&logits[at..at + plane]);
        }
        Ok(())
    }

    /// Labels `[z, y, x]` (class numbers) on the file's grid; 0 outside the crop.
    ///
    /// # Errors
    /// When planes are missing, or memory cannot be had.
    pub fn finish(self) -> Result<Vec<u16>, VolumeError> {
        let g = self.geometry;
        if self.seen != g.model_shape[0] || self.done != g.crop_size[0] {
            return Err(VolumeError::Setting(format!("{} of {} planes of logits were given", self.seen, g.model_shape[0])));
        }
        let turned = g.map.permute(g.file_shape);
        let inverse = g.map.inverse();
        if turned == g.crop_size {
            return inverse.apply(&self.labels, 1, turned);
        }
        let mut full = try_filled(turned.iter().product(), 0u16, "labels")?;
        paste(&self.labels, g.crop_size, &mut full, turned, g.crop_low);
        inverse.apply(&full, 1, turned)
    }
}

/// Labels on the file's grid from logits `[k, z, y, x]` on the model's: [`LabelRestorer`] in one go.
///
/// # Errors
/// As [`LabelRestorer::push`] and [`LabelRestorer::finish`].
pub fn restore_labels(logits: &[f32], classes: usize, geometry: &Geometry) -> Result<Vec<u16>, VolumeError> {
    let mut restorer = LabelRestorer::new(geometry, classes)?;
    restorer.push(0, geometry.model_shape[0], logits)?;
    restorer.finish()
}

/// Soft-max probabilities `[k, z, y, x]` on the file's grid from logits on the model's: the logits
/// are resampled with order 1, then the soft-max is taken; outside the crop class 0 is certain.
///
/// # Errors
/// When the logits are not `classes` model volumes of numbers, or memory cannot be had (the result
/// holds every class over the whole file).
pub fn restore_probabilities(logits: &[f32], classes: usize, geometry: &Geometry) -> Result<Vec<f32>, VolumeError> {
    let g = geometry;
    let model: usize = g.model_shape.iter().product();
    if classes == 0 || logits.len() != classes * model {
        return Err(VolumeError::Setting(format!("{} logits were given, expected {classes} classes of {model} voxels", logits.len())));
    }
    refuse_odd(logits)?;
    let mut part = resample(logits, classes, g.model_shape, g.crop_size, Order::Linear, g.separate)?;
    softmax(&mut part, classes);
    let turned = g.map.permute(g.file_shape);
    let inverse = g.map.inverse();
    if turned == g.crop_size {
        return inverse.apply(&part, classes, turned);
    }
    let (voxels, crop) = (turned.iter().product::<usize>(), g.crop_size.iter().product::<usize>());
    let mut full = try_filled(classes * voxels, 0f32, "probabilities")?;
    full[..voxels].fill(1.0);
    for (out, part) in full.chunks_exact_mut(voxels).zip(part.chunks_exact(crop)) {
        paste(part, g.crop_size, out, turned, g.crop_low);
    }
    drop(part);
    inverse.apply(&full, classes, turned)
}

fn refuse_odd(logits: &[f32]) -> Result<(), VolumeError> {
    let odd = logits.par_chunks(1 << 14).map(|c| c.iter().filter(|v| !v.is_finite()).count());
    match odd.sum::<usize>() {
        0 => Ok(()),
        n => Err(VolumeError::Setting(format!("the network gave {n} NaN or infinite logits of {}", logits.len()))),
    }
}

/// Soft-max over the first axis of `[k, voxels]`, in place.
pub fn softmax(logits: &mut [f32], classes: usize) {
    if classes == 0 {
        return;
    }
    let voxels = logits.len() / classes;
    // Voxels in pieces that stay in cache; the classes of a piece lie far apart.
    const PIECE: usize = 4096;
    let mut largest = vec![0f32; PIECE.min(voxels)];
    let mut sum = largest.clone();
    for start in (0..voxels).step_by(PIECE) {
        let n = PIECE.min(voxels - start);
        let (largest, sum) = (&mut largest[..n], &mut sum[..n]);
        largest.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        for class in logits.chunks_exact(voxels) {
            for (l, v) in largest.iter_mut().zip(&class[start..start + n]) {
                *l = l.max(*v);
            }
        }
        for class in logits.chunks_exact_mut(voxels) {
            for ((v, l), s) in class[start..start + n].iter_mut().zip(&*largest).zip(&mut *sum) {
                *v = (*v - l).exp();
                *s += *v;
            }
        }
        for class in logits.chunks_exact_mut(voxels) {
            for (v, s) in class[start..start + n].iter_mut().zip(&*sum) {
                *v /= s;
            }
        }
    }
}
