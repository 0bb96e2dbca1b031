//! The stem recomputed while staging: the port's planes are copied first, and a step later `stem_b + stem_w x` of them is what the convolution reads.

use super::Conv;
use crate::mlir::{Buffer, Scalar, Transfer, Ty, Val};
use mnx_plan::gpu::depthwise::{Layout, PIECE};

pub(super) struct Stem<'a, 'c> {
    conv: Conv<'a, 'c>,
    port: Buffer<'c>,
    w: Buffer<'c>,
    bias: Buffer<'c>,
    /// Planes of the port, channel by channel.
    raw: Buffer<'c>,
    /// Bias, then weights by image channel.
    table: Buffer<'c>,
    /// Voxels of the staged plane in the port's.
    places: Buffer<'c>,
    image: usize,
    layout: Layout,
}

impl<'a, 'c> Stem<'a, 'c> {
    pub(super) fn new(conv: Conv<'a, 'c>, [port, w, bias]: [Buffer<'c>; 3], places: Buffer<'c>) -> Self {
        let Conv { k, b, shared, .. } = conv;
        let layout = k.layout();
        let image = k.conv.stem.unwrap_or(0);
        let raw = b.view(shared, layout.raw, Scalar::F32, (layout.stem - layout.raw) / 4);
        let table = b.view(shared, layout.stem, Scalar::F32, (image + 1) * k.tile.channels);
        Self { conv, port, w, bias, raw, table, places, image, layout }
    }

    /// Bias and weights into shared memory.
    pub(super) fn start(&self) {
        let (k, b) = (self.conv.k, self.conv.b);
        b.each(self.conv.place.thread, k.tile.channels, k.threads(), |own| {
            let channel = b.add(self.conv.place.channel, own);
            b.store(b.load(self.bias, channel), self.table, own);
            for i in 0..self.image {
                let weight = b.load(self.w, b.at(i, channel, self.image));
                b.store(weight, self.table, b.add(own, (i + 1) * k.tile.channels));
            }
        });
    }

    /// Starts copying a plane of the port. Each thread's places are those that it listed itself.
    pub(super) fn fetch(&self, plane: Val<'c>, slot: Val<'c>) {
        let (k, b) = (self.conv.k, self.conv.b);
        let [d, h, w] = k.conv.input;
        let all = k.places();
        let to = b.shifted(self.raw, b.mul(slot, self.layout.raw_plane / 4));
        b.each(self.conv.place.thread, all, k.threads(), |voxel| {
            let at = b.load(self.places, voxel);
            let valid = b.ge(at, b.int(Ty::I32, 0));
            for i in 0..self.image {
                let from = b.at(plane, b.at(i, self.conv.place.sample, self.image), d);
                let from = b.shifted(self.port, b.mul(from, h * w));
                let (at, slot) = (b.index_cast(at, Scalar::Index), b.add(voxel, i * all));
                b.copy_async(Transfer { from, at, to, slot, bytes: 4 }, Some(valid));
            }
        });
    }

    /// The stem of a plane of the port, zeros outside the image.
    pub(super) fn transform(&self, slot: Val<'c>, to: Buffer<'c>) {
        let (k, b) = (self.conv.k, self.conv.b);
        let [_, columns] = k.staged();
        let (channels, all) = (k.tile.channels, k.places());
        let lanes = PIECE / k.storage.bytes();
        let per_voxel = channels / lanes;
        let raw = b.shifted(self.raw, b.mul(slot, self.layout.raw_plane / 4));
        let zero = b.f32(0.0);
        b.each(self.conv.place.thread, all * per_voxel, k.threads(), |piece| {
            let (voxel, chunk) = (b.div(piece, per_voxel), b.rem(piece, per_voxel));
            let first = b.mul(chunk, lanes);
            let quads =
                |from: usize| (0..lanes).step_by(4).flat_map(move |j| b.unpack(b.load_whole(self.table, b.add(first, from + j), 4)));
            let mut values: Vec<Val<'c>> = quads(0).collect();
            for i in 0..self.image {
                let input = b.load(raw, b.add(voxel, i * all));
                for (value, weight) in values.iter_mut().zip(quads((i + 1) * channels)) {
                    *value = b.fma(weight, input, *value);
                }
            }
            let valid = b.ge(b.load(self.places, voxel), b.int(Ty::I32, 0));
            let values: Vec<Val<'c>> = values.into_iter().map(|v| b.select(valid, v, zero)).collect();
            let (row, column) = (b.div(voxel, columns), b.rem(voxel, columns));
            let slot = b.add(b.at(first, column, channels), b.mul(row, self.layout.pitch));
            b.store_whole(b.narrow(b.pack(&values), to.scalar()), to, slot);
        });
    }
}
