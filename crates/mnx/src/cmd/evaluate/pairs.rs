//! Which prediction belongs to which reference.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mnx_console::Problem;
use mnx_volume::Foreign;
use mnx_volume::foreign::stem;

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
    /// Name of the case.
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
            return Err(Failure::user("mnx-0232", format!("{}: {}", path.display(), mnx_words::reason(&e))));
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
            Err(Failure::user("mnx-0231", format!("{folder}: is a folder and {file} a file, two folders or two files expected")))
        }
    }
}

/// The volumes of a folder by case, and the files of other formats by the case that they might be.
struct Volumes {
    nifti: BTreeMap<String, PathBuf>,
    foreign: BTreeMap<String, (PathBuf, Foreign)>,
}

fn in_folders(prediction: &Path, reference: &Path) -> Result<(Vec<Pair>, Vec<Failed>), Failure> {
    let (mut predictions, mut references) = (volumes(prediction)?, volumes(reference)?);
    let names: BTreeSet<String> = predictions.nifti.keys().chain(references.nifti.keys()).cloned().collect();
    let (mut pairs, mut failed) = (Vec::new(), Vec::new());
    for case in names {
        match (predictions.nifti.remove(&case), references.nifti.remove(&case)) {
            (Some(prediction), Some(reference)) => pairs.push(Pair { case, prediction, reference }),
            (None, Some(there)) => failed.push(alone(case, "prediction", prediction, &there, &predictions)),
            (Some(there), None) => failed.push(alone(case, "reference", reference, &there, &references)),
            (None, None) => {}
        }
    }
    Ok((pairs, failed))
}

/// A case whose partner is missing, or is there in a format that is not read.
fn alone(case: String, what: &str, folder: &Path, there: &Path, volumes: &Volumes) -> Failed {
    if let Some((path, format)) = volumes.foreign.get(&case) {
        return Failed { case, reason: format!("{}: {}", path.display(), format.why(path)) };
    }
    let name = there.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Failed { case, reason: format!("no {what}: {} expected beside {}", folder.join(name).display(), there.display()) }
}

/// The case that a file name stands for, if it is a volume's.
fn case_of(name: &str) -> Option<&str> {
    name.strip_suffix(".nii.gz").or_else(|| name.strip_suffix(".nii")).filter(|case| !case.is_empty() && !case.starts_with('.'))
}

/// Only files count, and links to them; hidden ones are passed over. Pipes and folders under a volume's name are told.
fn volumes(folder: &Path) -> Result<Volumes, Failure> {
    let io = |e: std::io::Error| Failure::user("mnx-0232", format!("{}: {}", folder.display(), mnx_words::reason(&e)));
    let mut out = Volumes { nifti: BTreeMap::new(), foreign: BTreeMap::new() };
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).map_err(io)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(io)?;
    paths.sort();
    let mut others = 0;
    for path in paths {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        // A link to nowhere is a case that fails when it is read.
        let file = std::fs::metadata(&path).map_or(true, |m| m.is_file());
        match case_of(&name) {
            Some(_) if !file => mnx_console::warn(&format!("{}: no file, left out", path.display())),
            Some(case) => {
                if let Some(other) = out.nifti.insert(case.to_owned(), path.clone()) {
                    let both = format!("{} and {}", other.display(), path.display());
                    return Err(Failure::user("mnx-0233", format!("case {case} is there twice: {both}")));
                }
            }
            None => {
                if let Some(format) = Foreign::of_file(&path).filter(|_| file && !name.starts_with('.')) {
                    others += 1;
                    let place = out.foreign.entry(stem(&path)).or_insert_with(|| (path.clone(), format));
                    // Pictures and arrays lie beside a case for other reasons.
                    if format.is_scan() {
                        *place = (path, format);
                    }
                }
            }
        }
    }
    if !out.nifti.is_empty() {
        return Ok(out);
    }
    let shown = folder.display();
    let Some((path, format)) = out.foreign.values().next() else {
        return Err(Failure::user("mnx-0234", format!("{shown}: no .nii or .nii.gz files in this folder")));
    };
    let n = mnx_words::many(others, "file");
    let problem = Problem::new("mnx-0235", format!("{shown}: no NIfTI files, but {n} of other formats"));
    Err(Failure::User(problem.note(format!("{}: {}", path.display(), format.why(path)))))
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
