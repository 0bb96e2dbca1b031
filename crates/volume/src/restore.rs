//! From scores on the model's grid to labels, and probabilities if asked for, on the file's grid.

use mnx_artifact::{Activation, Average, Resampling};
use rayon::prelude::*;

use crate::accumulate::round_to_half;
use crate::crop::paste;
use crate::error::{VolumeError, try_filled};
use crate::preprocess::Geometry;
use crate::probabilities::{Probabilities, activate};
use crate::resample::resample;
use crate::spline::{Order, nearest, neighbours};

/// What scores mean and how they come back.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Voxel value of each class, or with [`Activation::Sigmoid`] what each channel paints.
    pub values: Vec<u16>,
    /// What the scores are.
    pub average: Average,
    /// What makes logits probabilities.
    pub activation: Activation,
    /// How scores are interpolated.
    pub export: Resampling,
    /// Interpolated scores are rounded to float16 (nnU-Net v2).
    pub half: bool,
}

impl Rules {
    /// Logits of classes 0, 1, 2, ..., brought back by linear interpolation.
    pub fn logits(classes: u16) -> Rules {
        Rules {
            values: (0..classes).collect(),
            average: Average::Logits,
            activation: Activation::Softmax,
            export: Resampling::EXPORT,
            half: false,
        }
    }
}

/// What a restorer ends with.
#[derive(Debug)]
pub struct Restored {
    /// Voxel values `[z, y, x]` on the file's grid; 0 outside the crop.
    pub labels: Vec<u16>,
    /// Probabilities of every class over the crop, if they were asked for.
    pub probabilities: Option<Probabilities>,
}

/// Turns finished bands of scores into labels as they come, so that the classes never exist over the whole volume: each band is
/// interpolated to the crop's grid and the winning label kept. An export of order 3, whose prefilter looks along whole lines, gathers
/// the scores on the model's grid instead and takes one class after the other.
#[derive(Debug)]
pub struct Restorer {
    geometry: Geometry,
    rules: Rules,
    /// Labels on the crop's grid.
    labels: Vec<u16>,
    /// Scores on the crop's grid, if they are kept.
    kept: Option<Vec<f32>>,
    /// Model planes seen.
    seen: usize,
    way: Way,
}

/// How scores come to the crop's grid.
#[derive(Debug)]
enum Way {
    /// Plane by plane.
    Bands {
        /// Crop planes done.
        done: usize,
        /// The last model plane of the previous band, `[k, y, x]`: an output plane may lie between bands.
        previous: Vec<f32>,
        /// Per axis and output sample: two input samples and the weight of the second.
        taps: [Vec<(usize, usize, f64)>; 3],
    },
    /// All scores `[k, z, y, x]` on the model's grid.
    Gather(Vec<f32>),
}

impl Restorer {
    /// Prepares for the scores of as many classes as the rules have values; `keep` says whether probabilities are wanted in the end.
    ///
    /// # Errors
    /// When there is no class, an order is none of 0, 1, 3, or memory cannot be had.
    pub fn new(geometry: &Geometry, rules: &Rules, keep: bool) -> Result<Restorer, VolumeError> {
        let classes = rules.values.len();
        if classes == 0 || classes > 65536 {
            return Err(VolumeError::Setting(format!("{classes} classes, expected 1 to 65536")));
        }
        let separate = geometry.separate(&rules.export);
        let number = |a: usize| if separate == Some(a) { rules.export.order_z } else { rules.export.order };
        let mut orders = [Order::Nearest; 3];
        for (a, order) in orders.iter_mut().enumerate() {
            *order = Order::from_number(number(a))
                .ok_or_else(|| VolumeError::Setting(format!("export order {}, expected 0, 1 or 3", number(a))))?;
        }
        let (model, crop) = (geometry.model_shape, geometry.crop_size);
        let way = if model != crop && orders.contains(&Order::Cubic) {
            Way::Gather(try_filled(classes * model.iter().product::<usize>(), 0f32, "scores of the whole volume")?)
        } else {
            let taps = std::array::from_fn(|a| {
                let (n, m) = (model[a], crop[a]);
                let tap = |o| match orders[a] {
                    Order::Nearest => (nearest(o, n, m), nearest(o, n, m), 0.0),
                    Order::Linear | Order::Cubic => neighbours(o, n, m),
                };
                (0..m).map(tap).collect()
            });
            Way::Bands { done: 0, previous: Vec::new(), taps }
        };
        let voxels: usize = crop.iter().product();
        let kept = keep.then(|| try_filled(classes * voxels, 0f32, "probabilities")).transpose()?;
        Ok(Restorer { geometry: geometry.clone(), rules: rules.clone(), labels: try_filled(voxels, 0u16, "labels")?, kept, seen: 0, way })
    }

    /// Takes the next `depth` model planes: scores `[k, depth, y, x]`, bands in ascending z.
    ///
    /// # Errors
    /// When the band is not the next one, has another size, or holds values that are not numbers.
    pub fn push(&mut self, z: usize, depth: usize, scores: &[f32]) -> Result<(), VolumeError> {
        let [nz, ny, nx] = self.geometry.model_shape;
        let (plane, classes) = (ny * nx, self.rules.values.len());
        if z != self.seen || z + depth > nz || scores.len() != classes * depth * plane {
            return Err(VolumeError::Setting(format!(
                "a band of {} scores at plane {z}, {depth} deep, was given; expected plane {} and {classes} classes of {plane} voxels a plane",
                scores.len(),
                self.seen
            )));
        }
        refuse_odd(scores)?;
        if depth == 0 {
            return Ok(());
        }
        self.seen = z + depth;
        match &mut self.way {
            Way::Gather(all) => {
                for (class, part) in scores.chunks_exact(depth * plane).enumerate() {
                    all[(class * nz + z) * plane..][..depth * plane].copy_from_slice(part);
                }
            }
            Way::Bands { done, previous, taps } => {
                let ready = taps[0][*done..].iter().take_while(|t| t.1 < z + depth).count();
                let band = Band { z, depth, scores, previous, model: [ny, nx], taps, half: self.rules.half };
                let [_, cy, cx] = self.geometry.crop_size;
                let (first, last, crop_plane) = (*done, *done + ready, cy * cx);
                let labels = self.labels[first * crop_plane..last * crop_plane].par_chunks_mut(crop_plane);
                let rules = &self.rules;
                match &mut self.kept {
                    None => labels.enumerate().for_each_init(Scratch::default, |scratch, (i, labels)| {
                        let mut best = std::mem::take(&mut scratch.best);
                        for class in 0..classes {
                            paint(rules, class, band.plane(class, first + i, scratch), &mut best, labels);
                        }
                        scratch.best = best;
                    }),
                    Some(kept) => {
                        let room = kept[first * classes * crop_plane..last * classes * crop_plane].par_chunks_mut(classes * crop_plane);
                        labels.zip(room).enumerate().for_each_init(Scratch::default, |scratch, (i, (labels, room))| {
                            let mut best = std::mem::take(&mut scratch.best);
                            for (class, room) in room.chunks_exact_mut(crop_plane).enumerate() {
                                room.copy_from_slice(band.plane(class, first + i, scratch));
                                paint(rules, class, room, &mut best, labels);
                            }
                            scratch.best = best;
                            if rules.average == Average::Logits {
                                activate(room, classes, rules.activation);
                            }
                        });
                    }
                }
                *done = last;
                previous.clear();
                for class in 0..classes {
                    let at = (class * depth + depth - 1) * plane;
                    previous.extend_from_slice(&scores[at..at + plane]);
                }
            }
        }
        Ok(())
    }

    /// Labels on the file's grid, and the probabilities if they were kept.
    ///
    /// # Errors
    /// When planes are missing, or memory cannot be had.
    pub fn finish(mut self) -> Result<Restored, VolumeError> {
        if self.seen != self.geometry.model_shape[0] {
            return Err(VolumeError::Setting(format!("{} of {} planes of scores were given", self.seen, self.geometry.model_shape[0])));
        }
        if let Way::Gather(all) = std::mem::replace(&mut self.way, Way::Gather(Vec::new())) {
            self.class_by_class(&all)?;
        }
        let (g, rules) = (&self.geometry, &self.rules);
        let probabilities = self.kept.take().map(|data| Probabilities::new(data, rules.values.len(), g, rules.activation));
        let turned = g.map.permute(g.file_shape);
        let mut labels = self.labels;
        if turned != g.crop_size {
            let mut full = try_filled(turned.iter().product(), 0u16, "labels")?;
            paste(&labels, g.crop_size, &mut full, turned, g.crop_low);
            labels = full;
        }
        Ok(Restored { labels: g.map.inverse().apply_owned(labels, 1, turned)?, probabilities })
    }

    /// All scores are there: interpolates and paints one class after the other.
    fn class_by_class(&mut self, all: &[f32]) -> Result<(), VolumeError> {
        let (g, rules) = (&self.geometry, &self.rules);
        let (classes, model) = (rules.values.len(), all.len() / rules.values.len());
        let plane = g.crop_size[1] * g.crop_size[2];
        let separate = g.separate(&rules.export);
        let mut best = Vec::new();
        for (class, scores) in all.chunks_exact(model).enumerate() {
            let mut part = resample(scores, g.model_shape, g.crop_size, &rules.export, separate)?;
            if rules.half {
                part.par_chunks_mut(1 << 16).for_each(round_to_half);
            }
            paint(rules, class, &part, &mut best, &mut self.labels);
            if let Some(kept) = &mut self.kept {
                for (z, part) in part.chunks_exact(plane).enumerate() {
                    kept[(z * classes + class) * plane..][..plane].copy_from_slice(part);
                }
            }
        }
        if let Some(kept) = &mut self.kept
            && rules.average == Average::Logits
        {
            kept.par_chunks_mut(classes * plane).for_each(|room| activate(room, classes, rules.activation));
        }
        Ok(())
    }
}

/// Labels (and probabilities with `keep`) from all scores `[k, z, y, x]` on the model's grid: a [`Restorer`] in one go.
///
/// # Errors
/// As [`Restorer::push`] and [`Restorer::finish`].
pub fn restore(scores: &[f32], geometry: &Geometry, rules: &Rules, keep: bool) -> Result<Restored, VolumeError> {
    let mut restorer = Restorer::new(geometry, rules, keep)?;
    restorer.push(0, geometry.model_shape[0], scores)?;
    restorer.finish()
}

/// Lets one class bid for voxels: with a soft-max the largest score wins, the first of equals; with a sigmoid every channel above one
/// half paints over what came before.
fn paint(rules: &Rules, class: usize, scores: &[f32], best: &mut Vec<f32>, labels: &mut [u16]) {
    let value = rules.values[class];
    match rules.activation {
        Activation::Softmax => {
            if class == 0 {
                best.clear();
                best.resize(labels.len(), f32::NEG_INFINITY);
            }
            for ((label, best), v) in labels.iter_mut().zip(best).zip(scores) {
                if *v > *best {
                    *best = *v;
                    *label = value;
                }
            }
        }
        Activation::Sigmoid => {
            let half = match rules.average {
                Average::Logits => 0.0,
                Average::Probabilities => 0.5,
            };
            for (label, v) in labels.iter_mut().zip(scores) {
                if *v > half {
                    *label = value;
                }
            }
        }
    }
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    mixed: Vec<f64>,
    row: Vec<f64>,
    plane: Vec<f32>,
    best: Vec<f32>,
}

/// The scores at hand: a band, and the plane before it.
struct Band<'a> {
    z: usize,
    depth: usize,
    scores: &'a [f32],
    previous: &'a [f32],
    /// Model voxels along y, x.
    model: [usize; 2],
    taps: &'a [Vec<(usize, usize, f64)>; 3],
    half: bool,
}

impl Band<'_> {
    /// A model plane of one class: from this band, or the one plane kept of the last.
    fn source(&self, class: usize, at: usize) -> &[f32] {
        let plane = self.model[0] * self.model[1];
        if at < self.z {
            &self.previous[class * plane..][..plane]
        } else {
            &self.scores[(class * self.depth + at - self.z) * plane..][..plane]
        }
    }

    /// Crop plane `o` of one class.
    fn plane<'s>(&'s self, class: usize, o: usize, scratch: &'s mut Scratch) -> &'s [f32] {
        let [ny, nx] = self.model;
        let (cy, cx) = (self.taps[1].len(), self.taps[2].len());
        let (z0, z1, w) = self.taps[0][o];
        let (a, b) = (self.source(class, z0), self.source(class, z1));
        let same = [ny, nx] == [cy, cx];
        if same && w <= 0.0 {
            return a;
        }
        let Scratch { mixed, row, plane: out, .. } = scratch;
        out.clear();
        if same {
            out.extend(a.iter().zip(b).map(|(a, b)| (f64::from(*a) * (1.0 - w) + f64::from(*b) * w) as f32));
            if self.half {
                round_to_half(out);
            }
            return out;
        }
        mixed.clear();
        mixed.extend(a.iter().zip(b).map(|(a, b)| f64::from(*a) * (1.0 - w) + f64::from(*b) * w));
        for &(y0, y1, wy) in &self.taps[1] {
            let (a, b) = (&mixed[y0 * nx..][..nx], &mixed[y1 * nx..][..nx]);
            row.clear();
            row.extend(a.iter().zip(b).map(|(a, b)| a * (1.0 - wy) + b * wy));
            out.extend(self.taps[2].iter().map(|&(x0, x1, wx)| (row[x0] * (1.0 - wx) + row[x1] * wx) as f32));
        }
        if self.half {
            round_to_half(out);
        }
        out
    }
}

fn refuse_odd(scores: &[f32]) -> Result<(), VolumeError> {
    let odd = scores.par_chunks(1 << 14).map(|c| c.iter().filter(|v| !v.is_finite()).count());
    match odd.sum::<usize>() {
        0 => Ok(()),
        n => Err(VolumeError::Setting(format!("the network gave {n} NaN or infinite scores of {}", scores.len()))),
    }
}
