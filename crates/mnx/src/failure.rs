//! How commands fail, and what is said then. Exit codes: 1 the user's input, 2 usage (clap), 101 our bug.

use std::panic;

use mnx_artifact::BundleError;
use mnx_console::{Problem, say};
use mnx_runtime::RuntimeError;
use mnx_volume::VolumeError;
use mnx_weights::WeightsError;

/// Why a command ends early.
#[derive(Debug)]
pub enum Failure {
    /// Input, files or this machine do not allow it; the message says which and what was expected.
    User(Problem),
    /// We are wrong.
    Bug(String),
}

impl Failure {
    /// A failure that is the input's.
    pub fn user(code: &'static str, message: impl Into<String>) -> Self {
        Self::User(Problem::new(code, message))
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        Self::user("bundle-0101", error.to_string())
    }
}

impl From<WeightsError> for Failure {
    fn from(error: WeightsError) -> Self {
        Self::user("weights-0101", error.to_string())
    }
}

impl From<VolumeError> for Failure {
    fn from(error: VolumeError) -> Self {
        Self::user("volume-0101", error.to_string())
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Range { .. } | RuntimeError::Worker(_) => Self::Bug(error.to_string()),
            RuntimeError::Bundle(_)
            | RuntimeError::NoProgram(_)
            | RuntimeError::Device { .. }
            | RuntimeError::Port(_)
            | RuntimeError::NotFinite(_) => Self::user("runtime-0101", error.to_string()),
        }
    }
}

/// Makes a panic, or a crash of compiled code, say that it is our bug and how to replay it; both exit with 101.
pub fn install_hooks() {
    mnx_runtime::device::host::report_crashes(replay());
    panic::set_hook(Box::new(|info| {
        say(&format!("mnx: internal error: {info}\n{}", replay()));
    }));
}

/// The line that replays this run.
pub fn replay() -> String {
    let words: Vec<String> = std::env::args_os().map(|word| quote(&word.to_string_lossy())).collect();
    let place = std::env::current_dir().map_or_else(|_| "?".to_owned(), |d| quote(&d.to_string_lossy()));
    format!(
        "this is a bug in mnx {}; please report it with the command that replays it:\n  cd {place} && {}",
        env!("CARGO_PKG_VERSION"),
        words.join(" ")
    )
}

/// A word as a POSIX shell reads it back.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quote("a/b-c_1.mnxa"), "a/b-c_1.mnxa");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("two words"), "'two words'");
        assert_eq!(quote("it's"), "'it'\\''s'");
        assert!(replay().contains("replays it"));
    }
}
