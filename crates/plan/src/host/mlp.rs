//! The pointwise half of a block: the hidden tensor never leaves the tile.
//!
//! The choice of a tile depends on the shape and the target alone, never on the number of threads, so that results do not either.

use serde::{Deserialize, Serialize};

use super::cut::Cut;
use super::scratch::{Carver, ScratchTile, padded_rows};
use super::{HostKernel, PANEL, formed, max_row_block, row_stride, verdict};
use crate::family::{Arithmetic, Family, Neighbours, Row, Strategy, tile, tiled};
use crate::lowering::Lowering;
use crate::slot::{Arg, Element, Slot};
use crate::target::Cpu;
use crate::vocabulary::{Extent, Gelu, voxels};
use crate::work::{self, Grn, Residual, Task, Work};

/// Least rows per tile where the weights are read anew, from beyond the second-level cache, for every tile.
const HEAVY_ROWS: usize = 32;
/// Most rows per tile where the weights stay in the second-level cache: the tile should not push them, or itself, out of the first.
const LIGHT_ROWS: usize = 60;
/// Most rows per tile elsewhere: beyond, weights are amortised already.
const MOST_ROWS: usize = 192;

/// A tile of voxels goes through all hidden channels, some at a time, in scratch.
///
/// Args, in order, each present if its part is: `x` f32 `[n, grid, c]`, `stats` f32 `[n, 2, c]`; then those of `tail_args`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mlp {
    /// What is computed.
    pub mlp: work::Mlp,
    /// How closely GELU is computed.
    pub gelu: Gelu,
    /// Whether the result takes the place of the tensor it is added to ([`work::Mlp::overwritten`]).
    pub in_place: bool,
    /// The schedule.
    #[serde(skip)]
    pub tile: Tile,
}

tile! {
    /// How an MLP kernel is cut.
    pub struct Tile {
        /// Voxels per workgroup; a multiple of `rows` unless it is the whole grid.
        voxels,
        /// Voxels per tile held in cache while the hidden channels go by.
        rows,
        /// Hidden channels per step; a multiple of [`PANEL`] unless it is all of them.
        hidden,
    }
}

/// The buffers behind the MLP's input, each present if its part is, where a sample's partial sums have `parts` rows:
/// 1. `w2` f32 panels of `[hidden, c]`, `b2` f32 `[hidden]`.
/// 2. GRN `Apply`: `ratio` f32 `[n, hidden]`, `gamma` f32 `[hidden]`, `beta` f32 `[hidden]`. GRN `Partials`: `partials` f64 `[n, parts, hidden]`, and nothing more.
/// 3. `w3` f32 panels of `[out, hidden]`, `b3` f32 `[out]`.
/// 4. residual `Identity`: `res` f32 `[n, grid, out]`. `Stem`: `res` f32 `[n, ci, grid]`, `res_w` panels of `[out, ci]`. `Strided`: `res` f32 `[n, from, cr]`, `res_w` f32 panels of
///    `[out, cr]`. `Scattered`: `res` f32 `[n, from, out]`.
/// 5. `skip` f32 `[n, output, out]`.
/// 6. head: `head_w` f32 panels of `[classes, out]`, `head_b` f32 `[classes]`, `logits` f32 `[n, classes, output]`.
/// 7. store: `out` f32 `[n, output, out]`. With `in_place`, `out` holds the skip (without one, the `Identity` residual) at the start, and that
///    buffer is not among the args: a voxel is read and written by the same tile, and padded planes, skip alone, stay as they are.
pub(super) fn tail_args(k: &work::Mlp, in_place: bool, parts: impl FnOnce() -> usize) -> Vec<Arg> {
    let grid = k.batch * voxels(k.grid);
    let output = k.batch * voxels(k.output());
    let mut args = vec![Arg::read(Slot::W2, k.hidden * k.channels), Arg::read(Slot::B2, k.hidden)];
    match k.grn {
        Grn::None => {}
        Grn::Apply => {
            args.push(Arg::read(Slot::Ratio, k.batch * k.hidden));
            args.push(Arg::read(Slot::Gamma, k.hidden));
            args.push(Arg::read(Slot::Beta, k.hidden));
        }
        Grn::Partials => {
            args.push(Arg::write(Slot::Partials, k.batch * parts() * k.hidden).of(Element::F64));
            return args;
        }
    }
    args.push(Arg::read(Slot::W3, k.out_channels * k.hidden));
    args.push(Arg::read(Slot::B3, k.out_channels));
    match k.residual {
        Residual::None => {}
        Residual::Identity => args.push(Arg::read(Slot::Res, grid * k.out_channels)),
        Residual::Stem { channels } => {
            args.push(Arg::read(Slot::Res, grid * channels));
            args.push(Arg::read(Slot::ResW, k.out_channels * channels));
        }
        Residual::Strided { from, channels, .. } => {
            args.push(Arg::read(Slot::Res, k.batch * voxels(from) * channels));
            args.push(Arg::read(Slot::ResW, k.out_channels * channels));
        }
        Residual::Scattered { from, .. } => args.push(Arg::read(Slot::Res, k.batch * voxels(from) * k.out_channels)),
    }
    if k.skip {
        args.push(Arg::read(Slot::Skip, output * k.out_channels));
    }
    if let Some(classes) = k.head {
        args.push(Arg::read(Slot::HeadW, classes * k.out_channels));
        args.push(Arg::read(Slot::HeadB, classes));
        args.push(Arg::write(Slot::Logits, output * classes));
    }
    match k.overwritten().filter(|_| in_place) {
        Some(over) => {
            args.retain(|a| a.slot != over);
            args.push(Arg::in_place(Slot::Out, over, output * k.out_channels));
        }
        None if k.store => args.push(Arg::write(Slot::Out, output * k.out_channels)),
        None => {}
    }
    args
}

/// Arithmetic of an MLP behind its input.
pub(super) fn arithmetic(k: &work::Mlp) -> Arithmetic {
    let m = voxels(k.grid);
    let compress = if k.grn == Grn::Partials { 0 } else { m * k.hidden * k.out_channels };
    let residual = m * k.residual.product() * k.out_channels;
    let head = k.head.map_or(0, |classes| m * classes * k.out_channels);
    let flops = 2 * (k.batch * (m * k.channels * k.hidden + compress + residual + head)) as u64;
    Arithmetic { flops, gelus: (k.batch * m * k.hidden) as u64 }
}

/// The scratch of an MLP; a part that the kernel lacks has no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MlpScratch {
    /// Normalised input, `[rows, channels]`.
    pub input: ScratchTile,
    /// Hidden chunk, `[rows, hidden channels of a step]`.
    pub hidden: ScratchTile,
    /// Result, `[rows, out]`.
    pub output: ScratchTile,
    /// Operand of the residual's own product: `Strided` `[rows, channels]`, `Stem` `[channels, rows]`.
    pub residual: ScratchTile,
    /// `gamma * ratio + 1` of one sample, `[1, hidden]`.
    pub scale: ScratchTile,
}

impl MlpScratch {
    /// The layout for tiles of `rows` voxels and steps of `hidden` channels, the same for every target.
    pub fn carve(k: &work::Mlp, rows: usize, hidden: usize, carver: &mut Carver) -> Self {
        let rows = padded_rows(rows);
        let mut s = Self { input: carver.tile(rows, k.channels), hidden: carver.tile(rows, hidden.min(k.hidden)), ..Self::default() };
        if k.grn != Grn::Partials {
            s.output = carver.tile(rows, k.out_channels);
            match k.residual {
                Residual::None | Residual::Identity | Residual::Scattered { .. } => {}
                Residual::Stem { channels } => s.residual = carver.tile(channels, rows),
                Residual::Strided { channels, .. } => s.residual = carver.tile(rows, channels),
            }
        }
        if k.grn == Grn::Apply {
            s.scale = carver.tile(1, k.hidden);
        }
        s
    }
}

/// Limits of a tile's rows: at least, at most, and what a tile costs beyond its rows, in rows.
pub(super) fn row_limits(k: &work::Mlp, hidden: usize, cpu: &Cpu) -> (usize, usize, f64) {
    let weights = 4 * k.hidden * (k.channels + k.out_channels);
    let row_bytes = 4 * (row_stride(k.channels) + row_stride(hidden) + row_stride(k.out_channels));
    let block = max_row_block(cpu);
    let heavy = weights > cpu.l2 / 2;
    let (least, most, overhead) = if heavy { (HEAVY_ROWS, MOST_ROWS, 8.0) } else { (block, LIGHT_ROWS, 1.0) };
    (least, (cpu.l2 / 2 / row_bytes).clamp(block, most).max(least), overhead)
}

/// Hidden channels per step: enough that re-reading the result tile costs little, few enough that the step's panels stay in the
/// second-level cache beside the tiles.
pub(super) fn hidden_step(hidden: usize, cpu: &Cpu) -> usize {
    let most = if cpu.l2 >= 1 << 20 { 256 } else { 128 };
    if hidden <= most { hidden } else { most }
}

/// What is wrong with the sizes of an MLP, and with tiles of `rows` voxels and steps of `hidden` channels.
pub(super) fn complaints(k: &work::Mlp, in_place: bool, rows: usize, hidden: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut need = |ok: bool, what: String| {
        if !ok {
            wrong.push(what);
        }
    };
    need(
        k.batch > 0 && voxels(k.grid) > 0 && k.channels > 0 && k.hidden > 0 && k.out_channels > 0,
        format!(
            "mlp: an extent is zero: batch {}, grid {}, channels {} -> {} -> {}",
            k.batch,
            mnx_words::extents(&k.grid),
            k.channels,
            k.hidden,
            k.out_channels
        ),
    );
    need(rows > 0, "mlp: rows is 0; at least one voxel per tile is needed".into());
    need(
        hidden > 0 && (hidden.is_multiple_of(PANEL) || hidden == k.hidden) && hidden <= k.hidden,
        format!("mlp: hidden = {hidden} is neither a multiple of {PANEL} up to, nor all of, {} hidden channels", k.hidden),
    );
    need(k.pad_front.iter().all(|p| *p <= 1), format!("mlp: pad_front = {}; 0 or 1 per axis is expected", mnx_words::list(&k.pad_front)));
    need(k.head.is_none() || k.pad_front == [0; 3], "mlp: a head cannot read a padded result".into());
    need(k.store || k.head.is_some() || k.grn == Grn::Partials, "mlp: neither the result nor a head is stored".into());
    need(!in_place || k.overwritten().is_some(), "mlp: in place, but the result is added to no stored tensor of its size".into());
    check_residual(k, &mut need);
    wrong
}

fn check_residual(k: &work::Mlp, need: &mut impl FnMut(bool, String)) {
    let fits = |from: Extent, stride: Extent, down: bool| {
        (0..3).all(|a| {
            let (large, small) = if down { (from[a], k.grid[a]) } else { (k.grid[a], from[a]) };
            stride[a] > 0 && small == large.div_ceil(stride[a])
        })
    };
    match k.residual {
        Residual::None | Residual::Identity => {}
        Residual::Stem { channels } => need(channels > 0, "mlp: the stem has no channels".into()),
        Residual::Strided { from, channels, stride } => need(
            channels > 0 && fits(from, stride, true),
            format!(
                "mlp: a residual of {from} at stride {stride} does not cover the grid {}",
                mnx_words::extents(&k.grid),
                from = mnx_words::extents(&from),
                stride = mnx_words::extents(&stride)
            ),
        ),
        Residual::Scattered { from, stride } => need(
            fits(from, stride, false),
            format!(
                "mlp: a residual of {from} scattered at stride {stride} does not cover the grid {}",
                mnx_words::extents(&k.grid),
                from = mnx_words::extents(&from),
                stride = mnx_words::extents(&stride)
            ),
        ),
    }
}

/// Offers a tuner hidden channels per step: whole panels, or all.
pub(super) fn neighbours_hidden(near: &mut Neighbours, hidden: usize, all: usize) {
    for h in [hidden * 2, hidden / 2, all, 64, 128, 256] {
        let h = if h >= all { all } else { h.next_multiple_of(PANEL).min(all) };
        near.offer(&[("hidden", h)]);
    }
}

impl Mlp {
    /// Parts per sample: rows of `partials`.
    pub fn spatial_parts(&self) -> usize {
        voxels(self.mlp.grid).div_ceil(self.tile.voxels)
    }
}

impl Family for Mlp {
    type Machine = Cpu;
    tiled!();
    fn args(&self) -> Vec<Arg> {
        let k = &self.mlp;
        let mut args = vec![Arg::read(Slot::X, k.batch * voxels(k.grid) * k.channels)];
        if k.norm {
            args.push(Arg::read(Slot::Stats, k.batch * 2 * k.channels));
        }
        args.extend(tail_args(k, self.in_place, || self.spatial_parts()));
        args
    }
    fn workgroups(&self) -> usize {
        self.mlp.batch * self.spatial_parts()
    }
    fn arithmetic(&self) -> Arithmetic {
        arithmetic(&self.mlp)
    }
    fn scratch_bytes(&self) -> usize {
        let mut carver = Carver::default();
        MlpScratch::carve(&self.mlp, self.tile.rows, self.tile.hidden, &mut carver);
        carver.bytes()
    }
    fn parts(&self) -> Option<usize> {
        (self.mlp.grn == Grn::Partials).then(|| self.spatial_parts())
    }
    fn overwritable(&self) -> Option<Slot> {
        self.mlp.overwritten()
    }
    fn overwrite(&mut self) {
        self.in_place = true;
    }
    fn choose(&mut self, cpu: &Cpu) {
        let k = &self.mlp;
        let hidden = hidden_step(k.hidden, cpu);
        let (least, most, overhead) = row_limits(k, hidden, cpu);
        let block = max_row_block(cpu);
        let cut = Cut { voxels: voxels(k.grid), batch: k.batch, narrowest: block.div_ceil(2), block, least, most, overhead };
        let (voxels, rows) = cut.choose();
        self.tile = Tile { voxels, rows, hidden };
    }
    fn legal(&self, _cpu: &Cpu) -> Result<(), String> {
        let (t, m) = (self.tile, voxels(self.mlp.grid));
        let mut wrong = complaints(&self.mlp, self.in_place, t.rows, t.hidden);
        if t.voxels == 0 || t.rows == 0 || !(t.voxels.is_multiple_of(t.rows) || t.voxels == m) {
            wrong.push(format!("mlp: voxels = {} is neither a multiple of rows = {} nor the whole grid of {m}", t.voxels, t.rows));
        }
        verdict(wrong)
    }
    fn neighbours(&self, near: &mut Neighbours, cpu: &Cpu) {
        near.rows(voxels(self.mlp.grid), max_row_block(cpu));
        neighbours_hidden(near, self.tile.hidden, self.mlp.hidden);
    }
}

impl Row for Mlp {
    type Kernel = HostKernel;
    const STRATEGY: Strategy = Strategy {
        name: "mlp.tile",
        knobs: Tile::KNOBS,
        tensor: false,
        about: "normalise, expand, GELU, compress, residual, skip, pad and head for a tile of voxels; the hidden tensor stays in cache",
    };

    fn take(task: &Task, to: &mut Lowering<HostKernel>) -> Result<bool, String> {
        let Work::Mlp(mlp) = &task.work else { return Ok(false) };
        let gelu = to.choices.gelu;
        to.push(Self { mlp: mlp.clone(), gelu, in_place: false, tile: Tile::default() }, formed(task, false)?);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::conv_mlp::{ConvMlp, ConvMlpScratch};
    use crate::host::row_block;
    use crate::target::cpus;
    use crate::vocabulary::Bits;
    use crate::work::Conv;

    fn plain(grid: Extent, [channels, hidden, out_channels]: [usize; 3], batch: usize) -> Mlp {
        let mlp = work::Mlp {
            batch,
            grid,
            channels,
            hidden,
            out_channels,
            norm: true,
            grn: Grn::None,
            residual: Residual::Identity,
            pad_front: [0; 3],
            skip: false,
            head: None,
            store: true,
        };
        Mlp { mlp, gelu: Gelu::Accurate, in_place: false, tile: Tile::default() }
    }

    #[test]
    fn chosen_tiles_are_legal_and_cut_the_work_evenly() {
        for cpu in cpus() {
            for side in [1usize, 2, 3, 4, 5, 7, 8, 12, 16, 31, 64] {
                for (c, e, o) in [(1, 3, 1), (5, 8, 20), (32, 64, 32), (33, 99, 7), (128, 512, 128), (512, 4096, 512), (1024, 8192, 512)] {
                    for batch in [1, 2] {
                        let mut k = plain([side; 3], [c, e, o], batch);
                        k.choose(cpu);
                        assert_eq!(k.legal(cpu), Ok(()), "{k:?}");
                        let m = side.pow(3);
                        let heavy = 4 * e * (c + o) > cpu.l2 / 2;
                        if m * batch >= 4096 {
                            let tiles = m.div_ceil(k.tile.rows) * batch;
                            assert!(k.workgroups() >= 8.min(tiles), "{k:?}");
                            assert!(row_block(k.tile.rows, cpu) * 2 >= max_row_block(cpu));
                        }
                        if heavy && m >= HEAVY_ROWS {
                            assert!(k.tile.rows + 4 >= HEAVY_ROWS, "{k:?}");
                        }
                        let bytes = k.scratch_bytes();
                        assert!(bytes <= cpu.l2 || k.tile.rows <= HEAVY_ROWS + 16, "{bytes} bytes: {k:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_convolving_source_gives_whole_rows_to_a_tile() {
        for cpu in cpus() {
            for width in 1..200 {
                let mut mlp = plain([6, 9, width], [32, 64, 32], 1).mlp;
                mlp.norm = false;
                let conv = Conv {
                    batch: 1,
                    channels: 32,
                    input: mlp.grid,
                    output: mlp.grid,
                    taps: [3; 3],
                    stride: [1; 3],
                    pad: [1; 3],
                    transposed: false,
                    bias: true,
                    stem: None,
                    stats: false,
                };
                let work = work::ConvMlp { conv, eps: Bits::of(1e-5), mlp };
                let mut k = ConvMlp { work, gelu: Gelu::Accurate, in_place: false, tile: Default::default() };
                k.choose(cpu);
                assert_eq!(k.legal(cpu), Ok(()));
                let group = ConvMlpScratch::of(&k).group;
                let voxels = group * width;
                let block = row_block(k.tile.rows, cpu);
                let (full, rest) = (voxels / k.tile.rows, voxels % k.tile.rows);
                let computed = full * k.tile.rows + rest.next_multiple_of(block);
                assert!(computed <= voxels + max_row_block(cpu), "{width}: {k:?}");
            }
        }
    }

    #[test]
    fn bad_tiles_are_named() {
        let mut k = plain([4, 4, 4], [8, 64, 8], 1);
        k.tile = Tile { voxels: 24, rows: 16, hidden: 40 };
        k.mlp.head = Some(2);
        k.mlp.pad_front = [1, 0, 0];
        let [v4, ..] = cpus().collect::<Vec<_>>()[..] else { panic!() };
        let complaints = |k: &Mlp| match k.legal(v4) {
            Ok(()) => 0,
            Err(all) => all.split("; mlp: ").count(),
        };
        assert_eq!(complaints(&k), 3, "{:?}", k.legal(v4));
        k.mlp.residual = Residual::Strided { from: [9, 8, 8], channels: 4, stride: [2; 3] };
        assert_eq!(complaints(&k), 4);
    }
}
