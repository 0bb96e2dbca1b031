//! What can be wrong with what is imported.

/// Why an import stopped. Every message names the file.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// Several things are wrong, one line each.
    #[error("{path}: {what}:\n{}", .problems.join("\n"))]
    Several {
        /// The file.
        path: String,
        /// What they have in common.
        what: String,
        /// The problems.
        problems: Vec<String>,
    },
    /// The options ask for what is not there.
    #[error("{0}")]
    Option(String),
}

impl ImportError {
    pub(crate) fn format(path: impl std::fmt::Display, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_string(), reason: reason.into() }
    }

    pub(crate) fn io(path: impl std::fmt::Display, source: std::io::Error) -> Self {
        Self::Io { path: path.to_string(), source }
    }
}
