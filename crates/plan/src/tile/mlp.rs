//! Tiles of the GEMM kernels: which are legal, and which are taken where no plan says otherwise.
//!
//! The choice depends on the shape and the target alone, never on the number of threads, so that results do not either.

use super::cut::Cut;
use crate::kernel::{Classify, Extent, Grn, Mlp, MlpSource, MlpTile, PANEL, Pointwise, Residual, voxels};
use crate::scratch::{max_row_block, row_stride};
use crate::target::Target;

/// Least rows per tile where the weights are read anew, from beyond the second-level cache, for every tile.
const HEAVY_ROWS: usize = 32;
/// Most rows per tile where the weights stay in the second-level cache: the tile should not push them, or itself, out of the first.
const LIGHT_ROWS: usize = 60;
/// Most rows per tile elsewhere: beyond, weights are amortised already.
const MOST_ROWS: usize = 192;

impl Mlp {
    /// A good tile for a target, whatever `self.tile` and the tile of a convolving source are (that one is best [`choose_row_tile`](crate::kernel::Depthwise::choose_row_tile)'s).
    pub fn choose_tile(&self, target: &Target) -> MlpTile {
        let k = self;
        let m = voxels(k.grid);
        let hidden = hidden_step(k.hidden, target);
        let weights = 4 * k.hidden * (k.channels + k.out_channels);
        let row_bytes = 4 * (row_stride(k.channels) + row_stride(hidden) + row_stride(k.out_channels));
        let block = max_row_block(target);
        let heavy = weights > target.l2 / 2;
        let (least, most, overhead) = if heavy { (HEAVY_ROWS, MOST_ROWS, 8.0) } else { (block, LIGHT_ROWS, 1.0) };
        let most = (target.l2 / 2 / row_bytes).clamp(block, most).max(least);
        let (voxels, rows) = match &k.source {
            MlpSource::Tensor { .. } => {
                Cut { voxels: m, batch: k.batch, narrowest: block.div_ceil(2), block, least, most, overhead }.choose()
            }
            // The convolution hands over whole rows of the image: some of them to a tile, or some tiles to one of them.
            MlpSource::ConvLayerNorm { .. } => {
                let width = k.grid[2];
                let unit = (most / width).clamp(1, k.grid[1]) * width;
                let rows = unit.div_ceil(unit.div_ceil(most));
                (m, whole_blocks(rows, unit, block))
            }
        };
        MlpTile { voxels, rows, hidden }
    }
}

/// Hidden channels per step: enough that re-reading the result tile costs little, few enough that the step's panels stay in the
/// second-level cache beside the tiles.
fn hidden_step(hidden: usize, target: &Target) -> usize {
    let most = if target.l2 >= 1 << 20 { 256 } else { 128 };
    if hidden <= most { hidden } else { most }
}

/// About `rows` rows, in whole register blocks of nearly full size, wasting as little of `m` voxels as can be.
fn whole_blocks(rows: usize, m: usize, block: usize) -> usize {
    if rows < m && rows >= 4 * block {
        return rows / block * block;
    }
    (block.div_ceil(2)..=block)
        .rev()
        .min_by_key(|b| {
            let tile = rows.next_multiple_of(*b);
            // blocks computed over all tiles; the last tile computes only the blocks it needs
            let (full, rest) = (m / tile, m % tile);
            let computed = full * tile + rest.next_multiple_of(*b);
            // small blocks read the panel more often: about two rows' worth of work per block
            computed + 2 * computed / b
        })
        .map_or(rows, |b| rows.next_multiple_of(b))
}

impl Pointwise {
    /// Good voxels per workgroup and rows per tile, `(voxels, rows)`, whatever they are in `self`.
    pub fn choose_tile(&self, target: &Target) -> (usize, usize) {
        let k = self;
        let m = voxels(k.output);
        let row_bytes = 4 * (row_stride(k.in_channels) + row_stride(k.out_channels));
        let block = max_row_block(target);
        // where y is a port, vectors run over voxels
        let block = if k.out_first { 16 } else { block };
        let fit = if k.out_first { target.l1 } else { target.l2 / 2 } / row_bytes;
        Cut {
            voxels: m,
            batch: k.batch,
            narrowest: if k.out_first { block } else { block.div_ceil(2) },
            block,
            least: block,
            most: fit.clamp(block, 96),
            overhead: 1.0,
        }
        .choose()
    }
}

impl Classify {
    /// Good voxels per workgroup: whole cache lines of the port.
    pub fn choose_voxels(&self) -> usize {
        let k = self;
        let parts = 64usize.div_ceil(k.batch);
        k.space.div_ceil(parts).next_multiple_of(64).min(k.space)
    }
}

impl Mlp {
    /// Whether code can be made for this description and tile; the reasons if not.
    ///
    /// # Errors
    /// Everything that is wrong with the sizes or the tile.
    pub fn legal(&self, target: &Target) -> Result<(), String> {
        let k = self;
        let mut wrong = Vec::new();
        let mut need = |ok: bool, what: String| {
            if !ok {
                wrong.push(what);
            }
        };
        let m = voxels(k.grid);
        let t = k.tile;
        need(
            k.batch > 0 && m > 0 && k.channels > 0 && k.hidden > 0 && k.out_channels > 0,
            format!(
                "mlp: an extent is zero: batch {}, grid {}, channels {} -> {} -> {}",
                k.batch,
                mnx_words::extents(&k.grid),
                k.channels,
                k.hidden,
                k.out_channels
            ),
        );
        need(t.rows > 0, "mlp: rows is 0; at least one voxel per tile is needed".into());
        need(
            t.hidden > 0 && (t.hidden.is_multiple_of(PANEL) || t.hidden == k.hidden) && t.hidden <= k.hidden,
            format!("mlp: hidden = {} is neither a multiple of {PANEL} up to, nor all of, {} hidden channels", t.hidden, k.hidden),
        );
        match &k.source {
            MlpSource::Tensor { .. } => need(
                t.voxels > 0 && t.rows > 0 && (t.voxels.is_multiple_of(t.rows) || t.voxels == m),
                format!("mlp: voxels = {} is neither a multiple of rows = {} nor the whole grid of {m}", t.voxels, t.rows),
            ),
            MlpSource::ConvLayerNorm { conv, .. } => {
                need(
                    conv.output == k.grid && conv.channels == k.channels && conv.batch == k.batch,
                    format!(
                        "mlp: the convolution gives {} x {} of {} channels, the mlp reads {} x {} of {}",
                        conv.batch,
                        mnx_words::extents(&conv.output),
                        conv.channels,
                        k.batch,
                        mnx_words::extents(&k.grid),
                        k.channels
                    ),
                );
                need(
                    conv.tile.channels == conv.channels && !conv.stats,
                    format!("mlp: layer norm needs all {} channels in one workgroup and no statistics", conv.channels),
                );
                if let Err(reason) = conv.legal(target) {
                    need(false, format!("mlp: its convolution: {reason}"));
                }
            }
        }
        need(
            k.pad_front.iter().all(|p| *p <= 1),
            format!("mlp: pad_front = {}; 0 or 1 per axis is expected", mnx_words::list(&k.pad_front)),
        );
        need(k.head.is_none() || k.pad_front == [0; 3], "mlp: a head cannot read a padded result".into());
        need(k.store || k.head.is_some() || k.grn == Grn::Partials, "mlp: neither the result nor a head is stored".into());
        need(!k.in_place || k.overwritten().is_some(), "mlp: in place, but the result is added to no stored tensor of its size".into());
        check_residual(k, &mut need);
        verdict(wrong)
    }
}

fn check_residual(k: &Mlp, need: &mut impl FnMut(bool, String)) {
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

impl Pointwise {
    /// Whether code can be made for this description and tile; the reasons if not.
    ///
    /// # Errors
    /// Everything that is wrong with the sizes or the tile.
    pub fn legal(&self) -> Result<(), String> {
        let k = self;
        let mut wrong = Vec::new();
        let m = voxels(k.output);
        if k.batch == 0 || m == 0 || k.in_channels == 0 || k.out_channels == 0 {
            wrong.push(format!(
                "pointwise: an extent is zero: batch {}, output {}, channels {} -> {}",
                k.batch,
                mnx_words::extents(&k.output),
                k.in_channels,
                k.out_channels
            ));
        }
        if !(0..3).all(|a| k.stride[a] > 0 && k.output[a] == k.input[a].div_ceil(k.stride[a])) {
            wrong.push(format!(
                "pointwise: {} at stride {} does not give {}",
                mnx_words::extents(&k.input),
                mnx_words::extents(&k.stride),
                mnx_words::extents(&k.output)
            ));
        }
        if k.rows == 0 || k.voxels == 0 || !(k.voxels.is_multiple_of(k.rows.max(1)) || k.voxels == m) {
            wrong.push(format!("pointwise: voxels = {} is neither a multiple of rows = {} nor the whole output of {m}", k.voxels, k.rows));
        }
        verdict(wrong)
    }
}

impl Classify {
    /// Whether code can be made for this description and tile; the reasons if not.
    ///
    /// # Errors
    /// Everything that is wrong with the sizes or the tile.
    pub fn legal(&self) -> Result<(), String> {
        let k = self;
        let mut wrong = Vec::new();
        if k.batch == 0 || k.classes == 0 || k.space == 0 || k.voxels == 0 {
            wrong.push(format!(
                "classify: an extent is zero: batch {}, classes {}, space {}, voxels per workgroup {}",
                k.batch, k.classes, k.space, k.voxels
            ));
        }
        verdict(wrong)
    }
}

/// All complaints in one.
fn verdict(wrong: Vec<String>) -> Result<(), String> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Bits, Depthwise, DepthwiseTile, Gelu};
    use crate::scratch::{MlpScratch, row_block};
    use crate::target::TARGETS;

    fn plain(grid: Extent, channels: usize, hidden: usize, out_channels: usize, batch: usize) -> Mlp {
        Mlp {
            batch,
            grid,
            channels,
            hidden,
            out_channels,
            source: MlpSource::Tensor { norm: true },
            grn: Grn::None,
            gelu: Gelu::Accurate,
            residual: Residual::Identity,
            pad_front: [0; 3],
            skip: false,
            head: None,
            store: true,
            in_place: false,
            tile: MlpTile { voxels: 0, rows: 0, hidden: 0 },
        }
    }

    #[test]
    fn chosen_tiles_are_legal_and_cut_the_work_evenly() {
        for target in TARGETS {
            for side in [1usize, 2, 3, 4, 5, 7, 8, 12, 16, 31, 64] {
                for (c, e, o) in [(1, 3, 1), (5, 8, 20), (32, 64, 32), (33, 99, 7), (128, 512, 128), (512, 4096, 512), (1024, 8192, 512)] {
                    for batch in [1, 2] {
                        let mut k = plain([side; 3], c, e, o, batch);
                        k.tile = k.choose_tile(target);
                        assert_eq!(k.legal(target), Ok(()), "{k:?}");
                        let m = side.pow(3);
                        let heavy = 4 * e * (c + o) > target.l2 / 2;
                        if m * batch >= 4096 {
                            let tiles = m.div_ceil(k.tile.rows) * batch;
                            assert!(k.workgroups() >= 8.min(tiles), "{k:?}");
                            assert!(row_block(k.tile.rows, target) * 2 >= max_row_block(target));
                        }
                        if heavy && m >= HEAVY_ROWS {
                            assert!(k.tile.rows + 4 >= HEAVY_ROWS, "{k:?}");
                        }
                        let s = MlpScratch::of(&k);
                        assert!(s.bytes <= target.l2 || k.tile.rows <= HEAVY_ROWS + 16, "{} bytes: {k:?}", s.bytes);
                    }
                }
            }
        }
    }

    #[test]
    fn a_convolving_source_gives_whole_rows_to_a_tile() {
        for target in TARGETS {
            for width in 1..200 {
                let mut k = plain([6, 9, width], 32, 64, 32, 1);
                let mut conv = Depthwise {
                    batch: 1,
                    channels: 32,
                    input: k.grid,
                    output: k.grid,
                    taps: [3; 3],
                    stride: [1; 3],
                    pad: [1; 3],
                    transposed: false,
                    bias: true,
                    stem: None,
                    stats: false,
                    tile: DepthwiseTile { channels: 32, depth: 6, height: 9, width: 1 },
                };
                conv.tile.width = conv.choose_row_tile(target).width;
                k.source = MlpSource::ConvLayerNorm { conv, eps: Bits::of(1e-5) };
                k.tile = k.choose_tile(target);
                assert_eq!(k.legal(target), Ok(()));
                let group = MlpScratch::of(&k).group;
                let voxels = group * width;
                let block = row_block(k.tile.rows, target);
                let (full, rest) = (voxels / k.tile.rows, voxels % k.tile.rows);
                let computed = full * k.tile.rows + rest.next_multiple_of(block);
                assert!(computed <= voxels + max_row_block(target), "{width}: {k:?}");
            }
        }
    }

    #[test]
    fn bad_tiles_are_named() {
        let mut k = plain([4, 4, 4], 8, 64, 8, 1);
        k.tile = MlpTile { voxels: 24, rows: 16, hidden: 40 };
        k.head = Some(2);
        k.pad_front = [1, 0, 0];
        let complaints = |k: &Mlp| match k.legal(&TARGETS[0]) {
            Ok(()) => 0,
            Err(all) => all.split("; mlp: ").count(),
        };
        assert_eq!(complaints(&k), 3, "{:?}", k.legal(&TARGETS[0]));
        k.residual = Residual::Strided { from: [9, 8, 8], channels: 4, stride: [2; 3] };
        assert_eq!(complaints(&k), 4);
    }
}
