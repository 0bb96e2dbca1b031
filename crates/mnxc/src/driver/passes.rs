//! From the graph that was read to its dispatches.

use mnx_ir::{Graph, Stage};
use mnx_passes::Changed;

use super::Compilation;
use crate::pipeline::run_passes;
use crate::report::{Failure, Outcome};
use crate::request::Request;
use crate::source::{Heads, Source};

/// What the passes left.
pub struct Lowered {
    /// The last graph of stage `graph`.
    pub core: Option<Graph>,
    /// The graph after all passes.
    pub last: Graph,
}

impl Compilation<'_> {
    /// Runs the pipeline on a source's graph.
    ///
    /// # Errors
    /// A wrong pipeline, a pass that refuses the graph, dumps that cannot be written.
    pub fn lower(&mut self, source: &Source) -> Outcome<Lowered> {
        let Self { request, times, dump, .. } = self;
        let mut graph = source.graph.clone();
        let text = pipeline(request, source)?;
        let mut core = (graph.stage == Stage::Graph).then(|| graph.clone());
        run_passes(&text, &mut graph, &source.header(), &mut |step, text| {
            times.add(step.pass, step.time);
            let (changed, ops, dispatches) = (step.changed == Changed::Yes, step.graph.order().len(), step.graph.dispatches().len());
            tracing::debug!(changed, patches = step.patches, ops, dispatches, "{}", step.pass);
            if step.graph.stage == Stage::Graph {
                core = Some(step.graph.clone());
            }
            match step.changed {
                Changed::Yes => dump.stage(&format!("{}.mnx", step.pass), || text(step.graph).into_bytes()),
                Changed::No => dump.unchanged(step.pass),
            }
        })?;
        Ok(Lowered { core, last: graph })
    }
}

/// The refusal of a graph that changes named memory.
pub fn trains(source: &Source) -> Failure {
    let message = format!("@{} is a training graph; mnxc compiles graphs without states and updates", source.graph.name);
    Failure::user("mnxc-0302", &source.file, message)
}

/// The passes to run on a source, as `--pipeline` writes them.
fn pipeline(request: &Request, source: &Source) -> Outcome<String> {
    let text = match (&request.pipeline, source.graph.stage) {
        (Some(text), _) => text.clone(),
        (None, Stage::Dispatch) => String::new(),
        (None, Stage::Model | Stage::Graph) => "infer".to_string(),
        (None, Stage::Train) => return Err(trains(source)),
    };
    if request.heads != Heads::Main {
        return Ok(text);
    }
    if source.graph.stage == Stage::Dispatch {
        let message = format!("--heads main: {} already has its dispatches, whose heads stay as they are", source.file);
        return Err(Failure::Usage(message));
    }
    let rest = if text.is_empty() { String::new() } else { format!(",{text}") };
    Ok(format!("drop-training-heads{{keep=out_0}},dce{rest}"))
}
