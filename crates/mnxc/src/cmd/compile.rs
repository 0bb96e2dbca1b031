//! `mnxc compile`: from a config or a graph to any later stage.

use std::path::PathBuf;

use mnx_plan::gpu::Storage;
use mnx_plan::kernel::Gelu;
use mnx_plan::target::{GPU_TARGETS, TARGETS, resolve};

use crate::cli::Extents;
use crate::driver::{self, Request};
use crate::phase::Phase;
use crate::report::{Failure, Outcome, Voice};
use crate::source::{Heads, OutputKind, Shape};
use crate::tune::cache::default_path;
use crate::vectors::When;

/// Compile a config or a graph to a bundle, or to any stage before it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc compile s.toml --weights s.safetensors --target host --patch 64,64,64 -o s.mnxa
  mnxc compile s.toml --seed 7 --patch 32,48,32 --batch 2 -o trial.mnxa
  mnxc compile s.toml --patch 64,64,64 --to dispatch -o a.mnx      stop, look, edit ...
  mnxc compile a.mnx --weights s.safetensors -o s.mnxa             ... and go on: the stage is read from the file
  mnxc compile s.toml --to plan --target x86-64-v3 -o s.plan       tiles as text; edit, then --plan s.plan
  mnxc compile s.toml --seed 1 --tuned s.jsonl -o s.mnxa           tiles that mnxc tune found
  mnxc compile s.toml --seed 1 --target host,sm_80,sm_90a -o s.mnxa     one fat bundle for CPUs and GPUs
  mnxc compile s.toml --target sm_90a --to asm > s.ptx             the PTX
  mnxc compile s.toml --seed 1 -o s.mnxa --dump-dir d --time-passes")]
pub struct Args {
    /// The network's config (.toml), or a graph (.mnx) of any stage
    input: PathBuf,
    /// The weights, a safetensors file with the network's keys
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
    /// What GPU code stores activations and GEMM weights in (sums are float32): bf16, f16, or f32 for checking
    #[arg(long, value_name = "TYPE", default_value = "bf16", value_parser = ["bf16", "f16", "f32"])]
    precision: String,
    /// Spatial extents of one run, d,h,w (2-D: h,w), multiples of 16 [default for a config: 64 per axis]
    #[arg(long, value_name = "EXTENTS")]
    patch: Option<Extents>,
    /// Samples per run [default for a config: 1]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Where to write [default: stdout for texts, else the input's name with .mnxa or .so, here]
    #[arg(long, short = 'o', value_name = "FILE")]
    out: Option<PathBuf>,
    /// The stage to stop at
    #[arg(long, value_name = "STAGE", default_value = "bundle")]
    to: Phase,
    /// Deep-supervision heads to keep; `mnx predict` reads out_0 alone, `mnx run` gives all
    #[arg(long, default_value = "all")]
    heads: Heads,
    /// What the outputs hold [default: logits]
    #[arg(long, value_name = "KIND")]
    output: Option<OutputKind>,
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
    let request = Request {
        input: args.input.clone(),
        to: args.to,
        output: args.out.clone(),
        shape: Shape { batch: args.batch, patch: args.patch.clone().map(|p| p.0), output: args.output },
        heads: args.heads,
        pipeline: args.pipeline.clone(),
        weights: args.weights.clone(),
        seed: args.seed,
        formula: args.formula.clone(),
        hollow: args.hollow,
        cubin: args.cubin,
        targets,
        precision: Storage::parse(&args.precision).unwrap_or_default(),
        plan: args.plan.clone(),
        tuned,
        gelu: if args.gelu == Gelu::Fast.as_str() { Gelu::Fast } else { Gelu::Accurate },
        dump_dir: args.dump_dir.clone().or_else(|| std::env::var_os("MNX_DUMP_DIR").map(PathBuf::from)),
        time_passes: args.time_passes,
        vectors: args.vectors,
    };
    driver::compile(&request, voice)
}
