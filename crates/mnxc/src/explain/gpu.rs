//! What a GPU program's kernels take of a multiprocessor, as ptxas says where it is at hand.

use mnx_artifact::{Command, Geometry, Program};
use mnx_plan::machine::Block;
use mnx_plan::target::Gpu;
use serde_json::{Value, json};

use super::table::columns;
use crate::emit::Resources;

/// A kernel on a multiprocessor.
#[derive(Debug, Clone, PartialEq)]
pub struct Occupied {
    /// Symbol.
    pub kernel: String,
    /// The dispatches that launch it, in order of first launch.
    pub dispatches: Vec<String>,
    /// Threads of a block.
    pub threads: u32,
    /// Registers per thread.
    pub registers: u32,
    /// Bytes of registers spilled per thread.
    pub spilled: u32,
    /// Bytes of shared memory per block.
    pub shared: u32,
    /// Blocks that stand on a multiprocessor side by side.
    pub blocks: u32,
    /// Share of the multiprocessor's threads that blocks side by side have.
    pub occupancy: f64,
}

/// Puts ptxas' figures and the launches together, one row per kernel, in order of first launch.
pub fn occupied(program: &Program, gpu: &Gpu, resources: &[Resources]) -> Vec<Occupied> {
    let mut rows: Vec<Occupied> = Vec::new();
    for command in &program.commands {
        let Command::Launch { dispatch, kernel, geometry: Some(g), .. } = command else { continue };
        let Some(r) = resources.iter().find(|r| r.kernel == *kernel) else { continue };
        let at = rows.iter().position(|row| row.kernel == *kernel).unwrap_or_else(|| {
            rows.push(one(r, g, gpu));
            rows.len() - 1
        });
        if !rows[at].dispatches.contains(dispatch) {
            rows[at].dispatches.push(dispatch.clone());
        }
    }
    rows
}

fn one(r: &Resources, g: &Geometry, gpu: &Gpu) -> Occupied {
    let threads: u32 = g.block.iter().product();
    let shared = r.shared + g.shared_bytes;
    let warps = threads.div_ceil(32).max(1);
    let block = Block { warps: warps as usize, registers: r.registers as usize, shared: shared as usize };
    let blocks = block.side_by_side(gpu) as u32;
    let occupancy = f64::from(blocks * 32 * warps) / gpu.threads_sm as f64;
    Occupied {
        kernel: r.kernel.clone(),
        dispatches: Vec::new(),
        threads,
        registers: r.registers,
        spilled: r.spilled,
        shared,
        blocks,
        occupancy,
    }
}

/// Columns of the rows as [`cells`] gives them.
pub const COLUMNS: [&str; 8] = ["kernel", "dispatch", "threads", "registers", "spilled B", "shared B", "blocks/SM", "occupancy %"];

/// A row under [`COLUMNS`]; of several dispatches the first, and how many more.
pub fn cells(r: &Occupied) -> Vec<String> {
    let dispatch = match r.dispatches.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    vec![
        r.kernel.clone(),
        dispatch,
        r.threads.to_string(),
        r.registers.to_string(),
        r.spilled.to_string(),
        r.shared.to_string(),
        r.blocks.to_string(),
        format!("{:.0}", 100.0 * r.occupancy),
    ]
}

/// The rows as a table.
pub fn text(rows: &[Occupied]) -> String {
    columns(&COLUMNS, &rows.iter().map(cells).collect::<Vec<_>>())
}

/// The rows for programs.
pub fn json(rows: &[Occupied]) -> Value {
    rows.iter()
        .map(|r| {
            json!({"kernel": r.kernel, "dispatches": r.dispatches, "threads": r.threads, "registers": r.registers, "spilled_bytes": r.spilled,
                "shared_bytes": r.shared, "blocks_per_sm": r.blocks, "occupancy": r.occupancy})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_scarcest_resource_limits_the_blocks() {
        let gpu = *mnx_plan::target::GPU_TARGETS[0].nvptx().unwrap();
        let geometry = |shared_bytes| Geometry { grid: [1; 3], block: [256, 1, 1], shared_bytes };
        let with = |registers| Resources { kernel: "k".into(), registers, spilled: 0, shared: 0 };
        // 256 threads of 128 registers are half of the registers.
        assert_eq!(one(&with(128), &geometry(0), &gpu).blocks, 2);
        assert_eq!(one(&with(16), &geometry(0), &gpu).occupancy, 1.0);
        assert_eq!(one(&with(16), &geometry(80 << 10), &gpu).blocks, 2);
        assert_eq!(one(&with(16), &geometry(120 << 10), &gpu).blocks, 1);
    }
}
