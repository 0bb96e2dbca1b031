//! Statistics of a workgroup's outputs: per thread around its first value, then merged by Chan's formula in the order of the threads.

use super::Conv;
use crate::mlir::{Buffer, Builder, Scalar, Ty, Val};

/// A thread's sums over its two channels: the first value, and sum and sum of squares of the differences from it.
pub(super) struct Running<'a, 'c> {
    b: &'a Builder<'c>,
    first: [Val<'c>; 2],
    sum: [Val<'c>; 2],
    squares: [Val<'c>; 2],
}

impl<'a, 'c> Running<'a, 'c> {
    /// The values that are carried, at the start.
    pub(super) fn start(b: &Builder<'c>) -> Vec<Val<'c>> {
        let zero = b.f32(0.0);
        vec![zero; 6]
    }

    /// From the carried values; `value` is the first one where `begins`.
    pub(super) fn new(b: &'a Builder<'c>, carried: &[Val<'c>], begins: Val<'c>, value: [Val<'c>; 2]) -> Self {
        let first = [0, 1].map(|i| b.select(begins, value[i], carried[i]));
        Self { b, first, sum: [carried[2], carried[3]], squares: [carried[4], carried[5]] }
    }

    /// Counts a pair of values.
    pub(super) fn add(&mut self, value: [Val<'c>; 2], counted: Val<'c>) {
        let b = self.b;
        for (i, value) in value.into_iter().enumerate() {
            let apart = b.sub(value, self.first[i]);
            let apart = b.select(counted, apart, b.f32(0.0));
            self.sum[i] = b.add(self.sum[i], apart);
            self.squares[i] = b.fma(apart, apart, self.squares[i]);
        }
    }

    /// The values to carry on.
    pub(super) fn values(self) -> Vec<Val<'c>> {
        [self.first, self.sum, self.squares].concat()
    }
}

/// How many of `items` from `first` on lie below `bound`, at most `most`.
fn inside<'c>(b: &Builder<'c>, first: Val<'c>, most: usize, bound: usize) -> Val<'c> {
    let left = b.max(b.sub(bound, first), 0usize);
    b.min(left, most)
}

/// The workgroup's count, mean and sum of squared differences per channel, into its row of `partials`.
pub(super) fn merge<'c>(conv: &Conv<'_, 'c>, carried: &[Val<'c>], partials: Buffer<'c>) {
    let &Conv { k, b, place, shared } = conv;
    let threads = k.threads();
    let [planes, rows] = [0, 1].map(|a| k.conv.axis(a).out_step());
    let [d, h, w] = k.conv.output;
    let deep = inside(b, b.mul(place.first, planes), k.tile.depth, d);
    let wide = b.mul(inside(b, place.corner[0], rows, h), inside(b, place.corner[1], k.tile.run, w));
    let float = |n: Val<'c>| b.to_float(b.index_cast(n, Scalar::I32), Scalar::F32);
    let count = float(b.mul(deep, wide));
    let one = b.f32(1.0);
    let share = b.div(one, b.max(count, one));

    let counts = b.view(shared, 0usize, Scalar::F32, threads);
    let means = b.view(shared, 4 * threads, Scalar::F32, 2 * threads);
    let squares = b.view(shared, 12 * threads, Scalar::F32, 2 * threads);
    // The staged planes are no longer needed.
    b.barrier();
    b.store(count, counts, place.thread);
    let has = b.gt(count, b.f32(0.0));
    let zero = b.f32(0.0);
    let each: Vec<[Val<'c>; 2]> = (0..2)
        .map(|i| {
            let (first, sum, square) = (carried[i], carried[2 + i], carried[4 + i]);
            let off = b.mul(sum, share);
            let apart = b.fma(b.neg(off), sum, square);
            // A thread outside the image has summed what is not stored.
            [b.select(has, b.add(first, off), zero), b.select(has, b.max(apart, zero), zero)]
        })
        .collect();
    let at = b.mul(place.thread, 2usize);
    b.store_whole(b.pack(&[each[0][0], each[1][0]]), means, at);
    b.store_whole(b.pack(&[each[0][1], each[1][1]]), squares, at);
    b.barrier();

    let (pairs, channels) = (k.tile.channels / 2, k.tile.channels);
    b.each(place.thread, channels, threads, |channel| {
        let others = threads / pairs;
        let own = |i: Val<'c>| b.at(channel, i, channels);
        let number = |i: Val<'c>| b.load(counts, b.at(b.div(channel, 2usize), i, pairs));
        let all = b.steps(0usize, others, 1).carry(&[zero, zero], |i, sums| {
            let n = number(i);
            vec![b.add(sums[0], n), b.fma(n, b.load(means, own(i)), sums[1])]
        });
        let mean = b.div(all[1], all[0]);
        let apart = b.steps(0usize, others, 1).carry(&[zero], |i, sum| {
            let off = b.sub(b.load(means, own(i)), mean);
            let between = b.mul(b.mul(off, off), number(i));
            vec![b.add(sum[0], b.add(b.load(squares, own(i)), between))]
        });
        let row = b.at(place.part, place.sample, k.spatial_parts());
        for (field, value) in [all[0], mean, apart[0]].into_iter().enumerate() {
            let to = b.at(b.add(place.channel, channel), b.at(field, row, 3), k.conv.channels);
            b.store(value, partials, to);
        }
    });
    debug_assert_eq!(counts.scalar(), Ty::F32.scalar);
}
