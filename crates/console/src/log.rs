//! `--verbose` and `--log`: what happens, for people who wonder why something is slow or odd.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{fmt, registry};

/// Events of this target are lines that were said anyway: they are for the log file alone.
pub(crate) const SAID: &str = "said";

/// From now on events go to standard error if `verbose` is not 0 (1 info, 2 debug, 3 trace), and, debug or finer and with their times, to
/// the end of the file `log`.
///
/// # Errors
/// When the file cannot be opened or made, or holds anything but a log.
pub fn start(verbose: u8, log: Option<&Path>) -> io::Result<()> {
    let level = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let file = log.map(open).transpose()?;
    let on_stderr = (verbose > 0).then(|| {
        let layer = fmt::layer().with_writer(|| Stderr).without_time().with_target(false).with_ansi(false).log_internal_errors(false);
        layer.with_filter(Targets::new().with_default(level).with_target(SAID, LevelFilter::OFF))
    });
    let in_file = file.map(|file| {
        let layer = fmt::layer().with_writer(Arc::new(file)).with_ansi(false).log_internal_errors(false);
        layer.with_filter(Targets::new().with_default(level.max(LevelFilter::DEBUG)))
    });
    if on_stderr.is_some() || in_file.is_some() {
        // It fails only where a subscriber is set already, which then hears of everything.
        let _ = registry().with(on_stderr).with(in_file).try_init();
    }
    Ok(())
}

/// A log to append to. An image or a bundle given by mistake stays as it is: a log begins with a date.
fn open(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() > 0) {
        let mut start = Vec::new();
        File::open(path)?.take(11).read_to_end(&mut start)?;
        let is_date = start.len() == 11
            && start.iter().enumerate().all(|(i, b)| match i {
                4 | 7 => *b == b'-',
                10 => *b == b'T',
                _ => b.is_ascii_digit(),
            });
        if !is_date {
            return Err(io::Error::new(ErrorKind::InvalidInput, "is there and is no log; a new file or an earlier log expected"));
        }
    }
    File::options().append(true).create(true).open(path)
}

/// Standard error that is never in the way.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_logs_are_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for other in [b"MNXA\0\0\0\0\0\0\0\0".as_slice(), b"[network]\n", b"2026", b"2026-01-02 03:04", &[0xff; 20]] {
            std::fs::write(at("other"), other).unwrap();
            assert!(open(&at("other")).unwrap_err().to_string().contains("is no log"));
            assert_eq!(std::fs::read(at("other")).unwrap(), other);
        }
        open(&at("new")).unwrap();
        std::fs::write(at("log"), "2026-01-02T03:04:05.000000Z  INFO a\n").unwrap();
        open(&at("log")).unwrap().write_all(b"more").unwrap();
        assert!(std::fs::read_to_string(at("log")).unwrap().ends_with("INFO a\nmore"));
        assert!(open(dir.path()).is_err() && open(&at("none/log")).is_err());
    }
}
