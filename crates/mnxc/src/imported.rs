//! What a command is pointed at: a config, a graph, or a folder as `mnxc import` makes it, which holds `config.toml` and one weights
//! file, or one for each fold.

use std::fs;
use std::path::{Path, PathBuf};

use crate::report::{Failure, Outcome, system_reason};

/// The input of a command, resolved.
#[derive(Debug)]
pub struct Input {
    /// The config or graph to read; of a folder its config.
    pub file: PathBuf,
    /// The folder, if it is one.
    folder: Option<Folder>,
}

impl Input {
    /// Resolves what the command line names; a folder is looked into.
    ///
    /// # Errors
    /// A folder that `mnxc import` could not have made. A file is not touched.
    pub fn find(path: &Path) -> Outcome<Self> {
        let folder = path.is_dir().then(|| open(path)).transpose()?;
        Ok(Self { file: folder.as_ref().map_or_else(|| path.to_path_buf(), |f| f.config.clone()), folder })
    }

    /// Whether it is an imported folder.
    pub fn is_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// All weights of a folder, in order of folds; none of a file.
    pub fn weights(&self) -> &[WeightFile] {
        self.folder.as_ref().map_or(&[], |f| &f.weights)
    }

    /// The weights of one network: a folder's fold of this name, else its first; none for a file.
    ///
    /// # Errors
    /// A fold that the folder does not have; a fold of a file.
    pub fn fold(&self, name: Option<&str>) -> Outcome<Option<&WeightFile>> {
        let (folder, name) = match (&self.folder, name) {
            (None, None) => return Ok(None),
            (None, Some(name)) => {
                let message = format!("--fold {name}: {} is a file; only a folder that `mnxc import` made has folds", self.file.display());
                return Err(Failure::Usage(message));
            }
            (Some(folder), None) => return Ok(folder.weights.first()),
            (Some(folder), Some(name)) => (folder, name),
        };
        let found = folder.weights.iter().find(|w| w.fold.as_deref() == Some(name));
        let known: Vec<&str> = folder.weights.iter().filter_map(|w| w.fold.as_deref()).collect();
        found.map(Some).ok_or_else(|| {
            let what =
                if known.is_empty() { "one set of weights and no folds".to_string() } else { format!("the folds {}", known.join(", ")) };
            Failure::user("mnxc-0003", self.file.parent().unwrap_or(&self.file).display(), format!("--fold {name}: the folder has {what}"))
        })
    }
}

/// A file of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightFile {
    /// The fold's name; none takes the one that the file's metadata tells, if any.
    pub fold: Option<String>,
    /// A safetensors file.
    pub path: PathBuf,
}

/// The parts of a folder.
#[derive(Debug)]
struct Folder {
    config: PathBuf,
    /// In order of folds.
    weights: Vec<WeightFile>,
}

/// Looks into a folder.
///
/// # Errors
/// If it is not one that `mnxc import` could have made.
fn open(dir: &Path) -> Outcome<Folder> {
    let fail = |why: String| Failure::user("mnxc-0003", dir.display(), why);
    let config = dir.join("config.toml");
    if !config.is_file() {
        return Err(fail("is a folder without config.toml; a folder that `mnxc import` made, a config or a graph expected".to_string()));
    }
    let io = |e: std::io::Error| fail(system_reason(&e.to_string()));
    let mut folds = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(fold) = name.strip_prefix("weights_fold_").and_then(|n| n.strip_suffix(".safetensors")).filter(|f| !f.is_empty()) {
            folds.push(WeightFile { fold: Some(fold.to_string()), path });
        }
    }
    // Numbers in their order, names behind them.
    folds.sort_by_key(|w| {
        let name = w.fold.clone().unwrap_or_default();
        (name.parse::<u64>().unwrap_or(u64::MAX), name)
    });
    let one = dir.join("weights.safetensors");
    let weights = match (one.is_file(), folds.is_empty()) {
        (true, true) => vec![WeightFile { fold: None, path: one }],
        (false, false) => folds,
        (true, false) => {
            return Err(fail("holds weights.safetensors and weights_fold_*.safetensors; one or the other expected".to_string()));
        }
        (false, true) => return Err(fail("holds neither weights.safetensors nor weights_fold_*.safetensors".to_string())),
    };
    Ok(Folder { config, weights })
}
