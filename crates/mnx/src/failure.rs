//! How commands fail, and what is said then. Exit codes: 1 the user's input, 2 usage (clap), 101 our bug.

use std::panic;

use mnx_artifact::BundleError;
use mnx_console::{Problem, say};
use mnx_runtime::RuntimeError;
use mnx_volume::VolumeError;
use mnx_weights::WeightsError;
use mnx_words::{many, reason};

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
        match error {
            BundleError::Io { path, source } => Self::user("bundle-0101", format!("{path}: {}", reason(&source))),
            BundleError::Damaged { .. } => Self::user("bundle-0102", error.to_string()),
            BundleError::Inconsistent { path, problems } => {
                let problem = Problem::new("bundle-0103", format!("{path}: the manifest contradicts itself"));
                Self::User(problems.into_iter().fold(problem, Problem::note))
            }
        }
    }
}

impl From<WeightsError> for Failure {
    fn from(error: WeightsError) -> Self {
        match error {
            WeightsError::Io { path, source } => Self::user("weights-0100", format!("{path}: {}", reason(&source))),
            WeightsError::Format { .. } => Self::user("weights-0101", error.to_string()),
            WeightsError::Missing(_) | WeightsError::Shape { .. } | WeightsError::Recipe(_) => {
                Self::user("weights-0102", error.to_string())
            }
            WeightsError::Mismatch(lines) => misfits(None, lines),
        }
    }
}

/// Tensors that do not fit the network, one note each.
pub fn misfits(place: Option<&str>, lines: Vec<String>) -> Failure {
    let place = place.map_or_else(String::new, |p| format!("{p}: "));
    let fit = if lines.len() == 1 { "does" } else { "do" };
    let problem = Problem::new("weights-0102", format!("{place}{} {fit} not fit the network", many(lines.len(), "tensor")));
    Failure::User(lines.into_iter().fold(problem, Problem::note))
}

/// Exhaustive, so that who adds a kind of error is led here to give it a code, and from there to the table of codes.
impl From<VolumeError> for Failure {
    fn from(error: VolumeError) -> Self {
        let code = match &error {
            VolumeError::Io { path, source } => return Self::user("volume-0101", format!("{}: {}", path.display(), reason(source))),
            VolumeError::NotNifti { .. } => "volume-0102",
            VolumeError::Unsupported { .. } => "volume-0103",
            VolumeError::Damaged { .. } => "volume-0104",
            VolumeError::NonFinite { .. } => "volume-0105",
            VolumeError::Channels { .. } => "volume-0106",
            VolumeError::Grid { .. } => "volume-0107",
            VolumeError::Setting(_) => "volume-0108",
            VolumeError::Memory { .. } => "volume-0109",
        };
        Self::user(code, error.to_string())
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Bundle(error) => error.into(),
            RuntimeError::NoProgram(_) => Self::user("runtime-0101", error.to_string()),
            RuntimeError::Device { .. } => Self::user("runtime-0102", error.to_string()),
            RuntimeError::Port(_) => Self::user("runtime-0103", error.to_string()),
            RuntimeError::NotFinite(_) => Self::user("runtime-0104", error.to_string()),
            RuntimeError::Range { .. } | RuntimeError::Worker(_) => Self::Bug(error.to_string()),
        }
    }
}

/// Makes a panic, or a crash of compiled code, say that it is our bug and how to replay it; both exit with 101.
pub fn install_hooks() {
    mnx_runtime::device::host::report_crashes(replay());
    panic::set_hook(Box::new(|info| {
        let what = info.payload().downcast_ref::<&str>().map(|s| (*s).to_owned());
        let what = what.or_else(|| info.payload().downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned());
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        say(&format!("internal error: {what}\n  note: at {place}\n{}", replay()));
    }));
}

/// The notes that say whose fault it is, and the line that replays this run.
pub fn replay() -> String {
    let words: Vec<String> = std::env::args_os().map(|word| quote(&word.to_string_lossy())).collect();
    let place = std::env::current_dir().map_or_else(|_| "?".to_owned(), |d| quote(&d.to_string_lossy()));
    format!(
        "  note: this is a bug in mnx {}, not in your input; please report it\n  note: replay: cd {place} && {}",
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
        assert!(replay().contains("note: replay: cd "));
    }
}
