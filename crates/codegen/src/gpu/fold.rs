//! Normalisation or GRN folded into a weight, a warp per row.

use super::{Args, warp_and_lane};
use crate::mlir::{Builder, Val};
use mnx_plan::gpu::fold::Folded;
use mnx_plan::gpu::{Fold, THREADS};
use mnx_plan::slot::Slot;

/// Rows per workgroup.
const ROWS: usize = THREADS / 32;

pub(super) fn emit<'c>(k: &Fold, b: &Builder<'c>, args: &Args<'c>) {
    let [w, bias, wf, bf] = [Slot::W, Slot::B, Slot::Wf, Slot::Bf].map(|slot| args.of(slot));
    let (warp, lane) = warp_and_lane(b, b.thread());
    let sample = b.block(1);
    let row = b.at(warp, b.block(0), ROWS);
    b.when(b.lt(row, k.rows), || {
        let to = b.at(row, sample, k.rows);
        let start = b.f32(0.0);
        let moved = b.steps(lane, k.channels, 32).carry(&[start], |i, sum| {
            let weight = b.load(w, b.at(i, row, k.channels));
            let store = |value: Val<'c>| {
                let rounded = b.narrow(value, wf.scalar());
                b.store(rounded, wf, b.at(i, to, k.channels));
                b.widen(rounded)
            };
            let sum = match k.folded {
                Folded::Norm => {
                    let at = b.at(i, sample, 2 * k.channels);
                    let (mean, rstd) = (b.load(args.of(Slot::Stats), at), b.load(args.of(Slot::Stats), b.add(at, k.channels)));
                    // The rounded weight, so that a channel's mean cancels exactly.
                    let used = store(b.mul(weight, rstd));
                    b.fma(b.neg(used), mean, sum[0])
                }
                Folded::Grn => {
                    let ratio = b.load(args.of(Slot::Ratio), b.at(i, sample, k.channels));
                    let scale = b.fma(b.load(args.of(Slot::Gamma), i), ratio, b.f32(1.0));
                    store(b.mul(weight, scale));
                    b.fma(weight, b.load(args.of(Slot::Beta), i), sum[0])
                }
            };
            vec![sum]
        });
        let moved = b.sum_lanes(moved[0], 31);
        b.when(b.eq(lane, 0usize), || b.store(b.add(b.load(bias, row), moved), bf, to));
    });
}
