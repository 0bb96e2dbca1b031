//! Graph-to-graph and weight-to-weight transformations.
//!
//! Room: everything between "the model as written" and "boxes ready to be planned".
//! May import: `mnx-ir`, `mnx-weights`.
//! Never: targets, tile sizes, files, environment variables, LLVM, a device, the interpreter (an oracle is a closure).
//! Invariant: a pass that returns `Changed::No` left the printed graph byte-identical.
//! Start reading at: `pipelines.rs`, then `graph/decompose_norm.rs`.
#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]

pub mod bisect;
pub mod error;
pub mod graph;
pub mod manager;
pub mod options;
pub mod pass;
pub mod pipelines;
pub mod registry;
pub mod rewrite;
pub mod uses;
pub mod weights;

pub use bisect::{Bisection, Verdict, bisect};
pub use error::PassError;
pub use manager::{Manager, Report, Step};
pub use options::Options;
pub use pass::{Changed, Pass, PassCx, Promise};
pub use pipelines::{InferOptions, Pipeline, infer};
pub use registry::{PASSES, PassInfo, WEIGHT_PASSES};
pub use rewrite::{Rewrite, Site};
pub use uses::Uses;
pub use weights::fresh::{fresh, fresh_checkpoint};
pub use weights::upkern::{Upkern, UpkernOptions, upkern};
