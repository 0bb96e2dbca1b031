//! One module per command, and the checks that several of them make first.

pub mod bench;
pub mod completions;
pub mod evaluate;
pub mod inspect;
pub mod predict;
pub mod refit;
pub mod run;
pub mod verify;

use std::io::Write;
use std::path::Path;

use mnx_artifact::Bundle;
use mnx_runtime::Session;

use crate::cli::Where;
use crate::failure::Failure;

/// Opens a bundle's program where the user asked for it.
fn open_session(bundle: &Bundle, place: &Where) -> Result<Session, Failure> {
    Session::open(bundle, place.device, place.threads, place.isa.as_deref()).map_err(|error| match Failure::from(error) {
        Failure::User(m) if !m.starts_with(&bundle.path().display().to_string()) => {
            Failure::User(format!("{}: {m}", bundle.path().display()))
        }
        other => other,
    })
}

/// Refuses an output that could not be written or would replace an input, before any work is done.
fn check_output(output: &Path, inputs: &[&Path]) -> Result<(), Failure> {
    let shown = output.display();
    if output.is_dir() {
        return Err(Failure::user(format!("{shown}: is a directory, a file name expected")));
    }
    let parent = match output.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    if !parent.is_dir() {
        return Err(Failure::user(format!("{shown}: there is no directory {}", parent.display())));
    }
    if let Ok(there) = output.canonicalize()
        && inputs.iter().any(|i| i.canonicalize().is_ok_and(|i| i == there))
    {
        return Err(Failure::user(format!("{shown}: would overwrite an input")));
    }
    Ok(())
}

/// Writes a text file under a temporary name in the same directory, then renames.
fn write_text(path: &Path, content: &str) -> Result<(), Failure> {
    let io = |e: std::io::Error| Failure::user(format!("{}: {e}", path.display()));
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".mnx-");
    #[cfg(unix)]
    builder.permissions(<std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
    let mut temporary = builder.tempfile_in(parent).map_err(io)?;
    temporary.write_all(content.as_bytes()).map_err(io)?;
    temporary.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}
