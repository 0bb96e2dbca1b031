//! Layer norm over the channels of a voxel, a warp each.

use super::{Args, warp_and_lane};
use crate::math;
use crate::mlir::{Builder, Val};
use mnx_plan::gpu::{LayerNorm, THREADS, padded};
use mnx_plan::slot::Slot;

/// Voxels per workgroup.
const ROWS: usize = THREADS / 32;

pub(super) fn emit<'c>(k: &LayerNorm, b: &Builder<'c>, args: &Args<'c>) {
    let y = args.of(Slot::Y);
    let (warp, lane) = warp_and_lane(b, b.thread());
    let voxel = b.at(warp, b.block(0), ROWS);
    let pitch = padded(k.channels);
    let share = b.f32(1.0 / k.channels as f32);
    b.when(b.lt(voxel, k.voxels), || {
        let at = |channel: Val<'c>| b.at(channel, voxel, pitch);
        let sum = b.steps(lane, k.channels, 32).carry(&[b.f32(0.0)], |c, sum| vec![b.add(sum[0], b.widen(b.load(y, at(c))))]);
        let mean = b.mul(b.sum_lanes(sum[0], 31), share);
        let squares = b.steps(lane, k.channels, 32).carry(&[b.f32(0.0)], |c, sum| {
            let apart = b.sub(b.widen(b.load(y, at(c))), mean);
            vec![b.fma(apart, apart, sum[0])]
        });
        let variance = b.mul(b.sum_lanes(squares[0], 31), share);
        let rstd = math::rsqrt(b, b.add(variance, b.f32(k.eps.get() as f32)));
        b.each(lane, k.channels, 32, |c| {
            let apart = b.sub(b.widen(b.load(y, at(c))), mean);
            b.store(b.narrow(b.mul(apart, rstd), y.scalar()), y, at(c));
        });
    });
}
