//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use mnx_runtime::DeviceChoice;
use mnx_runtime::session::{default_threads, most_threads};

use crate::cmd::evaluate::{Class, parse_class};

/// Run compiled MedNeXt bundles (.mnxa).
#[derive(Debug, Parser)]
#[command(
    name = "mnx",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  mnx inspect brain.mnxa
  mnx predict brain.mnxa -i t1.nii.gz -o seg.nii.gz --picture seg.png
  mnx evaluate --pred seg.nii.gz --ref truth.nii.gz
  mnx bench brain.mnxa --per-dispatch

Exit codes: 0 done, 1 bad input or machine, 2 wrong usage, 101 a bug in mnx, 130 and 143 interrupted."
)]
pub struct Cli {
    /// No progress and no notes; results and errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say on standard error what is done and chosen, and what it takes (-vv: details, -vvv: everything).
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Append all of that, down to the details and with times, to a file.
    #[arg(long, global = true, value_name = "FILE")]
    pub log: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the network once on a tensor.
    Run(Run),
    /// Segment a NIfTI volume, or a folder of them.
    Predict(Predict),
    /// Compare segmentations with references: Dice, surface Dice, HD95, volumes.
    Evaluate(Evaluate),
    /// Measure how fast the network runs here.
    Bench(Bench),
    /// List what bundles can run on here.
    Devices(Devices),
    /// Store the inputs and outputs of kernels, as this device computes them.
    Record(Record),
    /// Show what a bundle holds.
    Inspect(Inspect),
    /// Put other weights into a bundle, without compiling.
    Refit(Refit),
    /// Re-run the bundle's test vectors on this device.
    Verify(Verify),
    /// Explain an error code, or list them all.
    ExplainError(ExplainError),
    /// Print a shell completion script.
    Completions(Completions),
}

/// Where and how a bundle runs.
#[derive(Debug, Args)]
pub struct Where {
    /// Device: auto (the first GPU that runs the bundle, else the host), host (this CPU), cuda or cuda:N (an NVIDIA GPU, see mnx devices), cuda:all (predict:
    /// all of them share the patches), ptx-sim (GPU code interpreted on the CPU, very slow) or null (computes nothing).
    #[arg(long, env = "MNX_DEVICE", default_value = "auto", value_name = "DEVICE", value_parser = device)]
    pub device: DeviceChoice,
    /// Threads of the host, at most four times its cores [default: the cores this process may use].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// Code target to use, for example x86-64-v3 or sm_80 [default: the best that the device runs].
    #[arg(long, value_name = "TARGET")]
    pub isa: Option<String>,
}

fn device(text: &str) -> Result<DeviceChoice, String> {
    text.parse()
}

/// Refused here, before any thread starts: tens of thousands would take minutes to start and never end their work.
fn threads(text: &str) -> Result<usize, String> {
    let most = most_threads();
    match text.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(format!(
            "a number of threads from 1 to {most} expected: four times the cores that this process may use, {}",
            default_threads()
        )),
    }
}

fn runs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=1_000_000).contains(&n) => Ok(n),
        _ => Err("a number of runs, 1 to 1000000, expected".to_owned()),
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(v) if (0.0..=1000.0).contains(&v) => Ok(v),
        _ => Err("millimetres from 0 to 1000 expected".to_owned()),
    }
}

fn overlap(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(v) if (0.0..=0.95).contains(&v) => Ok(v),
        _ => Err("a fraction from 0 to 0.95 expected".to_owned()),
    }
}

fn step(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(v) if (0.05..=1.0).contains(&v) => Ok(v),
        _ => Err("a fraction from 0.05 to 1 expected".to_owned()),
    }
}

/// `mnx run`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mnx run m.mnxa --input x.safetensors --output y.safetensors --threads 2

The input file holds the tensor \"input\" in the bundle's input shape (see mnx inspect); F32, F64, F16 and BF16 are read.
The output file gets \"out_0\", and \"out_1\".. if the network has deep supervision.")]
pub struct Run {
    /// The bundle.
    pub bundle: PathBuf,
    /// safetensors file with the tensor "input".
    #[arg(long, short, value_name = "X.safetensors")]
    pub input: PathBuf,
    /// safetensors file to write.
    #[arg(long, short, value_name = "Y.safetensors")]
    pub output: PathBuf,
    /// Look for NaN and infinities after every dispatch and name the first that has any (slow).
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub place: Where,
}

/// `mnx predict`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mnx predict brain.mnxa -i t1.nii.gz -o seg.nii.gz
  mnx predict tumour.mnxa -i t1.nii.gz -i t2.nii.gz -i flair.nii.gz -o seg.nii.gz --tta --probabilities p.nii.gz
  mnx predict liver.mnxa -i imagesTs -o predictions --continue          a folder, going on where it stopped
  mnx predict liver.mnxa -i imagesTs -o predictions --save-probabilities --step 0.25
  mnx predict brats.mnxa -i scans -o predictions --channels t1n,t1c,t2w,t2f      BraTS-0001-t1n.nii.gz, ...

A model of several channels takes one -i per channel, in the model's order (see mnx inspect), or one 4-D file.
The segmentation has the first input's grid, orientation and header.

A folder holds cases as nnU-Net names them: CASE_0000.nii.gz, CASE_0001.nii.gz, ..., one file per channel; CASE.nii.gz comes out.
For a model of one channel CASE.nii.gz does as well. --channels names other endings, one per channel in the model's order, behind
\"-\", \"_\" or \".\" and in upper or lower case.
While one case is in the network the next is read and the last is written, so up to three are in memory. A case that fails is told
at the end and does not stop the others; the exit code is 1 then.

--save-probabilities writes CASE.npz and CASE.pkl as the nnU-Net that the model came from: version 2 an array \"probabilities\",
float32 [class, z, y, x] over the whole image; version 1 \"softmax\", float16, over the part around the non-zero voxels.")]
pub struct Predict {
    /// The bundle.
    pub bundle: PathBuf,
    /// NIfTI volume (.nii or .nii.gz), once per channel; or a folder of cases.
    #[arg(long, short, required = true, value_name = "IMG.nii.gz|FOLDER")]
    pub input: Vec<PathBuf>,
    /// Segmentation to write; a folder if the input is one.
    #[arg(long, short, value_name = "SEG.nii.gz|FOLDER")]
    pub output: PathBuf,
    /// Distance of neighbouring patches, as a fraction of the patch [default: the model's, else 0.5].
    #[arg(long, value_name = "F", value_parser = step)]
    pub step: Option<f64>,
    /// The same as --step, by what patches share: 1 - step.
    #[arg(long, value_name = "F", value_parser = overlap, conflicts_with = "step")]
    pub overlap: Option<f64>,
    /// Average over mirrored copies of each patch, along the axes that the model was trained with (3 axes: 8 times the work).
    #[arg(long)]
    pub tta: bool,
    /// What the files of each channel end in, instead of 0000, 0001, ... (a folder of cases).
    #[arg(long, value_name = "SUFFIX,..", value_delimiter = ',')]
    pub channels: Vec<String>,
    /// Leave out cases whose outputs are there: whole, on the input's grid, with labels of this model. Others are done again.
    #[arg(long = "continue")]
    pub resume: bool,
    /// Also write the probabilities as nnU-Net does: an .npz and a .pkl beside each segmentation.
    #[arg(long)]
    pub save_probabilities: bool,
    /// Also write the probabilities of every class as a 4-D volume (one case).
    #[arg(long, value_name = "P.nii.gz")]
    pub probabilities: Option<PathBuf>,
    /// Also draw three slices with the segmentation in colour (one case).
    #[arg(long, value_name = "P.png")]
    pub picture: Option<PathBuf>,
    /// Replace NaN and infinite voxels instead of refusing them.
    #[arg(long)]
    pub nan_to_num: bool,
    /// Print the result's numbers as JSON.
    #[arg(long)]
    pub json: bool,
    /// Look for NaN and infinities after every dispatch of every patch and name the first that has any (slow).
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub place: Where,
}

/// `mnx evaluate`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mnx evaluate --pred seg.nii.gz --ref truth.nii.gz
  mnx evaluate --pred predicted/ --ref labelsTs/ --bundle organs.mnxa --csv scores.csv --md scores.md
  mnx evaluate --pred predicted/ --ref labelsTs/ --labels core=2+3,edema=1 --tolerance 2 --json -

Two folders are paired by file name; a case without a partner, on another grid (shape; spacing to 0.1 %; orientation; origin to a \
tenth of a voxel) or unreadable is reported at the end, the others are compared, and the exit code is 1. Nothing is re-oriented.

Dice = 2TP/(2TP+FP+FN). A surface is the voxels with a face neighbour outside the class (the image's border counts as outside); \
surface Dice is the share of both surfaces' voxels within the tolerance of the other; HD95 the larger of the two directed 95th \
percentiles of their distances in mm. A class in neither prediction nor reference has no scores and is left out of means, as in \
nnU-Net v2; in one of them only, its Dice and surface Dice are 0 and its HD95 is infinite, left out of the mean and counted as unbounded.

JSON has nnU-Net's keys (metric_per_case, mean, foreground_mean), null where there is no number. Each thread holds one case, 8 to 10 \
bytes a voxel.")]
pub struct Evaluate {
    /// Segmentation, or folder of segmentations named CASE.nii.gz or CASE.nii.
    #[arg(long, value_name = "DIR|FILE")]
    pub pred: PathBuf,
    /// Reference, or folder of references with the same names.
    #[arg(long = "ref", value_name = "DIR|FILE")]
    pub reference: PathBuf,
    /// Classes: LABEL, NAME=LABEL or NAME=LABEL+LABEL.., separated by commas [default: all labels found but 0].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_class, conflicts_with = "bundle")]
    pub labels: Vec<Class>,
    /// Take the classes and their names from this bundle.
    #[arg(long, value_name = "M.mnxa")]
    pub bundle: Option<PathBuf>,
    /// Leave out voxels where the reference has this label.
    #[arg(long, value_name = "LABEL")]
    pub ignore_label: Option<u16>,
    /// Distance up to which surfaces agree, in mm.
    #[arg(long, value_name = "MM", default_value_t = 1.0, value_parser = tolerance)]
    pub tolerance: f64,
    /// Write all scores and means as comma-separated values.
    #[arg(long, value_name = "F.csv")]
    pub csv: Option<PathBuf>,
    /// Write the tables as Markdown.
    #[arg(long, value_name = "F.md")]
    pub md: Option<PathBuf>,
    /// Write JSON to a file, or to standard output (-) instead of the table.
    #[arg(long, value_name = "F|-")]
    pub json: Option<PathBuf>,
    /// Threads, at most four times the cores; as many cases are compared at a time [default: the cores this process may use].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
}

/// `mnx bench`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mnx bench m.mnxa --runs 20 --per-dispatch
  mnx bench m.mnxa --json - > bench.json
  mnx bench m.mnxa --device cuda --per-dispatch --trace-json run.json      for chrome://tracing or Perfetto
  printf '\\n\\n' | mnx bench m.mnxa --paced                     two runs, when another program says so

JSON keys: median_s, min_s, max_s, peak_bytes, gflops, bytes, percent_of_roofline, ... and dispatches[] with the same per dispatch.
The roofline is the device's. Host: a measured FMA peak and copy bandwidth with the same number of threads. GPU: a measured copy within
its memory, and the arithmetic rate that clock and multiprocessors promise (not measured). Small dispatches may pass 100 %, because
their data stays in the caches.
On a GPU median_s includes the copies from and to the host; compute_s is the launches alone, by the GPU's clock, and rates and
percentages are of it. Dispatches are timed by CUDA events.")]
pub struct Bench {
    /// The bundle.
    pub bundle: PathBuf,
    /// Timed runs, after one to warm up.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = runs)]
    pub runs: usize,
    /// A table line for every dispatch.
    #[arg(long)]
    pub per_dispatch: bool,
    /// Write JSON to a file, or to standard output (-) instead of the table.
    #[arg(long, value_name = "F|-")]
    pub json: Option<PathBuf>,
    /// Write the last traced run in the format of chrome://tracing.
    #[arg(long, value_name = "F")]
    pub trace_json: Option<PathBuf>,
    /// Before timing, look for NaN and infinities after every dispatch and stop at the first that has any.
    #[arg(long)]
    pub check: bool,
    /// Load and warm up, then run once for every line on standard input and answer with the seconds on a line.
    #[arg(long, conflicts_with_all = ["runs", "per_dispatch", "json", "trace_json", "check"])]
    pub paced: bool,
    #[command(flatten)]
    pub place: Where,
}

/// `mnx devices`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mnx devices
  mnx devices --json

The host with its instruction sets, and every NVIDIA GPU that the driver shows (CUDA_VISIBLE_DEVICES chooses), or why there is none.")]
pub struct Devices {
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `mnx record`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mnx record tiny.mnxa --device cuda -o kernels.safetensors

The first launch of every kernel is stored, smallest first, while the file stays under --limit: tensors N.KERNEL.before.ARG for every
argument before the launch and N.KERNEL.after.ARG for those it writes (bytes, as they lie in memory), N being the command's number.
The metadata names device, driver and target, and launch N holds the command as JSON. The input is that of mnx bench.")]
pub struct Record {
    /// The bundle.
    pub bundle: PathBuf,
    /// safetensors file to write.
    #[arg(long, short, value_name = "K.safetensors")]
    pub output: PathBuf,
    /// Most bytes of the file.
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000)]
    pub limit: u64,
    #[command(flatten)]
    pub place: Where,
}

/// `mnx inspect`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mnx inspect m.mnxa
  mnx inspect m.mnxa --json | head -40")]
pub struct Inspect {
    /// The bundle.
    pub bundle: PathBuf,
    /// Print the manifest as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `mnx refit`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mnx refit m.mnxa --weights finetuned.safetensors -o n.mnxa
  mnx refit m.mnxa --weights weights_fold_3.safetensors --fold 3 -o n.mnxa

The weights must be of the architecture that the bundle was compiled for; every tensor that is missing or has another shape is listed.")]
pub struct Refit {
    /// The bundle whose code is kept.
    pub bundle: PathBuf,
    /// The new weights.
    #[arg(long, short, value_name = "W.safetensors", required_unless_present = "formula")]
    pub weights: Option<PathBuf>,
    /// Weights by the test formula of a case instead of a file; test vectors of the same case are kept.
    #[arg(long, value_name = "CASE", conflicts_with = "weights")]
    pub formula: Option<String>,
    /// The fold whose weights they replace; needed if the bundle has several.
    #[arg(long, value_name = "NAME")]
    pub fold: Option<String>,
    /// Bundle to write.
    #[arg(long, short, value_name = "N.mnxa")]
    pub output: PathBuf,
}

/// `mnx verify`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mnx verify m.mnxa
  mnx verify m.mnxa --isa x86-64-v3 --threads 1")]
pub struct Verify {
    /// The bundle.
    pub bundle: PathBuf,
    /// Print the errors as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Where,
}

/// `mnx explain-error`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mnx explain-error volume-0102
  mnx explain-error")]
pub struct ExplainError {
    /// The code, as it stands between the brackets of error[...]; without it all codes are listed.
    pub code: Option<String>,
}

/// `mnx completions`
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mnx completions bash > ~/.local/share/bash-completion/completions/mnx")]
pub struct Completions {
    /// The shell.
    pub shell: clap_complete::Shell,
}
