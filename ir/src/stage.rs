//! Stages of a graph. Which ops each allows, the rows of the op table say.

use std::fmt;
use std::str::FromStr;

/// How far a graph has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// As the model wrote it: every op, no boxes.
    Model,
    /// Core ops only.
    Graph,
    /// Core ops, states and updates: what a training step computes, without boxes.
    Train,
    /// Core ops, each inside exactly one dispatch box; params, states and derived weights outside.
    Dispatch,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 4] = [Self::Model, Self::Graph, Self::Train, Self::Dispatch];

    /// Whether a graph of this stage may have states and updates, and derived weights of activations (gradients).
    pub fn trains(self) -> bool {
        match self {
            Self::Model | Self::Graph => false,
            Self::Train | Self::Dispatch => true,
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Graph => "graph",
            Self::Train => "train",
            Self::Dispatch => "dispatch",
        })
    }
}

impl FromStr for Stage {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|x| x.to_string() == s)
            .ok_or_else(|| format!("unknown stage `{s}`, expected model, graph, train or dispatch"))
    }
}
