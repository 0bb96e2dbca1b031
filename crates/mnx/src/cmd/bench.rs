//! `mnx bench`: how fast the network runs here.

use std::io::BufRead;
use std::path::PathBuf;
use std::time::Instant;

use mnx_artifact::{Bundle, Cost};
use mnx_console::note;
use mnx_runtime::{DispatchTime, Roofline, Session, Trace, memory};
use mnx_weights::det_input;
use serde_json::{Value, json};

use crate::cmd::place::Where;
use crate::cmd::{check_output, machine, open_session, write_text};
use crate::failure::Failure;
use crate::text;

/// Measure how fast the network runs here.
#[derive(Debug, clap::Args)]
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
pub struct Args {
    /// The bundle.
    bundle: PathBuf,
    /// Timed runs, after one to warm up.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = runs)]
    runs: usize,
    /// A table line for every dispatch.
    #[arg(long)]
    per_dispatch: bool,
    /// Write JSON to a file, or to standard output (-) instead of the table.
    #[arg(long, value_name = "F|-")]
    json: Option<PathBuf>,
    /// Write the last traced run in the format of chrome://tracing.
    #[arg(long, value_name = "F")]
    trace_json: Option<PathBuf>,
    /// Before timing, look for NaN and infinities after every dispatch and stop at the first that has any.
    #[arg(long)]
    check: bool,
    /// Load and warm up, then run once for every line on standard input and answer with the seconds on a line.
    #[arg(long, conflicts_with_all = ["runs", "per_dispatch", "json", "trace_json", "check"])]
    paced: bool,
    #[command(flatten)]
    place: Where,
}

fn runs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (1..=1_000_000).contains(&n) => Ok(n),
        _ => Err("a number of runs, 1 to 1000000, expected".to_owned()),
    }
}

/// Median, least and most of some durations, in seconds.
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let n = seconds.len();
        let median = if n.is_multiple_of(2) { (seconds[n / 2 - 1] + seconds[n / 2]) / 2.0 } else { seconds[n / 2] };
        Self { median, min: seconds[0], max: seconds[n - 1] }
    }
}

/// What was measured.
struct Measured {
    total: Spread,
    /// The launches alone, by the device's own clock, where it has one.
    compute: Option<Spread>,
    cost: Cost,
    /// Seconds that the roofline allows for the whole run; none where it means nothing.
    bound: Option<f64>,
    dispatches: Vec<(DispatchTime, Spread, Option<f64>)>,
    peak_bytes: Option<u64>,
    roofline: Option<Roofline>,
    /// The last traced run.
    trace: Trace,
}

impl Measured {
    /// Seconds that rates are of: the launches where they are known alone, else whole runs.
    fn seconds(&self) -> f64 {
        self.compute.as_ref().unwrap_or(&self.total).median
    }
}

/// Times runs and writes a table or JSON.
pub fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    let to_stdout = args.json.as_ref().is_some_and(|p| p.as_os_str() == "-");
    if let Some(path) = &args.json
        && !to_stdout
    {
        check_output(path, &[&args.bundle])?;
    }
    if let Some(path) = &args.trace_json {
        check_output(path, &[&args.bundle])?;
        if args.json.as_ref() == Some(path) {
            return Err(Failure::user("mnx-0101", format!("{}: named for two outputs", path.display())));
        }
    }
    let bundle = Bundle::open(&args.bundle)?;
    let mut session = open_session(&bundle, &args.place)?;
    if args.paced {
        return paced(&mut session);
    }
    if args.check {
        check(&mut session, args)?;
        note(&format!("{}: every dispatch gave finite numbers", args.bundle.display()));
    }
    let measured = measure(&mut session, args.runs)?;
    if let Some(path) = &args.trace_json {
        let events = measured.trace.chrome(&session.program().commands, &session.device(), &session.program().target);
        let bundle = args.bundle.display().to_string();
        write_text(path, &format!("{:#}\n", json!({"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"bundle": bundle}})))?;
        note(&format!("{}: the trace of the last run", path.display()));
    }
    if let Some(path) = &args.json {
        let report = format!("{:#}\n", json(args, &session, &measured));
        if to_stdout {
            return text::print(&report);
        }
        write_text(path, &report)?;
        if quiet {
            return Ok(());
        }
    }
    text::print(&table(args, &session, &measured))
}

/// One run that stops at the first dispatch whose results are not finite.
fn check(session: &mut Session, args: &Args) -> Result<(), Failure> {
    let inputs: Vec<_> = session.inputs().iter().map(|p| det_input("bench/input", &p.shape)).collect();
    let slices: Vec<&[f32]> = inputs.iter().map(|t| t.data.as_slice()).collect();
    let mut outputs = session.new_outputs();
    match session.run_checked(&slices, &mut outputs)? {
        None => Ok(()),
        Some(found) => Err(Failure::user("runtime-0104", format!("{}: {found}", args.bundle.display()))),
    }
}

/// One run per line of standard input, so that another program can alternate this network with others. Between runs the
/// threads are parked. The line's text does not matter; the end of the input is the end.
fn paced(session: &mut Session) -> Result<(), Failure> {
    let inputs: Vec<_> = session.inputs().iter().map(|p| det_input("bench/input", &p.shape)).collect();
    let slices: Vec<&[f32]> = inputs.iter().map(|t| t.data.as_slice()).collect();
    let mut outputs = session.new_outputs();
    session.run_into(&slices, &mut outputs)?;
    for line in std::io::stdin().lock().lines() {
        line.map_err(|e| Failure::user("mnx-0109", format!("standard input: {}", mnx_words::reason(&e))))?;
        let start = Instant::now();
        session.run_into(&slices, &mut outputs)?;
        text::print(&format!("{:.9}\n", start.elapsed().as_secs_f64()))?;
    }
    Ok(())
}

fn measure(session: &mut Session, runs: usize) -> Result<Measured, Failure> {
    let inputs: Vec<_> = session.inputs().iter().map(|p| det_input("bench/input", &p.shape)).collect();
    let slices: Vec<&[f32]> = inputs.iter().map(|t| t.data.as_slice()).collect();
    let (mut outputs, mut trace) = (session.new_outputs(), session.new_trace());
    let groups = DispatchTime::group(&session.program().commands);
    session.run_into(&slices, &mut outputs)?;
    // Whole runs and traced runs alternate, so that tracing does not weigh on the totals and both see the same machine.
    let (mut totals, mut alone) = (Vec::new(), Vec::new());
    let mut each: Vec<Vec<f64>> = vec![Vec::new(); groups.len()];
    for _ in 0..runs {
        let start = Instant::now();
        session.run_into(&slices, &mut outputs)?;
        totals.push(start.elapsed().as_secs_f64());
        alone.extend(session.replay()?);
        session.run_timed(&slices, &mut outputs, &mut trace)?;
        for (seconds, group) in each.iter_mut().zip(&groups) {
            seconds.push(group.seconds(&trace));
        }
    }
    // Before the roofline, which needs memory of its own.
    let peak_bytes = memory::peak_bytes();
    let roofline = session.roofline()?;
    let cost = groups.iter().fold(Cost::default(), |sum, g| Cost {
        flops: sum.flops.saturating_add(g.cost.flops),
        bytes: sum.bytes.saturating_add(g.cost.bytes),
        gelus: sum.gelus.saturating_add(g.cost.gelus),
    });
    let bound = roofline.as_ref().map(|r| groups.iter().map(|g| r.seconds(g.cost)).sum());
    let dispatches = groups
        .into_iter()
        .zip(each)
        .map(|(g, seconds)| {
            let bound = roofline.as_ref().map(|r| r.seconds(g.cost));
            (g, Spread::of(seconds), bound)
        })
        .collect();
    let compute = (!alone.is_empty()).then(|| Spread::of(alone));
    Ok(Measured { total: Spread::of(totals), compute, trace, cost, bound, dispatches, peak_bytes, roofline })
}

fn percent(bound: Option<f64>, seconds: f64) -> Option<f64> {
    bound.filter(|_| seconds > 0.0).map(|b| 100.0 * b / seconds)
}

fn gflops(measured: &Measured, cost: Cost, seconds: f64) -> Option<f64> {
    measured.roofline.as_ref().filter(|_| seconds > 0.0).map(|_| cost.flops as f64 / seconds / 1e9)
}

/// GB/s of the bytes that must move at least.
fn rate(measured: &Measured, cost: Cost, seconds: f64) -> Option<f64> {
    measured.roofline.as_ref().filter(|_| seconds > 0.0).map(|_| cost.bytes as f64 / seconds / 1e9)
}

fn json(args: &Args, session: &Session, m: &Measured) -> Value {
    let dispatches: Vec<Value> = m
        .dispatches
        .iter()
        .map(|(group, spread, bound)| {
            json!({
                "dispatch": group.name,
                "kernel": group.kernels.join(" "),
                "median_s": spread.median, "min_s": spread.min, "max_s": spread.max,
                "gflops": gflops(m, group.cost, spread.median),
                "gbytes_per_s": rate(m, group.cost, spread.median),
                "flops": group.cost.flops,
                "bytes": group.cost.bytes,
                "percent": percent(*bound, spread.median),
            })
        })
        .collect();
    json!({
        "bundle": args.bundle.display().to_string(),
        "device": session.device_name(),
        "device_name": session.device(),
        "isa": session.program().target,
        "threads": session.threads(),
        "runs": args.runs,
        "median_s": m.total.median, "min_s": m.total.min, "max_s": m.total.max,
        "compute_s": m.compute.as_ref().map(|c| json!({"median": c.median, "min": c.min, "max": c.max})),
        "peak_bytes": m.peak_bytes,
        "gflops": gflops(m, m.cost, m.seconds()),
        "gbytes_per_s": rate(m, m.cost, m.seconds()),
        "flops": m.cost.flops,
        "bytes": m.cost.bytes,
        "percent_of_roofline": percent(m.bound, m.seconds()),
        "arena_bytes": session.program().arena_bytes,
        "weights_bytes": session.weights_bytes(),
        "roofline": m.roofline,
        "dispatches": dispatches,
    })
}

fn table(args: &Args, session: &Session, m: &Measured) -> String {
    let number = |v: Option<f64>, digits: usize| v.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
    let mut out = format!("{}: {}, {} after one to warm up\n", args.bundle.display(), machine(session), mnx_words::many(args.runs, "run"));
    out.push_str(&format!(
        "median {}   min {}   max {}\n",
        text::seconds(m.total.median),
        text::seconds(m.total.min),
        text::seconds(m.total.max)
    ));
    if let Some(c) = &m.compute {
        let [median, min, max] = [c.median, c.min, c.max].map(text::seconds);
        out.push_str(&format!("launches alone, by the device's clock: median {median}   min {min}   max {max}\n"));
    }
    out.push_str(&format!(
        "{} GFLOP/s, {} moved at least, {} % of this machine's roofline\n",
        number(gflops(m, m.cost, m.seconds()), 1),
        text::bytes(m.cost.bytes),
        number(percent(m.bound, m.seconds()), 1)
    ));
    if let Some(r) = &m.roofline {
        out.push_str(&format!("roofline: {:.1} GFLOP/s, {:.1} GB/s ({})\n", r.flops_per_s / 1e9, r.bytes_per_s / 1e9, r.about));
    }
    out.push_str(&format!(
        "peak memory {}, arena {}, weights {}\n",
        m.peak_bytes.map_or("unknown".to_owned(), text::bytes),
        text::bytes(session.program().arena_bytes),
        text::bytes(session.weights_bytes())
    ));
    if args.per_dispatch {
        let sum: f64 = m.dispatches.iter().map(|(_, s, _)| s.median).sum();
        // TFLOP/s where the machine has hundreds of them.
        let (unit, per_unit) = if m.compute.is_some() { ("TFLOP/s", 1e3) } else { ("GFLOP/s", 1.0) };
        let rows: Vec<Vec<String>> = m
            .dispatches
            .iter()
            .map(|(group, spread, bound)| {
                vec![
                    group.name.clone(),
                    text::seconds(spread.median),
                    text::seconds(spread.min),
                    text::seconds(spread.max),
                    format!("{:.1}", 100.0 * spread.median / sum.max(f64::MIN_POSITIVE)),
                    number(gflops(m, group.cost, spread.median).map(|g| g / per_unit), 1),
                    number(rate(m, group.cost, spread.median), 1),
                    text::bytes(group.cost.bytes),
                    number(percent(*bound, spread.median), 1),
                    group.kernels.join(" "),
                ]
            })
            .collect();
        let header = ["dispatch", "median", "min", "max", "% time", unit, "GB/s", "bytes", "% roof", "kernel"];
        out.push_str(&format!("\n{}", text::table(&header, &rows)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        let s = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((s.median, s.min, s.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(vec![4.0, 1.0]).median, 2.5);
    }
}
