//! The tables `[preprocess]` and `[labels]`: what a bundle must know to segment a volume.

use serde::Serialize;
use toml::de::DeValue;

use crate::document::{Table, boolean, integer, number, word};

/// How a volume becomes a network input.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Preprocess {
    /// Model spacing in mm, axes z, y, x (y, x for a 2-D network); none keeps the image's own.
    pub spacing: Option<Vec<f64>>,
    /// Three letters such as `RAS`; none keeps the file's axes.
    pub orientation: Option<String>,
    /// One per channel, or one for all; empty means z-score.
    pub normalization: Vec<Normalization>,
    /// Crop to the bounding box of non-zero voxels first.
    pub crop_to_nonzero: bool,
}

/// Intensity normalisation of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "scheme")]
pub enum Normalization {
    /// Mean 0 and deviation 1 over all voxels.
    #[serde(rename = "zscore")]
    ZScore,
    /// The same over non-zero voxels; the others become 0.
    #[serde(rename = "zscore-masked")]
    ZScoreMasked,
    /// Clip, then the training set's mean and deviation.
    Ct {
        /// Lower clip.
        low: f64,
        /// Upper clip.
        high: f64,
        /// Mean.
        mean: f64,
        /// Deviation.
        std: f64,
    },
    /// Voxels as they are.
    None,
}

const SCHEMES: &str = "\"zscore\", \"zscore-masked\", \"none\" or { scheme = \"ct\", low = .., high = .., mean = .., std = .. }";

fn normalization(v: &DeValue<'_>) -> Result<Normalization, String> {
    if let Some(table) = v.as_table() {
        for key in table.keys() {
            let key: &str = key.get_ref();
            if !["scheme", "low", "high", "mean", "std"].contains(&key) {
                return Err(format!("{SCHEMES}, without `{key}`"));
            }
        }
        let value = |key: &str| table.get(key).and_then(|v| number(v.get_ref()));
        let scheme = table.get("scheme").and_then(|v| v.get_ref().as_str());
        if scheme != Some("ct") {
            return match table.get("scheme") {
                Some(name) if table.len() == 1 => normalization(name.get_ref()),
                Some(_) | None => Err(SCHEMES.into()),
            };
        }
        let (Some(low), Some(high), Some(mean), Some(std)) = (value("low"), value("high"), value("mean"), value("std")) else {
            return Err("finite numbers low, high, mean and std with scheme \"ct\"".into());
        };
        if low >= high || std <= 0.0 {
            return Err("low below high and std above 0 with scheme \"ct\"".into());
        }
        return Ok(Normalization::Ct { low, high, mean, std });
    }
    word(v, &[("zscore", Normalization::ZScore), ("zscore-masked", Normalization::ZScoreMasked), ("none", Normalization::None)]).map_err(
        |e| {
            if v.as_str() == Some("ct") {
                "{ scheme = \"ct\", low = .., high = .., mean = .., std = .. }: ct needs its statistics".into()
            } else if v.as_str().is_some() {
                e
            } else {
                SCHEMES.into()
            }
        },
    )
}

fn orientation(v: &DeValue<'_>) -> Result<String, String> {
    let expected = "three letters, one of each pair R/L, A/P, S/I, such as \"RAS\" or \"LPS\"".to_string();
    let Some(letters) = v.as_str().filter(|s| s.len() == 3) else {
        return Err(expected);
    };
    for pair in ["RL", "AP", "SI"] {
        if letters.chars().filter(|c| pair.contains(*c)).count() != 1 {
            return Err(expected);
        }
    }
    Ok(letters.to_string())
}

/// Reads `[preprocess]`.
pub(crate) fn preprocess(t: &Table<'_, '_>, in_channels: Option<usize>, axes: usize) -> Preprocess {
    t.only(&["spacing", "orientation", "normalization", "crop_to_nonzero"]);
    let spacing = t.get("spacing", |v| {
        let list: Option<Vec<f64>> = v.as_array().map(|a| a.iter().map(|x| number(x.get_ref())).collect()).unwrap_or_default();
        list.filter(|l| (l.len() == 3 || l.len() == axes) && l.iter().all(|x| *x > 0.0))
            .ok_or_else(|| "three positive numbers [z, y, x] in mm".to_string())
    });
    let normalization = t.get("normalization", |v| match v.as_array() {
        None => normalization(v).map(|n| vec![n]),
        Some(list) => {
            let all: Vec<Normalization> = list.iter().map(|v| normalization(v.get_ref())).collect::<Result<_, _>>()?;
            match in_channels {
                Some(c) if all.len() != 1 && all.len() != c => {
                    Err(format!("one entry, or one for each of the {c} input channels, got {}", all.len()))
                }
                Some(_) | None => Ok(all),
            }
        }
    });
    Preprocess {
        spacing,
        orientation: t.get("orientation", orientation),
        normalization: normalization.unwrap_or_default(),
        crop_to_nonzero: t.get("crop_to_nonzero", boolean).unwrap_or(false),
    }
}

/// Reads `[labels]`: each name an integer below the number of classes, none twice.
pub(crate) fn labels(t: &Table<'_, '_>, n_classes: Option<usize>) -> Vec<(String, u32)> {
    let classes = n_classes.unwrap_or(1 << 16);
    let mut out: Vec<(String, u32)> = Vec::new();
    for key in t.entries.keys() {
        let name: &str = key.get_ref();
        let value = t.get(name, |v| {
            integer(v, &(0..classes))
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| format!("an integer from 0 to {} (n_classes - 1)", classes - 1))
        });
        let Some(value) = value else { continue };
        if let Some((other, _)) = out.iter().find(|(_, v)| *v == value) {
            t.conflict(name, format!("labels `{other}` and `{name}` are both {value}"));
        }
        out.push((name.to_string(), value));
    }
    out.sort_by_key(|(_, value)| *value);
    out
}
