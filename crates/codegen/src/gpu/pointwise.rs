//! Pointwise convolutions from or to a port: a thread per voxel.

use super::Args;
use crate::mlir::{Builder, Val};
use mnx_plan::gpu::{self, THREADS};
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::voxels;
use mnx_plan::work::Pointwise;

/// Output channels summed side by side.
const COLUMNS: usize = 8;

/// Channels of an inner tensor that are read at once: 16 bytes of a 16-bit type.
const PIECE: usize = 8;

pub(super) fn emit<'c>(kernel: &gpu::Pointwise, b: &Builder<'c>, args: &Args<'c>) {
    let (x, w, y) = (args.of(Slot::X), args.of(Slot::W), args.of(Slot::Y));
    let bias = args.get(Slot::B);
    let k = &kernel.pointwise;
    let (input, output) = (voxels(k.input), voxels(k.output));
    let voxel = b.at(b.thread(), b.block(0), THREADS);
    let sample = b.block(1);
    b.when(b.lt(voxel, output), || {
        let from = source(k, b, voxel);
        let mut first = 0;
        while first < k.out_channels {
            let columns = COLUMNS.min(k.out_channels - first);
            let start: Vec<Val<'c>> = (0..columns).map(|c| bias.map_or_else(|| b.f32(0.0), |bias| b.load(bias, first + c))).collect();
            let weight = |column: usize, i: Val<'c>| b.load(w, b.add((first + column) * k.in_channels, i));
            let sums = if k.in_first {
                b.steps(0usize, k.in_channels, 1).carry(&start, |i, sums| {
                    let value = b.load(x, b.at(from, b.at(i, sample, k.in_channels), input));
                    sums.iter().enumerate().map(|(c, &sum)| b.fma(weight(c, i), value, sum)).collect()
                })
            } else {
                let row = b.at(from, sample, input);
                b.steps(0usize, k.in_channels, PIECE).carry(&start, |i, sums| {
                    let at = b.at(i, row, k.in_channels);
                    let piece = if x.scalar().bytes() == 2 {
                        b.unpack(b.widen(b.load_whole(x, at, PIECE)))
                    } else {
                        (0..PIECE).step_by(4).flat_map(|j| b.unpack(b.load_whole(x, b.add(at, j), 4))).collect()
                    };
                    let each = sums.iter().enumerate();
                    each.map(|(c, &sum)| piece.iter().enumerate().fold(sum, |sum, (j, &v)| b.fma(weight(c, b.add(i, j)), v, sum))).collect()
                })
            };
            for (c, &sum) in sums.iter().enumerate() {
                let value = b.narrow(sum, y.scalar());
                let at = if k.out_first {
                    b.at(voxel, b.at(first + c, sample, k.out_channels), output)
                } else {
                    b.at(first + c, b.at(voxel, sample, output), k.out_channels)
                };
                b.store(value, y, at);
            }
            first += columns;
        }
    });
}

/// The voxel of x that a voxel of y reads.
fn source<'c>(k: &Pointwise, b: &Builder<'c>, voxel: Val<'c>) -> Val<'c> {
    if k.stride == [1; 3] {
        return voxel;
    }
    let [_, h, w] = k.output;
    let (row, column) = (b.div(voxel, w), b.rem(voxel, w));
    let (plane, row) = (b.div(row, h), b.rem(row, h));
    let plane = b.mul(plane, k.stride[0]);
    let row = b.at(b.mul(row, k.stride[1]), plane, k.input[1]);
    b.at(b.mul(column, k.stride[2]), row, k.input[2])
}
