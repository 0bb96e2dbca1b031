//! From a file's volume to what the network sees: orient, crop, normalise, resample.

use serde::{Deserialize, Serialize};

use crate::crop::{bounding_box, cut, nonzero_mask};
use crate::error::VolumeError;
use crate::normalize::Normalization;
use crate::orientation::AxisMap;
use crate::read::Volume;
use crate::resample::{Order, new_shape, resample, separate_axis};

/// Axes beyond this after resampling are a mistake in a spacing, not a volume.
const LONGEST_AXIS: usize = 1 << 16;

/// How a model wants its volumes, in nnU-Net v2's order: orientation, transposition, crop,
/// normalisation, resampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocess {
    /// Millimetres along z, y, x (after orientation and transposition) to resample to; 0 keeps an
    /// axis as it is (2-D models keep z). None: no resampling.
    pub spacing: Option<[f64; 3]>,
    /// Orientation code of the file axes x, y, z, such as `RAS`. None: as in the file.
    pub orientation: Option<String>,
    /// nnU-Net's `transpose_forward`: model axis i is file axis `transpose[i]` (0 = z, 1 = y, 2 = x).
    pub transpose: [usize; 3],
    /// One entry for every channel, or a single entry for all.
    pub normalization: Vec<Normalization>,
    /// Whether to crop to the box around non-zero voxels first.
    pub crop_to_nonzero: bool,
}

impl Default for Preprocess {
    fn default() -> Preprocess {
        Preprocess {
            spacing: None,
            orientation: None,
            transpose: [0, 1, 2],
            normalization: vec![Normalization::ZScore],
            crop_to_nonzero: false,
        }
    }
}

/// The way back from the model's grid to the file's.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// Voxels of the file along z, y, x.
    pub file_shape: [usize; 3],
    /// From the file's axes to the model's.
    pub map: AxisMap,
    /// First voxel of the crop, on the model's axes before resampling.
    pub crop_low: [usize; 3],
    /// Size of the crop.
    pub crop_size: [usize; 3],
    /// Voxels of the volume that the network sees.
    pub model_shape: [usize; 3],
    /// Axis whose planes are resampled by themselves when going back.
    pub separate: Option<usize>,
}

/// A volume ready for the sliding window.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocessed {
    /// Voxels `[c, z, y, x]` on the model's grid.
    pub data: Vec<f32>,
    /// Channels.
    pub channels: usize,
    /// Voxels along z, y, x.
    pub shape: [usize; 3],
    /// Millimetres along z, y, x.
    pub spacing: [f64; 3],
    /// The way back.
    pub geometry: Geometry,
}

/// Brings a volume to the model's grid and intensities.
///
/// # Errors
/// When a setting does not fit the volume (normalisation entries, orientation code, spacing), or
/// memory cannot be had.
pub fn preprocess(volume: &Volume, settings: &Preprocess) -> Result<Preprocessed, VolumeError> {
    let channels = volume.channels;
    let per_channel = settings.normalization.len();
    if per_channel != 1 && per_channel != channels {
        return Err(VolumeError::Setting(format!(
            "normalisation has {per_channel} entries for {channels} channel(s), expected 1 or {channels}"
        )));
    }
    for n in &settings.normalization {
        n.verify()?;
    }
    if let Some(s) = settings.spacing
        && s.iter().any(|v| !v.is_finite() || *v < 0.0)
    {
        return Err(VolumeError::Setting(format!("spacing is {s:?} mm, expected positive numbers (0 keeps an axis)")));
    }
    let mut map = match &settings.orientation {
        Some(code) => AxisMap::to_orientation(&volume.affine, code)?,
        None => AxisMap::IDENTITY,
    };
    map = map.then(&AxisMap::transpose(settings.transpose)?);
    let turned_shape = map.permute(volume.shape);
    let old_spacing = map.permute(volume.spacing);
    let spacing = match settings.spacing {
        Some(s) => std::array::from_fn(|a| if s[a] == 0.0 { old_spacing[a] } else { s[a] }),
        None => old_spacing,
    };
    let mut data = map.apply(&volume.data, channels, volume.shape)?;

    let masked = settings.normalization.contains(&Normalization::ZScoreMasked);
    let mask = (masked || settings.crop_to_nonzero).then(|| nonzero_mask(&data, channels, turned_shape));
    let (mut low, mut size) = ([0; 3], turned_shape);
    let mut inside = mask;
    if settings.crop_to_nonzero
        && let Some(mask) = inside.as_mut()
    {
        (low, size) = bounding_box(mask, turned_shape);
        if size != turned_shape {
            data = cut(&data, channels, turned_shape, low, size);
            *mask = cut(mask, 1, turned_shape, low, size);
        }
    }
    let model_shape = new_shape(size, old_spacing, spacing);
    if let Some(n) = model_shape.iter().find(|&&n| n > LONGEST_AXIS) {
        return Err(VolumeError::Setting(format!(
            "resampling from {old_spacing:?} to {spacing:?} mm would make an axis of {n} voxels, at most {LONGEST_AXIS} are taken"
        )));
    }

    let voxels: usize = size.iter().product();
    for (c, channel) in data.chunks_exact_mut(voxels).enumerate() {
        let n = settings.normalization[if per_channel == 1 { 0 } else { c }];
        n.apply(channel, inside.as_deref());
    }
    drop(inside);
    if model_shape != size {
        let separate = separate_axis(old_spacing, spacing);
        data = resample(&data, channels, size, model_shape, Order::Cubic, separate)?;
    }
    let geometry = Geometry {
        file_shape: volume.shape,
        map,
        crop_low: low,
        crop_size: size,
        model_shape,
        separate: separate_axis(spacing, old_spacing),
    };
    Ok(Preprocessed { data, channels, shape: model_shape, spacing, geometry })
}
