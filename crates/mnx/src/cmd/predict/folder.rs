//! A folder of cases under nnU-Net's names, with reading, network and writing overlapped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use mnx_artifact::Bundle;
use mnx_runtime::Patches;

use crate::cli::Predict;
use crate::cmd::predict::case::{self, Job, Ready, Saved, Scored, Stored};
use crate::cmd::predict::model::Model;
use crate::cmd::predict::progress::Cases;
use crate::cmd::predict::{is_nifti, report, stem};
use crate::cmd::{Place, open_sessions};
use crate::failure::Failure;

/// Cases that cannot be tried, each with its reason.
type Refused = Vec<(String, String)>;

/// The cases of a folder: files `CASE_0000.nii.gz`, `CASE_0001.nii.gz`, ..., one per channel; hidden files (`._CASE_0000.nii.gz` of a Mac)
/// are passed over.
fn cases(folder: &Path, output: &Path, channels: usize, save: bool) -> Result<(Vec<Job>, Refused, usize), Failure> {
    let io = |e: std::io::Error| Failure::user("mnx-0201", format!("{}: {e}", folder.display()));
    let mut found: BTreeMap<String, BTreeMap<usize, PathBuf>> = BTreeMap::new();
    let mut refused = Refused::new();
    let mut unnamed = 0;
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let hidden = path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
        if hidden || !is_nifti(&path) || path.is_dir() {
            continue;
        }
        let Some((case, channel)) = case_of(&path) else {
            unnamed += 1;
            continue;
        };
        if let Some(other) = found.entry(case.clone()).or_default().insert(channel, path.clone()) {
            refused.push((case, format!("{} and {} are the same channel", other.display(), path.display())));
        }
    }
    let mut jobs = Vec::new();
    for (case, files) in found {
        if refused.iter().any(|(name, _)| *name == case) {
            continue;
        }
        let missing = (0..channels).find(|c| !files.contains_key(c));
        let surplus = files.keys().find(|c| **c >= channels);
        if let Some(channel) = missing.or(surplus.copied()) {
            let what = if missing.is_some() { "is missing" } else { "is one too many" };
            refused.push((case.clone(), format!("channel {channel:04} {what}, the model takes {channels} from 0000 on")));
            continue;
        }
        let inputs: Vec<PathBuf> = files.into_values().collect();
        let ending = if inputs[0].to_string_lossy().ends_with(".gz") { ".nii.gz" } else { ".nii" };
        let segmentation = output.join(format!("{case}{ending}"));
        let saved = save.then(|| Saved::beside(&segmentation));
        jobs.push(Job { name: case, inputs, segmentation, saved, probabilities: None, picture: None });
    }
    Ok((jobs, refused, unnamed))
}

/// `CASE` and 1 of `FOLDER/CASE_0001.nii.gz`.
fn case_of(path: &Path) -> Option<(String, usize)> {
    let stem = stem(path);
    let (case, channel) = stem.file_name()?.to_str()?.rsplit_once('_')?;
    let digits = channel.len() == 4 && channel.bytes().all(|b| b.is_ascii_digit());
    if case.is_empty() || !digits { None } else { Some((case.to_owned(), channel.parse().ok()?)) }
}

/// A segmentation must not replace an image, which a case called `X_0000` would try.
fn refuse_overwriting(jobs: &mut Vec<Job>, refused: &mut Refused) {
    let inputs: Vec<PathBuf> = jobs.iter().flat_map(|j| &j.inputs).filter_map(|p| p.canonicalize().ok()).collect();
    jobs.retain(|job| {
        let hit = job.outputs().iter().any(|o| o.canonicalize().is_ok_and(|o| inputs.contains(&o)));
        if hit {
            refused.push((job.name.clone(), format!("{}: would overwrite an input", job.segmentation.display())));
        }
        !hit
    });
}

/// Segments every case; failures are told at the end.
pub fn run(args: &Predict, quiet: bool, bundle: &Bundle, model: &Model, folder: &Path) -> Result<(), Failure> {
    let (mut jobs, mut failed, unnamed) = cases(folder, &args.output, model.channels, args.save_probabilities)?;
    if jobs.is_empty() && failed.is_empty() {
        return Err(Failure::user(
            "mnx-0201",
            format!(
                "{}: no cases; files CASE_0000.nii.gz, CASE_0001.nii.gz, ... (one per channel) expected, {unnamed} NIfTI files have other names",
                folder.display()
            ),
        ));
    }
    if unnamed > 0 && !quiet {
        mnx_console::note(&format!("{unnamed} NIfTI files without a channel in their names (CASE_0000.nii.gz) are left out"));
    }
    fs::create_dir_all(&args.output).map_err(|e| Failure::user("mnx-0201", format!("{}: {e}", args.output.display())))?;
    refuse_overwriting(&mut jobs, &mut failed);
    let found = jobs.len() + failed.len();
    let listed = jobs.len();
    if args.resume {
        jobs.retain(|job| !job.done());
    }
    let there = listed - jobs.len();
    let sessions = open_sessions(bundle, &args.place)?;
    let place = Place::of(&sessions);
    let mut patches = Patches::new(sessions, args.check)?;
    let mut progress = Cases::new(found, quiet);
    failed.iter().for_each(|(name, _)| progress.untried(name));
    progress.there(there);
    let stop = AtomicBool::new(false);
    let mut done: Vec<(&Job, Stored)> = Vec::new();
    // One case is prepared while another is in the network and a third is written: no queue holds more.
    let outcome = thread::scope(|scope| -> Result<(), Failure> {
        let (to_network, prepared) = sync_channel::<(&Job, Result<Ready, Failure>)>(0);
        let (to_writer, scored) = sync_channel::<(&Job, Scored)>(0);
        let (jobs, stop) = (&jobs, &stop);
        let reader = scope.spawn(move || {
            for job in jobs {
                let ready = case::prepare(model, job, args.nan_to_num);
                if stop.load(Ordering::Relaxed) || to_network.send((job, ready)).is_err() {
                    break;
                }
            }
        });
        let writer = scope.spawn(move || scored.into_iter().map(|(job, s)| (job, case::store(model, job, s))).collect::<Vec<_>>());
        let mut ended = Ok(());
        for (job, ready) in prepared {
            progress.begin(&job.name);
            let result = ready.and_then(|ready| case::segment(model, &mut patches, job, ready, &mut |n, all| progress.patches(n, all)));
            progress.end(&job.name, result.is_err());
            // A case that stopped half way leaves patches in the queue; a device that is lost fails the next case too, with its reason.
            if result.is_err() {
                let _ = patches.clear();
            }
            match result {
                Ok(case) => {
                    if to_writer.send((job, case)).is_err() {
                        break;
                    }
                }
                Err(Failure::User(problem)) => failed.push((job.name.clone(), problem.message)),
                Err(other) => {
                    stop.store(true, Ordering::Relaxed);
                    ended = Err(other);
                    break;
                }
            }
        }
        drop(to_writer);
        let panicked = |_| Failure::Bug("a thread that reads or writes cases has panicked".to_owned());
        reader.join().map_err(panicked)?;
        for (job, stored) in writer.join().map_err(panicked)? {
            match stored {
                Ok(stored) => done.push((job, stored)),
                Err(Failure::User(problem)) => failed.push((job.name.clone(), problem.message)),
                Err(other) => ended = Err(other),
            }
        }
        ended
    });
    progress.finish();
    outcome?;
    failed.sort();
    report::folder(args, quiet, model, &done, &failed, there, &place)?;
    if failed.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = failed.iter().map(|(case, why)| format!("  {case}: {why}")).collect();
    Err(Failure::user("mnx-0201", format!("{} of {found} cases failed:\n{}", failed.len(), lines.join("\n"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_named_as_nnunet_names_them() {
        let case = |name: &str| case_of(Path::new("some/where").join(name).as_path());
        assert_eq!(case("liver_12_0000.nii.gz"), Some(("liver_12".to_owned(), 0)));
        assert_eq!(case("a_0013.nii"), Some(("a".to_owned(), 13)));
        for wrong in ["a.nii.gz", "a_000.nii.gz", "a_00000.nii.gz", "_0000.nii.gz", "a_00x0.nii.gz", "a_+001.nii"] {
            assert_eq!(case(wrong), None, "{wrong}");
        }
    }
}
