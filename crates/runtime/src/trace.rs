//! Where a run's time went: one duration per command, gathered by dispatch.

use mnx_artifact::{Command, Cost};

/// Wall time of every command of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Seconds per command, in the order of the launch list.
    pub seconds: Vec<f64>,
    /// Seconds from the first upload to the last download.
    pub total_s: f64,
}

/// One dispatch of a program, or all its fills or copies between dispatches.
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchTime {
    /// Name in the graph; `(fill)` and `(copy)` for memory commands.
    pub name: String,
    /// Its kernels, each once, in order.
    pub kernels: Vec<String>,
    /// Indices of its commands.
    pub commands: Vec<usize>,
    /// Predicted cost of all its launches.
    pub cost: Cost,
}

impl DispatchTime {
    /// Groups a launch list by dispatch, in order of first appearance.
    pub fn group(commands: &[Command]) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            let (name, kernel, cost) = match command {
                Command::Launch { dispatch, kernel, cost, .. } => (dispatch.as_str(), Some(kernel), *cost),
                Command::Fill { dst, .. } => ("(fill)", None, Cost { bytes: dst.bytes, ..Cost::default() }),
                Command::Copy { src, .. } => ("(copy)", None, Cost { bytes: src.bytes.saturating_mul(2), ..Cost::default() }),
            };
            let at = found.iter().position(|d| d.name == name).unwrap_or_else(|| {
                found.push(Self { name: name.to_owned(), kernels: vec![], commands: vec![], cost: Cost::default() });
                found.len() - 1
            });
            let group = &mut found[at];
            group.commands.push(index);
            group.cost.flops = group.cost.flops.saturating_add(cost.flops);
            group.cost.bytes = group.cost.bytes.saturating_add(cost.bytes);
            group.cost.gelus = group.cost.gelus.saturating_add(cost.gelus);
            if let Some(kernel) = kernel
                && !group.kernels.contains(kernel)
            {
                group.kernels.push(kernel.clone());
            }
        }
        found
    }

    /// Seconds that a run spent in it.
    pub fn seconds(&self, trace: &Trace) -> f64 {
        self.commands.iter().filter_map(|&i| trace.seconds.get(i)).sum()
    }
}
