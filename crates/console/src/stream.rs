//! Standard output and standard error, written so that a closed or full stream never ends the work.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether `--quiet` was given.
static QUIET: AtomicBool = AtomicBool::new(false);

/// From now on [`note`] and [`warn`] say nothing.
pub fn be_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether notes and progress are unwanted.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// One line on standard error. Nobody can be told when standard error itself is gone, so the line is lost then and the work goes on.
pub fn say(line: &str) {
    line.lines().for_each(|part| tracing::info!(target: crate::log::SAID, "{part}"));
    let mut text = String::with_capacity(line.len() + 1);
    text.push_str(line);
    text.push('\n');
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// `note: ...` on standard error, unless quiet.
pub fn note(line: &str) {
    if !is_quiet() {
        say(&format!("note: {line}"));
    }
}

/// `warning: ...` on standard error, unless quiet.
pub fn warn(line: &str) {
    if !is_quiet() {
        say(&format!("warning: {line}"));
    }
}

/// Text on standard output. A reader that has gone (`mnx inspect m.mnxa | head`) is no failure: the verdict of a command is the same whoever reads.
///
/// # Errors
/// When standard output cannot be written for another reason, such as a full disk.
pub fn emit(text: &str) -> io::Result<()> {
    emit_bytes(text.as_bytes())
}

/// Bytes on standard output, as [`emit`].
///
/// # Errors
/// As [`emit`].
pub fn emit_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    forgive(out.write_all(bytes).and_then(|()| out.flush()))
}

/// What became of writing to standard output, a reader that has gone forgiven.
///
/// # Errors
/// Every other reason.
pub fn forgive(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}
