//! GRN's ratio from partial sums of squares, in a fixed order.

use super::Args;
use crate::mlir::{Builder, Scalar, Ty};
use mnx_plan::gpu::{MergeGrn, THREADS};
use mnx_plan::slot::Slot;

pub(super) fn emit<'c>(k: &MergeGrn, b: &Builder<'c>, args: &Args<'c>) {
    let (partials, ratio) = (args.of(Slot::Partials), args.of(Slot::Ratio));
    let channels = k.channels();
    let bytes = b.shared_memory(4 * (channels + THREADS));
    let norms = b.view(bytes, 0usize, Scalar::F32, channels);
    let sums = b.view(bytes, 4 * channels, Scalar::F32, THREADS);
    let (thread, sample) = (b.thread(), b.block(1));
    let own = b.steps(thread, channels, THREADS).carry(&[b.f32(0.0)], |channel, own| {
        let sum = b.steps(0usize, k.parts, 1).carry(&[b.f32(0.0)], |part, sum| {
            let row = b.at(part, sample, k.parts);
            vec![b.add(sum[0], b.load(partials, b.at(channel, row, channels)))]
        });
        let norm = b.sqrt(sum[0]);
        b.store(norm, norms, channel);
        vec![b.add(own[0], norm)]
    });
    b.store(own[0], sums, thread);
    b.barrier();
    let all = b.steps(0usize, THREADS, 1).carry(&[b.f32(0.0)], |i, sum| vec![b.add(sum[0], b.load(sums, i))]);
    let scale = if k.ratio.mean { 1.0 / k.ratio.channels as f32 } else { 1.0 };
    let below = b.fma(all[0], b.f32(scale), b.f32(k.ratio.eps.get() as f32));
    b.each(thread, channels, THREADS, |channel| {
        b.store(b.div(b.load(norms, channel), below), ratio, b.at(channel, sample, channels));
    });
    debug_assert_eq!(ratio.scalar(), Ty::F32.scalar);
}
