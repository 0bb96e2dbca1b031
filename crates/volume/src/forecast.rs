//! What preparing a volume will come to, told before any of it is allocated.

use mnx_artifact::Preprocess;

use crate::crop::{bounding_box, nonzero_mask};
use crate::error::VolumeError;
use crate::orientation::AxisMap;
use crate::preprocess::target_spacing;
use crate::read::Volume;
use crate::resample::new_shape;

/// A volume before and after resampling, both on the model's axes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Voxels of the file, or of its crop.
    pub from_shape: [usize; 3],
    /// Millimetres of the file's voxels.
    pub from_spacing: [f64; 3],
    /// Voxels that the network will see.
    pub shape: [usize; 3],
    /// Millimetres of those voxels.
    pub spacing: [f64; 3],
}

impl Forecast {
    /// The whole volume, before it is cropped: with a crop, the most that may come of it.
    ///
    /// # Errors
    /// When a setting does not fit the volume (orientation, transposition, spacing).
    pub fn of_whole(volume: &Volume, settings: &Preprocess) -> Result<Self, VolumeError> {
        let map = map(volume, settings)?;
        Self::new(map.permute(volume.shape), map.permute(volume.spacing), settings)
    }

    /// The part around the non-zero voxels, for models that crop. Looks at every voxel.
    ///
    /// # Errors
    /// As [`Self::of_whole`], or when memory for a mask cannot be had.
    pub fn of_crop(volume: &Volume, settings: &Preprocess) -> Result<Self, VolumeError> {
        let map = map(volume, settings)?;
        let (_, size) = bounding_box(&nonzero_mask(&volume.data, volume.channels, volume.shape)?, volume.shape);
        Self::new(map.permute(size), map.permute(volume.spacing), settings)
    }

    fn new(from_shape: [usize; 3], from_spacing: [f64; 3], settings: &Preprocess) -> Result<Self, VolumeError> {
        let spacing = target_spacing(settings.spacing.as_deref(), from_spacing)?;
        Ok(Self { from_shape, from_spacing, shape: new_shape(from_shape, from_spacing, spacing), spacing })
    }

    /// Voxels that the network will see; no wrap, however absurd the spacing.
    pub fn voxels(&self) -> u128 {
        product(self.shape)
    }

    /// How many times as many voxels there will be.
    pub fn growth(&self) -> f64 {
        self.voxels() as f64 / product(self.from_shape).max(1) as f64
    }
}

fn product(shape: [usize; 3]) -> u128 {
    shape.iter().fold(1u128, |acc, &n| acc.saturating_mul(n as u128))
}

/// From the file's axes to the model's.
fn map(volume: &Volume, settings: &Preprocess) -> Result<AxisMap, VolumeError> {
    let map = match &settings.orientation {
        Some(code) => AxisMap::to_orientation(&volume.affine, code)?,
        None => AxisMap::IDENTITY,
    };
    Ok(map.then(&AxisMap::transpose(settings.transpose)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::header::Header;
    use crate::preprocess::preprocess;

    fn volume(shape: [usize; 3], spacing: [f64; 3]) -> Volume {
        let [z, y, x] = spacing;
        let affine = [[-x, 0.0, 0.0, 0.0], [0.0, y, 0.0, 0.0], [0.0, 0.0, z, 0.0], [0.0, 0.0, 0.0, 1.0]];
        let header = Header::new(shape, affine).unwrap();
        let n = shape.iter().product();
        let mut data: Vec<f32> = (0..n).map(|i| (i * 37 % 101) as f32 + 1.0).collect();
        // An empty first plane, for the crop.
        data[..shape[1] * shape[2]].fill(0.0);
        Volume { data, channels: 1, shape, affine, spacing, header }
    }

    #[test]
    fn a_forecast_is_what_preparing_gives() {
        for (shape, spacing, wanted, transpose, crop) in [
            ([5, 6, 7], [3.0, 1.0, 2.0], Some(vec![1.0, 1.0, 1.0]), [0, 1, 2], false),
            ([5, 6, 7], [3.0, 1.0, 2.0], Some(vec![2.0, 0.0, 1.5]), [2, 0, 1], false),
            ([5, 6, 7], [3.0, 1.0, 2.0], Some(vec![0.7, 0.9]), [0, 1, 2], true),
            ([4, 9, 3], [1.0, 1.0, 2.0], None, [1, 0, 2], true),
        ] {
            for orientation in [None, Some("RAS".to_owned()), Some("PIR".to_owned())] {
                let settings =
                    Preprocess { spacing: wanted.clone(), orientation, transpose, crop_to_nonzero: crop, ..Preprocess::default() };
                let v = volume(shape, spacing);
                let told = if crop { Forecast::of_crop(&v, &settings) } else { Forecast::of_whole(&v, &settings) }.unwrap();
                let ready = preprocess(&v, &settings).unwrap();
                assert_eq!((told.shape, told.spacing), (ready.shape, ready.spacing));
                assert_eq!((told.from_shape, told.from_spacing), (ready.geometry.crop_size, ready.geometry.crop_spacing));
                assert_eq!(told.voxels(), ready.data.len() as u128);
            }
        }
    }

    #[test]
    fn absurd_spacings_do_not_wrap() {
        let settings = Preprocess { spacing: Some(vec![1e-12; 3]), ..Preprocess::default() };
        let told = Forecast::of_whole(&volume([5, 6, 7], [1e9; 3]), &settings).unwrap();
        assert!(told.voxels() > 1u128 << 100 && told.growth() > 1e30);
    }
}
