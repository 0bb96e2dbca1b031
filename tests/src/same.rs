//! Whether two graphs compute the same, in float64, on values that follow from a seed.

use mnx_interp::{Array, Interpreter};
use mnx_ir::Graph;
use mnx_weights::{Checkpoint, det_input, golden_weight};

/// Outputs of a graph by name.
pub type Outputs = Vec<(String, Array<f64>)>;

/// Weights for the params of a graph that follow from the seed and their keys.
pub fn weights(graph: &Graph, seed: u64) -> Checkpoint {
    graph.params().iter().map(|&(key, v)| (key.to_string(), golden_weight(&format!("seed{seed}"), key, &graph.ty(v).shape))).collect()
}

/// The outputs of a graph on seeded weights and inputs.
///
/// # Errors
/// What the interpreter says.
pub fn outputs(graph: &Graph, seed: u64) -> Result<Outputs, String> {
    let inputs: Vec<(String, Array<f64>)> = graph
        .inputs()
        .iter()
        .map(|(name, v)| (name.clone(), Array::from_tensor(&det_input(&format!("seed{seed}/{name}"), &graph.ty(*v).shape))))
        .collect();
    let given: Vec<(&str, &Array<f64>)> = inputs.iter().map(|(n, a)| (n.as_str(), a)).collect();
    Interpreter::<f64>::new().run(graph, &weights(graph, seed), &given).map_err(|e| e.to_string())
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
