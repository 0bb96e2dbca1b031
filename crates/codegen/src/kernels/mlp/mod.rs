//! The pointwise half of a block: a tile of voxels stays in scratch while the hidden channels go by.
//!
//! Phases of a tile: [`source`] fills the normalised input, [`residual`] starts the result, [`hidden`] adds the hidden channels to it
//! chunk by chunk, [`result`] adds the skip and stores. Read `Mlp` in `mnx_plan::kernel` for what is computed.

mod ahead;
mod hidden;
mod residual;
mod result;
mod source;

use crate::mlir::{Buffer, Builder, Scalar, Val};
use mnx_plan::kernel::{Extent, Grn, Mlp, MlpSource, Residual, voxels};
use mnx_plan::scratch::{MlpScratch, ScratchTile, row_block};
use mnx_plan::target::Target;

/// Prefetches of the next tile go to the second-level cache (measured better than the first).
const LOCALITY: i64 = 2;

/// What every phase needs to know.
struct Emitter<'e, 'c> {
    b: &'e Builder<'c>,
    k: &'e Mlp,
    target: &'e Target,
    /// Voxels of a sample.
    space: usize,
    /// Rows of a register block.
    block: usize,
    layout: MlpScratch,
    scratch: Buffer<'c>,
    args: Args<'c>,
}

/// The kernel's buffers by part.
struct Args<'c> {
    source: Vec<Buffer<'c>>,
    expand: [Buffer<'c>; 2],
    /// `Apply`: ratio, gamma, beta. `Partials`: partials.
    grn: Vec<Buffer<'c>>,
    compress: Vec<Buffer<'c>>,
    residual: Vec<Buffer<'c>>,
    skip: Option<Buffer<'c>>,
    /// Weights, bias, logits.
    head: Option<[Buffer<'c>; 3]>,
    store: Option<Buffer<'c>>,
}

/// The voxels that a tile holds: `count` of sample `sample` from `first` on.
#[derive(Clone, Copy)]
struct TileOf<'c> {
    sample: Val<'c>,
    first: Val<'c>,
    count: Val<'c>,
}

impl<'c> Args<'c> {
    fn of(k: &Mlp, buffers: &[Buffer<'c>]) -> Self {
        let mut rest = buffers.iter().copied();
        let mut take = |n: usize| -> Vec<Buffer<'c>> { rest.by_ref().take(n).collect() };
        let source = take(match &k.source {
            MlpSource::Tensor { norm } => 1 + usize::from(*norm),
            MlpSource::ConvLayerNorm { conv, .. } => conv.inputs().len(),
        });
        let expand = take(2);
        let grn = take(match k.grn {
            Grn::None => 0,
            Grn::Apply => 3,
            Grn::Partials => 1,
        });
        let last = k.grn == Grn::Partials;
        let compress = take(if last { 0 } else { 2 });
        let overwritten = k.overwritten().filter(|_| k.in_place);
        let mut residual = take(match k.residual {
            _ if last => 0,
            Residual::None => 0,
            Residual::Identity if overwritten == Some("res") => 0,
            Residual::Identity | Residual::Scattered { .. } => 1,
            Residual::Stem { .. } | Residual::Strided { .. } => 2,
        });
        let own_skip = k.skip && !last && overwritten != Some("skip");
        let mut skip = take(usize::from(own_skip)).first().copied();
        let head = take(if k.head.is_some() && !last { 3 } else { 0 });
        let store = take(usize::from(k.store && !last)).first().copied();
        match overwritten {
            Some("skip") => skip = store,
            Some("res") => residual.extend(store),
            _ => {}
        }
        Self { source, expand: [expand[0], expand[1]], grn, compress, residual, skip, head: <[_; 3]>::try_from(head).ok(), store }
    }
}

pub(super) fn emit<'c>(k: &Mlp, target: &Target, b: &Builder<'c>, buffers: &[Buffer<'c>], workgroup: Val<'c>, scratch: Buffer<'c>) {
    let e = Emitter {
        b,
        k,
        target,
        space: voxels(k.grid),
        block: row_block(k.tile.rows, target),
        layout: MlpScratch::of(k),
        scratch,
        args: Args::of(k, buffers),
    };
    let sample = b.div(workgroup, k.parts());
    let part = b.rem(workgroup, k.parts());
    e.start(workgroup, sample);
    match &k.source {
        MlpSource::Tensor { norm } => {
            let first = b.mul(part, k.tile.voxels);
            let end = b.min(b.add(first, k.tile.voxels), e.space);
            b.each(first, end, k.tile.rows, |first| {
                let count = b.min(b.sub(end, first), k.tile.rows);
                let tile = TileOf { sample, first, count };
                b.phase("source");
                e.load_tensor(*norm, tile);
                e.tile(workgroup, tile);
            });
        }
        MlpSource::ConvLayerNorm { conv, eps } => e.convolve(conv, *eps, workgroup),
    }
}

impl<'c> Emitter<'_, 'c> {
    /// A tile of scratch as float32.
    fn view(&self, tile: ScratchTile) -> Buffer<'c> {
        self.b.view(self.scratch, tile.offset, Scalar::F32, tile.rows * tile.stride)
    }

    /// What is done once per workgroup.
    fn start(&self, workgroup: Val<'c>, sample: Val<'c>) {
        match self.k.grn {
            Grn::None => {}
            Grn::Apply => self.prepare_scale(sample),
            Grn::Partials => self.clear_partials(workgroup),
        }
    }

    /// Everything after the source.
    fn tile(&self, workgroup: Val<'c>, tile: TileOf<'c>) {
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
        let ahead = b.add(tile.first, b.add(row, self.k.tile.rows));
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
