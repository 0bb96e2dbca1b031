//! Emitters: one per kind of kernel, from its description to MLIR.

mod classify;
pub(crate) mod depthwise;
mod merge;
mod mlp;
mod pieces;
mod pointwise;

pub use pieces::{Piece, pieces};

use crate::mlir::{Buffer, Builder, Val};
use mnx_plan::kernel::Kernel;
use mnx_plan::target::Target;

/// Whether code can be made for a kernel; the reason if not.
///
/// # Errors
/// What is wrong with its tile or sizes.
pub fn check(kernel: &Kernel, target: &Target) -> Result<(), String> {
    mnx_plan::knobs::check(kernel, target)
}

/// Emits a kernel's body: the work of workgroup `workgroup`, on the buffers of `Kernel::args`.
pub(crate) fn emit<'c>(
    kernel: &Kernel,
    target: &Target,
    builder: &Builder<'c>,
    buffers: &[Buffer<'c>],
    workgroup: Val<'c>,
    scratch: Buffer<'c>,
) {
    match kernel {
        Kernel::Depthwise(k) => depthwise::emit(k, target, builder, buffers, workgroup, scratch),
        Kernel::MergeStats(k) => merge::stats(k, target, builder, buffers, workgroup),
        Kernel::MergeGrn(k) => merge::grn(k, target, builder, buffers, workgroup),
        Kernel::Mlp(k) => mlp::emit(k, target, builder, buffers, workgroup, scratch),
        Kernel::Pointwise(k) => pointwise::emit(k, target, builder, buffers, workgroup, scratch),
        Kernel::Classify(k) => classify::emit(k, target, builder, buffers, workgroup),
        Kernel::Gpu(_) => unreachable!("check refuses GPU kernels on a CPU"),
    }
}
