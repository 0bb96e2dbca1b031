//! From kernel descriptions to machine code: MLIR modules built with melior, LLVM optimisation and objects by inkwell, one shared object per target.
//!
//! Room: emitters for CPUs (`kernels/`) and GPUs (`gpu/`), the typed MLIR layer (`mlir/`), per-target lowering and linking (`target/`), elementary functions (`math.rs`).
//! May import: `mnx-plan`, `mnx-artifact`, melior, mlir-sys, inkwell. The only crate that names those three.
//! Never: the IR, passes, weights, the runtime, a device.
//! Invariant: the same kernels and target give the same bytes, whatever the number of threads.
//! Start reading at: `compile` below, then `mlir/mod.rs`, then `kernels/merge_stats.rs` (the smallest emitter).
#![allow(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]

mod args;
mod error;
mod gemm;
mod gpu;
pub mod kernels;
mod math;
pub mod mlir;
mod target;

pub use error::CodegenError;
pub use target::{CompileTimes, Compiled, Options, Stage, ptxas};

use mnx_plan::kernel::Kernel;
use mnx_plan::target::Target;

/// The LLVM that code is made with, such as `22.1.8`: another one may make other code of the same kernels.
pub fn llvm_version() -> String {
    let (major, minor, patch) = inkwell::support::get_llvm_version();
    format!("{major}.{minor}.{patch}")
}

/// Compiles kernels into one shared object that exports each under its symbol; see `mnx_artifact::program` for the ABI.
///
/// `observer` is shown every intermediate text and object, kernel by kernel in the given order.
///
/// # Errors
/// Two kernels under one symbol, a kernel whose tile does not suit the target, a missing linker, or a defect of an emitter.
pub fn compile(
    kernels: &[(String, Kernel)],
    target: &Target,
    observer: &mut dyn FnMut(Stage, &str, &[u8]),
) -> Result<Vec<u8>, CodegenError> {
    let options = Options { stages: vec![Stage::Mlir, Stage::Llvm, Stage::Object], ..Options::default() };
    compile_with(kernels, target, &options, observer).map(|c| c.library)
}

/// As [`compile`], with a say in which stages are shown and how many threads work, and with the time each stage took.
///
/// # Errors
/// As [`compile`].
pub fn compile_with(
    kernels: &[(String, Kernel)],
    target: &Target,
    options: &Options,
    observer: &mut dyn FnMut(Stage, &str, &[u8]),
) -> Result<Compiled, CodegenError> {
    target::compile(kernels, target, options, observer)
}
