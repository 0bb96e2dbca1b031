//! Arguments that several commands take: the shape of a run, what its outputs are, the weights of one network.

use std::path::PathBuf;
use std::str::FromStr;

use crate::checkpoint::Origin;
use crate::imported::Input;
use crate::report::Outcome;
use crate::source::{Heads, OutputKind, Shape};

/// Shape of one run.
#[derive(Debug, Clone, clap::Args)]
pub struct RunShape {
    /// Spatial extents of one run, d,h,w (2-D: h,w), multiples of 16 [default for a config: its own, else 64 per axis]
    #[arg(long, value_name = "EXTENTS")]
    patch: Option<Extents>,
    /// Samples per run [default for a config: 1]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
}

impl RunShape {
    /// The shape in which a source is read, its outputs being of this kind.
    pub fn with(&self, output: Option<OutputKind>) -> Shape {
        Shape { batch: self.batch, patch: self.patch.clone().map(|p| p.0), output }
    }
}

/// Outputs of the network.
#[derive(Debug, Clone, clap::Args)]
pub struct Outputs {
    /// Deep-supervision heads to keep; `mnx predict` reads out_0 alone, `mnx run` gives all
    /// [default: all; main for a folder that was imported]
    #[arg(long, value_name = "WHICH")]
    pub heads: Option<Heads>,
    /// What the outputs hold [default: logits]
    #[arg(long, value_name = "KIND")]
    pub output: Option<OutputKind>,
}

/// Weights of one network.
#[derive(Debug, Clone, clap::Args)]
pub struct Weights {
    /// The weights, a safetensors file with the network's keys [default for a folder: its first fold]
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    weights: Option<PathBuf>,
    /// Fresh weights (default initialisation) instead of a file
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The fold of a folder
    #[arg(long, value_name = "NAME", conflicts_with_all = ["weights", "seed"])]
    fold: Option<String>,
}

impl Weights {
    /// Where the weights come from, if the command line or the folder names any.
    ///
    /// # Errors
    /// A fold that the input does not have.
    pub fn origin<'a>(&'a self, input: &'a Input) -> Outcome<Option<Origin<'a>>> {
        Ok(Origin::choose(self.weights.as_deref(), self.seed, input.fold(self.fold.as_deref())?))
    }
}

/// Spatial extents as written on the command line: `32,48,32` or `32x48x32`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extents(pub Vec<usize>);

impl FromStr for Extents {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Result<Vec<usize>, _> = text.split([',', 'x']).map(|p| p.trim().parse::<usize>()).collect();
        match parts {
            Ok(p) if (2..=3).contains(&p.len()) => Ok(Self(p)),
            _ => Err("expected two or three extents such as 32,48,32 (d,h,w; h,w for a 2-D network)".to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_read_and_refused() {
        assert_eq!("32,48,32".parse(), Ok(Extents(vec![32, 48, 32])));
        assert_eq!("64x16".parse(), Ok(Extents(vec![64, 16])));
        for bad in ["", "32", "32,,32", "1,2,3,4", "a,b,c", "-16,16,16"] {
            assert!(bad.parse::<Extents>().is_err(), "{bad}");
        }
    }
}
