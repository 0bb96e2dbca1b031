//! From a dispatch graph to launches with tiles.

use std::collections::{HashMap, HashSet};

use mnx_artifact::{BufferRef, Cost};
use mnx_ir::{Diagnostic, Graph, Stage, ValueId};
use mnx_weights::Recipe;

use crate::bind::bind;
use crate::gpu::GpuKernel;
use crate::host::HostKernel;
use crate::in_place::settle;
use crate::kernel::Kernel;
use crate::lowering::{Choices, Lowering, Step};
use crate::slot::Slot;
use crate::target::{Machine, Target};
use crate::text::{LaunchText, PlanText};
use crate::verify::verify;
use crate::vocabulary::{Gelu, Storage};
use crate::work::{Operand, Task, Work, tasks};

/// Where a launch finds one of its buffers.
#[derive(Debug, Clone, PartialEq)]
pub enum LaunchArg {
    /// In the arena.
    Arena(BufferRef),
    /// In the weights section, made by this recipe.
    Weight(Recipe),
}

/// One launch.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// What runs.
    pub kernel: Kernel,
    /// Its buffers, in the order of [`Kernel::args`].
    pub args: Vec<LaunchArg>,
    /// Predicted cost.
    pub cost: Cost,
}

/// The launches of one dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchPlan {
    /// The dispatch's name in the graph.
    pub name: String,
    /// Its launches, in order.
    pub launches: Vec<Launch>,
}

/// How much memory a run takes beside the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Bytes of scratch per thread.
    pub scratch_bytes: u64,
    /// Most bytes that live buffers hold at any one launch: the arena can be no smaller.
    pub live_bytes: u64,
}

/// A network's plan for one target.
#[derive(Debug, Clone, PartialEq)]
pub struct ModulePlan {
    /// The graph's name.
    pub name: String,
    /// The target.
    pub target: &'static Target,
    /// Element type of stored activations and GEMM weights.
    pub precision: Storage,
    /// Dispatches, in order.
    pub dispatches: Vec<DispatchPlan>,
    /// Memory.
    pub memory: MemoryPlan,
    /// Where inputs are read from.
    pub inputs: Vec<BufferRef>,
    /// Where outputs stand at the end.
    pub outputs: Vec<BufferRef>,
}

/// What may be chosen of a plan beside its tiles.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlanOptions<'a> {
    /// Element type of stored activations and GEMM weights; without one the target's own ([`Target::storage`]). CPUs know float32 alone.
    pub precision: Option<Storage>,
    /// How closely GELU is computed.
    pub gelu: Gelu,
    /// Tiles that take the place of default ones.
    pub edited: Option<&'a PlanText>,
}

/// Plans a graph of stage `dispatch` for a target.
///
/// # Errors
/// Every dispatch that no kernel does, every illegal tile, every name in the edited text that the graph lacks, a storage type that the target does not have.
pub fn plan(g: &Graph, target: &'static Target, options: &PlanOptions<'_>) -> Result<ModulePlan, Vec<Diagnostic>> {
    let precision = options.precision.unwrap_or_else(|| target.storage());
    match target.machine {
        Machine::Cpu(_) if precision != Storage::F32 => {
            let message = format!("{} stores float32 alone, {} was asked for", target.name, precision.as_str());
            return Err(vec![Diagnostic::new("plan-0207", &g.name, message)]);
        }
        Machine::Cpu(_) | Machine::Nvptx(_) => {}
    }
    if g.stage != Stage::Dispatch {
        return Err(vec![Diagnostic::new("plan-0200", &g.name, format!("a graph of stage dispatch is planned, this one is {}", g.stage))]);
    }
    let boxes = read_boxes(g, options.edited)?;
    let within = within_blocks(g, boxes.iter().flat_map(|(_, tasks)| tasks));
    let choices = Choices { storage: precision, gelu: options.gelu, within: &within };
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
    for (d, ops) in g.boxes() {
        let name = &g.dispatch(d).name;
        match tasks(g, name, &ops) {
            Ok(tasks) => boxes.push((name.clone(), tasks)),
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

/// Results of convolutions that are read where they are normalised, and nowhere else.
fn within_blocks<'a>(g: &Graph, tasks: impl Iterator<Item = &'a Task> + Clone) -> HashSet<ValueId> {
    let touches = |of: ValueId| {
        let in_task = move |t: &'a Task| t.operands.iter().filter(move |(_, o)| *o == Operand::Value(of)).map(move |(slot, _)| (&t.work, *slot));
        tasks.clone().flat_map(in_task)
    };
    let read = |work: &Work, slot: Slot| matches!(work, Work::Mlp(k) if slot == Slot::X && k.norm);
    let written = |work: &Work, slot: Slot| matches!(work, Work::Conv(_)) && slot == Slot::Y;
    let results = tasks.clone().filter(|t| matches!(t.work, Work::Conv(_))).flat_map(|t| &t.operands);
    results
        .filter_map(|(slot, o)| match o {
            Operand::Value(v) if *slot == Slot::Y && !g.is_output(*v) => Some(*v),
            Operand::Value(_) | Operand::Partial(_) | Operand::Temp(_) | Operand::Weight(_) => None,
        })
        .filter(|v| touches(*v).all(|(work, slot)| read(work, slot) || written(work, slot)))
        .collect()
}

/// The launches of a box: every task goes to the target's first family that takes it.
fn lower(tasks: &[Task], choices: Choices<'_>, target: &Target) -> Result<Vec<Step>, String> {
    let partials = tasks.iter().flat_map(|t| &t.operands).filter_map(|(_, o)| if let Operand::Partial(n) = o { Some(n + 1) } else { None });
    let mut to = Lowering::new(choices, partials.max().unwrap_or(0));
    for task in tasks {
        let taken = match target.machine {
            Machine::Cpu(_) => HostKernel::take(task, &mut to)?,
            Machine::Nvptx(_) => GpuKernel::take(task, &mut to)?,
        };
        if !taken {
            return Err(format!("no family of kernels of {} does it", target.name));
        }
    }
    Ok(to.out)
}

/// Chooses tiles and tells readers of partial results how many there are.
fn tile(name: &str, steps: &mut [Step], target: &Target, edited: Option<&PlanText>, errors: &mut Vec<Diagnostic>) {
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
                    let diagnostic = Diagnostic::new("plan-0204", place, format!("{launch} computes something else here than the network asks for"));
                    errors.push(diagnostic.note(format!("the plan has {}", read.description())).note(format!("the network {}", own.description())));
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
