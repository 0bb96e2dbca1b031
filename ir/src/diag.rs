//! Diagnostics: the user's fault, said once and clearly.

use std::fmt;
use std::sync::Arc;

/// Where an op comes from: the model's layer name, or a line of a text file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Loc(pub Option<Arc<str>>);

impl Loc {
    /// A layer name such as `enc_block_0.0.conv1`.
    pub fn layer(name: &str) -> Self {
        Self(Some(Arc::from(name)))
    }
}

impl fmt::Display for Loc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("unknown"))
    }
}

/// One problem: a stable code, a place, a message, and notes. Its text is that of `mnx_console::Problem`, whose room the IR does not know:
/// `error[CODE]: FILE:LINE:COL: what is wrong: value, expected`, then `  note: ...` lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable code such as `ir-0107`.
    pub code: &'static str,
    /// Place in a file (`name.mnx:4:8`) or layer.
    pub place: String,
    /// Lower case, no final dot.
    pub message: String,
    /// Further lines.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// A diagnostic without notes.
    pub fn new(code: &'static str, place: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { code, place: place.to_string(), message: message.into(), notes: Vec::new() }
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: ", self.code)?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)?;
        for note in &self.notes {
            write!(f, "\n  note: {note}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
