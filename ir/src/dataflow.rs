//! A petgraph view of a graph: order, reachability, convexity of boxes, DOT. Never the store.

use std::fmt::Write;

use petgraph::algo::{has_path_connecting, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::entity::{DispatchId, OpId};
use crate::graph::Graph;

/// Ops as nodes, uses as edges.
#[derive(Debug)]
pub struct Dataflow {
    /// The view.
    pub view: DiGraph<OpId, ()>,
    node_of: Vec<Option<NodeIndex>>,
}

impl Dataflow {
    /// The view of a graph's live ops.
    pub fn new(g: &Graph) -> Self {
        let mut view = DiGraph::new();
        let mut node_of = vec![None; g.op_count()];
        for &id in g.order() {
            node_of[id.index()] = Some(view.add_node(id));
        }
        for &id in g.order() {
            for &v in g.operands(id) {
                if let (Some(def), Some(to)) = (g.def(v).and_then(|d| node_of[d.index()]), node_of[id.index()]) {
                    view.update_edge(def, to, ());
                }
            }
        }
        Self { view, node_of }
    }

    /// A topological order, or an op on a cycle.
    ///
    /// # Errors
    /// An op that depends on itself.
    pub fn order(&self) -> Result<Vec<OpId>, OpId> {
        toposort(&self.view, None)
            .map(|nodes| nodes.into_iter().map(|n| self.view[n]).collect())
            .map_err(|cycle| self.view[cycle.node_id()])
    }

    /// Whether `to` depends on `from`.
    pub fn reaches(&self, from: OpId, to: OpId) -> bool {
        match (self.node_of[from.index()], self.node_of[to.index()]) {
            (Some(a), Some(b)) => has_path_connecting(&self.view, a, b, None),
            _ => false,
        }
    }

    /// Whether no path leaves the set and comes back: what a box must be to run as one launch.
    pub fn is_convex(&self, set: &[OpId]) -> bool {
        // Anything outside that depends on the set and that the set depends on breaks it.
        let inside: std::collections::HashSet<OpId> = set.iter().copied().collect();
        let mut stack: Vec<NodeIndex> = Vec::new();
        let mut seen = vec![false; self.view.node_count()];
        for op in set {
            if let Some(n) = self.node_of[op.index()] {
                stack.extend(self.view.neighbors(n).filter(|m| !inside.contains(&self.view[*m])));
            }
        }
        while let Some(n) = stack.pop() {
            if std::mem::replace(&mut seen[n.index()], true) {
                continue;
            }
            for m in self.view.neighbors(n) {
                if inside.contains(&self.view[m]) {
                    return false;
                }
                stack.push(m);
            }
        }
        true
    }
}

/// Graphviz text: activations' ops as nodes, boxes as clusters; weights are left out.
pub fn dot(g: &Graph) -> String {
    let mut out = format!("digraph {} {{\n  rankdir=TB; node [shape=box, fontname=\"monospace\"];\n", mnx_words::quoted(&g.name));
    for (name, v) in g.inputs() {
        let _ = writeln!(out, "  \"{v}\" [label=\"{name}\\n{}\", shape=oval];", g.ty(*v));
    }
    let label = |id: OpId| {
        let node = g.node(id);
        format!("  \"{}\" [label=\"{}\\n{}\\n{}\"];", node.result, node.op.info().mnemonic, node.loc, g.ty(node.result))
    };
    let activation = |id: &OpId| !g.is_weight(g.result(*id));
    let mut clusters: Vec<(DispatchId, Vec<OpId>)> = g.boxes();
    clusters.sort_by_key(|(d, _)| *d);
    for (d, ops) in &clusters {
        let _ = writeln!(out, "  subgraph \"cluster_{}\" {{ label={};", d.index(), mnx_words::quoted(&g.dispatch(*d).name));
        for &id in ops {
            let _ = writeln!(out, "  {}", label(id));
        }
        out.push_str("  }\n");
    }
    for &id in g.order().iter().filter(|id| activation(id)) {
        if g.node(id).dispatch.is_none() {
            let _ = writeln!(out, "{}", label(id));
        }
        for v in g.operands(id) {
            if !g.is_weight(*v) {
                let _ = writeln!(out, "  \"{v}\" -> \"{}\";", g.result(id));
            }
        }
    }
    for (what, list) in [("out", g.outputs()), ("update", g.updates())] {
        for (name, v) in list {
            let (node, label) = (mnx_words::quoted(&format!("{what} {name}")), mnx_words::quoted(name));
            let _ = writeln!(out, "  {node} [label={label}, shape=oval];\n  \"{v}\" -> {node};");
        }
    }
    out.push_str("}\n");
    out
}
