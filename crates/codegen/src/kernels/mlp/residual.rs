//! The result tile before the hidden channels: bias and residual.

use super::{Emitter, LOCALITY, TileOf};
use crate::gemm::{Ends, Panels, Part, Product, Rows, Spot, Sums, column_groups, copy, gemm};
use crate::mlir::Val;
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::Extent;
use mnx_plan::work::Residual;

/// Vectors of channels whose bias stays in registers while the rows go by.
const GROUP: usize = 4;

impl<'c> Emitter<'_, 'c> {
    pub(super) fn start_result(&self, tile: TileOf<'c>) {
        match self.k.residual {
            Residual::None => self.start_from(tile, false),
            Residual::Identity => self.start_from(tile, true),
            Residual::Stem { channels } => self.start_stem(tile, channels),
            Residual::Strided { from, channels, stride } => self.start_strided(tile, from, channels, stride),
            Residual::Scattered { from, stride } => {
                self.start_from(tile, false);
                self.scatter(tile, from, stride);
            }
        }
    }

    /// Bias, plus the stored residual on the same grid if `identity`.
    fn start_from(&self, tile: TileOf<'c>, identity: bool) {
        let (b, out) = (self.b, self.k.out_channels);
        let to = self.view(self.layout.output);
        let first = b.at(tile.first, tile.sample, self.space);
        let beside = self.fetches_beside();
        let residual = identity.then(|| b.shifted(self.args.of(Slot::Res), b.mul(first, out)));
        column_groups(b, out, self.cpu.lanes, GROUP, |group| {
            let bias: Vec<_> = group.iter().map(|&(c, lanes)| b.load_vec(self.args.of(Slot::B3), c, lanes)).collect();
            b.each(0usize, tile.count, 1, |row| {
                let ahead = self.row_ahead(tile, row);
                for (&(c, lanes), &bias) in group.iter().zip(&bias) {
                    if identity && !beside {
                        b.prefetch(self.args.of(Slot::Res), b.at(c, ahead, out), LOCALITY);
                    }
                    if self.k.pad_front == [0; 3] && !beside {
                        let skip = self.args.get(Slot::Skip).filter(|_| !self.in_place);
                        for later in self.args.get(Slot::Out).into_iter().chain(skip) {
                            b.prefetch(later, b.at(c, b.add(first, row), out), LOCALITY);
                        }
                    }
                    let value = match residual {
                        Some(r) => b.add(bias, b.load_vec(r, b.at(c, row, out), lanes)),
                        None => bias,
                    };
                    b.store(value, to, b.at(c, row, self.layout.output.stride));
                }
            });
        });
    }

    /// Bias plus the stem of the input port, whose channels are first: its tile is copied to scratch channel by channel.
    fn start_stem(&self, tile: TileOf<'c>, channels: usize) {
        let b = self.b;
        let to = self.view(self.layout.residual);
        let stride = self.layout.residual.stride;
        b.each(0usize, channels, 1, |c| {
            let channel = b.at(c, tile.sample, channels);
            let at = b.at(tile.first, channel, self.space);
            let from = b.shifted(self.args.of(Slot::Res), at);
            let to = b.shifted(to, b.mul(c, stride));
            copy(b, self.cpu.lanes, tile.count, from, to);
        });
        let rows = Rows { buffer: to, row_stride: 1, k_stride: stride };
        self.start_product(tile, rows, channels);
    }

    /// Bias plus the strided pointwise convolution of a stored tensor, whose voxels are gathered in scratch.
    fn start_strided(&self, tile: TileOf<'c>, extent: Extent, channels: usize, stride: Extent) {
        let b = self.b;
        let to = self.view(self.layout.residual);
        let step = self.layout.residual.stride;
        b.each(0usize, tile.count, 1, |row| {
            let at = self.coordinates(b.add(tile.first, row));
            let at = [0, 1, 2].map(|a| b.mul(at[a], stride[a]));
            let voxel = self.flat(tile.sample, at, extent);
            let from = b.shifted(self.args.of(Slot::Res), b.mul(voxel, channels));
            let to = b.shifted(to, b.mul(row, step));
            column_groups(b, channels, self.cpu.lanes, GROUP, |group| {
                for &(c, lanes) in group {
                    b.store(b.load_vec(from, c, lanes), to, c);
                }
            });
        });
        let rows = Rows { buffer: to, row_stride: step, k_stride: 1 };
        self.start_product(tile, rows, channels);
    }

    /// Bias plus the product of `rows` with the residual's weights.
    fn start_product(&self, tile: TileOf<'c>, rows: Rows<'c>, channels: usize) {
        let b = self.b;
        let to = self.view(self.layout.output);
        let panels = Panels { buffer: self.args.of(Slot::ResW), depth: channels };
        let part = Part {
            block: self.block,
            blocks: self.blocks(tile),
            first_k: 0usize.into(),
            k: channels,
            first_column: 0usize.into(),
            columns: self.k.out_channels,
        };
        let init = |s: Spot<'c>| b.load_vec(self.args.of(Slot::B3), s.column, s.lanes);
        let finish = |sums: &Sums<'c>| {
            for &(s, value) in sums {
                let at = b.at(s.column, s.row, self.layout.output.stride);
                b.store(value, to, at);
            }
        };
        gemm(b, Product { lanes: self.cpu.lanes, rows, panels }, part, Ends { init: &init, finish: &finish });
    }

    /// Adds the low-resolution tensor at the voxels whose coordinates are multiples of the stride.
    fn scatter(&self, tile: TileOf<'c>, extent: Extent, stride: Extent) {
        let (b, out) = (self.b, self.k.out_channels);
        let to = self.view(self.layout.output);
        b.each(0usize, tile.count, 1, |row| {
            let at = self.coordinates(b.add(tile.first, row));
            let hit = |a: usize| -> Val<'c> { b.eq(b.rem(at[a], stride[a]), 0usize) };
            let hit = b.and(hit(0), b.and(hit(1), hit(2)));
            b.when(hit, || {
                let low = [0, 1, 2].map(|a| b.div(at[a], stride[a]));
                let voxel = self.flat(tile.sample, low, extent);
                let from = b.shifted(self.args.of(Slot::Res), b.mul(voxel, out));
                let to = b.shifted(to, b.mul(row, self.layout.output.stride));
                column_groups(b, out, self.cpu.lanes, GROUP, |group| {
                    for &(c, lanes) in group {
                        let sum = b.add(b.load_vec(to, c, lanes), b.load_vec(from, c, lanes));
                        b.store(sum, to, c);
                    }
                });
            });
        });
    }
}
