//! `mnxc tune`: finds fast tiles by measuring, and keeps them in a file that `mnxc compile --tuned` reads.

use std::path::PathBuf;
use std::time::Duration;

use mnx_plan::target::{TARGETS, resolve};
use mnx_plan::vocabulary::Storage;

use mnx_words::many;

use crate::cmd::network::{Outputs, RunShape};
use crate::explain::table::columns;
use crate::files::check_output;
use crate::imported::{Input, WeightFile};
use crate::phase::Phase;
use crate::report::{Failure, Outcome, Voice, emit, system_reason};
use crate::request::Request;
use crate::runner::Runner;
use crate::source::Heads;
use crate::tune::{Job, Tuned, tune};
use crate::tuned::{Cache, default_path};

/// Search tiles by their measured time and keep the best in a file
///
/// Each round compiles one bundle in which every kernel has its next candidate tile, and times it with `mnx bench`. Winners are compared
/// with the default tiles in turn, and stay only if they are faster. A tile changes speed and the order of sums, never what is computed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc tune s.toml --patch 64,64,64 --budget 120s --threads 2
  mnxc tune s.toml --patch 128,128,128 --target x86-64-v4 --budget 10m --cache s128.jsonl
  mnxc compile s.toml --weights s.safetensors --patch 64,64,64 --tuned -o s.mnxa")]
pub struct Args {
    /// The network's config (.toml), a graph (.mnx), or a folder that `mnxc import` made
    input: PathBuf,
    /// The weights; times do not depend on them
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    weights: Option<PathBuf>,
    /// Fresh weights instead of a file [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Code to tune: host (the level this machine runs) or one level
    #[arg(long, default_value = "host", value_parser = cpu_names())]
    target: String,
    #[command(flatten)]
    shape: RunShape,
    #[command(flatten)]
    outputs: Outputs,
    /// About how long to search: 90s, 5m, or seconds; one round and the comparison are always made
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = duration)]
    budget: Duration,
    /// Threads to measure with [default: what mnx takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Timed runs of each bundle
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// The file of tuned tiles; what else it holds is kept [default: tuned.jsonl in the user's cache, ~/.cache/mnx]
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// The runtime binary [default: mnx beside mnxc]
    #[arg(long, value_name = "PATH")]
    runner: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().find(|(_, c)| c.is_ascii_alphabetic()) {
        Some((i, _)) => text.split_at(i),
        None => (text, "s"),
    };
    let scale = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("expected a time such as 90s, 5m or 1h".to_string()),
    };
    match number.trim().parse::<f64>() {
        Ok(v) if v >= 0.0 && v * scale <= 1e6 => Ok(Duration::from_secs_f64(v * scale)),
        _ => Err("expected a time such as 90s, 5m or 1h".to_string()),
    }
}

/// What `--target` takes: candidates are measured on this machine's CPU.
fn cpu_names() -> clap::builder::PossibleValuesParser {
    let host = std::iter::once(clap::builder::PossibleValue::new("host").help("every x86-64 level below"));
    let named = TARGETS.iter().map(|t| clap::builder::PossibleValue::new(t.name).help(t.about));
    clap::builder::PossibleValuesParser::new(host.chain(named).collect::<Vec<_>>())
}

/// Tunes and writes the file.
///
/// # Errors
/// A wrong input, a damaged cache file, no `mnx`, what it says, an unwritable file.
pub fn run(args: &Args, voice: Voice) -> Outcome {
    crate::emit::check_available(Phase::Bundle)?;
    let runner = Runner::find(args.runner.as_deref())?;
    let path = cache_path(args)?;
    // A damaged file is found before the search, not after it.
    if path.exists() {
        Cache::read(&path)?;
    }
    let targets = resolve(&args.target).ok_or_else(|| Failure::Usage(format!("--target {}: see `mnxc list targets`", args.target)))?;
    let input = Input::find(&args.input)?;
    let seed = if args.weights.is_some() { None } else { Some(args.seed.unwrap_or(1)) };
    let request = Request {
        heads: Heads::choose(args.outputs.heads, &input),
        shape: args.shape.with(args.outputs.output),
        weights: args.weights.iter().map(|path| WeightFile { fold: None, path: path.clone() }).collect(),
        seed,
        targets,
        precision: Storage::F32,
        ..Request::new(input.file)
    };
    let job = Job { request, budget: args.budget, threads: args.threads.map(usize::from), runs: args.runs.into(), runner };
    let tuned = tune(&job, voice)?;
    let count = tuned.save(&path)?;
    emit(&report(&tuned))?;
    let changed = tuned.choice.iter().filter(|c| **c != 0).count();
    voice.note(&format!(
        "{}: {}, {changed} of them with new tiles; use it with mnxc compile --tuned",
        path.display(),
        many(count, "kernel")
    ));
    Ok(())
}

fn cache_path(args: &Args) -> Outcome<PathBuf> {
    if let Some(path) = &args.cache {
        check_output(path)?;
        return Ok(path.clone());
    }
    let none = || Failure::Usage("no home directory for the file of tuned tiles: name one with --cache FILE".to_string());
    let path = default_path().ok_or_else(none)?;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| Failure::user("mnxc-0002", dir.display(), system_reason(&e.to_string())))?;
    }
    check_output(&path)?;
    Ok(path)
}

/// A line per kernel, then the whole network.
fn report(t: &Tuned) -> String {
    let words = |k: &mnx_plan::Kernel| k.knobs().iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(" ");
    let mut rows = Vec::new();
    for (k, c) in t.search.kernels.iter().zip(&t.choice) {
        let first = k.dispatches.first().map_or("", |d| t.plan.dispatches[*d].name.as_str());
        let more = if k.dispatches.len() > 1 { format!(" and {} more", k.dispatches.len() - 1) } else { String::new() };
        let ms = |s: f64| if s.is_finite() { format!("{:.3}", s * 1e3) } else { "-".to_string() };
        let default = words(&k.tiles[0]);
        rows.push(vec![
            format!("{first}{more}"),
            if *c == 0 { format!("{default} (default)") } else { format!("{default} -> {}", words(&k.tiles[*c])) },
            k.tiles[0].strategy().name.to_string(),
            ms(k.seconds[0]),
            ms(k.seconds[*c]),
            k.seconds.iter().skip(1).filter(|s| s.is_finite()).count().to_string(),
        ]);
    }
    let (a, b) = t.total;
    format!(
        "{}\nwhole network: {:.3} ms with default tiles, {:.3} ms with these ({:.3} times as fast), {}, {}\n",
        columns(&["dispatch", "knobs", "strategy", "default ms", "best ms", "tried"], &rows),
        a * 1e3,
        b * 1e3,
        if b > 0.0 { a / b } else { 1.0 },
        many(t.threads, "thread"),
        t.plan.target.name
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_refused() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "s", "-1s", "5x", "nan", "1e9h", "infs"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
