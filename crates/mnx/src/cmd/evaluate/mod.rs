//! `mnx evaluate`: segmentations against references.

mod classes;
mod pairs;
mod report;
mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use mnx_console::Problem;
use mnx_runtime::session::default_threads;
use mnx_volume::metrics::{Comparison, Means, Scores};
use mnx_volume::{ReadOptions, Volume, read, same_grid};
use mnx_words::many;

use classes::Class;
use pairs::{Failed, Pair};

use crate::cmd::place::threads;
use crate::cmd::{check_output, start_threads, write_text};
use crate::failure::Failure;
use crate::text;

/// Compare segmentations with references: Dice, surface Dice, HD95, volumes.
#[derive(Debug, clap::Args)]
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
pub struct Args {
    /// Segmentation, or folder of segmentations named CASE.nii.gz or CASE.nii.
    #[arg(long, value_name = "DIR|FILE")]
    pred: PathBuf,
    /// Reference, or folder of references with the same names.
    #[arg(long = "ref", value_name = "DIR|FILE")]
    reference: PathBuf,
    /// Classes: LABEL, NAME=LABEL or NAME=LABEL+LABEL.., separated by commas [default: all labels found but 0].
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = classes::parse, conflicts_with = "bundle")]
    labels: Vec<Class>,
    /// Take the classes and their names from this bundle.
    #[arg(long, value_name = "M.mnxa")]
    bundle: Option<PathBuf>,
    /// Leave out voxels where the reference has this label.
    #[arg(long, value_name = "LABEL")]
    ignore_label: Option<u16>,
    /// Distance up to which surfaces agree, in mm.
    #[arg(long, value_name = "MM", default_value_t = 1.0, value_parser = tolerance)]
    tolerance: f64,
    /// Write all scores and means as comma-separated values.
    #[arg(long, value_name = "F.csv")]
    csv: Option<PathBuf>,
    /// Write the tables as Markdown.
    #[arg(long, value_name = "F.md")]
    md: Option<PathBuf>,
    /// Write JSON to a file, or to standard output (-) instead of the table.
    #[arg(long, value_name = "F|-")]
    json: Option<PathBuf>,
    /// Threads, at most four times the cores; as many cases are compared at a time [default: the cores this process may use].
    #[arg(long, value_name = "N", value_parser = threads)]
    threads: Option<usize>,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(v) if (0.0..=1000.0).contains(&v) => Ok(v),
        _ => Err("millimetres from 0 to 1000 expected".to_owned()),
    }
}

/// A case that was compared.
struct Case {
    pair: Pair,
    /// One per class.
    scores: Vec<Scores>,
}

/// Everything that the outputs say.
struct Evaluation {
    classes: Vec<Class>,
    cases: Vec<Case>,
    failed: Vec<Failed>,
    /// One per class, over cases.
    means: Vec<Means>,
    /// Over the classes other than background.
    foreground: Means,
    tolerance_mm: f64,
}

/// What one worker finds out about a case.
struct Compared {
    /// By class key, for the classes asked for or, without any, for each foreground label of the case.
    scores: BTreeMap<Vec<u16>, Scores>,
    labels: BTreeSet<u16>,
    voxels: u64,
}

/// Pairs files by name, compares them, writes tables; exit code 1 if any case failed.
pub fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    let asked = classes::asked(args)?;
    let (pairs, mut failed) = pairs::find(&args.pred, &args.reference)?;
    check_outputs(args, &pairs)?;
    let threads = args.threads.unwrap_or_else(default_threads);
    // Distances within a case keep to the same number of threads.
    start_threads(args.threads)?;
    let compared = compare_all(&pairs, &asked, args.tolerance, threads, quiet);

    let mut good = Vec::new();
    for (pair, outcome) in pairs.into_iter().zip(compared) {
        match outcome {
            Ok(c) => good.push((pair, c)),
            Err(reason) => failed.push(Failed { case: pair.case, reason }),
        }
    }
    failed.sort_by(|a, b| a.case.cmp(&b.case));
    if good.is_empty() {
        return Err(failure("no case could be compared".to_owned(), &failed));
    }
    let classes = asked.classes.unwrap_or_else(|| classes::found(good.iter().flat_map(|(_, c)| c.scores.keys())));
    if classes.is_empty() {
        return Err(Failure::user("mnx-0302", "no label other than 0 in any case; name classes with --labels"));
    }
    if !quiet {
        note_unnamed(&classes, asked.ignore, &good);
    }
    let evaluation = gather(classes, good, failed, args.tolerance);
    write(args, &evaluation)?;
    if evaluation.failed.is_empty() {
        return Ok(());
    }
    let all = evaluation.cases.len() + evaluation.failed.len();
    Err(failure(format!("{} of {} failed", evaluation.failed.len(), many(all, "case")), &evaluation.failed))
}

/// A failure with a note for each case that failed.
fn failure(what: String, failed: &[Failed]) -> Failure {
    let notes = failed.iter().map(|f| format!("{}: {}", f.case, f.reason));
    Failure::User(notes.fold(Problem::new("mnx-0303", what), Problem::note))
}

fn list(failed: &[Failed]) -> String {
    failed.iter().map(|f| format!("  {}: {}", f.case, f.reason)).collect::<Vec<_>>().join("\n")
}

/// Refuses outputs that could not be written, before any work is done.
fn check_outputs(args: &Args, pairs: &[Pair]) -> Result<(), Failure> {
    let mut inputs: Vec<&Path> = pairs.iter().flat_map(|p| [p.prediction.as_path(), p.reference.as_path()]).collect();
    inputs.extend(args.bundle.as_deref());
    let json = args.json.as_deref().filter(|p| *p != Path::new("-"));
    let outputs: Vec<&Path> = [args.csv.as_deref(), args.md.as_deref(), json].into_iter().flatten().collect();
    for (i, output) in outputs.iter().enumerate() {
        check_output(output, &inputs)?;
        if outputs[..i].contains(output) {
            return Err(Failure::user("mnx-0101", format!("{}: named for two outputs", output.display())));
        }
    }
    Ok(())
}

/// Compares every pair, several at a time. Each worker holds one case: two volumes, and for a moment one of them as float32.
fn compare_all(pairs: &[Pair], asked: &classes::Asked, tolerance_mm: f64, threads: usize, quiet: bool) -> Vec<Result<Compared, String>> {
    let progress = if quiet { ProgressBar::hidden() } else { ProgressBar::new(pairs.len() as u64) };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} cases, {elapsed} so far, {eta} to go") {
        progress.set_style(style);
    }
    progress.tick();
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(pairs.len()) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(pair) = pairs.get(i) else { break };
                    let outcome = compare(pair, asked, tolerance_mm);
                    outcomes.lock().unwrap_or_else(|e| e.into_inner()).insert(i, outcome);
                    progress.inc(1);
                }
            });
        }
    });
    progress.finish_and_clear();
    outcomes.into_inner().unwrap_or_else(|e| e.into_inner()).into_values().collect()
}

/// One case; the error names the file.
fn compare(pair: &Pair, asked: &classes::Asked, tolerance_mm: f64) -> Result<Compared, String> {
    let (prediction_grid, prediction) = labels(&pair.prediction)?;
    let (grid, reference) = labels(&pair.reference)?;
    same_grid(&pair.prediction, &prediction_grid, &pair.reference, &grid).map_err(|e| e.to_string())?;
    let in_pair = |e: mnx_volume::VolumeError| format!("{}: {e}", pair.prediction.display());
    let comparison = Comparison::new(&prediction, &reference, grid.shape, grid.spacing, asked.ignore).map_err(in_pair)?;
    let found = comparison.labels();
    let classes: Vec<Vec<u16>> = match &asked.classes {
        Some(classes) => classes.iter().map(|c| c.labels.clone()).collect(),
        None => found.iter().filter(|l| **l != 0 && asked.ignore != Some(**l)).map(|l| vec![*l]).collect(),
    };
    let mut scores = BTreeMap::new();
    for class in classes {
        let of_class = comparison.scores(&class, tolerance_mm).map_err(in_pair)?;
        scores.insert(class, of_class);
    }
    Ok(Compared { scores, labels: found, voxels: comparison.voxels() })
}

/// A label volume: its grid (without voxels) and its labels.
fn labels(path: &Path) -> Result<(Volume, Vec<u16>), String> {
    let options = ReadOptions { channels: Some(1), ..ReadOptions::default() };
    let mut volume = read(path, &options).map_err(|e| e.to_string())?;
    let labels = volume.to_labels().map_err(|e| format!("{}: {e}", path.display()))?;
    volume.data = Vec::new();
    Ok((volume, labels))
}

/// Says which labels of the volumes are in no class: they count as background of all.
fn note_unnamed(classes: &[Class], ignore: Option<u16>, cases: &[(Pair, Compared)]) {
    let mut unnamed: BTreeMap<u16, usize> = BTreeMap::new();
    for (_, compared) in cases {
        for label in &compared.labels {
            if *label != 0 && ignore != Some(*label) && !classes.iter().any(|c| c.labels.contains(label)) {
                *unnamed.entry(*label).or_default() += 1;
            }
        }
    }
    if !unnamed.is_empty() {
        let each: Vec<String> = unnamed.iter().map(|(label, n)| format!("{label} (in {n} of {})", many(cases.len(), "case"))).collect();
        mnx_console::note(&format!("no class holds {} {}", if each.len() == 1 { "the label" } else { "the labels" }, each.join(", ")));
    }
}

/// Fills in classes that a case lacks, and takes means.
fn gather(classes: Vec<Class>, good: Vec<(Pair, Compared)>, failed: Vec<Failed>, tolerance_mm: f64) -> Evaluation {
    let cases: Vec<Case> = good
        .into_iter()
        .map(|(pair, compared)| {
            let of = |c: &Class| compared.scores.get(&c.labels).copied().unwrap_or_else(|| Scores::absent(compared.voxels));
            Case { scores: classes.iter().map(of).collect(), pair }
        })
        .collect();
    let means: Vec<Means> = (0..classes.len()).map(|k| Means::over_cases(&cases.iter().map(|c| c.scores[k]).collect::<Vec<_>>())).collect();
    let foreground: Vec<Means> = classes.iter().zip(&means).filter(|(c, _)| !c.is_background()).map(|(_, m)| *m).collect();
    Evaluation { foreground: Means::over_classes(&foreground), classes, cases, failed, means, tolerance_mm }
}

fn write(args: &Args, evaluation: &Evaluation) -> Result<(), Failure> {
    let json = || -> Result<String, Failure> {
        let pretty = serde_json::to_string_pretty(&summary::json(evaluation)).map_err(|e| Failure::Bug(e.to_string()))?;
        Ok(format!("{pretty}\n"))
    };
    if let Some(path) = &args.csv {
        write_text(path, &report::csv(evaluation))?;
    }
    if let Some(path) = &args.md {
        write_text(path, &report::markdown(evaluation))?;
    }
    match args.json.as_deref() {
        Some(path) if path == Path::new("-") => text::print(&json()?),
        Some(path) => {
            write_text(path, &json()?)?;
            text::print(&report::table(evaluation))
        }
        None => text::print(&report::table(evaluation)),
    }
}

/// Where a case's files are, for messages and outputs.
fn shown(path: &Path) -> String {
    PathBuf::from(path).display().to_string()
}
