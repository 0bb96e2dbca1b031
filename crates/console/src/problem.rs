//! A problem as a person reads it: `error[CODE]: FILE: what is wrong`, then notes.

use std::fmt;

/// One problem of the user's or the machine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable code such as `volume-0102`, explained in the table of codes.
    pub code: &'static str,
    /// `file: what is wrong: value, expected`; lower case, no final dot. The file may be missing where there is none.
    pub message: String,
    /// Further lines.
    pub notes: Vec<String>,
}

impl Problem {
    /// A problem without notes.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), notes: Vec::new() }
    }

    /// Adds a line below the problem.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        for note in &self.notes {
            write!(f, "\n  note: {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_a_line_and_its_notes() {
        let p = Problem::new("volume-0102", "a.nii: truncated: 3 of 8 bytes").note("copy it again");
        assert_eq!(p.to_string(), "error[volume-0102]: a.nii: truncated: 3 of 8 bytes\n  note: copy it again");
    }
}
