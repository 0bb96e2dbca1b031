//! Preprocessing transforms of a bundle as `[preprocess]`.

use mnx_artifact::{Normalization, Preprocess, Reader, Sequence};

use super::settings::Component;
use super::{order, preprocess, resampling, transpose};
use crate::fields::Wrong;
use crate::wording::{list, quoted};

/// Transforms that change no voxel of the image as mnx hands it on.
const NO_EFFECT: [&str; 13] = [
    "EnsureChannelFirstd",
    "AddChanneld",
    "AsChannelFirstd",
    "ToTensord",
    "ToDeviced",
    "ToNumpyd",
    "SelectItemsd",
    "DeleteItemsd",
    "Identityd",
    "DataStatsd",
    "SimulateDelayd",
    "FlattenSubKeysd",
    "EnsureTyped",
];

/// What could not be followed: the transform and why.
pub(super) type Problem = (String, Wrong);

/// What a pipeline comes to.
#[derive(Debug)]
pub(super) struct Before {
    pub preprocess: Preprocess,
    pub problems: Vec<Problem>,
    pub notes: Vec<String>,
}

/// What is known of the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Image<'a> {
    /// Key of the image in MONAI's dictionaries.
    pub key: &'a str,
    /// Channels of the image, if the metadata say.
    pub channels: Option<usize>,
    /// Whether the metadata call it a CT, which has values below 0.
    pub ct: bool,
    /// MONAI's axis across which a 2-D network sees slices.
    pub slices: Option<usize>,
}

/// The state of a pipeline after some of its transforms.
struct State<'a> {
    image: Image<'a>,
    out: Preprocess,
    scaled: Option<String>,
    notes: Vec<String>,
}

/// Follows the transforms in their order.
pub(super) fn before(transforms: &[Component<'_>], image: Image<'_>) -> Before {
    let mut out = preprocess(image.slices);
    out.normalization = Vec::new();
    let mut state = State { image, out, scaled: None, notes: Vec::new() };
    let mut problems = Vec::new();
    for t in transforms {
        let done = match t.concerns(image.key) {
            Ok(false) => Ok(()),
            Ok(true) => state.apply(t),
            Err(e) => Err(e),
        };
        if let Err(reason) = done {
            problems.push((t.name.clone(), reason));
        }
    }
    // Another key than the metadata's would make every transform pass by in silence.
    if !transforms.iter().any(|t| t.name == "LoadImaged" && t.concerns(image.key).unwrap_or(true)) {
        problems.push(("LoadImaged".to_owned(), format!("none loads {}, the input that the metadata name", quoted(image.key))));
    }
    if state.scaled.is_none() {
        state.out.normalization = vec![Normalization::None];
    }
    Before { preprocess: state.out, problems, notes: state.notes }
}

impl State<'_> {
    fn apply(&mut self, t: &Component<'_>) -> Result<(), Wrong> {
        match t.name.as_str() {
            "LoadImaged" => self.load(t),
            "Orientationd" => self.orientation(t),
            "Spacingd" => self.spacing(t),
            "CropForegroundd" => self.crop(t),
            "CastToTyped" => match t.arg("dtype")? {
                None => Ok(()),
                Some(d)
                    if ["float32", "float64", "float"]
                        .iter()
                        .any(|f| d.as_str().is_some_and(|d| d.trim_start_matches("$").ends_with(f))) =>
                {
                    Ok(())
                }
                Some(d) => Err(format!("dtype is {d}, a float expected")),
            },
            "ScaleIntensityRanged" | "ScaleIntensityRangePercentilesd" | "ScaleIntensityd" | "NormalizeIntensityd" => {
                let scheme = self.intensity(t)?;
                if let Some(other) = &self.scaled {
                    return Err(format!("a second intensity transform after {other}; mnx has one"));
                }
                self.out.normalization = vec![scheme];
                self.out.sequence = if self.out.spacing.is_some() { Sequence::ResampleNormalize } else { Sequence::NormalizeResample };
                self.scaled = Some(t.name.clone());
                Ok(())
            }
            name if NO_EFFECT.contains(&name) => Ok(()),
            _ => Err("mnx has no such step".to_owned()),
        }
    }

    fn load(&mut self, t: &Component<'_>) -> Result<(), Wrong> {
        let reader = t.text("reader")?;
        self.out.reader = Some(match reader.as_deref().map(|r| r.rsplit('.').next().unwrap_or(r).to_lowercase()).as_deref() {
            None | Some("nibabelreader") => Reader::Nibabel,
            Some("itkreader") => Reader::Simpleitk,
            Some(_) => {
                return Err(format!(
                    "reader is {}; NibabelReader or ITKReader expected, as mnx reads NIfTI",
                    quoted(reader.as_deref().unwrap_or(""))
                ));
            }
        });
        if t.flag("as_closest_canonical", false)? {
            self.out.orientation = Some("RAS".to_owned());
        }
        for key in ["reverse_indexing", "series_meta", "affine_lps_to_ras"] {
            if t.flag(key, key == "affine_lps_to_ras")? != (key == "affine_lps_to_ras") {
                return Err(format!("{key} changes the axes; its default expected"));
            }
        }
        Ok(())
    }

    fn orientation(&mut self, t: &Component<'_>) -> Result<(), Wrong> {
        let codes = match (t.text("axcodes")?, t.flag("as_closest_canonical", false)?) {
            (_, true) => "RAS".to_owned(),
            (Some(codes), false) => codes,
            (None, false) => return Err("axcodes is missing".to_owned()),
        };
        let each = |pair: &str| codes.chars().filter(|c| pair.contains(*c)).count() == 1;
        if codes.len() != 3 || !["RL", "AP", "SI"].iter().all(|p| each(p)) {
            return Err(format!("axcodes is {}; three letters such as \"RAS\" expected", quoted(&codes)));
        }
        let isotropic = self.out.spacing.as_ref().is_none_or(|s| s.windows(2).all(|w| w[0] == w[1]));
        if !isotropic {
            return Err("it follows Spacingd, whose pixdim then counts along the file's axes; mnx orients first".to_owned());
        }
        self.out.orientation = Some(codes);
        Ok(())
    }

    fn spacing(&mut self, t: &Component<'_>) -> Result<(), Wrong> {
        let mut pixdim = t.numbers("pixdim")?.ok_or("pixdim is missing")?;
        // As MONAI does: what is missing is 1 mm, what is too much is left out.
        pixdim.resize(3, 1.0);
        if pixdim.iter().any(|x| *x <= 0.0) {
            return Err(format!("pixdim is {}; three distances above 0 in mm expected", list(&pixdim)));
        }
        if t.flag("diagonal", false)? {
            return Err("diagonal is true: images would be turned into the world's axes".to_owned());
        }
        for key in ["min_pixdim", "max_pixdim"] {
            if t.arg(key)?.is_some() {
                return Err(format!("{key} is given; mnx resamples every image"));
            }
        }
        let order_of = match t.arg("mode")? {
            Some(serde_json::Value::Array(modes)) => {
                // One for each key; the image's counts.
                let at = match t.arg("keys")? {
                    Some(serde_json::Value::Array(keys)) => keys.iter().position(|k| k == self.image.key).unwrap_or(0),
                    _ => 0,
                };
                modes.get(at).cloned()
            }
            other => other,
        };
        let spline = match order_of.as_ref().map(|m| (m.as_str().map(str::to_lowercase), m.as_u64())) {
            None | Some((None, Some(1))) => 1,
            Some((None, Some(n @ (0 | 3)))) => n as u8,
            Some((Some(word), _)) if word == "bilinear" => 1,
            Some((Some(word), _)) if word == "nearest" => 0,
            Some(_) => {
                let shown = order_of.map_or_else(String::new, |m| m.to_string());
                return Err(format!("mode is {shown}; \"bilinear\", \"nearest\", 0, 1 or 3 expected"));
            }
        };
        self.out.spacing = Some(order(self.image.slices).map(|axis| pixdim[axis]).to_vec());
        self.out.resampling = resampling(spline);
        if self.scaled.is_some() {
            self.out.sequence = Sequence::NormalizeResample;
        }
        self.notes.push(format!(
            "warning: Spacingd: mnx resamples to {} mm on a grid of nnU-Net's kind (the volume's extent is kept), MONAI's grid begins at \
             the first voxel's centre and may have a voxel more or less: labels will differ along surfaces",
            list(&pixdim)
        ));
        Ok(())
    }

    fn crop(&mut self, t: &Component<'_>) -> Result<(), Wrong> {
        if let Some(other) = &self.scaled {
            return Err(format!("it follows {other}, so that it crops by scaled intensities; mnx crops first, by the file's"));
        }
        if self.out.spacing.is_some() {
            return Err("it follows Spacingd; mnx crops before it resamples".to_owned());
        }
        if self.image.ct {
            return Err("it crops to what is above 0, in a CT; mnx crops to what is not 0".to_owned());
        }
        let known = [
            "keys",
            "source_key",
            "select_fn",
            "channel_indices",
            "margin",
            "allow_smaller",
            "k_divisible",
            "mode",
            "allow_missing_keys",
            "start_coord_key",
            "end_coord_key",
            "lazy",
        ];
        if let Some(other) = t.others(&known).first() {
            return Err(format!("{other} is not known"));
        }
        for key in ["select_fn", "channel_indices"] {
            if t.arg(key)?.is_some() {
                return Err(format!("{key} is given; mnx crops to what is not 0 in any channel"));
            }
        }
        for (key, default) in [("margin", 0.0), ("k_divisible", 1.0)] {
            if t.numbers(key)?.is_some_and(|n| n.iter().any(|x| *x != default)) {
                return Err(format!("{key} is given; mnx crops to the voxels that are not 0, exactly"));
            }
        }
        if t.text("source_key")?.is_some_and(|k| k != self.image.key) {
            return Err("source_key is not the image".to_owned());
        }
        self.out.crop_to_nonzero = true;
        self.notes.push(
            "warning: CropForegroundd: mnx crops to what is not 0, MONAI to what is above 0; the same for images without negative values"
                .to_owned(),
        );
        Ok(())
    }

    /// Statistics of one channel are what mnx takes; with one channel there is no difference.
    fn by_channel(&self, t: &Component<'_>) -> Result<(), Wrong> {
        match t.flag("channel_wise", false)? || self.image.channels == Some(1) {
            true => Ok(()),
            false => Err("channel_wise is false: its statistics go over all channels together, mnx's over each by itself".to_owned()),
        }
    }

    fn intensity(&self, t: &Component<'_>) -> Result<Normalization, Wrong> {
        let need = |key: &str| t.number(key)?.ok_or_else(|| format!("{key} is missing"));
        let increasing = |(low, high): (f64, f64), what: &str| match low < high {
            true => Ok((low, high)),
            false => Err(format!("{what} are {low} and {high}, an increasing pair expected")),
        };
        // Where one end is not given MONAI does not scale to the range, and clips at the other end alone.
        let range = || match (t.number("b_min")?, t.number("b_max")?, t.flag("clip", false)?) {
            (Some(low), Some(high), clip) => increasing((low, high), "b_min and b_max").map(|(low, high)| (low, high, clip)),
            (None, None, _) | (_, _, false) => Ok((0.0, 1.0, false)),
            (_, _, true) => Err("clip with b_min or b_max alone".to_owned()),
        };
        match t.name.as_str() {
            "ScaleIntensityRanged" => {
                let (low, high) = increasing((need("a_min")?, need("a_max")?), "a_min and a_max")?;
                let (to_low, to_high, clip) = range()?;
                Ok(Normalization::Range { low, high, to_low, to_high, clip })
            }
            "ScaleIntensityRangePercentilesd" => {
                self.by_channel(t)?;
                let (lower, upper) = increasing((need("lower")?, need("upper")?), "lower and upper")?;
                let (mut to_low, mut to_high, clip) = range()?;
                if t.flag("relative", false)? {
                    (to_low, to_high) = (to_low + (to_high - to_low) * (lower / 100.0), to_low + (to_high - to_low) * (upper / 100.0));
                }
                Ok(Normalization::Percentiles { lower, upper, to_low, to_high, clip })
            }
            "ScaleIntensityd" => {
                self.by_channel(t)?;
                let given = |key: &str, default: f64| match t.others(&[]).iter().any(|k| k == key) {
                    true => need(key),
                    false => Ok(default),
                };
                match increasing((given("minv", 0.0)?, given("maxv", 1.0)?), "minv and maxv")? {
                    (0.0, 1.0) => Ok(Normalization::Rescale01),
                    (to_low, to_high) => Ok(Normalization::Percentiles { lower: 0.0, upper: 100.0, to_low, to_high, clip: false }),
                }
            }
            _ => match (t.numbers("subtrahend")?, t.numbers("divisor")?, t.flag("nonzero", false)?) {
                (None, None, nonzero) => {
                    self.by_channel(t)?;
                    Ok(if nonzero { Normalization::ZScoreNonzero } else { Normalization::ZScore })
                }
                (Some(s), Some(d), false) => match (s.as_slice(), d.as_slice()) {
                    ([low], [by]) if *by > 0.0 => {
                        Ok(Normalization::Range { low: *low, high: low + by, to_low: 0.0, to_high: 1.0, clip: false })
                    }
                    _ => Err(format!("subtrahend is {}, divisor {}; one number each, the divisor above 0, expected", list(&s), list(&d))),
                },
                _ => Err("subtrahend or divisor with statistics of the image, or with nonzero".to_owned()),
            },
        }
    }
}

/// Our axes for a 2-D or 3-D network, whose slices the inferer tells.
pub(super) fn set_axes(preprocess: &mut Preprocess, slices: Option<usize>) {
    preprocess.transpose = transpose(slices);
}
