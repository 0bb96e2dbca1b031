//! Intensity normalisation: nnU-Net's schemes and MONAI's.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Intensity normalisation of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "scheme")]
pub enum Normalization {
    /// `(v - mean) / sd` over all voxels (after cropping), biased sd guarded by [`Deviation`](crate::inference::Deviation).
    #[serde(rename = "zscore", alias = "z-score")]
    ZScore,
    /// Z-score over the non-zero mask; voxels outside become 0.
    #[serde(rename = "zscore-masked", alias = "z-score-masked")]
    ZScoreMasked,
    /// Clip to `[low, high]`, then `(v - mean) / std` with training-set statistics, guarded by [`Deviation`](crate::inference::Deviation).
    Ct {
        /// 0.5 percentile.
        low: f64,
        /// 99.5 percentile.
        high: f64,
        /// Foreground mean.
        mean: f64,
        /// Foreground standard deviation.
        std: f64,
        /// Voxels outside the non-zero mask become 0 (nnU-Net v1's mask flag on a CT channel).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        masked: bool,
    },
    /// `(v - min) / max(max - min, 1e-8)`.
    #[serde(rename = "rescale-0-1")]
    Rescale01,
    /// `v / 255`; voxels outside 0..255 are refused.
    #[serde(rename = "rgb-0-1")]
    Rgb01,
    /// `(v - mean) / sd` over the channel's own non-zero voxels, which alone are changed; an sd of 0 counts as 1
    /// (MONAI's `NormalizeIntensity(nonzero=True, channel_wise=True)`).
    #[serde(rename = "zscore-nonzero")]
    ZScoreNonzero,
    /// From `[low, high]` to `[to_low, to_high]`, linearly (MONAI's `ScaleIntensityRange`: a_min, a_max, b_min, b_max).
    Range {
        /// Intensity that becomes `to_low`.
        low: f64,
        /// Intensity that becomes `to_high`.
        high: f64,
        /// Lower end of the result.
        #[serde(default)]
        to_low: f64,
        /// Upper end of the result.
        #[serde(default = "one")]
        to_high: f64,
        /// Whether results are clipped to `[to_low, to_high]`.
        #[serde(default)]
        clip: bool,
    },
    /// Range between two percentiles of the channel, linearly to another range (MONAI's `ScaleIntensityRangePercentiles`, not relative).
    Percentiles {
        /// Lower percentile, 0 to 100.
        lower: f64,
        /// Upper percentile, above the lower one.
        upper: f64,
        /// Lower end of the result.
        #[serde(default)]
        to_low: f64,
        /// Upper end of the result.
        #[serde(default = "one")]
        to_high: f64,
        /// Whether results are clipped to `[to_low, to_high]`.
        #[serde(default)]
        clip: bool,
    },
    /// Voxels as they are.
    None,
}

impl Normalization {
    /// The scheme's name as a config uses it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::ZScore => "zscore",
            Self::ZScoreMasked => "zscore-masked",
            Self::Ct { .. } => "ct",
            Self::Rescale01 => "rescale-0-1",
            Self::Rgb01 => "rgb-0-1",
            Self::ZScoreNonzero => "zscore-nonzero",
            Self::Range { .. } => "range",
            Self::Percentiles { .. } => "percentiles",
            Self::None => "none",
        }
    }
}

/// The scheme and its numbers, under their names of the config: `ct (low = -57, high = 164, mean = 99.5, std = 39.4)`.
impl fmt::Display for Normalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Ct { low, high, mean, std, masked } => {
                write!(f, " (low = {low}, high = {high}, mean = {mean}, std = {std}{})", if *masked { ", masked" } else { "" })
            }
            Self::Range { low, high, to_low, to_high, clip } => {
                write!(f, " ({low} to {high} becoming {to_low} to {to_high}{})", if *clip { ", clipped" } else { "" })
            }
            Self::Percentiles { lower, upper, to_low, to_high, clip } => {
                write!(f, " ({lower} to {upper} becoming {to_low} to {to_high}{})", if *clip { ", clipped" } else { "" })
            }
            Self::ZScore | Self::ZScoreMasked | Self::Rescale01 | Self::Rgb01 | Self::ZScoreNonzero | Self::None => Ok(()),
        }
    }
}

fn one() -> f64 {
    1.0
}
