//! Strategies: from a dispatch box to the kernels that do it.
//!
//! A box is recognised by its ops, whatever order the passes left them in; what fits no strategy is refused by name.

mod depthwise;
mod mlp;
mod read;
mod single;

use mnx_ir::ops::OpCode;
use mnx_ir::{Diagnostic, Graph, OpId, ValueId};
use mnx_weights::Recipe;

use crate::kernel::Kernel;

pub(crate) use read::Box_;

/// A buffer of a launch, before memory is planned.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// An activation: a port or a value that a box yields.
    Value(ValueId),
    /// Partial results that live between two launches of one box.
    Partials,
    /// Another tensor that lives between launches of one box, numbered within its step.
    Temp(usize),
    /// A weight, as it must lie in memory.
    Weight(Recipe),
}

/// Buffers by the argument's name.
pub(crate) type Operands = Vec<(&'static str, Operand)>;

/// A kernel with a buffer for each of its named arguments.
#[derive(Debug, Clone)]
pub struct Step {
    /// What is launched; its tile is chosen later.
    pub kernel: Kernel,
    /// Buffers by the argument's name.
    pub operands: Vec<(&'static str, Operand)>,
}

/// One row of the strategy table.
#[derive(Debug, Clone, Copy)]
pub struct StrategyInfo {
    /// Name, as plans print it.
    pub name: &'static str,
    /// Its knobs.
    pub knobs: &'static [&'static str],
    /// One line.
    pub about: &'static str,
}

/// THE STRATEGY TABLE.
pub const STRATEGIES: &[StrategyInfo] = &[
    StrategyInfo {
        name: "depthwise.ring",
        knobs: &["channels", "depth", "height", "width"],
        about: "depthwise conv streamed along depth through a ring of padded planes, statistics in the same pass, stem recomputed if fused",
    },
    StrategyInfo { name: "merge.stats", knobs: &[], about: "partial sums to mean and reciprocal standard deviation, in fixed order" },
    StrategyInfo {
        name: "mlp.tile",
        knobs: &["voxels", "rows", "hidden"],
        about: "normalise, expand, GELU, compress, residual, skip, pad and head for a tile of voxels; the hidden tensor stays in cache",
    },
    StrategyInfo {
        name: "mlp.conv_tile",
        knobs: &["depth", "height", "width", "rows", "hidden"],
        about: "the same with the depthwise conv and layer norm of the tile's rows computed in place (layer-norm networks)",
    },
    StrategyInfo { name: "merge.grn", knobs: &[], about: "partial sums of squares to GRN's ratio, in fixed order" },
    StrategyInfo {
        name: "pointwise.tile",
        knobs: &["voxels", "rows"],
        about: "pointwise convolution on its own: stem, heads, low-resolution residuals",
    },
    StrategyInfo { name: "classify.rows", knobs: &["voxels"], about: "soft-max or arg-max over the classes" },
    StrategyInfo {
        name: "gpu.depthwise",
        knobs: &["channels", "depth", "height", "width", "run", "stages"],
        about: "depthwise conv on a GPU: planes streamed along depth through shared memory, statistics in the same pass",
    },
    StrategyInfo {
        name: "gpu.merge_stats",
        knobs: &[],
        about: "partial statistics to mean and reciprocal standard deviation, in fixed order",
    },
    StrategyInfo { name: "gpu.fold", knobs: &[], about: "normalisation or GRN folded into a pointwise weight, per sample" },
    StrategyInfo { name: "gpu.layer_norm", knobs: &[], about: "layer norm over channels, in place" },
    StrategyInfo {
        name: "gpu.mlp",
        knobs: &["warps", "m_tiles", "chunk", "stages", "tiles"],
        about: "expand, GELU, compress, residual, skip, pad and head back to back, hidden values in registers",
    },
    StrategyInfo {
        name: "gpu.gemm",
        knobs: &["warps", "m_tiles", "columns", "depth", "stages"],
        about: "one pointwise convolution: the halves of an MLP of many channels and few voxels, residual convolutions",
    },
    StrategyInfo { name: "gpu.sum_parts", knobs: &[], about: "partial sums, fewer of them, in fixed order" },
    StrategyInfo { name: "gpu.merge_grn", knobs: &[], about: "partial sums of squares to GRN's ratio, in fixed order" },
    StrategyInfo { name: "gpu.pointwise", knobs: &[], about: "pointwise convolution from or to a port: stem, heads" },
    StrategyInfo { name: "gpu.classify", knobs: &[], about: "soft-max or arg-max over the classes" },
];

/// The launches of one box, tiles not chosen yet.
///
/// # Errors
/// If no strategy fits the box, or an op of it is outside what the strategies know.
pub fn steps(g: &Graph, name: &str, ops: &[OpId]) -> Result<Vec<Step>, Diagnostic> {
    let b = Box_::new(g, name, ops);
    let has = |code| ops.iter().any(|&id| g.op(id).code() == code);
    if has(OpCode::Gelu) {
        mlp::steps(&b)
    } else if has(OpCode::ConvDepthwise) || has(OpCode::ConvDepthwiseTransposed) {
        depthwise::steps(&b)
    } else if has(OpCode::ConvPointwise) {
        single::pointwise(&b)
    } else if has(OpCode::Softmax) || has(OpCode::Argmax) {
        single::classify(&b)
    } else {
        Err(b.refuse("no strategy fits its ops"))
    }
}
