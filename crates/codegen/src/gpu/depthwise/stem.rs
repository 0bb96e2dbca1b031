//! The stem recomputed while staging: the port's planes are copied first, and a step later `stem_b + stem_w x` of them is what the convolution reads.

use super::place::Place;
use super::staging::{Piece, source};
use crate::mlir::{Buffer, Builder, Scalar, Val};
use mnx_plan::gpu::Depthwise;
use mnx_plan::gpu::depthwise::Layout;

pub(super) struct Stem<'a, 'c> {
    k: &'a Depthwise,
    b: &'a Builder<'c>,
    place: &'a Place<'c>,
    port: Buffer<'c>,
    w: Buffer<'c>,
    bias: Buffer<'c>,
    /// Planes of the port, channel by channel.
    raw: Buffer<'c>,
    /// Bias, then weights by image channel.
    table: Buffer<'c>,
    image: usize,
    layout: Layout,
}

impl<'a, 'c> Stem<'a, 'c> {
    pub(super) fn new(
        k: &'a Depthwise,
        b: &'a Builder<'c>,
        place: &'a Place<'c>,
        port: Buffer<'c>,
        w: Buffer<'c>,
        bias: Buffer<'c>,
        shared: Buffer<'c>,
    ) -> Self {
        let layout = k.layout();
        let image = k.conv.stem.unwrap_or(0);
        let raw = b.view(shared, layout.raw, Scalar::F32, (layout.stem - layout.raw) / 4);
        let table = b.view(shared, layout.stem, Scalar::F32, (image + 1) * k.tile.channels);
        Self { k, b, place, port, w, bias, raw, table, image, layout }
    }

    /// Bias and weights into shared memory.
    pub(super) fn start(&self) {
        let (k, b) = (self.k, self.b);
        b.each(self.place.thread, k.tile.channels, k.threads(), |own| {
            let channel = b.add(self.place.channel, own);
            b.store(b.load(self.bias, channel), self.table, own);
            for i in 0..self.image {
                let weight = b.load(self.w, b.at(i, channel, self.image));
                b.store(weight, self.table, b.add(own, (i + 1) * k.tile.channels));
            }
        });
    }

    /// Starts copying a plane of the port.
    pub(super) fn fetch(&self, plane: Val<'c>, slot: Val<'c>) {
        let (k, b) = (self.k, self.b);
        let [d, h, w] = k.conv.input;
        let [rows, columns] = k.staged();
        let to = b.shifted(self.raw, b.mul(slot, self.layout.raw_plane / 4));
        b.each(self.place.thread, rows * columns, k.threads(), |voxel| {
            let [row, column] = source(k, b, self.place, [b.div(voxel, columns), b.rem(voxel, columns)]);
            let valid = b.and(b.within(row, h), b.within(column, w));
            let at = b.at(column, row, w);
            for i in 0..self.image {
                let from = b.at(plane, b.at(i, self.place.sample, self.image), d);
                let from = b.shifted(self.port, b.mul(from, h * w));
                b.copy_async(from, at, to, b.add(voxel, i * rows * columns), 4, Some(valid));
            }
        });
    }

    /// The stem of one piece, zeros outside the image.
    pub(super) fn piece(&self, piece: Piece<'c>, slot: Val<'c>, to: Buffer<'c>) {
        let (k, b) = (self.k, self.b);
        let [rows, columns] = k.staged();
        let channels = k.tile.channels;
        // The element's place says which voxel and channel it is.
        let (row, rest) = (b.div(piece.slot, self.layout.pitch), b.rem(piece.slot, self.layout.pitch));
        let (column, first) = (b.div(rest, channels), b.rem(rest, channels));
        let voxel = b.add(b.at(column, row, columns), b.mul(slot, self.layout.raw_plane / 4));
        let lanes = 16 / k.storage.bytes();
        let zero = b.f32(0.0);
        let mut values: Vec<Val<'c>> = (0..lanes).step_by(4).flat_map(|j| b.unpack(b.load_whole(self.table, b.add(first, j), 4))).collect();
        for i in 0..self.image {
            let input = b.load(self.raw, b.add(voxel, i * rows * columns));
            for j in (0..lanes).step_by(4) {
                let weights = b.unpack(b.load_whole(self.table, b.add(first, (i + 1) * channels + j), 4));
                for (value, weight) in values[j..].iter_mut().zip(weights) {
                    *value = b.fma(weight, input, *value);
                }
            }
        }
        let values: Vec<Val<'c>> = values.into_iter().map(|v| b.select(piece.valid, v, zero)).collect();
        b.store_whole(b.narrow(b.pack(&values), to.scalar()), to, piece.slot);
    }
}
