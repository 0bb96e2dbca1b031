//! Tuning: legal tiles near the default ones, timed on this machine by `mnx bench`, the best kept in a file.

pub mod search;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mnx_plan::target::Target;
use mnx_plan::{ModulePlan, PlanOptions, plan};
use mnx_words::many;

use crate::driver;
use crate::files::{scratch_folder, write};
use crate::report::{Failure, Outcome, Voice};
use crate::request::Request;
use crate::runner::{Report, Runner};
use crate::source::{Shape, Source};
use crate::tune::search::{Choice, Search};
use crate::tuned::{self, COMPILER, Cache, Entry, knob_map};

/// A candidate is taken for faster in a round if it saves at least this part; below it is noise.
const MARGIN: f64 = 0.02;

/// Bundles with default and chosen tiles are timed this often in turn: at least, and at most if the budget allows.
const PAIRS: (usize, usize) = (2, 4);

/// One tuning.
#[derive(Debug)]
pub struct Job {
    /// What to compile; its output, its stage and its plan are the tuner's own.
    pub request: Request,
    /// About how long it may take.
    pub budget: Duration,
    /// Threads to measure with.
    pub threads: Option<usize>,
    /// Timed runs of a bundle.
    pub runs: usize,
    /// The runtime.
    pub runner: Runner,
}

/// What tuning showed.
#[derive(Debug)]
pub struct Tuned {
    /// The kernels and their times.
    pub search: Search,
    /// The default plan.
    pub plan: ModulePlan,
    /// The tiles that stay.
    pub choice: Choice,
    /// Seconds of a whole run, with default tiles and with those that stay.
    pub total: (f64, f64),
    /// Threads that were measured.
    pub threads: usize,
}

/// Tunes.
///
/// # Errors
/// As compilation and `mnx bench`.
pub fn tune(job: &Job, voice: Voice) -> Outcome<Tuned> {
    let start = Instant::now();
    let quiet = Voice { quiet: true };
    let dir = scratch_folder()?;
    let graph_file = dir.path().join("graph.mnx");
    // Everything before the plan is the same for every bundle.
    let lowered = Request { to: crate::phase::Phase::Dispatch, output: Some(graph_file.clone()), ..job.request.clone() };
    driver::compile(&lowered, quiet)?;
    let graph = Source::load(&graph_file, &Shape::default())?.graph;

    // With several targets it is `mnx` that knows which one this machine runs.
    let first = Trial { job, dir: dir.path(), graph: &graph_file, targets: job.request.targets.clone() };
    let default_bundle = first.compile("default", None)?;
    let report = first.bench(&default_bundle, None)?;
    let target: &'static Target = job.request.targets.iter().copied().find(|t| t.name == report.isa).ok_or_else(|| {
        let message = format!("`mnx bench` ran code for {}, which was not compiled", report.isa);
        Failure::user("mnxc-0503", default_bundle.display(), message)
    })?;
    let trial = Trial { targets: vec![target], ..first };
    let default = plan(&graph, target, &PlanOptions { gelu: job.request.gelu, ..PlanOptions::default() })?;
    let mut search = Search::new(&default);
    search.record(&search.default_choice(), &seconds(&default, &report)?);
    voice.note(&format!(
        "{} for {target}, {}; {:.3} ms with default tiles on {}",
        many(search.kernels.len(), "kernel shape"),
        many(search.progress().1, "candidate"),
        report.median_s * 1e3,
        many(report.threads, "thread"),
        target = target.name,
    ));

    let mut longest = Duration::ZERO;
    let mut bench_time = Duration::ZERO;
    let mut round = 0;
    loop {
        // What the comparison at the end takes at least.
        let reserve = longest + bench_time * (2 * PAIRS.0 as u32);
        if round > 0 && start.elapsed() + longest + reserve > job.budget {
            break;
        }
        let Some(choice) = search.round() else { break };
        round += 1;
        let began = Instant::now();
        let made = tuned::replan(&graph, &search.edit(&default, &choice), job.request.gelu)?;
        let bundle = trial.compile("round", Some(&made))?;
        let bench_began = Instant::now();
        let report = trial.bench(&bundle, Some(target))?;
        bench_time = bench_time.max(bench_began.elapsed());
        longest = longest.max(began.elapsed());
        search.record(&choice, &seconds(&made, &report)?);
        let (tried, all) = search.progress();
        voice.note(&format!(
            "round {round}: {tried} of {} tried, {:.0} of {:.0} s",
            many(all, "candidate"),
            start.elapsed().as_secs_f64(),
            job.budget.as_secs_f64()
        ));
    }

    let mut choice = search.best(MARGIN);
    let mut total = (report.median_s, report.median_s);
    // Twice at most: all that won a round, then those that also won side by side.
    for last in [false, true] {
        if choice == search.default_choice() {
            break;
        }
        voice.note(&format!("comparing {} with the default ones", many(choice.iter().filter(|c| **c != 0).count(), "new tile")));
        let made = tuned::replan(&graph, &search.edit(&default, &choice), job.request.gelu)?;
        let bundle = trial.compile("chosen", Some(&made))?;
        let (a, b) = trial.compare(&default_bundle, &bundle, target, start)?;
        total = (median(&a), median(&b));
        let (a, b) = (fastest(&default, &a)?, fastest(&made, &b)?);
        search.record(&search.default_choice(), &a);
        search.record(&choice, &b);
        let confirmed = search.confirmed(&choice, &a, &b);
        if confirmed == choice || last {
            if total.1 >= total.0 {
                voice.note("the new tiles are not faster together: the default ones stay");
                choice = search.default_choice();
                total.1 = total.0;
            }
            break;
        }
        choice = confirmed;
        total.1 = total.0;
    }
    Ok(Tuned { search, plan: default, choice, total, threads: report.threads })
}

/// Compiling and timing in the scratch directory.
struct Trial<'a> {
    job: &'a Job,
    dir: &'a Path,
    graph: &'a Path,
    targets: Vec<&'static Target>,
}

impl Trial<'_> {
    fn compile(&self, name: &str, plan: Option<&ModulePlan>) -> Outcome<PathBuf> {
        let bundle = self.dir.join(format!("{name}.mnxa"));
        let text = plan.map(|p| (self.dir.join(format!("{name}.plan")), p.to_string()));
        if let Some((path, text)) = &text {
            write(path, text.as_bytes())?;
        }
        let request = Request {
            input: self.graph.to_path_buf(),
            output: Some(bundle.clone()),
            shape: Shape::default(),
            heads: crate::source::Heads::All,
            pipeline: None,
            targets: self.targets.clone(),
            plan: text.map(|(path, _)| path),
            ..self.job.request.clone()
        };
        driver::compile(&request, Voice { quiet: true })?;
        Ok(bundle)
    }

    fn bench(&self, bundle: &Path, target: Option<&Target>) -> Outcome<Report> {
        self.job.runner.bench(bundle, self.job.runs, self.job.threads, target.map(|t| t.name))
    }

    /// Times two bundles in turn.
    fn compare(&self, a: &Path, b: &Path, target: &Target, start: Instant) -> Outcome<(Vec<Report>, Vec<Report>)> {
        let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
        for pair in 0..PAIRS.1 {
            if pair >= PAIRS.0 && start.elapsed() > self.job.budget {
                break;
            }
            of_a.push(self.bench(a, Some(target))?);
            of_b.push(self.bench(b, Some(target))?);
        }
        Ok((of_a, of_b))
    }
}

/// Least seconds of every dispatch of a plan, in its order.
fn seconds(plan: &ModulePlan, report: &Report) -> Outcome<Vec<f64>> {
    let of = |name: &str| report.dispatches.iter().find(|d| d.dispatch == name).map(|d| d.min_s);
    let missing = |name: &str| Failure::user("mnxc-0503", name, "`mnx bench` gave no time for this dispatch");
    plan.dispatches.iter().map(|d| of(&d.name).ok_or_else(|| missing(&d.name))).collect()
}

/// Least seconds of every dispatch over several reports.
fn fastest(plan: &ModulePlan, reports: &[Report]) -> Outcome<Vec<f64>> {
    let mut out = vec![f64::INFINITY; plan.dispatches.len()];
    for r in reports {
        out.iter_mut().zip(seconds(plan, r)?).for_each(|(least, s)| *least = least.min(s));
    }
    Ok(out)
}

/// Median over reports of the median whole run.
fn median(reports: &[Report]) -> f64 {
    let mut all: Vec<f64> = reports.iter().map(|r| r.median_s).collect();
    all.sort_by(f64::total_cmp);
    match all.len() {
        0 => f64::NAN,
        n => (all[(n - 1) / 2] + all[n / 2]) / 2.0,
    }
}

impl Tuned {
    /// One entry per kernel shape that was measured.
    pub fn entries(&self) -> Vec<Entry> {
        let machine = machine();
        let measured = self.search.kernels.iter().zip(&self.choice).filter(|(k, c)| k.seconds[0].is_finite() && k.seconds[**c].is_finite());
        measured
            .map(|(k, c)| Entry {
                target: self.plan.target.name.to_string(),
                kernel: k.shape.clone(),
                compiler: COMPILER.to_string(),
                knobs: knob_map(&k.tiles[*c]),
                default_knobs: knob_map(&k.tiles[0]),
                best_s: k.seconds[*c],
                default_s: k.seconds[0],
                threads: self.threads,
                machine: machine.clone(),
                line: 0,
            })
            .collect()
    }

    /// Puts the entries into a cache file, keeping what else it holds.
    ///
    /// # Errors
    /// A damaged or unwritable file.
    pub fn save(&self, path: &Path) -> Outcome<usize> {
        let mut cache = if path.exists() { Cache::read(path)? } else { Cache::default() };
        let entries = self.entries();
        let count = entries.len();
        entries.into_iter().for_each(|e| cache.insert(e));
        cache.write(path)?;
        Ok(count)
    }
}

/// This machine's processor, as far as Linux tells.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| text.lines().find(|l| l.starts_with(name)).and_then(|l| l.split(':').nth(1)).map(|v| v.trim().to_string());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let name = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_string());
    format!("{name}, {}", many(cores, "core"))
}
