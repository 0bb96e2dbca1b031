//! Which element of A, B, C and D stands in which register of which lane, for `mma.sync.m16n8kK.row.col`.
//!
//! With `g = lane / 4` and `t = lane % 4` (PTX ISA, "Matrix Fragments for mma"):
//! * 16-bit A, register r, half e: row `g + 8 (r mod 2)`, column `2 t + e + 8 (r / 2)`; B: row `2 t + e + 8 r`, column `g`.
//! * tf32 A, register r: row `g + 8 (r mod 2)`, column `t + 4 (r / 2)`; B: row `t + 4 r`, column `g`.
//! * C and D in f32, register i: row `g + 8 (i / 2)`, column `2 t + i mod 2`; in f16, register i, half e: row `g + 8 i`, column `2 t + e`.

use super::{MmaShape, MmaType};
use crate::Row;
use crate::numeric::f16_to_f32;

/// Rows of A, C and D.
pub(crate) const M: usize = 16;
/// Columns of B, C and D.
pub(crate) const N: usize = 8;

/// A, B and C by rows, widened.
pub(crate) struct Matrices<const K: usize> {
    pub a: [[f32; K]; M],
    pub b: [[f32; N]; K],
    pub c: [[f32; N]; M],
}

/// The fragments of one legal `mma.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragments {
    pub(crate) shape: MmaShape,
    pub(crate) ab: MmaType,
    pub(crate) acc_f32: bool,
}

impl Fragments {
    /// Of an instruction.
    ///
    /// # Errors
    /// PTX has no `mma.sync` of these types and this shape.
    pub fn of(shape: MmaShape, ab: MmaType, acc_f32: bool) -> Result<Self, String> {
        let shapes: &[MmaShape] = match ab {
            MmaType::Bf16 | MmaType::F16 => &[MmaShape::M16N8K16, MmaShape::M16N8K8],
            MmaType::Tf32 => &[MmaShape::M16N8K8, MmaShape::M16N8K4],
        };
        if !shapes.contains(&shape) {
            return Err(format!("there is no mma.sync {shape:?} of {ab:?}; its shapes are {shapes:?}"));
        }
        if !acc_f32 && ab != MmaType::F16 {
            return Err(format!("mma.sync of {ab:?} accumulates in f32, not in f16"));
        }
        Ok(Self { shape, ab, acc_f32 })
    }

    /// Registers per lane of A, B and C (D has as many as C).
    pub fn registers(self) -> (usize, usize, usize) {
        let per_register = if self.ab == MmaType::Tf32 { 1 } else { 2 };
        let k = self.shape.k();
        (M * k / 32 / per_register, k * N / 32 / per_register, if self.acc_f32 { 4 } else { 2 })
    }

    /// That the instruction has as many registers as it should.
    ///
    /// # Errors
    /// Names the operand.
    pub fn check(self, a: usize, b: usize, c: usize) -> Result<(), String> {
        let (want_a, want_b, want_c) = self.registers();
        for (name, got, want) in [("A", a, want_a), ("B", b, want_b), ("C", c, want_c)] {
            if got != want {
                return Err(format!("mma.sync {:?} of {:?} takes {want} registers of {name}, not {got}", self.shape, self.ab));
            }
        }
        Ok(())
    }

    /// Row and column in A of half `e` (0 for tf32) of register `r` of `lane`.
    #[inline(always)]
    pub fn a(self, lane: usize, r: usize, e: usize) -> (usize, usize) {
        let (g, t) = (lane / 4, lane % 4);
        match self.ab {
            MmaType::Tf32 => (g + 8 * (r & 1), t + 4 * (r >> 1)),
            MmaType::Bf16 | MmaType::F16 => (g + 8 * (r & 1), 2 * t + e + 8 * (r >> 1)),
        }
    }

    /// Row and column in B of half `e` (0 for tf32) of register `r` of `lane`.
    #[inline(always)]
    pub fn b(self, lane: usize, r: usize, e: usize) -> (usize, usize) {
        let (g, t) = (lane / 4, lane % 4);
        match self.ab {
            MmaType::Tf32 => (t + 4 * r, g),
            MmaType::Bf16 | MmaType::F16 => (2 * t + e + 8 * r, g),
        }
    }

    /// Row and column in C or D of half `e` (0 for f32) of register `i` of `lane`.
    #[inline(always)]
    pub fn c(self, lane: usize, i: usize, e: usize) -> (usize, usize) {
        let (g, t) = (lane / 4, lane % 4);
        if self.acc_f32 { (g + 8 * (i >> 1), 2 * t + (i & 1)) } else { (g + 8 * i, 2 * t + e) }
    }

    /// The value of half `e` of a register of A or B.
    #[inline(always)]
    fn operand(self, register: u32, e: usize) -> f32 {
        match self.ab {
            MmaType::Bf16 => f32::from_bits(register >> (16 * e) << 16),
            MmaType::F16 => f16_to_f32((register >> (16 * e)) as u16),
            MmaType::Tf32 => f32::from_bits(register & !0x1fff),
        }
    }

    /// The values of all registers.
    #[inline(always)]
    pub(crate) fn unpack<const K: usize>(self, a: &[Row], b: &[Row], c: &[Row]) -> Matrices<K> {
        let halves = if self.ab == MmaType::Tf32 { 1 } else { 2 };
        let (mut out_a, mut out_b, mut out_c) = ([[0.0; K]; M], [[0.0; N]; K], [[0.0; N]; M]);
        for (r, row) in a.iter().enumerate() {
            for (lane, &register) in row.iter().enumerate() {
                for e in 0..halves {
                    let (i, k) = self.a(lane, r, e);
                    out_a[i][k] = self.operand(register, e);
                }
            }
        }
        for (r, row) in b.iter().enumerate() {
            for (lane, &register) in row.iter().enumerate() {
                for e in 0..halves {
                    let (k, j) = self.b(lane, r, e);
                    out_b[k][j] = self.operand(register, e);
                }
            }
        }
        for (r, row) in c.iter().enumerate() {
            for (lane, &register) in row.iter().enumerate() {
                if self.acc_f32 {
                    let (i, j) = self.c(lane, r, 0);
                    out_c[i][j] = f32::from_bits(register);
                } else {
                    for e in 0..2 {
                        let (i, j) = self.c(lane, r, e);
                        out_c[i][j] = f16_to_f32((register >> (16 * e)) as u16);
                    }
                }
            }
        }
        Matrices { a: out_a, b: out_b, c: out_c }
    }

    /// The registers of D from its bits by rows (f32, or f16 in the low half).
    #[inline(always)]
    pub(crate) fn pack(self, bits: &[[u32; N]; M], d: &mut [Row]) {
        for (r, row) in d.iter_mut().enumerate() {
            for (lane, register) in row.iter_mut().enumerate() {
                *register = if self.acc_f32 {
                    let (i, j) = self.c(lane, r, 0);
                    bits[i][j]
                } else {
                    let ((i, j), (_, high)) = (self.c(lane, r, 0), self.c(lane, r, 1));
                    bits[i][j] | bits[i][high] << 16
                };
            }
        }
    }
}
