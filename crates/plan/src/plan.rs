//! From a dispatch graph to launches with tiles.

use std::collections::HashMap;

use mnx_ir::{DType, Diagnostic, Graph, OpId, Stage};

use crate::bind::bind;
use crate::gpu::GpuKernel;
use crate::host::HostKernel;
use crate::in_place::settle;
use crate::kernel::Kernel;
use crate::lowering::{Choices, Lowering, Step};
use crate::module::ModulePlan;
use crate::target::{Machine, Target};
use crate::text::{LaunchText, PlanText};
use crate::verify::verify;
use crate::vocabulary::{Gelu, Storage};
use crate::work::{Operand, Task, tasks};

/// What may be chosen of a plan beside its tiles.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlanOptions<'a> {
    /// How closely GELU is computed.
    pub gelu: Gelu,
    /// Tiles that take the place of default ones.
    pub edited: Option<&'a PlanText>,
}

/// Plans a graph of stage `dispatch` for a target.
///
/// # Errors
/// Every dispatch that no kernel does, every illegal tile, every name in the edited text that the graph lacks, an element type that the target does not store.
pub fn plan(g: &Graph, target: &'static Target, options: &PlanOptions<'_>) -> Result<ModulePlan, Vec<Diagnostic>> {
    if g.stage != Stage::Dispatch {
        return Err(vec![Diagnostic::new("plan-0200", &g.name, format!("a graph of stage dispatch is planned, this one is {}", g.stage))]);
    }
    match target.machine {
        Machine::Cpu(_) => all_float32(g, target)?,
        Machine::Nvptx(_) => {}
    }
    let boxes = read_boxes(g, options.edited)?;
    let rounded = boxes.iter().flat_map(|(_, tasks)| tasks).map(|t| t.types.stream);
    let precision = rounded.into_iter().find(|s| *s != Storage::F32).unwrap_or(Storage::F32);
    let choices = Choices { gelu: options.gelu };
    let mut errors = Vec::new();
    let mut planned = Vec::with_capacity(boxes.len());
    for (name, tasks) in boxes {
        match lower(&tasks, choices, target) {
            Ok(steps) => planned.push((name, steps)),
            Err(why) => errors.push(Diagnostic::new("plan-0201", format!("@{name}"), format!("dispatch @{name}: {why}"))),
        }
    }
    let places = settle(g, planned.iter_mut().flat_map(|(_, steps)| steps));
    for (name, steps) in &mut planned {
        tile(name, steps, target, options.edited, &mut errors);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let plan = bind(g, target, precision, planned, &places).map_err(|e| vec![e])?;
    verify(&plan)?;
    Ok(plan)
}

/// The tasks of every box, once the edited text is known to speak of this graph's boxes alone.
fn read_boxes(g: &Graph, edited: Option<&PlanText>) -> Result<Vec<(String, Vec<Task>)>, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut boxes: Vec<(String, Vec<Task>)> = Vec::new();
    for (d, _) in g.boxes() {
        match tasks(g, d) {
            Ok(tasks) => boxes.push((g.dispatch(d).name.clone(), tasks)),
            Err(e) => errors.push(e),
        }
    }
    for dispatch in edited.iter().flat_map(|e| &e.dispatches) {
        if !boxes.iter().any(|(n, _)| *n == dispatch.name) {
            errors.push(Diagnostic::new("plan-0203", &dispatch.place, format!("the graph has no dispatch @{}", dispatch.name)));
        }
    }
    if errors.is_empty() { Ok(boxes) } else { Err(errors) }
}

/// Refuses what a CPU's kernels cannot store.
fn all_float32(g: &Graph, target: &Target) -> Result<(), Vec<Diagnostic>> {
    let rounded = |&id: &OpId| matches!(g.ty(g.result(id)).dtype, DType::Bf16 | DType::F16);
    match g.order().iter().copied().find(rounded) {
        None => Ok(()),
        Some(id) => {
            let message = format!("{} stores float32 alone, {} is {}", target.name, g.result(id), g.ty(g.result(id)).dtype);
            Err(vec![Diagnostic::new("plan-0207", &g.node(id).loc, message)])
        }
    }
}

/// The launches of a box: every task goes to the target's first family that takes it.
fn lower(tasks: &[Task], choices: Choices, target: &Target) -> Result<Vec<Step<Kernel>>, String> {
    let partials = tasks.iter().flat_map(|t| &t.operands).filter_map(|(_, o)| if let Operand::Partial(n) = o { Some(n + 1) } else { None });
    let partials = partials.max().unwrap_or(0);
    match target.machine {
        Machine::Cpu(_) => taken(tasks, Lowering::new(choices, partials), target, HostKernel::take),
        Machine::Nvptx(_) => taken(tasks, Lowering::new(choices, partials), target, GpuKernel::take),
    }
}

fn taken<K: Into<Kernel>>(
    tasks: &[Task],
    mut to: Lowering<K>,
    target: &Target,
    take: impl Fn(&Task, &mut Lowering<K>) -> Result<bool, String>,
) -> Result<Vec<Step<Kernel>>, String> {
    for task in tasks {
        if !take(task, &mut to)? {
            return Err(format!("no family of kernels of {} does it", target.name));
        }
    }
    Ok(to.out.into_iter().map(|step| Step { kernel: step.kernel.into(), operands: step.operands }).collect())
}

/// Chooses tiles and tells readers of partial results how many there are.
fn tile(name: &str, steps: &mut [Step<Kernel>], target: &Target, edited: Option<&PlanText>, errors: &mut Vec<Diagnostic>) {
    // By number of the partial results: rows per sample, once their writer has a tile.
    let mut parts: HashMap<usize, usize> = HashMap::new();
    for (i, step) in steps.iter_mut().enumerate() {
        let partials: Vec<usize> =
            step.operands.iter().filter_map(|(_, o)| if let Operand::Partial(n) = o { Some(*n) } else { None }).collect();
        if let Some(count) = partials.iter().find_map(|n| parts.get(n)) {
            step.kernel.take_parts(*count);
        }
        let mut place = format!("@{name}");
        if let Err(why) = step.kernel.choose(target) {
            errors.push(Diagnostic::new("plan-0205", &place, format!("@{name}: {why}")));
            continue;
        }
        if let Some(text) = edited.and_then(|e| e.launch(name, i)) {
            place.clone_from(&text.place);
            edit(&format!("launch {i} of @{name}"), &mut step.kernel, text, errors);
        }
        if let Err(why) = step.kernel.legal(target) {
            errors.push(Diagnostic::new("plan-0205", &place, format!("@{name}: {why}")));
            continue;
        }
        if let Some(count) = step.kernel.parts() {
            // What is not known yet is what this launch writes.
            parts.extend(partials.iter().filter(|n| !parts.contains_key(n)).map(|n| (*n, count)).collect::<Vec<_>>());
        }
    }
}

/// Takes the knobs of an edited launch, whose description, if it has one, must be the launch's own.
fn edit(launch: &str, kernel: &mut Kernel, text: &LaunchText, errors: &mut Vec<Diagnostic>) {
    let strategy = kernel.strategy().name;
    if text.strategy != strategy {
        let message = format!("{launch} follows {strategy}, the plan says {}", text.strategy);
        errors.push(Diagnostic::new("plan-0204", &text.place, message));
        return;
    }
    if let Some((computes, place)) = &text.computes {
        match Kernel::read(strategy, computes) {
            Err(why) => errors.push(Diagnostic::new("plan-0204", place, format!("{launch}: {why}"))),
            Ok(mut read) => {
                // How many partial results there are follows from tiles.
                let mut own = kernel.clone();
                own.take_parts(1);
                read.take_parts(1);
                if own.description() != read.description() {
                    let diagnostic =
                        Diagnostic::new("plan-0204", place, format!("{launch} computes something else here than the network asks for"));
                    errors.push(
                        diagnostic.note(format!("the plan has {}", read.description())).note(format!("the network {}", own.description())),
                    );
                    return;
                }
            }
        }
    }
    for (knob, value) in &text.values {
        if let Err(why) = kernel.set_knob(knob, *value) {
            errors.push(Diagnostic::new("plan-0204", &text.place, format!("{launch}: {why}")));
        }
    }
}
