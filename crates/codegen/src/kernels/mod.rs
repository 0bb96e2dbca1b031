//! Emitters: one per kind of kernel, from its description to MLIR.

mod classify;
mod merge;
mod mlp;
mod pieces;
mod pointwise;

pub use pieces::{Piece, pieces};

use crate::mlir::{Buffer, Builder, Val};
use mnx_plan::kernel::Kernel;
use mnx_plan::target::Target;
use mnx_plan::tile_mlp::{check_classify, check_mlp, check_pointwise};

/// Whether code can be made for a kernel; the reason if not.
///
/// # Errors
/// What is wrong with its tile or sizes.
pub fn check(kernel: &Kernel, _target: &Target) -> Result<(), String> {
    match kernel {
        Kernel::MergeStats(_) | Kernel::MergeGrn(_) => Ok(()),
        Kernel::Mlp(k) => all(check_mlp(k)),
        Kernel::Pointwise(k) => all(check_pointwise(k)),
        Kernel::Classify(k) => all(check_classify(k)),
        Kernel::Depthwise(_) => Err(format!(
            "{} is not built into this compiler",
            kernel.strategy()
        )),
    }
}

/// All complaints in one.
fn all(complaints: Vec<String>) -> Result<(), String> {
    if complaints.is_empty() {
        Ok(())
    } else {
        Err(complaints.join("; "))
    }
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
        Kernel::MergeStats(k) => merge::stats(k, target, builder, buffers, workgroup),
        Kernel::MergeGrn(k) => merge::grn(k, target, builder, buffers, workgroup),
        Kernel::Mlp(k) => mlp::emit(k, target, builder, buffers, workgroup, scratch),
        Kernel::Pointwise(k) => pointwise::emit(k, target, builder, buffers, workgroup, scratch),
        Kernel::Classify(k) => classify::emit(k, target, builder, buffers, workgroup),
        Kernel::Depthwise(_) => unreachable!("refused by `check`"),
    }
}
