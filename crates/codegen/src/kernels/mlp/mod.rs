//! The pointwise half of a block: a tile of voxels stays in scratch while the hidden channels go by.
//!
//! Phases of a tile: [`source`] fills the normalised input, [`residual`] starts the result, [`hidden`] adds the hidden channels to it
//! chunk by chunk, [`result`] adds the skip and stores. Read `mnx_plan::work::Mlp` for what is computed.

mod ahead;
mod hidden;
mod residual;
mod result;
mod source;

use super::Site;
use crate::args::Args;
use crate::mlir::{Buffer, Builder, Scalar, Val};
use mnx_plan::host::mlp::MlpScratch;
use mnx_plan::host::scratch::{Carver, ScratchTile};
use mnx_plan::host::{self, row_block};
use mnx_plan::target::Cpu;
use mnx_plan::vocabulary::{Extent, Gelu, voxels};
use mnx_plan::work::{Grn, Mlp};

/// Prefetches of the next tile go to the second-level cache (measured better than the first).
const LOCALITY: i64 = 2;

/// What every phase needs to know.
pub(super) struct Emitter<'e, 'c> {
    b: &'e Builder<'c>,
    k: &'e Mlp,
    cpu: &'e Cpu,
    gelu: Gelu,
    in_place: bool,
    /// Voxels of a tile.
    rows: usize,
    /// Hidden channels of a step.
    step: usize,
    /// Whether the source is a stored tensor.
    stored: bool,
    /// Voxels of a sample.
    space: usize,
    /// Rows of a register block.
    block: usize,
    layout: MlpScratch,
    scratch: Buffer<'c>,
    args: &'e Args<'c>,
}

/// The voxels that a tile holds: `count` of sample `sample` from `first` on.
#[derive(Clone, Copy)]
pub(super) struct TileOf<'c> {
    pub(super) sample: Val<'c>,
    pub(super) first: Val<'c>,
    pub(super) count: Val<'c>,
}

/// What the kernels that have an MLP know beside its sizes.
pub(super) struct Cut {
    pub(super) gelu: Gelu,
    pub(super) in_place: bool,
    /// Voxels of a tile.
    pub(super) rows: usize,
    /// Hidden channels of a step.
    pub(super) step: usize,
    /// Whether the source is a stored tensor.
    pub(super) stored: bool,
}

pub(super) fn emit(kernel: &host::Mlp, site: &Site<'_, '_>) {
    let (b, k, t) = (site.b, &kernel.mlp, kernel.tile);
    let cut = Cut { gelu: kernel.gelu, in_place: kernel.in_place, rows: t.rows, step: t.hidden, stored: true };
    let layout = MlpScratch::carve(k, t.rows, t.hidden, &mut Carver::default());
    let e = Emitter::new(k, &cut, layout, site);
    let parts = kernel.spatial_parts();
    let sample = b.div(site.workgroup, parts);
    let part = b.rem(site.workgroup, parts);
    e.start(site.workgroup, sample);
    let first = b.mul(part, t.voxels);
    let end = b.min(b.add(first, t.voxels), e.space);
    b.each(first, end, t.rows, |first| {
        let count = b.min(b.sub(end, first), t.rows);
        let tile = TileOf { sample, first, count };
        b.phase("source");
        e.load_tensor(k.norm, tile);
        e.tile(site.workgroup, tile);
    });
}

impl<'e, 'c> Emitter<'e, 'c> {
    pub(super) fn new(k: &'e Mlp, cut: &Cut, layout: MlpScratch, site: &Site<'e, 'c>) -> Self {
        let &Site { b, cpu, args, scratch, .. } = site;
        let &Cut { gelu, in_place, rows, step, stored } = cut;
        Self { b, k, cpu, gelu, in_place, rows, step, stored, space: voxels(k.grid), block: row_block(rows, cpu), layout, scratch, args }
    }
}

impl<'c> Emitter<'_, 'c> {
    /// A tile of scratch as float32.
    pub(super) fn view(&self, tile: ScratchTile) -> Buffer<'c> {
        self.b.view(self.scratch, tile.offset, Scalar::F32, tile.rows * tile.stride)
    }

    /// What is done once per workgroup.
    pub(super) fn start(&self, workgroup: Val<'c>, sample: Val<'c>) {
        match self.k.grn {
            Grn::None => {}
            Grn::Apply => self.prepare_scale(sample),
            Grn::Partials => self.clear_partials(workgroup),
        }
    }

    /// Everything after the source.
    pub(super) fn tile(&self, workgroup: Val<'c>, tile: TileOf<'c>) {
        let b = self.b;
        if self.k.grn != Grn::Partials {
            b.phase("residual");
            self.start_result(tile);
        }
        b.phase("hidden");
        self.hidden_steps(workgroup, tile);
        if self.k.grn != Grn::Partials {
            b.phase("result");
            self.finish_result(tile);
        }
    }

    /// The voxel (samples included) that row `row` of the next tile will hold, or the last one.
    fn row_ahead(&self, tile: TileOf<'c>, row: Val<'c>) -> Val<'c> {
        let b = self.b;
        let ahead = b.add(tile.first, b.add(row, self.rows));
        b.at(b.min(ahead, self.space - 1), tile.sample, self.space)
    }

    /// Register blocks that hold the valid rows of a tile.
    fn blocks(&self, tile: TileOf<'c>) -> Val<'c> {
        self.b.div(self.b.add(tile.count, self.block - 1), self.block)
    }

    /// Coordinates of a voxel of the grid.
    fn coordinates(&self, voxel: Val<'c>) -> [Val<'c>; 3] {
        let [_, height, width] = self.k.grid;
        let b = self.b;
        let row = b.div(voxel, width);
        [b.div(row, height), b.rem(row, height), b.rem(voxel, width)]
    }

    /// Flat number of a voxel within `extent`, samples included.
    fn flat(&self, sample: Val<'c>, at: [Val<'c>; 3], extent: Extent) -> Val<'c> {
        let b = self.b;
        let plane = b.at(at[0], sample, extent[0]);
        let row = b.at(at[1], plane, extent[1]);
        b.at(at[2], row, extent[2])
    }
}
