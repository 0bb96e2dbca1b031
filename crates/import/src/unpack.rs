//! Models that travel as zip archives: what nnU-Net exports, and MONAI bundles. The few files that an import reads are unpacked into a
//! temporary folder, within the limits; everything else stays where it is.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use crate::error::ImportError;
use crate::limits;
use crate::torch::open_zip;
use crate::wording::{list, quoted};

/// Names of the files that are of use, wherever they lie.
const WANTED: [&str; 14] = [
    "plans.json",
    "plans.pkl",
    "dataset.json",
    "postprocessing.json",
    "postprocessing.pkl",
    "checkpoint_final.pth",
    "checkpoint_best.pth",
    "model_final_checkpoint.model",
    "model_final_checkpoint.model.pkl",
    "model_best.model",
    "model_best.model.pkl",
    "metadata.json",
    "inference.json",
    "inference.yaml",
];

/// A model in a temporary folder, which goes when this goes.
#[derive(Debug)]
pub(crate) struct Unpacked {
    folder: mnx_files::ScratchFolder,
    zip: PathBuf,
    /// Where the model lies.
    pub root: PathBuf,
}

impl Unpacked {
    /// Unpacks a zip archive; none where the file is something else, a file of `torch.save` among them.
    ///
    /// # Errors
    /// An archive that is broken, too large, or holds no model or several.
    pub fn open(path: &Path, configuration: Option<&str>) -> Result<Option<Self>, ImportError> {
        let io = |e| ImportError::io(path.display(), e);
        let bad = |reason: String| ImportError::format(path.display(), reason);
        let mut file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        let mut head = [0u8; 2];
        if !meta.is_file() || file.read_exact(&mut head).is_err() || head != *b"PK" {
            return Ok(None);
        }
        let mut zip = open_zip(file, meta.len()).map_err(bad)?;
        let mut wanted = Vec::new();
        for (index, name) in zip.file_names().enumerate() {
            let name = name.map_err(|e| bad(format!("a zip entry whose name cannot be read: {e}")))?;
            if name.ends_with("/data.pkl") {
                return Ok(None);
            }
            if is_wanted(&name) {
                wanted.push((index, name.into_owned()));
            }
        }
        // Whatever else a zip archive is, its own reader says so.
        if wanted.is_empty() {
            return Ok(None);
        }
        if wanted.len() > limits::UNPACKED_FILES {
            return Err(bad(format!(
                "a zip archive with {} files of models; at most {} are unpacked",
                wanted.len(),
                limits::UNPACKED_FILES
            )));
        }
        let folder = mnx_files::ScratchFolder::create().map_err(io)?;
        let mut left = limits::unpacked_bytes(meta.len());
        for (index, name) in wanted {
            let target = folder
                .path()
                .join(inside(&name).ok_or_else(|| bad(format!("zip entry {}: a path within the archive expected", quoted(&name))))?);
            let broken = |e: &dyn std::fmt::Display| bad(format!("zip entry {}: {e}", quoted(&name)));
            let entry = zip.by_index(index).map_err(|e| broken(&e))?;
            let parent = target.parent().unwrap_or(folder.path());
            std::fs::create_dir_all(parent).map_err(|e| broken(&e))?;
            let mut out = File::options().write(true).create_new(true).open(&target).map_err(|e| broken(&e))?;
            // What the archive claims may be a lie: what is written is counted.
            let written = std::io::copy(&mut entry.take(left.saturating_add(1)), &mut out).map_err(|e| broken(&e))?;
            left = left
                .checked_sub(written)
                .ok_or_else(|| bad("its files are far larger than the archive; they are not unpacked".to_owned()))?;
        }
        let root = model(folder.path(), configuration).map_err(bad)?;
        Ok(Some(Self { folder, zip: path.to_owned(), root }))
    }

    /// A text with the archive's name in place of the temporary folder's.
    pub fn shown(&self, text: &str) -> String {
        let zip = self.zip.display().to_string();
        let temporary = self.folder.path();
        let canonical = temporary.canonicalize().unwrap_or_else(|_| temporary.to_owned());
        text.replace(&canonical.display().to_string(), &zip).replace(&temporary.display().to_string(), &zip)
    }
}

/// Whether an import reads a file of this name.
fn is_wanted(name: &str) -> bool {
    let last = name.rsplit(['/', '\\']).next().unwrap_or(name);
    WANTED.contains(&last) || (last.ends_with(".pt") && name.trim_end_matches(last).ends_with("models/"))
}

/// An entry's name as a path below a folder: plain names alone.
fn inside(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let plain = !name.contains(['\\', '\0']) && path.components().all(|c| matches!(c, Component::Normal(_)));
    (plain && path.components().count() <= limits::UNPACKED_DEPTH).then(|| path.to_owned())
}

/// The folder of the one model, or of the one that has the configuration asked for.
fn model(folder: &Path, configuration: Option<&str>) -> Result<PathBuf, String> {
    let mut found = Vec::new();
    search(folder, 0, &mut found);
    let name = |p: &PathBuf| p.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let of = |p: &PathBuf| name(p).split("__").nth(2).map(str::to_owned).or_else(|| relative(folder, p));
    if found.len() > 1
        && let Some(wanted) = configuration
    {
        found.retain(|p| of(p).as_deref() == Some(wanted));
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(match configuration {
            Some(c) => format!("a zip archive without a model of the configuration {c}"),
            None => {
                "a zip archive without a model: neither plans.json or plans.pkl beside folds nor configs/inference.json is in it".to_owned()
            }
        }),
        several => {
            let names: Vec<String> = several.iter().map(name).collect();
            let first = several.first().and_then(of).unwrap_or_default();
            Err(format!(
                "a zip archive with {} models: {}; choose one with --configuration, such as --configuration {first}",
                several.len(),
                list(&names)
            ))
        }
    }
}

/// The configuration of nnU-Net v1's folders: the first that is one.
fn relative(folder: &Path, model: &Path) -> Option<String> {
    let known = ["2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres"];
    let names = model.strip_prefix(folder).ok()?.components().filter_map(|c| c.as_os_str().to_str());
    names.filter(|n| known.contains(n)).map(str::to_owned).next()
}

/// Folders with plans and folds, and those with a bundle's configs.
fn search(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut children: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.is_dir()).collect();
    children.sort();
    let named = |p: &PathBuf, test: &dyn Fn(&str) -> bool| p.file_name().and_then(|n| n.to_str()).is_some_and(test);
    let plans = folder.join("plans.json").is_file() || folder.join("plans.pkl").is_file();
    let folds = children.iter().any(|p| named(p, &|n| n.starts_with("fold_") || n == "all"));
    if (plans && folds) || crate::monai::is_bundle(folder) {
        found.push(folder.to_owned());
    }
    if depth < limits::UNPACKED_DEPTH {
        children.iter().for_each(|p| search(p, depth + 1, found));
    }
}
