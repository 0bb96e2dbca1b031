//! Test vectors: what the float64 interpreter says of a fixed input, at sampled positions, for `mnx verify`.

use clap::ValueEnum;
use mnx_artifact::TestVectors;
use mnx_interp::{Array, Interpreter};
use mnx_ir::{Graph, Op};
use mnx_plan::vocabulary::Gelu;
use mnx_weights::{Checkpoint, det_input};

use crate::report::{Failure, Outcome};

/// When to compute test vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Whatever it takes
    Always,
    /// If one run costs at most 4 GMAC, which the reference interpreter does in seconds
    Auto,
    /// Never; `mnx verify` then has nothing to check
    None,
}

/// Most multiply-accumulates that [`When::Auto`] interprets.
pub const AUTO_MACS: u64 = 4_000_000_000;

/// Sampled positions per output.
const SAMPLES: usize = 1024;

/// What float32 code may differ by, relative to 1 plus the output's largest value.
/// Fast GELUs err by up to 2e-4 each; a whole network of them stays well within ten times that.
pub fn tolerance(gelu: Gelu) -> f64 {
    match gelu {
        Gelu::Accurate => 1e-4,
        Gelu::Fast => 2e-3,
    }
}

/// Names the input's values, see [`det_input`].
const INPUT_NAME: &str = "mnxc/verify/input";

/// Runs the graph in float64 and samples its outputs.
///
/// The code may err by `tolerance`; class labels are sampled only where the best two scores are further apart
/// than `margin`, the loosest tolerance of the bundle's programs, allows.
///
/// # Errors
/// A graph with other than one input; weights that do not fit.
pub fn compute(graph: &Graph, checkpoint: &Checkpoint, place: &str, tolerance: f64, margin: f64) -> Outcome<TestVectors> {
    let fail = |why: String| Failure::user("mnxc-0401", place, why);
    let [(input_name, input)] = graph.inputs() else {
        return Err(fail(format!("test vectors need a graph with one input, this one has {}", graph.inputs().len())));
    };
    let tensor = det_input(INPUT_NAME, &graph.ty(*input).shape);
    let array = Array::<f64>::from_tensor(&tensor);
    // Labels are judged by their scores, so those are what is computed.
    let mut scored = graph.clone();
    let argmax = |v| graph.def(v).filter(|id| matches!(graph.op(*id), Op::Argmax(_)));
    let wanted = graph.outputs().iter().map(|(n, v)| (n.clone(), argmax(*v).map_or(*v, |id| graph.operands(id)[0])));
    scored.set_outputs(wanted.collect());
    let results = Interpreter::<f64>::new().run(&scored, checkpoint, &[(input_name, &array)]).map_err(|e| fail(e.to_string()))?.outputs;

    let mut vectors = TestVectors { input_name: INPUT_NAME.to_string(), outputs: Vec::new(), maxima: Vec::new(), tolerance };
    for ((name, v), (_, values)) in graph.outputs().iter().zip(&results) {
        let maximum = values.data.iter().fold(0.0f64, |m, x| if x.is_nan() { f64::NAN } else { m.max(x.abs()) });
        if !maximum.is_finite() {
            return Err(fail(format!("output {name} holds NaN or infinite values with these weights: no test vectors (--vectors none)")));
        }
        if argmax(*v).is_some() {
            let (samples, largest) = labels(values, maximum, margin);
            vectors.outputs.push(samples);
            vectors.maxima.push(largest);
        } else {
            let at = positions(values.data.len());
            vectors.outputs.push(at.map(|i| (i as u64, values.data[i])).collect());
            vectors.maxima.push(maximum);
        }
    }
    Ok(vectors)
}

/// About [`SAMPLES`] positions of `n`, one in each of as many equal stretches.
fn positions(n: usize) -> impl Iterator<Item = usize> {
    let count = n.min(SAMPLES);
    (0..count).map(move |i| {
        let (from, to) = (i * n / count, (i + 1) * n / count);
        // Odd multiples scatter the position within its stretch, so that no axis is always met at the same place.
        from + (i.wrapping_mul(2_654_435_761)) % (to - from)
    })
}

/// Labels at sampled voxels whose best class is clear, and the largest label of all.
fn labels(scores: &Array<f64>, maximum: f64, tolerance: f64) -> (Vec<(u64, f64)>, f64) {
    let (batch, classes) = (scores.shape[0], scores.shape[1]);
    let space: usize = scores.shape[2..].iter().product();
    let best = |at: usize| {
        let (n, voxel) = (at / space, at % space);
        let score = |c: usize| scores.data[(n * classes + c) * space + voxel];
        let first = (1..classes).fold(0, |b, c| if score(c) > score(b) { c } else { b });
        let second = (0..classes).filter(|c| *c != first).map(score).fold(f64::NEG_INFINITY, f64::max);
        (first, score(first) - second)
    };
    let clear = 4.0 * tolerance * (1.0 + maximum);
    let samples = positions(batch * space).map(|at| (at, best(at))).filter(|(_, (_, margin))| *margin > clear);
    let samples: Vec<(u64, f64)> = samples.map(|(at, (label, _))| (at as u64, label as f64)).collect();
    let largest = (0..batch * space).map(|at| best(at).0).max().unwrap_or(0);
    (samples, largest as f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn positions_are_distinct_ascending_and_inside() {
        for n in [1, 5, 1023, 1024, 1025, 4096, 98_304, 262_147] {
            let p: Vec<usize> = positions(n).collect();
            assert_eq!(p.len(), n.min(SAMPLES));
            assert!(p.windows(2).all(|w| w[0] < w[1]) && p.iter().all(|&i| i < n), "{n}");
        }
    }

    #[test]
    fn unclear_labels_are_left_out() {
        // Voxel 0: class 1 by far; voxel 1: a tie; voxel 2: class 0.
        let scores = Array::new(&[1, 2, 3], vec![0.0, 1.0, 3.0, 5.0, 1.0, -1.0]);
        let (samples, largest) = labels(&scores, 5.0, tolerance(Gelu::Accurate));
        assert_eq!((samples, largest), (vec![(0, 1.0), (2, 0.0)], 1.0));
    }
}
