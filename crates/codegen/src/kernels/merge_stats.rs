//! Merging the partial sums of a norm's statistics, in float64 throughout.

use super::Site;
use super::pieces::over_channels;
use crate::mlir::{Scalar, Ty};
use mnx_plan::host::MergeStats;
use mnx_plan::slot::Slot;
use mnx_plan::work::Moments;

/// One workgroup per sample.
pub(super) fn emit(k: &MergeStats, site: &Site<'_, '_>) {
    let &Site { b, cpu, args, workgroup: sample, .. } = site;
    let (partials, out) = (args.of(Slot::Partials), args.of(Slot::Stats));
    let Moments { channels, count: voxels, eps, .. } = k.moments;
    let row = 2 * channels;
    let partials = b.shifted(partials, b.mul(sample, k.parts * row));
    let out = b.shifted(out, b.mul(sample, row));
    over_channels(b, channels, cpu.lanes / 2, |c, lanes| {
        let ty = Ty::vec(Scalar::F64, lanes);
        let zero = b.zero(ty);
        let sums = b.steps(0, k.parts, 1).carry(&[zero, zero], |p, sums| {
            let at = b.at(c, p, row);
            let s = b.load_vec(partials, at, lanes);
            let q = b.load_vec(partials, b.add(at, channels), lanes);
            vec![b.add(sums[0], s), b.add(sums[1], q)]
        });
        let count = b.float(ty, 1.0 / voxels as f64);
        let mean = b.mul(sums[0], count);
        let square = b.mul(sums[1], count);
        let variance = b.max(b.sub(square, b.mul(mean, mean)), zero);
        let deviation = b.sqrt(b.add(variance, b.float(ty, eps.get())));
        let rstd = b.div(b.float(ty, 1.0), deviation);
        b.store(b.truncate(mean), out, c);
        b.store(b.truncate(rstd), out, b.add(c, channels));
    });
}
