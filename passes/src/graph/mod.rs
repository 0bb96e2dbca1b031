//! Graph passes, one file each; `registry.rs` lists them.

pub mod assign_layouts;
pub mod canonicalize;
pub mod cast_precision;
pub mod cse;
pub mod dce;
pub mod decompose_norm;
pub mod decompose_transposed;
pub mod drop_dead_bias;
pub mod drop_training_heads;
pub mod fold_norm_affine;
pub mod form_dispatches;
pub mod merge_bias;
