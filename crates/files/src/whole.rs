//! One output at a time: written without a name where the system can, then put under its own.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::hidden::{directory, sweep};
use crate::live::Live;
use crate::target::{Target, follow};

/// A file that gets its name when it is complete.
#[derive(Debug)]
pub struct WholeFile {
    file: File,
    /// The hidden name, where the file system knows no files without one.
    hidden: Option<Live>,
    goal: Goal,
}

/// Where a complete file goes.
#[derive(Debug)]
enum Goal {
    /// A name in the same directory.
    Name(PathBuf),
    /// Through an open device or pipe.
    Stream(File),
}

impl WholeFile {
    /// A new file for `path`, in the directory where it will be. A link is followed and stays; a device or a pipe gets the bytes at the
    /// end.
    ///
    /// # Errors
    /// When the directory does not let one be made, or links lead in a circle. No error names a file but the system's reason alone.
    pub fn create(path: &Path) -> io::Result<Self> {
        let (goal, directory) = match follow(path)? {
            Target::Name(path) => {
                let directory = directory(&path).to_owned();
                (Goal::Name(path), directory)
            }
            Target::Stream(path) => (Goal::Stream(File::options().write(true).open(path)?), std::env::temp_dir()),
        };
        sweep(&directory);
        if let Some(file) = unnamed::create(&directory) {
            return Ok(Self { file, hidden: None, goal });
        }
        let (hidden, file) = Live::file(&directory)?;
        Ok(Self { file, hidden: Some(hidden), goal })
    }

    /// The file behind it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name, in place of what was there.
    ///
    /// # Errors
    /// When the system refuses; nothing is left then.
    pub fn commit(self) -> io::Result<()> {
        let Self { mut file, hidden, goal } = self;
        match (goal, hidden) {
            (Goal::Name(path), Some(hidden)) => hidden.rename(&path),
            (Goal::Name(path), None) => unnamed::name(&mut file, &path),
            (Goal::Stream(mut out), _) => {
                file.rewind()?;
                io::copy(&mut file, &mut out)?;
                out.flush()
            }
        }
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for WholeFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Writes a whole file.
///
/// # Errors
/// When it cannot be written; the name is as it was then.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = WholeFile::create(path)?;
    file.write_all(bytes)?;
    file.commit()
}

/// Tries whether a directory takes new files; none is left.
///
/// # Errors
/// When it does not.
pub fn try_directory(directory: &Path) -> io::Result<()> {
    match unnamed::create(directory) {
        Some(_) => Ok(()),
        None => Live::file(directory).map(|_| ()),
    }
}

/// Files that have no name before they are complete: whatever ends the process, they go with it.
#[cfg(target_os = "linux")]
mod unnamed {
    use std::os::fd::AsRawFd;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags};
    use rustix::io::Errno;

    use super::{File, Live, Path, Seek, directory, io};
    use crate::{hidden, live};

    /// The name under which the system lets an open file be linked.
    fn link(file: &File) -> String {
        format!("/proc/self/fd/{}", file.as_raw_fd())
    }

    /// None where the file system has no such files, or /proc is not there to name one later.
    pub(super) fn create(directory: &Path) -> Option<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(directory, flags, Mode::from_raw_mode(0o666)).ok()?);
        Path::new(&link(&file)).exists().then_some(file)
    }

    /// Links the file under its name. Over a file that is there a link cannot be made: it gets a hidden one and is renamed.
    pub(super) fn name(file: &mut File, path: &Path) -> io::Result<()> {
        let commit = live::lock();
        let from = link(file);
        let link_to = |to: &Path| rustix::fs::linkat(CWD, &from, CWD, to, AtFlags::SYMLINK_FOLLOW);
        match link_to(path) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {
                // While the hidden name is there, the lock says whose it is.
                let _ = file.try_lock();
                if let Ok((hidden, ())) = hidden::make_in(directory(path), |hidden| Ok(link_to(hidden)?)) {
                    return std::fs::rename(&hidden, path).inspect_err(|_| hidden::remove(&hidden, false));
                }
            }
            Err(_) => {}
        }
        drop(commit);
        // A file system that makes such files but cannot link them.
        let (hidden, mut copy) = Live::file(directory(path))?;
        file.rewind()?;
        io::copy(file, &mut copy)?;
        hidden.rename(path)
    }
}

#[cfg(not(target_os = "linux"))]
mod unnamed {
    use super::{File, Path, io};

    pub(super) fn create(_directory: &Path) -> Option<File> {
        None
    }

    pub(super) fn name(_file: &mut File, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn file_systems_without_unnamed_files_get_whole_files_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for content in [b"first".as_slice(), b"second"] {
            let (hidden, file) = Live::file(dir.path()).unwrap();
            let mut whole = WholeFile { file, hidden: Some(hidden), goal: Goal::Name(path.clone()) };
            whole.write_all(content).unwrap();
            assert_ne!(std::fs::read(&path).ok().as_deref(), Some(content));
            whole.commit().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
            drop(Live::file(dir.path()).unwrap());
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        // A file that cannot be linked there: it lives in memory.
        let mut file = File::from(rustix::fs::memfd_create("a", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        file.write_all(b"third").unwrap();
        unnamed::name(&mut file, &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"third");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
