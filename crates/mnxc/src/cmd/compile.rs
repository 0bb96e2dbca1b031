//! `mnxc compile`: from a config or a graph to any later stage.

use std::path::PathBuf;

use mnx_plan::target::{GPU_TARGETS, TARGETS, Target, resolve};
use mnx_plan::vocabulary::Gelu;
use mnx_plan::vocabulary::Storage;

use crate::cmd::network::{Outputs, RunShape};
use crate::driver;
use crate::imported::{Input, WeightFile};
use crate::phase::Phase;
use crate::report::{Failure, Outcome, Voice};
use crate::request::Request;
use crate::source::Heads;
use crate::tuned::default_path;
use crate::vectors::When;

/// Compile a config or a graph to a bundle, or to any stage before it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc compile s.toml --weights s.safetensors --target host --patch 64,64,64 -o s.mnxa
  mnxc compile liver --target host -o liver.mnxa               a folder that mnxc import made: config and all folds
  mnxc compile s.toml --seed 7 --patch 32,48,32 --batch 2 -o trial.mnxa
  mnxc compile s.toml --patch 64,64,64 --to dispatch -o a.mnx      stop, look, edit ...
  mnxc compile a.mnx --weights s.safetensors -o s.mnxa             ... and go on: the stage is read from the file
  mnxc compile s.toml --to plan --target x86-64-v3 -o s.plan       tiles as text; edit, then --plan s.plan
  mnxc compile s.toml --seed 1 --tuned s.jsonl -o s.mnxa           tiles that mnxc tune found
  mnxc compile s.toml --seed 1 --target host,sm_80,sm_90a -o s.mnxa     one fat bundle for CPUs and GPUs
  mnxc compile s.toml --target sm_90a --to asm > s.ptx             the PTX
  mnxc compile s.toml --seed 1 -o s.mnxa --dump-dir d --time-passes")]
pub struct Args {
    /// The network's config (.toml), a graph (.mnx) of any stage, or a folder that `mnxc import` made
    input: PathBuf,
    /// The weights, a safetensors file with the network's keys [default for a folder: all its folds]
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    weights: Option<PathBuf>,
    /// Fresh weights (default initialisation) instead of a file
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Weights by the test formula of a case (`mnx_weights::golden_weight`), reproducible anywhere without a file
    #[arg(long, value_name = "CASE", conflicts_with_all = ["weights", "seed"])]
    formula: Option<String>,
    /// Assemble GPU code ahead of time, beside its PTX, with NVIDIA's ptxas (MNX_PTXAS, PATH, or what scripts/get-ptxas.sh fetched); without it the driver
    /// compiles the PTX once, at the first run on a machine
    #[arg(long)]
    cubin: bool,
    /// Write zeros in place of the weights: a bundle that packs to little more than its code, for `mnx refit` to fill
    #[arg(long)]
    hollow: bool,
    /// Code to make: host (all x86-64 levels, chosen at run time), one level, a GPU (sm_80, sm_86, sm_89, sm_90a, sm_100a, sm_120), or several joined by commas
    #[arg(long, default_value = "host", value_name = "TARGETS", value_parser = target_words)]
    target: String,
    /// What GPU code stores activations and GEMM weights in (sums are float32): bf16, f16, or f32 for checking; code for CPUs stores float32
    /// [default: bf16]
    #[arg(long, value_name = "TYPE", value_parser = ["bf16", "f16", "f32"])]
    precision: Option<String>,
    #[command(flatten)]
    shape: RunShape,
    /// Where to write [default: stdout for texts, else the input's name with .mnxa or .so, here]
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
    /// The stage to stop at
    #[arg(long, value_name = "STAGE", default_value = "bundle")]
    to: Phase,
    #[command(flatten)]
    outputs: Outputs,
    /// Passes to run [default: infer; none for a graph of stage dispatch], see `mnxc list passes`
    #[arg(long, value_name = "PASSES")]
    pipeline: Option<String>,
    /// An edited plan (from --to plan)
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Tiles that `mnxc tune` found; without a name the user's own file (~/.cache/mnx/tuned.jsonl)
    #[arg(long, value_name = "FILE", num_args = 0..=1, conflicts_with = "plan")]
    tuned: Option<Option<PathBuf>>,
    /// How closely GELU is computed: accurate (absolute error at most 1e-6) or fast (2e-4)
    #[arg(long, value_name = "HOW", default_value = "accurate", value_parser = ["accurate", "fast"])]
    gelu: String,
    /// Write every stage's text and the final object into this directory
    #[arg(long, value_name = "DIR")]
    dump_dir: Option<PathBuf>,
    /// Print what each pass and each step of code generation took
    #[arg(long)]
    time_passes: bool,
    /// Compute test vectors for `mnx verify`
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    vectors: When,
}

/// `--target`: words that [`resolve`] knows, joined by commas.
fn target_words(text: &str) -> Result<String, String> {
    let known = || std::iter::once("host").chain(TARGETS.iter().chain(GPU_TARGETS).map(|t| t.name));
    for word in text.split(',') {
        if !known().any(|k| k == word) {
            return Err(format!("no target \"{word}\"; there are {}", known().collect::<Vec<_>>().join(", ")));
        }
    }
    match resolve(text) {
        Some(_) => Ok(text.to_string()),
        None => Err("a target is named twice".to_string()),
    }
}

/// What GPUs store, of the word that was given; a 16-bit type is for a GPU among the targets.
fn stored(word: Option<&str>, targets: &[&'static Target]) -> Outcome<Storage> {
    let storage = word.and_then(Storage::parse).unwrap_or_default();
    match word {
        Some(word) if storage != Storage::F32 && !targets.iter().any(|t| t.nvptx().is_some()) => {
            let names: Vec<&str> = targets.iter().map(|t| t.name).collect();
            let message = format!(
                "--precision {word}: no GPU among the targets ({}), and code for CPUs stores float32 alone; leave it out, or add a GPU to --target",
                names.join(", ")
            );
            Err(Failure::Usage(message))
        }
        _ => Ok(storage),
    }
}

/// The name of what a folder becomes, here.
fn folder_output(dir: &std::path::Path, to: Phase) -> Option<PathBuf> {
    let extension = match to {
        Phase::Bundle => "mnxa",
        Phase::Binary => "so",
        Phase::Model | Phase::Graph | Phase::Dispatch | Phase::Plan | Phase::Mlir | Phase::Llvm | Phase::Asm => return None,
    };
    let full = dir.canonicalize().ok()?;
    let mut name = full.file_name()?.to_owned();
    name.push(".");
    name.push(extension);
    Some(PathBuf::from(name))
}

/// Compiles.
///
/// # Errors
/// See [`driver::compile`].
pub fn run(args: &Args, voice: Voice) -> Outcome {
    let targets = resolve(&args.target).ok_or_else(|| Failure::Usage(format!("--target {}: see `mnxc list targets`", args.target)))?;
    let no_home = || Failure::Usage("no home directory for the file of tuned tiles: name it, --tuned FILE".to_string());
    let tuned = match &args.tuned {
        Some(None) => Some(default_path().ok_or_else(no_home)?),
        Some(Some(path)) => Some(path.clone()),
        None => None,
    };
    let input = Input::find(&args.input)?;
    let weights = match &args.weights {
        Some(path) => vec![WeightFile { fold: None, path: path.clone() }],
        None if args.seed.is_none() && args.formula.is_none() => input.weights().to_vec(),
        None => Vec::new(),
    };
    let heads = Heads::choose(args.outputs.heads, &input);
    let out = args.out.clone().or_else(|| input.is_folder().then(|| folder_output(&args.input, args.to)).flatten());
    let request = Request {
        input: input.file,
        to: args.to,
        output: out,
        shape: args.shape.with(args.outputs.output),
        heads,
        pipeline: args.pipeline.clone(),
        weights,
        seed: args.seed,
        formula: args.formula.clone(),
        hollow: args.hollow,
        cubin: args.cubin,
        precision: stored(args.precision.as_deref(), &targets)?,
        targets,
        plan: args.plan.clone(),
        tuned,
        gelu: if args.gelu == Gelu::Fast.as_str() { Gelu::Fast } else { Gelu::Accurate },
        dump_dir: args.dump_dir.clone().or_else(|| std::env::var_os("MNX_DUMP_DIR").map(PathBuf::from)),
        time_passes: args.time_passes,
        vectors: args.vectors,
    };
    driver::compile(&request, voice)
}
