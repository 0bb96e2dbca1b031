//! A warp per row: normalisation or GRN folded into a weight's row, layer norm of a voxel's channels.

use super::{Args, warp_and_lane};
use crate::math;
use crate::mlir::{Buffer, Builder, Val};
use mnx_plan::gpu::small::{Folded, THREADS};
use mnx_plan::gpu::{Fold, LayerNorm, padded};

/// Rows per workgroup.
const ROWS: usize = THREADS / 32;

pub(super) fn fold<'c>(k: &Fold, b: &Builder<'c>, buffers: &[Buffer<'c>]) {
    let mut args = Args::new(buffers);
    let source: Vec<Buffer<'c>> = (0..if k.folded == Folded::Norm { 1 } else { 3 }).map(|_| args.next()).collect();
    let (w, bias, wf, bf) = (args.next(), args.next(), args.next(), args.next());
    let (warp, lane) = warp_and_lane(b, b.thread());
    let sample = b.block(1);
    let row = b.at(warp, b.block(0), ROWS);
    b.when(b.lt(row, k.rows), || {
        let to = b.at(row, sample, k.rows);
        let start = b.f32(0.0);
        let moved = b.carry(lane, k.channels, 32, &[start], |i, sum| {
            let weight = b.load(w, b.at(i, row, k.channels));
            let store = |value: Val<'c>| {
                let rounded = b.narrow(value, wf.scalar());
                b.store(rounded, wf, b.at(i, to, k.channels));
                b.widen(rounded)
            };
            let sum = match k.folded {
                Folded::Norm => {
                    let at = b.at(i, sample, 2 * k.channels);
                    let (mean, rstd) = (b.load(source[0], at), b.load(source[0], b.add(at, k.channels)));
                    // The rounded weight, so that a channel's mean cancels exactly.
                    let used = store(b.mul(weight, rstd));
                    b.fma(b.neg(used), mean, sum[0])
                }
                Folded::Grn => {
                    let ratio = b.load(source[0], b.at(i, sample, k.channels));
                    let scale = b.fma(b.load(source[1], i), ratio, b.f32(1.0));
                    store(b.mul(weight, scale));
                    b.fma(weight, b.load(source[2], i), sum[0])
                }
            };
            vec![sum]
        });
        let moved = b.sum_lanes(moved[0], 31);
        b.when(b.eq(lane, 0usize), || b.store(b.add(b.load(bias, row), moved), bf, to));
    });
}

pub(super) fn layer_norm<'c>(k: &LayerNorm, b: &Builder<'c>, buffers: &[Buffer<'c>]) {
    let y = Args::new(buffers).next();
    let (warp, lane) = warp_and_lane(b, b.thread());
    let voxel = b.at(warp, b.block(0), ROWS);
    let pitch = padded(k.channels);
    let share = b.f32(1.0 / k.channels as f32);
    b.when(b.lt(voxel, k.voxels), || {
        let at = |channel: Val<'c>| b.at(channel, voxel, pitch);
        let sum = b.carry(lane, k.channels, 32, &[b.f32(0.0)], |c, sum| vec![b.add(sum[0], b.widen(b.load(y, at(c))))]);
        let mean = b.mul(b.sum_lanes(sum[0], 31), share);
        let squares = b.carry(lane, k.channels, 32, &[b.f32(0.0)], |c, sum| {
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
