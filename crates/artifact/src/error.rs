//! What can be wrong with a bundle.

/// Why a bundle cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be opened, read or written.
    #[error("{path}: {}", mnx_words::reason(source))]
    Io {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The bytes are not a sound bundle.
    #[error("{path}: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// The bytes are as written, but what the manifest says does not hold together.
    #[error("{path}: the manifest contradicts itself:\n{}", .problems.join("\n"))]
    Inconsistent {
        /// The file.
        path: String,
        /// Every problem, one line each.
        problems: Vec<String>,
    },
}
