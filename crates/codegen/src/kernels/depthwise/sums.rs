//! Partial statistics of the output: float32 within a strip of tiles, relative to the strip's first voxel, float64 beyond.
//!
//! With shift `K`, `s = sum(y - K)` and `q = sum((y - K)^2)` over `n` voxels: the strip adds `n K + s` to the sum
//! and `q + 2 K s + n K^2` to the sum of squares, so cancellation never meets float32.

use super::{Channels, Conv, Place, Tile};
use crate::mlir::{Buffer, Builder, Scalar, Ty, Val};

/// Sums that a tile's voxels are dealt out to.
const CHAINS: usize = 4;

pub(super) struct Sums<'a, 'c> {
    b: &'a Builder<'c>,
    sums: Buffer<'c>,
    partials: Buffer<'c>,
    block: usize,
    lanes: usize,
    place: Place<'c>,
    parts: usize,
    channels: usize,
}

impl<'a, 'c> Sums<'a, 'c> {
    pub(super) fn new(conv: &Conv<'a, 'c>, sums: Buffer<'c>, partials: Buffer<'c>) -> Self {
        Self {
            b: conv.b,
            sums,
            partials,
            block: conv.k.tile.channels,
            lanes: conv.lanes,
            place: conv.place,
            parts: conv.k.spatial_parts(),
            channels: conv.k.conv.channels,
        }
    }

    /// All sums to zero.
    pub(super) fn clear(&self) {
        self.each_double(2 * self.block, |at, lanes| {
            self.b.store(self.b.zero(Ty::vec(Scalar::F64, lanes)), self.sums, at);
        });
    }

    /// Values that a strip carries: per vector shift, sum, sum of squares.
    pub(super) fn start(&self, lanes: usize, vectors: usize) -> Vec<Val<'c>> {
        vec![self.b.zero(Ty::vec(Scalar::F32, lanes)); 3 * vectors]
    }

    /// Adds a tile to what its strip carries.
    pub(super) fn gather(&self, is_first: Val<'c>, tile: &Tile<'c>, carried: &[Val<'c>]) -> Vec<Val<'c>> {
        let b = self.b;
        let mut next = Vec::with_capacity(carried.len());
        for (values, carried) in tile.values.iter().zip(carried.chunks(3)) {
            let shift = b.select(is_first, values[0], carried[0]);
            // Several chains, so that adding up does not wait for itself.
            let moved: Vec<_> = values.iter().map(|&v| b.sub(v, shift)).collect();
            let mut sums = moved[..moved.len().min(CHAINS)].to_vec();
            let mut squares: Vec<_> = sums.iter().map(|&v| b.mul(v, v)).collect();
            for (i, &value) in moved.iter().enumerate().skip(CHAINS) {
                let chain = i % CHAINS;
                sums[chain] = b.add(sums[chain], value);
                squares[chain] = b.fma(value, value, squares[chain]);
            }
            let total = |start, terms: Vec<Val<'c>>| {
                let tile = terms.into_iter().reduce(|a, t| b.add(a, t));
                tile.map_or(start, |t| b.add(start, t))
            };
            let sum = total(carried[1], sums);
            let square = total(carried[2], squares);
            next.extend([shift, sum, square]);
        }
        next
    }

    /// Merges a finished strip of `voxels` voxels.
    pub(super) fn merge(&self, channels: Channels<'c>, voxels: Val<'c>, end: &[Val<'c>]) {
        let b = self.b;
        let n = b.to_float(b.index_cast(voxels, Scalar::I64), Scalar::F64);
        let n = b.broadcast(n, channels.lanes);
        for (v, carried) in end.chunks(3).enumerate() {
            let [shift, sum, square] = [0, 1, 2].map(|i| b.extend(carried[i]));
            let at = b.add(channels.first, v * channels.lanes);
            let moved = b.fma(n, shift, sum);
            let total = b.load_vec(self.sums, at, channels.lanes);
            b.store(b.add(total, moved), self.sums, at);
            // q + K (s + (s + n K)) = q + 2 K s + n K^2
            let squares = b.fma(shift, b.add(sum, moved), square);
            let at = b.add(at, self.block);
            let total = b.load_vec(self.sums, at, channels.lanes);
            b.store(b.add(total, squares), self.sums, at);
        }
    }

    /// Writes the workgroup's sums to its row of the partials.
    pub(super) fn write(&self) {
        let b = self.b;
        let row = b.at(self.place.part, self.place.sample, self.parts);
        for j in 0..2 {
            let to = b.mul(b.at(j, row, 2), self.channels);
            let to = b.add(to, self.place.channel);
            self.each_double(self.block, |at, lanes| {
                let value = b.load_vec(self.sums, b.add(at, j * self.block), lanes);
                b.store(value, self.partials, b.add(to, at));
            });
        }
    }

    fn each_double(&self, count: usize, mut body: impl FnMut(Val<'c>, usize)) {
        for piece in super::pieces(count, self.lanes / 2) {
            let end = piece.first + piece.count * piece.lanes;
            self.b.each(piece.first, end, piece.lanes, |at| {
                body(at, piece.lanes);
            });
        }
    }
}
