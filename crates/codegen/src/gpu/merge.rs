//! Merging what the workgroups of an earlier launch left, in a fixed order.

use super::Args;
use crate::math;
use crate::mlir::{Buffer, Builder, Scalar, Ty, Val};
use mnx_plan::gpu::small::{MERGED_CHANNELS, THREADS};
use mnx_plan::gpu::{MergeGrn, MergeStats, SumParts};

/// Threads that share the parts of one channel.
const SHARES: usize = THREADS / MERGED_CHANNELS;

/// Two passes over the parts: the mean, then the squared differences from it. No division per part, no cancellation.
pub(super) fn stats<'c>(k: &MergeStats, b: &Builder<'c>, buffers: &[Buffer<'c>]) {
    let mut args = Args::new(buffers);
    let (partials, stats) = (args.next(), args.next());
    let shared = b.view(b.shared_memory(4 * THREADS), 0usize, Scalar::F32, THREADS);
    let thread = b.thread();
    let (own, share) = (b.rem(thread, MERGED_CHANNELS), b.div(thread, MERGED_CHANNELS));
    let channel = b.at(own, b.block(0), MERGED_CHANNELS);
    let sample = b.block(1);
    let field = |part: Val<'c>, which: usize| {
        let row = b.at(b.at(which, part, 3), sample, 3 * k.parts);
        b.load(partials, b.at(channel, row, k.channels))
    };
    let parts = |body: &dyn Fn(Val<'c>, Val<'c>) -> Val<'c>| {
        let sum = b.carry(0usize, k.parts.div_ceil(SHARES), 1, &[b.f32(0.0)], |i, sum| {
            let part = b.at(share, i, SHARES);
            b.choose(b.lt(part, k.parts), || vec![body(part, sum[0])], || vec![sum[0]])
        });
        total(b, shared, thread, own, sum[0])
    };
    let sum = parts(&|part, sum| b.fma(field(part, 0), field(part, 1), sum));
    let count = b.f32(1.0 / k.count as f32);
    let mean = b.mul(sum, count);
    let squares = parts(&|part, sum| {
        let apart = b.sub(field(part, 1), mean);
        let between = b.mul(b.mul(apart, apart), field(part, 0));
        b.add(sum, b.add(field(part, 2), between))
    });
    let variance = b.mul(squares, count);
    let rstd = math::rsqrt(b, b.add(variance, b.f32(k.eps.get() as f32)));
    b.when(b.eq(share, 0usize), || {
        let at = b.at(channel, sample, 2 * k.channels);
        b.store(mean, stats, at);
        b.store(rstd, stats, b.add(at, k.channels));
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

pub(super) fn sum_parts<'c>(k: &SumParts, b: &Builder<'c>, buffers: &[Buffer<'c>]) {
    let mut args = Args::new(buffers);
    let (partials, sums) = (args.next(), args.next());
    let (group, sample) = (b.block(0), b.block(1));
    let first = b.mul(group, k.group);
    let last = b.min(b.add(first, k.group), k.parts);
    let groups = k.parts.div_ceil(k.group);
    b.each(b.thread(), k.channels, THREADS, |channel| {
        let sum = b.carry(first, last, 1, &[b.f32(0.0)], |part, sum| {
            let row = b.at(part, sample, k.parts);
            vec![b.add(sum[0], b.load(partials, b.at(channel, row, k.channels)))]
        });
        b.store(sum[0], sums, b.at(channel, b.at(group, sample, groups), k.channels));
    });
}

pub(super) fn grn<'c>(k: &MergeGrn, b: &Builder<'c>, buffers: &[Buffer<'c>]) {
    let mut args = Args::new(buffers);
    let (partials, ratio) = (args.next(), args.next());
    let bytes = b.shared_memory(4 * (k.channels + THREADS));
    let norms = b.view(bytes, 0usize, Scalar::F32, k.channels);
    let sums = b.view(bytes, 4 * k.channels, Scalar::F32, THREADS);
    let (thread, sample) = (b.thread(), b.block(1));
    let own = b.carry(thread, k.channels, THREADS, &[b.f32(0.0)], |channel, own| {
        let sum = b.carry(0usize, k.parts, 1, &[b.f32(0.0)], |part, sum| {
            let row = b.at(part, sample, k.parts);
            vec![b.add(sum[0], b.load(partials, b.at(channel, row, k.channels)))]
        });
        let norm = b.sqrt(sum[0]);
        b.store(norm, norms, channel);
        vec![b.add(own[0], norm)]
    });
    b.store(own[0], sums, thread);
    b.barrier();
    let all = b.carry(0usize, THREADS, 1, &[b.f32(0.0)], |i, sum| vec![b.add(sum[0], b.load(sums, i))]);
    let scale = if k.mean { 1.0 / k.real as f32 } else { 1.0 };
    let below = b.fma(all[0], b.f32(scale), b.f32(k.eps.get() as f32));
    b.each(thread, k.channels, THREADS, |channel| {
        b.store(b.div(b.load(norms, channel), below), ratio, b.at(channel, sample, k.channels));
    });
    debug_assert_eq!(ratio.scalar(), Ty::F32.scalar);
}
