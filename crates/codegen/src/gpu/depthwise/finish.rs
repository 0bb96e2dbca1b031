//! Complete sums: rounded and stored, and counted into the statistics as they are.

use super::Conv;
use super::statistics::Running;
use crate::mlir::{Buffer, Val};

pub(super) struct Finish<'a, 'c> {
    conv: Conv<'a, 'c>,
    y: Buffer<'c>,
    lead: usize,
}

impl<'a, 'c> Finish<'a, 'c> {
    pub(super) fn new(conv: Conv<'a, 'c>, y: Buffer<'c>) -> Self {
        Self { conv, y, lead: conv.k.walk().groups - 1 }
    }

    /// What the sums completed by a step give; the first steps of a slab only lead to its first output planes.
    pub(super) fn step(&self, step: Val<'c>, done: &[Val<'c>], running: &[Val<'c>]) -> Vec<Val<'c>> {
        let b = self.conv.b;
        let finishes = b.and(b.ge(step, self.lead), b.lt(step, self.conv.place.steps));
        b.choose(
            finishes,
            || {
                let first = self.first_plane(step);
                // Nearly all threads have all of their outputs: those take a way without tests.
                b.choose(self.whole(first), || self.store(step, done, running, false), || self.store(step, done, running, true))
            },
            || running.to_vec(),
        )
    }

    /// The first output plane that a step completes.
    fn first_plane(&self, step: Val<'c>) -> Val<'c> {
        self.conv.b.mul(self.conv.b.add(self.conv.place.origin, step), self.conv.k.conv.axis(0).out_step())
    }

    /// Whether every output that the thread's sums are for exists.
    fn whole(&self, plane: Val<'c>) -> Val<'c> {
        let (k, b) = (self.conv.k, self.conv.b);
        let outputs = [k.conv.axis(0).out_step(), k.conv.axis(1).out_step(), k.tile.run];
        let tiled = [outputs[0], k.tile.height, k.tile.width];
        let first = [plane, self.conv.place.corner[0], self.conv.place.corner[1]];
        (0..3).fold(b.lt(0usize, 1usize), |all, a| {
            let extent = k.conv.output[a];
            if extent.is_multiple_of(tiled[a]) { all } else { b.and(all, b.le(b.add(first[a], outputs[a]), extent)) }
        })
    }

    /// Stores and counts what exists; `tested` if that may not be all.
    fn store(&self, step: Val<'c>, done: &[Val<'c>], running: &[Val<'c>], tested: bool) -> Vec<Val<'c>> {
        let (k, b, place) = (self.conv.k, self.conv.b, self.conv.place);
        let [d, h, w] = k.conv.output;
        let [planes, rows] = [0, 1].map(|a| k.conv.axis(a).out_step());
        let run = k.tile.run;
        let mut statistics = (!running.is_empty()).then(|| Running::new(b, running, b.eq(step, self.lead), [done[0], done[1]]));
        let first = self.first_plane(step);
        let channel = b.at(place.channel, place.pair, 2);
        let below = |at: Val<'c>, bound: usize| if tested { b.lt(at, bound) } else { b.lt(0usize, 1usize) };
        for i in 0..planes {
            let plane = b.add(first, i);
            let has_plane = below(plane, d);
            for j in 0..rows {
                let row = b.add(place.corner[0], j);
                let has_row = b.and(has_plane, below(row, h));
                let line = b.at(row, b.at(plane, place.sample, d), h);
                let at = b.at(channel, b.at(place.corner[1], line, w), k.conv.channels);
                for u in 0..run {
                    let pair = [0, 1].map(|c| done[((i * rows + j) * run + u) * 2 + c]);
                    let has = b.and(has_row, below(b.add(place.corner[1], u), w));
                    b.when(has, || {
                        let rounded = b.narrow(b.pack(&pair), self.y.scalar());
                        b.store_whole(rounded, self.y, b.add(at, u * k.conv.channels));
                    });
                    if let Some(statistics) = &mut statistics {
                        statistics.add(pair, has);
                    }
                }
            }
        }
        statistics.map(Running::values).unwrap_or_default()
    }
}
