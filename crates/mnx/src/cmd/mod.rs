//! One module per command, and the checks that several of them make first.

pub mod bench;
pub mod completions;
pub mod devices;
pub mod evaluate;
pub mod explain_error;
pub mod inspect;
pub mod place;
pub mod predict;
pub mod record;
pub mod refit;
pub mod run;
pub mod verify;

use std::path::Path;

use mnx_artifact::Bundle;
use mnx_console::{note, warn};
use mnx_runtime::session::default_threads;
use mnx_runtime::{CodeForm, RuntimeError, Session};

use crate::failure::Failure;
use crate::text;

use place::Where;

/// Warns of more threads than cores; the command line has refused absurd numbers.
fn warn_of_threads(asked: Option<usize>) {
    let cores = default_threads();
    if let Some(n) = asked.filter(|n| *n > cores) {
        let of = if cores == 1 { "1 core" } else { &format!("{cores} cores") };
        warn(&format!("--threads {n}: this process may use {of}, and more threads than cores wait for each other"));
    }
}

/// Starts the threads of everything but the network (resampling, accumulating, distances), as many as the network has.
fn start_threads(asked: Option<usize>) -> Result<(), Failure> {
    warn_of_threads(asked);
    let threads = asked.unwrap_or_else(default_threads);
    let started = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    started.map_err(|e| Failure::user("mnx-0218", format!("{} cannot be started: {e}", text::threads(threads))))
}

/// Opens a bundle's program where the user asked for it, and says what was chosen.
fn open_session(bundle: &Bundle, place: &Where) -> Result<Session, Failure> {
    warn_of_threads(place.threads);
    let session = Session::open(bundle, place.device, place.threads, place.isa.as_deref()).map_err(|e| of_bundle(bundle, e))?;
    session.notes().iter().for_each(|n| note(n));
    Ok(session)
}

/// Sessions on every device that the user asked for.
fn open_sessions(bundle: &Bundle, place: &Where) -> Result<Vec<Session>, Failure> {
    let sessions = Session::open_all(bundle, place.device, place.threads, place.isa.as_deref()).map_err(|e| of_bundle(bundle, e))?;
    sessions.iter().flat_map(Session::notes).for_each(|n| note(n));
    Ok(sessions)
}

/// A session's failure with the bundle's name before it.
fn of_bundle(bundle: &Bundle, error: RuntimeError) -> Failure {
    match Failure::from(error) {
        Failure::User(mut p) if !p.message.starts_with(&bundle.path().display().to_string()) => {
            p.message = format!("{}: {}", bundle.path().display(), p.message);
            Failure::User(p)
        }
        other => other,
    }
}

/// Where a session runs, for people: `host, x86-64-v3, 2 threads` or `cuda:0 NVIDIA H100, sm_90a cubin`.
fn machine(session: &Session) -> String {
    let (device, target) = (session.device(), &session.program().target);
    match (session.program().gpu.is_some(), session.form()) {
        (true, CodeForm::Cubin) => format!("{device}, {target} cubin"),
        (true, CodeForm::Code) => format!("{device}, {target} PTX"),
        (false, _) => format!("{device}, {target}, {}", text::threads(session.threads())),
    }
}

/// Where a prediction runs, for reports.
struct Place {
    /// The device's name, the code's target and the threads of the first session.
    device: &'static str,
    target: String,
    threads: usize,
    /// Every device, for people.
    machines: Vec<String>,
}

impl Place {
    fn of(sessions: &[Session]) -> Self {
        let first = sessions.first();
        Self {
            device: first.map_or("none", Session::device_name),
            target: first.map_or_else(String::new, |s| s.program().target.clone()),
            threads: first.map_or(0, Session::threads),
            machines: sessions.iter().map(machine).collect(),
        }
    }
}

/// Refuses an output that could not be written or would replace an input, before any work is done.
fn check_output(output: &Path, inputs: &[&Path]) -> Result<(), Failure> {
    let shown = output.display();
    if output.is_dir() {
        return Err(Failure::user("mnx-0221", format!("{shown}: is a directory, a file name expected")));
    }
    let parent = match output.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    if !parent.is_dir() {
        return Err(Failure::user("mnx-0222", format!("{shown}: there is no directory {}", parent.display())));
    }
    if let Ok(there) = output.canonicalize()
        && inputs.iter().any(|i| i.canonicalize().is_ok_and(|i| i == there))
    {
        return Err(Failure::user("mnx-0223", format!("{shown}: would overwrite an input")));
    }
    // Made and dropped again: the folder takes files, and the name leads to a place for one.
    let refused = |e| Failure::user("mnx-0224", format!("{shown}: cannot be written: {e}"));
    mnx_files::WholeFile::create(output).map(drop).map_err(refused)
}

/// Writes a text file that appears whole or not at all.
fn write_text(path: &Path, content: &str) -> Result<(), Failure> {
    let io = |e: std::io::Error| Failure::user("mnx-0224", format!("{}: {}", path.display(), mnx_words::reason(&e)));
    mnx_files::write(path, content.as_bytes()).map_err(io)
}
