//! From TOML text to a config: explicit keys over the variant's over the constructor's defaults.

use std::path::Path;

use mnx_artifact::Inference;
use mnx_ir::{Diagnostic, GrnReduce};
use toml::de::DeValue;

use crate::config::{Config, Dim, Flavour, NormType, Variant};
use crate::document::{Document, Table, boolean, integer, word};
use crate::{inference, prepare};

const KEYS: &[&str] = &[
    "name",
    "variant",
    "flavour",
    "in_channels",
    "n_channels",
    "n_classes",
    "exp_r",
    "kernel_size",
    "enc_kernel_size",
    "dec_kernel_size",
    "deep_supervision",
    "do_res",
    "do_res_up_down",
    "checkpoint_style",
    "block_counts",
    "norm_type",
    "dim",
    "grn",
    "grn_reduce",
    "patch",
    "preprocess",
    "inference",
    "channels",
    "labels",
];

/// Largest kernel extent, ratio, count and channel number that a config may ask for; far above any published network.
const MAX_KERNEL: usize = 31;
const MAX_RATIO: usize = 64;
const MAX_BLOCKS: usize = 256;
const MAX_CHANNELS: usize = 65_535;

impl Config {
    /// Reads a config from TOML text; `file` names it in complaints and gives the default name.
    ///
    /// # Errors
    /// Everything that is wrong, with places.
    pub fn from_toml(text: &str, file: &str) -> Result<Self, Vec<Diagnostic>> {
        let doc = Document::new(file, text);
        let config = doc.parse().and_then(|entries| {
            let root = Table { doc: &doc, path: "", entries: &entries };
            read(&root, file)
        });
        let problems = doc.into_problems();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            Some(_) | None => Err(problems),
        }
    }

    /// Reads a config file.
    ///
    /// # Errors
    /// That it cannot be read, or everything that is wrong in it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Vec<Diagnostic>> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let unreadable = |why: String| vec![Diagnostic::new("model-0105", &file, why)];
        let bytes = std::fs::read(path).map_err(|e| unreadable(format!("cannot read the config: {e}")))?;
        let text = String::from_utf8(bytes).map_err(|e| unreadable(format!("not a text file (UTF-8): {e}")))?;
        Self::from_toml(&text, &file)
    }
}

/// What a config takes when a key is absent.
struct Defaults {
    in_channels: Option<usize>,
    n_channels: Option<usize>,
    n_classes: Option<usize>,
    exp_r: [usize; 9],
    block_counts: [usize; 9],
    kernel_size: usize,
    residual: bool,
    grn: bool,
}

/// The official constructor's defaults, MONAI's, or those of the published sizes (whose factory takes kernel 3).
fn defaults(flavour: Flavour, variant: Option<Variant>) -> Defaults {
    let sized = match (flavour, variant) {
        (_, Some(v)) => Some(v),
        (Flavour::V2, None) => Some(Variant::L),
        (Flavour::Official | Flavour::Monai, None) => None,
    };
    let monai = flavour == Flavour::Monai;
    match sized {
        Some(v) => Defaults {
            in_channels: None,
            n_channels: Some(32),
            n_classes: None,
            exp_r: v.exp_r(),
            block_counts: v.block_counts(),
            kernel_size: 3,
            residual: true,
            grn: flavour == Flavour::V2,
        },
        None => Defaults {
            in_channels: monai.then_some(1),
            n_channels: monai.then_some(32),
            n_classes: monai.then_some(2),
            exp_r: [if monai { 2 } else { 4 }; 9],
            block_counts: [2; 9],
            kernel_size: 7,
            residual: false,
            grn: false,
        },
    }
}

fn count(t: &Table<'_, '_>, key: &str, default: Option<usize>) -> Option<usize> {
    let expected = format!("an integer from 1 to {MAX_CHANNELS}");
    if t.entries.contains_key(key) {
        return t.get(key, |v| integer(v, &(1..MAX_CHANNELS + 1)).ok_or(expected));
    }
    if default.is_none() {
        t.missing(key, &expected);
    }
    default
}

fn nine(v: &DeValue<'_>, min: usize, max: usize) -> Option<Result<[usize; 9], String>> {
    let list = v.as_array()?;
    let expected = || format!("9 integers from {min} to {max}: encoder 0..3, bottleneck, decoder 3..0");
    if list.len() != 9 {
        return Some(Err(format!("{}, got {}", expected(), mnx_words::many(list.len(), "entry"))));
    }
    let mut out = [0; 9];
    for (slot, v) in out.iter_mut().zip(list.iter()) {
        match integer(v.get_ref(), &(min..max + 1)) {
            Some(n) => *slot = n,
            None => return Some(Err(expected())),
        }
    }
    Some(Ok(out))
}

fn kernel(t: &Table<'_, '_>, key: &str) -> Option<usize> {
    t.get(key, |v| {
        integer(v, &(1..MAX_KERNEL + 1))
            .filter(|k| k % 2 == 1)
            .ok_or_else(|| format!("an odd integer from 1 to {MAX_KERNEL} (an even kernel does not keep the extent)"))
    })
}

/// Encoder and decoder kernel. As in the official constructor, `kernel_size` wins over the two others.
fn kernels(t: &Table<'_, '_>, flavour: Flavour, default: usize, notices: &mut Vec<String>) -> (usize, usize) {
    let one = kernel(t, "kernel_size");
    let enc = kernel(t, "enc_kernel_size");
    let dec = kernel(t, "dec_kernel_size");
    let given = |key: &str| t.entries.contains_key(key);
    if given("kernel_size") {
        let k = one.unwrap_or(default);
        for (key, other) in [("enc_kernel_size", enc), ("dec_kernel_size", dec)] {
            if other.is_some_and(|o| o != k) {
                notices.push(format!("kernel_size = {k} overrides {key}"));
            }
        }
        return (k, k);
    }
    match (given("enc_kernel_size"), given("dec_kernel_size")) {
        (false, false) => return (default, default),
        (true, false) => t.missing("dec_kernel_size", "both enc_kernel_size and dec_kernel_size, or kernel_size"),
        (false, true) => t.missing("enc_kernel_size", "both enc_kernel_size and dec_kernel_size, or kernel_size"),
        (true, true) => {}
    }
    let (enc, dec) = (enc.unwrap_or(default), dec.unwrap_or(default));
    if flavour == Flavour::Monai && enc != dec && given("enc_kernel_size") && given("dec_kernel_size") {
        t.conflict("dec_kernel_size", format!("enc_kernel_size = {enc} and dec_kernel_size = {dec}: a MONAI network has one kernel size"));
    }
    (enc, dec)
}

/// `do_res` and `do_res_up_down`; MONAI has one flag for both.
fn residuals(t: &Table<'_, '_>, flavour: Flavour, default: bool) -> (bool, bool) {
    let plain = t.get("do_res", boolean);
    let resampling = t.get("do_res_up_down", boolean);
    if flavour == Flavour::Monai {
        if let (Some(a), Some(b)) = (plain, resampling)
            && a != b
        {
            t.conflict(
                "do_res_up_down",
                format!("do_res = {a} and do_res_up_down = {b}: a MONAI network has one flag (use_residual_connection) for both"),
            );
        }
        let both = plain.or(resampling).unwrap_or(default);
        return (both, both);
    }
    (plain.unwrap_or(default), resampling.unwrap_or(default))
}

fn read(t: &Table<'_, '_>, file: &str) -> Option<Config> {
    t.only(KEYS);
    let mut notices = Vec::new();
    let flavour = t.get("flavour", |v| word(v, &Flavour::ALL.map(|f| (f.as_str(), f)))).unwrap_or_default();
    let variant = t.get("variant", |v| word(v, &Variant::ALL.map(|x| (x.as_str(), x))));
    let d = defaults(flavour, variant);

    let in_channels = count(t, "in_channels", d.in_channels);
    let n_channels = count(t, "n_channels", d.n_channels);
    let n_classes = count(t, "n_classes", d.n_classes);
    let exp_r = t
        .get("exp_r", |v| match nine(v, 1, MAX_RATIO) {
            Some(list) => list,
            None => integer(v, &(1..MAX_RATIO + 1))
                .map(|r| [r; 9])
                .ok_or_else(|| format!("an integer from 1 to {MAX_RATIO}, or 9 of them (encoder 0..3, bottleneck, decoder 3..0)")),
        })
        .unwrap_or(d.exp_r);
    let block_counts = t
        .get("block_counts", |v| {
            nine(v, 0, MAX_BLOCKS)
                .unwrap_or_else(|| Err(format!("a list of 9 integers from 0 to {MAX_BLOCKS}: encoder 0..3, bottleneck, decoder 3..0")))
        })
        .unwrap_or(d.block_counts);
    let (enc_kernel_size, dec_kernel_size) = kernels(t, flavour, d.kernel_size, &mut notices);
    let (do_res, do_res_up_down) = residuals(t, flavour, d.residual);
    let norm_type = t.get("norm_type", |v| word(v, &[("group", NormType::Group), ("layer", NormType::Layer)])).unwrap_or_default();
    let dim = t.get("dim", |v| word(v, &[("2d", Dim::Two), ("3d", Dim::Three)])).unwrap_or_default();
    let grn = t.get("grn", boolean);
    if flavour == Flavour::V2 && grn == Some(false) {
        t.conflict("grn", "grn = false: MedNeXt-v2 has GRN in every block; flavour \"official\" has the switch".into());
    }
    if norm_type == NormType::Layer && dim == Dim::Two {
        t.conflict(
            "norm_type",
            "norm_type = \"layer\" with dim = \"2d\": the channels-first layer norm is defined for 3-D networks only".into(),
        );
    }
    if norm_type == NormType::Layer && flavour == Flavour::Monai {
        t.conflict(
            "norm_type",
            "norm_type = \"layer\" with flavour = \"monai\": MONAI's layer norm runs only where a feature map is as large as the kernel; expected \"group\"".into(),
        );
    }
    let grn_reduce = t.get("grn_reduce", |v| word(v, &[("mean", GrnReduce::Mean), ("sum", GrnReduce::Sum)]));
    let grn = grn.unwrap_or(d.grn);
    if grn_reduce.is_some() && !grn {
        notices.push("grn_reduce has no effect: the network has no GRN".into());
    }
    let checkpoint_style = t.get("checkpoint_style", |v| word(v, &[("none", None), ("outside_block", Some("outside_block"))]));
    let name = t.get("name", |v| {
        v.as_str().filter(|s| !s.trim().is_empty()).map(str::to_string).ok_or_else(|| "a string that is not empty".to_string())
    });
    let axes = dim.axes();
    let patch = t.get("patch", |v| {
        let list: Option<Vec<usize>> = v.as_array().and_then(|a| a.iter().map(|x| integer(x.get_ref(), &(1..1 << 20))).collect());
        list.filter(|l| l.len() == axes)
            .ok_or_else(|| format!("{axes} extents, such as {}", if axes == 2 { "[64, 64]" } else { "[64, 64, 64]" }))
    });
    let preprocess = table(t, "preprocess", "preprocess.", |p| prepare::preprocess(&p, in_channels, dim.axes()));
    let inference = table(t, "inference", "inference.", |i| inference::inference(&i, n_classes, dim.axes()));
    let channels = table(t, "channels", "channels.", |c| prepare::channels(&c, in_channels));
    let painted = inference.as_ref().is_some_and(|i| !i.class_order.is_empty());
    let labels = table(t, "labels", "labels.", |l| prepare::labels(&l, n_classes, painted));

    if let (Some(labels), Some(classes)) = (&labels, n_classes) {
        notices.extend(unnamed(labels, classes, inference.as_ref()));
    }

    Some(Config {
        name: name.unwrap_or_else(|| default_name(variant, enc_kernel_size, dec_kernel_size, file)),
        flavour,
        variant,
        in_channels: in_channels?,
        n_channels: n_channels?,
        n_classes: n_classes?,
        exp_r,
        enc_kernel_size,
        dec_kernel_size,
        deep_supervision: t.get("deep_supervision", boolean).unwrap_or(false),
        do_res,
        do_res_up_down,
        checkpoint_style: checkpoint_style.flatten().map(str::to_string),
        block_counts,
        norm_type,
        dim,
        grn,
        grn_reduce: grn_reduce.unwrap_or_default(),
        preprocess,
        inference,
        patch,
        channels: channels.unwrap_or_default(),
        labels: labels.unwrap_or_default(),
        notices,
    })
}

/// Says which classes have no name, where others have one: as a rule such a list of labels is of another network.
fn unnamed(labels: &[(String, u32)], classes: usize, inference: Option<&Inference>) -> Option<String> {
    let painted = inference.map(|i| i.class_order.as_slice()).filter(|order| !order.is_empty());
    let values: Vec<u32> = painted.map_or_else(|| (0..classes as u32).collect(), <[u32]>::to_vec);
    let missing: Vec<u32> = values.into_iter().filter(|v| !labels.iter().any(|(_, value)| value == v)).collect();
    match missing.as_slice() {
        _ if labels.is_empty() => None,
        [] => None,
        [one] => Some(format!("class {one} has no name in [labels]")),
        several => Some(format!("classes {} have no name in [labels]", mnx_words::both(several))),
    }
}

fn table<T>(t: &Table<'_, '_>, key: &str, path: &str, read: impl FnOnce(Table<'_, '_>) -> T) -> Option<T> {
    let value = t.entries.get(key)?;
    match value.get_ref().as_table() {
        Some(entries) => Some(read(Table { doc: t.doc, path, entries })),
        None => t.get(key, |_| Err(format!("a table [{key}]"))),
    }
}

fn default_name(variant: Option<Variant>, enc: usize, dec: usize, file: &str) -> String {
    match variant {
        Some(v) if enc == dec => format!("MedNeXt-{} k{enc}", v.as_str()),
        Some(v) => format!("MedNeXt-{} k{enc}/{dec}", v.as_str()),
        None => Path::new(file).file_stem().map_or_else(|| "model".into(), |s| s.to_string_lossy().into_owned()),
    }
}
