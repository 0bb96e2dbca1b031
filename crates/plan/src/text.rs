//! The `.plan` text, written: every dispatch's launches with their knobs, what each computes and where its buffers lie.
//!
//! [`ModulePlan::read`] reads it back to the same plan. As an edit of another plan ([`PlanOptions::edited`](crate::PlanOptions)) knobs alone count, and a text may leave out all but those.

use std::fmt;

use mnx_ir::Diagnostic;

use crate::module::{Launch, LaunchArg, ModulePlan};

mod bounds;
mod read;

impl fmt::Display for ModulePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan @{} target({}) precision({}) {{", self.name, self.target.name, self.precision.as_str())?;
        for d in &self.dispatches {
            writeln!(f, "  dispatch @{} {{", d.name)?;
            d.launches.iter().try_for_each(|l| launch(f, l))?;
            writeln!(f, "  }}")?;
        }
        for r in &self.inputs {
            writeln!(f, "  input arena {} {}", r.offset, r.bytes)?;
        }
        for r in &self.outputs {
            writeln!(f, "  output arena {} {}", r.offset, r.bytes)?;
        }
        let m = &self.memory;
        writeln!(f, "  memory arena={}, live={}, scratch={} // bytes; scratch per thread", m.arena_bytes, m.live_bytes, m.scratch_bytes)?;
        writeln!(f, "}}")
    }
}

fn launch(f: &mut fmt::Formatter<'_>, l: &Launch) -> fmt::Result {
    let knobs: Vec<String> = l.kernel.knobs().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let (k, c) = (&l.kernel, &l.cost);
    write!(f, "    launch {} [{}] {{", k.strategy().name, mnx_words::commas(&knobs))?;
    let workgroups = mnx_words::many(k.workgroups(), "workgroup");
    writeln!(f, " // {workgroups}, scratch {} B, {} flop, {} B", k.scratch_bytes(), c.flops, c.bytes)?;
    writeln!(f, "      computes {}", k.description())?;
    for (arg, place) in k.args().iter().zip(&l.args) {
        write!(f, "      {} {} {} ", arg.slot, arg.access.verb(), arg.element.name())?;
        match place {
            LaunchArg::Arena(r) => writeln!(f, "arena {} {}", r.offset, r.bytes)?,
            LaunchArg::Weight(recipe) => writeln!(f, "weight {}", serde_json::to_string(recipe).map_err(|_| fmt::Error)?)?,
        }
    }
    writeln!(f, "    }}")
}

/// One launch of a plan text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchText {
    /// Strategy.
    pub strategy: String,
    /// Knobs and values.
    pub values: Vec<(String, usize)>,
    /// What it computes, as JSON, if it is said, with its `file:line`.
    pub computes: Option<(String, String)>,
    /// Buffers, if they are said.
    pub args: Vec<ArgText>,
    /// `file:line`.
    pub place: String,
}

/// One buffer of a launch in a plan text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgText {
    /// Slot, verb and element type: `x reads f32`.
    pub what: String,
    /// Where it lies.
    pub lies: Lies,
    /// `file:line`.
    pub place: String,
}

/// Where a buffer lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lies {
    /// Offset and length in the arena.
    Arena(u64, u64),
    /// A recipe as JSON.
    Weight(String),
}

/// One dispatch of a plan text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchText {
    /// Name.
    pub name: String,
    /// Launches, in order.
    pub launches: Vec<LaunchText>,
    /// `file:line`.
    pub place: String,
}

/// A plan text: a whole plan, or an edit of some tiles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanText {
    /// The graph's name.
    pub name: String,
    /// The target it was written for.
    pub target: String,
    /// The storage type, if it is said.
    pub precision: Option<String>,
    /// Dispatches, in order.
    pub dispatches: Vec<DispatchText>,
    /// Offset and length of every input.
    pub inputs: Vec<(u64, u64)>,
    /// Offset and length of every output.
    pub outputs: Vec<(u64, u64)>,
    /// Bytes of the arena, live at most, and of scratch, if they are said.
    pub memory: Option<[u64; 3]>,
    /// `file:line`.
    pub place: String,
}

impl PlanText {
    /// Launch `i` of a dispatch.
    pub fn launch(&self, dispatch: &str, i: usize) -> Option<&LaunchText> {
        self.dispatches.iter().find(|d| d.name == dispatch).and_then(|d| d.launches.get(i))
    }

    /// Reads a plan text, or several one after another (one per target).
    ///
    /// # Errors
    /// Every line that is not a plan's.
    pub fn parse(text: &str, file: &str) -> Result<Vec<Self>, Vec<Diagnostic>> {
        read::parse(text, file)
    }
}

impl ModulePlan {
    /// The plans of a text that leaves nothing out, each the one that was written.
    ///
    /// # Errors
    /// Every line that is not a plan's, whatever is left out, and all that the verifier finds.
    pub fn read(text: &str, file: &str) -> Result<Vec<Self>, Vec<Diagnostic>> {
        PlanText::parse(text, file)?.iter().map(read::whole).collect()
    }
}
