//! A shared object loaded from memory.

use std::fs::File;
use std::io::Write;

use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};

/// Loaded code; unmapped when dropped.
#[derive(Debug)]
pub(super) struct Library {
    // Order matters: the code is unmapped before its file goes.
    loaded: Loaded,
    /// The loader knows libraries by path and gives the same one for the same path: while this descriptor is open,
    /// no other library gets its number.
    _file: Backing,
}

/// Where the bytes lie while they are mapped.
#[derive(Debug)]
#[allow(dead_code, reason = "held for their drop")]
enum Backing {
    Anonymous(File),
    Named(tempfile::NamedTempFile),
}

impl Library {
    /// Loads a shared object from its bytes: through an anonymous memory file, or a temporary file where the system has none.
    pub(super) fn load(code: &[u8]) -> Result<Self, String> {
        check_segments(code)?;
        match Self::load_anonymous(code) {
            Ok(library) => Ok(library),
            Err(first) => Self::load_named(code).map_err(|second| format!("{first}; {second}")),
        }
    }

    #[cfg(target_os = "linux")]
    fn load_anonymous(code: &[u8]) -> Result<Self, String> {
        use std::os::fd::{AsRawFd, FromRawFd};
        // SAFETY: a constant C string; the descriptor is checked and owned by `File` from here on.
        let mut file = unsafe {
            let fd = libc::memfd_create(c"mnx-code".as_ptr(), libc::MFD_CLOEXEC);
            if fd < 0 {
                return Err(format!("memfd_create: {}", std::io::Error::last_os_error()));
            }
            File::from_raw_fd(fd)
        };
        file.write_all(code).map_err(|e| format!("memory file: {e}"))?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let loaded = open(&path)?;
        Ok(Self { loaded, _file: Backing::Anonymous(file) })
    }

    #[cfg(not(target_os = "linux"))]
    fn load_anonymous(_code: &[u8]) -> Result<Self, String> {
        Err("no anonymous memory files on this system".to_owned())
    }

    fn load_named(code: &[u8]) -> Result<Self, String> {
        let mut file = tempfile::Builder::new().prefix("mnx-code-").suffix(".so").tempfile().map_err(|e| format!("temporary file: {e}"))?;
        file.write_all(code).map_err(|e| format!("{}: {e}", file.path().display()))?;
        let loaded = open(&file.path().to_string_lossy())?;
        Ok(Self { loaded, _file: Backing::Named(file) })
    }

    /// An exported function.
    ///
    /// # Safety
    /// `T` must be the symbol's function pointer type, and the result must not outlive `self`.
    pub(super) unsafe fn symbol<T: Copy>(&self, name: &str) -> Result<T, String> {
        // SAFETY: the caller vouches for the type.
        unsafe { self.loaded.get::<T>(name.as_bytes()) }.map(|s| *s).map_err(|e| reason(&e))
    }
}

/// Refuses what is not a 64-bit little-endian ELF file that holds its segments whole: the system's loader would map beyond
/// the file's end and die at the first access.
fn check_segments(code: &[u8]) -> Result<(), String> {
    let number = |at: usize, width: usize| -> Option<u64> {
        let bytes = code.get(at..at.checked_add(width)?)?;
        Some(bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b)))
    };
    if !code.starts_with(b"\x7fELF\x02\x01") {
        return Err("not a shared object (no 64-bit ELF header)".to_owned());
    }
    let whole = || -> Option<bool> {
        let (table, entry, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
        for i in 0..count {
            let at = usize::try_from(table.checked_add(i * entry)?).ok()?;
            let (offset, bytes) = (number(at.checked_add(8)?, 8)?, number(at.checked_add(0x20)?, 8)?);
            if offset.checked_add(bytes)? > code.len() as u64 {
                return Some(false);
            }
        }
        Some(count > 0)
    };
    if whole() == Some(true) { Ok(()) } else { Err("truncated shared object".to_owned()) }
}

fn open(path: &str) -> Result<Loaded, String> {
    // SAFETY: loading runs the object's initialisers; the compiler emits none, and the bundle's digest says it is the compiler's code.
    unsafe { Loaded::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map_err(|e| reason(&e))
}

/// The system's words, which `libloading` keeps in the error's source.
fn reason(error: &libloading::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn both_roads_load_a_real_object_and_foreign_bytes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (c, so) = (dir.path().join("t.c"), dir.path().join("t.so"));
        std::fs::write(&c, "int forty_two(void) { return 42; }").unwrap();
        let status = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&so).arg(&c).status().unwrap();
        assert!(status.success());
        let code = std::fs::read(&so).unwrap();
        for library in [Library::load_anonymous(&code).unwrap(), Library::load_named(&code).unwrap()] {
            // SAFETY: the type is the one written above.
            let f: extern "C" fn() -> i32 = unsafe { library.symbol("forty_two") }.unwrap();
            assert_eq!(f(), 42);
            // SAFETY: never called.
            let missing = unsafe { library.symbol::<extern "C" fn()>("forty_three") };
            let message = missing.unwrap_err();
            assert!(message.contains("forty_three"), "{message}");
        }
        assert!(Library::load(b"#!/bin/sh").unwrap_err().contains("ELF"));
        for length in [4, 20, 0x40, 0x100, code.len() / 3] {
            assert!(Library::load(&code[..length]).is_err(), "cut to {length}");
        }
    }
}
