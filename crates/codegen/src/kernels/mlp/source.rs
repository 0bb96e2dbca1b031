//! The normalised input of a tile.

use super::{Emitter, LOCALITY, TileOf};
use crate::gemm::column_groups;
use crate::kernels::pieces;
use crate::math::rsqrt;
use crate::mlir::{Buffer, Scalar, Ty, Val};
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::Bits;

/// Vectors of channels whose statistics stay in registers while the rows go by.
const GROUP: usize = 4;

impl<'c> Emitter<'_, 'c> {
    /// Rows of x, normalised by the sample's statistics.
    pub(super) fn load_tensor(&self, norm: bool, tile: TileOf<'c>) {
        let (b, channels) = (self.b, self.k.channels);
        let first = b.at(tile.first, tile.sample, self.space);
        let from = b.shifted(self.args.of(Slot::X), b.mul(first, channels));
        let to = self.view(self.layout.input);
        let beside = self.fetches_beside();
        let stats = norm.then(|| b.shifted(self.args.of(Slot::Stats), b.mul(tile.sample, 2 * channels)));
        column_groups(b, channels, self.cpu.lanes, GROUP, |group| {
            let stats: Option<Vec<_>> = stats.map(|stats| {
                let pair = |&(c, lanes): &(Val<'c>, usize)| {
                    let mean = b.load_vec(stats, c, lanes);
                    (mean, b.load_vec(stats, b.add(c, channels), lanes))
                };
                group.iter().map(pair).collect()
            });
            b.each(0usize, tile.count, 1, |row| {
                let ahead = self.row_ahead(tile, row);
                for (i, &(c, lanes)) in group.iter().enumerate() {
                    if !beside {
                        b.prefetch(self.args.of(Slot::X), b.at(c, ahead, channels), LOCALITY);
                    }
                    let x = b.load_vec(from, b.at(c, row, channels), lanes);
                    let a = match stats.as_ref().map(|s| s[i]) {
                        Some((mean, rstd)) => b.mul(b.sub(x, mean), rstd),
                        None => x,
                    };
                    b.store(a, to, b.at(c, row, self.layout.input.stride));
                }
            });
        });
    }

    /// Layer norm over the channels of each row of `from` (rows `channels` apart), two passes over the row in cache.
    pub(crate) fn load_layer_norm(&self, eps: Bits, from: Buffer<'c>, count: Val<'c>) {
        let (b, channels) = (self.b, self.k.channels);
        let to = self.view(self.layout.input);
        let share = b.f32(1.0 / channels as f32);
        b.each(0usize, count, 1, |row| {
            let line = b.shifted(from, b.mul(row, channels));
            let sum = self.sum_channels(line, |x| x);
            let mean = b.mul(sum, share);
            let deviation = |x: Val<'c>| b.sub(x, b.broadcast(mean, x.lanes()));
            let squares = self.sum_channels(line, |x| {
                let d = deviation(x);
                b.mul(d, d)
            });
            let variance = b.mul(squares, share);
            let rstd = rsqrt(b, b.add(variance, b.float(Ty::F32, eps.get())));
            column_groups(b, channels, self.cpu.lanes, GROUP, |group| {
                for &(c, lanes) in group {
                    let x = b.load_vec(line, c, lanes);
                    let a = b.mul(deviation(x), b.broadcast(rstd, lanes));
                    b.store(a, to, b.at(c, row, self.layout.input.stride));
                }
            });
        });
    }

    /// Sum of `term` over the channels of a row, in a fixed order: lane by lane, then across lanes.
    fn sum_channels(&self, line: Buffer<'c>, term: impl Fn(Val<'c>) -> Val<'c>) -> Val<'c> {
        let b = self.b;
        let mut total = b.f32(0.0);
        for piece in pieces(self.k.channels, self.cpu.lanes) {
            let zero = b.zero(Ty::vec(Scalar::F32, piece.lanes));
            let end = piece.first + piece.count * piece.lanes;
            let sum = b.steps(piece.first, end, piece.lanes).carry(&[zero], |c, sum| {
                let x = b.load_vec(line, c, piece.lanes);
                vec![b.add(sum[0], term(x))]
            });
            total = b.add(total, b.reduce_add(sum[0]));
        }
        total
    }
}
