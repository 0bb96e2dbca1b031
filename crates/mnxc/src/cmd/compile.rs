//! `mnxc compile`: from a config or a graph to any later stage.

use std::path::PathBuf;

use mnx_plan::kernel::Gelu;
use mnx_plan::target::{TARGETS, resolve};

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
    /// Code to make: host (all x86-64 levels, chosen at run time) or one level
    #[arg(long, default_value = "host", value_parser = target_names())]
    target: String,
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

/// What `--target` takes.
pub fn target_names() -> clap::builder::PossibleValuesParser {
    let host = std::iter::once(clap::builder::PossibleValue::new("host").help("every x86-64 level below"));
    let named = TARGETS.iter().map(|t| clap::builder::PossibleValue::new(t.name).help(t.about));
    clap::builder::PossibleValuesParser::new(host.chain(named).collect::<Vec<_>>())
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
