//! Names of what is not finished, `.mnx-PID-XXXXXX`, and the removal of those whose process is gone.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::live;

const PREFIX: &str = ".mnx-";
/// Letters and digits after the process's number.
const TAIL: usize = 6;
/// A file that nobody has locked and that is older belongs to nobody, whatever runs under the number in its name now.
const STALE: Duration = Duration::from_secs(60);

/// The directory that a path lies in.
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

/// Something new under a hidden name in `directory`; `make` must refuse a name that is taken.
pub(crate) fn make_in<T>(directory: &Path, mut make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    loop {
        let path = directory.join(fresh());
        match make(&path) {
            // Among two thousand million names the next one is free.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            made => return made.map(|made| (path, made)),
        }
    }
}

fn fresh() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    // The hasher's keys are random.
    let mut bits = std::hash::RandomState::new().hash_one(COUNT.fetch_add(1, Ordering::Relaxed));
    let tail = (0..TAIL).map(|_| {
        let digit = DIGITS[(bits % DIGITS.len() as u64) as usize];
        bits /= DIGITS.len() as u64;
        char::from(digit)
    });
    format!("{PREFIX}{}-{}", std::process::id(), tail.collect::<String>())
}

/// The process that a hidden name belongs to; none if the name is not exactly of our form.
fn owner(name: &OsStr) -> Option<u32> {
    let (pid, tail) = name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
    let digits = !pid.is_empty() && !pid.starts_with('0') && pid.bytes().all(|b| b.is_ascii_digit());
    let plain = tail.len() == TAIL && tail.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
    if digits && plain { pid.parse().ok() } else { None }
}

/// Removes what killed processes have left in a directory; each directory is looked at once. What cannot be read or removed stays.
pub(crate) fn sweep(directory: &Path) {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    // Nothing of ours comes or goes meanwhile.
    let _live = live::lock();
    let key = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    if !SWEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
        return;
    }
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (Some(pid), Ok(kind)) = (owner(&entry.file_name()), entry.file_type()) else { continue };
        if (kind.is_file() || kind.is_dir()) && is_left(pid, &entry.path(), kind.is_dir()) {
            remove(&entry.path(), kind.is_dir());
        }
    }
}

/// Whether nobody will finish this any more. Its process holds a lock as long as it lives, which also holds in another container or on
/// another machine that shares the folder; where locks do not work, nothing is removed.
fn is_left(pid: u32, path: &Path, is_folder: bool) -> bool {
    let Ok(file) = open(path, is_folder) else { return false };
    if file.try_lock().is_err() {
        return false;
    }
    // Between being made and being locked a file belongs to a process that runs. Our own make theirs while nobody sweeps; one of our number
    // is of an earlier process: in containers numbers repeat.
    let stale = || file.metadata().and_then(|m| m.modified()).is_ok_and(|t| t.elapsed().is_ok_and(|age| age > STALE));
    pid == std::process::id() || !is_running(pid) || stale()
}

/// Removes a file, or a folder into which other threads or a linker may still be writing.
pub(crate) fn remove(path: &Path, is_folder: bool) {
    if !is_folder {
        let _ = fs::remove_file(path);
        return;
    }
    for _ in 0..8 {
        match fs::remove_dir_all(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {}
            Ok(()) | Err(_) => return,
        }
    }
}

#[cfg(unix)]
fn open(path: &Path, is_folder: bool) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let access = if is_folder { OFlags::RDONLY | OFlags::DIRECTORY } else { OFlags::RDWR };
    let fd = rustix::fs::open(path, access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    Ok(File::from(fd))
}

#[cfg(not(unix))]
fn open(path: &Path, _is_folder: bool) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

#[cfg(unix)]
fn is_running(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    // Another user's process may not be signalled, but it is there.
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

#[cfg(not(unix))]
fn is_running(_pid: u32) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_the_process_and_no_other_name_is_ours() {
        let name = fresh();
        assert_eq!(owner(OsStr::new(&name)), Some(std::process::id()), "{name}");
        assert_ne!(fresh(), name);
        assert_eq!(owner(OsStr::new(".mnx-12-ab34ef")), Some(12));
        for foreign in [
            ".mnx-ab34ef",
            ".mnx-12-ab34e",
            ".mnx-12-ab34efg",
            ".mnx-12-AB34EF",
            ".mnx--12-ab34ef",
            ".mnx-012-ab34ef",
            ".mnx-99999999999-ab34ef",
            "mnx-12-ab34ef",
            ".mnx-12-ab34ef.nii",
            ".mnx-x-ab34ef",
            ".mnx-12-ab.4ef",
        ] {
            assert_eq!(owner(OsStr::new(foreign)), None, "{foreign}");
        }
    }
}
