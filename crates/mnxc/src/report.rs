//! How mnxc speaks: failures with their exit codes, warnings, and output that ends quietly when the reader goes away.

use std::io::{self, IsTerminal};

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

    /// Prints it to stderr.
    pub fn print(&self, command: &str) {
        match self {
            Self::User(problems) => {
                for d in problems {
                    say(&d.to_string());
                }
                if problems.len() > 1 {
                    say(&format!("{} errors", problems.len()));
                }
            }
            Self::Usage(message) => say(&format!("error: {message}\n\nFor more information, try 'mnxc {command} --help'.")),
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

/// A checkpoint's error as a failure; `place` names the file or the command that needed it.
pub fn weights_failure(place: &str, error: WeightsError) -> Failure {
    match error {
        WeightsError::Mismatch(lines) => {
            let mut d = Diagnostic::new("weights-0102", place, format!("{} tensors do not fit the network", lines.len()));
            d.notes = lines;
            d.into()
        }
        WeightsError::Io { path, source } => Failure::user("weights-0100", path, system_reason(&source.to_string())),
        WeightsError::Format { path, reason } => Failure::user("weights-0101", path, reason),
        other => Failure::user("weights-0102", place, other.to_string()),
    }
}

/// An operating system's reason in the style of our messages: lower case, without the number.
pub fn system_reason(message: &str) -> String {
    let mut chars = message.split(" (os error").next().unwrap_or(message).chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
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
