//! What stands between a volume and the network: preparation, the window, and the way back. nnU-Net v1's and v2's rules are values of
//! these fields.

use serde::{Deserialize, Serialize};

use crate::normalization::Normalization;

/// How a volume becomes a network input (`[preprocess]` of the config).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preprocess {
    /// Model spacing in mm, in the order of the model's axes (z, y, x unless transposed); 0 keeps an axis, none keeps the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spacing: Option<Vec<f64>>,
    /// Bring volumes to this orientation first (`RAS`); none keeps the file's axes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orientation: Option<String>,
    /// Whose reading of NIfTI headers the model was trained on; none follows the format and refuses what it leaves open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<Reader>,
    /// nnU-Net's `transpose_forward`: model axis `i` is axis `transpose[i]` of the oriented file (0 = z, 1 = y, 2 = x).
    pub transpose: [usize; 3],
    /// One per channel, or one for all; empty means z-score.
    pub normalization: Vec<Normalization>,
    /// Crop to the bounding box of non-zero voxels (any channel, holes filled) first.
    pub crop_to_nonzero: bool,
    /// Whether intensities are normalised before or after resampling.
    pub sequence: Sequence,
    /// What keeps flat volumes from dividing by zero.
    pub deviation: Deviation,
    /// How volumes come to the model's spacing.
    pub resampling: Resampling,
}

impl Default for Preprocess {
    fn default() -> Self {
        Self {
            spacing: None,
            orientation: None,
            reader: None,
            transpose: [0, 1, 2],
            normalization: Vec::new(),
            crop_to_nonzero: false,
            sequence: Sequence::default(),
            deviation: Deviation::default(),
            resampling: Resampling::DATA,
        }
    }
}

/// A reader of NIfTI files. They differ in units of length, in files without sform and qform, and in which field they believe where
/// sform, qform and pixdim contradict one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reader {
    /// SimpleITK (nnU-Net's `SimpleITKIO`): metres and micrometres become millimetres; a file without a form is LPS.
    Simpleitk,
    /// nibabel (nnU-Net's `NibabelIO`, MONAI's `NibabelReader`): numbers are millimetres whatever the unit; a file without a form is LAS.
    Nibabel,
    /// nnU-Net's `NibabelIOWithReorient`: nibabel, brought to RAS (the only orientation that goes with it); saved probabilities lie on
    /// the RAS grid.
    NibabelReorient,
}

impl Reader {
    /// The word that a config uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Simpleitk => "simpleitk",
            Self::Nibabel => "nibabel",
            Self::NibabelReorient => "nibabel-reorient",
        }
    }
}

/// The order of the two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sequence {
    /// Normalise, then resample (nnU-Net v2).
    #[default]
    NormalizeResample,
    /// Resample, then normalise (nnU-Net v1).
    ResampleNormalize,
}

impl Sequence {
    /// The word that a config uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NormalizeResample => "normalize-resample",
            Self::ResampleNormalize => "resample-normalize",
        }
    }
}

/// What a standard deviation is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deviation {
    /// `max(sd, 1e-8)` everywhere (nnU-Net v2).
    #[default]
    AtLeast,
    /// `sd + 1e-8` in a z-score, the plain `sd` in CT (nnU-Net v1).
    Plus,
}

/// Interpolation between voxel grids.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resampling {
    /// Spline order: 0, 1 or 3.
    pub order: u8,
    /// Spline order along an axis that is resampled by itself: 0, 1 or 3.
    pub order_z: u8,
    /// Whether a coarse axis is resampled by itself.
    pub separate_z: SeparateZ,
    /// With [`SeparateZ::Auto`]: an axis counts as coarse from this ratio of largest to smallest spacing.
    pub anisotropy: f64,
    /// Clip the result to the range of what was interpolated (a channel, or a plane of it), as scikit-image does.
    pub clip: bool,
}

impl Resampling {
    /// nnU-Net's rule for images.
    pub const DATA: Self = Self { order: 3, order_z: 0, separate_z: SeparateZ::Auto, anisotropy: 3.0, clip: true };
    /// nnU-Net's rule for scores on the way back.
    pub const EXPORT: Self = Self { order: 1, ..Self::DATA };
}

impl Default for Resampling {
    fn default() -> Self {
        Self::DATA
    }
}

/// nnU-Net's `force_separate_z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeparateZ {
    /// `None`: if the current spacing, else the new one, is anisotropic with one coarse axis.
    #[default]
    Auto,
    /// `True`: the coarse axis of the current spacing, if it has exactly one.
    Always,
    /// `False`.
    Never,
}

impl SeparateZ {
    /// The word that a config uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// From the network's scores to a segmentation (`[inference]` of the config).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Inference {
    /// Distance of neighbouring tiles as a fraction of the patch, above 0 and at most 1.
    pub step: f64,
    /// Where tiles begin.
    pub windows: Windows,
    /// Weights of the voxels of a tile.
    pub gaussian: Gaussian,
    /// The patch's axes (0 = first) that mirroring may turn; none allows all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_axes: Option<Vec<usize>>,
    /// What is averaged over tiles, mirrorings and folds, and resampled to the file's grid.
    pub average: Average,
    /// From logits to probabilities.
    pub activation: Activation,
    /// With [`Activation::Sigmoid`]: the labels that each output channel stands for; for people and for evaluation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Vec<u32>>,
    /// With [`Activation::Sigmoid`]: the label that each output channel paints where it is above 1/2, later channels over earlier ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class_order: Vec<u32>,
    /// Label of voxels that training left out; no output stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore: Option<u32>,
    /// How scores come back to the file's grid.
    #[serde(default = "export")]
    pub export: Resampling,
    /// What `--save-probabilities` writes.
    pub probabilities: ProbabilityFile,
    /// Applied to the segmentation, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub postprocess: Vec<Postprocess>,
}

fn export() -> Resampling {
    Resampling::EXPORT
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            step: 0.5,
            windows: Windows::default(),
            gaussian: Gaussian::default(),
            mirror_axes: None,
            average: Average::default(),
            activation: Activation::default(),
            regions: Vec::new(),
            class_order: Vec::new(),
            ignore: None,
            export: Resampling::EXPORT,
            probabilities: ProbabilityFile::default(),
            postprocess: Vec::new(),
        }
    }
}

/// Where the tiles of an axis begin, and where padding goes if the axis is shorter than the patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Windows {
    /// As few tiles as the step allows, spread evenly from the first voxel to the last (nnU-Net).
    #[default]
    Nnunet,
    /// Every `int(patch * step)` voxels, the last tile moved back to the end (MONAI's `sliding_window_inference`).
    Monai,
}

impl Windows {
    /// The word that a config uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nnunet => "nnunet",
            Self::Monai => "monai",
        }
    }
}

/// Weights over a patch: a Gaussian around voxel `p / 2` with sigma `p / 8` per axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gaussian {
    /// Peak 10, in float32.
    #[default]
    Peak10,
    /// Peak 1; a volume of a single tile is not weighted at all.
    NnunetV1,
    /// Peak 10 in float16, zeros replaced by the smallest positive weight. Weighted sums, their quotients, averages over folds and
    /// scores on the file's grid are float16 too: at a volume's corners, where weights are subnormal, that shows.
    NnunetV2,
    /// MONAI's importance map: around the middle of the patch, sigma an eighth of it, never below 1e-3.
    Monai,
    /// All voxels alike.
    None,
}

impl Gaussian {
    /// The word that a config uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Peak10 => "peak10",
            Self::NnunetV1 => "nnunet-v1",
            Self::NnunetV2 => "nnunet-v2",
            Self::Monai => "monai",
            Self::None => "none",
        }
    }
}

/// Which scores are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Average {
    /// Logits (nnU-Net v2).
    #[default]
    Logits,
    /// Soft-max or sigmoid of each run of the network (nnU-Net v1).
    Probabilities,
}

impl Average {
    /// The word that a config uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
        }
    }
}

/// From logits to probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// One label per voxel: the largest wins.
    #[default]
    Softmax,
    /// Each channel by itself: regions that may overlap.
    Sigmoid,
}

impl Activation {
    /// The word that a config uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::Sigmoid => "sigmoid",
        }
    }
}

/// Layout of saved probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbabilityFile {
    /// Array `probabilities`, float32, `[class, z, y, x]` over the whole file.
    #[default]
    NnunetV2,
    /// Array `softmax`, float16, `[class, z, y, x]` over the crop.
    NnunetV1,
}

/// Keeps the largest component of the voxels that carry one of the labels; smaller components become background.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Postprocess {
    /// Labels that count as one object.
    pub labels: Vec<u32>,
    /// Which voxels touch.
    #[serde(default)]
    pub connectivity: Connectivity,
    /// Only components below this many mm3 are removed; none removes whatever is smaller than the largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<f64>,
}

/// Which voxels touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Connectivity {
    /// Six neighbours (nnU-Net v1).
    Faces,
    /// Twenty-six neighbours (nnU-Net v2).
    #[default]
    Corners,
}

impl Connectivity {
    /// The word that a config uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Faces => "faces",
            Self::Corners => "corners",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What serde writes, which is what a config holds.
    fn word(value: impl Serialize) -> String {
        match serde_json::to_value(value).unwrap() {
            serde_json::Value::String(word) => word,
            other => other["scheme"].as_str().unwrap().to_owned(),
        }
    }

    #[test]
    fn words_are_those_of_the_config() {
        macro_rules! same {
            ($($value:expr),* $(,)?) => { $( assert_eq!(word($value), $value.as_str()); )* };
        }
        same!(Reader::Simpleitk, Reader::Nibabel, Reader::NibabelReorient);
        same!(Sequence::NormalizeResample, Sequence::ResampleNormalize, SeparateZ::Auto, SeparateZ::Always, SeparateZ::Never);
        same!(Windows::Nnunet, Windows::Monai, Average::Logits, Average::Probabilities, Activation::Softmax, Activation::Sigmoid);
        same!(Gaussian::Peak10, Gaussian::NnunetV1, Gaussian::NnunetV2, Gaussian::Monai, Gaussian::None);
        same!(Connectivity::Faces, Connectivity::Corners);
        same!(Normalization::ZScore, Normalization::ZScoreMasked, Normalization::Rescale01, Normalization::Rgb01);
        same!(Normalization::ZScoreNonzero, Normalization::None);
        let ct = Normalization::Ct { low: -57.0, high: 164.5, mean: 99.5, std: 39.25, masked: true };
        let range = Normalization::Range { low: -1000.0, high: 400.0, to_low: 0.0, to_high: 1.0, clip: true };
        let percentiles = Normalization::Percentiles { lower: 0.5, upper: 99.5, to_low: -1.0, to_high: 1.0, clip: false };
        same!(ct, range, percentiles);
        assert_eq!(ct.to_string(), "ct (low = -57, high = 164.5, mean = 99.5, std = 39.25, masked)");
        assert_eq!(range.to_string(), "range (-1000 to 400 becoming 0 to 1, clipped)");
        assert_eq!(percentiles.to_string(), "percentiles (0.5 to 99.5 becoming -1 to 1)");
        assert_eq!(Normalization::ZScore.to_string(), "zscore");
    }
}
