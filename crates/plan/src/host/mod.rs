//! Kernels of CPUs. Everything is float32; pointwise weights lie in GEMM panels of [`PANEL`] output channels, taps tap by tap.

mod cut;
pub mod scratch;

use mnx_weights::Recipe;

use crate::family::kernel_enum;
use crate::slot::Slot;
use crate::target::Cpu;
use crate::work::{Operand, Operands, Task};

pub use scratch::{PANEL, max_row_block, row_block, row_stride};

/// THE TABLE of host kernels: one row per family, handed to a macro as `callback! { rows }`. A row's module is the family's file here and its emitter's in code generation.
#[macro_export]
macro_rules! host_kernels {
    ($callback:ident ! ( $($before:tt)* )) => {
        $callback! { $($before)*
            /// Depthwise convolution, optionally with the stem recomputed on its input and partial statistics of its output.
            Depthwise in depthwise;
            /// Partial statistics to mean and reciprocal standard deviation.
            MergeStats in merge_stats;
            /// Normalise, expand, GELU, GRN, compress, residual, skip, pad, head.
            Mlp in mlp;
            /// An MLP with the depthwise convolution and layer norm of its input.
            ConvMlp in conv_mlp;
            /// Partial sums of squares to GRN's ratio.
            MergeGrn in merge_grn;
            /// A pointwise convolution on its own: stem, heads, low-resolution residuals.
            Pointwise in pointwise;
            /// Soft-max or arg-max over the classes.
            Classify in classify;
        }
    };
}

host_kernels!(kernel_enum!(
    /// One launch on a CPU.
    HostKernel on Cpu;
));

/// A pointwise weight in GEMM panels.
fn panels(task: &Task, slot: Slot) -> Result<(Slot, Operand), String> {
    Ok((slot, Operand::Weight(Recipe::Panels { weight: Box::new(task.weight(slot)?), width: PANEL })))
}

/// Operands of a task with its pointwise weights in panels and its taps, the `w` of a convolution, tap by tap.
fn formed(task: &Task, conv: bool) -> Result<Operands, String> {
    let mut operands = Vec::with_capacity(task.operands.len());
    for (slot, operand) in &task.operands {
        operands.push(if *slot == Slot::W && conv {
            (*slot, Operand::Weight(Recipe::TapMajor { weight: Box::new(task.weight(*slot)?) }))
        } else if [Slot::W, Slot::W2, Slot::W3, Slot::StemW, Slot::ResW, Slot::HeadW].contains(slot) {
            panels(task, *slot)?
        } else {
            (*slot, operand.clone())
        });
    }
    Ok(operands)
}

/// All complaints in one.
fn verdict(wrong: Vec<String>) -> Result<(), String> {
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}
