//! Named host tensors: checkpoints, and the recipes that turn them into what kernels read.
//!
//! Room: safetensors files, the deterministic test formula, default initialisation, weight recipes.
//! May import: serde, safetensors; nothing of ours.
//! Never: the IR, devices, network topology.
//! Start reading at: `recipe.rs`, then `eval.rs`, `checkpoint.rs`, `det.rs`.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod det;
mod eval;
pub mod file;
pub mod recipe;
pub mod signature;
pub mod tensor;

pub use checkpoint::Checkpoint;
pub use det::{det, det_input, fnv1a64, golden_weight, init_uniform};
pub use recipe::{Half, Recipe};
pub use signature::{Role, Signature, TensorRole};
pub use tensor::{Tensor, WeightsError};
