//! Where a run's time went: one duration per command, gathered by dispatch.

use std::collections::BTreeMap;

use mnx_artifact::{Command, Cost};

/// Wall time of every command of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Seconds per command, in the order of the launch list.
    pub seconds: Vec<f64>,
    /// Seconds from the first upload to the last download.
    pub total_s: f64,
}

impl Trace {
    /// The commands as events of the Trace Event Format, which `chrome://tracing` and Perfetto read: one after the other, as they were awaited or as
    /// the device's clock has them, times in microseconds. `device` names the process, `target` the thread.
    pub fn chrome(&self, commands: &[Command], device: &str, target: &str) -> Vec<ChromeEvent> {
        let label = |name: &'static str, value: &str| ChromeEvent {
            name: name.to_owned(),
            cat: "__metadata",
            ph: "M",
            ts: 0.0,
            dur: 0.0,
            pid: 1,
            tid: 1,
            args: BTreeMap::from([("name", value.to_owned())]),
        };
        let mut events = vec![label("process_name", device), label("thread_name", target)];
        let mut ts = 0.0;
        for (command, seconds) in commands.iter().zip(&self.seconds) {
            let dur = seconds * 1e6;
            let (name, cat, args) = match command {
                Command::Launch { dispatch, kernel, workgroups, cost, .. } => {
                    let args = [
                        ("kernel", kernel.clone()),
                        ("workgroups", workgroups.to_string()),
                        ("flops", cost.flops.to_string()),
                        ("bytes", cost.bytes.to_string()),
                    ];
                    (dispatch.as_str(), "launch", BTreeMap::from(args))
                }
                Command::Fill { dst, .. } => ("(fill)", "memory", BTreeMap::from([("bytes", dst.bytes.to_string())])),
                Command::Copy { src, .. } => ("(copy)", "memory", BTreeMap::from([("bytes", src.bytes.to_string())])),
            };
            events.push(ChromeEvent { name: name.to_owned(), cat, ph: "X", ts, dur, pid: 1, tid: 1, args });
            ts += dur;
        }
        events
    }
}

/// One event of the Trace Event Format; fields by their names there.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[allow(missing_docs, reason = "the format defines them")]
pub struct ChromeEvent {
    pub name: String,
    pub cat: &'static str,
    pub ph: &'static str,
    pub ts: f64,
    pub dur: f64,
    pub pid: u32,
    pub tid: u32,
    pub args: BTreeMap<&'static str, String>,
}

/// One dispatch of a program, or all its fills or copies between dispatches.
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchTime {
    /// Name in the graph; `(fill)` and `(copy)` for memory commands.
    pub name: String,
    /// Kernels of the dispatch, each once, in order.
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
