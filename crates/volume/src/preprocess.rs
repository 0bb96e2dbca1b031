//! From a file's volume to what the network sees: orient, crop, normalise, resample.

use std::borrow::Cow;

use mnx_artifact::{Normalization, Preprocess, Reader, Resampling, Sequence};

use crate::crop::{bounding_box, cut, cut_in_place, nonzero_mask};
use crate::error::VolumeError;
use crate::normalize::{needs_mask, normalize, verify};
use crate::orientation::AxisMap;
use crate::read::Volume;
use crate::resample::{coarse_axis, new_shape, resample};
use mnx_words::numbers;

/// Axes beyond this after resampling are a mistake in a spacing, not a volume.
const LONGEST_AXIS: usize = 1 << 16;

/// The way back from the model's grid to the file's.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    /// Voxels of the file along z, y, x.
    pub file_shape: [usize; 3],
    /// From the file's axes to the model's.
    pub map: AxisMap,
    /// From the file's axes to those that the model's reader hands over and on which nnU-Net saves probabilities: RAS after
    /// [`Reader::NibabelReorient`], else the file's own.
    pub reader: AxisMap,
    /// First voxel of the crop, on the model's axes before resampling.
    pub crop_low: [usize; 3],
    /// Size of the crop.
    pub crop_size: [usize; 3],
    /// Millimetres of the file's voxels, on the model's axes.
    pub crop_spacing: [f64; 3],
    /// Voxels of the volume that the network sees.
    pub model_shape: [usize; 3],
    /// Millimetres between the model's voxels.
    pub model_spacing: [f64; 3],
}

impl Geometry {
    /// The coarse axis that a rule resamples by itself on the way back.
    pub fn separate(&self, rule: &Resampling) -> Option<usize> {
        coarse_axis(rule, self.model_spacing, self.crop_spacing)
    }
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
    prepare(volume, Cow::Borrowed(&volume.data), settings)
}

/// As [`preprocess`], taking the voxels out of the volume, so that they need not exist twice.
///
/// # Errors
/// As [`preprocess`]; the voxels are gone then too.
pub fn preprocess_taking(volume: &mut Volume, settings: &Preprocess) -> Result<Preprocessed, VolumeError> {
    let data = std::mem::take(&mut volume.data);
    prepare(volume, Cow::Owned(data), settings)
}

fn prepare(volume: &Volume, data: Cow<'_, [f32]>, settings: &Preprocess) -> Result<Preprocessed, VolumeError> {
    let channels = volume.channels;
    let whole = [Normalization::ZScore];
    let schemes = if settings.normalization.is_empty() { &whole[..] } else { &settings.normalization };
    if schemes.len() != 1 && schemes.len() != channels {
        return Err(VolumeError::Setting(format!(
            "normalisation has {} entries for {channels} channel{}, expected one, or one each",
            schemes.len(),
            if channels == 1 { "" } else { "s" }
        )));
    }
    for scheme in schemes {
        verify(scheme)?;
    }
    let oriented = orient(volume, settings)?;
    let reader = if settings.reader == Some(Reader::NibabelReorient) { oriented } else { AxisMap::IDENTITY };
    let map = oriented.then(&AxisMap::transpose(settings.transpose)?);
    let turned_shape = map.permute(volume.shape);
    let old_spacing = map.permute(volume.spacing);
    let spacing = target_spacing(settings.spacing.as_deref(), old_spacing)?;
    let data = if map == AxisMap::IDENTITY { data } else { Cow::Owned(map.apply(&data, channels, volume.shape)?) };

    let masked = schemes.iter().any(needs_mask);
    let mut mask = None;
    let (mut low, mut size) = ([0; 3], turned_shape);
    if masked || settings.crop_to_nonzero {
        let mut inside = nonzero_mask(&data, channels, turned_shape)?;
        if settings.crop_to_nonzero {
            (low, size) = bounding_box(&inside, turned_shape);
            if masked && size != turned_shape {
                cut_in_place(&mut inside, 1, turned_shape, low, size);
            }
        }
        mask = masked.then_some(inside);
    }
    let mut data = match data {
        Cow::Borrowed(all) => cut(all, channels, turned_shape, low, size)?,
        Cow::Owned(mut all) => {
            if size != turned_shape {
                cut_in_place(&mut all, channels, turned_shape, low, size);
            }
            all
        }
    };
    let model_shape = new_shape(size, old_spacing, spacing);
    if let Some(n) = model_shape.iter().find(|&&n| n > LONGEST_AXIS) {
        return Err(VolumeError::Setting(format!(
            "resampling from {} mm to {} mm (z, y, x) would make an axis of {n} voxels, at most {LONGEST_AXIS} are taken",
            numbers(&old_spacing),
            numbers(&spacing)
        )));
    }

    let rule = &settings.resampling;
    let separate = coarse_axis(rule, old_spacing, spacing);
    if settings.sequence == Sequence::ResampleNormalize && model_shape != size {
        data = resample(&data, size, model_shape, rule, separate)?;
        mask = mask.map(|inside| resample_mask(&inside, size, model_shape, rule, separate)).transpose()?;
    }
    let voxels = data.len() / channels.max(1);
    for (c, channel) in data.chunks_exact_mut(voxels.max(1)).enumerate() {
        let scheme = &schemes[if schemes.len() == 1 { 0 } else { c }];
        normalize(scheme, settings.deviation, channel, mask.as_deref())?;
    }
    drop(mask);
    if settings.sequence == Sequence::NormalizeResample && model_shape != size {
        data = resample(&data, size, model_shape, rule, separate)?;
    }
    let geometry = Geometry {
        file_shape: volume.shape,
        map,
        reader,
        crop_low: low,
        crop_size: size,
        crop_spacing: old_spacing,
        model_shape,
        model_spacing: spacing,
    };
    let (from, crop, to) = (mnx_words::extents(&volume.shape), mnx_words::extents(&size), mnx_words::extents(&model_shape));
    tracing::info!(%from, %crop, %to, mm = %mnx_words::commas(&spacing), "volume prepared");
    Ok(Preprocessed { data, channels, shape: model_shape, spacing, geometry })
}

/// The way to the orientation that the model wants, if any.
fn orient(volume: &Volume, settings: &Preprocess) -> Result<AxisMap, VolumeError> {
    let reorients = settings.reader == Some(Reader::NibabelReorient);
    let Some(code) = settings.orientation.as_deref().or(reorients.then_some("RAS")) else {
        return Ok(AxisMap::IDENTITY);
    };
    if !volume.header.oriented() {
        return Err(VolumeError::Setting(format!(
            "{}: neither sform nor qform says how the volume lies, and the model wants it as {code}; set a form in the file, or name \
             the reader that the model was trained with (reader = \"simpleitk\" takes such files for LPS, \"nibabel\" for LAS) under \
             [preprocess]",
            volume.shown()
        )));
    }
    volume.toward(code)
}

/// The spacing to resample to. Two numbers belong to a 2-D model, whose slices keep their distance.
pub(crate) fn target_spacing(wanted: Option<&[f64]>, old: [f64; 3]) -> Result<[f64; 3], VolumeError> {
    let wanted = match wanted {
        None => return Ok(old),
        Some(&[z, y, x]) => [z, y, x],
        Some(&[y, x]) => [0.0, y, x],
        Some(other) => return Err(VolumeError::Setting(format!("spacing is {} mm, expected two or three numbers", numbers(other)))),
    };
    if wanted.iter().any(|v| !v.is_finite() || *v < 0.0) {
        return Err(VolumeError::Setting(format!("spacing is {} mm, expected positive numbers (0 keeps an axis)", numbers(&wanted))));
    }
    Ok(std::array::from_fn(|a| if wanted[a] == 0.0 { old[a] } else { wanted[a] }))
}

/// The mask on the model's grid: linear within planes or throughout, inside from one half (nnU-Net v1 resamples its mask as a label map
/// of order 1, with order 0 along a coarse axis).
fn resample_mask(
    inside: &[bool],
    from: [usize; 3],
    to: [usize; 3],
    rule: &Resampling,
    separate: Option<usize>,
) -> Result<Vec<bool>, VolumeError> {
    let values: Vec<f32> = inside.iter().map(|i| f32::from(u8::from(*i))).collect();
    let linear = Resampling { order: 1, order_z: 0, ..*rule };
    let values = resample(&values, from, to, &linear, separate)?;
    Ok(values.iter().map(|v| *v >= 0.5).collect())
}
