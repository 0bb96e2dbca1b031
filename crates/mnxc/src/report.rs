//! How mnxc speaks: failures with their exit codes, warnings, and output that ends quietly when the reader goes away.

use std::io::{self, IsTerminal};

use clap::error::ErrorKind;
use mnx_console::say;
use mnx_ir::Diagnostic;
use mnx_weights::WeightsError;

/// Why a command stopped.
#[derive(Debug)]
pub enum Failure {
    /// The user's fault or the environment's: exit code 1. Every problem found.
    User(Vec<Diagnostic>),
    /// The command line does not make sense: exit code 2.
    Usage(String),
}

/// What commands return.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// One problem of the user's.
    pub fn user(code: &'static str, place: impl std::fmt::Display, message: impl Into<String>) -> Self {
        Self::User(vec![Diagnostic::new(code, place, message)])
    }

    /// Exit code: 1 for the user's fault, 2 for usage.
    pub fn code(&self) -> u8 {
        match self {
            Self::User(_) => 1,
            Self::Usage(_) => 2,
        }
    }

    /// Prints it to stderr; `command` is the subcommand, whose usage line is shown where the command line does not make sense.
    pub fn print(&self, command: &mut clap::Command) {
        match self {
            Self::User(problems) => {
                for d in problems {
                    say(&d.to_string());
                }
                if problems.len() > 1 {
                    say(&format!("{} errors", problems.len()));
                }
            }
            // As clap writes its own.
            Self::Usage(message) => say(command.error(ErrorKind::ValueValidation, message).to_string().trim_end()),
        }
    }
}

impl From<Vec<Diagnostic>> for Failure {
    fn from(problems: Vec<Diagnostic>) -> Self {
        Self::User(problems)
    }
}

impl From<Diagnostic> for Failure {
    fn from(problem: Diagnostic) -> Self {
        Self::User(vec![problem])
    }
}

/// What is said above a list of so many tensors.
pub fn misfit(n: usize) -> String {
    format!("{} {} not fit the network", mnx_words::many(n, "tensor"), if n == 1 { "does" } else { "do" })
}

/// A checkpoint's error as a failure; `place` names the file or the command that needed it.
pub fn weights_failure(place: &str, error: WeightsError) -> Failure {
    match error {
        WeightsError::Mismatch(lines) => {
            let mut d = Diagnostic::new("weights-0102", place, misfit(lines.len()));
            d.notes = lines;
            d.into()
        }
        WeightsError::Io { path, source } => Failure::user("weights-0100", path, system_reason(&source.to_string())),
        WeightsError::Format { path, reason } => Failure::user("weights-0101", path, reason),
        other @ (WeightsError::Missing(_) | WeightsError::Shape { .. } | WeightsError::Recipe(_)) => {
            Failure::user("weights-0102", place, other.to_string())
        }
    }
}

/// An operating system's reason in the style of our messages: lower case, without the number.
pub fn system_reason(message: &str) -> String {
    mnx_words::lower(message)
}

/// How much mnxc says on stderr beside errors.
#[derive(Debug, Clone, Copy)]
pub struct Voice {
    /// Nothing but errors.
    pub quiet: bool,
}

impl Voice {
    /// One line of progress or result.
    pub fn note(self, line: &str) {
        if !self.quiet {
            say(line);
        }
    }

    /// One line that was asked for, --quiet or not.
    pub fn tell(self, line: &str) {
        say(line);
    }

    /// Something the user should know although the command goes on.
    pub fn warn(self, line: &str) {
        if !self.quiet {
            say(&format!("warning: {line}"));
        }
    }

    /// Whether a moving progress bar may be drawn.
    pub fn animated(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }
}

/// Text on stdout. A closed pipe (`mnxc list ops | head`) is a normal end.
///
/// # Errors
/// If stdout cannot be written for another reason (a full disk).
pub fn emit(text: &str) -> Outcome {
    emit_bytes(text.as_bytes())
}

/// Bytes on stdout, likewise.
///
/// # Errors
/// As [`emit`].
pub fn emit_bytes(bytes: &[u8]) -> Outcome {
    mnx_console::emit_bytes(bytes).map_err(|e| stdout_failure(&e))
}

/// Why stdout takes no more.
pub fn stdout_failure(error: &io::Error) -> Failure {
    Failure::user("mnxc-0002", "stdout", system_reason(&error.to_string()))
}

/// Bytes for people: `8192 B`, `1.5 KiB`, `99.0 MiB`, `13.6 TiB`.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 10_240 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // Thousands of MiB are common, thousands of GiB are not.
    while value >= if unit < 2 { 10_240.0 } else { 1024.0 } && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        assert_eq!([8192, 15_000, 99 << 20, 11 << 30].map(size), ["8192 B", "14.6 KiB", "99.0 MiB", "11.0 GiB"]);
        // The arena of --patch 4096,4096,4096.
        assert_eq!(size(14_993_988_288_512), "13.6 TiB");
        assert_eq!(size(u64::MAX), "16384.0 PiB");
    }
}
