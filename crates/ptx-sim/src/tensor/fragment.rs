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
    /// Fragments of an instruction.
    ///
    /// # Errors
    /// PTX has no `mma.sync` of these types and this shape.
    pub fn of(shape: MmaShape, ab: MmaType, acc_f32: bool) -> Result<Self, String> {
        let shapes: &[MmaShape] = match ab {
            MmaType::Bf16 | MmaType::F16 => &[MmaShape::M16N8K16, MmaShape::M16N8K8],
            MmaType::Tf32 => &[MmaShape::M16N8K8, MmaShape::M16N8K4],
        };
        if !shapes.contains(&shape) {
            return Err(format!("there is no mma.sync {shape} of {ab}; its shapes are {shapes}", shapes = mnx_words::list(shapes)));
        }
        if !acc_f32 && ab != MmaType::F16 {
            return Err(format!("mma.sync of {ab} accumulates in f32, not in f16"));
        }
        Ok(Self { shape, ab, acc_f32 })
    }

    /// Registers per lane of A, B and C (D has as many as C).
    pub fn registers(self) -> (usize, usize, usize) {
        let per_register = if self.ab == MmaType::Tf32 { 1 } else { 2 };
        let k = self.shape.k();
        (M * k / 32 / per_register, k * N / 32 / per_register, if self.acc_f32 { 4 } else { 2 })
    }

    /// The check that an instruction has as many registers as it should.
    ///
    /// # Errors
    /// Names the operand.
    pub fn check(self, a: usize, b: usize, c: usize) -> Result<(), String> {
        let (want_a, want_b, want_c) = self.registers();
        for (name, got, want) in [("A", a, want_a), ("B", b, want_b), ("C", c, want_c)] {
            if got != want {
                return Err(format!("mma.sync {} of {} takes {want} registers of {name}, not {got}", self.shape, self.ab));
            }
        }
        Ok(())
    }

    /// The values of all registers.
    #[inline(always)]
    pub(crate) fn unpack<const K: usize>(self, a: &[Row], b: &[Row], c: &[Row]) -> Matrices<K> {
        let mut out = Matrices { a: [[0.0; K]; M], b: [[0.0; N]; K], c: [[0.0; N]; M] };
        match self.ab {
            MmaType::Bf16 => unpack_halves(&mut out, a, b, |half| f32::from_bits(half << 16)),
            MmaType::F16 => unpack_halves(&mut out, a, b, |half| f16_to_f32(half as u16)),
            MmaType::Tf32 => unpack_words(&mut out, a, b, |word| f32::from_bits(word & !0x1fff)),
        }
        for (r, row) in c.iter().enumerate() {
            for (g, quad) in row.as_chunks::<4>().0.iter().enumerate() {
                if self.acc_f32 {
                    let to = &mut out.c[g + 8 * (r >> 1)];
                    for t in 0..4 {
                        to[2 * t + (r & 1)] = f32::from_bits(quad[t]);
                    }
                } else {
                    let to = &mut out.c[g + 8 * r];
                    for t in 0..4 {
                        to[2 * t] = f16_to_f32(quad[t] as u16);
                        to[2 * t + 1] = f16_to_f32((quad[t] >> 16) as u16);
                    }
                }
            }
        }
        out
    }

    /// The registers of D from its bits by rows (f32, or f16 in the low half).
    #[inline(always)]
    pub(crate) fn pack(self, bits: &[[u32; N]; M], d: &mut [Row]) {
        for (r, row) in d.iter_mut().enumerate() {
            for (g, quad) in row.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                if self.acc_f32 {
                    let from = &bits[g + 8 * (r >> 1)];
                    for t in 0..4 {
                        quad[t] = from[2 * t + (r & 1)];
                    }
                } else {
                    let from = &bits[g + 8 * r];
                    for t in 0..4 {
                        quad[t] = from[2 * t] | from[2 * t + 1] << 16;
                    }
                }
            }
        }
    }
}

/// A and B of a 16-bit type.
#[inline(always)]
fn unpack_halves<const K: usize>(out: &mut Matrices<K>, a: &[Row], b: &[Row], value: impl Fn(u32) -> f32) {
    for (r, row) in a.iter().enumerate() {
        for (g, quad) in row.as_chunks::<4>().0.iter().enumerate() {
            let to = &mut out.a[g + 8 * (r & 1)][8 * (r >> 1)..][..8];
            for t in 0..4 {
                to[2 * t] = value(quad[t] & 0xffff);
                to[2 * t + 1] = value(quad[t] >> 16);
            }
        }
    }
    for (r, row) in b.iter().enumerate() {
        let to = &mut out.b[8 * r..][..8];
        for (g, quad) in row.as_chunks::<4>().0.iter().enumerate() {
            for t in 0..4 {
                to[2 * t][g] = value(quad[t] & 0xffff);
                to[2 * t + 1][g] = value(quad[t] >> 16);
            }
        }
    }
}

/// A and B of tf32.
#[inline(always)]
fn unpack_words<const K: usize>(out: &mut Matrices<K>, a: &[Row], b: &[Row], value: impl Fn(u32) -> f32) {
    for (r, row) in a.iter().enumerate() {
        for (g, quad) in row.as_chunks::<4>().0.iter().enumerate() {
            let to = &mut out.a[g + 8 * (r & 1)][4 * (r >> 1)..][..4];
            for t in 0..4 {
                to[t] = value(quad[t]);
            }
        }
    }
    for (r, row) in b.iter().enumerate() {
        let to = &mut out.b[4 * r..][..4];
        for (g, quad) in row.as_chunks::<4>().0.iter().enumerate() {
            for t in 0..4 {
                to[t][g] = value(quad[t]);
            }
        }
    }
}
