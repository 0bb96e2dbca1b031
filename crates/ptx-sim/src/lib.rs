//! PTX on the CPU: parses the text that LLVM emits, runs it warp by warp, and watches every access.
//!
//! Room: the virtual GPU. Parser, decoder, warp-vectorised execution, checks (bounds, races, uninitialised reads, barriers), counters.
//! May import: nothing of ours.
//! Never: knowledge of mnx kernels, bundles or devices; a silent answer to an instruction it does not know.
//! Invariant: the same module, memory, launch and seed give the same result and the same counters for any number of threads, unless the
//! kernel itself races.
//! Start reading at: `module.rs`, then `launch.rs`, `cta.rs`, `exec/mod.rs`.
#![forbid(unsafe_code)]

pub mod numeric;
pub mod tensor;

/// One 32-bit register over the 32 lanes of a warp.
pub type Row = [u32; 32];
/// One 64-bit register over the 32 lanes of a warp.
pub type Row64 = [u64; 32];
