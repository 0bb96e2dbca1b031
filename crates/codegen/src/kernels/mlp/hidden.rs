//! The hidden channels of a tile, chunk by chunk: expand, GELU, GRN, compress.

use super::{Emitter, TileOf};
use crate::gemm::{Ends, Panels, Part, Product, Rows, Spot, Sums, column_groups, gemm, gemm_beside};
use crate::math::gelu;
use crate::mlir::{Scalar, Ty, Val};
use mnx_plan::slot::Slot;
use mnx_plan::work::Grn;

/// Vectors of hidden channels whose sums of squares stay in registers while the rows go by.
const GROUP: usize = 4;

/// GELUs computed side by side: two chains of dependent operations, in the registers that a register block leaves.
const CHAINS: usize = 2;

impl<'c> Emitter<'_, 'c> {
    pub(super) fn hidden_steps(&self, workgroup: Val<'c>, tile: TileOf<'c>) {
        let (b, step, hidden) = (self.b, self.step, self.k.hidden);
        let full = hidden / step * step;
        b.each(0usize, full, step, |first| self.hidden_step(workgroup, tile, first, step));
        if full < hidden {
            self.hidden_step(workgroup, tile, full.into(), hidden - full);
        }
    }

    fn hidden_step(&self, workgroup: Val<'c>, tile: TileOf<'c>, first: Val<'c>, count: usize) {
        self.expand(tile, first, count);
        if self.k.grn == Grn::Partials {
            self.add_partials(workgroup, tile, first, count);
        } else {
            self.compress(tile, first, count);
        }
    }

    /// `h = gelu(w2 a + b2)`, with GRN's ratio applied, for hidden channels `first..first + count`.
    fn expand(&self, tile: TileOf<'c>, first: Val<'c>, count: usize) {
        let b = self.b;
        let (a, h) = (self.layout.input, self.layout.hidden);
        let to = self.view(h);
        let rows = Rows { buffer: self.view(a), row_stride: a.stride, k_stride: 1 };
        let (weights, bias) = (self.args.of(Slot::W2), self.args.of(Slot::B2));
        let panels = Panels { buffer: weights, depth: self.k.channels };
        let part = Part {
            block: self.block,
            blocks: self.blocks(tile),
            first_k: 0usize.into(),
            k: self.k.channels,
            first_column: first,
            columns: count,
        };
        let apply = (self.k.grn == Grn::Apply).then(|| (self.view(self.layout.scale), self.args.of(Slot::Beta)));
        let product = Product { lanes: self.cpu.lanes, rows, panels };
        let init = |s: Spot<'c>| b.load_vec(bias, b.add(first, s.column), s.lanes);
        let finish = |sums: &Sums<'c>| {
            for sums in sums.chunks(CHAINS) {
                let x: Vec<_> = sums.iter().map(|&(_, x)| x).collect();
                for (&(s, _), mut value) in sums.iter().zip(gelu(b, self.gelu, &x)) {
                    if let Some((scale, beta)) = apply {
                        let channel = b.add(first, s.column);
                        let beta = b.load_vec(beta, channel, s.lanes);
                        value = b.fma(value, b.load_vec(scale, channel, s.lanes), beta);
                    }
                    b.store(value, to, b.at(s.column, s.row, h.stride));
                }
            }
        };
        gemm(b, product, part, Ends { init: &init, finish: &finish });
    }

    /// `o += w3 h` over hidden channels `first..first + count`.
    fn compress(&self, tile: TileOf<'c>, first: Val<'c>, count: usize) {
        let b = self.b;
        let (h, o) = (self.layout.hidden, self.layout.output);
        let to = self.view(o);
        let rows = Rows { buffer: self.view(h), row_stride: h.stride, k_stride: 1 };
        let panels = Panels { buffer: self.args.of(Slot::W3), depth: self.k.hidden };
        let part = Part {
            block: self.block,
            blocks: self.blocks(tile),
            first_k: first,
            k: count,
            first_column: 0usize.into(),
            columns: self.k.out_channels,
        };
        let streams = if self.fetches_beside() { self.streams() } else { vec![] };
        let product = Product { lanes: self.cpu.lanes, rows, panels };
        let init = |s: Spot<'c>| b.load_vec(to, b.at(s.column, s.row, o.stride), s.lanes);
        let finish = |sums: &Sums<'c>| {
            for &(s, value) in sums {
                b.store(value, to, b.at(s.column, s.row, o.stride));
            }
        };
        gemm_beside(b, product, part, Ends { init: &init, finish: &finish }, &|row, k| self.fetch_ahead(&streams, tile, row, (k, count)));
    }

    /// `gamma * ratio + 1` of the sample.
    pub(super) fn prepare_scale(&self, sample: Val<'c>) {
        let (b, hidden) = (self.b, self.k.hidden);
        let ratio = b.shifted(self.args.of(Slot::Ratio), b.mul(sample, hidden));
        let to = self.view(self.layout.scale);
        column_groups(b, hidden, self.cpu.lanes, 1, |group| {
            for &(c, lanes) in group {
                let ratio = b.load_vec(ratio, c, lanes);
                let gamma = b.load_vec(self.args.of(Slot::Gamma), c, lanes);
                let one = b.float(ratio.ty(), 1.0);
                b.store(b.fma(gamma, ratio, one), to, c);
            }
        });
    }

    /// Sets the workgroup's sums of squares to zero.
    pub(super) fn clear_partials(&self, workgroup: Val<'c>) {
        let (b, hidden) = (self.b, self.k.hidden);
        let to = b.shifted(self.args.of(Slot::Partials), b.mul(workgroup, hidden));
        column_groups(b, hidden, self.cpu.lanes / 2, 1, |group| {
            for &(c, lanes) in group {
                b.store(b.zero(Ty::vec(Scalar::F64, lanes)), to, c);
            }
        });
    }

    /// Adds the squares of the chunk's valid rows, row by row, to the workgroup's sums.
    fn add_partials(&self, workgroup: Val<'c>, tile: TileOf<'c>, first: Val<'c>, count: usize) {
        let b = self.b;
        let from = self.view(self.layout.hidden);
        let at = b.at(first, workgroup, self.k.hidden);
        let to = b.shifted(self.args.of(Slot::Partials), at);
        column_groups(b, count, self.cpu.lanes / 2, GROUP, |group| {
            let sums: Vec<_> = group.iter().map(|&(c, lanes)| b.load_vec(to, c, lanes)).collect();
            let sums = b.steps(0usize, tile.count, 1).carry(&sums, |row, sums| {
                let line = b.mul(row, self.layout.hidden.stride);
                let terms = group.iter().zip(sums);
                terms
                    .map(|(&(c, lanes), &sum)| {
                        let h = b.extend(b.load_vec(from, b.add(line, c), lanes));
                        b.fma(h, h, sum)
                    })
                    .collect()
            });
            for (&(c, _), sum) in group.iter().zip(sums) {
                b.store(sum, to, c);
            }
        });
    }
}
