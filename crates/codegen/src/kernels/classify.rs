//! Soft-max and arg-max over the classes of a port, vectors along the voxels.

use super::Site;
use crate::math::exp;
use crate::mlir::{Buffer, Builder, Scalar, Ty, Val};
use mnx_plan::host;
use mnx_plan::slot::Slot;
use mnx_plan::work::Classify;

pub(super) fn emit<'c>(kernel: &host::Classify, site: &Site<'_, 'c>) {
    let &Site { b, cpu, args, workgroup, .. } = site;
    let (x, y) = (args.of(Slot::X), args.of(Slot::Y));
    let (k, per_workgroup) = (&kernel.classify, kernel.tile.voxels);
    let parts = k.space.div_ceil(per_workgroup);
    let sample = b.div(workgroup, parts);
    let start = b.mul(b.rem(workgroup, parts), per_workgroup);
    let end = b.min(b.add(start, per_workgroup), k.space);
    let x = b.shifted(x, b.mul(sample, k.classes * k.space));
    let y = if k.argmax { b.shifted(y, b.mul(sample, k.space)) } else { b.shifted(y, b.mul(sample, k.classes * k.space)) };
    let sample = Sample { k, b, x, y };
    let body = |voxel: Val<'c>, lanes: usize| {
        if k.argmax {
            sample.argmax(voxel, lanes);
        } else {
            sample.softmax(voxel, lanes);
        }
    };
    let lanes = cpu.lanes;
    let whole = b.mul(b.div(b.sub(end, start), lanes), lanes);
    let middle = b.add(start, whole);
    b.each(start, middle, lanes, |voxel| body(voxel, lanes));
    b.each(middle, end, 1, |voxel| body(voxel, 1));
}

/// One sample's classes: its logits in `x`, what becomes of them in `y`.
struct Sample<'a, 'c> {
    k: &'a Classify,
    b: &'a Builder<'c>,
    x: Buffer<'c>,
    y: Buffer<'c>,
}

impl<'c> Sample<'_, 'c> {
    /// First class of the greatest value.
    fn argmax(&self, voxel: Val<'c>, lanes: usize) {
        let &Self { k, b, x, y } = self;
        let ty = Ty::vec(Scalar::I32, lanes);
        let first = [b.load_vec(x, voxel, lanes), b.int(ty, 0)];
        let best = b.steps(1usize, k.classes, 1).carry(&first, |class, best| {
            let value = b.load_vec(x, b.at(voxel, class, k.space), lanes);
            let greater = b.gt(value, best[0]);
            let number = b.broadcast(b.index_cast(class, Scalar::I32), lanes);
            vec![b.select(greater, value, best[0]), b.select(greater, number, best[1])]
        });
        b.store(best[1], y, voxel);
    }

    /// `exp(x - max) / sum`, in three passes over the classes; the second leaves the exponentials in y.
    fn softmax(&self, voxel: Val<'c>, lanes: usize) {
        let &Self { k, b, x, y } = self;
        let load = |from: Buffer<'c>, class: Val<'c>| b.load_vec(from, b.at(voxel, class, k.space), lanes);
        let first = load(x, 0usize.into());
        let most = b.steps(1usize, k.classes, 1).carry(&[first], |class, most| vec![b.max(most[0], load(x, class))])[0];
        let zero = b.zero(Ty::vec(Scalar::F32, lanes));
        let sum = b.steps(0usize, k.classes, 1).carry(&[zero], |class, sum| {
            let power = exp(b, b.sub(load(x, class), most));
            b.store(power, y, b.at(voxel, class, k.space));
            vec![b.add(sum[0], power)]
        })[0];
        let share = b.div(b.float(zero.ty(), 1.0), sum);
        b.each(0usize, k.classes, 1, |class| {
            let value = b.mul(load(y, class), share);
            b.store(value, y, b.at(voxel, class, k.space));
        });
    }
}
