//! `mnxc view`: a graph as Graphviz text.

use std::path::PathBuf;

use crate::files::{check_output, write_or_emit};
use crate::report::Outcome;
use crate::source::{Shape, Source};

/// Write a graph as Graphviz DOT: ops as nodes, dispatches as clusters
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc view a.mnx | dot -Tsvg > a.svg
  mnxc view s.toml -o s.dot                     a config is built at its own patch, else 64 per axis")]
pub struct Args {
    /// A graph (.mnx) of any stage, a config (.toml), or a folder that `mnxc import` made
    graph: PathBuf,
    /// Where to write [default: stdout]
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes the DOT text.
///
/// # Errors
/// An unreadable or wrong graph, an unwritable output.
pub fn run(args: &Args) -> Outcome {
    if let Some(path) = &args.out {
        check_output(path)?;
    }
    let source = Source::load(&args.graph, &Shape::default())?;
    write_or_emit(args.out.as_deref(), mnx_ir::dataflow::dot(&source.graph).as_bytes())
}
