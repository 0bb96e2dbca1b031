//! One output at a time: written beside its name, then put there.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

/// A file that gets its name when it is complete.
#[derive(Debug)]
pub struct WholeFile {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl WholeFile {
    /// A new file for `path`, in the same directory.
    ///
    /// # Errors
    /// When the directory does not let one be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let temporary = builder(0o666).tempfile_in(directory(path)).map_err(plain)?;
        Ok(Self { temporary, path: path.to_owned() })
    }

    /// The file behind it.
    pub fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Gives the file its name, in place of what was there.
    ///
    /// # Errors
    /// When the system refuses; nothing is left then.
    pub fn commit(self) -> io::Result<()> {
        self.temporary.persist(&self.path).map(|_| ()).map_err(|e| e.error)
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.as_file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.as_file().flush()
    }
}

impl Seek for WholeFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.temporary.as_file().seek(to)
    }
}

/// A folder that gets its name when all its files are there.
#[derive(Debug)]
pub struct WholeFolder {
    temporary: TempDir,
    path: PathBuf,
}

impl WholeFolder {
    /// A new folder for `path`, beside it.
    ///
    /// # Errors
    /// When the directory above does not let one be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let temporary = builder(0o777).tempdir_in(directory(path)).map_err(plain)?;
        Ok(Self { temporary, path: path.to_owned() })
    }

    /// Where the files go until then.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Gives the folder its name; an empty folder of that name is replaced.
    ///
    /// # Errors
    /// When the system refuses; nothing is left then.
    pub fn commit(self) -> io::Result<()> {
        std::fs::rename(self.temporary.path(), &self.path)?;
        // The folder has its own name now; there is nothing to clean up.
        let _ = self.temporary.keep();
        Ok(())
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

/// The directory that a path lies in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

#[cfg_attr(not(unix), allow(unused_variables))]
fn builder(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".mnx-");
    #[cfg(unix)]
    builder.permissions(<std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode));
    builder
}

/// An error without the temporary name in it, which nobody has given.
fn plain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::from(error.kind()),
    }
}
