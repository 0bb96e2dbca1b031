//! Where a run's time must go and where it goes: per dispatch, the floor that the machine's two ceilings set, a prediction, a measurement.
//!
//! Floor of a dispatch: the larger of its arithmetic at the machine's FMA peak and its bytes at the machine's copy bandwidth, where
//! a GELU counts as the vector instructions it takes and every buffer moves once. Floors add up to the network's.

pub mod gpu;
pub mod html;
pub mod table;

use mnx_artifact::{Bundle, Command, Cost, Program};
use mnx_plan::machine::{CACHE_SPEED, CPU_LAUNCH_SECONDS, GPU_LAUNCH_SECONDS, gelu_instructions};
use mnx_plan::target::Gpu;
use mnx_plan::vocabulary::Gelu;

use crate::bundle::strategy_of;
use crate::runner::Report;

/// A machine as two rates; a GPU's tensor cores and caches beside them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// The GPU that the rates are of.
    pub gpu: Option<Gpu>,
    /// Floating-point operations per second of multiply-adds (two each).
    pub flops_per_s: f64,
    /// Bytes read plus written per second.
    pub bytes_per_s: f64,
    /// Whether the rates were measured, not stated.
    pub measured: bool,
}

impl Machine {
    /// The chip that a GPU target's predictions are made for.
    pub fn of_gpu(gpu: Gpu) -> Self {
        Self { gpu: Some(gpu), flops_per_s: 2.0 * gpu.lane_rate, bytes_per_s: gpu.memory_rate, measured: false }
    }

    fn launch_s(&self) -> f64 {
        if self.gpu.is_some() { GPU_LAUNCH_SECONDS } else { CPU_LAUNCH_SECONDS }
    }

    /// Seconds of arithmetic and of memory that a launch takes at least. An instruction of a GELU takes the place of a multiply-add, that is of two
    /// operations per lane. On a GPU, products of 16-bit matrices run on tensor cores, beside the other lanes.
    fn seconds(&self, cost: Cost, gelu: f64, tensor: bool) -> (f64, f64) {
        let gelus = 2.0 * gelu * cost.gelus as f64;
        let Some(gpu) = self.gpu else {
            return ((cost.flops as f64 + gelus) / self.flops_per_s, cost.bytes as f64 / self.bytes_per_s);
        };
        let products = cost.flops as f64;
        let compute =
            if tensor { (products / gpu.tensor_rate).max(gelus / self.flops_per_s) } else { (products + gelus) / self.flops_per_s };
        let cached = if cost.bytes < gpu.l2 as u64 / 2 { CACHE_SPEED } else { 1.0 };
        (compute, cost.bytes as f64 / (cached * gpu.memory_rate))
    }
}

/// Which ceiling a dispatch meets first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Multiply-adds and GELUs.
    Compute,
    /// Bytes.
    Memory,
}

impl Bound {
    /// The word in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "memory",
        }
    }
}

/// One dispatch, or the whole network.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Name in the graph.
    pub name: String,
    /// Strategies of its launches, in order.
    pub strategy: String,
    /// Symbols of the kernels that it launches, each once, in order.
    pub kernels: Vec<String>,
    /// Launches.
    pub launches: usize,
    /// Cost of the dispatch, by the plan.
    pub cost: Cost,
    /// What the arithmetic takes at least, in seconds.
    pub compute_s: f64,
    /// What the bytes take at least, in seconds.
    pub memory_s: f64,
    /// The least time it can take, in seconds.
    pub floor_s: f64,
    /// What it should take, in seconds.
    pub predicted_s: f64,
    /// What it took (median), in seconds.
    pub measured_s: Option<f64>,
}

impl Row {
    /// The ceiling it meets first; of the whole network, the one that more of its floor comes from.
    pub fn bound(&self) -> Bound {
        if self.memory_s > self.compute_s { Bound::Memory } else { Bound::Compute }
    }

    /// Per cent of the floor's speed that was reached; over 100 where a cache kept the bytes.
    pub fn percent(&self) -> Option<f64> {
        self.measured_s.filter(|s| *s > 0.0).map(|s| 100.0 * self.floor_s / s)
    }
}

/// Memory: the plan's figures and the measured one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// The arena, by the plan.
    pub arena: u64,
    /// Scratch of one thread, by the plan.
    pub scratch: u64,
    /// The weights section.
    pub weights: u64,
    /// Peak resident memory of the measuring process, which also holds the bundle's input and output.
    pub peak: Option<u64>,
}

/// A bundle explained.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The network's name.
    pub model: String,
    /// `64x64x64`, and the batch if it is not 1.
    pub patch: String,
    /// Code target.
    pub target: String,
    /// Threads that were measured.
    pub threads: Option<usize>,
    /// Timed runs.
    pub runs: Option<usize>,
    /// The fastest of them, in seconds: on a busy machine nearer to what the code can do than the median.
    pub fastest_s: Option<f64>,
    /// The machine that floors are drawn with.
    pub machine: Machine,
    /// Vector instructions of one GELU of this bundle.
    pub gelu_instructions: f64,
    /// Per dispatch.
    pub rows: Vec<Row>,
    /// All together; its measured time is that of whole runs.
    pub total: Row,
    /// Memory.
    pub memory: Memory,
}

impl Explanation {
    /// Explains a program of a bundle.
    pub fn new(bundle: &Bundle, program: &Program, machine: Machine, report: Option<&Report>) -> Self {
        let manifest = bundle.manifest();
        let gelu_instructions = gelu_instructions(Gelu::parse(&manifest.gelu).unwrap_or_default());
        let mut rows: Vec<Row> = Vec::new();
        for command in &program.commands {
            let mut tensor = false;
            let (name, strategy, cost) = match command {
                Command::Launch { dispatch, kernel, cost, .. } => {
                    let strategy = strategy_of(kernel);
                    tensor = program.precision != "f32" && strategy.is_some_and(|s| s.tensor);
                    (dispatch.as_str(), strategy.map_or(kernel.as_str(), |s| s.name), *cost)
                }
                Command::Fill { dst, .. } => ("(fill)", "fill", Cost { bytes: dst.bytes, ..Cost::default() }),
                Command::Copy { src, .. } => ("(copy)", "copy", Cost { bytes: src.bytes.saturating_mul(2), ..Cost::default() }),
            };
            let (compute_s, memory_s) = machine.seconds(cost, gelu_instructions, tensor);
            let row = add(&mut rows, name, strategy, cost, (compute_s, memory_s, machine.launch_s()));
            if let Command::Launch { kernel, .. } = command
                && !row.kernels.contains(kernel)
            {
                row.kernels.push(kernel.clone());
            }
        }
        for row in &mut rows {
            one_floor(row, &machine);
            row.measured_s = report.and_then(|r| r.dispatches.iter().find(|t| t.dispatch == row.name)).map(|t| t.median_s);
        }
        let total = total(&rows, report.map(|r| r.median_s));
        let extents: Vec<String> = manifest.patch.iter().map(usize::to_string).collect();
        let batch = if manifest.batch == 1 { String::new() } else { format!(", batch {}", manifest.batch) };
        Self {
            model: manifest.model.name.clone(),
            patch: format!("{}{batch}", extents.join("x")),
            target: program.target.clone(),
            threads: report.map(|r| r.threads),
            runs: report.map(|r| r.runs),
            fastest_s: report.map(|r| r.min_s),
            machine,
            gelu_instructions,
            rows,
            total,
            memory: Memory {
                arena: program.arena_bytes,
                scratch: program.scratch_bytes,
                weights: manifest.weights.iter().map(|w| w.bytes).sum(),
                peak: report.and_then(|r| r.peak_bytes),
            },
        }
    }
}

impl Explanation {
    /// What the prediction adds for each launch.
    pub fn launch_s(&self) -> f64 {
        self.machine.launch_s()
    }
}

/// Adds a launch to its dispatch's row; answers the row.
fn add<'r>(
    rows: &'r mut Vec<Row>,
    name: &str,
    strategy: &str,
    cost: Cost,
    (compute_s, memory_s, launch_s): (f64, f64, f64),
) -> &'r mut Row {
    let at = rows.iter().position(|r| r.name == name).unwrap_or_else(|| {
        rows.push(Row {
            name: name.to_string(),
            strategy: String::new(),
            kernels: Vec::new(),
            launches: 0,
            cost: Cost::default(),
            compute_s: 0.0,
            memory_s: 0.0,
            floor_s: 0.0,
            predicted_s: 0.0,
            measured_s: None,
        });
        rows.len() - 1
    });
    let row = &mut rows[at];
    row.launches += 1;
    row.compute_s += compute_s;
    row.memory_s += memory_s;
    row.floor_s += compute_s.max(memory_s);
    row.predicted_s += compute_s.max(memory_s) + launch_s;
    row.cost.flops = row.cost.flops.saturating_add(cost.flops);
    row.cost.bytes = row.cost.bytes.saturating_add(cost.bytes);
    row.cost.gelus = row.cost.gelus.saturating_add(cost.gelus);
    if !row.strategy.split(" + ").any(|s| s == strategy) {
        if !row.strategy.is_empty() {
            row.strategy.push_str(" + ");
        }
        row.strategy.push_str(strategy);
    }
    row
}

/// On a CPU a dispatch's launches share their caches, and its floor is one; a GPU's launches each have theirs.
fn one_floor(row: &mut Row, machine: &Machine) {
    if machine.gpu.is_none() {
        row.floor_s = row.compute_s.max(row.memory_s);
        row.predicted_s = row.floor_s + CPU_LAUNCH_SECONDS * row.launches as f64;
    }
}

fn total(rows: &[Row], measured_s: Option<f64>) -> Row {
    let sum = |f: &dyn Fn(&Row) -> f64| rows.iter().map(f).sum::<f64>();
    let part = |b: Bound| rows.iter().filter(|r| r.bound() == b).map(|r| r.floor_s).sum::<f64>();
    let cost = rows.iter().fold(Cost::default(), |c, r| Cost {
        flops: c.flops.saturating_add(r.cost.flops),
        bytes: c.bytes.saturating_add(r.cost.bytes),
        gelus: c.gelus.saturating_add(r.cost.gelus),
    });
    Row {
        name: "network".to_string(),
        strategy: String::new(),
        kernels: Vec::new(),
        launches: rows.iter().map(|r| r.launches).sum(),
        cost,
        compute_s: part(Bound::Compute),
        memory_s: part(Bound::Memory),
        floor_s: sum(&|r| r.floor_s),
        predicted_s: sum(&|r| r.predicted_s),
        measured_s,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * b.abs()
    }

    #[test]
    fn floors_are_the_slower_ceiling_and_add_up() {
        let machine = Machine { gpu: None, flops_per_s: 1e9, bytes_per_s: 1e8, measured: false };
        let mut rows = Vec::new();
        let mut put = |name: &str, strategy: &str, cost: Cost| {
            let (c, m) = machine.seconds(cost, 14.0, false);
            add(&mut rows, name, strategy, cost, (c, m, CPU_LAUNCH_SECONDS));
        };
        put("a", "mlp.tile", Cost { flops: 3000, bytes: 100, gelus: 50 });
        put("b", "depthwise.ring", Cost { flops: 1000, bytes: 900, gelus: 0 });
        put("b", "merge.stats", Cost { flops: 10, bytes: 100, gelus: 0 });
        rows.iter_mut().for_each(|r| one_floor(r, &machine));
        assert_eq!(
            rows.iter().map(|r| (r.strategy.as_str(), r.launches)).collect::<Vec<_>>(),
            [("mlp.tile", 1), ("depthwise.ring + merge.stats", 2)]
        );
        // 3000 operations, and 50 GELUs of 14 instructions, each a multiply-add's two.
        assert!(close(rows[0].floor_s, 4400e-9) && rows[0].bound() == Bound::Compute);
        assert!(close(rows[1].floor_s, 1e-5) && rows[1].bound() == Bound::Memory);
        let all = total(&rows, Some(2.88e-5));
        assert!(close(all.floor_s, 1.44e-5) && close(all.percent().unwrap(), 50.0));
        assert!(close(all.predicted_s, all.floor_s + 3.0 * CPU_LAUNCH_SECONDS));
        assert_eq!(all.bound(), Bound::Memory);
        // On a GPU matrices are multiplied beside the GELUs, and what fits the cache moves faster.
        let h100 = Machine::of_gpu(*mnx_plan::target::named("sm_90a").unwrap().nvptx().unwrap());
        let cost = Cost { flops: 1_000_000_000, bytes: 1 << 30, gelus: 0 };
        let (tensor, memory) = h100.seconds(cost, 14.0, true);
        assert!(close(tensor, 1e9 / 500e12) && close(memory, f64::from(1 << 30) / 3e12));
        assert!(close(h100.seconds(cost, 14.0, false).0, 1e9 / 67e12));
        assert!(close(h100.seconds(Cost { bytes: 3_000_000, ..cost }, 14.0, true).1, 4e-7));
        assert_eq!(rows[0].percent(), None);
    }
}
