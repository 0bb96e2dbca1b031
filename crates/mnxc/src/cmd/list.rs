//! `mnxc list`: the tables of the compiler.

use clap::ValueEnum;
use mnx_ir::Part;
use mnx_ir::ops::{Differentiable, OPS};
use mnx_ir::pattern::{PATTERNS, PatternInfo};
use mnx_passes::PASSES;
use mnx_passes::pipelines::NAMES;
use mnx_passes::registry::WEIGHT_PASSES;
use mnx_plan::strategy::STRATEGIES;
use mnx_plan::target::{GPU_TARGETS, TARGETS};
use serde_json::{Value, json};

use crate::report::{Outcome, emit};

/// Print a table: ops, passes, patterns, strategies or targets
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc list passes
  mnxc list ops --json")]
pub struct Args {
    /// The table
    table: Table,
    /// As JSON, with every column
    #[arg(long)]
    json: bool,
}

/// A closed set of the compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Table {
    /// Ops of the graph
    Ops,
    /// Passes and named pipelines
    Passes,
    /// What dispatches are for, with the parts of each
    Patterns,
    /// How dispatches become kernels, with their knobs
    Strategies,
    /// What code can be made for
    Targets,
}

/// Prints the table.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(args: &Args) -> Outcome {
    let rows = match args.table {
        Table::Ops => ops(),
        Table::Passes => passes(),
        Table::Patterns => patterns(),
        Table::Strategies => strategies(),
        Table::Targets => targets(),
    };
    if args.json {
        let values: Vec<Value> = rows.into_iter().map(|r| r.json).collect();
        return emit(&format!("{:#}\n", Value::Array(values)));
    }
    let width = rows.iter().map(|r| r.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        text.push_str(&format!("{:width$}  {}\n", row.name, row.about));
        for line in row.details {
            text.push_str(&format!("{:width$}    {line}\n", ""));
        }
    }
    emit(&text)
}

struct Row {
    name: String,
    about: String,
    details: Vec<String>,
    json: Value,
}

fn ops() -> Vec<Row> {
    let row = |o: &mnx_ir::OpInfo| {
        let stages: Vec<String> = o.stages.iter().map(ToString::to_string).collect();
        let why_not = match o.differentiable {
            Differentiable::Yes => None,
            Differentiable::No(why) => Some(why),
        };
        let gradient = why_not.map_or_else(|| "differentiable".to_string(), |why| format!("not differentiable: {why}"));
        let operands = o.operands.names();
        let takes = if operands.is_empty() { "no operands" } else { &operands };
        let operands_json: Vec<Value> = o
            .operands
            .list
            .iter()
            .map(|x| {
                json!({
                    "name": x.name, "role": x.role.to_string(), "optional": x.optional, "variadic": x.variadic,
                })
            })
            .collect();
        Row {
            name: o.mnemonic.to_string(),
            about: o.about.trim().to_string(),
            details: vec![takes.to_string(), format!("{}; at {}; {gradient}", o.class, stages.join(", "))],
            json: json!({
                "name": o.mnemonic, "about": o.about.trim(), "class": o.class.to_string(), "stages": stages,
                "operands": operands_json, "differentiable": why_not.is_none(), "why_not": why_not,
            }),
        }
    };
    OPS.iter().map(row).collect()
}

fn passes() -> Vec<Row> {
    let mut rows: Vec<Row> = PASSES
        .iter()
        .map(|p| Row {
            name: p.name.to_string(),
            about: p.about.to_string(),
            details: p.options.iter().map(|o| format!("{{{}={}}}  {}", o.name, o.default, o.about)).collect(),
            json: json!({
                "name": p.name, "about": p.about, "kind": "graph",
                "options": p.options.iter().map(|o| json!({"name": o.name, "default": o.default, "about": o.about})).collect::<Vec<_>>(),
            }),
        })
        .collect();
    let named = NAMES.iter().map(|(name, about)| (name, about, "pipeline"));
    let weight = WEIGHT_PASSES.iter().map(|(name, about)| (name, about, "weights"));
    for (name, about, kind) in named.chain(weight) {
        let details = match kind {
            "pipeline" => vec![format!("pipeline: {}", mnx_passes::infer(&mnx_passes::InferOptions::default()))],
            _ => vec![format!("weight pass: its own command, mnxc {name}")],
        };
        rows.push(Row {
            name: (*name).to_string(),
            about: (*about).to_string(),
            details,
            json: json!({"name": name, "about": about, "kind": kind}),
        });
    }
    rows
}

fn patterns() -> Vec<Row> {
    let names = |parts: &[Part]| parts.iter().map(|p| p.info().name).collect::<Vec<_>>();
    let row = |p: &PatternInfo| {
        let (needs, may, many) = (names(p.needs), names(p.may), names(p.many));
        let lines = [("needs", &needs), ("may have", &may), ("may have any number of", &many)];
        Row {
            name: p.name.to_string(),
            about: p.about.trim().to_string(),
            details: lines.iter().filter(|(_, n)| !n.is_empty()).map(|(what, n)| format!("{what} {}", n.join(", "))).collect(),
            json: json!({"name": p.name, "about": p.about.trim(), "needs": needs, "may": may, "many": many}),
        }
    };
    PATTERNS.iter().map(row).collect()
}

fn strategies() -> Vec<Row> {
    let row = |s: &mnx_plan::strategy::StrategyInfo| Row {
        name: s.name.to_string(),
        about: s.about.to_string(),
        details: if s.knobs.is_empty() { Vec::new() } else { vec![format!("knobs: {}", s.knobs.join(", "))] },
        json: json!({"name": s.name, "about": s.about, "knobs": s.knobs}),
    };
    STRATEGIES.iter().map(row).collect()
}

fn targets() -> Vec<Row> {
    let mut rows: Vec<Row> = TARGETS
        .iter()
        .map(|t| Row {
            name: t.name.to_string(),
            about: t.about.to_string(),
            details: vec![format!("requires {}", t.requires.join(", "))],
            json: json!({"name": t.name, "about": t.about, "requires": t.requires, "lanes": t.lanes, "registers": t.registers}),
        })
        .collect();
    let all: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
    rows.push(Row {
        name: "host".to_string(),
        about: format!("all of {}, chosen at run time", all.join(", ")),
        details: Vec::new(),
        json: json!({"name": "host", "about": "every x86-64 level, chosen at run time", "stands_for": all}),
    });
    rows.extend(GPU_TARGETS.iter().filter_map(|t| t.gpu.map(|g| (t, g))).map(|(t, g)| {
        let dots = |v: [u32; 2]| format!("{}.{}", v[0], v[1]);
        let later = if g.exact { "no other" } else { "later" };
        Row {
            name: t.name.to_string(),
            about: t.about.to_string(),
            details: vec![
                format!("compute capability {} and {later}, PTX {}", dots(g.compute), dots(g.ptx)),
                format!("{} KiB of shared memory per block; predictions are for {}", g.shared_block >> 10, g.chip),
            ],
            json: json!({"name": t.name, "about": t.about, "compute": dots(g.compute), "exact": g.exact, "ptx": dots(g.ptx),
                "shared_bytes_per_block": g.shared_block, "chip": g.chip}),
        }
    }));
    rows
}
