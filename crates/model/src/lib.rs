//! The MedNeXt family: from a TOML config to a graph and to the signature of its checkpoint.
//!
//! Room: config, variants and flavours, topology, key names, graph construction, layer summaries.
//! May import: `mnx-ir`, `mnx-weights` (signatures only), `mnx-artifact` (the settings of a volume's way, which a config only passes on).
//! Never: passes, plans, weights' values, a device.
//! Invariant: `build` and `signature` read one topology, so every param of a graph is in the signature, with the same shape.
//! Start reading at: `config.rs`, then `topology.rs`, `build.rs`.
#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]

mod build;
pub mod config;
mod document;
mod inference;
pub mod keys;
mod prepare;
mod read;
mod signature;
pub mod summary;
mod topology;

pub use build::build;
pub use config::{Config, DEFAULT_EXTENT, Dim, Flavour, NormType, Variant};
pub use keys::{map_keys, to_monai, to_official};
pub use mnx_artifact::{Inference, Normalization, Preprocess};
pub use signature::signature;
pub use summary::{Layer, Summary, summary};
