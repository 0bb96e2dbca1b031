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
    /// A file holds several things that could be meant; an option chooses.
    #[error("{path}: {reason}")]
    Ambiguous {
        /// The file.
        path: String,
        /// What there is, and the option.
        reason: String,
    },
    /// What surrounds the network cannot be followed: a reader, a transform, a file's kind.
    #[error("{path}: {reason}")]
    Unsupported {
        /// The file.
        path: String,
        /// What it asks for, what mnx has, and a way on.
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

    /// The error with another way to write paths.
    pub(crate) fn relocated(self, shown: &dyn Fn(&str) -> String) -> Self {
        match self {
            Self::Io { path, source } => Self::Io { path: shown(&path), source },
            Self::Format { path, reason } => Self::Format { path: shown(&path), reason: shown(&reason) },
            Self::Ambiguous { path, reason } => Self::Ambiguous { path: shown(&path), reason: shown(&reason) },
            Self::Unsupported { path, reason } => Self::Unsupported { path: shown(&path), reason: shown(&reason) },
            Self::Several { path, what, problems } => {
                Self::Several { path: shown(&path), what: shown(&what), problems: problems.iter().map(|p| shown(p)).collect() }
            }
            Self::Option(text) => Self::Option(shown(&text)),
        }
    }

    pub(crate) fn unsupported(path: impl std::fmt::Display, reason: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_string(), reason: reason.into() }
    }

    pub(crate) fn io(path: impl std::fmt::Display, source: std::io::Error) -> Self {
        Self::Io { path: path.to_string(), source }
    }
}
