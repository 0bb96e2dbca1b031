//! Folders: one that appears with all its files, and one for this run alone.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::hidden::directory;
use crate::live::Live;
use crate::target::{Target, follow};

/// A folder that gets its name when all its files are there.
#[derive(Debug)]
pub struct WholeFolder {
    hidden: Live,
    /// Open as long as it is not finished.
    _lock: Option<File>,
    path: PathBuf,
}

impl WholeFolder {
    /// A new folder for `path`, beside it, or beside what a link leads to.
    ///
    /// # Errors
    /// When the directory above does not let one be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let path = match follow(path)? {
            Target::Name(path) => path,
            Target::Stream(_) => return Err(io::ErrorKind::NotADirectory.into()),
        };
        let (hidden, lock) = Live::folder(directory(&path), 0o777)?;
        Ok(Self { hidden, _lock: lock, path })
    }

    /// Where the files go until then.
    pub fn path(&self) -> &Path {
        self.hidden.path()
    }

    /// Gives the folder its name; an empty folder of that name is replaced.
    ///
    /// # Errors
    /// When the system refuses; nothing is left then.
    pub fn commit(self) -> io::Result<()> {
        self.hidden.rename(&self.path)
    }
}

/// A folder among the system's temporary files, for this user alone, that goes when it is dropped or a signal ends the process.
#[derive(Debug)]
pub struct ScratchFolder {
    hidden: Live,
    _lock: Option<File>,
}

impl ScratchFolder {
    /// A new, empty folder.
    ///
    /// # Errors
    /// When there is no directory for temporary files that lets one be made.
    pub fn create() -> io::Result<Self> {
        let (hidden, lock) = Live::folder(&std::env::temp_dir(), 0o700)?;
        Ok(Self { hidden, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.hidden.path()
    }
}
