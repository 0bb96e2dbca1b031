//! An import: rules and tensors become a config and checkpoints of ours.

use std::path::{Path, PathBuf};

use mnx_files::WholeFolder;
use mnx_model::{Config, DEFAULT_EXTENT, Dim, Flavour, NormType};
use mnx_weights::{Checkpoint, WeightsError};

use crate::config_text::{Network, config_text};
use crate::error::ImportError;
use crate::folder::{self, Found};
use crate::monai;
use crate::network::{Facts, fit, heads};
use crate::options::Options;
use crate::patch::fitting;
use crate::picking::Picking;
use crate::rules::Rules;
use crate::state::{StateDict, is_safetensors};
use crate::torch::TorchFile;
use crate::unpack::Unpacked;
use crate::wording::{count, extents};

/// One set of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// `0`, `1`, .., `all`, or `weights` where there are no folds.
    pub name: String,
    /// The file it is read from.
    pub path: PathBuf,
}

/// What was found at a path, understood but for the weights themselves.
#[derive(Debug)]
pub struct Import {
    /// The network with its rules.
    pub config: Config,
    /// The config as a file.
    pub toml: String,
    /// Sets of weights, in order.
    pub folds: Vec<Fold>,
    /// What the path is, for people.
    pub what: &'static str,
    /// What was assumed, dropped or left out, one line each; those that begin with `warning: ` may change results.
    pub notes: Vec<String>,
    /// Which tensors of a file are meant.
    picking: Picking,
    /// Where a zip archive's files lie as long as this lives.
    unpacked: Option<Unpacked>,
}

impl Import {
    /// Reads everything but the weights.
    ///
    /// # Errors
    /// Whatever is wrong with the files, by name.
    pub fn open(path: &Path, options: &Options) -> Result<Self, ImportError> {
        let picking = Picking::new(options)?;
        let found = folder::find(path, options)?;
        if !options.ignore_transforms.is_empty() && found.what != "a MONAI bundle" {
            return Err(ImportError::Option(format!("--ignore-transforms is for MONAI bundles; {} is {}", path.display(), found.what)));
        }
        let mut out = match found.unpacked {
            None => Self::of(path, found, options, &picking)?,
            Some(unpacked) => match Self::of(path, Found { unpacked: None, ..found }, options, &picking) {
                Ok(import) => Self { unpacked: Some(unpacked), ..import },
                Err(e) => return Err(e.relocated(&|text| unpacked.shown(text))),
            },
        };
        if let Some(unpacked) = &out.unpacked {
            out.notes = out.notes.iter().map(|n| unpacked.shown(n)).collect();
            out.toml = unpacked.shown(&out.toml);
        }
        Ok(out)
    }

    fn of(path: &Path, found: Found, options: &Options, picking: &Picking) -> Result<Self, ImportError> {
        let Found { folds, mut rules, what, unpacked } = found;
        let state = state(&folds[0].1, picking)?;
        let mut notes = std::mem::take(&mut rules.notes);
        notes.extend(state.notes.iter().cloned());
        let mut facts = Facts::read(&state, &mut notes)?;
        let others = folds[1..].iter().map(|(name, path)| Ok((name.as_str(), self::state(path, picking)?)));
        facts.deep_supervision = heads((&folds[0].0, &state), others, &facts, options.heads, &mut notes)?;
        let do_res = do_res(&facts, &rules, options, &mut notes);
        let norm = norm(&facts, &rules, options, &mut notes);
        agree(&facts, &rules, &state, &mut notes)?;
        surroundings(&facts, &mut rules, norm, &mut notes);
        if options.name.as_ref().is_some_and(|n| n.trim().is_empty()) {
            return Err(ImportError::Option("--name is empty, a name expected".to_owned()));
        }
        let name = options.name.clone().unwrap_or_else(|| title(&facts, &rules, path));
        let network = Network { name: &name, facts: &facts, do_res, norm };
        let config = |rules: &Rules, path: &str, what_not: &str| {
            let toml = config_text(&network, rules, what);
            // The text is ours and nowhere yet: a line of it says nothing, the key and its value do.
            match Config::from_toml(&toml, "config.toml") {
                Ok(config) => Ok((config, toml)),
                Err(problems) => {
                    let problems = problems.into_iter().map(|p| p.message).collect();
                    Err(ImportError::Several { path: path.to_owned(), what: what_not.to_owned(), problems })
                }
            }
        };
        // The network alone first: whatever is wrong afterwards, the plans say.
        config(&Rules::default(), state.path(), "what the tensors say makes no network that is known")?;
        let source = rules.source.display().to_string();
        let (config, toml) = config(&rules, &source, "what the plans say makes no rules that are known")?;
        let folds = folds.into_iter().map(|(name, path)| Fold { name, path }).collect();
        Ok(Self { config, toml, folds, what, notes, picking: picking.clone(), unpacked })
    }

    /// Reads the weights of a fold, under the config's names and in their order.
    ///
    /// # Errors
    /// Whatever is wrong with the file; all tensors that are missing, misshapen or surplus.
    pub fn read(&self, fold: &Fold) -> Result<Checkpoint, ImportError> {
        let read = || fit(&mut state(&fold.path, &self.picking)?, &self.config);
        let mut out = read().map_err(|e| match &self.unpacked {
            Some(unpacked) => e.relocated(&|text| unpacked.shown(text)),
            None => e,
        })?;
        out.metadata.insert("fold".to_owned(), fold.name.clone());
        out.metadata.insert("model".to_owned(), self.config.name.clone());
        Ok(out)
    }

    /// The file that a fold's weights go to, in the folder that [`Self::write`] makes.
    pub fn file_name(&self, fold: &Fold) -> String {
        if self.folds.len() == 1 { "weights.safetensors".to_owned() } else { format!("weights_fold_{}.safetensors", fold.name) }
    }

    /// Writes `config.toml` and the weights into a new folder, under a temporary name first. `said` hears of every file.
    ///
    /// # Errors
    /// As [`Self::read`]; a folder that is there already and not empty, or cannot be written. Nothing is left then.
    pub fn write(&self, dir: &Path, said: &mut dyn FnMut(&str)) -> Result<(), ImportError> {
        let io = |e| ImportError::io(dir.display(), e);
        if let Ok(mut entries) = std::fs::read_dir(dir) {
            if entries.next().is_some() {
                return Err(ImportError::format(dir.display(), "is a folder with files in it; a new name (or an empty folder) expected"));
            }
        } else if dir.exists() {
            return Err(ImportError::format(dir.display(), "is a file; a new folder's name expected"));
        }
        let parent = match dir.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        if !parent.is_dir() {
            return Err(ImportError::format(dir.display(), format!("there is no folder {}", parent.display())));
        }
        let folder = WholeFolder::create(dir).map_err(io)?;
        for fold in &self.folds {
            let checkpoint = self.read(fold)?;
            let name = self.file_name(fold);
            checkpoint.save(folder.path().join(&name)).map_err(|e| unsaved(dir, &name, e))?;
            let from = fold.path.display().to_string();
            let from = self.unpacked.as_ref().map_or_else(|| from.clone(), |u| u.shown(&from));
            said(&format!("{name}: {} tensors of {from}", checkpoint.len()));
        }
        mnx_files::write(&folder.path().join("config.toml"), self.toml.as_bytes()).map_err(io)?;
        folder.commit().map_err(io)
    }
}

/// A fold's file that cannot be written, by the name that it would have had.
fn unsaved(dir: &Path, name: &str, error: WeightsError) -> ImportError {
    match error {
        WeightsError::Io { source, .. } => ImportError::io(dir.join(name).display(), source),
        other => ImportError::format(dir.join(name).display(), other.to_string()),
    }
}

fn state(path: &Path, picking: &Picking) -> Result<StateDict, ImportError> {
    if is_safetensors(path) { StateDict::of_safetensors(path, picking) } else { StateDict::of_torch(TorchFile::open(path)?, picking) }
}

/// What the files leave open about patch, preparation and the way back, filled where it can be and said.
fn surroundings(facts: &Facts, rules: &mut Rules, norm: NormType, notes: &mut Vec<String>) {
    let monai = facts.flavour == Flavour::Monai;
    if rules.preprocess.is_none() && monai {
        let steps = rules.inference.take().map(|i| i.postprocess).unwrap_or_default();
        monai::assume(rules, facts.dim == Dim::Two, facts.in_channels, facts.n_classes);
        notes.append(&mut rules.notes);
        rules.inference.get_or_insert_default().postprocess = steps;
    } else if rules.preprocess.is_none() {
        notes.push(
            "no plans: [preprocess], [inference] and [labels] of config.toml are yours to write (z-score, the image's own spacing)"
                .to_owned(),
        );
    }
    let Some(patch) = &rules.patch else {
        let axes = facts.dim.axes();
        let names = if monai { ["x", "y", "z"] } else { ["z", "y", "x"] };
        // A 2-D network of MONAI's sees x and y.
        let names = if monai { &names[..axes] } else { &names[3 - axes..] };
        notes.push(format!(
            "no patch: the network will be compiled for {}, and the segmentation depends on it; the size that it was trained at is \
             better: patch = [{}] in config.toml, or mnxc compile --patch {}",
            extents(&vec![DEFAULT_EXTENT; axes]),
            names.join(", "),
            names.join(",").to_uppercase(),
        ));
        return;
    };
    let fits = fitting(patch, norm);
    if fits != *patch {
        let why = match patch.iter().all(|n| *n == Config::STRIDE) {
            true => "a bottleneck of one voxel, of which group norm has no variance".to_owned(),
            false => format!("every axis a multiple of {}", Config::STRIDE),
        };
        notes.push(format!(
            "warning: patch {} does not fit: {why}; nearest {}, which config.toml gets (the network cannot have been trained at the other, \
             and the segmentation depends on it: --patch of mnxc compile takes another)",
            extents(patch),
            extents(&fits)
        ));
        let line = format!(
            "{} says {}, which no MedNeXt takes ({why}); this is the nearest.",
            rules.source.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
            extents(patch)
        );
        rules.remarks.before.push(("patch", vec![line]));
        rules.patch = Some(fits);
    }
}

/// Residuals around plain blocks leave no tensor behind.
fn do_res(facts: &Facts, rules: &Rules, options: &Options, notes: &mut Vec<String>) -> bool {
    // MONAI has one flag for both kinds.
    if facts.flavour == Flavour::Monai {
        return facts.do_res_up_down;
    }
    if let Some(given) = options.do_res.or(rules.do_res) {
        return given;
    }
    // The official trainers all have them.
    let official = rules.trainer.as_deref().is_some_and(|t| t.starts_with("nnUNetTrainerV2_MedNeXt_"));
    if !official {
        notes.push(
            "residuals around plain blocks are not in the tensors; taken as on, as in every published MedNeXt (--do-res changes it)"
                .to_owned(),
        );
    }
    true
}

/// Group and layer norm have the same tensors.
fn norm(facts: &Facts, rules: &Rules, options: &Options, notes: &mut Vec<String>) -> NormType {
    if let Some(given) = options.norm.or(rules.norm) {
        return given;
    }
    let official = rules.trainer.as_deref().is_some_and(|t| t.starts_with("nnUNetTrainerV2_MedNeXt_"));
    // MONAI's layer norm does not run.
    if !official && facts.flavour != Flavour::Monai {
        notes.push("the kind of norm is not in the tensors; taken as group, as in every published MedNeXt (--norm changes it)".to_owned());
    }
    NormType::Group
}

/// Tensors against plans and trainer.
fn agree(facts: &Facts, rules: &Rules, state: &StateDict, notes: &mut Vec<String>) -> Result<(), ImportError> {
    let mut problems = Vec::new();
    let told = if rules.source.ends_with("configs/inference.json") { "the bundle's metadata have" } else { "plans and data set have" };
    if let Some(n) = rules.in_channels.filter(|n| *n != facts.in_channels) {
        problems.push(format!("the network takes {}, {told} {n}", count(facts.in_channels, "image channel")));
    }
    if let Some(n) = rules.n_classes.filter(|n| *n != facts.n_classes) {
        problems.push(format!("the network gives {} classes, {told} {n}", facts.n_classes));
    }
    let dims = facts.dim.axes();
    if let Some(p) = rules.patch.as_ref().filter(|p| p.len() != dims) {
        problems.push(format!("the network is {dims}-D, the patch is {}", extents(p)));
    }
    if !problems.is_empty() {
        let what = format!("the network is not the one that the plans or the metadata describe ({})", rules.source.display());
        return Err(ImportError::Several { path: state.path().to_owned(), what, problems });
    }
    // `nnUNetTrainerV2_MedNeXt_S_kernel3`: the tensors have the last word.
    let name = rules.trainer.as_deref().and_then(|t| t.strip_prefix("nnUNetTrainerV2_MedNeXt_"));
    if let Some((size, rest)) = name.and_then(|n| n.split_once("_kernel")) {
        let same = facts.variant().is_some_and(|v| v.as_str() == size) && rest.starts_with(&facts.enc_kernel_size.to_string());
        if !same {
            notes.push(format!("warning: the trainer's name says {size}, kernel {rest}; the tensors tell of {}", shape_name(facts)));
        }
    }
    Ok(())
}

/// `MedNeXt-S k3`.
fn shape_name(facts: &Facts) -> String {
    let size = facts.variant().map_or_else(|| format!("MedNeXt of {} channels", facts.n_channels), |v| format!("MedNeXt-{}", v.as_str()));
    let dim = if facts.dim == Dim::Two { " 2-D" } else { "" };
    match (facts.enc_kernel_size, facts.dec_kernel_size) {
        (e, d) if e == d => format!("{size} k{e}{dim}"),
        (e, d) => format!("{size} k{e}/{d}{dim}"),
    }
}

fn title(facts: &Facts, rules: &Rules, path: &Path) -> String {
    let of = rules.title.clone().unwrap_or_else(|| {
        let name = folder::last(path);
        // A folder's name has no ending.
        let stem = name.rsplit_once('.').filter(|_| !path.is_dir()).map(|(stem, _)| stem.to_owned());
        stem.unwrap_or(name)
    });
    format!("{of} {}", shape_name(facts)).trim().to_owned()
}
