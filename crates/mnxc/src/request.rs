//! What a compilation is asked for.

use std::path::PathBuf;

use mnx_plan::target::Target;
use mnx_plan::vocabulary::Gelu;
use mnx_plan::vocabulary::Storage;

use crate::imported::WeightFile;
use crate::phase::Phase;
use crate::source::{Heads, Shape};
use crate::vectors::When;

/// One compilation.
#[derive(Debug, Clone)]
pub struct Request {
    /// Config or graph.
    pub input: PathBuf,
    /// Where to stop.
    pub to: Phase,
    /// Where to write; none is stdout for texts, and a name made from the input's for the rest.
    pub output: Option<PathBuf>,
    /// Batch, patch and kind of output.
    pub shape: Shape,
    /// Heads to keep.
    pub heads: Heads,
    /// Passes instead of `infer`.
    pub pipeline: Option<String>,
    /// Sets of weights: safetensors files, one for each fold.
    pub weights: Vec<WeightFile>,
    /// Default initialisation instead of a file.
    pub seed: Option<u64>,
    /// Weights by the test formula of this case instead of a file.
    pub formula: Option<String>,
    /// Zeros in place of the weights, for `mnx refit` to fill.
    pub hollow: bool,
    /// Assemble GPU code ahead of time.
    pub cubin: bool,
    /// Code targets, best first.
    pub targets: Vec<&'static Target>,
    /// What GPU code stores activations and GEMM weights in.
    pub precision: Storage,
    /// An edited plan.
    pub plan: Option<PathBuf>,
    /// A file of tuned tiles.
    pub tuned: Option<PathBuf>,
    /// How closely GELU is computed.
    pub gelu: Gelu,
    /// Where every stage's text goes.
    pub dump_dir: Option<PathBuf>,
    /// Print what each step took.
    pub time_passes: bool,
    /// When to compute test vectors.
    pub vectors: When,
}

impl Request {
    /// A bundle of float32 for no target yet, with every choice as the command line leaves it.
    pub fn new(input: PathBuf) -> Self {
        Self {
            input,
            to: Phase::Bundle,
            output: None,
            shape: Shape::default(),
            heads: Heads::All,
            pipeline: None,
            weights: Vec::new(),
            seed: None,
            formula: None,
            hollow: false,
            cubin: false,
            targets: Vec::new(),
            precision: Storage::default(),
            plan: None,
            tuned: None,
            gelu: Gelu::Accurate,
            dump_dir: None,
            time_passes: false,
            vectors: When::None,
        }
    }
}
