//! Merging partial sums: statistics of a norm, and GRN's ratio. Tiny kernels, in float64 throughout.

use super::pieces;
use crate::mlir::{Buffer, Builder, Scalar, Ty, Val};
use mnx_plan::kernel::{MergeGrn, MergeStats};
use mnx_plan::target::Target;

/// Runs `body(first channel, lanes)` over vectors that cover `channels`.
fn over_channels<'c>(b: &Builder<'c>, channels: usize, lanes: usize, mut body: impl FnMut(Val<'c>, usize)) {
    for piece in pieces(channels, lanes) {
        let end = piece.first + piece.count * piece.lanes;
        b.each(piece.first, end, piece.lanes, |c| body(c, piece.lanes));
    }
}

pub(super) fn stats<'c>(k: &MergeStats, target: &Target, b: &Builder<'c>, buffers: &[Buffer<'c>], sample: Val<'c>) {
    let &[partials, out] = buffers else { unreachable!("two buffers by `Kernel::args`") };
    let row = 2 * k.channels;
    let partials = b.shifted(partials, b.mul(sample, k.parts * row));
    let out = b.shifted(out, b.mul(sample, row));
    over_channels(b, k.channels, target.lanes / 2, |c, lanes| {
        let ty = Ty::vec(Scalar::F64, lanes);
        let zero = b.zero(ty);
        let sums = b.carry(0, k.parts, 1, &[zero, zero], |p, sums| {
            let at = b.at(c, p, row);
            let s = b.load_vec(partials, at, lanes);
            let q = b.load_vec(partials, b.add(at, k.channels), lanes);
            vec![b.add(sums[0], s), b.add(sums[1], q)]
        });
        let count = b.float(ty, 1.0 / k.count as f64);
        let mean = b.mul(sums[0], count);
        let square = b.mul(sums[1], count);
        let variance = b.max(b.sub(square, b.mul(mean, mean)), zero);
        let deviation = b.sqrt(b.add(variance, b.float(ty, k.eps.get())));
        let rstd = b.div(b.float(ty, 1.0), deviation);
        b.store(b.truncate(mean), out, c);
        b.store(b.truncate(rstd), out, b.add(c, k.channels));
    });
}

pub(super) fn grn<'c>(k: &MergeGrn, target: &Target, b: &Builder<'c>, buffers: &[Buffer<'c>], sample: Val<'c>) {
    let &[partials, out] = buffers else { unreachable!("two buffers by `Kernel::args`") };
    let partials = b.shifted(partials, b.mul(sample, k.parts * k.channels));
    let out = b.shifted(out, b.mul(sample, k.channels));
    let norms = |c: Val<'c>, lanes: usize| {
        let zero = b.zero(Ty::vec(Scalar::F64, lanes));
        let sum = b.carry(0, k.parts, 1, &[zero], |p, sum| {
            let part = b.load_vec(partials, b.at(c, p, k.channels), lanes);
            vec![b.add(sum[0], part)]
        });
        b.sqrt(sum[0])
    };
    // The norms are summed up and thrown away, then computed again: cheaper than keeping them, and exactly the same.
    let mut total = b.f64(0.0);
    for piece in pieces(k.channels, target.lanes / 2) {
        let end = piece.first + piece.count * piece.lanes;
        total = b.carry(piece.first, end, piece.lanes, &[total], |c, total| vec![b.add(total[0], b.reduce_add(norms(c, piece.lanes)))])[0];
    }
    let share = if k.mean { 1.0 / k.channels as f64 } else { 1.0 };
    let divisor = b.add(b.mul(total, b.f64(share)), b.f64(k.eps.get()));
    over_channels(b, k.channels, target.lanes / 2, |c, lanes| {
        let ratio = b.div(norms(c, lanes), b.broadcast(divisor, lanes));
        b.store(b.truncate(ratio), out, c);
    });
}
