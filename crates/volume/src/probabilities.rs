//! Probabilities on the crop's grid, and from there class by class on the file's.

use mnx_artifact::Activation;
use rayon::prelude::*;

use crate::crop::paste;
use crate::error::{VolumeError, try_filled, try_reserve};
use crate::orientation::AxisMap;
use crate::preprocess::Geometry;

/// The probabilities of every class.
#[derive(Debug)]
pub struct Probabilities {
    /// `[z, k, y, x]` on the crop's grid, model axes.
    data: Vec<f32>,
    classes: usize,
    activation: Activation,
    crop_low: [usize; 3],
    crop_size: [usize; 3],
    file_shape: [usize; 3],
    map: AxisMap,
    /// From the file's axes to the reader's.
    reader: AxisMap,
}

impl Probabilities {
    pub(crate) fn new(data: Vec<f32>, classes: usize, g: &Geometry, activation: Activation) -> Probabilities {
        Probabilities {
            data,
            classes,
            activation,
            crop_low: g.crop_low,
            crop_size: g.crop_size,
            file_shape: g.file_shape,
            map: g.map,
            reader: g.reader,
        }
    }

    /// How many classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Voxels of the file along z, y, x.
    pub fn file_shape(&self) -> [usize; 3] {
        self.file_shape
    }

    /// Voxels of the crop along the file's z, y, x.
    pub fn crop_shape(&self) -> [usize; 3] {
        self.map.inverse().permute(self.crop_size)
    }

    /// One class over the crop, `[z, y, x]` along the file's axes.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn of_crop(&self, class: usize) -> Result<Vec<f32>, VolumeError> {
        self.map.inverse().apply_owned(self.class(class)?, 1, self.crop_size)
    }

    /// One class over the file, `[z, y, x]`. Outside the crop the first class of a soft-max is certain, and nothing else is there.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn of_file(&self, class: usize) -> Result<Vec<f32>, VolumeError> {
        let part = self.class(class)?;
        let turned = self.map.permute(self.file_shape);
        if turned == self.crop_size {
            return self.map.inverse().apply_owned(part, 1, turned);
        }
        let outside = if class == 0 && self.activation == Activation::Softmax { 1.0 } else { 0.0 };
        let mut full = try_filled(turned.iter().product(), outside, "probabilities")?;
        paste(&part, self.crop_size, &mut full, turned, self.crop_low);
        drop(part);
        self.map.inverse().apply_owned(full, 1, turned)
    }

    /// Voxels of the file along the axes of [`Geometry::reader`].
    pub fn reader_shape(&self) -> [usize; 3] {
        self.reader.permute(self.file_shape)
    }

    /// As [`Probabilities::of_file`], along the axes of [`Geometry::reader`]: where nnU-Net saves them.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn of_reader(&self, class: usize) -> Result<Vec<f32>, VolumeError> {
        self.reader.apply_owned(self.of_file(class)?, 1, self.file_shape)
    }

    /// All classes over the file, `[k, z, y, x]`.
    ///
    /// # Errors
    /// When memory cannot be had.
    pub fn all_of_file(&self) -> Result<Vec<f32>, VolumeError> {
        let mut all = try_reserve(self.classes * self.file_shape.iter().product::<usize>(), "probabilities")?;
        for class in 0..self.classes {
            all.extend_from_slice(&self.of_file(class)?);
        }
        Ok(all)
    }

    fn class(&self, class: usize) -> Result<Vec<f32>, VolumeError> {
        let plane = self.crop_size[1] * self.crop_size[2];
        let mut out = try_reserve(plane * self.crop_size[0], "probabilities of a class")?;
        for planes in self.data.chunks_exact(self.classes * plane) {
            out.extend_from_slice(&planes[class * plane..][..plane]);
        }
        Ok(out)
    }
}

/// Logits `[k, voxels]` to probabilities, in place.
pub fn activate(logits: &mut [f32], classes: usize, activation: Activation) {
    match activation {
        Activation::Softmax => softmax(logits, classes),
        Activation::Sigmoid => {
            logits.par_chunks_mut(PIECE).for_each(|piece| piece.iter_mut().for_each(|v| *v = 1.0 / (1.0 + (-*v).exp())));
        }
    }
}

/// Voxels in pieces that stay in cache; the classes of a piece lie far apart.
const PIECE: usize = 4096;

/// Soft-max over the first axis of `[k, voxels]`, in place.
pub fn softmax(logits: &mut [f32], classes: usize) {
    if classes == 0 || logits.len() < classes {
        return;
    }
    let voxels = logits.len() / classes;
    // Every class of a piece.
    let mut pieces: Vec<Vec<&mut [f32]>> = (0..voxels.div_ceil(PIECE)).map(|_| Vec::with_capacity(classes)).collect();
    for class in logits.chunks_exact_mut(voxels) {
        for (piece, part) in pieces.iter_mut().zip(class.chunks_mut(PIECE)) {
            piece.push(part);
        }
    }
    pieces.into_par_iter().for_each(|mut piece| {
        let n = piece.first().map_or(0, |p| p.len());
        let (mut largest, mut sum) = ([f32::NEG_INFINITY; PIECE], [0f32; PIECE]);
        let (largest, sum) = (&mut largest[..n], &mut sum[..n]);
        for class in &piece {
            for (l, v) in largest.iter_mut().zip(class.iter()) {
                *l = l.max(*v);
            }
        }
        for class in &mut piece {
            for ((v, l), s) in class.iter_mut().zip(&*largest).zip(&mut *sum) {
                *v = (*v - l).exp();
                *s += *v;
            }
        }
        for class in &mut piece {
            for (v, s) in class.iter_mut().zip(&*sum) {
                *v /= s;
            }
        }
    });
}
