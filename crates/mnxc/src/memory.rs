//! Whether a program fits into the memory of this machine.

use mnx_ir::Graph;
use mnx_plan::ModulePlan;

use crate::report::{Voice, size};

/// Says when a CPU's program wants more memory than this machine has. A warning only, because bundles are made for other machines, too.
pub fn warn(plans: &[ModulePlan], graph: &Graph, voice: Voice) {
    let arena = plans.iter().filter(|p| p.target.cpu().is_some()).map(|p| p.memory.arena_bytes).max().unwrap_or(0);
    let Some(here) = machine_bytes().filter(|here| arena > *here) else { return };
    let shape = graph.inputs().first().map(|(_, v)| mnx_words::extents(&graph.ty(*v).shape)).unwrap_or_default();
    voice.warn(&format!(
        "a run with input {shape} takes an arena of {}, this machine has {} of memory; a smaller --patch takes less",
        size(arena),
        size(here)
    ));
}

/// Physical memory of this machine in bytes, where the system tells (`MemTotal` of /proc/meminfo).
fn machine_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
