//! PTX on the CPU: parses the text that LLVM emits, runs it warp by warp, and watches every access.
//!
//! Room: the virtual GPU. Parser, decoder, warp-vectorised execution, checks (bounds, races, uninitialised reads, barriers), counters.
//! May import: nothing of ours.
//! Never: knowledge of mnx kernels, bundles or devices; a silent answer to an instruction it does not know.
//! Invariant: the same module, memory, launch and seed give the same result and the same counters for any number of threads, unless the
//! kernel itself races.
//! Start reading at: `module.rs`, then `launch.rs`, `cta.rs`, `exec/mod.rs`.
#![forbid(unsafe_code)]

pub mod check;
pub mod counters;
mod cta;
mod dataflow;
mod decode;
mod error;
mod exec;
pub mod launch;
mod lex;
pub mod memory;
pub mod module;
pub mod numeric;
mod parse;
mod program;
mod syntax;
pub mod tensor;
mod ty;
mod warp;

pub use check::{Checks, Finding, FindingKind};
pub use counters::Counters;
pub use error::{LaunchError, MemoryError, PtxError};
pub use launch::{Launch, Options, Report, launch};
pub use memory::Memory;
pub use module::{Kernel, Module, Param};
pub use syntax::Space;
pub use tensor::MmaModel;

/// One 32-bit register over the 32 lanes of a warp.
pub type Row = [u32; 32];
/// One 64-bit register over the 32 lanes of a warp.
pub type Row64 = [u64; 32];
