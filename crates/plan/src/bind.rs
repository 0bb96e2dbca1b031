//! Buffers: from launches with operands to launches with places in the arena and the weights section.

use std::collections::HashMap;

use mnx_artifact::{BufferRef, Space};
use mnx_ir::{Diagnostic, Graph, ValueId};
use mnx_weights::Recipe;

use crate::in_place::Places;
use crate::kernel::Kernel;
use crate::lowering::Step;
use crate::memory::{Interval, Placed, place};
use crate::module::{DispatchPlan, Launch, LaunchArg, MemoryPlan, ModulePlan};
use crate::slot::{Arg, Element};
use crate::target::{Machine, Target};
use crate::vocabulary::Storage;
use crate::work::Operand;

/// A buffer of the arena: a value, or what passes between launches of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Buffer {
    Value(ValueId),
    Partial(usize, usize),
    Temp(usize, usize),
}

/// The buffers of a run as they are gathered, launch by launch.
struct Buffers<'a> {
    g: &'a Graph,
    target: &'static Target,
    places: &'a Places,
    known: HashMap<Buffer, usize>,
    elements: Vec<Option<Element>>,
    intervals: Vec<Interval>,
}

/// Finds a place for every buffer.
pub(crate) fn bind(
    g: &Graph,
    target: &'static Target,
    precision: Storage,
    planned: Vec<(String, Vec<Step<Kernel>>)>,
    places: &Places,
) -> Result<ModulePlan, Diagnostic> {
    let mut buffers = Buffers { g, target, places, known: HashMap::new(), elements: Vec::new(), intervals: Vec::new() };
    let launches = planned.iter().map(|(_, s)| s.len()).sum::<usize>();
    // Ports: inputs live from the start, outputs to the end.
    for (_, v) in g.inputs() {
        buffers.add(Buffer::Value(*v), None, Interval { bytes: g.ty(*v).bytes() as u64, first: 0, last: 0 });
    }
    let mut at = 0;
    for (d, (name, steps)) in planned.iter().enumerate() {
        for step in steps {
            for arg in step.kernel.args() {
                buffers.touch(d, at, operand(name, step, &arg)?, &arg).map_err(|message| problem(name, message))?;
            }
            at += 1;
        }
    }
    for (name, v) in g.outputs() {
        match buffers.known.get(&Buffer::Value(*v)) {
            Some(&i) => buffers.intervals[i].last = launches,
            None => return Err(Diagnostic::new("plan-0206", name, format!("output {name} is written by no launch"))),
        }
    }
    let placed = place(&buffers.intervals);
    let port = |v: ValueId| {
        let found = buffers.find(&placed, Buffer::Value(v));
        found.ok_or_else(|| Diagnostic::new("plan-0206", v, "a port without a buffer"))
    };
    let inputs = g.inputs().iter().map(|(_, v)| port(*v)).collect::<Result<_, _>>()?;
    let outputs = g.outputs().iter().map(|(_, v)| port(*v)).collect::<Result<_, _>>()?;
    let mut scratch_bytes = 0;
    let mut dispatches = Vec::with_capacity(planned.len());
    for (d, (name, steps)) in planned.into_iter().enumerate() {
        let mut out = Vec::with_capacity(steps.len());
        for step in steps {
            scratch_bytes = scratch_bytes.max(step.kernel.scratch_bytes() as u64);
            let bound = |arg: &Arg| buffers.argument(&placed, d, operand(&name, &step, arg)?, arg).map_err(|m| problem(&name, m));
            let args = step.kernel.args().iter().map(bound).collect::<Result<_, _>>()?;
            let cost = step.kernel.cost();
            out.push(Launch { kernel: step.kernel, args, cost });
        }
        dispatches.push(DispatchPlan { name, launches: out });
    }
    let memory = MemoryPlan { arena_bytes: placed.bytes, scratch_bytes, live_bytes: placed.live };
    Ok(ModulePlan { name: g.name.clone(), target, precision, dispatches, memory, inputs, outputs })
}

impl Buffers<'_> {
    fn add(&mut self, buffer: Buffer, element: Option<Element>, interval: Interval) {
        self.known.insert(buffer, self.intervals.len());
        self.elements.push(element);
        self.intervals.push(interval);
    }

    /// The buffer of an operand of dispatch `d`; none for a weight.
    fn buffer(&self, d: usize, operand: &Operand) -> Option<Buffer> {
        match operand {
            Operand::Weight(_) => None,
            Operand::Value(v) => Some(Buffer::Value(self.places.of(*v))),
            Operand::Partial(i) => Some(Buffer::Partial(d, *i)),
            Operand::Temp(i) => Some(Buffer::Temp(d, *i)),
        }
    }

    /// Notes that launch `at` of dispatch `d` uses an operand as `arg`.
    fn touch(&mut self, d: usize, at: usize, operand: &Operand, arg: &Arg) -> Result<(), String> {
        let Some(buffer) = self.buffer(d, operand) else { return Ok(()) };
        let bytes = arg.bytes() as u64;
        if let Buffer::Value(v) = buffer
            && self.g.ty(v).dtype.to_string() != arg.element.name()
        {
            return Err(format!("{} is bound to {}, which is {}", self.g.ty(v), arg.slot, arg.element.name()));
        }
        if let Buffer::Value(v) = buffer
            && self.as_the_graph_says(v)
            && self.g.ty(v).bytes() as u64 != bytes
        {
            return Err(format!("{} holds {} bytes, {} wants {bytes}", self.g.ty(v), self.g.ty(v).bytes(), arg.slot));
        }
        let Some(&i) = self.known.get(&buffer) else {
            self.add(buffer, Some(arg.element), Interval { bytes, first: at, last: at });
            return Ok(());
        };
        match self.elements[i] {
            Some(e) if e != arg.element => {
                return Err(format!("a buffer of {} is bound to {}, which is {}", e.name(), arg.slot, arg.element.name()));
            }
            _ => self.elements[i] = Some(arg.element),
        }
        if self.intervals[i].bytes != bytes {
            return Err(format!("a buffer of {} bytes is bound to {}, which wants {bytes}", self.intervals[i].bytes, arg.slot));
        }
        self.intervals[i].last = at;
        Ok(())
    }

    /// Whether a value lies in memory as the graph's type says: ports do everywhere, inner tensors of a GPU have another element type and padded channels.
    fn as_the_graph_says(&self, v: ValueId) -> bool {
        match self.target.machine {
            Machine::Cpu(_) => true,
            Machine::Nvptx(_) => self.g.is_output(v) || self.g.inputs().iter().any(|(_, i)| *i == v),
        }
    }

    fn find(&self, placed: &Placed, buffer: Buffer) -> Option<BufferRef> {
        let &i = self.known.get(&buffer)?;
        Some(BufferRef { space: Space::Arena, offset: placed.offsets[i], bytes: self.intervals[i].bytes })
    }

    /// Where a launch of dispatch `d` finds an operand.
    fn argument(&self, placed: &Placed, d: usize, operand: &Operand, arg: &Arg) -> Result<LaunchArg, String> {
        if let Operand::Weight(recipe) = operand {
            fits(recipe, arg)?;
            return Ok(LaunchArg::Weight(recipe.clone()));
        }
        let found = self.buffer(d, operand).and_then(|b| self.find(placed, b));
        found.map(LaunchArg::Arena).ok_or_else(|| format!("{} has no buffer", arg.slot))
    }
}

/// Whether a recipe makes what an argument wants.
pub(crate) fn fits(recipe: &Recipe, arg: &Arg) -> Result<(), String> {
    let shape = recipe.shape().map_err(|e| format!("weight {}: {e}", arg.slot))?;
    let bytes = recipe.element_bytes() * shape.iter().product::<usize>();
    if bytes != arg.bytes() {
        return Err(format!("weight {}: {shape} is {bytes} bytes, {} are wanted", arg.slot, arg.bytes(), shape = mnx_words::list(&shape)));
    }
    Ok(())
}

fn problem(dispatch: &str, message: String) -> Diagnostic {
    Diagnostic::new("plan-0206", format!("@{dispatch}"), message)
}

fn operand<'a>(name: &str, step: &'a Step<Kernel>, arg: &Arg) -> Result<&'a Operand, Diagnostic> {
    step.operands
        .iter()
        .find(|(slot, _)| *slot == arg.slot)
        .map(|(_, o)| o)
        .ok_or_else(|| problem(name, format!("{} lacks its buffer {}", step.kernel.strategy().name, arg.slot)))
}
