//! The `.plan` text, read.

use mnx_artifact::{BufferRef, Space};
use mnx_ir::Diagnostic;
use mnx_weights::Recipe;

use super::bounds;
use super::{ArgText, DispatchText, LaunchText, Lies, PlanText};
use crate::kernel::Kernel;
use crate::module::{DispatchPlan, Launch, LaunchArg, MemoryPlan, ModulePlan};
use crate::slot::Arg;
use crate::target;
use crate::verify::verify;
use crate::vocabulary::Storage;

/// What stands open while lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Nothing,
    Plan,
    Dispatch,
    Launch,
}

pub(super) fn parse(text: &str, file: &str) -> Result<Vec<PlanText>, Vec<Diagnostic>> {
    let mut plans: Vec<PlanText> = Vec::new();
    let mut errors = Vec::new();
    let mut open = Open::Nothing;
    for (i, line) in text.lines().enumerate() {
        let place = format!("{file}:{}", i + 1);
        if let Err(message) = read_line(without_comment(line).trim(), &place, &mut open, &mut plans) {
            errors.push(Diagnostic::new("plan-0202", place, message));
        }
    }
    if open != Open::Nothing && errors.is_empty() {
        errors.push(Diagnostic::new("plan-0202", file, "the plan is not closed by }"));
    }
    if plans.is_empty() && errors.is_empty() {
        errors.push(Diagnostic::new("plan-0202", file, "no plan: expected `plan @name target(...) {`"));
    }
    if errors.is_empty() { Ok(plans) } else { Err(errors) }
}

/// A line up to its comment; two slashes within quotes open none.
fn without_comment(line: &str) -> &str {
    let bytes = line.as_bytes();
    let (mut quoted, mut i) = (false, 0);
    while i < bytes.len() {
        match bytes[i] {
            b'\\' if quoted => i += 1,
            b'"' => quoted = !quoted,
            b'/' if !quoted && bytes.get(i + 1) == Some(&b'/') => return &line[..i],
            _ => {}
        }
        i += 1;
    }
    line
}

fn read_line(line: &str, place: &str, open: &mut Open, plans: &mut Vec<PlanText>) -> Result<(), String> {
    match (*open, line) {
        (_, "") => Ok(()),
        (Open::Plan | Open::Dispatch | Open::Launch, "}") => {
            *open = match *open {
                Open::Launch => Open::Dispatch,
                Open::Dispatch => Open::Plan,
                Open::Plan | Open::Nothing => Open::Nothing,
            };
            Ok(())
        }
        (Open::Nothing, _) => {
            plans.push(header(line, place)?);
            *open = Open::Plan;
            Ok(())
        }
        (Open::Plan, _) => {
            let plan = plans.last_mut().ok_or("a line outside a plan")?;
            if plan_line(line, place, plan)? {
                *open = Open::Dispatch;
            }
            Ok(())
        }
        (Open::Dispatch, _) => {
            let (launch, opens) = launch_line(line, place)?;
            let dispatch = plans.last_mut().and_then(|p| p.dispatches.last_mut()).ok_or("a launch outside a dispatch")?;
            dispatch.launches.push(launch);
            if opens {
                *open = Open::Launch;
            }
            Ok(())
        }
        (Open::Launch, _) => {
            let dispatch = plans.last_mut().and_then(|p| p.dispatches.last_mut()).ok_or("a buffer outside a dispatch")?;
            let launch = dispatch.launches.last_mut().ok_or("a buffer outside a launch")?;
            match line.strip_prefix("computes ") {
                Some(json) if launch.computes.is_none() => launch.computes = Some((json.trim().to_string(), place.to_string())),
                Some(_) => return Err("what the launch computes is said twice".into()),
                None => launch.args.push(arg_line(line, place)?),
            }
            Ok(())
        }
    }
}

fn header(line: &str, place: &str) -> Result<PlanText, String> {
    let rest = line.strip_prefix("plan @").ok_or("expected `plan @name target(...) {`")?;
    let rest = rest.strip_suffix('{').ok_or("expected { at the end of the line")?.trim();
    let (name, rest) = rest.split_once("target(").ok_or("expected target(...)")?;
    let (target, rest) = rest.split_once(')').ok_or("expected ) after the target")?;
    let precision = match rest.trim() {
        "" => None,
        rest => {
            let word =
                rest.strip_prefix("precision(").and_then(|r| r.strip_suffix(')')).ok_or("expected precision(...) or { after the target")?;
            Some(word.trim().to_string())
        }
    };
    let (name, target) = (name.trim().to_string(), target.trim().to_string());
    Ok(PlanText { name, target, precision, place: place.to_string(), ..PlanText::default() })
}

/// Reads a line of a plan; true if it opens a dispatch.
fn plan_line(line: &str, place: &str, plan: &mut PlanText) -> Result<bool, String> {
    if let Some(port) = line.strip_prefix("input arena ") {
        plan.inputs.push(range(port)?);
        return Ok(false);
    }
    if let Some(port) = line.strip_prefix("output arena ") {
        plan.outputs.push(range(port)?);
        return Ok(false);
    }
    if let Some(memory) = line.strip_prefix("memory ") {
        let mut found = [None; 3];
        for item in memory.split(',').map(str::trim) {
            let (name, value) = item.split_once('=').ok_or_else(|| format!("expected name=bytes, got `{item}`"))?;
            let i = ["arena", "live", "scratch"].iter().position(|n| *n == name);
            found[i.ok_or_else(|| format!("expected arena, live or scratch, got `{name}`"))?] = Some(number(value)?);
        }
        let [Some(arena), Some(live), Some(scratch)] = found else { return Err("expected memory arena=.., live=.., scratch=..".into()) };
        plan.memory = Some([arena, live, scratch]);
        return Ok(false);
    }
    let name = line.strip_prefix("dispatch @").and_then(|l| l.strip_suffix('{'));
    let name = name.ok_or("expected `dispatch @name {`, `input`, `output` or `memory`")?.trim();
    if plan.dispatches.iter().any(|d| d.name == name) {
        return Err(format!("dispatch @{name} is planned twice"));
    }
    plan.dispatches.push(DispatchText { name: name.to_string(), launches: Vec::new(), place: place.to_string() });
    Ok(true)
}

/// Reads the line of a launch, and whether it opens a block of buffers.
fn launch_line(line: &str, place: &str) -> Result<(LaunchText, bool), String> {
    let rest = line.strip_prefix("launch ").ok_or("expected `launch strategy [knob=value, ...]`")?;
    let (strategy, list) = rest.split_once('[').ok_or("expected [ after the strategy")?;
    let (list, behind) = list.split_once(']').ok_or("expected ] after the knobs")?;
    let opens = match behind.trim() {
        "" => false,
        "{" => true,
        other => return Err(format!("expected {{ or the end of the line after the knobs, got `{other}`")),
    };
    let mut values = Vec::new();
    for item in list.split(',').map(str::trim).filter(|s| !s.is_empty()) {
        let (knob, value) = item.split_once('=').ok_or_else(|| format!("expected knob=value, got `{item}`"))?;
        let (knob, value) = (knob.trim(), value.trim());
        let value = value.parse::<u32>().map_err(|_| format!("knob {knob}: expected a number below 2^32, got `{value}`"))?;
        if values.iter().any(|(k, _)| k == knob) {
            return Err(format!("knob {knob} is set twice"));
        }
        values.push((knob.to_string(), value as usize));
    }
    let launch = LaunchText { strategy: strategy.trim().to_string(), values, computes: None, args: Vec::new(), place: place.to_string() };
    Ok((launch, opens))
}

fn arg_line(line: &str, place: &str) -> Result<ArgText, String> {
    let words: Vec<&str> = line.splitn(5, ' ').collect();
    let [slot, verb, element, space, rest] = words[..] else {
        return Err("expected `slot reads|writes|updates element arena offset bytes` or `.. weight {recipe}`".into());
    };
    let lies = match space {
        "arena" => {
            let (offset, bytes) = range(rest)?;
            Lies::Arena(offset, bytes)
        }
        "weight" => Lies::Weight(rest.to_string()),
        other => return Err(format!("expected arena or weight, got `{other}`")),
    };
    Ok(ArgText { what: format!("{slot} {verb} {element}"), lies, place: place.to_string() })
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (offset, bytes) = text.trim().split_once(' ').ok_or_else(|| format!("expected offset and bytes, got `{text}`"))?;
    Ok((number(offset)?, number(bytes)?))
}

fn number(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| format!("expected a number of bytes, got `{}`", text.trim()))
}

/// The plan of a text that leaves nothing out.
pub(super) fn whole(text: &PlanText) -> Result<ModulePlan, Vec<Diagnostic>> {
    let wrong = |place: &str, message: String| vec![Diagnostic::new("plan-0202", place, message)];
    let target = target::named(&text.target).ok_or_else(|| wrong(&text.place, format!("there is no target {}", text.target)))?;
    let precision = text.precision.as_deref().and_then(Storage::parse);
    let precision = precision.ok_or_else(|| wrong(&text.place, "expected precision(f32), precision(bf16) or precision(f16)".into()))?;
    let [arena_bytes, live_bytes, scratch_bytes] =
        text.memory.ok_or_else(|| wrong(&text.place, "a whole plan says `memory arena=.., live=.., scratch=..`".into()))?;
    let buffer = |&(offset, bytes): &(u64, u64)| BufferRef { space: Space::Arena, offset, bytes };
    let mut dispatches = Vec::with_capacity(text.dispatches.len());
    for d in &text.dispatches {
        let launches = d.launches.iter().map(|l| launch(l, target).map_err(|(place, message)| wrong(&place, message)));
        dispatches.push(DispatchPlan { name: d.name.clone(), launches: launches.collect::<Result<_, _>>()? });
    }
    let plan = ModulePlan {
        name: text.name.clone(),
        target,
        precision,
        dispatches,
        memory: MemoryPlan { arena_bytes, scratch_bytes, live_bytes },
        inputs: text.inputs.iter().map(buffer).collect(),
        outputs: text.outputs.iter().map(buffer).collect(),
    };
    verify(&plan)?;
    let scratch = plan.dispatches.iter().flat_map(|d| &d.launches).map(|l| l.kernel.scratch_bytes() as u64).max().unwrap_or(0);
    if scratch != scratch_bytes {
        return Err(wrong(&text.place, format!("scratch is {scratch} bytes, the plan says {scratch_bytes}")));
    }
    Ok(plan)
}

/// A launch, or what is wrong with it and where.
fn launch(text: &LaunchText, target: &target::Target) -> Result<Launch, (String, String)> {
    let wrong = |message: String| (text.place.clone(), message);
    let (computes, place) = text.computes.as_ref().ok_or_else(|| wrong("a whole plan says what a launch computes".into()))?;
    bounds::check(computes).map_err(|why| (place.clone(), why))?;
    let mut kernel = Kernel::read(&text.strategy, computes).map_err(|why| (place.clone(), why))?;
    for (knob, value) in &text.values {
        kernel.set_knob(knob, *value).map_err(wrong)?;
    }
    // Sizes follow from legal tiles alone.
    kernel.legal(target).map_err(wrong)?;
    let args = kernel.args();
    if args.len() != text.args.len() {
        return Err(wrong(format!("{} buffers are said, {} are wanted", text.args.len(), args.len())));
    }
    let args = args.iter().zip(&text.args).map(|(arg, said)| bound(arg, said)).collect::<Result<_, _>>()?;
    let cost = kernel.cost();
    Ok(Launch { kernel, args, cost })
}

fn bound(arg: &Arg, said: &ArgText) -> Result<LaunchArg, (String, String)> {
    let wrong = |message: String| (said.place.clone(), message);
    let want = format!("{} {} {}", arg.slot, arg.access.verb(), arg.element.name());
    if said.what != want {
        return Err(wrong(format!("expected `{want}`, got `{}`", said.what)));
    }
    Ok(match &said.lies {
        Lies::Arena(offset, bytes) => LaunchArg::Arena(BufferRef { space: Space::Arena, offset: *offset, bytes: *bytes }),
        Lies::Weight(json) => {
            let recipe: Recipe = serde_json::from_str(json).map_err(|e| wrong(format!("the recipe: {e}")))?;
            LaunchArg::Weight(recipe)
        }
    })
}
