//! What can go wrong before a kernel runs.

use thiserror::Error;

/// The PTX text cannot be taken: syntax, an instruction or a name that the simulator does not know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("PTX line {line}: {message}")]
pub struct PtxError {
    /// One-based line of the PTX text.
    pub line: u32,
    /// What was found and what was expected.
    pub message: String,
}

impl PtxError {
    pub(crate) fn new(line: u32, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// The host touched device memory that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("device memory {address:#x}..{:#x}: {message}", .address + .bytes)]
pub struct MemoryError {
    /// First byte of the access.
    pub address: u64,
    /// Length of the access.
    pub bytes: u64,
    /// Why it was refused.
    pub message: String,
}

/// The launch itself is not legal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("launch of `{kernel}`: {message}")]
pub struct LaunchError {
    /// The kernel asked for.
    pub kernel: String,
    /// What was wrong.
    pub message: String,
}
