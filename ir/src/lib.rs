//! The typed tensor graph: what a MedNeXt computes, as a closed set of ops over dense tensors.
//!
//! Room: op table, types, inference, graph, modules, patterns of boxes, patches, verifier, text form, petgraph view.
//! May import: petgraph; nothing of ours.
//! Never: weights' values, tile sizes, targets, files, a device.
//! Invariants: printing and parsing are exact inverses; the one serial form is the text; only `Patch` application rewrites ops.
//! Start reading at: `ops.rs`, then `graph.rs`.
#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]

pub mod attrs;
pub mod builder;
pub mod dataflow;
pub mod diag;
pub mod entity;
pub mod graph;
pub mod infer;
pub mod module;
pub mod ops;
pub mod parse;
pub mod patch;
pub mod pattern;
pub mod print;
pub mod stage;
pub mod types;
pub mod verify;

pub use attrs::*;
pub use diag::{Diagnostic, Loc};
pub use entity::{DispatchId, OpId, ValueId};
pub use graph::{Dispatch, Graph, OpNode, ValueNode};
pub use module::Module;
pub use ops::{Builder, Op, OpCode, OpInfo, Operands};
pub use patch::Patch;
pub use pattern::{Part, Pattern};
pub use stage::Stage;
pub use types::{DType, Layout, Shape, TensorType};
