//! Where an output really goes: a symbolic link stays one, and what is no file is written through.

use std::io;
use std::path::{Path, PathBuf};

use crate::hidden::directory;

/// As many links as the system follows itself.
const LINKS: usize = 40;

/// What the name that a user gave leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A file, there or not, in a directory that it may be renamed into.
    Name(PathBuf),
    /// A device, a pipe, or an open file (`/dev/stdout`): nothing may be put in its place.
    Stream(PathBuf),
}

/// The end of a file's name that says what it is: from the last dot on, `.nii.gz` as a whole.
fn ending(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    stem.rfind('.').map(|at| name[at..].to_owned())
}

/// Refuses a link to a file of another kind: a link that lies in a folder of outputs by mistake, or by malice, must not cost a file that no
/// output was meant to replace.
fn same_kind(link: &Path, last: &Path) -> io::Result<()> {
    if ending(link) == ending(last) || !last.is_file() {
        return Ok(());
    }
    let why = format!("is a link to {}, a file of another kind, which is not overwritten; remove the link", last.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

/// Follows links to the last, whose target need not be there but must not be a file with another ending.
pub(crate) fn follow(path: &Path) -> io::Result<Target> {
    if std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        return Ok(Target::Stream(path.to_owned()));
    }
    let mut at = path.to_owned();
    for _ in 0..LINKS {
        // What links below /proc say is for people; they are open files.
        if cfg!(target_os = "linux") && at.starts_with("/proc") {
            return Ok(Target::Stream(path.to_owned()));
        }
        match std::fs::read_link(&at) {
            Ok(next) => at = directory(&at).join(next),
            // No link, or nothing at all.
            Err(_) => {
                if at != path {
                    same_kind(path, &at)?;
                }
                return Ok(Target::Name(at));
            }
        }
    }
    #[cfg(unix)]
    return Err(rustix::io::Errno::LOOP.into());
    #[cfg(not(unix))]
    return Err(io::ErrorKind::InvalidInput.into());
}
