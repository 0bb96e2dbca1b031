//! Warp matrix instructions as pure functions of register rows.

mod exact_sum;
mod fragment;
mod matrix;
mod product;

use std::fmt;

use crate::Row;
use product::Operands;

pub use fragment::Fragments;
pub use matrix::{ldmatrix_source, movmatrix};

/// How the tensor core rounds its sums.
///
/// The truncating models are those of MMA-Sim (arXiv 2511.10909, measured on hardware): products are exact; the products of a step and the
/// accumulator are aligned to their largest exponent, cut there after some fractional bits, and added exactly. The f32 result is truncated,
/// the f16 result rounded to nearest even.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MmaModel {
    /// The exact sum, rounded once to nearest.
    #[default]
    Exact,
    /// 24 fractional bits; k16 of 16-bit types and k8 of tf32 in two steps of half.
    Ampere,
    /// 25 fractional bits, one step.
    Hopper,
}

/// The shape of `mma.sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MmaShape {
    M16N8K16,
    M16N8K8,
    M16N8K4,
}

impl fmt::Display for MmaShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m16n8k{}", self.k())
    }
}

impl MmaShape {
    /// The summed extent.
    pub fn k(self) -> usize {
        match self {
            Self::M16N8K16 => 16,
            Self::M16N8K8 => 8,
            Self::M16N8K4 => 4,
        }
    }
}

/// Type of A and B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MmaType {
    Bf16,
    F16,
    Tf32,
}

impl fmt::Display for MmaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Tf32 => "tf32",
        })
    }
}

/// `mma.sync.aligned.SHAPE.row.col` of A, B and C: the registers of D, as many as there are in C.
///
/// Every NaN of the result is 0x7fff_ffff (f16: 0x7fff). Of a tf32 operand the low 13 bits are ignored.
///
/// # Errors
/// Names the shape and type where PTX has no such instruction or the numbers of registers do not fit.
pub fn mma(shape: MmaShape, ab: MmaType, acc_f32: bool, abc: [&[Row]; 3], model: MmaModel) -> Result<Vec<Row>, String> {
    let fragments = Fragments::of(shape, ab, acc_f32)?;
    fragments.check(abc[0].len(), abc[1].len(), abc[2].len())?;
    let mut d = vec![[0; 32]; abc[2].len()];
    let operands = Operands { fragments, abc, d: &mut d };
    let k = shape.k();
    match (model, k) {
        (MmaModel::Exact, 16) => product::exact::<16>(operands),
        (MmaModel::Exact, 8) => product::exact::<8>(operands),
        (MmaModel::Exact, _) => product::exact::<4>(operands),
        (MmaModel::Hopper, _) => product::aligned(operands, 25, k),
        (MmaModel::Ampere, _) => {
            let step = match ab {
                MmaType::Bf16 | MmaType::F16 => 8,
                MmaType::Tf32 => 4,
            };
            product::aligned(operands, 24, step);
        }
    }
    Ok(d)
}
