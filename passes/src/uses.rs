//! Who reads what, counting only ops that an output depends on.
//!
//! Replaced ops stay in a graph until `dce` runs; a rule that asks "is this the only reader?" must not see them.

use mnx_ir::{Graph, OpId, ValueId};

/// Live readers of every value at one moment.
#[derive(Debug)]
pub struct Uses {
    live: Vec<bool>,
    readers: Vec<Vec<OpId>>,
    output: Vec<bool>,
}

impl Uses {
    /// Reads a graph.
    pub fn of(graph: &Graph) -> Self {
        let mut live = vec![false; graph.op_count()];
        let mut output = vec![false; graph.value_count()];
        let mut todo: Vec<ValueId> = graph.outputs().iter().map(|(_, v)| *v).collect();
        for v in &todo {
            output[v.index()] = true;
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
        Self { live, readers, output }
    }

    /// Whether an output depends on the op.
    pub fn is_live(&self, op: OpId) -> bool {
        self.live[op.index()]
    }

    /// Live ops that read the value, in program order.
    pub fn readers(&self, v: ValueId) -> &[OpId] {
        &self.readers[v.index()]
    }

    /// Whether the value is an output of the graph.
    pub fn is_output(&self, v: ValueId) -> bool {
        self.output[v.index()]
    }

    /// The one reader of a value that is no output.
    pub fn sole_reader(&self, v: ValueId) -> Option<OpId> {
        match self.readers(v) {
            [one] if !self.is_output(v) => Some(*one),
            _ => None,
        }
    }
}
