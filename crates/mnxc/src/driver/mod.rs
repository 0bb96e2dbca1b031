//! The straight path: source -> passes -> dispatches -> plan per target -> code per target -> bundle.

mod check;
mod code;
mod contents;
mod passes;
mod plans;

use mnx_ir::{Graph, Stage};

use crate::dump::Dump;
use crate::emit;
use crate::files::write_or_emit;
use crate::memory;
use crate::phase::Phase;
use crate::report::{Failure, Outcome, Voice};
use crate::request::Request;
use crate::source::Source;
use crate::times::Times;
use plans::Tiles;

/// Compiles.
///
/// # Errors
/// Everything that is wrong with the input; nothing is written then but dumps.
pub fn compile(request: &Request, voice: Voice) -> Outcome {
    let mut compilation = Compilation { request, voice, dump: Dump::new(request.dump_dir.clone()), times: Times::default() };
    let outcome = compilation.run();
    if request.time_passes {
        compilation.times.table().lines().for_each(|l| voice.tell(l));
    }
    outcome
}

/// One way from a source to what was asked for; each stage is a method, in the file of its name.
struct Compilation<'a> {
    request: &'a Request,
    voice: Voice,
    dump: Dump,
    times: Times,
}

impl Compilation<'_> {
    fn run(&mut self) -> Outcome {
        let to = self.request.to;
        emit::check_available(to)?;
        let output = check::output(self.request)?;
        let tiles = Tiles::read(self.request)?;

        let source = self.read()?;
        let header = source.header();
        let text = |g: &Graph| format!("{header}{g}").into_bytes();
        self.dump.stage(&format!("{}.mnx", source.graph.stage), || text(&source.graph))?;
        if to == Phase::Model {
            if source.graph.stage != Stage::Model {
                let message = format!("the graph has stage {}, beyond model", source.graph.stage);
                return Err(Failure::user("mnxc-0302", &source.file, message));
            }
            return write_or_emit(output.as_deref(), &text(&source.graph));
        }

        let lowered = self.lower(&source)?;
        if to == Phase::Graph {
            let message = "no pass of the pipeline leaves a graph of stage graph";
            let graph = lowered.core.ok_or_else(|| Failure::user("mnxc-0302", &source.file, message))?;
            return write_or_emit(output.as_deref(), &text(&graph));
        }
        let graph = lowered.last;
        if graph.stage != Stage::Dispatch {
            let message =
                format!("the pipeline leaves a graph of stage {}; dispatches are planned: end it with form-dispatches", graph.stage);
            return Err(Failure::user("mnxc-0302", &source.file, message));
        }
        if to == Phase::Dispatch {
            return write_or_emit(output.as_deref(), &text(&graph));
        }

        if !graph.updates().is_empty() || !graph.states().is_empty() {
            return Err(passes::trains(&source));
        }
        let planned = self.plan(graph, &tiles)?;
        let plans = &planned.plans;
        memory::warn(plans, &planned.graph, self.voice);
        if to == Phase::Plan {
            let texts: Vec<String> = plans.iter().map(ToString::to_string).collect();
            return write_or_emit(output.as_deref(), texts.join("\n").as_bytes());
        }

        if to != Phase::Bundle {
            let codes = self.generate(plans)?;
            return write_or_emit(output.as_deref(), &code::joined(to, plans, &codes));
        }
        // Weights that do not fit are told before code is made, which takes longer.
        let mut contents = self.contents(&source, &planned)?;
        let codes = self.generate(plans)?;
        self.complete(&mut contents, &source, &planned, &codes)?;
        let path = output.unwrap_or_else(|| check::default_output(&self.request.input, "mnxa"));
        self.write(&contents, plans, &codes, &path)
    }

    fn read(&mut self) -> Outcome<Source> {
        let source = self.times.measure("build", || Source::load(&self.request.input, &self.request.shape))?;
        tracing::info!(file = %source.file, stage = %source.graph.stage, ops = source.graph.order().len(), "graph read");
        let notices = source.origin.iter().flat_map(|o| &o.config.notices);
        notices.for_each(|n| self.voice.warn(&format!("{}: {n}", source.file)));
        Ok(source)
    }
}
