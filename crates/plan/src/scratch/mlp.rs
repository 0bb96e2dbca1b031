//! Scratch of the GEMM kernels: where each tile lies in a thread's scratch, for the emitter and the memory plan alike.

use super::{Carver, DepthwiseScratch};
use crate::kernel::{Grn, Mlp, MlpSource, Pointwise, Residual};
use crate::target::Target;

/// A region of scratch: rows of float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScratchTile {
    /// First byte.
    pub offset: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Rows.
    pub rows: usize,
}

/// The tiles of an [`Mlp`]; a part that the kernel lacks has no rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MlpScratch {
    /// Normalised input, `[rows, channels]`.
    pub input: ScratchTile,
    /// Hidden chunk, `[rows, tile.hidden]`.
    pub hidden: ScratchTile,
    /// Result, `[rows, out]`.
    pub output: ScratchTile,
    /// Operand of the residual's own product: `Strided` `[rows, channels]`, `Stem` `[channels, rows]`.
    pub residual: ScratchTile,
    /// `gamma * ratio + 1` of one sample, `[1, hidden]`.
    pub scale: ScratchTile,
    /// Convolved rows, `[group * w, channels]` without gaps (`ConvLayerNorm` only).
    pub conv: ScratchTile,
    /// Output rows of the convolution that go through the MLP together.
    pub group: usize,
    /// The row engine's own scratch (`ConvLayerNorm` only).
    pub depthwise: Option<DepthwiseScratch>,
    /// Bytes in all.
    pub bytes: usize,
}

/// The tiles of a [`Pointwise`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PointwiseScratch {
    /// Operand: `[rows, in]`, or `[in, rows]` where x is a port.
    pub input: ScratchTile,
    /// Result, `[rows, out]`; one vector where y is a port.
    pub output: ScratchTile,
    /// Bytes in all.
    pub bytes: usize,
}

fn tile(carver: &mut Carver, rows: usize, width: usize) -> ScratchTile {
    let stride = row_stride(width);
    ScratchTile { offset: carver.region(rows * stride, 4).byte, stride, rows }
}

/// Elements from row to row of a tile `width` wide: whole cache lines; of wide rows an odd number of them, because the rows of a register
/// block are read together and an even (above all a power-of-two) distance would put them all into a few sets of the first-level cache.
pub fn row_stride(width: usize) -> usize {
    let lines = width.div_ceil(16).max(1);
    let lines = if lines <= NARROW { lines } else { lines | 1 };
    lines * 16
}

/// Cache lines of a row up to which a register block of rows cannot wrap round a way of the first-level cache.
const NARROW: usize = 4;

/// Rows of a scratch tile that is read in register blocks and, transposed, in blocks of a vector's lanes.
fn padded_rows(rows: usize) -> usize {
    rows.next_multiple_of(16)
}

/// Most rows of the GEMM register block: two vectors of columns per row, and room for two of the panel and a broadcast.
pub fn max_row_block(target: &Target) -> usize {
    if target.registers >= 32 { 12 } else { 6 }
}

/// Rows of the GEMM register block for tiles of `rows` rows: the largest divisor that the registers hold.
pub fn row_block(rows: usize, target: &Target) -> usize {
    (1..=max_row_block(target)).rev().find(|b| rows.is_multiple_of(*b)).unwrap_or(1)
}

impl MlpScratch {
    /// The layout of a kernel, the same for every target.
    pub fn of(k: &Mlp) -> Self {
        let rows = padded_rows(k.tile.rows);
        let mut carver = Carver::default();
        let mut s = Self {
            input: tile(&mut carver, rows, k.channels),
            hidden: tile(&mut carver, rows, k.tile.hidden.min(k.hidden)),
            ..Self::default()
        };
        if k.grn != Grn::Partials {
            s.output = tile(&mut carver, rows, k.out_channels);
            match k.residual {
                Residual::None | Residual::Identity | Residual::Scattered { .. } => {}
                Residual::Stem { channels } => s.residual = tile(&mut carver, channels, rows),
                Residual::Strided { channels, .. } => s.residual = tile(&mut carver, rows, channels),
            }
        }
        if k.grn == Grn::Apply {
            s.scale = tile(&mut carver, 1, k.hidden);
        }
        if let MlpSource::ConvLayerNorm { conv, .. } = &k.source {
            let width = conv.output[2];
            s.group = (k.tile.rows / width).clamp(1, conv.tile.height.max(1));
            s.conv = ScratchTile { offset: carver.region(s.group * width * k.channels, 4).byte, stride: k.channels, rows: s.group * width };
            s.depthwise = Some(DepthwiseScratch::carve(conv, &mut carver));
        }
        s.bytes = carver.bytes();
        s
    }
}

impl PointwiseScratch {
    /// The layout of a kernel, the same for every target.
    pub fn of(k: &Pointwise) -> Self {
        let rows = padded_rows(k.rows);
        let mut carver = Carver::default();
        let mut s = Self {
            input: if k.in_first { tile(&mut carver, k.in_channels, rows) } else { tile(&mut carver, rows, k.in_channels) },
            ..Self::default()
        };
        s.output = if k.out_first { tile(&mut carver, 1, 16) } else { tile(&mut carver, rows, k.out_channels) };
        s.bytes = carver.bytes();
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TARGETS;

    #[test]
    fn wide_rows_lie_an_odd_number_of_lines_apart() {
        for width in 1..600 {
            let s = row_stride(width);
            let odd = !(s / 16).is_multiple_of(2);
            assert!(s >= width && s.is_multiple_of(16) && (odd || s <= 64), "{width}: {s}");
            assert!(s < width + 32, "{width}: {s}");
        }
    }

    #[test]
    fn register_blocks_divide_the_tile() {
        for t in TARGETS {
            for rows in 1..200 {
                let b = row_block(rows, t);
                assert!(b >= 1 && b <= max_row_block(t) && rows.is_multiple_of(b));
            }
        }
        assert_eq!(row_block(96, &TARGETS[0]), 12);
        assert_eq!(row_block(64, &TARGETS[0]), 8);
    }
}
