//! A graph under construction: unique names, constants made once, nodes with attributes.

use std::collections::{BTreeMap, HashSet};

use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_type, data_type};

/// The name of a value.
pub type Name = String;

/// Collects nodes and initialisers.
#[derive(Debug, Default)]
pub struct Writer {
    graph: GraphProto,
    taken: HashSet<Name>,
    constants: BTreeMap<(Vec<i64>, Vec<u8>), Name>,
}

/// An attribute's value.
#[derive(Debug, Clone)]
pub enum Value {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// A list of integers.
    Ints(Vec<i64>),
}

/// An extent or count as ONNX has them. Extents come from allocated tensors, so they fit.
pub fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Extents as ONNX has them.
pub fn ints(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&n| int(n)).collect()
}

impl Writer {
    /// Takes a name, with a number behind it if it is taken already.
    pub fn name(&mut self, wish: &str) -> Name {
        let mut name = wish.to_string();
        let mut n = 2;
        while !self.taken.insert(name.clone()) {
            name = format!("{wish}.{n}");
            n += 1;
        }
        name
    }

    /// A float initialiser under exactly this name, which nothing else may have.
    pub fn weight(&mut self, name: &str, shape: &[usize], data: &[f32]) {
        self.initializer(name.to_string(), ints(shape), data_type::FLOAT, bytemuck::cast_slice(data).to_vec());
    }

    fn initializer(&mut self, name: Name, dims: Vec<i64>, data_type: i32, raw_data: Vec<u8>) {
        self.graph.initializer.push(TensorProto { dims, data_type, name, raw_data });
    }

    /// A float constant of rank 0, shared.
    pub fn scalar(&mut self, value: f32) -> Name {
        self.constant("const.float", vec![], data_type::FLOAT, value.to_le_bytes().to_vec())
    }

    /// `len` equal floats, shared.
    pub fn filled(&mut self, shape: &[usize], value: f32) -> Name {
        let count: usize = shape.iter().product();
        self.constant("const.filled", ints(shape), data_type::FLOAT, value.to_le_bytes().repeat(count))
    }

    /// A list of integers (axes, a shape), shared.
    pub fn list(&mut self, values: &[i64]) -> Name {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant("const.ints", vec![int(values.len())], data_type::INT64, bytes)
    }

    fn constant(&mut self, wish: &str, dims: Vec<i64>, kind: i32, bytes: Vec<u8>) -> Name {
        // The wish goes with the element type, so that equal bytes of two types stay two constants.
        let key = (dims.iter().copied().chain([-i64::from(kind)]).collect(), bytes);
        if let Some(name) = self.constants.get(&key) {
            return name.clone();
        }
        let name = self.name(wish);
        self.initializer(name.clone(), dims, kind, key.1.clone());
        self.constants.insert(key, name.clone());
        name
    }

    /// Appends a node with one output; the output's name is a free one near `wish`.
    pub fn node(&mut self, op: &str, wish: &str, inputs: &[&str], attributes: &[(&str, Value)]) -> Name {
        let output = self.name(wish);
        self.node_into(op, &[&output], inputs, attributes);
        output
    }

    /// Appends a node whose outputs have these names, taken before.
    pub fn node_into(&mut self, op: &str, outputs: &[&str], inputs: &[&str], attributes: &[(&str, Value)]) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: outputs.iter().map(ToString::to_string).collect(),
            name: outputs.first().map(ToString::to_string).unwrap_or_default(),
            op_type: op.to_string(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
        });
    }

    /// The graph, to be given its name, inputs and outputs.
    pub fn finish(self) -> GraphProto {
        self.graph
    }
}

fn attribute(name: &str, value: &Value) -> AttributeProto {
    let named = AttributeProto { name: name.to_string(), ..AttributeProto::default() };
    match value {
        Value::Int(i) => AttributeProto { i: Some(*i), r#type: Some(attribute_type::INT), ..named },
        Value::Float(f) => AttributeProto { f: Some(*f), r#type: Some(attribute_type::FLOAT), ..named },
        Value::Ints(list) => AttributeProto { ints: list.clone(), r#type: Some(attribute_type::INTS), ..named },
    }
}
