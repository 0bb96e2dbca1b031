//! Staging: input planes, cut to the rows and channels of a workgroup, copied into the ring.

use super::taps::window;
use super::{Conv, pieces};
use crate::mlir::{Buffer, Scalar, Ty, Val};
use mnx_plan::host::PANEL;
use mnx_plan::vocabulary::voxels;

/// Image channels up to which the stem's sum is written out and its weights stay in registers.
const STEM_UNROLLED: usize = 4;

impl<'c> Conv<'_, 'c> {
    /// First input row that the ring holds: row 0 of every slot.
    pub(super) fn row_origin(&self) -> Val<'c> {
        let [first, end] = self.place.rows;
        window(&self.k.conv.axis(1), self.b, first, end)[0]
    }

    /// The block's channels of every tap, side by side; and of the stem's weights.
    pub(super) fn pack_weights(&self) {
        let b = self.b;
        let block = self.k.tile.channels;
        b.each(0, voxels(self.k.conv.taps), 1, |tap| {
            let from = b.at(self.place.channel, tap, self.k.conv.channels);
            self.each_vector(|channel, lanes| {
                let value = b.load_vec(self.inputs.weights, b.add(from, channel), lanes);
                b.store(value, self.weights, b.at(channel, tap, block));
            });
        });
        let (Some([weights, _]), Some(image)) = (self.inputs.stem, self.k.conv.stem) else {
            return;
        };
        b.each(0, block, 1, |channel| {
            // Panels of PANEL channels, the last one narrower.
            let c = b.add(self.place.channel, channel);
            let panel = b.div(c, PANEL);
            let start = b.mul(panel, PANEL);
            let wide = b.min(b.sub(self.k.conv.channels, start), PANEL);
            let from = b.add(b.mul(start, image), b.sub(c, start));
            b.each(0, image, 1, |i| {
                let value = b.load(weights, b.add(from, b.mul(i, wide)));
                b.store(value, self.stem, b.at(channel, i, block));
            });
        });
    }

    /// Zeros before and behind every row of every slot; staging never touches them.
    pub(super) fn zero_margins(&self) {
        let b = self.b;
        let layout = &self.layout;
        let block = self.k.tile.channels;
        let zeros = |first: usize, count: usize, at: Val<'c>| {
            for piece in pieces(count * block, self.lanes) {
                let zero = b.zero(Ty::vec(Scalar::F32, piece.lanes));
                let end = piece.first + piece.count * piece.lanes;
                b.each(piece.first, end, piece.lanes, |i| {
                    b.store(zero, self.ring, b.add(b.add(at, i), first * block));
                });
            }
        };
        b.each(0, layout.planes * layout.rows, 1, |row| {
            let at = b.mul(row, layout.row * block);
            zeros(0, layout.before, at);
            zeros(layout.before + self.k.conv.input[2], layout.behind, at);
        });
    }

    /// Copies input plane `plane` into its slot.
    pub(super) fn stage(&self, plane: Val<'c>) {
        let b = self.b;
        let [d, h, w] = self.k.conv.input;
        let layout = &self.layout;
        let block = self.k.tile.channels;
        let [first, end] = self.place.rows;
        let [low, high] = window(&self.k.conv.axis(1), b, first, end);
        let slot = b.mul(b.rem(plane, layout.planes), layout.rows);
        b.each(low, high, 1, |row| {
            let to = b.mul(b.add(slot, b.sub(row, low)), layout.row);
            let to = b.mul(b.add(to, layout.before), block);
            let to = b.shifted(self.ring, to);
            match self.k.conv.stem {
                None => {
                    let line = b.at(plane, self.place.sample, d);
                    let from = b.mul(b.at(row, line, h), w * self.k.conv.channels);
                    let from = b.shifted(self.inputs.x, b.add(from, self.place.channel));
                    self.copy_row(from, to);
                }
                Some(image) => {
                    let line = b.at(plane, b.mul(self.place.sample, image), d);
                    let from = b.shifted(self.inputs.x, b.mul(b.at(row, line, h), w));
                    self.stem_row(from, to, image);
                }
            }
        });
    }

    /// A row of a stored tensor: `block` of every `channels` elements.
    fn copy_row(&self, from: Buffer<'c>, to: Buffer<'c>) {
        let b = self.b;
        let (block, channels) = (self.k.tile.channels, self.k.conv.channels);
        if block == channels {
            for piece in pieces(self.k.conv.input[2] * block, self.lanes) {
                let end = piece.first + piece.count * piece.lanes;
                b.each(piece.first, end, piece.lanes, |i| {
                    b.store(b.load_vec(from, i, piece.lanes), to, i);
                });
            }
            return;
        }
        b.each(0, self.k.conv.input[2], 1, |voxel| {
            self.each_vector(|channel, lanes| {
                let value = b.load_vec(from, b.at(channel, voxel, channels), lanes);
                b.store(value, to, b.at(channel, voxel, block));
            });
        });
    }

    /// A row of the stem's result, computed from the image channels.
    fn stem_row(&self, from: Buffer<'c>, to: Buffer<'c>, image: usize) {
        let b = self.b;
        let block = self.k.tile.channels;
        let space = voxels(self.k.conv.input);
        let Some([_, bias]) = self.inputs.stem else { unreachable!("a stem has weights") };
        self.each_vector(|channel, lanes| {
            let start = b.load_vec(bias, b.add(self.place.channel, channel), lanes);
            let weight = |i: Val<'c>| b.load_vec(self.stem, b.at(channel, i, block), lanes);
            let kept: Vec<_> = (0..image).take_while(|_| image <= STEM_UNROLLED).map(|i| weight(b.index(i))).collect();
            b.each(0, self.k.conv.input[2], 1, |voxel| {
                let pixel = |i: Val<'c>| {
                    let value = b.load(from, b.at(voxel, i, space));
                    b.broadcast(value, lanes)
                };
                let value = if kept.is_empty() {
                    b.steps(0, image, 1).carry(&[start], |i, sum| vec![b.fma(pixel(i), weight(i), sum[0])])[0]
                } else {
                    kept.iter().enumerate().fold(start, |sum, (i, &weight)| b.fma(pixel(b.index(i)), weight, sum))
                };
                b.store(value, to, b.at(channel, voxel, block));
            });
        });
    }

    /// Runs `body(first channel, lanes)` over the block, one vector at a time.
    pub(super) fn each_vector(&self, mut body: impl FnMut(Val<'c>, usize)) {
        for piece in pieces(self.k.tile.channels, self.lanes) {
            let end = piece.first + piece.count * piece.lanes;
            self.b.each(piece.first, end, piece.lanes, |channel| {
                body(channel, piece.lanes);
            });
        }
    }
}
