//! Whether two graphs compute the same, in float64, on values that follow from a seed.

use mnx_interp::{Array, Interpreter};
use mnx_ir::{DType, Graph};
use mnx_weights::{Checkpoint, det_input, golden_weight};

/// Outputs of a graph by name.
pub type Outputs = Vec<(String, Array<f64>)>;

/// Values for the params and states of a graph that follow from the seed and their keys.
pub fn weights(graph: &Graph, seed: u64) -> Checkpoint {
    graph
        .params()
        .into_iter()
        .chain(graph.states())
        .map(|(key, v)| (key.to_string(), golden_weight(&format!("seed{seed}"), key, &graph.ty(v).shape)))
        .collect()
}

/// The outputs and updates (as `update KEY`) of a graph on seeded weights and inputs; labels are 0, 1, 2.
///
/// # Errors
/// What the interpreter says.
pub fn outputs(graph: &Graph, seed: u64) -> Result<Outputs, String> {
    let inputs: Vec<(String, Array<f64>)> = graph
        .inputs()
        .iter()
        .map(|(name, v)| (name.clone(), Array::from_tensor(&det_input(&format!("seed{seed}/{name}"), &graph.ty(*v).shape))))
        .collect();
    let inputs: Vec<(String, Array<f64>)> =
        inputs.into_iter().zip(graph.inputs()).map(|(input, (_, v))| labels(input, graph.ty(*v).dtype)).collect();
    let given: Vec<(&str, &Array<f64>)> = inputs.iter().map(|(n, a)| (n.as_str(), a)).collect();
    let results = Interpreter::<f64>::new().run(graph, &weights(graph, seed), &given).map_err(|e| e.to_string())?;
    let updates = results.updates.into_iter().map(|(key, value)| (format!("update {key}"), value));
    Ok(results.outputs.into_iter().chain(updates).collect())
}

/// An input of integers, made whole numbers.
fn labels((name, mut array): (String, Array<f64>), dtype: DType) -> (String, Array<f64>) {
    if dtype == DType::I32 {
        array.data.iter_mut().for_each(|v| *v = (v.abs() * 3.0).floor().min(2.0));
    }
    (name, array)
}

/// Compares outputs by name: `got` may lack some of `want`, not the other way round. The largest difference is measured
/// against the largest value of the wanted output; a value that is not finite never passes.
///
/// # Errors
/// The first output that differs, and by how much.
pub fn compare(want: &Outputs, got: &Outputs, tol: f64) -> Result<(), String> {
    if got.is_empty() {
        return Err("no outputs to compare".into());
    }
    for (name, g) in got {
        let (_, w) = want.iter().find(|(n, _)| n == name).ok_or_else(|| format!("output {name} is new"))?;
        if w.shape != g.shape {
            return Err(format!("output {name} has shape {:?}, was {:?}", g.shape, w.shape));
        }
        let scale = w.data.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        for (i, (a, b)) in w.data.iter().zip(&g.data).enumerate() {
            let error = (a - b).abs();
            // Written so that NaN fails.
            let close = error <= tol * scale && b.is_finite();
            if !close {
                return Err(format!("output {name}, element {i}: {b} instead of {a} (largest value {scale}, tolerance {tol})"));
            }
        }
    }
    Ok(())
}
