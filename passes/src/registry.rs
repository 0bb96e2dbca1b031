//! THE PASS TABLE: one row per pass. `mnxc list passes` prints it; a test checks that each has a golden file.

use crate::error::{PassError, nearest};
use crate::graph::assign_layouts::AssignLayouts;
use crate::graph::canonicalize::Canonicalize;
use crate::graph::cast_precision::CastPrecision;
use crate::graph::cse::Cse;
use crate::graph::dce::Dce;
use crate::graph::decompose_norm::DecomposeNorm;
use crate::graph::decompose_transposed::DecomposeTransposed;
use crate::graph::drop_dead_bias::DropDeadBias;
use crate::graph::drop_training_heads::DropTrainingHeads;
use crate::graph::fold_norm_affine::FoldNormAffine;
use crate::graph::form_dispatches::FormDispatches;
use crate::graph::merge_bias::MergeBias;
use crate::options::{OptionInfo, Options};
use crate::pass::Pass;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct PassInfo {
    /// Kebab-case; the stem of its file and its golden file.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Options it takes.
    pub options: &'static [OptionInfo],
    /// Makes it from its options.
    pub make: fn(&Options) -> Result<Box<dyn Pass>, PassError>,
}

/// The table, in the order of the alphabet.
pub const PASSES: &[PassInfo] = &[
    PassInfo {
        name: "assign-layouts",
        about: "make activations channels-last, except inputs, outputs and what class kernels read",
        options: &[],
        make: |_| Ok(Box::new(AssignLayouts)),
    },
    PassInfo {
        name: "canonicalize",
        about: "write each thing in one way: operand order, unit strides, biases on convolutions",
        options: &[],
        make: |_| Ok(Box::new(Canonicalize)),
    },
    PassInfo {
        name: "cast-precision",
        about: "round where GPU kernels with 16-bit storage do: between boxes, within blocks, weights",
        options: CastPrecision::OPTIONS,
        make: |o| Ok(Box::new(CastPrecision::from_options(o)?)),
    },
    PassInfo {
        name: "cse",
        about: "merge ops that compute the same thing from the same values",
        options: &[],
        make: |_| Ok(Box::new(Cse)),
    },
    PassInfo {
        name: "dce",
        about: "drop ops, params and derived weights that no output depends on",
        options: &[],
        make: |_| Ok(Box::new(Dce)),
    },
    PassInfo {
        name: "decompose-norm",
        about: "split norm.group and grn into statistics and application",
        options: &[],
        make: |_| Ok(Box::new(DecomposeNorm)),
    },
    PassInfo {
        name: "decompose-transposed",
        about: "turn transposed pointwise convolutions into pointwise ones and zero insertion",
        options: &[],
        make: |_| Ok(Box::new(DecomposeTransposed)),
    },
    PassInfo {
        name: "drop-dead-bias",
        about: "drop convolution biases that a per-channel norm takes away again",
        options: &[],
        make: |_| Ok(Box::new(DropDeadBias)),
    },
    PassInfo {
        name: "drop-training-heads",
        about: "keep one output: deep supervision's other heads serve training alone",
        options: &[OptionInfo { name: "keep", default: "out_0", about: "name of the output to keep" }],
        make: |o| Ok(Box::new(DropTrainingHeads { keep: o.text("keep").unwrap_or("out_0").to_string() })),
    },
    PassInfo {
        name: "fold-norm-affine",
        about: "move a norm's scale and shift into the pointwise convolution behind it",
        options: &[],
        make: |_| Ok(Box::new(FoldNormAffine)),
    },
    PassInfo {
        name: "form-dispatches",
        about: "draw a box around the ops of each kernel launch sequence",
        options: FormDispatches::OPTIONS,
        make: |o| Ok(Box::new(FormDispatches::from_options(o)?)),
    },
    PassInfo {
        name: "merge-bias",
        about: "move a residual branch's bias and padding onto the main branch",
        options: &[],
        make: |_| Ok(Box::new(MergeBias)),
    },
];

/// Weight passes: checkpoint to checkpoint, each with a command of its own.
pub const WEIGHT_PASSES: &[(&str, &str)] =
    &[("upkern", "initialise a network from one with other kernel sizes, resizing spatial kernels linearly")];

impl PassInfo {
    /// The row of a name.
    ///
    /// # Errors
    /// If there is none; names the nearest.
    pub fn find(name: &str) -> Result<&'static Self, String> {
        PASSES.iter().find(|p| p.name == name).ok_or_else(|| {
            format!(
                "unknown pass `{name}`{}",
                nearest(name, PASSES.iter().map(|p| p.name).chain(crate::pipelines::NAMES.iter().map(|(n, _)| *n)))
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mnx_ir::Stage;

    use super::*;

    /// Ranges of stages are open to a new stage in between: this table says which each pass takes, one by one.
    #[test]
    fn every_pass_takes_the_stages_it_was_written_for() {
        const M: Stage = Stage::Model;
        const G: Stage = Stage::Graph;
        const T: Stage = Stage::Train;
        const D: Stage = Stage::Dispatch;
        let written: &[(&str, &[Stage])] = &[
            ("assign-layouts", &[G, T, D]),
            ("canonicalize", &[M, G]),
            ("cast-precision", &[D]),
            ("cse", &[M, G, T]),
            ("dce", &[M, G, T, D]),
            ("decompose-norm", &[M, G]),
            ("decompose-transposed", &[M, G]),
            // Moves or drops weights of the checkpoint, which training must see as they are.
            ("drop-dead-bias", &[M, G]),
            ("drop-training-heads", &[M, G, T, D]),
            ("fold-norm-affine", &[M, G]),
            ("form-dispatches", &[G]),
            ("merge-bias", &[M, G]),
        ];
        let found: Vec<(&str, Vec<Stage>)> = PASSES
            .iter()
            .map(|info| {
                let pass = (info.make)(&Options::new(info.name, Vec::new(), info.options).unwrap()).unwrap();
                let (takes, _) = pass.stages();
                (info.name, Stage::ALL.into_iter().filter(|s| takes.contains(s)).collect())
            })
            .collect();
        let written: Vec<(&str, Vec<Stage>)> = written.iter().map(|(name, stages)| (*name, stages.to_vec())).collect();
        assert_eq!(found, written);
    }
}
