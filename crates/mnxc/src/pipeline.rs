//! Textual pipelines: reading them, running them, and whose fault it is when they fail.

use mnx_ir::Graph;
use mnx_passes::{Manager, PassError, Pipeline};

use crate::crash;
use crate::report::{Failure, Outcome};

/// What is shown of each pass: the step, and how its graph is written.
pub type PassObserver<'a> = dyn FnMut(&mnx_passes::Step<'_>, &dyn Fn(&Graph) -> String) -> Outcome + 'a;

/// Runs a textual pipeline with the scene of a possible crash kept up to date.
///
/// # Errors
/// A text that is no pipeline (usage), a graph that does not suit it, an error of the observer.
///
/// # Panics
/// If a pass leaves an invalid graph: our bug.
pub fn run_passes(text: &str, graph: &mut Graph, header: &str, observer: &mut PassObserver<'_>) -> Outcome {
    let pipeline = parse_pipeline(text)?;
    let remaining = |done: usize| parse_pipeline(text).map(|p| p.split_at(done).1.to_string()).unwrap_or_default();
    let write = |g: &Graph| format!("{header}{g}");
    let mut failure = None;
    crash::entering(graph, header, &remaining(0));
    let result = Manager::default().run(&pipeline, graph, &mut |step| {
        crash::entering(step.graph, header, &remaining(step.index + 1));
        observer(step, &write).map_err(|f| {
            failure = Some(f);
            PassError::Caller(String::new())
        })
    });
    let outcome = match (result, failure) {
        (_, Some(f)) => Err(f),
        (Err(e), None) => Err(pass_failure(&graph.name, e)),
        (Ok(_), None) => Ok(()),
    };
    crash::left();
    outcome
}

/// Reads a pipeline's text.
///
/// # Errors
/// If it is none: a usage error.
pub fn parse_pipeline(text: &str) -> Outcome<Pipeline> {
    Pipeline::parse(text).map_err(|e| Failure::Usage(format!("--pipeline: {e}")))
}

/// An error of the passes as a failure.
///
/// # Panics
/// If it is our bug.
pub fn pass_failure(graph: &str, error: PassError) -> Failure {
    match error {
        PassError::Broken { .. } | PassError::Endless { .. } => panic!("{error}"),
        PassError::Pipeline { .. } | PassError::Option { .. } => Failure::Usage(error.to_string()),
        PassError::Graph(d) => d.into(),
        PassError::Invalid(all) => all.into(),
        PassError::WrongStage { .. } | PassError::Caller(_) => Failure::user("mnxc-0302", format!("@{graph}"), error.to_string()),
    }
}
