//! `mnx predict`: segmentations of NIfTI volumes, one case or a folder of them.

mod case;
mod cases;
mod done;
mod doubt;
mod folder;
mod job;
mod model;
mod progress;
mod report;
mod save;

use std::path::{Path, PathBuf};

use mnx_artifact::Bundle;
use mnx_runtime::{DeviceChoice, Patches, memory};
use mnx_volume::Foreign;

use crate::cmd::place::Where;
use crate::cmd::{Place, check_output, open_sessions, start_threads};
use crate::failure::Failure;
use done::State;
use job::{Job, Saved};
use model::Model;
use report::Report;

/// Segment a NIfTI volume, or a folder of them.
#[derive(Debug, clap::Args)]
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
pub struct Args {
    /// The bundle.
    bundle: PathBuf,
    /// NIfTI volume (.nii or .nii.gz), once per channel; or a folder of cases.
    #[arg(long, short, required = true, value_name = "IMG.nii.gz|FOLDER")]
    input: Vec<PathBuf>,
    /// Segmentation to write; a folder if the input is one.
    #[arg(long, short, value_name = "SEG.nii.gz|FOLDER")]
    output: PathBuf,
    /// Distance of neighbouring patches, as a fraction of the patch [default: the model's, else 0.5].
    #[arg(long, value_name = "F", value_parser = step)]
    step: Option<f64>,
    /// Share of a patch that its neighbour covers too: 1 - step.
    #[arg(long, value_name = "F", value_parser = overlap, conflicts_with = "step")]
    overlap: Option<f64>,
    /// Average over mirrored copies of each patch, along the axes that the model was trained with (3 axes: 8 times the work).
    #[arg(long)]
    tta: bool,
    /// What the files of each channel end in, instead of 0000, 0001, ... (a folder of cases).
    #[arg(long, value_name = "SUFFIX,..", value_delimiter = ',')]
    channels: Vec<String>,
    /// Leave out cases whose outputs are there: whole, on the input's grid, with labels of this model. Others are done again.
    #[arg(long = "continue")]
    resume: bool,
    /// Also write the probabilities as nnU-Net does: an .npz and a .pkl beside each segmentation.
    #[arg(long)]
    save_probabilities: bool,
    /// Also write the probabilities of every class as a 4-D volume (one case).
    #[arg(long, value_name = "P.nii.gz")]
    probabilities: Option<PathBuf>,
    /// Also draw three slices with the segmentation in colour (one case).
    #[arg(long, value_name = "P.png")]
    picture: Option<PathBuf>,
    /// Replace NaN and infinite voxels instead of refusing them.
    #[arg(long)]
    nan_to_num: bool,
    /// Print the result's numbers as JSON.
    #[arg(long)]
    json: bool,
    /// Look for NaN and infinities after every dispatch of every patch and name the first that has any (slow).
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    place: Where,
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

/// Reads, prepares, slides the network over the volume, goes back to the file's grid, writes.
pub fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    let folder = args.input.iter().find(|i| i.is_dir());
    let job = match folder {
        Some(folder) => {
            check_folder(args, folder)?;
            None
        }
        None => Some(single_job(args)?),
    };
    let bundle = Bundle::open(&args.bundle)?;
    let model = Model::new(args, bundle.manifest())?;
    cases::check_channels(args, &model)?;
    if args.place.device == DeviceChoice::Null {
        return Err(Failure::user("mnx-0201", "the null device computes nothing, so it cannot segment; use --device host"));
    }
    if let Some(job) = &job {
        check_inputs(&model, job)?;
    }
    check_arena(args, &bundle)?;
    start_threads(args.place.threads)?;
    model.notes(args).iter().for_each(|note| mnx_console::note(note));
    match (folder, job) {
        (Some(folder), _) => folder::run(args, quiet, &bundle, &model, folder),
        (None, Some(job)) => single(args, quiet, &bundle, &model, &job),
        (None, None) => Err(Failure::Bug("neither a folder nor a case".to_owned())),
    }
}

fn single(args: &Args, quiet: bool, bundle: &Bundle, model: &Model, job: &Job) -> Result<(), Failure> {
    if args.resume {
        match done::state(model, job) {
            State::New => {}
            State::Again(why) => mnx_console::note(&format!("{} is done again: {why}", job.segmentation.display())),
            State::Done => {
                if !quiet {
                    mnx_console::say(&format!("{}: is there already", job.segmentation.display()));
                }
                return Ok(());
            }
        }
    }
    let mut ready = case::prepare(model, job, args.nan_to_num, &mnx_console::warn)?;
    let sessions = ready.times.step("load", || open_sessions(bundle, &args.place))?;
    let place = Place::of(&sessions);
    let mut patches = Patches::new(sessions, args.check)?;
    let mut progress = progress::Patches::new(model.tiles(ready.ready.shape), quiet);
    let scored = case::segment(model, &mut patches, job, ready, &mut |done, _| progress.at(done))?;
    progress.finish();
    let stored = case::store(model, job, scored)?;
    Report { args, quiet, model, place: &place }.single(job, &stored)
}

/// Several inputs are one per channel.
fn check_inputs(model: &Model, job: &Job) -> Result<(), Failure> {
    let n = job.inputs.len();
    if n == 1 || n == model.channels {
        return Ok(());
    }
    Err(Failure::user("mnx-0211", format!("{n} inputs given, the model takes {}", model.takes())))
}

/// Refuses a bundle whose activations no host memory holds, before anything is loaded. On a GPU its driver says so.
fn check_arena(args: &Args, bundle: &Bundle) -> Result<(), Failure> {
    let programs = || bundle.manifest().programs.iter().filter(|p| args.place.isa.as_ref().is_none_or(|isa| p.target == *isa));
    let on_host =
        args.place.device == DeviceChoice::Host || (args.place.device == DeviceChoice::Auto && programs().all(|p| p.gpu.is_none()));
    let least = programs().filter(|p| p.gpu.is_none()).map(|p| p.arena_bytes).min();
    match least.filter(|_| on_host).and_then(|bytes| memory::limit()?.refusal(bytes)) {
        Some(why) => {
            let what = "its activations do not fit";
            Err(Failure::user("mnx-0217", format!("{}: {what}: {why}; compile it with a smaller --patch", args.bundle.display())))
        }
        None => Ok(()),
    }
}

fn is_nifti(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.ends_with(".nii") || name.ends_with(".nii.gz")
}

/// One case from the command line. Names that the writers would refuse are refused here, before hours of work.
fn single_job(args: &Args) -> Result<Job, Failure> {
    if !args.channels.is_empty() {
        let what = "is for a folder of cases; give one -i per channel, in the model's order";
        return Err(Failure::user("mnx-0205", format!("--channels {}: {what}", args.channels.join(","))));
    }
    let mut inputs: Vec<&Path> = args.input.iter().map(AsRef::as_ref).collect();
    inputs.push(&args.bundle);
    for path in [Some(&args.output), args.probabilities.as_ref()].into_iter().flatten() {
        if !is_nifti(path) {
            return Err(Failure::user("mnx-0202", format!("{}: a name ending in .nii or .nii.gz expected", path.display())));
        }
    }
    if let Some(path) = args.picture.as_ref().filter(|p| p.extension().is_none_or(|e| e != "png")) {
        return Err(Failure::user("mnx-0202", format!("{}: a name ending in .png expected", path.display())));
    }
    let job = Job {
        name: args.output.display().to_string(),
        inputs: args.input.clone(),
        segmentation: args.output.clone(),
        saved: args.save_probabilities.then(|| Saved::beside(&args.output)),
        probabilities: args.probabilities.clone(),
        picture: args.picture.clone(),
    };
    let outputs = job.outputs();
    for (i, path) in outputs.iter().enumerate() {
        check_output(path, &inputs)?;
        if outputs[..i].contains(path) {
            return Err(Failure::user("mnx-0203", format!("{}: named for two outputs", path.display())));
        }
    }
    Ok(job)
}

/// What a folder as input excludes.
fn check_folder(args: &Args, folder: &Path) -> Result<(), Failure> {
    let shown = folder.display();
    if args.input.len() > 1 {
        return Err(Failure::user("mnx-0204", format!("{shown}: is a folder; it must be the only input")));
    }
    for (given, option) in [(&args.picture, "--picture"), (&args.probabilities, "--probabilities")] {
        if given.is_some() {
            return Err(Failure::user(
                "mnx-0205",
                format!("{option} is for one case and {shown} is a folder; --save-probabilities saves those of every case"),
            ));
        }
    }
    if args.output.exists() && !args.output.is_dir() {
        return Err(Failure::user("mnx-0206", format!("{}: is a file, a folder expected since {shown} is one", args.output.display())));
    }
    if !args.output.exists() && (is_nifti(&args.output) || Foreign::by_name(&args.output).is_some()) {
        let named = args.output.display();
        return Err(Failure::user("mnx-0206", format!("{named}: is a file's name, a folder expected since {shown} is one")));
    }
    Ok(())
}

/// A path without `.nii` or `.nii.gz`.
fn stem(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    let short = text.strip_suffix(".gz").unwrap_or(&text);
    PathBuf::from(short.strip_suffix(".nii").unwrap_or(short))
}
