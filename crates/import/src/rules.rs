//! What surrounds a network: how volumes are prepared and how scores become labels. Both nnU-Net readers end here.

use std::path::PathBuf;

use mnx_artifact::{Inference, Normalization, Preprocess};

use crate::fields::{Field, Wrong};

/// Everything but the tensors, as far as the files tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// For the model's name: the task or data set.
    pub title: Option<String>,
    /// The file that holds the plans, for complaints.
    pub source: PathBuf,
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

/// The scheme of a CT's channel by its intensities; v1 and v2 call the deviation differently.
pub(crate) fn ct(properties: &Field<'_>, deviation: &str, masked: bool) -> Result<Normalization, Wrong> {
    let (low, high) = (properties.get("percentile_00_5")?, properties.get("percentile_99_5")?);
    let (mean, std) = (properties.get("mean")?.number()?, properties.get(deviation)?);
    if std.number()? <= 0.0 {
        return Err(std.wrong("a number above 0"));
    }
    if low.number()? >= high.number()? {
        return Err(low.wrong(&format!("a number below percentile_99_5, which is {}", high.json())));
    }
    Ok(Normalization::Ct { low: low.number()?, high: high.number()?, mean, std: std.number()?, masked })
}
