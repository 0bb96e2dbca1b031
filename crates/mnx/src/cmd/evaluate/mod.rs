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

pub use classes::{Class, parse as parse_class};
use pairs::{Failed, Pair};

use crate::cli::Evaluate;
use crate::cmd::{check_output, start_threads, write_text};
use crate::failure::Failure;
use crate::text;

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
pub fn run(args: &Evaluate, quiet: bool) -> Result<(), Failure> {
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
fn check_outputs(args: &Evaluate, pairs: &[Pair]) -> Result<(), Failure> {
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

fn write(args: &Evaluate, evaluation: &Evaluation) -> Result<(), Failure> {
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
