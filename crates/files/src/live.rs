//! What this process has under hidden names, so that a signal can remove it; and the lock that makes a commit one step.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::hidden;

/// Hidden names, each with whether it is a folder.
type Names = BTreeMap<PathBuf, bool>;

static LIVE: Mutex<Names> = Mutex::new(Names::new());

/// Held while a hidden name is made, gets its own name or goes.
pub(crate) fn lock() -> MutexGuard<'static, Names> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a commit in progress, removes all that is not finished, and lets no other thread begin or finish anything: the process is
/// about to end.
#[cfg(unix)]
pub(crate) fn abandon() {
    let names = lock();
    names.iter().for_each(|(path, is_folder)| hidden::remove(path, *is_folder));
    std::mem::forget(names);
}

/// A file or folder under a hidden name, removed unless it gets its own.
#[derive(Debug)]
pub(crate) struct Live {
    path: PathBuf,
    is_folder: bool,
}

impl Live {
    /// A new file, locked as long as it is open.
    pub(crate) fn file(directory: &Path) -> io::Result<(Self, File)> {
        Self::new(directory, false, |path| {
            let mut options = File::options();
            options.read(true).write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o666);
            let file = options.open(path)?;
            // Without locks nobody sweeps.
            let _ = file.try_lock();
            Ok(file)
        })
    }

    /// A new folder, and the file that holds its lock.
    pub(crate) fn folder(directory: &Path, mode: u32) -> io::Result<(Self, Option<File>)> {
        Self::new(directory, true, |path| {
            #[cfg_attr(not(unix), allow(unused_mut))]
            let mut builder = fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, mode);
            #[cfg(not(unix))]
            let _ = mode;
            builder.create(path)?;
            let own = File::open(path).ok();
            if let Some(file) = &own {
                let _ = file.try_lock();
            }
            Ok(own)
        })
    }

    fn new<T>(directory: &Path, is_folder: bool, make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(Self, T)> {
        let directory = std::path::absolute(directory)?;
        hidden::sweep(&directory);
        let mut names = lock();
        let (path, made) = hidden::make_in(&directory, make)?;
        names.insert(path.clone(), is_folder);
        Ok((Self { path, is_folder }, made))
    }

    /// The hidden name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes its own name, in place of what was there.
    pub(crate) fn rename(self, to: &Path) -> io::Result<()> {
        let mut names = lock();
        fs::rename(&self.path, to)?;
        names.remove(&self.path);
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut names = lock();
        if names.remove(&self.path).is_some() {
            hidden::remove(&self.path, self.is_folder);
        }
    }
}
