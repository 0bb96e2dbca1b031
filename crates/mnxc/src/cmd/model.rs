//! `mnxc model`: a config's graph, or what it costs.

use std::path::PathBuf;

use serde_json::json;

use crate::cmd::network::RunShape;
use crate::report::{Outcome, emit};
use crate::source::{OutputKind, Source};

/// Print the graph of a config, or its layers, parameters, MACs and bytes
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc model s.toml > s.mnx
  mnxc model s.toml --patch 128,128,128 --summary
  mnxc model s.toml --json | jq .parameters")]
pub struct Args {
    /// The network's config (.toml), a graph (.mnx), or a folder that `mnxc import` made
    config: PathBuf,
    #[command(flatten)]
    shape: RunShape,
    /// What the outputs hold [default: logits]
    #[arg(long, value_name = "KIND")]
    output: Option<OutputKind>,
    /// A table of layers: output shape, parameters, multiply-accumulates, bytes
    #[arg(long)]
    summary: bool,
    /// The table as JSON, with the config as it was understood
    #[arg(long)]
    json: bool,
}

/// Prints the graph, the table or the JSON.
///
/// # Errors
/// A wrong config or patch.
pub fn run(args: &Args) -> Outcome {
    let shape = args.shape.with(args.output);
    let source = Source::load(&args.config, &shape)?;
    if !args.summary && !args.json {
        return emit(&format!("{}{}", source.header(), source.graph));
    }
    let summary = mnx_model::summary(&source.graph);
    // The official count includes tensors that the graph does not read (`dummy_tensor`).
    let official = source.origin.as_ref().map(|o| mnx_model::signature(&o.config).parameters());
    let ports = |list: &[(String, mnx_ir::ValueId)]| -> Vec<serde_json::Value> {
        list.iter().map(|(n, v)| json!({"name": n, "shape": source.graph.ty(*v).shape.as_slice()})).collect()
    };
    if args.json {
        let layers = summary.layers.iter().map(|l| {
            json!({"name": l.name, "op": l.op, "shape": l.shape.as_slice(), "parameters": l.parameters, "macs": l.macs, "bytes": l.bytes})
        });
        let value = json!({
            "name": source.origin.as_ref().map_or(&source.graph.name, |o| &o.config.name),
            "inputs": ports(source.graph.inputs()),
            "outputs": ports(source.graph.outputs()),
            "parameters": official.unwrap_or(summary.parameters),
            "macs": summary.macs,
            "bytes": summary.bytes,
            "layers": layers.collect::<Vec<_>>(),
            "config": source.origin.as_ref().map(|o| o.config.to_json()),
        });
        return emit(&format!("{value:#}\n"));
    }
    let mut text = summary.to_string();
    for (what, list) in [("input", source.graph.inputs()), ("output", source.graph.outputs())] {
        for (name, v) in list {
            text.push_str(&format!("{what} {name}: {}\n", source.graph.ty(*v)));
        }
    }
    if let Some(official) = official.filter(|n| *n != summary.parameters) {
        text.push_str(&format!("checkpoint: {official} values, of which no layer reads {}\n", official.saturating_sub(summary.parameters)));
    }
    emit(&text)
}
