//! `drop-training-heads`: deep supervision's heads serve training alone.

use std::ops::RangeInclusive;

use mnx_ir::{Diagnostic, Graph, Stage};

use crate::error::{PassError, nearest};
use crate::pass::{Changed, Pass, PassCx, Promise};

/// Keeps one output of the graph; what only the others needed falls to `dce`.
///
/// ```text
/// return %9 as out_0, %7 as out_1, %5 as out_2
///     becomes
/// return %9 as out_0
/// ```
///
/// *Requires* any stage. *Ensures* exactly the output `keep` is left.
/// *Declines when* the graph has no output of that name: an error that lists the names.
#[derive(Debug, Clone)]
pub struct DropTrainingHeads {
    /// Name of the output to keep.
    pub keep: String,
}

impl Pass for DropTrainingHeads {
    fn name(&self) -> &'static str {
        "drop-training-heads"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Model..=Stage::Dispatch, Promise::Same)
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        let names: Vec<&str> = graph.outputs().iter().map(|(n, _)| n.as_str()).collect();
        if !names.contains(&self.keep.as_str()) {
            return Err(PassError::Graph(Diagnostic::new(
                "pass-0201",
                format!("@{}", graph.name),
                format!(
                    "drop-training-heads: the graph has no output `{}`, it has {}{}",
                    self.keep,
                    names.join(", "),
                    nearest(&self.keep, names.iter().copied())
                ),
            )));
        }
        if names.len() == 1 || !cx.admit("drop-heads", format!("@{}", graph.name)) {
            return Ok(Changed::No);
        }
        graph.retain_outputs(|name| name == self.keep);
        Ok(Changed::Yes)
    }
}
