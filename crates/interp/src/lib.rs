//! Reference semantics: what every op means, one plain loop nest each, in float64 and float32; casts round to bf16 and f16.
//!
//! Room: the definition of the op table; running a graph of any stage, op by op.
//! May import: `mnx-ir`, `mnx-weights`.
//! Never: passes, plans, blocking, threads, layouts (values are dense and channels-first here, whatever the graph says).
//! Invariant: nothing here is optimised beyond letting the innermost loop run along contiguous memory.
//! Start reading at: `eval.rs`, then `conv.rs`.
#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]

pub mod array;
mod conv;
mod elementwise;
pub mod erf;
pub mod eval;
mod grn;
mod norm;
mod pointwise;
pub mod real;
mod round;
pub mod run;
mod shape;
mod weight;

pub use array::Array;
pub use erf::erf;
pub use eval::eval;
pub use real::Real;
pub use run::{InterpError, Interpreter, Results, WeightSource};
