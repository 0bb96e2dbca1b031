//! Other people's checkpoints: nnU-Net's result folders (v1 and v2), MONAI's bundles, either of them zipped, PyTorch's state dicts.
//!
//! Room: a pickle machine that executes nothing, PyTorch's file formats, what tensors, plans and trainers say of a network.
//! May import: `mnx-weights` (checkpoints), `mnx-model` (configs, signatures, key names), `mnx-artifact` (the rules' types).
//! Never: Python, code named by a file, a path taken from a file's contents (a zip's plain names below a temporary folder aside); passes,
//! plans, devices.
//! Invariant: a hostile file ends in an error within the limits of `limits.rs`; nothing of it is run.
//! Start reading at: `folder.rs`, then `network.rs`; `pickle/machine.rs` and `torch/mod.rs` for the formats.
#![forbid(unsafe_code)]

mod config_text;
pub mod error;
mod fields;
mod folder;
mod import;
pub mod limits;
mod monai;
mod network;
mod nnunet_v1;
mod nnunet_v2;
pub mod options;
mod patch;
mod picking;
pub mod pickle;
mod postprocessing;
mod rules;
mod state;
pub mod torch;
mod unpack;
mod wording;

pub use error::ImportError;
pub use import::{Fold, Import};
pub use options::{Heads, Options, Which};
