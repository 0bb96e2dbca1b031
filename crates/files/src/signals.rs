//! Signals that end the process: what is unfinished goes first.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::live;

/// From now on SIGHUP, SIGINT and SIGTERM wait for a commit in progress, remove what is not finished, do `last` and end the process with
/// 128 and their number (129, 130, 143). One that whoever started us has set to be ignored (`nohup`) stays ignored.
///
/// No destructor runs: worker threads and compiled code are stopped where they are.
///
/// # Errors
/// When the system lets no handler or no thread be made.
pub fn end_on_signals(last: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let ignored = ignored();
    let wanted = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|s| ignored >> (s - 1) & 1 == 0);
    let mut signals = Signals::new(wanted)?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            live::abandon();
            last();
            signal_hook::low_level::exit(128 + signal);
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(|_| ())
}

/// The signals that are ignored, one bit each, where /proc tells.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
