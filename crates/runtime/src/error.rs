//! What can go wrong while opening or running a bundle.

use mnx_artifact::BundleError;

use crate::finite::NotFinite;

/// Why a bundle does not run here.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The bundle itself is unsound.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// No program of the bundle runs on this device.
    #[error("{0}")]
    NoProgram(String),
    /// The device cannot give what was asked for.
    #[error("{device}: {reason}")]
    Device {
        /// The device's name.
        device: &'static str,
        /// What was asked and why not.
        reason: String,
    },
    /// The caller's tensors do not fit the ports.
    #[error("{0}")]
    Port(String),
    /// A check found results that are not finite.
    #[error("{0}")]
    NotFinite(NotFinite),
    /// A range outside a buffer: the caller's mistake.
    #[error("{bytes} bytes at {offset} of a buffer of {limit}")]
    Range {
        /// First byte.
        offset: u64,
        /// Length.
        bytes: u64,
        /// Size of the buffer.
        limit: u64,
    },
    /// A worker thread panicked inside a launch.
    #[error("a worker thread panicked while running {0}")]
    Worker(String),
}

impl RuntimeError {
    /// An error with the place where it happened, where a device failed.
    pub(crate) fn within(self, place: &str) -> Self {
        match self {
            Self::Device { device, reason } => Self::Device { device, reason: format!("{place}: {reason}") },
            other => other,
        }
    }
}
