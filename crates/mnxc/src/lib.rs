//! The compiler's driver: from a config or a graph, through passes, plans and code, to a bundle; and the commands around it.
//!
//! Room: the command line, phases, dumps, bundle assembly, files.
//! May import: everything but the runtime; `mnx-codegen` only with the feature `llvm`.
//! Never: a decision about the network, its schedule or its code; the runtime, a device.
//! Invariant: the same input and options give a byte-identical bundle; a failed command leaves no output file.
//! Start reading at: `driver.rs`, then `bundle.rs`.
#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]

mod bundle;
mod checkpoint;
pub mod children;
pub mod cli;
mod cmd;
pub mod crash;
mod driver;
mod dump;
mod emit;
mod explain;
mod files;
mod header;
mod imported;
mod memory;
pub mod onnx;
mod phase;
mod pipeline;
mod reduce;
mod report;
mod request;
mod runner;
mod source;
mod times;
mod tune;
mod vectors;
