//! Soft-max and arg-max over classes: a thread per voxel.

use super::Args;
use crate::math;
use crate::mlir::{Builder, Ty};
use mnx_plan::gpu::{Classify, THREADS};
use mnx_plan::slot::Slot;

pub(super) fn emit<'c>(kernel: &Classify, b: &Builder<'c>, args: &Args<'c>) {
    let (x, y) = (args.of(Slot::X), args.of(Slot::Y));
    let k = &kernel.classify;
    let voxel = b.at(b.thread(), b.block(0), THREADS);
    let first = b.mul(b.block(1), k.classes * k.space);
    let at = |class| b.add(b.at(first, class, k.space), voxel);
    b.when(b.lt(voxel, k.space), || {
        if k.argmax {
            let start = b.load(x, at(0usize.into()));
            let found = b.steps(1usize, k.classes, 1).carry(&[start, b.int(Ty::I32, 0)], |class, best| {
                let value = b.load(x, at(class));
                let greater = b.gt(value, best[0]);
                let number = b.index_cast(class, crate::mlir::Scalar::I32);
                vec![b.select(greater, value, best[0]), b.select(greater, number, best[1])]
            });
            b.store(found[1], y, b.at(voxel, b.block(1), k.space));
            return;
        }
        let start = b.load(x, at(0usize.into()));
        let top = b.steps(1usize, k.classes, 1).carry(&[start], |class, best| vec![b.max(best[0], b.load(x, at(class)))]);
        let sum = b.steps(0usize, k.classes, 1).carry(&[b.f32(0.0)], |class, sum| {
            let e = math::exp(b, b.sub(b.load(x, at(class)), top[0]));
            b.store(e, y, at(class));
            vec![b.add(sum[0], e)]
        });
        b.each(0usize, k.classes, 1, |class| {
            let e = b.load(y, at(class));
            b.store(b.div(e, sum[0]), y, at(class));
        });
    });
}
