//! Merging the partial statistics that the workgroups of a convolution left, in a fixed order.

use super::Args;
use crate::math;
use crate::mlir::{Buffer, Builder, Scalar, Val};
use mnx_plan::gpu::merge_stats::MERGED_CHANNELS;
use mnx_plan::gpu::{MergeStats, THREADS};
use mnx_plan::slot::Slot;
use mnx_plan::work::Moments;

/// Threads that share the parts of one channel.
const SHARES: usize = THREADS / MERGED_CHANNELS;

/// Two passes over the parts: the mean, then the squared differences from it. No division per part, no cancellation.
pub(super) fn emit<'c>(k: &MergeStats, b: &Builder<'c>, args: &Args<'c>) {
    let (partials, stats) = (args.of(Slot::Partials), args.of(Slot::Stats));
    let Moments { channels, count, eps, .. } = k.moments;
    let shared = b.view(b.shared_memory(4 * THREADS), 0usize, Scalar::F32, THREADS);
    let thread = b.thread();
    let (own, share) = (b.rem(thread, MERGED_CHANNELS), b.div(thread, MERGED_CHANNELS));
    let channel = b.at(own, b.block(0), MERGED_CHANNELS);
    let sample = b.block(1);
    let field = |part: Val<'c>, which: usize| {
        let row = b.at(b.at(which, part, 3), sample, 3 * k.parts);
        b.load(partials, b.at(channel, row, channels))
    };
    let parts = |body: &dyn Fn(Val<'c>, Val<'c>) -> Val<'c>| {
        let sum = b.steps(0usize, k.parts.div_ceil(SHARES), 1).carry(&[b.f32(0.0)], |i, sum| {
            let part = b.at(share, i, SHARES);
            b.choose(b.lt(part, k.parts), || vec![body(part, sum[0])], || vec![sum[0]])
        });
        total(b, shared, thread, own, sum[0])
    };
    let sum = parts(&|part, sum| b.fma(field(part, 0), field(part, 1), sum));
    let count = b.f32(1.0 / count as f32);
    let mean = b.mul(sum, count);
    let squares = parts(&|part, sum| {
        let apart = b.sub(field(part, 1), mean);
        let between = b.mul(b.mul(apart, apart), field(part, 0));
        b.add(sum, b.add(field(part, 2), between))
    });
    let variance = b.mul(squares, count);
    let rstd = math::rsqrt(b, b.add(variance, b.f32(eps.get() as f32)));
    b.when(b.eq(share, 0usize), || {
        let at = b.at(channel, sample, 2 * channels);
        b.store(mean, stats, at);
        b.store(rstd, stats, b.add(at, channels));
    });
}

/// Sum over the shares of a channel, in order; every thread gets its channel's.
fn total<'c>(b: &Builder<'c>, shared: Buffer<'c>, thread: Val<'c>, own: Val<'c>, value: Val<'c>) -> Val<'c> {
    b.barrier();
    b.store(value, shared, thread);
    b.barrier();
    let zero = b.f32(0.0);
    (0..SHARES).fold(zero, |sum, share| b.add(sum, b.load(shared, b.add(own, share * MERGED_CHANNELS))))
}
