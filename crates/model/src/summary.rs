//! What each layer costs: shapes, parameters, multiply-accumulates, bytes.

use std::fmt;

use mnx_ir::ops::Macs;
use mnx_ir::{Graph, Op, Shape, ValueId};

/// One op of a graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Layer name, the op's location.
    pub name: String,
    /// Mnemonic.
    pub op: &'static str,
    /// Shape of the result.
    pub shape: Shape,
    /// Values in the params that it reads.
    pub parameters: u64,
    /// Multiply-accumulates of a convolution, 0 for other ops. Transposed convolutions count input voxels, others output voxels.
    pub macs: u64,
    /// Size of the result.
    pub bytes: u64,
}

/// All layers and their sums.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// In program order; params and derived weights are not layers.
    pub layers: Vec<Layer>,
    /// Values in all params of the graph; the official count has one more, `dummy_tensor`.
    pub parameters: u64,
    /// Sum over layers.
    pub macs: u64,
    /// Sum over layers: what storing every result would take.
    pub bytes: u64,
}

/// Sums up a graph, layer by layer.
pub fn summary(graph: &Graph) -> Summary {
    let mut layers = Vec::new();
    for &id in graph.order() {
        let result = graph.result(id);
        if graph.is_weight(result) {
            continue;
        }
        let node = graph.node(id);
        let ty = graph.ty(result);
        let parameters = node.operands.iter().filter(|v| graph.is_weight(**v)).map(|v| graph.ty(*v).elements() as u64).sum();
        layers.push(Layer {
            name: node.loc.to_string(),
            op: node.op.info().mnemonic,
            shape: ty.shape.clone(),
            parameters,
            macs: macs(graph, &node.op, &node.operands, result),
            bytes: ty.bytes() as u64,
        });
    }
    Summary {
        parameters: graph.params().iter().map(|(_, v)| graph.ty(*v).elements() as u64).sum(),
        macs: layers.iter().map(|l| l.macs).sum(),
        bytes: layers.iter().map(|l| l.bytes).sum(),
        layers,
    }
}

fn macs(graph: &Graph, op: &Op, operands: &[ValueId], result: ValueId) -> u64 {
    let elements = |v: ValueId| graph.ty(v).elements() as u64;
    let per = match (op.info().macs, operands) {
        (Macs::PerOutput, _) => elements(result),
        (Macs::PerInput, [input, ..]) => elements(*input),
        (Macs::Zero, _) | (Macs::PerInput, []) => return 0,
    };
    let filter = operands.get(1).map_or(0, |w| graph.ty(*w).shape.iter().skip(1).product::<usize>() as u64);
    per * filter
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = |l: &Layer| l.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let width = |text: &dyn Fn(&Layer) -> usize, title: &str| self.layers.iter().map(text).max().unwrap_or(0).max(title.len());
        let (a, b, c) = (width(&|l| l.name.len(), "layer"), width(&|l| l.op.len(), "op"), width(&|l| shape(l).len(), "output"));
        writeln!(f, "{:a$}  {:b$}  {:>c$}  {:>12}  {:>16}  {:>14}", "layer", "op", "output", "parameters", "MACs", "bytes")?;
        for l in &self.layers {
            writeln!(
                f,
                "{:a$}  {:b$}  {:>c$}  {:>12}  {:>16}  {:>14}",
                l.name,
                l.op,
                shape(l),
                grouped(l.parameters),
                grouped(l.macs),
                grouped(l.bytes)
            )?;
        }
        writeln!(
            f,
            "{:a$}  {:b$}  {:>c$}  {:>12}  {:>16}  {:>14}",
            "total",
            "",
            "",
            grouped(self.parameters),
            grouped(self.macs),
            grouped(self.bytes)
        )
    }
}

/// `5,550,948`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}
