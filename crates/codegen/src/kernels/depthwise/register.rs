//! The register tile: output voxels by channel vectors held in registers while the taps go by.

use super::taps::Taps;
use super::width::WidthTile;
use super::{Channels, Conv, Tile};
use crate::mlir::{Scalar, Ty, Val};

/// A row of taps.
#[derive(Clone, Copy)]
struct TapRow<'c> {
    /// Element of the ring at which its inputs begin.
    input: Val<'c>,
    /// Element of the packed weights at which its taps begin.
    weight: Val<'c>,
}

impl<'c> Conv<'_, 'c> {
    /// Computes one tile of output row `(z, y)`, whose inputs start at `position` of the staged rows.
    pub(super) fn tile(&self, [z, y]: [Val<'c>; 2], tile: &WidthTile, position: Val<'c>, channels: Channels<'c>) -> Tile<'c> {
        let b = self.b;
        let block = self.k.tile.channels;
        let [_, ky, kx] = self.k.conv.taps;
        let row = self.layout.row * block;
        let plane = self.layout.rows * row;
        let count = tile.voxels.len();
        let zs = Taps::of(&self.k.conv.axis(0), b, z);
        let ys = Taps::of(&self.k.conv.axis(1), b, y);
        let corner = b.at(channels.first, position, block);
        let top = self.row_origin();

        let lanes = channels.lanes;
        let start: Vec<Val<'c>> = (0..channels.vectors)
            .flat_map(|v| {
                let value = match self.inputs.bias {
                    Some(bias) => {
                        let at = b.add(b.add(self.place.channel, channels.first), v * lanes);
                        b.load_vec(bias, at, lanes)
                    }
                    None => b.zero(Ty::vec(Scalar::F32, lanes)),
                };
                std::iter::repeat_n(value, count)
            })
            .collect();
        // The ring slot of the first plane is found by a division, those of the following by counting on.
        let mut carried = vec![b.mul(b.rem(zs.low, self.layout.planes), plane)];
        carried.extend(start);
        let end = b.steps(zs.low, zs.high, 1).carry(&carried, |iz, carried| {
            let slot = carried[0];
            let base = b.add(corner, slot);
            let tap = b.mul(zs.tap(b, iz), ky);
            let values = b.steps(ys.low, ys.high, 1).carry(&carried[1..], |iy, values| {
                let at = b.at(base, b.sub(iy, top), row);
                let tap = b.mul(b.add(tap, ys.tap(b, iy)), kx * block);
                let row = TapRow { input: at, weight: b.add(tap, channels.first) };
                self.taps_of_row(tile, row, channels, values)
            });
            let mut next = vec![self.next_slot(slot, plane)];
            next.extend(values);
            next
        });
        Tile { lanes, values: end[1..].chunks(count).map(<[_]>::to_vec).collect(), voxels: tile.voxels.clone() }
    }

    /// One row of taps: every input voxel is loaded once and goes to every output that reads it.
    fn taps_of_row(&self, tile: &WidthTile, row: TapRow<'c>, channels: Channels<'c>, values: &[Val<'c>]) -> Vec<Val<'c>> {
        let b = self.b;
        let block = self.k.tile.channels;
        let count = tile.voxels.len();
        let lanes = channels.lanes;
        let mut values = values.to_vec();
        for v in 0..channels.vectors {
            let weights: Vec<_> =
                (0..self.k.conv.taps[2]).map(|q| b.load_vec(self.weights, b.add(row.weight, q * block + v * lanes), lanes)).collect();
            for (i, targets) in tile.inputs.iter().enumerate() {
                if targets.is_empty() {
                    continue;
                }
                let x = b.load_vec(self.ring, b.add(row.input, i * block + v * lanes), lanes);
                for &(output, tap) in targets {
                    let value = &mut values[v * count + output];
                    *value = b.fma(x, weights[tap], *value);
                }
            }
        }
        values
    }

    fn next_slot(&self, slot: Val<'c>, plane: usize) -> Val<'c> {
        let b = self.b;
        if self.layout.planes == 1 {
            return b.index(0);
        }
        let next = b.add(slot, plane);
        let wrapped = b.eq(next, plane * self.layout.planes);
        b.select(wrapped, b.index(0), next)
    }
}
