//! What the user decides.

use std::path::PathBuf;

use mnx_model::NormType;

/// Options of an import.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Folds by name (`0`; `all` is `fold_all`); none takes every numbered one that is there, `fold_all` where there is no other.
    pub folds: Option<Vec<String>>,
    /// Which of a fold's checkpoints.
    pub checkpoint: Which,
    /// nnU-Net v2's configuration (`3d_fullres`), where it does not follow from the folder's name.
    pub configuration: Option<String>,
    /// Deep-supervision heads.
    pub heads: Heads,
    /// Norm, which no checkpoint tells.
    pub norm: Option<NormType>,
    /// Residuals around plain blocks, which no checkpoint tells.
    pub do_res: Option<bool>,
    /// The model's name.
    pub name: Option<String>,
    /// A postprocessing file of nnU-Net's (`.json` of v1 and v2, `.pkl` of v2).
    pub postprocessing: Option<PathBuf>,
    /// Where a file keeps the state dict: a key, or keys with dots between them (`callbacks.ema.state_dict`).
    pub key: Option<String>,
    /// What stands before every name of the network (`net.`); tensors without it are left out.
    pub prefix: Option<String>,
    /// Patterns of the names that are left out (`criterion.*`).
    pub ignore: Vec<String>,
    /// Transforms of a MONAI bundle, by name, that mnx cannot follow and the user does without.
    pub ignore_transforms: Vec<String>,
    /// Whether plans with a preprocessor that is not known are read as if they named nnU-Net's own.
    pub ignore_preprocessor: bool,
}

/// Which of a fold's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Which {
    /// The last one, as nnU-Net predicts with.
    #[default]
    Final,
    /// The best on the validation cases.
    Best,
}

impl Which {
    /// As written on a command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Best => "best",
        }
    }
}

/// What becomes of deep-supervision heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Heads {
    /// Kept if all four are there in every fold (training may go on from them).
    #[default]
    All,
    /// Dropped: prediction needs the full resolution's alone.
    Main,
}
