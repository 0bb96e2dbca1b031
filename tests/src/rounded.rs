//! Graphs with the roundings of kernels.

use mnx_ir::Graph;
use mnx_passes::{manager, stored};
use mnx_plan::vocabulary::Storage;

/// A graph of stage dispatch as kernels that store activations so compute it.
///
/// # Panics
/// If the pass refuses it.
pub fn rounded(graph: &Graph, storage: Storage) -> Graph {
    let mut rounded = graph.clone();
    let dtype = storage.as_str().parse().unwrap_or_else(|e| panic!("{e}"));
    manager::run(&stored(dtype), &mut rounded).unwrap_or_else(|e| panic!("{e}"));
    rounded
}
