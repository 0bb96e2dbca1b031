//! What a bundle says about itself, as serde JSON.

use serde::{Deserialize, Serialize};

use crate::inference::{Inference, Preprocess};
use crate::program::Program;

/// Everything about a bundle but its code and its weights' bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Compiler name and version, for example `mnxc 0.1.0`.
    pub compiler: String,
    /// The network, in words.
    pub model: ModelCard,
    /// Samples per run.
    pub batch: usize,
    /// Spatial extent of one run: `[d, h, w]`, or `[h, w]` for a 2-D network.
    pub patch: Vec<usize>,
    /// Arithmetic and storage, for example `f32`.
    pub precision: String,
    /// How closely GELU is computed: `accurate` (absolute error at most 1e-6) or `fast` (2e-4).
    #[serde(default = "accurate")]
    pub gelu: String,
    /// Input tensors, in the order of `Program::inputs`.
    pub inputs: Vec<Port>,
    /// Output tensors, in the order of `Program::outputs`.
    pub outputs: Vec<Port>,
    /// A weights section: derived tensors and how each is made from the checkpoint. All folds have the same.
    pub weights: Vec<WeightEntry>,
    /// Sets of weights, one section each, in order.
    #[serde(default = "one_fold", skip_serializing_if = "is_one_fold")]
    pub folds: Vec<Fold>,
    /// One launch list per code target, best target first.
    pub programs: Vec<Program>,
    /// How volumes are prepared, if the config said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
    /// How scores become a segmentation, if the config said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inference: Option<Inference>,
    /// Names of the image channels, in order (`CT`, `T1`); none if nobody named them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Class names, in order of value.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Inputs and expected outputs for `mnx verify`; absent where the interpreter would take too long at compile time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vectors: Option<TestVectors>,
    /// The case of the test formula that the weights follow, if they do: its test vectors stay true when `mnx refit` draws them anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
    /// Digest of config, dispatches, plans and code (hex), for caches, recordings and logs: different code, different digest.
    pub source_digest: String,
    /// What the compiler left out or assumed, one line each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One set of weights, such as a fold of a cross-validation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// `0`, `1`, ..., `all`; `weights` where there are no folds.
    pub name: String,
}

impl Fold {
    /// The only set of weights of a network without folds.
    pub fn only() -> Vec<Self> {
        vec![Self { name: "weights".to_owned() }]
    }
}

fn one_fold() -> Vec<Fold> {
    Fold::only()
}

fn is_one_fold(folds: &[Fold]) -> bool {
    folds == Fold::only()
}

fn accurate() -> String {
    "accurate".to_owned()
}

/// The network in words; for people and for `mnx inspect`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// `MedNeXt-S k3`, or the config file's stem.
    pub name: String,
    /// `official`, `monai` or `v2`.
    pub flavour: String,
    /// 2 or 3.
    pub spatial_dims: usize,
    /// Image channels.
    pub in_channels: usize,
    /// Output classes, background included.
    pub n_classes: usize,
    /// Trainable parameters, as the official network counts them.
    pub parameters: u64,
    /// Multiply-accumulates of one run (convolutions only).
    pub macs: u64,
    /// What the outputs hold: `logits`, `softmax` or `argmax`.
    pub output: String,
    /// The config as it was understood (every field explicit).
    pub config: serde_json::Value,
}

/// One input or output tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// `input`, `out_0`, `out_1`, ...
    pub name: String,
    /// N, C, then space; channels first, dense.
    pub shape: Vec<usize>,
    /// `f32` or `i32`.
    pub dtype: String,
}

/// One tensor of the weights section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightEntry {
    /// Name for people, unique in the bundle.
    pub name: String,
    /// Byte offset in the weights section; a multiple of [`crate::ALIGNMENT`].
    pub offset: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// How it follows from the checkpoint: a `mnx_weights::Recipe` as JSON. `mnx refit` evaluates it anew.
    pub recipe: serde_json::Value,
}

/// A class name and its integer label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// Name, for example `white_matter`.
    pub name: String,
    /// Voxel value in a segmentation.
    pub value: u32,
}

/// Expected outputs at sampled positions, computed by the reference interpreter in float64.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestVectors {
    /// The input is `sqrt(3) * det(name, n)` (splitmix64 of the name's FNV-1a hash), see `mnx_weights::det`.
    pub input_name: String,
    /// Per output port: flat channels-first indices and the values expected there.
    pub outputs: Vec<Vec<(u64, f64)>>,
    /// Largest absolute value over each whole output.
    pub maxima: Vec<f64>,
    /// Pass if `|got - want| <= tolerance * (1 + maximum)`.
    pub tolerance: f64,
}
