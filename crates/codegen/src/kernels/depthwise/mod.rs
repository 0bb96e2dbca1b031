//! Depthwise convolution: channels in vector lanes, input planes streamed through a ring in the thread's scratch.
//!
//! A workgroup owns one sample, a depth slab, a height slab and a channel block. Each input plane is copied into the ring once, its rows framed
//! by zeros along w, so that no load in the compute loop needs a test; along d and h the tap loops run over the taps inside the image only.
//! `ring.rs` fills the ring (from a tensor, or from the input port through the stem), `register.rs` computes a register tile,
//! `width.rs` cuts rows into tiles, `sums.rs` gathers statistics, `taps.rs` says which taps an output reads along d and h.

mod register;
mod ring;
#[cfg(test)]
mod rows_test;
mod sums;
mod taps;
mod width;

use super::{Site, pieces};
use crate::args::Args;
use crate::mlir::{Buffer, Builder, Scalar, Val};
use mnx_plan::host::Depthwise;
use mnx_plan::host::depthwise::DepthwiseScratch;
use mnx_plan::host::scratch::Region;
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::voxels;
use taps::Taps;
use width::{WidthTile, cover};

/// float32 elements of a cache line.
const LINE: usize = 16;

/// Results of more bytes than this are stored past the caches.
const PAST_CACHES: usize = 16 << 20;

/// The buffers a convolution reads.
#[derive(Clone, Copy)]
struct Inputs<'c> {
    x: Buffer<'c>,
    stem: Option<[Buffer<'c>; 2]>,
    weights: Buffer<'c>,
    bias: Option<Buffer<'c>>,
}

/// What one workgroup works on.
#[derive(Clone, Copy)]
struct Place<'c> {
    sample: Val<'c>,
    /// Number of the spatial part.
    part: Val<'c>,
    /// Output planes, first and end.
    planes: [Val<'c>; 2],
    /// Output rows, first and end.
    rows: [Val<'c>; 2],
    /// First channel of the block.
    channel: Val<'c>,
}

/// Everything that emission of one convolution needs.
struct Conv<'a, 'c> {
    k: &'a Depthwise,
    b: &'a Builder<'c>,
    lanes: usize,
    registers: usize,
    inputs: Inputs<'c>,
    layout: DepthwiseScratch,
    weights: Buffer<'c>,
    stem: Buffer<'c>,
    ring: Buffer<'c>,
    place: Place<'c>,
}

/// Channel vectors that a register tile holds side by side.
#[derive(Clone, Copy)]
struct Channels<'c> {
    /// First channel within the block.
    first: Val<'c>,
    /// Lanes of each vector.
    lanes: usize,
    /// Vectors.
    vectors: usize,
}

/// A register tile's result.
struct Tile<'c> {
    /// Lanes of each vector.
    lanes: usize,
    /// By vector, then by voxel of `voxels`.
    values: Vec<Vec<Val<'c>>>,
    /// Offsets of the voxels from `first`.
    voxels: Vec<usize>,
}

/// Where results go.
struct Output<'c> {
    buffer: Buffer<'c>,
    /// Elements between neighbouring voxels.
    stride: usize,
    /// Whether whole cache lines are written past the caches.
    past_caches: bool,
}

/// Emits the kernel on its own.
pub(super) fn emit(k: &Depthwise, site: &Site<'_, '_>) {
    let &Site { b, args, scratch, .. } = site;
    let layout = DepthwiseScratch::carve(k, &mut Default::default());
    let conv = Conv::new(k, site, layout);
    let y = args.of(Slot::Y);
    let sums = args.get(Slot::Partials).map(|partials| {
        let sums = region(b, scratch, layout.sums, Scalar::F64);
        sums::Sums::new(&conv, sums, partials)
    });
    conv.prepare();
    if let Some(sums) = &sums {
        sums.clear();
    }
    let [d, h, w] = k.conv.output;
    let c = k.conv.channels;
    // A result larger than the caches will have left them when it is read; lines that are written whole need not be fetched for that.
    let bytes = 4 * k.conv.batch * voxels(k.conv.output) * c;
    let past_caches = bytes > PAST_CACHES && conv.lanes == LINE && c.is_multiple_of(LINE) && k.tile.channels.is_multiple_of(LINE);
    let output = Output { buffer: y, stride: c, past_caches };
    conv.stream(|z| {
        let plane = b.at(z, conv.place.sample, d);
        b.phase("convolve");
        // Strips of tiles down a plane: the rows that two tiles share stay in the first-level cache.
        conv.vectors(|channels| {
            for part in cover(&k.conv.axis(2), k.tile.width, layout.before) {
                conv.along(&part, |tile, first, position| {
                    let start: Vec<_> = match &sums {
                        Some(sums) => sums.start(channels.lanes, channels.vectors),
                        None => vec![],
                    };
                    let [low, high] = conv.place.rows;
                    let end = b.steps(low, high, 1).carry(&start, |row, carried| {
                        let result = conv.tile([z, row], tile, position, channels);
                        let voxel = b.at(first, b.at(row, plane, h), w);
                        let at = b.at(b.add(conv.place.channel, channels.first), voxel, c);
                        result.store(b, &output, at);
                        match &sums {
                            Some(sums) => sums.gather(b.eq(row, low), &result, carried),
                            None => vec![],
                        }
                    });
                    if let Some(sums) = &sums {
                        let voxels = b.mul(b.sub(high, low), tile.voxels.len());
                        sums.merge(channels, voxels, &end);
                    }
                });
            }
        });
    });
    if past_caches {
        b.fence();
    }
    if let Some(sums) = &sums {
        sums.write();
    }
}

/// Finished output rows, as [`emit_rows`] hands them over: `count` neighbouring rows of one plane.
pub(crate) struct Rows<'c> {
    /// Sample.
    pub(crate) sample: Val<'c>,
    /// Output plane.
    pub(crate) z: Val<'c>,
    /// First output row within the plane.
    pub(crate) y: Val<'c>,
    /// Rows.
    pub(crate) count: Val<'c>,
}

/// The row engine, for kernels that go on with the convolution's result instead of storing it.
///
/// Emits the work of workgroup `workgroup` of `k` (numbered as the kernel on its own would be; its tile has all channels in one block): for every
/// `group` output rows in turn (fewer at the end of a slab), their `[rows * output w, channels]` values are written to `to` (float32, from its
/// index 0), bias included, then `body` is emitted, which may read and overwrite `to`. The rows' voxels are neighbours in memory:
/// `((sample * d + z) * h + y) * w` is the first. The buffers are those of the calling kernel, which lists the convolution's among them; `layout` comes from
/// [`DepthwiseScratch::carve`] with the carver of the calling kernel's own layout.
/// Nothing else of the layout's regions may be touched by `body`.
pub(crate) fn emit_rows<'c>(
    k: &Depthwise,
    site: &Site<'_, 'c>,
    layout: DepthwiseScratch,
    (group, to): (usize, Buffer<'c>),
    body: impl FnOnce(&Rows<'c>),
) {
    debug_assert_eq!(k.tile.channels, k.conv.channels);
    let b = site.b;
    let conv = Conv::new(k, site, layout);
    conv.prepare();
    let (c, w) = (k.conv.channels, k.conv.output[2]);
    let output = Output { buffer: to, stride: c, past_caches: false };
    conv.stream(|z| {
        let [low, high] = conv.place.rows;
        b.each(low, high, group, |first| {
            b.phase("convolve");
            let end = if group == 1 { b.add(first, 1) } else { b.min(b.add(first, group), high) };
            conv.vectors(|channels| {
                for part in cover(&k.conv.axis(2), k.tile.width, layout.before) {
                    conv.along(&part, |tile, voxel, position| {
                        b.each(first, end, 1, |y| {
                            let result = conv.tile([z, y], tile, position, channels);
                            let voxel = b.at(voxel, b.sub(y, first), w);
                            result.store(b, &output, b.at(channels.first, voxel, c));
                        });
                    });
                }
            });
            body(&Rows { sample: conv.place.sample, z, y: first, count: b.sub(end, first) });
        });
    });
}

fn region<'c>(b: &Builder<'c>, scratch: Buffer<'c>, at: Region, scalar: Scalar) -> Buffer<'c> {
    b.view(scratch, at.byte, scalar, at.len.max(1))
}

impl<'c> Inputs<'c> {
    fn of(k: &Depthwise, args: &Args<'c>) -> Self {
        let stem = k.conv.stem.map(|_| [args.of(Slot::StemW), args.of(Slot::StemB)]);
        let bias = k.conv.bias.then(|| args.of(Slot::B));
        Self { x: args.of(Slot::X), stem, weights: args.of(Slot::W), bias }
    }
}

impl<'a, 'c> Conv<'a, 'c> {
    fn new(k: &'a Depthwise, site: &Site<'a, 'c>, layout: DepthwiseScratch) -> Self {
        let &Site { b, cpu, args, workgroup, scratch } = site;
        let inputs = Inputs::of(k, args);
        let f32s = |at| region(b, scratch, at, Scalar::F32);
        Self {
            k,
            b,
            lanes: cpu.lanes,
            registers: cpu.registers,
            inputs,
            layout,
            weights: f32s(layout.weights),
            stem: f32s(layout.stem),
            ring: f32s(layout.ring),
            place: Place::new(k, b, workgroup),
        }
    }

    /// Fills what stays the same for the whole workgroup: packed weights, the zeros around the rows.
    fn prepare(&self) {
        self.b.phase("prepare");
        self.pack_weights();
        self.zero_margins();
    }

    /// Runs `body(z)` over the slab's output planes, each after the input planes it reads have been staged.
    fn stream(&self, body: impl FnOnce(Val<'c>)) {
        let b = self.b;
        let [low, high] = self.place.planes;
        b.steps(low, high, 1).carry(&[b.index(0)], |z, staged| {
            let taps = Taps::of(&self.k.conv.axis(0), b, z);
            b.phase("stage");
            b.each(b.max(staged[0], taps.low), taps.high, 1, |plane| self.stage(plane));
            body(z);
            vec![taps.high]
        });
    }

    /// Runs `body` over the block's channels.
    fn vectors(&self, mut body: impl FnMut(Channels<'c>)) {
        let b = self.b;
        let budget = if self.registers >= 32 { 16 } else { 8 };
        for piece in pieces(self.k.tile.channels, self.lanes) {
            // Narrow rows leave accumulators free: several vectors side by side hide the latency instead.
            let wide = self.k.tile.width.min(self.k.conv.output[2]);
            let most = (budget / wide).clamp(1, 4);
            let vectors = (1..=most).rev().find(|v| piece.count.is_multiple_of(*v)).unwrap_or(1);
            let end = piece.first + piece.count * piece.lanes;
            b.each(piece.first, end, piece.lanes * vectors, |first| {
                body(Channels { first, lanes: piece.lanes, vectors });
            });
        }
    }

    /// Runs `body(tile, first output voxel, first voxel of its inputs in a staged row)` over one part of a row.
    fn along(&self, part: &width::Part, body: impl FnOnce(&WidthTile, Val<'c>, Val<'c>)) {
        let b = self.b;
        let axis = self.k.conv.axis(2);
        let (out_step, in_step) = (axis.out_step(), axis.in_step());
        let end = part.first + part.count * part.tile.steps;
        b.each(part.first, end, part.tile.steps, |step| {
            body(&part.tile, b.mul(step, out_step), b.mul(step, in_step));
        });
    }
}

impl<'c> Place<'c> {
    fn new(k: &Depthwise, b: &Builder<'c>, workgroup: Val<'c>) -> Self {
        let conv = &k.conv;
        let blocks = conv.channels / k.tile.channels;
        let slabs = conv.output[1].div_ceil(k.tile.height);
        let parts = k.spatial_parts();
        let block = b.rem(workgroup, blocks);
        let rest = b.div(workgroup, blocks);
        let part = b.rem(rest, parts);
        let slab = |number: Val<'c>, size: usize, extent: usize| {
            let first = b.mul(number, size);
            let end = b.add(first, size);
            if size >= extent {
                [b.index(0), b.index(extent)]
            } else if extent.is_multiple_of(size) {
                [first, end]
            } else {
                [first, b.min(end, extent)]
            }
        };
        Self {
            sample: if conv.batch == 1 { b.index(0) } else { b.div(rest, parts) },
            part,
            planes: slab(b.div(part, slabs), k.tile.depth, conv.output[0]),
            rows: slab(b.rem(part, slabs), k.tile.height, conv.output[1]),
            channel: b.mul(block, k.tile.channels),
        }
    }
}

impl<'c> Tile<'c> {
    /// Stores the voxels from element `at` of the result on.
    fn store(&self, b: &Builder<'c>, to: &Output<'c>, at: Val<'c>) {
        for (v, values) in self.values.iter().enumerate() {
            for (&value, voxel) in values.iter().zip(&self.voxels) {
                let at = b.add(at, voxel * to.stride + v * self.lanes);
                if to.past_caches {
                    b.store_past_caches(value, to.buffer, at);
                } else {
                    b.store(value, to.buffer, at);
                }
            }
        }
    }
}
