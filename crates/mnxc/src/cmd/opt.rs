//! `mnxc opt`: passes over a graph.

use std::path::PathBuf;

use mnx_passes::Changed;

use crate::dump::Dump;
use crate::files::{check_output, write_or_emit};
use crate::pipeline::run_passes;
use crate::report::{Outcome, Voice, emit};
use crate::source::{Shape, Source};

/// Run passes over a graph
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc opt a.mnx --pipeline=decompose-norm,cse,dce
  mnxc opt a.mnx --pipeline='infer{keep=out_0}' -o b.mnx
  mnxc opt a.mnx --pipeline='form-dispatches{max-ops=8}' --dump-dir d")]
pub struct Args {
    /// A graph (.mnx) of any stage, a config (.toml; built at its own patch, else 64 per axis), or a folder that `mnxc import` made
    graph: PathBuf,
    /// Passes in order, see `mnxc list passes`
    #[arg(long, value_name = "PASSES")]
    pipeline: String,
    /// Where to write [default: stdout]
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the graph after every pass into this directory
    #[arg(long, value_name = "DIR")]
    dump_dir: Option<PathBuf>,
    /// Print what each pass took, and how many patches it applied
    #[arg(long)]
    time_passes: bool,
}

/// Runs the passes and writes the graph.
///
/// # Errors
/// A wrong graph or pipeline, an unwritable output.
pub fn run(args: &Args, voice: Voice) -> Outcome {
    if let Some(path) = &args.out {
        check_output(path)?;
    }
    let source = Source::load(&args.graph, &Shape::default())?;
    let mut graph = source.graph.clone();
    let header = source.header();
    let mut dump = Dump::new(args.dump_dir.clone());
    dump.stage(&format!("{}.mnx", graph.stage), || format!("{header}{graph}").into_bytes())?;
    let mut lines = Vec::new();
    run_passes(&args.pipeline, &mut graph, &header, &mut |step, text| {
        lines.push(format!("{:24}  {:>8.3} ms  {:>6} patches", step.pass, step.time.as_secs_f64() * 1e3, step.patches));
        match step.changed {
            Changed::Yes => dump.stage(&format!("{}.mnx", step.pass), || text(step.graph).into_bytes()),
            Changed::No => dump.unchanged(step.pass),
        }
    })?;
    if args.time_passes {
        lines.iter().for_each(|l| voice.tell(l));
    }
    let text = format!("{header}{graph}");
    match &args.out {
        Some(_) => write_or_emit(args.out.as_deref(), text.as_bytes()),
        None => emit(&text),
    }
}
