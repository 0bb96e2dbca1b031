//! The `.plan` text: every dispatch's launches with their knobs, editable, and as comments what follows from them.

use std::fmt;

use mnx_ir::Diagnostic;

use crate::kernel::{Gelu, Kernel};
use crate::knobs::knobs;
use crate::plan::{LaunchArg, ModulePlan};

impl fmt::Display for ModulePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan @{} target({}) {{", self.name, self.target.name)?;
        for d in &self.dispatches {
            writeln!(f, "  dispatch @{} {{", d.name)?;
            for l in &d.launches {
                write!(f, "    launch {} [", l.kernel.strategy())?;
                for (i, (name, value)) in knobs(&l.kernel).iter().enumerate() {
                    write!(f, "{}{name}={value}", if i == 0 { "" } else { ", " })?;
                }
                let gelu = match &l.kernel {
                    Kernel::Mlp(k) if k.gelu == Gelu::Fast => ", gelu fast",
                    _ => "",
                };
                writeln!(
                    f,
                    "] // {} workgroups, scratch {} B, {} flop, {} B{gelu}",
                    l.kernel.workgroups(),
                    l.kernel.scratch_bytes(),
                    l.cost.flops,
                    l.cost.bytes
                )?;
                for (arg, place) in l.kernel.args().iter().zip(&l.args) {
                    if let LaunchArg::Arena(r) = place {
                        let verb = match (arg.read, arg.written) {
                            (true, true) => "updates",
                            (_, true) => "writes",
                            _ => "reads",
                        };
                        writeln!(f, "      // {verb} {} at {}, {} B", arg.name, r.offset, r.bytes)?;
                    }
                }
            }
            writeln!(f, "  }}")?;
        }
        writeln!(
            f,
            "  // arena {} B (live {} B), scratch {} B per thread",
            self.memory.arena_bytes, self.memory.live_bytes, self.memory.scratch_bytes
        )?;
        writeln!(f, "}}")
    }
}

/// The knobs of one launch in a plan text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchText {
    /// Strategy.
    pub strategy: String,
    /// Knobs and values.
    pub values: Vec<(String, usize)>,
    /// `file:line`.
    pub place: String,
}

/// An edited plan: overrides for some dispatches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanText {
    /// The target it was written for.
    pub target: String,
    dispatches: Vec<(String, String, Vec<LaunchText>)>,
}

impl PlanText {
    /// Names of the dispatches with the place of each.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.dispatches.iter().map(|(n, p, _)| (n.as_str(), p.as_str()))
    }

    /// The knobs of launch `i` of a dispatch.
    pub fn launch(&self, dispatch: &str, i: usize) -> Option<&LaunchText> {
        self.dispatches.iter().find(|(n, _, _)| n == dispatch).and_then(|(_, _, l)| l.get(i))
    }

    /// Reads a plan text, or several one after another (one per target).
    ///
    /// # Errors
    /// Every line that is not a plan's.
    pub fn parse(text: &str, file: &str) -> Result<Vec<Self>, Vec<Diagnostic>> {
        let mut plans: Vec<Self> = Vec::new();
        let mut errors = Vec::new();
        let mut depth = 0;
        for (i, line) in text.lines().enumerate() {
            let line = line.split("//").next().unwrap_or("").trim();
            let place = format!("{file}:{}", i + 1);
            if let Err(message) = read_line(line, &place, &mut depth, &mut plans) {
                errors.push(Diagnostic::new("plan-0202", place, message));
            }
        }
        if depth != 0 && errors.is_empty() {
            errors.push(Diagnostic::new("plan-0202", file, "the plan is not closed by }"));
        }
        if plans.is_empty() && errors.is_empty() {
            errors.push(Diagnostic::new("plan-0202", file, "no plan: expected `plan @name target(...) {`"));
        }
        if errors.is_empty() { Ok(plans) } else { Err(errors) }
    }
}

fn read_line(line: &str, place: &str, depth: &mut usize, plans: &mut Vec<PlanText>) -> Result<(), String> {
    match (*depth, line) {
        (_, "") => Ok(()),
        (1 | 2, "}") => {
            *depth -= 1;
            Ok(())
        }
        (0, _) => {
            let rest = line.strip_prefix("plan @").ok_or("expected `plan @name target(...) {`")?;
            let rest = rest.strip_suffix('{').ok_or("expected { at the end of the line")?;
            let (_, target) = rest.split_once("target(").ok_or("expected target(...)")?;
            let target = target.trim().strip_suffix(')').ok_or("expected ) after the target")?;
            plans.push(PlanText { target: target.to_string(), dispatches: Vec::new() });
            *depth = 1;
            Ok(())
        }
        (1, _) => {
            let name = line.strip_prefix("dispatch @").and_then(|l| l.strip_suffix('{')).ok_or("expected `dispatch @name {`")?.trim();
            let plan = plans.last_mut().ok_or("a dispatch outside a plan")?;
            if plan.dispatches.iter().any(|(n, _, _)| n == name) {
                return Err(format!("dispatch @{name} is planned twice"));
            }
            plan.dispatches.push((name.to_string(), place.to_string(), Vec::new()));
            *depth = 2;
            Ok(())
        }
        _ => {
            let rest = line.strip_prefix("launch ").ok_or("expected `launch strategy [knob=value, ...]`")?;
            let (strategy, list) = rest.split_once('[').ok_or("expected [ after the strategy")?;
            let list = list.trim().strip_suffix(']').ok_or("expected ] at the end of the line")?;
            let mut values = Vec::new();
            for item in list.split(',').map(str::trim).filter(|s| !s.is_empty()) {
                let (knob, value) = item.split_once('=').ok_or_else(|| format!("expected knob=value, got `{item}`"))?;
                let value = value
                    .trim()
                    .parse::<u32>()
                    .map_err(|_| format!("knob {}: expected a number below 2^32, got `{}`", knob.trim(), value.trim()))?;
                values.push((knob.trim().to_string(), value as usize));
            }
            let launch = LaunchText { strategy: strategy.trim().to_string(), values, place: place.to_string() };
            let last = plans.last_mut().and_then(|p| p.dispatches.last_mut()).ok_or("a launch outside a dispatch")?;
            last.2.push(launch);
            Ok(())
        }
    }
}
