//! What a path is: a result folder of nnU-Net, a MONAI bundle, either of them as a zip archive, a checkpoint, a file of tensors.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::error::ImportError;
use crate::limits;
use crate::options::{Options, Which};
use crate::pickle::to_json;
use crate::rules::Rules;
use crate::torch::TorchFile;
use crate::unpack::Unpacked;
use crate::{monai, nnunet_v1, nnunet_v2, postprocessing};

/// Checkpoints with what is known about their network.
#[derive(Debug)]
pub(crate) struct Found {
    /// Fold names and their files.
    pub folds: Vec<(String, PathBuf)>,
    pub rules: Rules,
    /// What it is, for people.
    pub what: &'static str,
    /// The temporary folder of a zip archive.
    pub unpacked: Option<Unpacked>,
}

impl Found {
    pub fn new(folds: Vec<(String, PathBuf)>, rules: Rules, what: &'static str) -> Self {
        Self { folds, rules, what, unpacked: None }
    }
}

/// Looks at a path.
pub(crate) fn find(path: &Path, options: &Options) -> Result<Found, ImportError> {
    let meta = fs::metadata(path).map_err(|e| ImportError::io(path.display(), e))?;
    let mut found = match meta.is_dir() {
        true => folder(path, options)?,
        false => match Unpacked::open(path, options.configuration.as_deref())? {
            None => file(path, options)?,
            Some(unpacked) => match folder(&unpacked.root, options) {
                Ok(found) => Found { unpacked: Some(unpacked), ..found },
                Err(e) => return Err(e.relocated(&|text| unpacked.shown(text))),
            },
        },
    };
    if let Some(path) = &options.postprocessing {
        let is_json = path.extension().is_some_and(|e| e == "json");
        let steps = if is_json { postprocessing::of_json(&json(path)?) } else { postprocessing::of_pickle(&pickle(path)?) };
        let steps = steps.map_err(|e| ImportError::format(path.display(), e))?;
        found.rules.inference.get_or_insert_default().postprocess = steps;
    }
    Ok(found)
}

fn folder(path: &Path, options: &Options) -> Result<Found, ImportError> {
    if path.join("plans.json").is_file() {
        return v2_folder(path, options);
    }
    if path.join("plans.pkl").is_file() {
        return v1_folder(path, options);
    }
    if monai::is_bundle(path) {
        return monai::bundle(path, options);
    }
    let mut reason =
        "is not a result folder of nnU-Net (neither plans.json nor plans.pkl is in it), nor a MONAI bundle (no configs/inference.json)"
            .to_owned();
    if path.parent().is_some_and(|p| p.join("plans.json").is_file() || p.join("plans.pkl").is_file()) {
        reason += "; the folder above it is one: give that, with --folds";
    } else if path.parent().is_some_and(monai::is_bundle) {
        reason += "; the folder above it is one: give that";
    } else {
        let inner = |p: &PathBuf| p.join("plans.json").is_file() || p.join("plans.pkl").is_file() || monai::is_bundle(p);
        let names: Vec<String> = children(path)?.into_iter().filter(inner).map(|p| last(&p)).collect();
        if !names.is_empty() {
            reason += &format!("; these in it are: {}", names.join(", "));
        }
    }
    Err(ImportError::format(path.display(), reason))
}

fn children(path: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let io = |e| ImportError::io(path.display(), e);
    let mut out: Vec<PathBuf> = fs::read_dir(path).map_err(io)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(io)?;
    out.sort();
    Ok(out)
}

/// A path's last component.
pub(crate) fn last(path: &Path) -> String {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    full.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// A path with something behind its name: `x.model` and `.pkl` give `x.model.pkl`.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

fn file(path: &Path, options: &Options) -> Result<Found, ImportError> {
    let single = |rules: Rules, what| Found::new(vec![("weights".to_owned(), path.to_owned())], rules, what);
    for (given, flag) in [(options.folds.is_some(), "--folds"), (options.checkpoint == Which::Best, "--checkpoint")] {
        if given {
            return Err(ImportError::Option(format!("{flag} chooses within a result folder; {} is a file", path.display())));
        }
    }
    let beside = beside(path, ".pkl");
    if path.extension().is_some_and(|e| e == "model") && beside.is_file() {
        let about = pickle(&beside)?;
        return Ok(single(v1_rules(&beside, None, Some(&about), path, options)?, "an nnU-Net v1 checkpoint"));
    }
    let mut rules = Rules { source: path.to_owned(), ..Rules::default() };
    if path.extension().is_some_and(|e| e == "model") {
        // nnU-Net v1 writes the two together, so one alone was probably copied without the other.
        rules.notes.push(format!("{}, where nnU-Net v1 keeps the plans, was looked for and is not there", beside.display()));
    }
    let parent = path.parent().filter(|p| last(p) == "models");
    if let Some(bundle) = parent.and_then(Path::parent).filter(|p| monai::is_bundle(p)) {
        rules
            .notes
            .push(format!("warning: the file is part of a MONAI bundle, whose configs tell how to use it: import {}", bundle.display()));
    }
    if !crate::state::is_safetensors(path) {
        let file = TorchFile::open(path)?;
        if let Some(v2) = CheckpointNotes::read(&file)? {
            let named = |e: String| {
                let within = if e.starts_with(nnunet_v2::MIRRORING) { "" } else { "init_args: " };
                ImportError::format(path.display(), format!("{within}{e}"))
            };
            let arg = |key: &str| v2.init.get(key).filter(|v| !v.is_null());
            if let (Some(plans), Some(dataset)) = (arg("plans"), arg("dataset_json")) {
                let configuration = options.configuration.as_deref().or_else(|| arg("configuration")?.as_str());
                let configuration =
                    configuration.ok_or_else(|| named("configuration is missing; name it with --configuration".to_owned()))?;
                let told = nnunet_v2::Told {
                    plans,
                    dataset,
                    configuration,
                    trainer: v2.trainer(),
                    mirror: v2.mirror.as_ref(),
                    ignore_preprocessor: options.ignore_preprocessor,
                };
                let mut rules = nnunet_v2::rules(told).map_err(named)?;
                rules.source = path.to_owned();
                return Ok(single(rules, "an nnU-Net v2 checkpoint"));
            }
        }
    }
    Ok(single(rules, "a state dict"))
}

/// What an nnU-Net v2 checkpoint says beside its weights.
struct CheckpointNotes {
    trainer: Option<String>,
    mirror: Option<Json>,
    init: Json,
}

impl CheckpointNotes {
    fn read(file: &TorchFile) -> Result<Option<Self>, ImportError> {
        let (heap, root) = (file.heap(), file.root());
        if heap.get(root, "network_weights").is_none() {
            return Ok(None);
        }
        let bad = |key: &str, e: String| ImportError::format(file.path().display(), format!("{key}: {e}"));
        let json = |key: &str| heap.get(root, key).map(|v| to_json(heap, v).map_err(|e| bad(key, e))).transpose();
        let trainer = heap.get(root, "trainer_name").and_then(|v| heap.str(v)).map(str::to_owned);
        Ok(Some(Self { trainer, mirror: json(nnunet_v2::MIRRORING)?, init: json("init_args")?.unwrap_or(Json::Null) }))
    }

    fn trainer(&self) -> &str {
        self.trainer.as_deref().unwrap_or("")
    }
}

/// A pickle of plain values.
fn pickle(path: &Path) -> Result<Json, ImportError> {
    let file = TorchFile::open(path)?;
    to_json(file.heap(), file.root()).map_err(|e| ImportError::format(path.display(), e))
}

/// A JSON file of bounded size.
pub(crate) fn json(path: &Path) -> Result<Json, ImportError> {
    let io = |e| ImportError::io(path.display(), e);
    let mut bytes = Vec::new();
    fs::File::open(path).and_then(|f| f.take(limits::JSON_BYTES + 1).read_to_end(&mut bytes)).map_err(io)?;
    if bytes.len() as u64 > limits::JSON_BYTES {
        return Err(ImportError::format(path.display(), format!("more than {} bytes", limits::JSON_BYTES)));
    }
    serde_json::from_slice(&bytes).map_err(|e| ImportError::format(path.display(), format!("not valid JSON: {e}")))
}

/// The folds of a result folder that have the checkpoint asked for.
fn folds(
    path: &Path,
    options: &Options,
    notes: &mut Vec<String>,
    names: &dyn Fn(Which) -> &'static str,
) -> Result<Vec<(String, PathBuf)>, ImportError> {
    let file = names(options.checkpoint);
    let mut there: Vec<(String, PathBuf)> = Vec::new();
    for child in children(path)?.into_iter().filter(|p| p.is_dir()) {
        let folder = child.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        let fold = match folder.strip_prefix("fold_") {
            Some(n) if !n.is_empty() && n.len() <= 16 && n.chars().all(|c| c.is_ascii_alphanumeric()) => n.to_owned(),
            None if folder == "all" => folder,
            _ => continue,
        };
        there.push((fold, child.join(file)));
    }
    there.sort_by_key(|(name, _)| (name.parse::<u32>().map_or(u32::MAX, |n| n), name.clone()));
    let list = |folds: &[(String, PathBuf)]| folds.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>().join(", ");
    let Some(wanted) = &options.folds else {
        // A fold that trained on all cases would count the others twice.
        let (mut usable, lacking): (Vec<_>, Vec<_>) = there.into_iter().partition(|(_, p)| p.is_file());
        let before = usable.len();
        if before > 1 {
            usable.retain(|(name, _)| name != "all");
        }
        if usable.len() < before {
            notes.push("fold all is left out: its network saw every case (--folds all takes it alone)".to_owned());
        }
        if !usable.is_empty() && !lacking.is_empty() {
            notes.push(format!("folds without {file} are left out: {}", list(&lacking)));
        }
        if usable.is_empty() {
            let other = if options.checkpoint == Which::Final { Which::Best } else { Which::Final };
            let hint = match lacking.iter().any(|(_, p)| p.with_file_name(names(other)).is_file()) {
                true => format!("; --checkpoint {} would find {}", other.as_str(), names(other)),
                false => String::new(),
            };
            return Err(ImportError::format(path.display(), format!("no folder fold_N (or all) holds {file}{hint}")));
        }
        return Ok(usable);
    };
    let mut out: Vec<(String, PathBuf)> = Vec::new();
    for name in wanted {
        let bare = name.strip_prefix("fold_").unwrap_or(name);
        let Some(fold) = there.iter().find(|(n, _)| n == bare) else {
            let have = if there.is_empty() { "none".to_owned() } else { list(&there) };
            return Err(ImportError::Option(format!("--folds {name}: {} has no such fold; it has {have}", path.display())));
        };
        if !fold.1.is_file() {
            return Err(ImportError::format(fold.1.display(), "no such file"));
        }
        if !out.contains(fold) {
            out.push(fold.clone());
        }
    }
    if out.is_empty() { Err(ImportError::Option("--folds names no fold".to_owned())) } else { Ok(out) }
}

/// Trainer, plans and configuration of a folder `TRAINER__PLANS[__CONFIGURATION]`.
fn parts(path: &Path) -> Vec<String> {
    last(path).split("__").map(str::to_owned).collect()
}

fn v2_folder(path: &Path, options: &Options) -> Result<Found, ImportError> {
    let mut found = Vec::new();
    let folds = folds(path, options, &mut found, &|w| match w {
        Which::Final => "checkpoint_final.pth",
        Which::Best => "checkpoint_best.pth",
    })?;
    let (plans_path, dataset_path) = (path.join("plans.json"), path.join("dataset.json"));
    let (plans, dataset) = (json(&plans_path)?, json(&dataset_path)?);
    let parts = parts(path);
    let file = TorchFile::open(&folds[0].1)?;
    let notes = CheckpointNotes::read(&file)?;
    let init = notes.as_ref().and_then(|n| n.init.get("configuration")).and_then(Json::as_str);
    let only = plans.get("configurations").and_then(Json::as_object).filter(|c| c.len() == 1).and_then(|c| c.keys().next());
    let configuration = options.configuration.as_deref().or(init).or(parts.get(2).map(String::as_str)).or(only.map(String::as_str));
    let configuration = configuration.ok_or_else(|| {
        ImportError::Option(format!(
            "{}: the configuration is not in the folder's name (TRAINER__PLANS__CONFIGURATION); name it with --configuration",
            path.display()
        ))
    })?;
    let trainer = notes.as_ref().and_then(|n| n.trainer.clone()).or_else(|| parts.first().cloned()).unwrap_or_default();
    let mirror = notes.as_ref().and_then(|n| n.mirror.as_ref());
    let ignore_preprocessor = options.ignore_preprocessor;
    let told = nnunet_v2::Told { plans: &plans, dataset: &dataset, configuration, trainer: &trainer, mirror, ignore_preprocessor };
    let mut rules = nnunet_v2::rules(told).map_err(|e| {
        let told_by = if e.starts_with("dataset.json: ") {
            path
        } else if e.starts_with(nnunet_v2::MIRRORING) {
            &folds[0].1
        } else {
            &plans_path
        };
        ImportError::format(told_by.display(), e)
    })?;
    rules.source = plans_path;
    rules.notes.extend(found);
    let left_out = |shown: &str| format!("{shown} is left out, as nnU-Net v2's predictor does; --postprocessing FILE takes it");
    if options.postprocessing.is_none() && path.join("postprocessing.pkl").is_file() {
        rules.notes.push(left_out("postprocessing.pkl"));
    }
    if options.postprocessing.is_none()
        && let Some(found) = children(path)?
            .iter()
            .filter(|p| last(p).starts_with("crossval_results"))
            .map(|p| p.join("postprocessing.pkl"))
            .find(|p| p.is_file())
    {
        let shown = found.strip_prefix(path).unwrap_or(&found).display().to_string();
        rules.notes.push(left_out(&shown));
    }
    Ok(Found::new(folds, rules, "an nnU-Net v2 result folder"))
}

fn v1_folder(path: &Path, options: &Options) -> Result<Found, ImportError> {
    if options.configuration.as_deref().is_some_and(|c| path.components().all(|p| p.as_os_str() != c)) {
        return Err(ImportError::Option("--configuration is for nnU-Net v2; a v1 folder holds one".to_owned()));
    }
    let mut found = Vec::new();
    let folds = folds(path, options, &mut found, &|w| match w {
        Which::Final => "model_final_checkpoint.model",
        Which::Best => "model_best.model",
    })?;
    let about_path = beside(&folds[0].1, ".pkl");
    let about = if about_path.is_file() { Some(pickle(&about_path)?) } else { None };
    let plans_path = path.join("plans.pkl");
    let mut rules = v1_rules(&plans_path, Some(pickle(&plans_path)?), about.as_ref(), &folds[0].1, options)?;
    rules.notes.extend(found);
    let json_path = path.join("postprocessing.json");
    if options.postprocessing.is_none() && json_path.is_file() {
        let steps = postprocessing::of_v1(&json(&json_path)?).map_err(|e| ImportError::format(json_path.display(), e))?;
        if let Some(inference) = &mut rules.inference {
            inference.postprocess = steps;
        }
    }
    Ok(Found::new(folds, rules, "an nnU-Net v1 result folder"))
}

/// Rules from plans (or those inside `.model.pkl`) and the trainer's name.
fn v1_rules(at: &Path, plans: Option<Json>, about: Option<&Json>, model: &Path, options: &Options) -> Result<Rules, ImportError> {
    let bad = |e: String| ImportError::format(at.display(), e);
    let inside = about.and_then(|a| a.get("plans")).cloned();
    let plans = plans.or(inside).ok_or_else(|| bad("plans is missing".to_owned()))?;
    let folder = model.parent().and_then(Path::parent);
    let named = about.and_then(|a| a.get("name")).and_then(Json::as_str).map(str::to_owned);
    let trainer = named.or_else(|| folder.and_then(|f| parts(f).first().cloned()).filter(|n| n.contains("Trainer"))).unwrap_or_default();
    // init: plans_file, fold, output_folder, dataset_directory, batch_dice, stage, ...
    let stage = about.and_then(|a| a.get("init")).and_then(|i| i.get(5)).and_then(Json::as_u64);
    let mut rules = nnunet_v1::rules(&plans, &trainer, stage, options.ignore_preprocessor).map_err(bad)?;
    rules.source = at.to_owned();
    // Without a task above it, the result folder names trainer and plans, whose version has a dot.
    let task = folder.and_then(Path::parent).map(last).filter(|n| n.starts_with("Task"));
    rules.title = task.or_else(|| folder.map(last).filter(|n| n.contains("Trainer")));
    Ok(rules)
}
