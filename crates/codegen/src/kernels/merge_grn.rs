//! Merging the partial sums of GRN's ratio, in float64 throughout.

use super::pieces::over_channels;
use super::{Site, pieces};
use crate::mlir::{Scalar, Ty, Val};
use mnx_plan::host::MergeGrn;
use mnx_plan::slot::Slot;
use mnx_plan::work::GrnRatio;

/// One workgroup per sample.
pub(super) fn emit<'c>(k: &MergeGrn, site: &Site<'_, 'c>) {
    let &Site { b, cpu, args, workgroup: sample, .. } = site;
    let (partials, out) = (args.of(Slot::Partials), args.of(Slot::Ratio));
    let GrnRatio { channels, eps, mean, .. } = k.ratio;
    let partials = b.shifted(partials, b.mul(sample, k.parts * channels));
    let out = b.shifted(out, b.mul(sample, channels));
    let norms = |c: Val<'c>, lanes: usize| {
        let zero = b.zero(Ty::vec(Scalar::F64, lanes));
        let sum = b.steps(0, k.parts, 1).carry(&[zero], |p, sum| {
            let part = b.load_vec(partials, b.at(c, p, channels), lanes);
            vec![b.add(sum[0], part)]
        });
        b.sqrt(sum[0])
    };
    // The norms are summed up and thrown away, then computed again: cheaper than keeping them, and exactly the same.
    let mut total = b.f64(0.0);
    for piece in pieces(channels, cpu.lanes / 2) {
        let end = piece.first + piece.count * piece.lanes;
        total = b
            .steps(piece.first, end, piece.lanes)
            .carry(&[total], |c, total| vec![b.add(total[0], b.reduce_add(norms(c, piece.lanes)))])[0];
    }
    let share = if mean { 1.0 / channels as f64 } else { 1.0 };
    let divisor = b.add(b.mul(total, b.f64(share)), b.f64(eps.get()));
    over_channels(b, channels, cpu.lanes / 2, |c, lanes| {
        let ratio = b.div(norms(c, lanes), b.broadcast(divisor, lanes));
        b.store(b.truncate(ratio), out, c);
    });
}
