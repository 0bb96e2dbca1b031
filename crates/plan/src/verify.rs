//! The plan's verifier: it runs on every plan, made or read, and knows nothing of how plans are made.
//!
//! Checked: tiles are legal; every slot is bound once; every buffer is as long as its kernel wants and inside the arena; weights are not written and as long as their recipe makes
//! them; buffers of one launch share no byte unless both are read; whatever a launch reads is one whole tensor that one launch, or the caller, wrote, and nothing has overwritten since;
//! nothing is overwritten that nobody has read; so are the outputs at the end. Not checked: that kernels compute what the graph says.

use mnx_artifact::{ALIGNMENT, BufferRef, Space};
use mnx_ir::Diagnostic;

use crate::bind::fits;
use crate::module::{Launch, LaunchArg, ModulePlan};
use crate::slot::Arg;

/// Who wrote a stretch of the arena last: launches count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Nobody,
    Caller(usize),
    Launch(usize),
}

/// Verifies a plan.
///
/// # Errors
/// Everything that is wrong, by dispatch and launch.
pub fn verify(plan: &ModulePlan) -> Result<(), Vec<Diagnostic>> {
    let mut errors = Vec::new();
    for d in &plan.dispatches {
        for (i, launch) in d.launches.iter().enumerate() {
            if let Err(why) = bound(plan, launch) {
                errors.push(problem(&d.name, i, launch, &why));
            }
        }
    }
    for (what, ports) in [("input", &plan.inputs), ("output", &plan.outputs)] {
        for (i, r) in ports.iter().enumerate() {
            if let Err(why) = inside(plan, r) {
                errors.push(Diagnostic::new("plan-0208", &plan.name, format!("{what} {i}: {why}")));
            }
        }
    }
    // What follows presumes buffers where they should be.
    if errors.is_empty() {
        run_on_labels(plan, &mut errors);
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn problem(dispatch: &str, i: usize, launch: &Launch, why: &str) -> Diagnostic {
    Diagnostic::new("plan-0208", format!("@{dispatch}"), format!("launch {i} of @{dispatch}, {}: {why}", launch.kernel.strategy().name))
}

fn inside(plan: &ModulePlan, r: &BufferRef) -> Result<(), String> {
    match r.space {
        Space::Weights => return Err(format!("{r}, where the arena is meant")),
        Space::Arena => {}
    }
    if !r.offset.is_multiple_of(ALIGNMENT) {
        return Err(format!("{r}: {} is no multiple of {ALIGNMENT}", r.offset));
    }
    match r.offset.checked_add(r.bytes) {
        Some(end) if end <= plan.memory.arena_bytes => Ok(()),
        _ => Err(format!("{r} ends behind the arena of {} bytes", plan.memory.arena_bytes)),
    }
}

/// Whether a launch is legal and every argument is bound to what it wants.
fn bound(plan: &ModulePlan, launch: &Launch) -> Result<(), String> {
    launch.kernel.legal(plan.target)?;
    let args = launch.kernel.args();
    if args.len() != launch.args.len() {
        return Err(format!("{} buffers are bound, {} are wanted", launch.args.len(), args.len()));
    }
    for (i, arg) in args.iter().enumerate() {
        if args[..i].iter().any(|other| other.serves(arg.slot) || arg.over.is_some_and(|over| other.serves(over))) {
            return Err(format!("{} is bound twice", arg.slot));
        }
    }
    for (arg, place) in args.iter().zip(&launch.args) {
        match place {
            LaunchArg::Weight(_) if arg.access.writes() => return Err(format!("{} is written, and bound to a weight", arg.slot)),
            LaunchArg::Weight(recipe) => fits(recipe, arg)?,
            LaunchArg::Arena(r) if r.bytes != arg.bytes() as u64 => {
                return Err(format!("{} is bound to {} bytes, {} are wanted", arg.slot, r.bytes, arg.bytes()));
            }
            LaunchArg::Arena(r) => inside(plan, r).map_err(|why| format!("{}: {why}", arg.slot))?,
        }
    }
    let arena = in_arena(launch, &args);
    for (i, (a, r)) in arena.iter().enumerate() {
        for (b, s) in &arena[i + 1..] {
            let apart = r.offset + r.bytes <= s.offset || s.offset + s.bytes <= r.offset;
            if !apart && (a.access.writes() || b.access.writes()) {
                return Err(format!("{} and {} share bytes, and one of them is written", a.slot, b.slot));
            }
        }
    }
    Ok(())
}

fn in_arena<'a>(launch: &'a Launch, args: &'a [Arg]) -> Vec<(&'a Arg, &'a BufferRef)> {
    let arena = |(arg, place): (&'a Arg, &'a LaunchArg)| match place {
        LaunchArg::Arena(r) => Some((arg, r)),
        LaunchArg::Weight(_) => None,
    };
    args.iter().zip(&launch.args).filter_map(arena).collect()
}

/// Runs the plan on labels instead of numbers: every stretch of the arena remembers who wrote it last.
fn run_on_labels(plan: &ModulePlan, errors: &mut Vec<Diagnostic>) {
    let mut arena = Labels::of(plan);
    for (i, r) in plan.inputs.iter().enumerate() {
        arena.write(r, Writer::Caller(i));
    }
    let mut number = 0;
    for d in &plan.dispatches {
        for (i, launch) in d.launches.iter().enumerate() {
            let args = launch.kernel.args();
            let bound = in_arena(launch, &args);
            for (arg, r) in bound.iter().filter(|(a, _)| a.access.reads()) {
                if !arena.whole(r) {
                    let why = format!("{} reads what has been overwritten, or never written: {r}", arg.slot);
                    errors.push(problem(&d.name, i, launch, &why));
                }
            }
            for (_, r) in bound.iter().filter(|(a, _)| a.access.reads()) {
                arena.read(r);
            }
            for (arg, r) in bound.iter().filter(|(a, _)| a.access.writes()) {
                if arena.unread(r) {
                    let why = format!("{} overwrites what nobody has read yet: {r}", arg.slot);
                    errors.push(problem(&d.name, i, launch, &why));
                }
                arena.write(r, Writer::Launch(number));
            }
            number += 1;
        }
    }
    for (i, r) in plan.outputs.iter().enumerate() {
        if !arena.whole(r) {
            errors.push(Diagnostic::new(
                "plan-0208",
                &plan.name,
                format!("output {i} has been overwritten at the end, or never written: {r}"),
            ));
        }
    }
}

/// The arena cut at the borders of all buffers, a label to each stretch.
struct Labels {
    borders: Vec<u64>,
    writers: Vec<Writer>,
    /// Whether anybody has read what the writer wrote.
    read: Vec<bool>,
}

impl Labels {
    fn of(plan: &ModulePlan) -> Self {
        let launches = plan.dispatches.iter().flat_map(|d| &d.launches).flat_map(|l| &l.args);
        let in_launches = launches.filter_map(|a| if let LaunchArg::Arena(r) = a { Some(r) } else { None });
        let all = in_launches.chain(&plan.inputs).chain(&plan.outputs);
        let mut borders: Vec<u64> = all.flat_map(|r| [r.offset, r.offset + r.bytes]).collect();
        borders.sort_unstable();
        borders.dedup();
        let (writers, read) = (vec![Writer::Nobody; borders.len()], vec![true; borders.len()]);
        Self { borders, writers, read }
    }

    fn stretches(&self, r: &BufferRef) -> std::ops::Range<usize> {
        let at = |byte: u64| self.borders.partition_point(|b| *b < byte);
        at(r.offset)..at(r.offset + r.bytes)
    }

    fn write(&mut self, r: &BufferRef, writer: Writer) {
        let stretches = self.stretches(r);
        self.writers[stretches.clone()].fill(writer);
        self.read[stretches].fill(false);
    }

    fn read(&mut self, r: &BufferRef) {
        let stretches = self.stretches(r);
        self.read[stretches].fill(true);
    }

    /// Whether some of it has been written and not read since.
    fn unread(&self, r: &BufferRef) -> bool {
        self.read[self.stretches(r)].contains(&false)
    }

    /// Whether one writer wrote all of it, and nobody since.
    fn whole(&self, r: &BufferRef) -> bool {
        let own = &self.writers[self.stretches(r)];
        own.first().is_none_or(|first| *first != Writer::Nobody && own.iter().all(|w| w == first))
    }
}
