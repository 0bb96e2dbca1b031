//! Runs a pipeline: stages and verification between passes, timing, observer, patch limit.

use std::time::{Duration, Instant};

use mnx_ir::verify::verify;
use mnx_ir::{Graph, Stage};

use crate::error::PassError;
use crate::pass::{Applied, Changed, Pass, PassCx, Promise};
use crate::pipelines::Pipeline;

/// What the observer sees after each pass.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Position in the pipeline, from 0.
    pub index: usize,
    /// The pass.
    pub pass: &'static str,
    /// The graph it left.
    pub graph: &'a Graph,
    /// Whether it changed anything; if not, the printed graph is the one before.
    pub changed: Changed,
    /// Time it took, verification excluded.
    pub time: Duration,
    /// Patches it applied.
    pub patches: usize,
}

/// What a run did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Passes that ran with the time each took, verification excluded.
    pub times: Vec<(&'static str, Duration)>,
    /// Every patch, in order.
    pub applied: Vec<Applied>,
    /// Whether the patch limit cut the run short: the graph stands as the last patch left it, unverified.
    pub stopped: bool,
}

/// The pass manager.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manager {
    /// Stop after this many patches in total.
    pub patch_limit: Option<usize>,
}

impl Manager {
    /// Runs the passes of a pipeline in order.
    ///
    /// # Errors
    /// The first of: an invalid graph to begin with, a pass at the wrong stage, an error of a pass,
    /// an invalid graph after a pass (our bug), an error of the observer.
    pub fn run(
        &self,
        pipeline: &Pipeline,
        graph: &mut Graph,
        observer: &mut dyn FnMut(&Step<'_>) -> Result<(), PassError>,
    ) -> Result<Report, PassError> {
        self.run_passes(&pipeline.passes(), graph, observer)
    }

    /// A run of passes at hand.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_passes(
        &self,
        passes: &[&dyn Pass],
        graph: &mut Graph,
        observer: &mut dyn FnMut(&Step<'_>) -> Result<(), PassError>,
    ) -> Result<Report, PassError> {
        verify(graph).map_err(PassError::Invalid)?;
        let mut cx = PassCx::new(self.patch_limit);
        let mut report = Report::default();
        for (index, &pass) in passes.iter().enumerate() {
            let (takes, promise) = pass.stages();
            if !takes.contains(&graph.stage) {
                return Err(wrong_stage(pass, graph.stage));
            }
            cx.enter(pass.name());
            let patches = cx.applied().len();
            let start = Instant::now();
            let mut changed = pass.run(graph, &mut cx)?;
            let time = start.elapsed();
            report.times.push((pass.name(), time));
            if cx.stopped() {
                report.stopped = true;
                break;
            }
            changed = changed.or(keep_promise(promise, graph));
            verify(graph).map_err(|errors| PassError::Broken { pass: pass.name().to_string(), errors })?;
            observer(&Step { index, pass: pass.name(), graph, changed, time, patches: cx.applied().len() - patches })?;
        }
        report.applied = cx.applied().to_vec();
        Ok(report)
    }
}

/// Runs a pipeline without limit or observer.
///
/// # Errors
/// As [`Manager::run`].
pub fn run(pipeline: &Pipeline, graph: &mut Graph) -> Result<Report, PassError> {
    Manager::default().run(pipeline, graph, &mut |_| Ok(()))
}

fn keep_promise(promise: Promise, graph: &mut Graph) -> Changed {
    let stage = match promise {
        Promise::Same => graph.stage,
        Promise::Exactly(stage) => stage,
        Promise::GraphIfNoSugar => {
            let sugar = graph.order().iter().any(|&id| !graph.op(id).info().legal_at(Stage::Graph));
            if sugar { graph.stage } else { graph.stage.max(Stage::Graph) }
        }
    };
    let changed = Changed::when(stage != graph.stage);
    graph.stage = stage;
    changed
}

fn wrong_stage(pass: &dyn Pass, got: Stage) -> PassError {
    let (takes, _) = pass.stages();
    let names: Vec<String> = Stage::ALL.into_iter().filter(|s| takes.contains(s)).map(|s| s.to_string()).collect();
    let wants = match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "none".to_string(),
    };
    PassError::WrongStage {
        pass: pass.name().to_string(),
        wants,
        got,
        hint: if got == Stage::Model { ": run decompose-norm and decompose-transposed first" } else { "" },
    }
}
