//! A folder of cases, with reading, network and writing overlapped.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use mnx_artifact::Bundle;
use mnx_console::Problem;
use mnx_runtime::{Patches, Session};
use rayon::prelude::*;

use super::Args;
use crate::cmd::predict::case::{self, Ready, Scored, Stored};
use crate::cmd::predict::cases::{self, Found, Refused};
use crate::cmd::predict::done::{State, state};
use crate::cmd::predict::job::Job;
use crate::cmd::predict::model::Model;
use crate::cmd::predict::progress::Cases;
use crate::cmd::predict::report::{Outcome, Report};
use crate::cmd::{Place, open_sessions};
use crate::failure::Failure;

/// A segmentation must not replace an image, which a case called `X_0000` would try.
fn refuse_overwriting(jobs: &mut Vec<Job>, refused: &mut Refused) {
    let inputs: Vec<PathBuf> = jobs.iter().flat_map(|j| &j.inputs).filter_map(|p| p.canonicalize().ok()).collect();
    jobs.retain(|job| {
        let wrong = job.outputs().into_iter().find_map(|o| {
            let shown = o.display();
            if o.canonicalize().is_ok_and(|o| inputs.contains(&o)) {
                return Some(format!("{shown}: would overwrite an input"));
            }
            // Only a link or what is there already can be refused here; the folder itself was tried before.
            let tried = o.symlink_metadata().is_ok().then(|| mnx_files::WholeFile::create(o).err()).flatten();
            tried.map(|e| format!("{shown}: {e}"))
        });
        refused.extend(wrong.iter().map(|why| (job.name.clone(), why.clone())));
        wrong.is_none()
    });
}

/// Leaves out the cases that are done and says which are done again; how many were left out.
fn leave_out_done(model: &Model, jobs: &mut Vec<Job>) -> usize {
    let states: Vec<State> = jobs.par_iter().map(|job| state(model, job)).collect();
    for (job, state) in jobs.iter().zip(&states) {
        if let State::Again(why) = state {
            mnx_console::note(&format!("{} is done again: {why}", job.name));
        }
    }
    let mut states = states.into_iter();
    let before = jobs.len();
    jobs.retain(|_| states.next() != Some(State::Done));
    before - jobs.len()
}

/// The folder of the outputs, with those above it that had to be made. Of these, what stays empty goes again.
struct Outputs {
    /// Outermost first.
    made: Vec<PathBuf>,
}

impl Outputs {
    fn at(folder: &Path) -> Result<Self, Failure> {
        let missing: Vec<PathBuf> =
            folder.ancestors().filter(|f| !f.as_os_str().is_empty()).take_while(|f| !f.exists()).map(Path::to_owned).collect();
        let outputs = Self { made: missing.into_iter().rev().collect() };
        fs::create_dir_all(folder).map_err(|e| Failure::user("mnx-0207", format!("{}: {e}", folder.display())))?;
        mnx_files::try_directory(folder).map_err(|e| Failure::user("mnx-0224", format!("{}: cannot be written: {e}", folder.display())))?;
        Ok(outputs)
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        // The system removes no folder that holds anything.
        self.made.iter().rev().for_each(|folder| drop(fs::remove_dir(folder)));
    }
}

/// Segments every case; failures are told at the end.
pub fn run(args: &Args, quiet: bool, bundle: &Bundle, model: &Model, folder: &Path) -> Result<(), Failure> {
    let Found { mut jobs, refused: mut failed, left_out } = cases::find(args, model, folder)?;
    left_out.iter().for_each(|line| mnx_console::warn(line));
    refuse_overwriting(&mut jobs, &mut failed);
    let found = jobs.len() + failed.len();
    let there = if args.resume { leave_out_done(model, &mut jobs) } else { 0 };
    let mut progress = Cases::new(found, quiet);
    failed.iter().for_each(|(name, _)| progress.untried(name));
    progress.there(there);
    let mut outcome = Outcome { done: Vec::new(), failed, there };
    let mut place = Place::of(&[]);
    // Without a case to try, nothing is loaded and no folder is made.
    if !jobs.is_empty() {
        let _outputs = Outputs::at(&args.output)?;
        let sessions = open_sessions(bundle, &args.place)?;
        place = Place::of(&sessions);
        let segmented = segment_all(args, model, &jobs, sessions, &mut progress);
        progress.finish();
        let (done, more) = segmented?;
        outcome.done = done;
        outcome.failed.extend(more);
    } else {
        progress.finish();
    }
    outcome.failed.sort();
    if args.json || !outcome.done.is_empty() || there > 0 {
        Report { args, quiet, model, place: &place }.folder(&outcome)?;
    }
    let failed = outcome.failed;
    if failed.is_empty() {
        return Ok(());
    }
    let of = mnx_words::many(found, "case");
    let mut problem = Problem::new("mnx-0212", format!("{}: {} of {of} failed", folder.display(), failed.len()));
    problem.notes = failed.iter().map(|(case, why)| format!("{case}: {why}")).collect();
    Err(Failure::User(problem))
}

/// The cases that were done, and those that failed.
type Segmented<'a> = (Vec<(&'a Job, Stored)>, Refused);

/// Segments cases and tells which failed. One case is prepared while another is in the network and a third is written: no queue holds more.
fn segment_all<'a>(
    args: &Args,
    model: &Model,
    jobs: &'a [Job],
    sessions: Vec<Session>,
    progress: &mut Cases,
) -> Result<Segmented<'a>, Failure> {
    let mut patches = Patches::new(sessions, args.check)?;
    let stop = AtomicBool::new(false);
    let warn = progress.warner();
    let (mut done, mut failed) = (Vec::new(), Refused::new());
    let started = |e: std::io::Error| Failure::user("mnx-0218", format!("the threads that read and write cases cannot be started: {e}"));
    thread::scope(|scope| -> Result<(), Failure> {
        let (to_network, prepared) = sync_channel::<(&Job, Result<Ready, Failure>)>(0);
        let (to_writer, scored) = sync_channel::<(&Job, Scored)>(0);
        let (stop, warn) = (&stop, &warn);
        let read = move || {
            for job in jobs {
                let ready = case::prepare(model, job, args.nan_to_num, warn);
                if stop.load(Ordering::Relaxed) || to_network.send((job, ready)).is_err() {
                    break;
                }
            }
        };
        let write = move || scored.into_iter().map(|(job, s)| (job, case::store(model, job, s))).collect::<Vec<_>>();
        let reader = thread::Builder::new().name("mnx-read".to_owned()).spawn_scoped(scope, read).map_err(started)?;
        let writer = thread::Builder::new().name("mnx-write".to_owned()).spawn_scoped(scope, write).map_err(started)?;
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
    })?;
    Ok((done, failed))
}
