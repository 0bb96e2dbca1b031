//! Fetching the next tile's lines, a few at a time, in the shadow of the compression's arithmetic.
//!
//! In a burst, as loads of a whole tile are, they would fill the miss buffers and stall the core; one line per step of k costs nothing.

use super::{Emitter, LOCALITY, TileOf};
use crate::mlir::{Buffer, Val};
use mnx_plan::slot::Slot;
use mnx_plan::work::Residual;

/// float32 elements of a cache line.
const LINE: usize = 16;

/// A tensor that the next tile reads or writes.
#[derive(Clone, Copy)]
pub(super) struct Stream<'c> {
    buffer: Buffer<'c>,
    /// Channels.
    width: usize,
    /// Whether it lies on the padded output grid.
    padded: bool,
}

impl<'c> Emitter<'_, 'c> {
    /// Whether lines are fetched beside the compression: where one step holds all hidden channels. Elsewhere arithmetic hides the loads.
    pub(super) fn fetches_beside(&self) -> bool {
        self.stored && self.step == self.k.hidden
    }

    /// The tensors that stream by.
    pub(super) fn streams(&self) -> Vec<Stream<'c>> {
        let stream = |buffer, width, padded| Stream { buffer, width, padded };
        let out = self.k.out_channels;
        let mut streams = vec![stream(self.args.of(Slot::X), self.k.channels, false)];
        if self.k.residual == Residual::Identity {
            streams.push(stream(self.args.of(Slot::Res), out, false));
        }
        streams.extend(self.args.get(Slot::Skip).map(|b| stream(b, out, true)));
        let store = self.args.get(Slot::Out).filter(|_| !self.in_place);
        streams.extend(store.map(|b| stream(b, out, true)));
        streams
    }

    /// At step `k` of `steps` of the register block whose first row is `row`: its share of the lines of that block in the next tile.
    pub(super) fn fetch_ahead(&self, streams: &[Stream<'c>], tile: TileOf<'c>, row: Val<'c>, (k, steps): (Val<'c>, usize)) {
        let b = self.b;
        for s in streams {
            let lines = (self.block * s.width).div_ceil(LINE);
            let per_step = lines.div_ceil(steps);
            // Steps per line, a power of two, so that the lines are spread over all of k.
            let spread = (steps * per_step / lines).max(1);
            let spread = 1usize << spread.ilog2();
            let ahead = b.add(tile.first, b.add(row, self.rows));
            let voxel = b.min(ahead, self.space - 1);
            let (voxel, space) = if s.padded && self.k.pad_front != [0; 3] {
                let at = self.coordinates(voxel);
                let here = [0, 1, 2].map(|a| b.add(at[a], self.k.pad_front[a]));
                let output = self.k.output();
                (self.flat(tile.sample, here, output), output.iter().product::<usize>())
            } else {
                (b.at(voxel, tile.sample, self.space), self.space)
            };
            let last = self.k.batch * space * s.width - 1;
            for i in 0..per_step {
                let line = b.add(b.mul(b.div(k, spread), per_step), i);
                let line = b.min(line, lines - 1);
                let at = b.add(b.mul(voxel, s.width), b.mul(line, LINE));
                b.prefetch(s.buffer, b.min(at, last), LOCALITY);
            }
        }
    }
}
