//! The finished tile: skip, padding, head, store.

use super::{Emitter, TileOf};
use crate::gemm::{Panels, Product, Rows, column_groups, gemm_columns_first, store_valid};
use crate::mlir::{Buffer, Scalar, Ty, Val};
use mnx_plan::slot::Slot;

/// Vectors of channels per loop iteration.
const GROUP: usize = 4;

impl<'c> Emitter<'_, 'c> {
    pub(super) fn finish_result(&self, tile: TileOf<'c>) {
        let padded = self.k.pad_front != [0; 3];
        if self.k.skip || self.k.store {
            let b = self.b;
            b.each(0usize, tile.count, 1, |row| {
                let voxel = b.add(tile.first, row);
                if padded {
                    self.store_padded(tile.sample, voxel, row);
                } else {
                    self.store_row(b.at(voxel, tile.sample, self.space), row);
                }
            });
        }
        if let Some(classes) = self.k.head {
            self.head(tile, classes);
        }
    }

    /// Row `row` of the tile, plus the skip, to voxel `voxel` of the output; back into the tile too where a head reads it.
    fn store_row(&self, voxel: Val<'c>, row: Val<'c>) {
        let (b, out) = (self.b, self.k.out_channels);
        let tile = self.view(self.layout.output);
        let line = b.mul(row, self.layout.output.stride);
        let first = b.mul(voxel, out);
        column_groups(b, out, self.cpu.lanes, GROUP, |group| {
            for &(c, lanes) in group {
                let mut value = b.load_vec(tile, b.add(line, c), lanes);
                if let Some(skip) = self.args.get(Slot::Skip) {
                    value = b.add(value, b.load_vec(skip, b.add(first, c), lanes));
                    if self.k.head.is_some() {
                        b.store(value, tile, b.add(line, c));
                    }
                }
                if let Some(to) = self.args.get(Slot::Out) {
                    b.store(value, to, b.add(first, c));
                }
            }
        });
    }

    /// As [`Self::store_row`], behind the front padding; a voxel with coordinate 0 on a padded axis also writes the voxels before it.
    fn store_padded(&self, sample: Val<'c>, voxel: Val<'c>, row: Val<'c>) {
        let (b, pad, output) = (self.b, self.k.pad_front, self.k.output());
        let at = self.coordinates(voxel);
        let here = [0, 1, 2].map(|a| b.add(at[a], pad[a]));
        self.store_row(self.flat(sample, here, output), row);
        // In place the padded planes hold what they should: the skip alone.
        let Some(to) = self.args.get(Slot::Out).filter(|_| !self.in_place) else {
            return;
        };
        let zero = |a: usize| b.eq(at[a], 0usize);
        let edge = |a: usize| -> Vec<bool> { if pad[a] == 1 { vec![false, true] } else { vec![false] } };
        for d in edge(0) {
            for h in edge(1) {
                for w in edge(2) {
                    let before = [d, h, w];
                    let axes: Vec<_> = (0..3).filter(|&a| before[a]).collect();
                    let Some(on_edge) = axes.iter().map(|&a| zero(a)).reduce(|x, y| b.and(x, y)) else {
                        continue;
                    };
                    b.when(on_edge, || {
                        let there = [0, 1, 2].map(|a| if before[a] { 0usize.into() } else { here[a] });
                        self.store_padding(self.flat(sample, there, output), to);
                    });
                }
            }
        }
    }

    /// The skip alone, or zeros.
    fn store_padding(&self, voxel: Val<'c>, to: Buffer<'c>) {
        let (b, out) = (self.b, self.k.out_channels);
        let first = b.mul(voxel, out);
        column_groups(b, out, self.cpu.lanes, GROUP, |group| {
            for &(c, lanes) in group {
                let at = b.add(first, c);
                let value = match self.args.get(Slot::Skip) {
                    Some(skip) => b.load_vec(skip, at, lanes),
                    None => b.zero(Ty::vec(Scalar::F32, lanes)),
                };
                b.store(value, to, at);
            }
        });
    }

    /// The head's logits, channels first.
    fn head(&self, tile: TileOf<'c>, classes: usize) {
        let b = self.b;
        let [weights, bias, logits] = [Slot::HeadW, Slot::HeadB, Slot::Logits].map(|slot| self.args.of(slot));
        let rows = Rows { buffer: self.view(self.layout.output), row_stride: self.layout.output.stride, k_stride: 1 };
        let panels = Panels { buffer: weights, depth: self.k.out_channels };
        // the hidden tile is free by now
        let spare = self.view(self.layout.hidden);
        let product = Product { lanes: self.cpu.lanes, rows, panels };
        gemm_columns_first(b, product, (classes, tile.count), &|class| b.load(bias, class), &|class, row, value| {
            let plane = b.add(b.mul(tile.sample, classes), class);
            let at = b.add(b.at(tile.first, plane, self.space), row);
            store_valid(b, value, b.sub(tile.count, row), (logits, at), spare);
        });
    }
}
