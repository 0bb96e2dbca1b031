//! Emitters of GPU kernels: one per family, from its description to MLIR.
//!
//! A kernel is written from the view of one thread. Its phases (stage, compute, store) are kept apart by barriers; global memory is read and written in 16-byte pieces
//! wherever a row is whole.

mod atom;
mod epilogue;
mod ring;
mod stage;
mod tile;
mod vectors;

use crate::args::Args;
use crate::mlir::{Builder, Val};
use mnx_plan::gpu::GpuKernel;

/// One emitter per row of the table of GPU kernels: `emit` of the module that the row names.
macro_rules! emitters {
    ($( $(#[doc = $about:literal])+ $Name:ident in $module:ident; )+) => {
        $( mod $module; )+

        /// Emits a kernel's body on its buffers.
        pub(crate) fn emit<'c>(kernel: &GpuKernel, builder: &Builder<'c>, args: &Args<'c>) {
            match kernel { $( GpuKernel::$Name(k) => $module::emit(k, builder, args), )+ }
        }
    };
}
mnx_plan::gpu_kernels!(emitters!());

/// The warp of a thread, and the lane in it.
pub(crate) fn warp_and_lane<'c>(b: &Builder<'c>, thread: Val<'c>) -> (Val<'c>, Val<'c>) {
    (b.div(thread, 32usize), b.rem(thread, 32usize))
}
