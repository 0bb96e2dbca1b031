//! Reading whole text files and writing whole files: under a temporary name first, so that nothing partial is ever left.

use std::fs;
use std::path::Path;

use crate::report::{Failure, Outcome, emit_bytes, system_reason};

/// Text inputs (configs, graphs, plans) beyond this size are not ours.
const MAX_TEXT: u64 = 256 << 20;

/// Reads a text file.
///
/// # Errors
/// If it cannot be read, is not UTF-8 or is absurdly large; the file is named.
pub fn read_text(path: &Path) -> Outcome<String> {
    let io = |e: std::io::Error| Failure::user("mnxc-0001", path.display(), system_reason(&e.to_string()));
    let meta = fs::metadata(path).map_err(io)?;
    if meta.is_dir() {
        return Err(Failure::user("mnxc-0001", path.display(), "is a directory, a text file was expected"));
    }
    if meta.len() > MAX_TEXT {
        let message = format!("has {} bytes; a text file of at most {MAX_TEXT} was expected", meta.len());
        return Err(Failure::user("mnxc-0001", path.display(), message));
    }
    let bytes = fs::read(path).map_err(io)?;
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Failure::user("mnxc-0001", path.display(), format!("is not a text file: byte {at} is not UTF-8"))
    })
}

/// The directory a file will be written into.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// Checks before long work that an output can be written later.
///
/// # Errors
/// If the path is a directory, or its directory does not exist.
pub fn check_output(path: &Path) -> Outcome {
    if path.is_dir() {
        return Err(Failure::user("mnxc-0002", path.display(), "cannot write the output: this is a directory"));
    }
    let dir = directory(path);
    if !dir.is_dir() {
        let message = format!("cannot write the output: directory {} does not exist", dir.display());
        return Err(Failure::user("mnxc-0002", path.display(), message));
    }
    Ok(())
}

/// Writes a file that appears whole or not at all.
///
/// # Errors
/// If it cannot be written; no file is left then.
pub fn write(path: &Path, bytes: &[u8]) -> Outcome {
    let io = |e: std::io::Error| Failure::user("mnxc-0002", path.display(), system_reason(&e.to_string()));
    mnx_files::write(path, bytes).map_err(io)
}

/// A folder for files of this run alone.
///
/// # Errors
/// If the system's directory for temporary files takes none; it is named.
pub fn scratch_folder() -> Outcome<mnx_files::ScratchFolder> {
    let place = std::env::temp_dir();
    mnx_files::ScratchFolder::create().map_err(|e| Failure::user("mnxc-0002", place.display(), system_reason(&e.to_string())))
}

/// Writes to a file, or to stdout if there is none or it is `-`.
///
/// # Errors
/// As [`write()`] and [`crate::report::emit`].
pub fn write_or_emit(path: Option<&Path>, bytes: &[u8]) -> Outcome {
    match path {
        Some(p) if p != Path::new("-") => write(p, bytes),
        _ => emit_bytes(bytes),
    }
}
