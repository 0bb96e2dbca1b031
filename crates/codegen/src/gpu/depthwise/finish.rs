//! Complete sums: rounded and stored, and counted into the statistics as they are.

use super::place::Place;
use super::statistics::Running;
use crate::mlir::{Buffer, Builder, Val};
use mnx_plan::gpu::Depthwise;

pub(super) struct Finish<'a, 'c> {
    k: &'a Depthwise,
    b: &'a Builder<'c>,
    place: &'a Place<'c>,
    y: Buffer<'c>,
    lead: usize,
}

impl<'a, 'c> Finish<'a, 'c> {
    pub(super) fn new(k: &'a Depthwise, b: &'a Builder<'c>, place: &'a Place<'c>, y: Buffer<'c>) -> Self {
        Self { k, b, place, y, lead: k.walk().groups - 1 }
    }

    /// What the sums completed by a step give; the first steps of a slab only lead to its first output planes.
    pub(super) fn step(&self, step: Val<'c>, done: &[Val<'c>], running: &[Val<'c>]) -> Vec<Val<'c>> {
        let b = self.b;
        let finishes = b.and(b.ge(step, self.lead), b.lt(step, self.place.steps));
        b.choose(finishes, || self.store(step, done, running), || running.to_vec())
    }

    fn store(&self, step: Val<'c>, done: &[Val<'c>], running: &[Val<'c>]) -> Vec<Val<'c>> {
        let (k, b, place) = (self.k, self.b, self.place);
        let [d, h, w] = k.conv.output;
        let [planes, rows] = [0, 1].map(|a| k.conv.axis(a).out_step());
        let run = k.tile.run;
        let mut statistics = (!running.is_empty()).then(|| Running::new(b, running, b.eq(step, self.lead), [done[0], done[1]]));
        let group = b.add(place.origin, step);
        let channel = b.at(place.channel, place.pair, 2);
        for i in 0..planes {
            let plane = b.at(i, group, planes);
            let has_plane = if d % planes == 0 { b.lt(0usize, 1usize) } else { b.lt(plane, d) };
            for j in 0..rows {
                let row = b.add(place.corner[0], j);
                let has_row = if h % k.tile.height == 0 { b.lt(0usize, 1usize) } else { b.lt(row, h) };
                // Rows that a thread has or has not together are told from the count.
                let counted_row = if h % rows == 0 { b.lt(0usize, 1usize) } else { has_row };
                let line = b.at(row, b.at(plane, place.sample, d), h);
                let first = b.at(channel, b.at(place.corner[1], line, w), k.conv.channels);
                let values = &done[(i * rows + j) * run * 2..][..run * 2];
                let has_column = |u: usize| {
                    if w % k.tile.width == 0 { b.lt(0usize, 1usize) } else { b.lt(b.add(place.corner[1], u), w) }
                };
                let put = |u: usize| {
                    let pair = b.narrow(b.pack(&values[2 * u..2 * u + 2]), self.y.scalar());
                    b.store_whole(pair, self.y, b.add(first, u * k.conv.channels));
                };
                b.when(b.and(has_plane, has_row), || {
                    if w % run == 0 {
                        b.when(has_column(0), || (0..run).for_each(put));
                    } else {
                        (0..run).for_each(|u| b.when(has_column(u), || put(u)));
                    }
                });
                if let Some(statistics) = &mut statistics {
                    for u in 0..run {
                        let counted = if w % run == 0 { b.lt(0usize, 1usize) } else { has_column(u) };
                        let counted = b.and(b.and(has_plane, counted_row), counted);
                        statistics.add([values[2 * u], values[2 * u + 1]], counted);
                    }
                }
            }
        }
        statistics.map(Running::values).unwrap_or_default()
    }
}
