//! What a MedNeXt is made of. Field names are those of the official constructor.

use mnx_artifact::{Inference, Preprocess};
use mnx_ir::GrnReduce;
use serde::{Serialize, Serializer};

/// Extent of every axis of the patch where neither a config nor a command names one.
pub const DEFAULT_EXTENT: usize = 64;

/// A published size. All have 32 channels, residuals everywhere, group norm, no GRN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Variant {
    /// Small.
    S,
    /// Base.
    B,
    /// Medium.
    M,
    /// Large.
    L,
}

impl Variant {
    /// All sizes.
    pub const ALL: [Self; 4] = [Self::S, Self::B, Self::M, Self::L];

    /// Expansion ratio of each stage: four encoder stages, bottleneck, four decoder stages from the deepest.
    pub fn exp_r(self) -> [usize; 9] {
        match self {
            Self::S => [2; 9],
            Self::B | Self::M => [2, 3, 4, 4, 4, 4, 4, 3, 2],
            Self::L => [3, 4, 8, 8, 8, 8, 8, 4, 3],
        }
    }

    /// Blocks of each stage, in the same order.
    pub fn block_counts(self) -> [usize; 9] {
        match self {
            Self::S | Self::B => [2; 9],
            Self::M => [3, 4, 4, 4, 4, 4, 4, 4, 3],
            Self::L => [3, 4, 8, 8, 8, 8, 8, 4, 3],
        }
    }

    /// As written in a config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::S => "S",
            Self::B => "B",
            Self::M => "M",
            Self::L => "L",
        }
    }
}

/// Which implementation's network it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// The authors' v1 code: a `dummy_tensor`, no GRN in `down_0`, down blocks take the next stage's ratio.
    #[default]
    Official,
    /// MONAI's port: other keys, no dummy, no GRN in down blocks, down blocks take their own stage's ratio.
    Monai,
    /// MedNeXt-v2: the v1-L graph with GRN in every block, kernel 3. Official key names (none are published), no dummy.
    V2,
}

impl Flavour {
    /// All flavours.
    pub const ALL: [Self; 3] = [Self::Official, Self::Monai, Self::V2];

    /// As written in a config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Monai => "monai",
            Self::V2 => "v2",
        }
    }
}

/// Norm of every block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NormType {
    /// Group norm with as many groups as channels, eps 1e-5.
    #[default]
    Group,
    /// `channels_first` layer norm over channels at each voxel, eps 1e-5 (3-D only).
    Layer,
}

/// Spatial dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Dim {
    /// `[n, c, h, w]`.
    #[serde(rename = "2d")]
    Two,
    /// `[n, c, d, h, w]`.
    #[default]
    #[serde(rename = "3d")]
    Three,
}

impl Dim {
    /// Number of spatial axes.
    pub fn axes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

/// A network, every field explicit. Made by [`Config::from_toml`] or [`Config::load`], which check the ranges.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// For people: the key `name`, else `MedNeXt-S k3` of a variant, else the file's stem.
    pub name: String,
    /// Implementation.
    pub flavour: Flavour,
    /// Published size that filled what the config left out.
    pub variant: Option<Variant>,
    /// Image channels.
    pub in_channels: usize,
    /// Channels at full resolution; they double at each of four down blocks.
    pub n_channels: usize,
    /// Output classes, background included.
    pub n_classes: usize,
    /// Expansion ratio of each stage: encoder 0..3, bottleneck, decoder 3..0.
    pub exp_r: [usize; 9],
    /// Odd kernel extent of `enc_block_*` and `down_*`.
    pub enc_kernel_size: usize,
    /// Odd kernel extent of `bottleneck`, `up_*` and `dec_block_*`.
    pub dec_kernel_size: usize,
    /// Whether heads stand at all five resolutions.
    pub deep_supervision: bool,
    /// Residuals around plain blocks.
    pub do_res: bool,
    /// Convolved residuals around down and up blocks.
    pub do_res_up_down: bool,
    /// Activation checkpointing of the official trainer; no effect on the network.
    pub checkpoint_style: Option<String>,
    /// Blocks of each stage, in the order of `exp_r`.
    pub block_counts: [usize; 9],
    /// Norm.
    pub norm_type: NormType,
    /// Spatial dimensions.
    pub dim: Dim,
    /// Global response normalisation after GELU.
    pub grn: bool,
    /// Denominator of GRN.
    #[serde(serialize_with = "write_reduce")]
    pub grn_reduce: GrnReduce,
    /// How volumes are prepared, if the config says so.
    pub preprocess: Option<Preprocess>,
    /// How scores become a segmentation, if the config says so.
    pub inference: Option<Inference>,
    /// Spatial extents that the network was trained on, and is compiled for unless told otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Vec<usize>>,
    /// Names of the image channels, in order; empty if the config does not say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Class names and their labels, in order of label.
    pub labels: Vec<(String, u32)>,
    /// What the config says that has no effect, one line each.
    pub notices: Vec<String>,
}

fn write_reduce<S: Serializer>(reduce: &GrnReduce, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(match reduce {
        GrnReduce::Mean => "mean",
        GrnReduce::Sum => "sum",
    })
}

impl Config {
    /// Step by which patch extents go: four halvings.
    pub const STRIDE: usize = 16;

    /// Channels at a level: 0 is full resolution, 4 the bottleneck.
    pub fn channels(&self, level: usize) -> usize {
        self.n_channels << level
    }

    /// Number of outputs: five with deep supervision, else one.
    pub fn outputs(&self) -> usize {
        if self.deep_supervision { 5 } else { 1 }
    }

    /// Shape of the input for a batch and a patch: `[n, c, (d,) h, w]`.
    pub fn input_shape(&self, batch: usize, patch: &[usize]) -> Vec<usize> {
        let mut shape = vec![batch, self.in_channels];
        shape.extend_from_slice(patch);
        shape
    }

    /// Every field as JSON, for a bundle's manifest.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a config holds only finite numbers, strings and lists")
    }
}
