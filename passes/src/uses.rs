//! Who reads what, counting only ops that an output or an update depends on.
//!
//! Replaced ops stay in a graph until `dce` runs; a rule that asks "is this the only reader?" must not see them.

use std::collections::HashSet;

use mnx_ir::{Graph, OpId, ValueId};

/// Live readers of every value at one moment.
#[derive(Debug)]
pub struct Uses {
    live: Vec<bool>,
    readers: Vec<Vec<OpId>>,
    kept: Vec<bool>,
}

impl Uses {
    /// Reads a graph.
    pub fn of(graph: &Graph) -> Self {
        let mut live = vec![false; graph.op_count()];
        let mut kept = vec![false; graph.value_count()];
        let mut todo: Vec<ValueId> = graph.outputs().iter().chain(graph.updates()).map(|(_, v)| *v).collect();
        for v in &todo {
            kept[v.index()] = true;
        }
        // What an update changes is declared, even if nothing reads its old value.
        if !graph.updates().is_empty() {
            let changed: HashSet<&str> = graph.updates().iter().map(|(key, _)| key.as_str()).collect();
            let declared = graph.order().iter().filter(|&&id| graph.op(id).key().is_some_and(|key| changed.contains(key)));
            todo.extend(declared.map(|&id| graph.result(id)));
        }
        while let Some(v) = todo.pop() {
            if let Some(id) = graph.def(v)
                && !std::mem::replace(&mut live[id.index()], true)
            {
                todo.extend(graph.operands(id));
            }
        }
        let mut readers = vec![Vec::new(); graph.value_count()];
        for &id in graph.order() {
            if live[id.index()] {
                for v in graph.operands(id) {
                    let list: &mut Vec<OpId> = &mut readers[v.index()];
                    if list.last() != Some(&id) {
                        list.push(id);
                    }
                }
            }
        }
        Self { live, readers, kept }
    }

    /// Whether an output or an update depends on the op.
    pub fn is_live(&self, op: OpId) -> bool {
        self.live[op.index()]
    }

    /// Live ops that read the value, in program order.
    pub fn readers(&self, v: ValueId) -> &[OpId] {
        &self.readers[v.index()]
    }

    /// Whether the value outlives the run: an output of the graph, or what an update leaves in a param or state.
    pub fn is_output(&self, v: ValueId) -> bool {
        self.kept[v.index()]
    }

    /// The one reader of a value that no output and no update takes.
    pub fn sole_reader(&self, v: ValueId) -> Option<OpId> {
        match self.readers(v) {
            [one] if !self.is_output(v) => Some(*one),
            _ => None,
        }
    }
}
