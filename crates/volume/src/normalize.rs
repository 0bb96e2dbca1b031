//! Intensity normalisation, as nnU-Net v2 does it.

use serde::{Deserialize, Serialize};

use crate::error::VolumeError;

/// Below this a standard deviation counts as this (nnU-Net v2's guard against flat volumes).
const SMALLEST_SD: f64 = 1e-8;

/// How one channel's intensities are brought to the network's scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalization {
    /// Mean 0, standard deviation 1 over all voxels (after cropping).
    ZScore,
    /// The same over the non-zero region (holes filled); voxels outside it are left alone.
    ZScoreMasked,
    /// Clip to `[low, high]`, subtract `mean`, divide by `std`: statistics of the training set.
    Ct {
        /// Lower clip (0.5th percentile of the foreground).
        low: f64,
        /// Upper clip (99.5th percentile).
        high: f64,
        /// Mean of the foreground.
        mean: f64,
        /// Standard deviation of the foreground.
        std: f64,
    },
    /// Intensities as they are.
    None,
}

impl Normalization {
    /// Refuses statistics that are not numbers or bounds the wrong way round.
    pub(crate) fn verify(&self) -> Result<(), VolumeError> {
        if let Normalization::Ct { low, high, mean, std } = *self
            && (![low, high, mean, std].iter().all(|v| v.is_finite()) || low > high || std < 0.0)
        {
            return Err(VolumeError::Setting(format!(
                "CT normalisation has low {low}, high {high}, mean {mean}, std {std}; expected finite numbers, low <= high, std >= 0"
            )));
        }
        Ok(())
    }

    /// Normalises one channel in place; `mask` (same length) is needed by [`Normalization::ZScoreMasked`].
    pub(crate) fn apply(&self, data: &mut [f32], mask: Option<&[bool]>) {
        match *self {
            Normalization::None => {}
            Normalization::Ct { low, high, mean, std } => {
                let sd = std.max(SMALLEST_SD);
                for v in data.iter_mut() {
                    *v = ((f64::from(*v).clamp(low, high) - mean) / sd) as f32;
                }
            }
            Normalization::ZScore => {
                let (mean, sd) = statistics(data.iter().copied());
                for v in data.iter_mut() {
                    *v = ((f64::from(*v) - mean) / sd) as f32;
                }
            }
            Normalization::ZScoreMasked => {
                let inside = |i: usize| mask.is_none_or(|m| m[i]);
                let values = data.iter().enumerate().filter(|(i, _)| inside(*i)).map(|(_, v)| *v);
                let (mean, sd) = statistics(values);
                for (i, v) in data.iter_mut().enumerate() {
                    if inside(i) {
                        *v = ((f64::from(*v) - mean) / sd) as f32;
                    }
                }
            }
        }
    }
}

/// Mean and guarded standard deviation (biased: divided by the count), in two passes.
fn statistics(values: impl Iterator<Item = f32> + Clone) -> (f64, f64) {
    let (sum, count) = values.clone().fold((0f64, 0usize), |(s, n), v| (s + f64::from(v), n + 1));
    if count == 0 {
        return (0.0, 1.0);
    }
    let mean = sum / count as f64;
    let square = values.fold(0f64, |s, v| {
        let d = f64::from(v) - mean;
        s + d * d
    });
    (mean, (square / count as f64).sqrt().max(SMALLEST_SD))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn z_score_divides_by_the_biased_deviation() {
        let mut data = [1.0, 2.0, 3.0, 6.0];
        Normalization::ZScore.apply(&mut data, None);
        let sd = 3.5f64.sqrt(); // mean 3; squares 4 + 1 + 0 + 9 over 4
        for (v, e) in data.iter().zip([-2.0, -1.0, 0.0, 3.0]) {
            assert!((f64::from(*v) - e / sd).abs() < 1e-6, "{v}");
        }
        let mut flat = [5.0; 7];
        Normalization::ZScore.apply(&mut flat, None);
        assert_eq!(flat, [0.0; 7]);
    }

    #[test]
    fn masked_z_score_leaves_the_outside_alone() {
        let mut data = [0.0, 1.0, 3.0, 0.0];
        Normalization::ZScoreMasked.apply(&mut data, Some(&[false, true, true, false]));
        assert_eq!(data, [0.0, -1.0, 1.0, 0.0]);
    }

    #[test]
    fn ct_clips_before_it_scales() {
        let mut data = [-2000.0, 0.0, 100.0, 5000.0];
        let ct = Normalization::Ct { low: -100.0, high: 300.0, mean: 50.0, std: 50.0 };
        ct.apply(&mut data, None);
        assert_eq!(data, [-3.0, -1.0, 1.0, 5.0]);
        assert!(Normalization::Ct { low: 1.0, high: 0.0, mean: 0.0, std: 1.0 }.verify().is_err());
        assert!(Normalization::Ct { low: 0.0, high: 1.0, mean: f64::NAN, std: 1.0 }.verify().is_err());
    }
}
