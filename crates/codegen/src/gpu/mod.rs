//! Emitters of GPU kernels: one per family, from its description to MLIR.
//!
//! A kernel is written from the view of one thread. Its phases (stage, compute, store) are kept apart by barriers; global memory is read and written in 16-byte pieces
//! wherever a row is whole.

mod atom;
mod classify;
mod depthwise;
mod epilogue;
mod fold;
mod gemm;
mod merge;
mod mlp;
mod pointwise;
mod stage;
mod vectors;

use crate::mlir::{Buffer, Builder, Val};
use mnx_plan::gpu::GpuKernel;
use mnx_plan::target::Target;

/// Emits a kernel's body on the buffers of `GpuKernel::args`.
pub(crate) fn emit<'c>(kernel: &GpuKernel, _target: &Target, builder: &Builder<'c>, buffers: &[Buffer<'c>]) {
    match kernel {
        GpuKernel::MergeStats(k) => merge::stats(k, builder, buffers),
        GpuKernel::Fold(k) => fold::fold(k, builder, buffers),
        GpuKernel::LayerNorm(k) => fold::layer_norm(k, builder, buffers),
        GpuKernel::SumParts(k) => merge::sum_parts(k, builder, buffers),
        GpuKernel::MergeGrn(k) => merge::grn(k, builder, buffers),
        GpuKernel::Pointwise(k) => pointwise::emit(k, builder, buffers),
        GpuKernel::Classify(k) => classify::emit(k, builder, buffers),
        GpuKernel::Depthwise(k) => depthwise::emit(k, builder, buffers),
        GpuKernel::Mlp(k) => mlp::emit(k, builder, buffers),
        GpuKernel::Gemm(k) => gemm::emit(k, builder, buffers, kernel.geometry().shared_bytes as usize),
    }
}

/// Buffers handed out in the order of the kernel ABI.
pub(crate) struct Args<'a, 'c> {
    rest: &'a [Buffer<'c>],
}

impl<'a, 'c> Args<'a, 'c> {
    pub(crate) fn new(buffers: &'a [Buffer<'c>]) -> Self {
        Self { rest: buffers }
    }

    /// The next buffer.
    pub(crate) fn next(&mut self) -> Buffer<'c> {
        let (first, rest) =
            self.rest.split_first().unwrap_or_else(|| unreachable!("a kernel reads more buffers than its description lists"));
        self.rest = rest;
        *first
    }
}

/// The warp of a thread, and the lane in it.
pub(crate) fn warp_and_lane<'c>(b: &Builder<'c>, thread: Val<'c>) -> (Val<'c>, Val<'c>) {
    (b.div(thread, 32usize), b.rem(thread, 32usize))
}
