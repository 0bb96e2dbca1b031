//! The contract between compiler and runtime: what a `.mnxa` bundle says.
//!
//! Room: manifest, programs (launch lists), the kernel ABI and the bundle container.
//! May import: serde, blake3; nothing of ours.
//! Never: the IR, passes, plans, LLVM, a device.
//! Start reading at: `manifest.rs`, `inference.rs`, then `program.rs`, then `bundle.rs` (`container.rs` is its header, `check.rs` what a manifest must satisfy).
#![forbid(unsafe_code)]

pub mod bundle;
mod check;
mod check_inference;
mod container;
mod error;
pub mod inference;
pub mod manifest;
pub mod normalization;
pub mod program;

pub use bundle::{Bundle, BundleWriter};
pub use container::{Section, SectionKind};
pub use error::BundleError;
pub use inference::{
    Activation, Average, Connectivity, Deviation, Gaussian, Inference, Postprocess, Preprocess, ProbabilityFile, Reader, Resampling,
    SeparateZ, Sequence, Windows,
};
pub use manifest::{Fold, Label, Manifest, ModelCard, Port, TestVectors, WeightEntry};
pub use normalization::Normalization;
pub use program::{BufferRef, Command, Cost, Element, Geometry, GpuNeeds, Program, Space, Write, storage_tolerance};

/// Version of the bundle format; a runtime refuses any other, naming both.
pub const FORMAT_VERSION: u32 = 1;

/// Dynamic shared memory of one block that no NVIDIA GPU exceeds (227 KiB, compute capability 9.0 and 10.0).
pub const MAX_SHARED_BYTES: u32 = 227 << 10;

/// Every buffer of an arena and every weight starts at a multiple of this many bytes.
pub const ALIGNMENT: u64 = 64;
