//! `mnxc explain`: where a bundle's time must go, and with `--measure` where it goes.

use std::path::{Path, PathBuf};

use mnx_artifact::{Bundle, BundleError};

use mnx_plan::target::{named, resolve};

use crate::driver;
use crate::emit::{assemble, has_ptxas};
use crate::explain::{Explanation, Machine, gpu, html, table};
use crate::files::{check_output, scratch_folder, write, write_or_emit};
use crate::imported::Input;
use crate::report::{Failure, Outcome, Voice, emit, system_reason};
use crate::request::Request;
use crate::runner::Runner;
use crate::source::Heads;
use crate::vectors::When;

/// Say per dispatch what a bundle computes and moves, what that must take, and what it does take
///
/// The floor of a dispatch is the slower of its arithmetic (multiply-adds and GELUs) at the machine's FMA peak and its bytes, each buffer
/// once, at the machine's copy bandwidth. Without --measure the machine is a nominal one: 350 GFLOP/s and 25 GB/s, about two AVX-512 cores.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc explain m.mnxa
  mnxc explain m.mnxa --measure --threads 2 --html m.html
  mnxc explain m.mnxa --gflops 1000 --gbs 80 --json -
  mnxc explain liver --isa x86-64-v3                           a folder that mnxc import made; it is compiled first")]
pub struct Args {
    /// The bundle, or a folder that `mnxc import` made
    bundle: PathBuf,
    /// Run it here with `mnx bench`, and draw floors with this machine's measured rates
    #[arg(long)]
    measure: bool,
    /// Write one HTML page: bars, and a table that sorts
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write JSON; - prints it instead of the table
    #[arg(long, value_name = "F|-")]
    json: Option<PathBuf>,
    /// Threads to measure with [default: what mnx takes]
    #[arg(long, value_name = "N", requires = "measure", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Timed runs
    #[arg(long, value_name = "N", default_value_t = 10, requires = "measure", value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// The code target to explain [default: the best, or the one that ran]
    #[arg(long, value_name = "TARGET")]
    isa: Option<String>,
    /// Nominal multiply-add rate, GFLOP/s [default: 350]
    #[arg(long, value_name = "RATE", conflicts_with = "measure", value_parser = rate)]
    gflops: Option<f64>,
    /// Nominal copy bandwidth, GB/s [default: 25]
    #[arg(long, value_name = "RATE", conflicts_with = "measure", value_parser = rate)]
    gbs: Option<f64>,
    /// The runtime binary [default: mnx beside mnxc]
    #[arg(long, value_name = "PATH", requires = "measure")]
    runner: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(v) if (1e-3..=1e9).contains(&v) => Ok(v),
        _ => Err("expected a rate from 0.001 to 1e9".to_string()),
    }
}

/// Explains.
///
/// # Errors
/// A damaged bundle, a target it has no code for, an unwritable output, no `mnx`, or what `mnx` says.
pub fn run(args: &Args, voice: Voice) -> Outcome {
    let stdout = Path::new("-");
    for path in args.html.iter().chain(args.json.iter().filter(|p| *p != stdout)) {
        check_output(path)?;
    }
    let input = Input::find(&args.bundle)?;
    // Lives as long as the bundle in it.
    let scratch = input.is_folder().then(|| compiled(&input, args.isa.as_deref(), voice)).transpose()?;
    let path = scratch.as_ref().map_or_else(|| args.bundle.clone(), |dir| dir.path().join(BUNDLE));
    let bundle = Bundle::open(&path).map_err(|e| bundle_failure(&args.bundle, e))?;
    let programs = &bundle.manifest().programs;
    let program = |name: &str| {
        let names: Vec<&str> = programs.iter().map(|p| p.target.as_str()).collect();
        let unknown = || Failure::user("mnxc-0504", args.bundle.display(), format!("no code for {name}; it has {}", names.join(", ")));
        programs.iter().find(|p| p.target == name).ok_or_else(unknown)
    };
    let chosen = args.isa.as_deref().map(program).transpose()?;
    let explanation = if args.measure {
        let runner = Runner::find(args.runner.as_deref())?;
        voice.note(&format!("measuring {} ({})", args.bundle.display(), mnx_words::many(args.runs.into(), "run")));
        let report = runner.bench(&path, args.runs.into(), args.threads.map(usize::from), args.isa.as_deref())?;
        let Some(r) = report.roofline.filter(|r| r.flops_per_s > 0.0 && r.bytes_per_s > 0.0) else {
            return Err(Failure::user("mnxc-0503", args.bundle.display(), "`mnx bench` gave no roofline of this machine"));
        };
        let machine = Machine { gpu: None, flops_per_s: r.flops_per_s, bytes_per_s: r.bytes_per_s, measured: true };
        Explanation::new(&bundle, program(&report.isa)?, machine, Some(&report))
    } else {
        let first = || Failure::user("mnxc-0504", args.bundle.display(), "the bundle holds no program");
        let program = chosen.or(programs.first()).ok_or_else(first)?;
        let chip = named(&program.target).and_then(|t| t.nvptx().copied());
        let machine = match chip {
            Some(chip) => Machine::of_gpu(chip),
            None => Machine {
                gpu: None,
                flops_per_s: args.gflops.unwrap_or(350.0) * 1e9,
                bytes_per_s: args.gbs.unwrap_or(25.0) * 1e9,
                measured: false,
            },
        };
        Explanation::new(&bundle, program, machine, None)
    };
    let occupied = occupied(&bundle, &explanation.target, voice)?;
    if let Some(path) = &args.html {
        write(path, html::page(&explanation, &occupied).as_bytes())?;
    }
    if let Some(path) = &args.json {
        write_or_emit(Some(path), format!("{:#}\n", with_resources(table::json(&explanation), &occupied)).as_bytes())?;
    }
    if args.json.as_deref() == Some(stdout) {
        return Ok(());
    }
    let mut text = table::text(&explanation);
    if !occupied.is_empty() {
        text.push_str(&format!("\nkernels, as ptxas assembles them for {}:\n{}", explanation.target, gpu::text(&occupied)));
    }
    emit(&text)
}

/// Name of a folder's bundle in its scratch directory.
const BUNDLE: &str = "folder.mnxa";

/// Compiles a folder into a directory of its own, for one target or for this machine's kind of CPU, as `mnxc compile` would but without
/// weights and test vectors, on which nothing depends here.
fn compiled(input: &Input, isa: Option<&str>, voice: Voice) -> Outcome<mnx_files::ScratchFolder> {
    let name = isa.unwrap_or("host");
    let targets = resolve(name).ok_or_else(|| Failure::Usage(format!("--isa {name}: there is no such target, see `mnxc list targets`")))?;
    let dir = scratch_folder()?;
    let request = Request {
        targets,
        output: Some(dir.path().join(BUNDLE)),
        heads: Heads::choose(None, input),
        weights: input.weights().iter().take(1).cloned().collect(),
        hollow: true,
        vectors: When::None,
        ..Request::new(input.file.clone())
    };
    voice.note(&format!("compiling {} for {name}", input.file.display()));
    driver::compile(&request, Voice { quiet: true })?;
    Ok(dir)
}

fn with_resources(mut json: serde_json::Value, occupied: &[gpu::Occupied]) -> serde_json::Value {
    if !occupied.is_empty() {
        json["kernels"] = gpu::json(occupied);
    }
    json
}

/// What the kernels of a GPU program take, where ptxas is at hand.
fn occupied(bundle: &Bundle, target: &str, voice: Voice) -> Outcome<Vec<gpu::Occupied>> {
    let programs = &bundle.manifest().programs;
    let known = named(target).and_then(|t| t.nvptx().copied());
    let (Some(known), Some(index)) = (known, programs.iter().position(|p| p.target == target)) else { return Ok(Vec::new()) };
    if !has_ptxas() {
        voice.note("no ptxas at hand: registers, spills and occupancy are not shown (scripts/get-ptxas.sh fetches it)");
        return Ok(Vec::new());
    }
    let (_, resources) = assemble(bundle.code(index), target)?;
    Ok(gpu::occupied(&programs[index], &known, &resources))
}

/// Why a bundle cannot be explained.
fn bundle_failure(path: &Path, error: BundleError) -> Failure {
    match error {
        BundleError::Io { source, .. } => Failure::user("bundle-0101", path.display(), system_reason(&source.to_string())),
        BundleError::Damaged { reason, .. } => Failure::user("bundle-0102", path.display(), reason),
        BundleError::Inconsistent { problems, .. } => {
            let mut d = mnx_ir::Diagnostic::new("bundle-0103", path.display(), "the manifest contradicts itself");
            d.notes = problems;
            d.into()
        }
    }
}
