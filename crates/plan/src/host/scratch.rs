//! Scratch memory: what kernels keep in a thread's private bytes, and where. The memory plan and the emitters both read it here.

use crate::target::Cpu;

/// Width, in output channels, of the GEMM panels that pointwise weights are packed into (`Recipe::Panels`).
pub const PANEL: usize = 32;

/// Every region starts at a multiple of this many bytes.
pub const SCRATCH_ALIGNMENT: usize = 64;

/// A part of a kernel's scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First byte, a multiple of [`SCRATCH_ALIGNMENT`].
    pub byte: usize,
    /// Elements.
    pub len: usize,
}

/// Hands out regions one after another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carver {
    bytes: usize,
}

impl Carver {
    /// A region of `len` elements of `element_bytes` each.
    pub fn region(&mut self, len: usize, element_bytes: usize) -> Region {
        let byte = self.bytes;
        self.bytes += (len * element_bytes).next_multiple_of(SCRATCH_ALIGNMENT);
        Region { byte, len }
    }

    /// A tile of float32 rows, `width` wide.
    pub fn tile(&mut self, rows: usize, width: usize) -> ScratchTile {
        let stride = row_stride(width);
        ScratchTile { offset: self.region(rows * stride, 4).byte, stride, rows }
    }

    /// Bytes handed out so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

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
pub(super) fn padded_rows(rows: usize) -> usize {
    rows.next_multiple_of(16)
}

/// Most rows of the GEMM register block: two vectors of columns per row, and room for two of the panel and a broadcast.
pub fn max_row_block(cpu: &Cpu) -> usize {
    if cpu.registers >= 32 { 12 } else { 6 }
}

/// Rows of the GEMM register block for tiles of `rows` rows: the largest divisor that the registers hold.
pub fn row_block(rows: usize, cpu: &Cpu) -> usize {
    (1..=max_row_block(cpu)).rev().find(|b| rows.is_multiple_of(*b)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::cpus;

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
        for cpu in cpus() {
            for rows in 1..200 {
                let b = row_block(rows, cpu);
                assert!(b >= 1 && b <= max_row_block(cpu) && rows.is_multiple_of(b));
            }
        }
        let [v4, ..] = cpus().collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!(row_block(96, v4), 12);
        assert_eq!(row_block(64, v4), 8);
    }
}
