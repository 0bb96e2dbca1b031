//! What surrounds a network: how volumes are prepared and how scores become labels. Both nnU-Net readers end here.

use mnx_artifact::{Inference, Preprocess};

/// Everything but the tensors, as far as the files tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// For the model's name: the task or data set.
    pub title: Option<String>,
    /// Trainer class.
    pub trainer: Option<String>,
    pub patch: Option<Vec<usize>>,
    pub preprocess: Option<Preprocess>,
    pub inference: Option<Inference>,
    /// Names and labels.
    pub labels: Vec<(String, u32)>,
    /// Image channels that plans or data set name.
    pub in_channels: Option<usize>,
    /// Outputs that plans or data set ask for.
    pub n_classes: Option<usize>,
    /// Residuals around plain blocks, if plans tell.
    pub do_res: Option<bool>,
    /// Norm, if plans tell.
    pub norm: Option<mnx_model::NormType>,
    pub notes: Vec<String>,
}
