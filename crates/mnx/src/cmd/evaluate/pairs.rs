//! Which prediction belongs to which reference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A case: two files.
pub struct Pair {
    /// The file name without `.nii` or `.nii.gz`.
    pub case: String,
    /// The prediction's file.
    pub prediction: PathBuf,
    /// The reference's file.
    pub reference: PathBuf,
}

/// A case that could not be compared, and why.
pub struct Failed {
    /// Its name.
    pub case: String,
    /// One line.
    pub reason: String,
}

/// The pairs of two folders (by name) or of two files (whatever their names), and what has no partner; both in order of name.
///
/// # Errors
/// When one is a folder and the other a file, a folder cannot be read, has no volumes, or has one case twice.
pub fn find(prediction: &Path, reference: &Path) -> Result<(Vec<Pair>, Vec<Failed>), Failure> {
    for path in [prediction, reference] {
        if let Err(e) = std::fs::metadata(path) {
            return Err(Failure::user("mnx-0301", format!("{}: {}", path.display(), mnx_words::reason(&e))));
        }
    }
    match (prediction.is_dir(), reference.is_dir()) {
        (true, true) => in_folders(prediction, reference),
        (false, false) => {
            let name = prediction.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let case = case_of(&name).unwrap_or(&name).to_owned();
            Ok((vec![Pair { case, prediction: prediction.to_owned(), reference: reference.to_owned() }], Vec::new()))
        }
        (folder, _) => {
            let (folder, file) = if folder { (prediction, reference) } else { (reference, prediction) };
            let (folder, file) = (folder.display(), file.display());
            Err(Failure::user("mnx-0301", format!("{folder}: is a folder and {file} a file, two folders or two files expected")))
        }
    }
}

fn in_folders(prediction: &Path, reference: &Path) -> Result<(Vec<Pair>, Vec<Failed>), Failure> {
    let (mut predictions, mut references) = (volumes(prediction)?, volumes(reference)?);
    let names: BTreeSet<String> = predictions.keys().chain(references.keys()).cloned().collect();
    let (mut pairs, mut failed) = (Vec::new(), Vec::new());
    for case in names {
        match (predictions.remove(&case), references.remove(&case)) {
            (Some(prediction), Some(reference)) => pairs.push(Pair { case, prediction, reference }),
            (None, Some(there)) => failed.push(alone(case, "prediction", prediction, &there)),
            (Some(there), None) => failed.push(alone(case, "reference", reference, &there)),
            (None, None) => {}
        }
    }
    Ok((pairs, failed))
}

fn alone(case: String, what: &str, folder: &Path, there: &Path) -> Failed {
    let name = there.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Failed { case, reason: format!("no {what}: {} expected beside {}", folder.join(name).display(), there.display()) }
}

/// The case that a file name stands for, if it is a volume's.
fn case_of(name: &str) -> Option<&str> {
    name.strip_suffix(".nii.gz").or_else(|| name.strip_suffix(".nii")).filter(|case| !case.is_empty() && !case.starts_with('.'))
}

/// The volumes of a folder by case; hidden files are passed over.
fn volumes(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let io = |e: std::io::Error| Failure::user("mnx-0301", format!("{}: {}", folder.display(), mnx_words::reason(&e)));
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(case) = case_of(&name).filter(|_| !path.is_dir()) else { continue };
        if let Some(other) = out.insert(case.to_owned(), path.clone()) {
            return Err(Failure::user("mnx-0301", format!("case {case} is there twice: {} and {}", other.display(), path.display())));
        }
    }
    if out.is_empty() {
        return Err(Failure::user("mnx-0301", format!("{}: no .nii or .nii.gz files in this folder", folder.display())));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_file_names_without_the_suffix() {
        assert_eq!(case_of("a.b.nii.gz"), Some("a.b"));
        assert_eq!(case_of("a.nii"), Some("a"));
        for no in ["a.gz", "a.nrrd", ".nii.gz", "._a.nii.gz", "nii"] {
            assert_eq!(case_of(no), None, "{no}");
        }
    }
}
