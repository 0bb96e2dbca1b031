//! Medical volumes: NIfTI files in and out, and everything between a file and a patch network.
//!
//! Room: reading and writing NIfTI, orientation, cropping, intensity normalisation, resampling, the
//! sliding window with its Gaussian weights and mirroring, going back to the file's grid, components, NumPy archives, metrics and a
//! picture.
//! May import: `mnx-artifact` (a bundle's settings are this crate's), the `nifti`, `flate2`, `zip`, `png`, `half` and `rayon` crates;
//! nothing of the compiler or the runtime.
//! Never: the network. It is a closure from one patch to its logits; this crate knows no weights,
//! no bundle and no device. Never a guess about a damaged file: it is refused with one line.
//! Invariant: axes are z, y, x everywhere (x fastest, as nnU-Net's readers give them), and what is
//! written for an input lies on that input's grid.
//! Start reading at: `read.rs` and `reader.rs` (what a header means), then `preprocess.rs`, `sliding_window.rs` and `restore.rs`.
#![forbid(unsafe_code)]

mod accumulate;
mod components;
mod crop;
mod error;
mod forecast;
pub mod foreign;
mod grid;
mod header;
pub mod metrics;
mod nifti1;
mod nifti2;
mod normalize;
pub mod npz;
mod orientation;
pub mod picture;
mod postprocess;
mod preprocess;
mod probabilities;
mod read;
mod reader;
pub mod resample;
mod restore;
mod sliding_window;
mod source;
mod spline;
pub mod survey;
mod told;

mod wide_fields;
mod write;

pub use error::VolumeError;
pub use forecast::Forecast;
pub use foreign::Foreign;
pub use grid::same_grid;
pub use header::{Header, NiftiVersion};
pub use orientation::AxisMap;
pub use postprocess::keep_largest;
pub use preprocess::{Geometry, Preprocessed, preprocess, preprocess_taking};
pub use probabilities::{Probabilities, activate, softmax};
pub use read::{ReadOptions, Volume, peek, read, read_channels};
pub use restore::{Restored, Restorer, Rules, restore};
pub use sliding_window::{Band, Network, Queue, Scan, Sink, SlidingWindow, gaussian_weights, monai_tile_starts, tile_starts};
pub use write::{write_f32, write_labels};
