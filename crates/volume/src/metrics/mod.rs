//! How well a segmentation agrees with a reference: overlap, surface distance, volume.
//!
//! Definitions, per class (a set of labels), over one case:
//! * Dice `2 TP / (2 TP + FP + FN)` and IoU `TP / (TP + FP + FN)`; NaN where prediction and reference are both empty
//!   (`compute_metrics` of nnU-Net v2).
//! * The surface of a mask: its voxels with a face neighbour outside the mask; beyond the image is outside. This is
//!   `mask ^ binary_erosion(mask)`, as in MONAI's `get_mask_edges`. An axis of one voxel has no neighbours, so that a
//!   slice has an outline and not only surface.
//! * Surface distances: from each voxel of one surface to the nearest of the other, centre to centre, in mm, exact.
//! * Surface Dice at `t` mm: voxels of both surfaces within `t` of the other surface, over all voxels of both (Nikolov et al. 2021,
//!   arXiv:1809.04430, on voxels as MONAI's `compute_surface_dice`; DeepMind's own package weighs surface elements by area instead).
//! * HD95: the larger of the two directed 95th percentiles (linear between order statistics, as NumPy's default).
//! * One of both empty: Dice, IoU and surface Dice 0, HD95 infinite. Both empty: all four NaN.
//!
//! Distances and volumes take the axes as orthogonal with the given spacing; a sheared affine is not accounted for.

mod distance;
mod mean;
mod overlap;
mod surface;

pub use mean::Means;
pub use overlap::Counts;

use std::collections::BTreeSet;

use crate::error::VolumeError;
use distance::squared_distances;
use mnx_words::{extents, numbers};
use overlap::Tally;
use surface::{Selection, Surface};

/// Spacings are stored as float32 in NIfTI-1: a distance counts as within the tolerance if it exceeds it by no more than this fraction.
const SLACK: f64 = 1e-6;

/// The agreement of one class in one case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scores {
    /// Voxels by outcome.
    pub counts: Counts,
    /// Surface Dice at the tolerance asked for; NaN if both masks are empty.
    pub surface_dice: f64,
    /// 95th percentile Hausdorff distance, mm; NaN if both masks are empty, infinite if one is.
    pub hd95_mm: f64,
    /// Volume of the prediction, ml.
    pub prediction_ml: f64,
    /// Volume of the reference, ml.
    pub reference_ml: f64,
}

impl Scores {
    /// The scores of a class that neither side of a case of `voxels` voxels holds.
    pub fn absent(voxels: u64) -> Self {
        let counts = Counts { tp: 0, fp: 0, fn_: 0, tn: voxels };
        Self { counts, surface_dice: f64::NAN, hd95_mm: f64::NAN, prediction_ml: 0.0, reference_ml: 0.0 }
    }
}

/// A prediction beside its reference, counted once; scores of any class follow.
///
/// Memory beside the two volumes, per call of [`Comparison::scores`]: one byte for each voxel of the boxes around the class in
/// prediction and reference, and at most four for each voxel of the larger of them.
#[derive(Debug)]
pub struct Comparison<'a> {
    prediction: &'a [u16],
    reference: &'a [u16],
    shape: [usize; 3],
    spacing: [f64; 3],
    ignore: Option<u16>,
    tally: Tally,
}

impl<'a> Comparison<'a> {
    /// Counts two label volumes of `shape` (z, y, x) voxels of `spacing` mm. Voxels where the reference is `ignore` count for nothing
    /// and are background of every class.
    ///
    /// # Errors
    /// When a volume has another number of voxels, or the spacing is not positive.
    pub fn new(
        prediction: &'a [u16],
        reference: &'a [u16],
        shape: [usize; 3],
        spacing: [f64; 3],
        ignore: Option<u16>,
    ) -> Result<Self, VolumeError> {
        let voxels: usize = shape.iter().product();
        for (what, volume) in [("prediction", prediction), ("reference", reference)] {
            if volume.len() != voxels {
                return Err(VolumeError::Setting(format!(
                    "the {what} has {} voxels, expected {} = {voxels}",
                    volume.len(),
                    extents(&shape)
                )));
            }
        }
        if !spacing.iter().all(|s| s.is_finite() && *s > 0.0) {
            return Err(VolumeError::Setting(format!("the spacing is {} mm, positive numbers expected", numbers(&spacing))));
        }
        let tally = Tally::of(prediction, reference, shape, ignore);
        Ok(Self { prediction, reference, shape, spacing, ignore, tally })
    }

    /// The labels that either volume holds.
    pub fn labels(&self) -> BTreeSet<u16> {
        self.tally.labels()
    }

    /// Voxels that count.
    pub fn voxels(&self) -> u64 {
        self.tally.voxels()
    }

    /// The scores of the class made of `labels`, surface Dice at `tolerance_mm`.
    ///
    /// # Errors
    /// When memory for the distances cannot be had.
    pub fn scores(&self, labels: &[u16], tolerance_mm: f64) -> Result<Scores, VolumeError> {
        let counts = self.tally.counts(labels);
        let ml = self.spacing.iter().product::<f64>() / 1000.0;
        let (surface_dice, hd95_mm) = self.surfaces(labels, tolerance_mm)?;
        Ok(Scores {
            counts,
            surface_dice,
            hd95_mm,
            prediction_ml: counts.prediction() as f64 * ml,
            reference_ml: counts.reference() as f64 * ml,
        })
    }

    /// Surface Dice and HD95.
    fn surfaces(&self, labels: &[u16], tolerance_mm: f64) -> Result<(f64, f64), VolumeError> {
        let (predicted, referenced) = self.tally.boxes(labels);
        let (predicted, referenced) = match (predicted, referenced) {
            (None, None) => return Ok((f64::NAN, f64::NAN)),
            (None, Some(_)) | (Some(_), None) => return Ok((0.0, f64::INFINITY)),
            (Some(p), Some(r)) => (p, r),
        };
        let left_out = self.ignore.map(|label| (self.reference, label));
        let p = Surface::of(&Selection::new(self.prediction, self.shape, labels, left_out), predicted)?;
        let r = Surface::of(&Selection::new(self.reference, self.shape, labels, None), referenced)?;
        let limit = tolerance_mm * (1.0 + SLACK);
        let (mut within, mut all, mut hd95) = (0, 0, 0.0_f64);
        for (from, to) in [(&p, &r), (&r, &p)] {
            let mut squared = squared_distances(from, to, self.spacing)?;
            within += squared.iter().filter(|d| f64::from(**d) <= limit * limit).count();
            all += squared.len();
            hd95 = hd95.max(root_percentile(&mut squared, 0.95));
        }
        Ok((within as f64 / all as f64, hd95))
    }
}

/// The quantile `q` of the roots of `squared` (not empty), linear between order statistics. Reorders `squared`.
fn root_percentile(squared: &mut [f32], q: f64) -> f64 {
    let position = q * (squared.len() - 1) as f64;
    let below = position.floor();
    let (_, low, above) = squared.select_nth_unstable_by(below as usize, f32::total_cmp);
    let low = f64::from(*low).sqrt();
    let high = above.iter().copied().min_by(f32::total_cmp).map_or(low, |v| f64::from(v).sqrt());
    low + (high - low) * (position - below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_numpys() {
        // np.percentile([0, 1, 2, 3], 95) = 2.85; of one value that value; of [0, 10]: 9.5.
        let of = |values: &[f32]| root_percentile(&mut values.iter().map(|v| v * v).collect::<Vec<_>>(), 0.95);
        assert!((of(&[3.0, 0.0, 2.0, 1.0]) - 2.85).abs() < 1e-12);
        assert_eq!(of(&[7.0]), 7.0);
        assert!((of(&[10.0, 0.0]) - 9.5).abs() < 1e-12);
        let many: Vec<f32> = (0..21).rev().map(|v| v as f32).collect();
        assert!((of(&many) - 19.0).abs() < 1e-12);
    }
}
