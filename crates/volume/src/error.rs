//! What can go wrong with a volume, one line each.

use std::io;
use std::path::{Path, PathBuf};

/// Why a volume could not be read, prepared or written.
///
/// Every message is one line that names the file or the value and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not those of a NIfTI file.
    #[error("{}: not a NIfTI file: {what}", path.display())]
    NotNifti {
        /// The file concerned.
        path: PathBuf,
        /// What was found instead.
        what: String,
    },
    /// A proper NIfTI file of a kind that is not handled (colour or complex voxels, header pairs).
    #[error("{}: {what}", path.display())]
    Unsupported {
        /// The file concerned.
        path: PathBuf,
        /// Which kind.
        what: String,
    },
    /// The header contradicts itself or the file is shorter than its header says.
    #[error("{}: {what}", path.display())]
    Damaged {
        /// The file concerned.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// Voxels that are not numbers.
    #[error(
        "{}: {nan} NaN and {infinite} infinite voxels of {total}; clean the file, or continue with --nan-to-num",
        path.display()
    )]
    NonFinite {
        /// The file concerned.
        path: PathBuf,
        /// NaN voxels.
        nan: usize,
        /// Voxels beyond the range of float32, infinities included.
        infinite: usize,
        /// All voxels.
        total: usize,
    },
    /// The number of channels is not what the model takes.
    #[error("{}: {found} channel{}, expected {expected}", path.display(), if *found == 1 { "" } else { "s" })]
    Channels {
        /// The (first) file concerned.
        path: PathBuf,
        /// Channels wanted.
        expected: usize,
        /// Channels found.
        found: usize,
    },
    /// Two grids that must agree do not.
    #[error("{}: {what}", path.display())]
    Grid {
        /// The file concerned.
        path: PathBuf,
        /// Which property differs, and how.
        what: String,
    },
    /// A setting of the preprocessing, the window or the picture cannot be met.
    #[error("{0}")]
    Setting(String),
    /// Memory for a volume could not be had.
    #[error("{what}: {bytes} bytes of memory could not be allocated")]
    Memory {
        /// For what.
        what: String,
        /// How many bytes were asked for.
        bytes: usize,
    },
}

impl VolumeError {
    /// Wraps an I/O error with the path it concerns.
    pub(crate) fn io(path: &Path, source: io::Error) -> VolumeError {
        VolumeError::Io { path: path.to_path_buf(), source }
    }

    /// A damaged file.
    pub(crate) fn damaged(path: &Path, what: impl Into<String>) -> VolumeError {
        VolumeError::Damaged { path: path.to_path_buf(), what: what.into() }
    }

    /// A kind of file that is not handled.
    pub(crate) fn unsupported(path: &Path, what: impl Into<String>) -> VolumeError {
        VolumeError::Unsupported { path: path.to_path_buf(), what: what.into() }
    }
}

/// An empty vector with room for `len` elements, or an error instead of an abort.
pub(crate) fn try_reserve<T>(len: usize, what: &str) -> Result<Vec<T>, VolumeError> {
    let mut data = Vec::new();
    data.try_reserve_exact(len).map_err(|_| VolumeError::Memory { what: what.to_string(), bytes: len.saturating_mul(size_of::<T>()) })?;
    Ok(data)
}

/// A vector of `len` copies of `value`, or an error instead of an abort.
pub(crate) fn try_filled<T: Clone>(len: usize, value: T, what: &str) -> Result<Vec<T>, VolumeError> {
    let mut data = try_reserve(len, what)?;
    data.resize(len, value);
    Ok(data)
}
