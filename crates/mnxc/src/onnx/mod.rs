//! Networks as ONNX files, for other runtimes: standard operators only, float32, weights under their checkpoint keys.
//!
//! Start reading at: `lower.rs`, which has one arm per op of the table.

mod lower;
pub mod proto;
mod writer;

use mnx_ir::{DType, Diagnostic, Graph, TensorType};
use mnx_weights::Checkpoint;
use prost::Message;

use lower::{Operand, lower};
use proto::{DimensionProto, ModelProto, OperatorSetIdProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, data_type};
use writer::{Name, Writer, int};

/// The operator set: the last whose reductions take their axes as attributes, read by every runtime since 2022.
pub const OPSET: i64 = 17;
/// The file format that goes with it.
const IR_VERSION: i64 = 8;
/// Protobuf messages end here; readers refuse longer ones.
const LARGEST: usize = i32::MAX as usize;

/// A graph of any stage as the bytes of an ONNX file. Inputs and outputs keep their names, values have the names of the
/// layers that make them, params are initialisers under their keys. Equal graphs and weights give equal bytes.
///
/// # Errors
/// Weights that are missing, have another shape or are not finite (all of them); an element type that is not float32
/// (int32 for labels); a file beyond the 2 GiB that a protobuf message may have.
pub fn export(graph: &Graph, weights: &Checkpoint) -> Result<Vec<u8>, Vec<Diagnostic>> {
    let model = model(graph, weights)?;
    let bytes = model.encoded_len();
    fits(&graph.name, bytes).map_err(|d| vec![d])?;
    Ok(model.encode_to_vec())
}

fn fits(name: &str, bytes: usize) -> Result<(), Diagnostic> {
    if bytes <= LARGEST {
        return Ok(());
    }
    let message =
        format!("the ONNX file would have {bytes} bytes, and protobuf ends at {LARGEST} (2 GiB): export fewer or narrower layers");
    Err(Diagnostic::new("mnxc-0601", format!("@{name}"), message))
}

fn model(graph: &Graph, weights: &Checkpoint) -> Result<ModelProto, Vec<Diagnostic>> {
    let mut w = Writer::default();
    let mut problems = Vec::new();
    let mut names: Vec<Option<Name>> = vec![None; graph.value_count()];
    // Names that people address come first, so that no value in between takes them.
    for (name, v) in graph.inputs() {
        names[v.index()] = Some(w.name(name));
    }
    let outputs: Vec<Name> = graph.outputs().iter().map(|(name, _)| w.name(name)).collect();
    for (key, v) in graph.params() {
        let name = w.name(key);
        if let Err(d) = weight(&mut w, &name, key, graph.ty(v), weights) {
            problems.push(d);
        }
        names[v.index()] = Some(name);
    }
    let states = graph.states().into_iter().map(|(key, _)| key);
    for key in states.chain(graph.updates().iter().map(|(key, _)| key.as_str())) {
        let message = "a run changes this tensor, which ONNX cannot say: expected a graph without states and updates";
        problems.push(Diagnostic::new("mnxc-0602", key, message));
    }
    for &id in graph.order() {
        let node = graph.node(id);
        if node.op.key().is_some() {
            continue;
        }
        let ty = graph.ty(node.result);
        if let Err(d) = element(ty, &node.loc.to_string()) {
            problems.push(d);
            continue;
        }
        let operands: Option<Vec<Operand<'_>>> =
            node.operands.iter().map(|v| names[v.index()].as_deref().map(|name| Operand { name, ty: graph.ty(*v) })).collect();
        // An operand without a name has a problem of its own, which is reported.
        let Some(operands) = operands else { continue };
        let layer =
            node.loc.0.as_deref().map_or_else(|| format!("{}.{}", node.op.info().mnemonic, node.result.index()), ToString::to_string);
        names[node.result.index()] = lower(&mut w, &node.op, &layer, &operands, ty);
    }
    for ((_, v), output) in graph.outputs().iter().zip(&outputs) {
        if let Some(made) = &names[v.index()] {
            w.node_into("Identity", &[output], &[made], &[]);
        }
    }
    let mut out = w.finish();
    let mut ports = |list: &[(String, mnx_ir::ValueId)]| -> Vec<ValueInfoProto> {
        list.iter()
            .filter_map(|(name, v)| match port(name, graph.ty(*v)) {
                Ok(port) => Some(port),
                Err(d) => {
                    problems.push(d);
                    None
                }
            })
            .collect()
    };
    out.input = ports(graph.inputs());
    out.output = ports(graph.outputs());
    out.name.clone_from(&graph.name);
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(ModelProto {
        ir_version: IR_VERSION,
        producer_name: "mnxc".to_string(),
        producer_version: env!("CARGO_PKG_VERSION").to_string(),
        graph: Some(out),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
    })
}

fn weight(w: &mut Writer, name: &str, key: &str, ty: &TensorType, weights: &Checkpoint) -> Result<(), Diagnostic> {
    let complain = |code, message: String| Diagnostic::new(code, key, message);
    if ty.dtype != DType::F32 {
        return Err(complain("mnxc-0602", format!("weight {ty}: ONNX export is for float32 networks")));
    }
    let tensor = weights.require(key, &ty.shape).map_err(|e| complain("weights-0102", e.to_string()))?;
    let bad = tensor.data.iter().filter(|v| !v.is_finite()).count();
    if bad > 0 {
        return Err(complain("mnxc-0202", format!("{bad} of {} values are NaN or infinite", tensor.len())));
    }
    w.weight(name, &tensor.shape, &tensor.data);
    Ok(())
}

/// The ONNX element type of a value.
fn element(ty: &TensorType, place: &str) -> Result<i32, Diagnostic> {
    match ty.dtype {
        DType::F32 => Ok(data_type::FLOAT),
        DType::I32 => Ok(data_type::INT32),
        DType::F64 | DType::F16 | DType::Bf16 => {
            Err(Diagnostic::new("mnxc-0602", place, format!("value {ty}: ONNX export is for float32 networks")))
        }
    }
}

fn port(name: &str, ty: &TensorType) -> Result<ValueInfoProto, Diagnostic> {
    let dim = ty.shape.iter().map(|&n| DimensionProto { dim_value: Some(int(n)) }).collect();
    let tensor = TensorTypeProto { elem_type: element(ty, name)?, shape: Some(TensorShapeProto { dim }) };
    Ok(ValueInfoProto { name: name.to_string(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_of_2_gib_is_refused_with_its_size() {
        assert!(fits("net", LARGEST).is_ok());
        let d = fits("net", LARGEST + 1).unwrap_err();
        assert!(d.message.contains("2147483648 bytes") && d.message.contains("2 GiB"), "{d}");
    }
}
