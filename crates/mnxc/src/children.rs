//! Programs that mnxc runs: none is left behind when a signal ends it.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

/// Process groups that are running, each named by its first process.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn running() -> MutexGuard<'static, BTreeSet<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A signal ends mnxc with 128 and its number, its children first; no output is left half written.
pub fn end_on_signals() {
    if let Err(e) = mnx_files::end_on_signals(stop) {
        mnx_console::warn(&format!("an interrupted run may leave hidden files behind: no handler for signals can be made: {e}"));
    }
}

/// Ends every child and its children. The list stays locked, so that nobody reports how they ended, or starts another, before the process
/// ends.
fn stop() {
    let running = running();
    for pid in running.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
        let _ = kill_process_group(pid, Signal::TERM);
    }
    std::mem::forget(running);
}

/// Runs a program to its end and keeps what it says.
///
/// # Errors
/// When it cannot be started.
pub fn output(command: &mut Command) -> io::Result<Output> {
    let child = start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let pid = child.id();
    let output = child.wait_with_output();
    running().remove(&pid);
    output
}

/// Runs a program to its end.
///
/// # Errors
/// When it cannot be started.
pub fn status(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = start(command)?;
    let status = child.wait();
    running().remove(&child.id());
    status
}

/// A child in a group of its own: what it starts is stopped with it.
fn start(command: &mut Command) -> io::Result<Child> {
    let mut running = running();
    let child = command.process_group(0).spawn()?;
    running.insert(child.id());
    Ok(child)
}
