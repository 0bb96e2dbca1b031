//! From a dispatch graph to launches with tiles, buffers and offsets.

use std::collections::HashSet;

use mnx_artifact::{BufferRef, Cost, Space};
use mnx_ir::{Diagnostic, Graph, Stage, ValueId};
use mnx_weights::Recipe;

use crate::args::{Arg, Element};
use crate::cost::cost;
use crate::gpu::{GpuKernel, Storage};
use crate::in_place::{Places, settle};
use crate::kernel::{Gelu, Kernel, MlpSource};
use crate::knobs::{check, choose, set_knob};
use crate::memory::{Interval, place};
use crate::strategy::{Operand, Step, steps};
use crate::target::Target;
use crate::text::PlanText;

/// Where a launch finds one of its buffers.
#[derive(Debug, Clone, PartialEq)]
pub enum LaunchArg {
    /// In the arena.
    Arena(BufferRef),
    /// In the weights section, made by this recipe.
    Weight(Recipe),
}

/// One launch.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What runs.
    pub kernel: Kernel,
    /// Its buffers, in the order of [`Kernel::args`].
    pub args: Vec<LaunchArg>,
    /// Predicted cost.
    pub cost: Cost,
}

/// The launches of one dispatch.
#[derive(Debug, Clone)]
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
#[derive(Debug, Clone)]
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

impl ModulePlan {
    /// Has every GELU computed as `gelu` says; tiles and memory stay as they are.
    pub fn set_gelu(&mut self, gelu: Gelu) {
        for launch in self.dispatches.iter_mut().flat_map(|d| &mut d.launches) {
            match &mut launch.kernel {
                Kernel::Mlp(k) => k.gelu = gelu,
                Kernel::Gpu(GpuKernel::Mlp(k)) => k.gelu = gelu,
                Kernel::Gpu(GpuKernel::Gemm(k)) => k.gelu = k.gelu.map(|_| gelu),
                _ => {}
            }
        }
    }
}

/// Plans a graph of stage `dispatch` for a target; `edited` overrides the default tiles.
///
/// # Errors
/// Every dispatch that no strategy fits, every illegal tile, every name in `edited` that the graph lacks.
pub fn plan(g: &Graph, target: &'static Target, edited: Option<&PlanText>) -> Result<ModulePlan, Vec<Diagnostic>> {
    plan_as(g, target, if target.gpu.is_some() { Storage::Bf16 } else { Storage::F32 }, edited)
}

/// As [`plan`], with a say in the storage type; CPUs know float32 alone.
///
/// # Errors
/// As [`plan`], and a storage type that the target does not have.
pub fn plan_as(g: &Graph, target: &'static Target, precision: Storage, edited: Option<&PlanText>) -> Result<ModulePlan, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    if target.gpu.is_none() && precision != Storage::F32 {
        let message = format!("{} stores float32 alone, {} was asked for", target.name, precision.as_str());
        return Err(vec![Diagnostic::new("plan-0207", &g.name, message)]);
    }
    if g.stage != Stage::Dispatch {
        return Err(vec![Diagnostic::new("plan-0200", &g.name, format!("a graph of stage dispatch is planned, this one is {}", g.stage))]);
    }
    let mut planned: Vec<(String, Vec<Step>)> = Vec::new();
    for (d, ops) in g.boxes() {
        let name = &g.dispatch(d).name;
        match steps(g, name, &ops) {
            Ok(steps) => planned.push((name.clone(), steps)),
            Err(e) => errors.push(e),
        }
    }
    if let Some(edited) = edited {
        for (name, place) in edited.names() {
            if !planned.iter().any(|(n, _)| n == name) {
                errors.push(Diagnostic::new("plan-0203", place, format!("the graph has no dispatch @{name}")));
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let within = within_blocks(g, planned.iter().flat_map(|(_, steps)| steps));
    let places = settle(g, planned.iter_mut().flat_map(|(_, steps)| steps));
    if target.gpu.is_some() {
        for (name, steps) in &mut planned {
            if let Err(why) = lower_all(steps, precision, &within) {
                errors.push(Diagnostic::new("plan-0201", format!("@{name}"), format!("dispatch @{name}: {why}")));
            }
        }
    }
    for (name, steps) in &mut planned {
        tile(name, steps, target, edited, &mut errors);
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    bind(g, target, precision, planned, &places).map_err(|e| vec![e])
}

/// Results of convolutions that are read where they are normalised, and nowhere else.
fn within_blocks<'a>(g: &Graph, steps: impl Iterator<Item = &'a Step> + Clone) -> HashSet<ValueId> {
    let uses = |of: ValueId| {
        let in_step = move |step: &'a Step| {
            step.operands.iter().filter(move |(_, o)| *o == Operand::Value(of)).map(move |(name, _)| (&step.kernel, *name))
        };
        steps.clone().flat_map(in_step)
    };
    let read =
        |kernel: &Kernel, name: &str| matches!(kernel, Kernel::Mlp(k) if name == "x" && k.source == MlpSource::Tensor { norm: true });
    let written = |kernel: &Kernel, name: &str| matches!(kernel, Kernel::Depthwise(_)) && name == "y";
    let results = steps.clone().filter(|s| matches!(s.kernel, Kernel::Depthwise(_))).flat_map(|s| &s.operands);
    results
        .filter_map(|(name, o)| match o {
            Operand::Value(v) if *name == "y" && !g.is_output(*v) => Some(*v),
            _ => None,
        })
        .filter(|v| uses(*v).all(|(kernel, name)| read(kernel, name) || written(kernel, name)))
        .collect()
}

/// Replaces the steps of a box by a GPU's.
fn lower_all(steps: &mut Vec<Step>, precision: Storage, within: &HashSet<ValueId>) -> Result<(), String> {
    let mut out = Vec::new();
    for (i, step) in std::mem::take(steps).into_iter().enumerate() {
        let mut lowered = crate::gpu::lower(step, precision, within)?;
        // Temporaries are numbered within a step; here they become the box's.
        for (_, operand) in lowered.iter_mut().flat_map(|s| &mut s.operands) {
            if let Operand::Temp(n) = operand {
                *n += i * TEMPS;
            }
        }
        out.extend(lowered);
    }
    *steps = out;
    Ok(())
}

/// More than any step has temporaries.
const TEMPS: usize = 1000;

/// Parts that one workgroup of a GPU can sum without being the slowest of its launch.
const SUMMED_PARTS: usize = 256;

/// Chooses tiles and hands the number of partials from producer to merger.
fn tile(name: &str, steps: &mut [Step], target: &Target, edited: Option<&PlanText>, errors: &mut Vec<Diagnostic>) {
    let mut parts = 0;
    for (i, step) in steps.iter_mut().enumerate() {
        choose(&mut step.kernel, target);
        let mut place = format!("@{name}");
        if let Some(knobs) = edited.and_then(|e| e.launch(name, i)) {
            place.clone_from(&knobs.place);
            if knobs.strategy != step.kernel.strategy() {
                let message = format!("launch {i} of @{name} follows {}, the plan says {}", step.kernel.strategy(), knobs.strategy);
                errors.push(Diagnostic::new("plan-0204", &place, message));
            }
            for (knob, value) in &knobs.values {
                if let Err(why) = set_knob(&mut step.kernel, knob, *value) {
                    errors.push(Diagnostic::new("plan-0204", &place, format!("@{name}: {why}")));
                }
            }
        }
        match &mut step.kernel {
            Kernel::Depthwise(k) => parts = k.parts(),
            Kernel::Mlp(k) => parts = k.parts(),
            Kernel::MergeStats(k) => k.parts = parts,
            Kernel::MergeGrn(k) => k.parts = parts,
            Kernel::Pointwise(_) | Kernel::Classify(_) => {}
            Kernel::Gpu(k) => match k {
                GpuKernel::Depthwise(k) => parts = k.parts(),
                GpuKernel::Gemm(k) => parts = k.parts(),
                GpuKernel::MergeStats(k) => k.parts = parts,
                GpuKernel::SumParts(k) => {
                    k.parts = parts;
                    k.group = parts.div_ceil(SUMMED_PARTS).max(1);
                    parts = parts.div_ceil(k.group);
                }
                GpuKernel::MergeGrn(k) => k.parts = parts,
                GpuKernel::Fold(_) | GpuKernel::LayerNorm(_) | GpuKernel::Mlp(_) | GpuKernel::Pointwise(_) | GpuKernel::Classify(_) => {}
            },
        }
        if let Err(why) = check(&step.kernel, target) {
            errors.push(Diagnostic::new("plan-0205", &place, format!("@{name}: {why}")));
        }
    }
}

/// A buffer of the arena: a value, or the partials of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Buffer {
    Value(ValueId),
    Partials(usize),
    Temp(usize, usize),
}

fn bind(
    g: &Graph,
    target: &'static Target,
    precision: Storage,
    planned: Vec<(String, Vec<Step>)>,
    places: &Places,
) -> Result<ModulePlan, Diagnostic> {
    let mut buffers: Vec<(Buffer, Interval)> = Vec::new();
    let mut elements: Vec<(Buffer, Element)> = Vec::new();
    let launches = planned.iter().map(|(_, s)| s.len()).sum::<usize>();
    // Ports: inputs live from the start, outputs to the end.
    for (_, v) in g.inputs() {
        buffers.push((Buffer::Value(*v), Interval { bytes: g.ty(*v).bytes() as u64, first: 0, last: 0 }));
    }
    let mut at = 0;
    for (d, (name, steps)) in planned.iter().enumerate() {
        for step in steps {
            let args = step.kernel.args();
            for arg in &args {
                let operand = operand(name, step, arg)?;
                let buffer = match operand {
                    Operand::Weight(_) => continue,
                    Operand::Value(v) => Buffer::Value(places.of(*v)),
                    Operand::Partials => Buffer::Partials(d),
                    Operand::Temp(i) => Buffer::Temp(d, *i),
                };
                // A GPU's inner tensors have another element type and padded channels; ports are as the graph says everywhere.
                if let Buffer::Value(v) = buffer
                    && (target.gpu.is_none() || g.is_output(v) || g.inputs().iter().any(|(_, i)| *i == v))
                    && g.ty(v).bytes() != arg.bytes()
                {
                    let message = format!("{} holds {} bytes, {} wants {}", g.ty(v), g.ty(v).bytes(), arg.name, arg.bytes());
                    return Err(Diagnostic::new("plan-0206", format!("@{name}"), message));
                }
                match elements.iter().find(|(b, _)| *b == buffer) {
                    Some((_, e)) if *e != arg.element => {
                        let message = format!("a buffer of {} is bound to {}, which is {}", e.name(), arg.name, arg.element.name());
                        return Err(Diagnostic::new("plan-0206", format!("@{name}"), message));
                    }
                    Some(_) => {}
                    None => elements.push((buffer, arg.element)),
                }
                match buffers.iter_mut().find(|(b, _)| *b == buffer) {
                    Some((_, i)) if i.bytes != arg.bytes() as u64 => {
                        let message = format!("a buffer of {} bytes is bound to {}, which wants {}", i.bytes, arg.name, arg.bytes());
                        return Err(Diagnostic::new("plan-0206", format!("@{name}"), message));
                    }
                    Some((_, i)) => i.last = at,
                    None => buffers.push((buffer, Interval { bytes: arg.bytes() as u64, first: at, last: at })),
                }
            }
            at += 1;
        }
    }
    for (name, v) in g.outputs() {
        match buffers.iter_mut().find(|(b, _)| *b == Buffer::Value(*v)) {
            Some((_, i)) => i.last = launches,
            None => return Err(Diagnostic::new("plan-0206", name, format!("output {name} is written by no launch"))),
        }
    }
    let intervals: Vec<Interval> = buffers.iter().map(|(_, i)| *i).collect();
    let placed = place(&intervals);
    let find = |buffer: Buffer| {
        buffers.iter().position(|(b, _)| *b == buffer).map(|i| BufferRef {
            space: Space::Arena,
            offset: placed.offsets[i],
            bytes: intervals[i].bytes,
        })
    };
    let port = |v: ValueId| find(Buffer::Value(v)).ok_or_else(|| Diagnostic::new("plan-0206", v, "a port without a buffer"));
    let inputs = g.inputs().iter().map(|(_, v)| port(*v)).collect::<Result<_, _>>()?;
    let outputs = g.outputs().iter().map(|(_, v)| port(*v)).collect::<Result<_, _>>()?;
    let mut scratch_bytes = 0;
    let mut dispatches = Vec::with_capacity(planned.len());
    for (d, (name, steps)) in planned.into_iter().enumerate() {
        let mut out = Vec::with_capacity(steps.len());
        for step in steps {
            scratch_bytes = scratch_bytes.max(step.kernel.scratch_bytes() as u64);
            let mut args = Vec::new();
            for arg in step.kernel.args() {
                let missing = || Diagnostic::new("plan-0206", format!("@{name}"), format!("{} has no buffer", arg.name));
                args.push(match operand(&name, &step, &arg)? {
                    Operand::Weight(r) => {
                        let wrong = |what: String| Diagnostic::new("plan-0206", format!("@{name}"), format!("weight {}: {what}", arg.name));
                        let shape = r.shape().map_err(|e| wrong(e.to_string()))?;
                        let bytes = r.element_bytes() * shape.iter().product::<usize>();
                        if bytes != arg.bytes() {
                            return Err(wrong(format!(
                                "{shape} is {bytes} bytes, {} wants {}",
                                step.kernel.strategy(),
                                arg.bytes(),
                                shape = mnx_words::list(&shape)
                            )));
                        }
                        LaunchArg::Weight(r.clone())
                    }
                    Operand::Value(v) => LaunchArg::Arena(find(Buffer::Value(places.of(*v))).ok_or_else(missing)?),
                    Operand::Partials => LaunchArg::Arena(find(Buffer::Partials(d)).ok_or_else(missing)?),
                    Operand::Temp(i) => LaunchArg::Arena(find(Buffer::Temp(d, *i)).ok_or_else(missing)?),
                });
            }
            let cost = cost(&step.kernel);
            out.push(Launch { kernel: step.kernel, args, cost });
        }
        dispatches.push(DispatchPlan { name, launches: out });
    }
    let memory = MemoryPlan { arena_bytes: placed.bytes, scratch_bytes, live_bytes: placed.live };
    Ok(ModulePlan { name: g.name.clone(), target, precision, dispatches, memory, inputs, outputs })
}

fn operand<'a>(name: &str, step: &'a Step, arg: &Arg) -> Result<&'a Operand, Diagnostic> {
    step.operands.iter().find(|(n, _)| *n == arg.name).map(|(_, o)| o).ok_or_else(|| {
        Diagnostic::new("plan-0206", format!("@{name}"), format!("{} lacks its buffer {}", step.kernel.strategy(), arg.name))
    })
}
