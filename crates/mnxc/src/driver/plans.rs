//! From dispatches to a plan for every target.

use std::path::Path;

use mnx_ir::{DType, Graph};
use mnx_passes::{manager, stored};
use mnx_plan::target::{Machine, Target};
use mnx_plan::vocabulary::Storage;
use mnx_plan::{ModulePlan, PlanOptions, PlanText, plan};

use super::Compilation;
use crate::bundle;
use crate::files::read_text;
use crate::pipeline::pass_failure;
use crate::report::{Failure, Outcome};
use crate::request::Request;
use crate::tuned::{Applied, Cache};

/// Where the tiles of plans come from.
pub enum Tiles {
    /// The planner.
    Default,
    /// Texts that a person or the tuner wrote.
    Edited(Vec<PlanText>),
    /// A file of tuned tiles.
    Tuned(Cache),
}

impl Tiles {
    /// Reads what the request names.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    pub fn read(request: &Request) -> Outcome<Self> {
        match (&request.plan, &request.tuned) {
            (_, Some(path)) => Ok(Self::Tuned(Cache::read(path)?)),
            (Some(path), None) => Ok(Self::Edited(PlanText::parse(&read_text(path)?, &path.display().to_string())?)),
            (None, None) => Ok(Self::Default),
        }
    }
}

/// A graph of dispatches with its plans.
pub struct Planned {
    /// What was planned.
    pub graph: Graph,
    /// One for each target.
    pub plans: Vec<ModulePlan>,
    /// What the manifest keeps about their tiles.
    pub notes: Vec<String>,
}

impl Compilation<'_> {
    /// Plans a graph of dispatches for every target.
    ///
    /// # Errors
    /// A graph that cannot be planned, tiles that do not fit it, dumps that cannot be written.
    pub fn plan(&mut self, graph: Graph, tiles: &Tiles) -> Outcome<Planned> {
        let request = self.request;
        if let Tiles::Edited(texts) = tiles {
            check_targets(request, texts)?;
        }
        let (mut plans, mut notes) = (Vec::new(), Vec::new());
        for target in request.targets.iter().copied() {
            let step = format!("plan {}", target.name);
            let options = PlanOptions { gelu: request.gelu, edited: None };
            let rounded = rounded(&graph, precision(request, target))?;
            if rounded.order().len() != graph.order().len() {
                self.dump.stage(&format!("{}.mnx", target.name), || rounded.to_string().into_bytes())?;
            }
            let made = match tiles {
                // The tuner measures on CPUs.
                Tiles::Tuned(cache) if target.cpu().is_some() => {
                    let (made, applied) = self.times.measure(step, || cache.plan(&graph, target, request.gelu))?;
                    notes.push(tuned_note(request, target, &applied));
                    made
                }
                Tiles::Edited(texts) => {
                    let edited = texts.iter().find(|t| t.target == target.name);
                    self.times.measure(step, || plan(&rounded, target, &PlanOptions { edited, ..options }))?
                }
                Tiles::Tuned(_) | Tiles::Default => self.times.measure(step, || plan(&rounded, target, &options))?,
            };
            self.dump.stage(&format!("{}.plan", target.name), || made.to_string().into_bytes())?;
            plans.push(made);
        }
        notes.iter().for_each(|n| self.voice.note(n));
        plans.iter().for_each(log);
        Ok(Planned { graph, plans, notes })
    }
}

/// What a target stores activations in: CPUs float32.
pub fn precision(request: &Request, target: &Target) -> Storage {
    match target.machine {
        Machine::Cpu(_) => Storage::F32,
        Machine::Nvptx(_) => request.precision,
    }
}

/// A graph of dispatches with the roundings of kernels that store activations so.
fn rounded(graph: &Graph, storage: Storage) -> Outcome<Graph> {
    let mut rounded = graph.clone();
    let dtype = match storage {
        Storage::F32 => DType::F32,
        Storage::Bf16 => DType::Bf16,
        Storage::F16 => DType::F16,
    };
    manager::run(&stored(dtype), &mut rounded).map_err(|e| pass_failure(&graph.name, e))?;
    Ok(rounded)
}

/// Refuses edited plans for targets that are not compiled for.
fn check_targets(request: &Request, texts: &[PlanText]) -> Outcome {
    for text in texts {
        if !request.targets.iter().any(|t| t.name == text.target) {
            let names: Vec<&str> = request.targets.iter().map(|t| t.name).collect();
            let place = request.plan.as_deref().map_or_else(String::new, |p| p.display().to_string());
            let message = format!("a plan for target {}, which is not compiled for (--target gives {})", text.target, names.join(", "));
            return Err(Failure::user("mnxc-0303", place, message));
        }
    }
    Ok(())
}

/// What a file of tuned tiles gave, for people and for the manifest.
fn tuned_note(request: &Request, target: &Target, applied: &Applied) -> String {
    // Only the last component: the same file in another directory gives the same bundle.
    let file = request.tuned.as_deref().and_then(Path::file_name).map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let shapes = mnx_words::many(applied.shapes, "kernel shape");
    let mut note = format!("tuned tiles for {}: {} of {shapes} found in {file}", target.name, applied.found);
    if applied.foreign > 0 {
        note.push_str(&format!("; {} of another compiler ignored", mnx_words::many(applied.foreign, "entry")));
    }
    note
}

fn log(plan: &ModulePlan) {
    let (dispatches, kernels) = (plan.dispatches.len(), bundle::symbols(plan).len());
    tracing::info!(target = %plan.target.name, dispatches, kernels, arena_bytes = plan.memory.arena_bytes, "planned");
    for d in &plan.dispatches {
        tracing::trace!(launches = d.launches.len(), "{}", d.name);
    }
}
