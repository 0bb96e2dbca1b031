//! A MONAI bundle: `configs/metadata.json`, `configs/inference.json`, `models/model.pt`.

use std::path::{Path, PathBuf};

use mnx_artifact::{Inference, Preprocess};
use serde_json::Value as Json;

use super::after::{After, after, window};
use super::before::{Before, Image, Problem, before, set_axes};
use super::settings::Settings;
use crate::error::ImportError;
use crate::fields::{Field, Wrong};
use crate::folder::{Found, json};
use crate::options::Options;
use crate::rules::{Channels, Rules, channel_names};
use crate::wording::{extents, list, quoted};

/// Ids of `inference.json` that say nothing of the segmentation.
const KNOWN: [&str; 24] = [
    "imports",
    "bundle_root",
    "output_dir",
    "dataset_dir",
    "datalist",
    "data_list_file_path",
    "device",
    "network_def",
    "network",
    "preprocessing",
    "dataset",
    "dataloader",
    "inferer",
    "postprocessing",
    "handlers",
    "checkpointloader",
    "evaluator",
    "initialize",
    "run",
    "display",
    "image_key",
    "output_ext",
    "output_dtype",
    "output_postfix",
];

/// Whether a folder is laid out as a bundle.
pub(crate) fn is_bundle(path: &Path) -> bool {
    ["metadata.json", "inference.json", "inference.yaml", "inference.yml"].iter().any(|f| path.join("configs").join(f).is_file())
}

/// What the metadata say of inputs and outputs.
#[derive(Debug, Default)]
struct Format {
    title: Option<String>,
    image: Option<String>,
    prediction: Option<String>,
    in_channels: Option<usize>,
    channels: Vec<String>,
    outputs: Option<usize>,
    /// Names of the outputs, in order; empty if they do not tell them apart.
    classes: Vec<String>,
    ct: bool,
    shape: Option<Vec<usize>>,
    range: Option<(f64, f64)>,
}

/// Reads a bundle's folder.
pub(crate) fn bundle(path: &Path, options: &Options) -> Result<Found, ImportError> {
    let configs = path.join("configs");
    for (given, flag) in [(options.folds.is_some(), "--folds"), (options.configuration.is_some(), "--configuration")] {
        if given {
            return Err(ImportError::Option(format!("{flag} chooses within nnU-Net's folders; {} is a MONAI bundle", path.display())));
        }
    }
    let inference = configs.join("inference.json");
    if !inference.is_file() {
        let yaml = ["inference.yaml", "inference.yml"].iter().map(|f| configs.join(f)).find(|f| f.is_file());
        return Err(match yaml {
            Some(yaml) => ImportError::unsupported(
                yaml.display(),
                "is YAML, inference.json expected; to write it: python -c 'import sys, json, yaml; \
                 json.dump(yaml.safe_load(sys.stdin), sys.stdout)' < inference.yaml > inference.json",
            ),
            None => ImportError::format(
                inference.display(),
                "is missing: what surrounds the network of a MONAI bundle stands there (its models/model.pt can be imported alone)",
            ),
        });
    }
    let mut rules = Rules { source: inference.clone(), ..Rules::default() };
    let metadata = configs.join("metadata.json");
    let format = match metadata.is_file() {
        true => format(&json(&metadata)?, &mut rules.notes).map_err(|e| ImportError::format(metadata.display(), e))?,
        false => {
            rules.notes.push("warning: configs/metadata.json is missing: the names of channels and classes are not known".to_owned());
            Format::default()
        }
    };
    let settings = Settings::new(json(&inference)?);
    let bad = |e: Wrong| ImportError::format(inference.display(), e);
    if let Some(evaluator) = settings.component("evaluator").unwrap_or(None).filter(|e| e.name == "EnsembleEvaluator") {
        return Err(ImportError::unsupported(
            inference.display(),
            format!("evaluator is an {}: several networks; one expected", evaluator.name),
        ));
    }
    surroundings(&settings, &format, &mut rules, options).map_err(|e| match e {
        Stop::Wrong(e) => bad(e),
        Stop::Problems(problems) => refusal(&inference, &problems, options),
    })?;
    let unread = settings.unread(&KNOWN);
    if !unread.is_empty() {
        rules.notes.push(format!("warning: entries of configs/inference.json that are not read: {}", list(&unread)));
    }
    rules.title = format.title;
    rules.in_channels = format.in_channels;
    rules.n_classes = format.outputs;
    rules.channels = format.channels;
    rules.remarks.before.push((
        "preprocess.transpose",
        vec![
            "MONAI's arrays run x, y, z, files run z, y, x. The patch and the spacing of this config are in MONAI's order, too.".to_owned(),
        ],
    ));
    Ok(Found::new(vec![("weights".to_owned(), weights(path)?)], rules, "a MONAI bundle"))
}

enum Stop {
    Wrong(Wrong),
    Problems(Vec<Problem>),
}

impl From<Wrong> for Stop {
    fn from(e: Wrong) -> Self {
        Self::Wrong(e)
    }
}

/// `[preprocess]`, `[inference]`, `[labels]` and the patch.
fn surroundings(settings: &Settings, format: &Format, rules: &mut Rules, options: &Options) -> Result<(), Stop> {
    let mut problems: Vec<Problem> = Vec::new();
    let missing = |id: &str| (id.to_owned(), "is not in the file".to_owned());

    let found = match settings.component("inferer") {
        Ok(None) => Err(missing("inferer")),
        Err(e) => Err(("inferer".to_owned(), e)),
        Ok(Some(inferer)) => window(&inferer).map_err(|e| (inferer.name.clone(), e)),
    };
    let slices = found.as_ref().ok().and_then(|w| w.slices);
    let image = Image { key: format.image.as_deref().unwrap_or("image"), channels: format.in_channels, ct: format.ct, slices };
    let (mut preprocess, mut inference) = (Preprocess::default(), Inference::default());
    set_axes(&mut preprocess, slices);
    match settings.transforms("preprocessing")? {
        None => problems.push(missing("preprocessing")),
        Some(transforms) => {
            let Before { preprocess: p, problems: more, notes } = before(&transforms, image);
            preprocess = p;
            problems.extend(more);
            rules.notes.extend(notes);
        }
    }
    let background = format.classes.first().is_none_or(|n| n.eq_ignore_ascii_case("background"));
    match settings.transforms("postprocessing")? {
        None => rules.notes.push("warning: configs/inference.json has no postprocessing; the largest score wins".to_owned()),
        Some(transforms) => {
            let item = format.prediction.as_deref().unwrap_or("pred");
            let After { inference: i, problems: more, notes } = after(&transforms, item, format.outputs, background);
            inference = i;
            problems.extend(more);
            rules.notes.extend(notes);
        }
    }
    match found {
        Ok(w) => {
            inference.step = w.step;
            inference.windows = mnx_artifact::Windows::Monai;
            inference.gaussian = w.gaussian;
            if format.shape.as_ref().is_some_and(|s| *s != w.patch) {
                let shape = format.shape.as_deref().unwrap_or_default();
                rules.notes.push(format!(
                    "metadata.json gives the spatial shape {}, the inferer's roi_size is {}; the latter is taken",
                    extents(shape),
                    extents(&w.patch)
                ));
            }
            rules.patch = Some(w.patch);
        }
        Err(problem) => {
            problems.push(problem);
            rules.patch.clone_from(&format.shape);
        }
    }
    // What the user does without is said; the rest stops the import.
    let (ignored, left): (Vec<Problem>, Vec<Problem>) =
        problems.into_iter().partition(|(name, _)| options.ignore_transforms.iter().any(|i| i == name));
    if !left.is_empty() {
        return Err(Stop::Problems(left));
    }
    rules.notes.extend(ignored.into_iter().map(|(name, reason)| format!("warning: {name} is left out (--ignore-transforms): {reason}")));
    ranges(&preprocess, format, rules);
    rules.labels = labels(format, &inference);
    rules.preprocess = Some(preprocess);
    rules.inference = Some(inference);
    Ok(())
}

fn refusal(file: &Path, problems: &[Problem], options: &Options) -> ImportError {
    let mut names: Vec<&str> = options.ignore_transforms.iter().map(String::as_str).collect();
    names.extend(problems.iter().map(|(name, _)| name.as_str()));
    let mut seen = std::collections::HashSet::new();
    names.retain(|n| seen.insert(*n));
    ImportError::Several {
        path: file.display().to_string(),
        what: format!(
            "what surrounds the network cannot be followed; --ignore-transforms '{}' goes on without, and the segmentation will be another",
            names.join(",")
        ),
        problems: problems.iter().map(|(name, reason)| format!("{name}: {reason}")).collect(),
    }
}

/// A range that the metadata promise against the one that the transforms make.
fn ranges(preprocess: &Preprocess, format: &Format, rules: &mut Rules) {
    use mnx_artifact::Normalization as N;
    let made = match preprocess.normalization.first() {
        Some(N::Range { to_low, to_high, .. } | N::Percentiles { to_low, to_high, .. }) => Some((*to_low, *to_high)),
        Some(N::Rescale01) => Some((0.0, 1.0)),
        _ => None,
    };
    if let (Some(made), Some(told)) = (made, format.range)
        && made != told
    {
        rules.notes.push(format!(
            "warning: metadata.json gives input values from {} to {}, the transforms of inference.json make {} to {}",
            told.0, told.1, made.0, made.1
        ));
    }
}

/// Names of outputs as labels.
fn labels(format: &Format, inference: &Inference) -> Vec<(String, u32)> {
    let names = format.classes.iter().cloned();
    if inference.class_order.is_empty() {
        return names.zip(0..).collect();
    }
    let mut out: Vec<(String, u32)> = names.zip(inference.class_order.iter().copied()).collect();
    if !out.is_empty() && out.iter().all(|(_, l)| *l != 0) {
        out.insert(0, ("background".to_owned(), 0));
    }
    out
}

/// The one file of weights.
fn weights(path: &Path) -> Result<PathBuf, ImportError> {
    let folder = path.join("models");
    let usual = folder.join("model.pt");
    if usual.is_file() {
        return Ok(usual);
    }
    let entries = std::fs::read_dir(&folder).map_err(|e| ImportError::io(folder.display(), e))?;
    let mut files: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    files.sort();
    let names: Vec<String> = files.iter().filter_map(|p| p.file_name()).map(|n| n.to_string_lossy().into_owned()).collect();
    let torch: Vec<&PathBuf> =
        files.iter().filter(|p| p.extension().is_some_and(|e| ["pt", "pth", "safetensors"].iter().any(|x| e == *x))).collect();
    match torch.as_slice() {
        [one] => Ok((*one).clone()),
        _ => {
            let have = if names.is_empty() { "nothing".to_owned() } else { list(&names) };
            Err(ImportError::format(
                usual.display(),
                format!("is missing: the weights of a bundle are expected there; the folder holds {have}"),
            ))
        }
    }
}

/// Reads `metadata.json`.
fn format(metadata: &Json, notes: &mut Vec<String>) -> Result<Format, Wrong> {
    let root = Field::root(metadata);
    let title = root.find("name").and_then(|f| f.text().ok()).map(str::to_owned);
    let Some(network) = root.find("network_data_format") else { return Ok(Format { title, ..Format::default() }) };
    let mut out = Format { title, ..Format::default() };
    let only = |what: &str, usual: &str| -> Result<Option<(String, Field<'_>)>, Wrong> {
        let Some(all) = network.find(what) else { return Ok(None) };
        let entries = all.entries()?;
        match entries.iter().find(|(k, _)| *k == usual).or_else(|| entries.first().filter(|_| entries.len() == 1)) {
            Some((key, field)) => Ok(Some(((*key).to_owned(), field.clone()))),
            None => {
                let names: Vec<&str> = entries.iter().map(|(k, _)| *k).collect();
                Err(format!("network_data_format.{what} has {}; one of them, or {usual}, expected", list(&names)))
            }
        }
    };
    if let Some((key, image)) = only("inputs", "image")? {
        out.image = Some(key);
        out.in_channels = image.find("num_channels").map(|f| channels(&f)).transpose()?;
        out.ct = image.find("modality").and_then(|f| f.text().ok()).is_some_and(|m| m.to_uppercase().contains("CT"));
        if let Some(f) = image.find("channel_def").filter(|f| f.json().as_object().is_some_and(|m| !m.is_empty())) {
            let Channels { count, names } = channel_names(&f, notes)?;
            out.in_channels = out.in_channels.or(Some(count));
            // A single channel that is called "image" has no name worth asking for.
            out.channels = if names == ["image"] { Vec::new() } else { names };
        }
        let shape = image.find("spatial_shape").and_then(|f| f.counts().ok());
        out.shape = shape.filter(|s| matches!(s.len(), 2 | 3) && s.iter().all(|n| (1..1 << 20).contains(n)));
        out.range = image.find("value_range").and_then(|f| f.numbers().ok()).and_then(|r| Some((*r.first()?, *r.get(1)?)));
    }
    if let Some((key, prediction)) = only("outputs", "pred")? {
        out.prediction = Some(key);
        out.outputs = prediction.find("num_channels").map(|f| channels(&f)).transpose()?;
        if let Some(f) = prediction.find("channel_def").filter(|f| f.json().as_object().is_some_and(|m| !m.is_empty())) {
            let mut said = Vec::new();
            let Channels { count, names } = channel_names(&f, &mut said)?;
            out.outputs = out.outputs.or(Some(count));
            if out.outputs.is_some_and(|n| n != count) {
                notes.push(format!("warning: metadata.json names {count} outputs of {}; the names are left out", out.outputs.unwrap_or(0)));
            } else if names.is_empty() {
                let shown = f.json().to_string();
                notes.push(format!("the names of the outputs do not tell them apart and are left out: {}", quoted(&shown)));
            } else {
                out.classes = names;
            }
        }
    }
    Ok(out)
}

/// A number of channels that a network can have.
fn channels(field: &Field<'_>) -> Result<usize, Wrong> {
    let n = field.count().ok().filter(|n| (1..=65_535).contains(n));
    n.map(|n| n as usize).ok_or_else(|| field.wrong("a number of channels from 1 to 65535"))
}
