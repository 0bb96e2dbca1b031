//! The tables `[preprocess]` and `[labels]`: what a bundle must know to segment a volume.

use mnx_artifact::{Deviation, Normalization, Preprocess, Reader, Resampling, SeparateZ, Sequence};
use toml::de::{DeTable, DeValue};

use crate::document::{Table, boolean, integer, number, word};

const SCHEMES: &str = "\"zscore\", \"zscore-masked\", \"zscore-nonzero\", \"rescale-0-1\", \"rgb-0-1\", \"none\" or a table with scheme = \"ct\", \"range\" or \"percentiles\"";
const CT: &str = "{ scheme = \"ct\", low = .., high = .., mean = .., std = .. }";
const RANGE: &str = "{ scheme = \"range\", low = .., high = .., to_low = 0, to_high = 1, clip = false }";
const PERCENTILES: &str = "{ scheme = \"percentiles\", lower = .., upper = .., to_low = 0, to_high = 1, clip = false }";

const READERS: &[(&str, Reader)] =
    &[("simpleitk", Reader::Simpleitk), ("nibabel", Reader::Nibabel), ("nibabel-reorient", Reader::NibabelReorient)];

/// The schemes that a word names.
const WORDS: &[(&str, Normalization)] = &[
    ("zscore", Normalization::ZScore),
    ("zscore-masked", Normalization::ZScoreMasked),
    ("zscore-nonzero", Normalization::ZScoreNonzero),
    ("rescale-0-1", Normalization::Rescale01),
    ("rgb-0-1", Normalization::Rgb01),
    ("none", Normalization::None),
];

fn normalization(v: &DeValue<'_>) -> Result<Normalization, String> {
    if let Some(table) = v.as_table() {
        return with_numbers(table);
    }
    let form = |name: &str| [("ct", CT), ("range", RANGE), ("percentiles", PERCENTILES)].into_iter().find(|(n, _)| *n == name);
    word(v, WORDS).map_err(|e| match v.as_str().map(|name| (name, form(name))) {
        Some((_, Some((name, form)))) => format!("{form}: {name} needs its numbers"),
        Some((_, None)) => e,
        None => SCHEMES.into(),
    })
}

/// A scheme that is written as a table.
fn with_numbers(table: &DeTable<'_>) -> Result<Normalization, String> {
    let scheme = table.get("scheme").ok_or(SCHEMES)?.get_ref();
    let (form, keys): (&str, &[&str]) = match scheme.as_str() {
        Some("ct") => (CT, &["scheme", "low", "high", "mean", "std", "masked"]),
        Some("range") => (RANGE, &["scheme", "low", "high", "to_low", "to_high", "clip"]),
        Some("percentiles") => (PERCENTILES, &["scheme", "lower", "upper", "to_low", "to_high", "clip"]),
        Some(_) if table.len() == 1 => return normalization(scheme),
        Some(_) | None => return Err(SCHEMES.into()),
    };
    if let Some(other) = table.keys().map(|k| -> &str { k.get_ref() }).find(|k| !keys.contains(k)) {
        return Err(format!("{form}, without `{other}`"));
    }
    let value = |key: &str| {
        let v = table.get(key).and_then(|v| number(v.get_ref()));
        v.ok_or_else(|| format!("{form}: `{key}` is not a finite number"))
    };
    let or = |key: &str, default: f64| if table.contains_key(key) { value(key) } else { Ok(default) };
    let flag = |key: &str| match table.get(key).map(|v| v.get_ref().as_bool()) {
        None => Ok(false),
        Some(Some(flag)) => Ok(flag),
        Some(None) => Err(format!("{form}: `{key}` is not true or false")),
    };
    match scheme.as_str() {
        Some("ct") => {
            let (low, high, mean, std) = (value("low")?, value("high")?, value("mean")?, value("std")?);
            if low >= high || std <= 0.0 {
                return Err("low below high and std above 0 with scheme \"ct\"".into());
            }
            Ok(Normalization::Ct { low, high, mean, std, masked: flag("masked")? })
        }
        Some("range") => {
            let (low, high, to_low, to_high) = (value("low")?, value("high")?, or("to_low", 0.0)?, or("to_high", 1.0)?);
            if low >= high || to_low >= to_high {
                return Err("low below high and to_low below to_high with scheme \"range\"".into());
            }
            Ok(Normalization::Range { low, high, to_low, to_high, clip: flag("clip")? })
        }
        _ => {
            let (lower, upper, to_low, to_high) = (value("lower")?, value("upper")?, or("to_low", 0.0)?, or("to_high", 1.0)?);
            if !(0.0 <= lower && lower < upper && upper <= 100.0 && to_low < to_high) {
                return Err("lower below upper, both from 0 to 100, and to_low below to_high with scheme \"percentiles\"".into());
            }
            Ok(Normalization::Percentiles { lower, upper, to_low, to_high, clip: flag("clip")? })
        }
    }
}

/// Reads a rule of interpolation; what it leaves out is as in `default`.
pub(crate) fn resampling(v: &DeValue<'_>, default: Resampling) -> Result<Resampling, String> {
    const FORM: &str = "{ order = 0, 1 or 3, order_z = 0, 1 or 3, separate_z = \"auto\", \"always\" or \"never\", anisotropy = 1 or more, clip = true or false }";
    let table = v.as_table().ok_or(FORM)?;
    let mut out = default;
    for (key, v) in table.iter() {
        let (key, v): (&str, _) = (key.get_ref(), v.get_ref());
        let order = || integer(v, &(0..4)).filter(|n| *n != 2).map(|n| n as u8).ok_or_else(|| format!("{FORM}: `{key}` is not 0, 1 or 3"));
        match key {
            "order" => out.order = order()?,
            "order_z" => out.order_z = order()?,
            "separate_z" => {
                let words = [("auto", SeparateZ::Auto), ("always", SeparateZ::Always), ("never", SeparateZ::Never)];
                out.separate_z = word(v, &words).map_err(|e| format!("separate_z = {e}"))?;
            }
            "anisotropy" => out.anisotropy = number(v).filter(|a| *a >= 1.0).ok_or("anisotropy = a number, 1 or more")?,
            "clip" => out.clip = v.as_bool().ok_or("clip = true or false")?,
            other => return Err(format!("{FORM}, without `{other}`")),
        }
    }
    Ok(out)
}

/// An arrangement of 0, 1, 2.
fn transpose(v: &DeValue<'_>) -> Result<[usize; 3], String> {
    let list: Option<Vec<usize>> = v.as_array().and_then(|a| a.iter().map(|x| integer(x.get_ref(), &(0..3))).collect());
    let axes = list.and_then(|l| <[usize; 3]>::try_from(l).ok());
    axes.filter(|a| (0..3).all(|i| a.contains(&i))).ok_or_else(|| "the axes 0, 1, 2 in some order, such as [0, 1, 2]".into())
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
    t.only(&["spacing", "orientation", "reader", "transpose", "normalization", "crop_to_nonzero", "sequence", "deviation", "resampling"]);
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
    let orientation = t.get("orientation", orientation);
    let reader = t.get("reader", |v| word(v, READERS));
    if let (Some(Reader::NibabelReorient), Some(code)) = (reader, orientation.as_deref())
        && code != "RAS"
    {
        t.conflict("orientation", format!("orientation is \"{code}\", and reader \"nibabel-reorient\" turns volumes to RAS"));
    }
    Preprocess {
        spacing,
        orientation,
        reader,
        transpose: t.get("transpose", transpose).unwrap_or([0, 1, 2]),
        normalization: normalization.unwrap_or_default(),
        crop_to_nonzero: t.get("crop_to_nonzero", boolean).unwrap_or(false),
        sequence: t
            .get("sequence", |v| {
                word(v, &[("normalize-resample", Sequence::NormalizeResample), ("resample-normalize", Sequence::ResampleNormalize)])
            })
            .unwrap_or_default(),
        deviation: t.get("deviation", |v| word(v, &[("at-least", Deviation::AtLeast), ("plus", Deviation::Plus)])).unwrap_or_default(),
        resampling: t.get("resampling", |v| resampling(v, Resampling::DATA)).unwrap_or(Resampling::DATA),
    }
}

/// Reads `[channels]`: each name the number of its channel, from 0 on; every channel once.
pub(crate) fn channels(t: &Table<'_, '_>, in_channels: Option<usize>) -> Vec<String> {
    let Some(n) = in_channels else { return Vec::new() };
    let mut out = vec![String::new(); n];
    for key in t.entries.keys() {
        let name: &str = key.get_ref();
        let at = t.get(name, |v| integer(v, &(0..n)).ok_or_else(|| format!("the number of an image channel, 0 to {}", n - 1)));
        let Some(at) = at else { continue };
        if !out[at].is_empty() {
            t.conflict(name, format!("channels `{}` and `{name}` are both {at}", out[at]));
        }
        out[at] = name.to_string();
    }
    if let Some(at) = out.iter().position(String::is_empty) {
        t.missing(&format!("NAME OF CHANNEL {at}"), "a name for every image channel, such as T1 = 0");
    }
    out
}

/// Reads `[labels]`: each name an integer below the number of classes, none twice. Regions paint labels of their own choice (`painted`).
pub(crate) fn labels(t: &Table<'_, '_>, n_classes: Option<usize>, painted: bool) -> Vec<(String, u32)> {
    let classes = n_classes.filter(|_| !painted).unwrap_or(1 << 16);
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
