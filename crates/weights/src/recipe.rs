//! Recipes: how a tensor of a bundle follows from a checkpoint.
//!
//! The compiler writes them into the manifest; the compiler and `mnx refit` evaluate them, so a bundle takes new weights
//! without being compiled anew. Sums run in float64 and are rounded once.

use serde::{Deserialize, Serialize};

/// An expression over checkpoint tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "op")]
pub enum Recipe {
    /// The checkpoint's tensor `key`, which must have `shape`.
    Source {
        /// Name in the checkpoint.
        key: String,
        /// Expected shape.
        shape: Vec<usize>,
    },
    /// All zeros.
    Zeros {
        /// Shape.
        shape: Vec<usize>,
    },
    /// `w[o, i, ...] * scale[i]`: a per-channel scale of the input moved into the weight.
    ScaleIn {
        /// `[Co, Ci, ...]`.
        weight: Box<Recipe>,
        /// `[Ci]`.
        scale: Box<Recipe>,
    },
    /// `bias[o] + sum_i w[o, i] * shift[i]`: a per-channel shift of the input moved into the bias (pointwise weights only).
    FoldBias {
        /// `[Co, Ci, 1, ...]`.
        weight: Box<Recipe>,
        /// `[Ci]`.
        shift: Box<Recipe>,
        /// `[Co]`.
        bias: Box<Recipe>,
    },
    /// Elementwise sum of two tensors of one shape.
    Add {
        /// Left.
        a: Box<Recipe>,
        /// Right.
        b: Box<Recipe>,
    },
    /// Swap the first two axes: `[Ci, Co, ...] -> [Co, Ci, ...]` (transposed pointwise weights).
    TransposeIo {
        /// `[Ci, Co, ...]`.
        weight: Box<Recipe>,
    },
    /// Depthwise weight `[C, 1, taps...]` to `[taps, C]`: one row of channels per tap, taps in row-major order.
    TapMajor {
        /// `[C, 1, k, k, k]` or `[C, 1, k, k]`.
        weight: Box<Recipe>,
    },
    /// Pointwise weight `[Co, Ci, 1, ...]` to GEMM panels: for each block of `width` output channels (the last may be narrower, `w`),
    /// `[Ci][w]` row-major, blocks one after another; the whole keeps `Co * Ci` elements, shape `[Co * Ci]`.
    Panels {
        /// `[Co, Ci, 1, ...]`.
        weight: Box<Recipe>,
        /// Block width in channels.
        width: usize,
    },
    /// Pointwise weight `[Co, Ci, 1, ...]` as a matrix `[rows, columns]`, row-major, zeros beyond Co and Ci.
    Rows {
        /// `[Co, Ci, 1, ...]`.
        weight: Box<Recipe>,
        /// At least Co.
        rows: usize,
        /// At least Ci.
        columns: usize,
    },
    /// Zeros behind the last axis, up to `to` elements; axes of extent 1 behind the second are dropped before.
    PadLast {
        /// `[..., C]`, or `[1, C, 1, ...]`.
        weight: Box<Recipe>,
        /// At least C.
        to: usize,
    },
    /// Rounded (to nearest, ties to even) to another element type; only as the outermost node.
    Cast {
        /// Any shape.
        weight: Box<Recipe>,
        /// Element type in the weights section.
        to: Half,
    },
}

/// A 16-bit element type of the weights section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
}

impl Half {
    /// `bf16` or `f16`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

impl Recipe {
    /// Bytes of one element in the weights section.
    pub fn element_bytes(&self) -> usize {
        if matches!(self, Self::Cast { .. }) { 2 } else { 4 }
    }

    /// The evaluated tensor as it lies in the weights section, little-endian.
    pub fn bytes_of(&self, tensor: &crate::Tensor) -> Vec<u8> {
        match self {
            Self::Cast { to: Half::Bf16, .. } => tensor.data.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
            Self::Cast { to: Half::F16, .. } => tensor.data.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
            _ => tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }
}
