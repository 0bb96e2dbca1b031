//! Partial sums, fewer of them, in a fixed order.

use super::Args;
use crate::mlir::Builder;
use mnx_plan::gpu::{SumParts, THREADS};
use mnx_plan::slot::Slot;

pub(super) fn emit<'c>(k: &SumParts, b: &Builder<'c>, args: &Args<'c>) {
    let (partials, sums) = (args.of(Slot::Partials), args.of(Slot::Sums));
    let (group, sample) = (b.block(0), b.block(1));
    let first = b.mul(group, k.group);
    let last = b.min(b.add(first, k.group), k.parts);
    let groups = k.parts.div_ceil(k.group);
    b.each(b.thread(), k.channels, THREADS, |channel| {
        let sum = b.steps(first, last, 1).carry(&[b.f32(0.0)], |part, sum| {
            let row = b.at(part, sample, k.parts);
            vec![b.add(sum[0], b.load(partials, b.at(channel, row, k.channels)))]
        });
        b.store(sum[0], sums, b.at(channel, b.at(group, sample, groups), k.channels));
    });
}
