//! `mnxc export-onnx`: the network with its weights as an ONNX file, for other runtimes.

use std::path::{Path, PathBuf};

use crate::checkpoint;
use crate::cmd::network::{Outputs, RunShape, Weights};
use crate::files::{check_output, write};
use crate::imported::Input;
use crate::onnx::{OPSET, export};
use crate::pipeline::run_passes;
use crate::report::{Failure, Outcome, Voice, size};
use crate::source::{Heads, Source};

/// Write the network with its weights as an ONNX file
///
/// Standard operators only (opset 17), float32, fixed shapes; weights are initialisers under their checkpoint keys.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc export-onnx s.toml --weights s.safetensors --patch 64,64,64 -o s.onnx
  mnxc export-onnx s.toml --seed 1 --patch 64,64,64 --heads main -o s.onnx
  mnxc export-onnx liver --fold 2 -o liver.onnx                a folder that mnxc import made")]
pub struct Args {
    /// The network's config (.toml), a graph (.mnx) of any stage, or a folder that `mnxc import` made
    input: PathBuf,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    shape: RunShape,
    #[command(flatten)]
    outputs: Outputs,
    /// Where to write
    #[arg(long = "out", short = 'o', value_name = "FILE")]
    out: PathBuf,
}

/// Writes the file.
///
/// # Errors
/// A wrong config, patch or checkpoint, a network beyond 2 GiB; no file is written then.
pub fn run(args: &Args, voice: Voice) -> Outcome {
    if args.out == Path::new("-") {
        return Err(Failure::Usage("-o -: an ONNX file is not text and goes to a file".into()));
    }
    check_output(&args.out)?;
    let input = Input::find(&args.input)?;
    let from = args.weights.origin(&input)?;
    let from = from.ok_or_else(|| {
        Failure::Usage("an ONNX file holds weights: give --weights W.safetensors, or --seed N for fresh ones".to_string())
    })?;
    let shape = args.shape.with(args.outputs.output);
    let source = Source::load(&input.file, &shape)?;
    let mut graph = source.graph.clone();
    if Heads::choose(args.outputs.heads, &input) == Heads::Main {
        run_passes("drop-training-heads{keep=out_0},dce", &mut graph, &source.header(), &mut |_, _| Ok(()))?;
    }
    let weights = checkpoint::provide(from, source.origin.as_ref().map(|o| &o.config), &graph, voice)?;
    let bytes = export(&graph, &weights)?;
    write(&args.out, &bytes)?;
    voice.note(&format!("{}: {} as ONNX, opset {OPSET}, {}", args.out.display(), graph.name, size(bytes.len() as u64)));
    Ok(())
}
