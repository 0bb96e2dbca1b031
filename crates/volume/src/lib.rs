//! Medical volumes: NIfTI files in and out, and everything between a file and a patch network.
//!
//! Room: reading and writing NIfTI, orientation, cropping, intensity normalisation, resampling, the
//! sliding window with its Gaussian weights and mirroring, going back to the file's grid, and a picture.
//! May import: the `nifti`, `flate2`, `png` and `rayon` crates; nothing of the compiler or the runtime.
//! Never: the network. It is a closure from one patch to its logits; this crate knows no weights,
//! no bundle and no device. Never a guess about a damaged file: it is refused with one line.
//! Invariant: axes are z, y, x everywhere (x fastest, as nnU-Net's readers give them), and what is
//! written for an input lies on that input's grid.
//! Start reading at: `read.rs`, then `preprocess.rs`, `sliding_window.rs` and `restore.rs`.
#![forbid(unsafe_code)]

mod crop;
mod error;
mod header;
pub mod metrics;
mod nifti2;
mod normalize;
mod orientation;

pub mod picture;
mod preprocess;
mod read;
pub mod resample;
mod restore;
mod sliding_window;
mod source;
mod wide_fields;
mod write;

pub use error::VolumeError;
pub use header::{Header, NiftiVersion};
pub use normalize::Normalization;
pub use orientation::AxisMap;
pub use preprocess::{Geometry, Preprocess, Preprocessed, preprocess};
pub use read::{ReadOptions, Volume, read, read_channels};
pub use restore::{LabelRestorer, restore_labels, restore_probabilities, softmax};
pub use sliding_window::{Band, Network, Sink, SlidingWindow, gaussian_weights, tile_starts};
pub use write::{write_f32, write_labels};
