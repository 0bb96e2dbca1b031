//! `mnxc reduce`: the smallest part of a graph on which a script still succeeds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mnx_ir::Graph;
use mnx_words::many;

use crate::children;
use crate::files::{check_output, scratch_folder, write, write_or_emit};
use crate::reduce::reduce;
use crate::report::{Failure, Outcome, Voice, system_reason};
use crate::source::{Shape, Source};

/// Shrink a graph as long as a script says that it still shows the fault
///
/// The script is given the path of a candidate (.mnx) and ends with 0 if the fault is still there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc reduce a.mnx --if ./still_fails.sh -o small.mnx
  mnxc reduce mnx-crash-1f00.mnx --if ./panics.sh      where panics.sh is: mnxc opt \"$1\" --pipeline=cse; test $? = 101")]
pub struct Args {
    /// A graph (.mnx) of any stage, a config (.toml; built at its own patch, else 64 per axis), or a folder that `mnxc import` made
    graph: PathBuf,
    /// The script; it ends with 0 while the fault is there
    #[arg(long = "if", value_name = "SCRIPT")]
    script: PathBuf,
    /// Where to write [default: stdout]
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Shrinks and writes the graph.
///
/// # Errors
/// A wrong graph, a script that cannot be run or does not succeed on the whole graph.
pub fn run(args: &Args, voice: Voice) -> Outcome {
    if let Some(path) = &args.out {
        check_output(path)?;
    }
    let source = Source::load(&args.graph, &Shape::default())?;
    let dir = scratch_folder()?;
    let script = std::path::absolute(&args.script).unwrap_or_else(|_| args.script.clone());
    let mut tried = 0usize;
    let mut holds = |graph: &Graph| -> Outcome<bool> {
        tried += 1;
        ask(&script, &dir.path().join("candidate.mnx"), graph)
    };
    if !holds(&source.graph)? {
        let message = format!("{} does not end with 0 on the whole graph: there is nothing to keep", args.script.display());
        return Err(Failure::user("mnxc-0403", &source.file, message));
    }
    let small = reduce(&source.graph, &mut holds)?;
    voice.note(&format!(
        "{} of {} are left after {}",
        small.order().len(),
        many(source.graph.order().len(), "op"),
        many(tried, "candidate")
    ));
    // The config's header would promise a network that this no longer is.
    write_or_emit(args.out.as_deref(), small.to_string().as_bytes())
}

fn ask(script: &Path, candidate: &Path, graph: &Graph) -> Outcome<bool> {
    write(candidate, graph.to_string().as_bytes())?;
    let mut command = Command::new(script);
    command.arg(candidate).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = children::status(&mut command).map_err(|e| {
        let message = format!("the script cannot be run: {}", system_reason(&e.to_string()));
        Failure::user("mnxc-0403", script.display(), message)
    })?;
    Ok(status.success())
}
