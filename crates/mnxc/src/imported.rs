//! A folder as `mnxc import` makes it: `config.toml` and one weights file, or one for each fold.

use std::fs;
use std::path::{Path, PathBuf};

use crate::report::{Failure, Outcome, system_reason};

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
pub struct Folder {
    /// Its config.
    pub config: PathBuf,
    /// Its weights, in order of folds.
    pub weights: Vec<WeightFile>,
}

/// Looks into a folder.
///
/// # Errors
/// If it is not one that `mnxc import` could have made.
pub fn open(dir: &Path) -> Outcome<Folder> {
    let fail = |why: String| Failure::user("mnxc-0003", dir.display(), why);
    let config = dir.join("config.toml");
    if !config.is_file() {
        return Err(fail("is a folder without config.toml; one that `mnxc import` made, a config or a graph was expected".to_string()));
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
            return Err(fail("holds weights.safetensors and weights_fold_*.safetensors; one or the other was expected".to_string()));
        }
        (false, true) => return Err(fail("holds neither weights.safetensors nor weights_fold_*.safetensors".to_string())),
    };
    Ok(Folder { config, weights })
}
