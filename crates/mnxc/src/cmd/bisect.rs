//! `mnxc bisect`: which pass, which patch and which value first go wrong.

use std::path::PathBuf;

use mnx_interp::{Array, Interpreter};
use mnx_ir::Graph;
use mnx_passes::{Bisection, PassError, Verdict, bisect};
use mnx_weights::{Checkpoint, det_input};
use serde_json::json;

use crate::checkpoint::{self, Origin};
use crate::cmd::network::{Extents, Weights};
use crate::imported::Input;
use crate::pipeline::{parse_pipeline, pass_failure};
use crate::report::{Failure, Outcome, Voice, emit};
use crate::source::{Shape, Source};

/// Find the first pass, patch and value that change what a graph computes
///
/// The reference interpreter runs the graph in float64 after every pass that changed it, on one fixed input.
#[derive(Debug, clap::Args)]
#[command(mut_arg("seed", |a| a.help("Fresh weights instead of a file [default: 0]")))]
#[command(after_help = "Examples:
  mnxc bisect a.mnx --pipeline=infer
  mnxc bisect s.toml --patch 32,16,16 --pipeline=infer --weights s.safetensors
  mnxc bisect a.mnx --pipeline=cse,dce --seed 3 --tol 1e-12

Ends with 0 if every pass keeps the results, with 1 if one does not.")]
pub struct Args {
    /// A graph (.mnx) of any stage, a config (.toml), or a folder that `mnxc import` made
    graph: PathBuf,
    /// Passes in order, see `mnxc list passes`
    #[arg(long, value_name = "PASSES")]
    pipeline: String,
    #[command(flatten)]
    weights: Weights,
    /// Largest accepted difference, relative to 1 plus the output's largest value
    #[arg(long, value_name = "X", default_value_t = 1e-9)]
    tol: f64,
    /// Spatial extents for a config [default: 32 per axis]
    #[arg(long, value_name = "EXTENTS")]
    patch: Option<Extents>,
    /// The outcome as JSON
    #[arg(long)]
    json: bool,
}

/// Bisects and says what was found.
///
/// # Errors
/// Wrong input, or a pass that changes the results.
pub fn run(args: &Args, voice: Voice) -> Outcome {
    if !(args.tol >= 0.0 && args.tol.is_finite()) {
        return Err(Failure::Usage(format!("--tol {}: expected a number that is not negative", args.tol)));
    }
    let source = load(args)?;
    let config = source.origin.as_ref().map(|o| &o.config);
    let input = Input::find(&args.graph)?;
    let from = args.weights.origin(&input)?.unwrap_or(Origin::Seed(0));
    let weights = checkpoint::provide(from, config, &source.graph, voice)?;
    let pipeline = parse_pipeline(&args.pipeline)?;
    let inputs: Vec<(String, Array<f64>)> = source
        .graph
        .inputs()
        .iter()
        .map(|(n, v)| (n.clone(), Array::from_tensor(&det_input(&format!("mnxc/bisect/{n}"), &source.graph.ty(*v).shape))))
        .collect();
    let wanted = interpret(&source.graph, &weights, &inputs).map_err(|e| Failure::user("mnxc-0401", &source.file, e))?;
    if let Some((name, _)) = wanted.iter().find(|(_, a)| a.data.iter().any(|x| !x.is_finite())) {
        let message = format!("output {name} holds NaN or infinite values before any pass: nothing can be compared");
        return Err(Failure::user("mnxc-0401", &source.file, message));
    }
    let found = bisect(&source.graph, &pipeline, &mut |graph| {
        let got = interpret(graph, &weights, &inputs).map_err(PassError::Caller)?;
        Ok(compare(&wanted, &got, args.tol))
    })
    .map_err(|e| pass_failure(&source.graph.name, e))?;
    if args.json {
        emit(&format!("{:#}\n", as_json(&found)))?;
    } else {
        emit(&format!("{found}\n"))?;
    }
    match &found {
        Bisection::Clean { .. } => Ok(()),
        Bisection::Found { pass, .. } => {
            Err(Failure::user("mnxc-0402", &source.file, format!("pass {pass} changes what the graph computes")))
        }
    }
}

fn load(args: &Args) -> Outcome<Source> {
    let mut shape = Shape { patch: args.patch.clone().map(|p| p.0), ..Shape::default() };
    if shape.patch.is_none() && args.graph.extension().is_none_or(|e| e != "mnx") {
        shape.patch = Some(vec![32; crate::source::config(&args.graph)?.dim.axes()]);
    }
    Source::load(&args.graph, &shape)
}

type Values = Vec<(String, Array<f64>)>;

fn interpret(graph: &Graph, weights: &Checkpoint, inputs: &Values) -> Result<Values, String> {
    let inputs: Vec<(&str, &Array<f64>)> = inputs.iter().map(|(n, a)| (n.as_str(), a)).collect();
    let results = Interpreter::<f64>::new().run(graph, weights, &inputs).map_err(|e| e.to_string())?;
    let updates = results.updates.into_iter().map(|(key, value)| (format!("update \"{key}\""), value));
    Ok(results.outputs.into_iter().chain(updates).collect())
}

/// Compares the outputs that both have: a pass may drop heads, never invent one.
fn compare(wanted: &Values, got: &Values, tol: f64) -> Verdict {
    for (name, g) in got {
        let Some((_, w)) = wanted.iter().find(|(n, _)| n == name) else {
            return Verdict::Bad(format!("output {name}: the graph had none of this name before"));
        };
        if w.shape != g.shape {
            return Verdict::Bad(format!("output {name}: shape {}, it was {}", mnx_words::list(&g.shape), mnx_words::list(&w.shape)));
        }
        let maximum = w.data.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let limit = tol * (1.0 + maximum);
        let bad = |(_, (w, g)): &(usize, (&f64, &f64))| (*g - *w).abs().partial_cmp(&limit).is_none_or(|o| o.is_gt());
        let mut wrong = w.data.iter().zip(&g.data).enumerate().filter(bad);
        if let Some((at, (want, have))) = wrong.next() {
            let count = 1 + wrong.count();
            let index = unravel(at, &w.shape);
            return Verdict::Bad(format!(
                "first bad value: {name}{index} is {have:e}, it was {want:e} (limit {limit:.1e}); {count} of {} values differ",
                w.data.len(),
                index = mnx_words::list(&index)
            ));
        }
    }
    Verdict::Good
}

fn unravel(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&n| {
            let i = at % n;
            at /= n;
            i
        })
        .collect();
    index.reverse();
    index
}

fn as_json(found: &Bisection) -> serde_json::Value {
    match found {
        Bisection::Clean { passes, judged } => json!({"outcome": "clean", "passes": passes, "judged": judged}),
        Bisection::Found { index, pass, patch, detail, judged } => json!({
            "outcome": "found", "index": index, "pass": pass, "detail": detail, "judged": judged,
            "patch": patch.as_ref().map(|(n, a)| json!({"number": n, "rule": a.rule, "at": a.at})),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(data: &[f64]) -> Values {
        vec![("out_0".to_string(), Array::new(&[1, 2, 2], data.to_vec()))]
    }

    #[test]
    fn the_first_bad_value_is_named_and_nan_is_bad() {
        let wanted = values(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(compare(&wanted, &values(&[1.0, 2.0, 3.0, 4.0 + 1e-12]), 1e-9), Verdict::Good);
        let Verdict::Bad(text) = compare(&wanted, &values(&[1.0, 2.0, 3.5, f64::NAN]), 1e-9) else { panic!("accepted") };
        assert!(text.contains("out_0[0, 1, 0] is 3.5e0, it was 3e0") && text.contains("2 of 4 values"), "{text}");
        assert!(matches!(compare(&wanted, &values(&[f64::NAN, 2.0, 3.0, 4.0]), 1e-9), Verdict::Bad(_)));
    }

    #[test]
    fn dropped_heads_are_fine_and_invented_ones_are_not() {
        let wanted = values(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(compare(&wanted, &Vec::new(), 1e-9), Verdict::Good);
        assert!(matches!(compare(&Vec::new(), &wanted, 1e-9), Verdict::Bad(_)));
    }
}
