//! Which files of a folder are which case, and what to say about the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mnx_console::Problem;
use mnx_volume::Foreign;
use mnx_volume::foreign::series;

use super::Args;
use crate::cmd::predict::job::{Job, Saved};
use crate::cmd::predict::model::Model;
use crate::cmd::predict::{is_nifti, stem};
use crate::failure::Failure;

/// What stands between a case and the name of a channel.
const SEPARATORS: [char; 3] = ['-', '_', '.'];
/// Names that a message lists.
const LISTED: usize = 3;

/// Cases that cannot be tried, each with its reason.
pub type Refused = Vec<(String, String)>;

/// What a folder holds.
pub struct Found {
    /// Cases with all their files, in order of name.
    pub jobs: Vec<Job>,
    /// Cases and scans that cannot be tried.
    pub refused: Refused,
    /// What is left out, and why.
    pub left_out: Vec<String>,
}

/// How the files of a folder are named.
enum Naming<'a> {
    /// `CASE_0001.nii.gz`.
    Numbers,
    /// `CASE-t2w.nii.gz`, by `--channels`.
    Suffixes(&'a [String]),
}

impl Naming<'_> {
    /// Bytes of a stem that are the case, and the channel that the rest names.
    fn split(&self, stem: &str) -> Option<(usize, usize)> {
        let (length, channel) = match self {
            Self::Numbers => {
                let (case, digits) = stem.rsplit_once('_')?;
                if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return None;
                }
                (case.len(), digits.parse().ok()?)
            }
            Self::Suffixes(suffixes) => {
                let of = |(c, suffix): (usize, &String)| ends_in(stem, suffix).map(|case| (case, c));
                // A suffix may end in another: the longer one is meant, which leaves the shorter case.
                suffixes.iter().enumerate().filter_map(of).min()?
            }
        };
        (length > 0).then_some((length, channel))
    }

    /// The name of a channel's file beside another file of its case.
    fn sibling(&self, path: &Path, channel: usize) -> PathBuf {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let bare = name_of(path);
        let ending = &name[bare.len()..];
        let tag = match self {
            Self::Numbers => format!("{channel:04}"),
            Self::Suffixes(suffixes) => suffixes.get(channel).cloned().unwrap_or_default(),
        };
        match self.split(&bare) {
            // One byte more: the separator.
            Some((case, _)) => path.with_file_name(format!("{}{tag}{ending}", &bare[..=case])),
            None => path.with_file_name(format!("{bare}_{tag}{ending}")),
        }
    }
}

/// Bytes of a stem before a separator and this suffix, in upper or lower case.
fn ends_in(stem: &str, suffix: &str) -> Option<usize> {
    let at = stem.len().checked_sub(suffix.len())?;
    let (case, tail) = (stem.get(..at)?, stem.get(at..)?);
    let case = tail.eq_ignore_ascii_case(suffix).then(|| case.strip_suffix(SEPARATORS)).flatten()?;
    (!case.is_empty()).then_some(case.len())
}

/// A file's name without `.nii` or `.nii.gz`.
fn name_of(path: &Path) -> String {
    stem(path).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Everything in a folder but hidden files (`._CASE_0000.nii.gz` of a Mac), in order of name.
#[derive(Default)]
struct Listing {
    volumes: Vec<PathBuf>,
    others: Vec<PathBuf>,
    folders: Vec<PathBuf>,
    /// Volumes by name that are no files.
    odd: Vec<String>,
}

fn list(folder: &Path) -> Result<Listing, Failure> {
    let io = |e: std::io::Error| Failure::user("mnx-0207", format!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).map_err(io)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(io)?;
    paths.retain(|p| !p.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b".")));
    paths.sort();
    let mut listing = Listing::default();
    for path in paths {
        match (fs::metadata(&path), is_nifti(&path)) {
            // A link to nowhere is a case whose file is missing: reading says so.
            (Err(_), true) => listing.volumes.push(path),
            (Ok(meta), true) if meta.is_file() => listing.volumes.push(path),
            (Ok(meta), true) => {
                let what = if meta.is_dir() { "a folder" } else { "a pipe or a device" };
                listing.odd.push(format!("{}: {what}, a file expected; left out", path.display()));
            }
            (Ok(meta), false) if meta.is_file() => listing.others.push(path),
            (Ok(meta), false) if meta.is_dir() => listing.folders.push(path),
            (Ok(_) | Err(_), false) => {}
        }
    }
    Ok(listing)
}

/// Checks `--channels` against the model.
pub fn check_channels(args: &Args, model: &Model) -> Result<(), Failure> {
    let given = &args.channels;
    let problem = |what: String| Err(Failure::user("mnx-0210", format!("--channels {}: {what}", given.join(","))));
    if given.is_empty() {
        return Ok(());
    }
    if given.len() != model.channels {
        return problem(format!("{}, the model takes {}", mnx_words::many(given.len(), "channel"), model.takes()));
    }
    for (i, suffix) in given.iter().enumerate() {
        if suffix.is_empty() || suffix.contains('/') || suffix.starts_with(SEPARATORS) {
            return problem(format!(
                "\"{suffix}\" is no ending of a name; for example t1n for CASE-t1n.nii.gz or CASE_t1n.nii.gz expected"
            ));
        }
        if given[..i].iter().any(|other| other.eq_ignore_ascii_case(suffix)) {
            return problem(format!("{suffix} is there twice"));
        }
    }
    Ok(())
}

/// The cases of a folder.
///
/// # Errors
/// When it cannot be read or there is none, with what is there instead.
pub fn find(args: &Args, model: &Model, folder: &Path) -> Result<Found, Failure> {
    let listing = list(folder)?;
    let naming = if args.channels.is_empty() { Naming::Numbers } else { Naming::Suffixes(&args.channels) };
    let mut found: BTreeMap<String, BTreeMap<usize, PathBuf>> = BTreeMap::new();
    let mut refused = Refused::new();
    let mut unnamed = Vec::new();
    let mut put = |case: &str, channel: usize, path: &Path| {
        if let Some(other) = found.entry(case.to_owned()).or_default().insert(channel, path.to_owned()) {
            let what = format!("{} and {} are both {}", other.display(), path.display(), model.channel(channel));
            refused.push((case.to_owned(), what));
        }
    };
    for path in &listing.volumes {
        let name = name_of(path);
        match naming.split(&name) {
            Some((case, channel)) => put(&name[..case], channel, path),
            None => unnamed.push(path),
        }
    }
    if model.channels == 1 && matches!(naming, Naming::Numbers) {
        let numbered: Vec<PathBuf> = listing.volumes.iter().filter(|p| naming.split(&name_of(p)).is_some()).cloned().collect();
        let same_folder = args.output.canonicalize().is_ok_and(|o| folder.canonicalize().is_ok_and(|f| f == o));
        let is_output = |name: &str| {
            let of = |p: &PathBuf| naming.split(&name_of(p)).is_some_and(|(case, _)| name_of(p)[..case] == *name);
            same_folder && numbered.iter().any(of)
        };
        for path in std::mem::take(&mut unnamed) {
            let name = name_of(path);
            // In a folder that is the output's too, CASE.nii.gz is what an earlier run made of CASE_0000.nii.gz.
            if !is_output(&name) {
                put(&name, 0, path);
            }
        }
    }
    let mut jobs = Vec::new();
    for (case, files) in found {
        if refused.iter().any(|(name, _)| *name == case) {
            continue;
        }
        match missing(model, &naming, &files) {
            Some(why) => refused.push((case, why)),
            None => jobs.push(job(args, case, files.into_values().collect())),
        }
    }
    let foreign: Vec<(&Path, Foreign)> = listing.others.iter().filter_map(|p| Some((p.as_path(), Foreign::of_file(p)?))).collect();
    let others = Others { listing: &listing, unnamed: &unnamed, foreign: &foreign };
    if jobs.is_empty() && refused.is_empty() {
        return Err(Failure::User(nothing(args, model, folder, &others)));
    }
    // A converted scan beside what it was made from is the case.
    let converted = |path: &Path| {
        let made = path.with_extension("");
        [".nii", ".nii.gz"].iter().any(|ending| listing.volumes.contains(&PathBuf::from(format!("{}{ending}", made.display()))))
    };
    for (path, format) in foreign.iter().filter(|(path, format)| format.is_scan() && !converted(path)) {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        refused.push((name, format!("{}: {}", path.display(), format.why(path))));
    }
    let left_out = left_out(args, model, folder, &others);
    Ok(Found { jobs, refused, left_out })
}

/// What a case lacks, or has too much of.
fn missing(model: &Model, naming: &Naming<'_>, files: &BTreeMap<usize, PathBuf>) -> Option<String> {
    let (last, any) = files.last_key_value()?;
    if let Some(channel) = (0..model.channels).find(|c| !files.contains_key(c)) {
        return Some(format!("{} is missing: {} expected", model.channel(channel), naming.sibling(any, channel).display()));
    }
    (*last >= model.channels).then(|| format!("{} is one too many: the model takes {}", any.display(), model.takes()))
}

fn job(args: &Args, name: String, inputs: Vec<PathBuf>) -> Job {
    let ending = if inputs.first().is_some_and(|p| p.to_string_lossy().ends_with(".gz")) { ".nii.gz" } else { ".nii" };
    let segmentation = args.output.join(format!("{name}{ending}"));
    let saved = args.save_probabilities.then(|| Saved::beside(&segmentation));
    Job { name, inputs, segmentation, saved, probabilities: None, picture: None }
}

/// The first names of some files.
fn some(paths: &[&Path]) -> String {
    let names: Vec<String> = paths.iter().take(LISTED).filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect();
    if paths.len() > LISTED { format!("{}, ...", names.join(", ")) } else { names.join(", ") }
}

/// `--channels` as the files of a folder would have it, if for each of the bundle's channel names there is one that ends in it.
fn suggestion(model: &Model, unnamed: &[&PathBuf]) -> Option<String> {
    if model.channel_names.len() != model.channels {
        return None;
    }
    let spelled = |name: &String| {
        unnamed.iter().find_map(|path| {
            let stem = name_of(path);
            ends_in(&stem, name).map(|case| stem[case + 1..].to_owned())
        })
    };
    let suffixes: Vec<String> = model.channel_names.iter().map(spelled).collect::<Option<_>>()?;
    Some(format!("names end in the model's channels ({}): add --channels {}", model.channel_names.join(", "), suffixes.join(",")))
}

/// What a folder holds beside cases.
#[derive(Clone, Copy)]
struct Others<'a> {
    listing: &'a Listing,
    /// NIfTI files that are not named by case and channel.
    unnamed: &'a [&'a PathBuf],
    /// Files of other formats.
    foreign: &'a [(&'a Path, Foreign)],
}

/// Why there are no cases.
fn nothing(args: &Args, model: &Model, folder: &Path, others: &Others<'_>) -> Problem {
    let Others { listing, unnamed, foreign } = *others;
    let shown = folder.display();
    let mut formats: BTreeMap<Foreign, Vec<&Path>> = BTreeMap::new();
    for (path, format) in foreign {
        formats.entry(*format).or_default().push(path);
    }
    if unnamed.is_empty() && !formats.is_empty() {
        let mut problem = Problem::new("mnx-0209", format!("{shown}: no NIfTI files, but {} of other formats", files(foreign.len())));
        for (format, paths) in &formats {
            let what = format!("{} (of {})", some(paths), files(paths.len()));
            let what = if paths.len() <= LISTED { some(paths) } else { what };
            problem = match (format, paths.first()) {
                (Foreign::Dicom, _) => problem.note(format!("{what}: DICOM; {}", series(folder))),
                (_, Some(first)) => problem.note(format!("{what}: {}", format.why(first))),
                (_, None) => problem,
            };
        }
        return problem;
    }
    if unnamed.is_empty()
        && let Some(inside) = listing.folders.iter().take(8).find(|f| holds_dicom(f))
    {
        let what = format!("{shown}: no NIfTI files, but folders of DICOM files such as {}", inside.display());
        return Problem::new("mnx-0209", what).note(series(inside));
    }
    let expected = match (&args.channels[..], model.channels) {
        ([], 1) => "files CASE.nii.gz or CASE_0000.nii.gz".to_owned(),
        ([], _) => format!("files CASE_0000.nii.gz, CASE_0001.nii.gz, ... (one per channel: {})", model.takes()),
        (suffixes, _) => format!("files {}", suffixes.iter().map(|s| format!("CASE-{s}.nii.gz")).collect::<Vec<_>>().join(", ")),
    };
    let mut problem = Problem::new("mnx-0208", format!("{shown}: no cases; {expected} expected"));
    if !unnamed.is_empty() {
        let paths: Vec<&Path> = unnamed.iter().map(|p| p.as_path()).collect();
        problem = problem.note(format!("{} of other names: {}", nifti_files(paths.len()), some(&paths)));
    }
    problem.notes.extend(listing.odd.iter().cloned());
    if let Some(line) = suggestion(model, unnamed).filter(|_| args.channels.is_empty()) {
        problem = problem.note(line);
    }
    problem
}

/// Lines about files that are no cases, beside cases.
fn left_out(args: &Args, model: &Model, folder: &Path, others: &Others<'_>) -> Vec<String> {
    let Others { listing, unnamed, foreign } = *others;
    let mut lines = listing.odd.clone();
    if !unnamed.is_empty() {
        let paths: Vec<&Path> = unnamed.iter().map(|p| p.as_path()).collect();
        let (whose, are) = (if args.channels.is_empty() { "CASE_0000.nii.gz, ..." } else { "--channels" }, is_or_are(paths.len()));
        lines.push(format!("{} {are} not named by channel ({whose}) and left out: {}", nifti_files(paths.len()), some(&paths)));
        lines.extend(suggestion(model, unnamed).filter(|_| args.channels.is_empty()));
    }
    let dicom = foreign.iter().filter(|(_, format)| *format == Foreign::Dicom).count();
    if dicom > 0 {
        let which = mnx_words::many(dicom, "DICOM file");
        lines.push(format!("{which} in {} {} left out; {}", folder.display(), is_or_are(dicom), series(folder)));
    }
    let flat: Vec<&Path> = foreign.iter().filter(|(_, f)| !f.is_scan() && *f != Foreign::Dicom).map(|(p, _)| *p).collect();
    if !flat.is_empty() {
        lines.push(format!("{} of other formats {} left out: {}", files(flat.len()), is_or_are(flat.len()), some(&flat)));
    }
    lines
}

fn files(n: usize) -> String {
    mnx_words::many(n, "file")
}

fn nifti_files(n: usize) -> String {
    mnx_words::many(n, "NIfTI file")
}

fn is_or_are(n: usize) -> &'static str {
    if n == 1 { "is" } else { "are" }
}

/// Whether one of a folder's first files is DICOM.
fn holds_dicom(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().take(16).any(|e| Foreign::of_file(&e.path()) == Some(Foreign::Dicom))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_named_as_nnunet_names_them() {
        let case = |name: &str| {
            let stem = name_of(&Path::new("some/where").join(name));
            Naming::Numbers.split(&stem).map(|(n, channel)| (stem[..n].to_owned(), channel))
        };
        assert_eq!(case("liver_12_0000.nii.gz"), Some(("liver_12".to_owned(), 0)));
        assert_eq!(case("a_0013.nii"), Some(("a".to_owned(), 13)));
        for wrong in ["a.nii.gz", "a_000.nii.gz", "a_00000.nii.gz", "_0000.nii.gz", "a_00x0.nii.gz", "a_+001.nii"] {
            assert_eq!(case(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn suffixes_name_channels_behind_any_separator() {
        let suffixes: Vec<String> = ["t1", "post-t1", "T2w"].map(str::to_owned).into();
        let naming = Naming::Suffixes(&suffixes);
        let case = |stem: &str| naming.split(stem).map(|(n, channel)| (stem[..n].to_owned(), channel));
        assert_eq!(case("BraTS-0001-t1"), Some(("BraTS-0001".to_owned(), 0)));
        assert_eq!(case("BraTS-0001-post-t1"), Some(("BraTS-0001".to_owned(), 1)));
        assert_eq!(case("a.b_t2W"), Some(("a.b".to_owned(), 2)));
        assert_eq!(case("köpf.T1"), Some(("köpf".to_owned(), 0)));
        for wrong in ["t1", "-t1", "at1", "a-t1c", "a_0000", "", "ö"] {
            assert_eq!(case(wrong), None, "{wrong}");
        }
        assert_eq!(naming.sibling(Path::new("d/x_t1.nii"), 2), Path::new("d/x_T2w.nii"));
        assert_eq!(Naming::Numbers.sibling(Path::new("x_0000.nii.gz"), 1), Path::new("x_0001.nii.gz"));
    }
}
