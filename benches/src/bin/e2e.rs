//! End-to-end table: every variant, seconds per patch, GFLOP/s, peak memory, compile seconds.
//!
//! `cargo run --release -p mnx-benches --bin e2e [-- --quick]` writes `benches/results/host.json` and `host.md`.
// A tool for people who work on mnx; a closed stream may end it.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Parser;
use mnx_benches::{Bench, Case, Failure, Folders, cases, exit, machine, write_atomic};
use serde_json::{Value, json};

/// Time every variant on this machine's CPU.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    folders: Folders,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Runs per case; the median counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only S kernel 3 at 64^3, printed and not written.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    exit(bench(&Args::parse()))
}

fn bench(args: &Args) -> Result<(), Failure> {
    let bench = Bench::new(&args.folders.bin)?;
    let all = if args.quick { vec![Case { variant: "S", kernel: 3, patch: 64 }] } else { cases() };
    let mut rows = Vec::new();
    let mut table = String::from(
        "| network | median s | min s | max s | 1 thread s | GFLOP/s | % of roofline | arena MiB | peak RSS MiB | weights MiB | compile s, one ISA | compile s, both |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for case in &all {
        eprintln!("{} ...", case.name());
        let (_, one) = bench.compile(case, "x86-64-v4")?;
        let (bundle, both) = bench.compile(case, "host")?;
        let many = bench.measure(&bundle, args.runs, args.threads)?;
        let single = bench.measure(&bundle, args.runs.min(3), 1)?;
        let f = |v: &Value, key: &str| v[key].as_f64().unwrap_or(f64::NAN);
        let mib = |key: &str| f(&many, key) / f64::from(1 << 20);
        let _ = writeln!(
            table,
            "| {} | {:.3} | {:.3} | {:.3} | {:.3} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {one:.1} | {both:.1} |",
            case.name(),
            f(&many, "median_s"),
            f(&many, "min_s"),
            f(&many, "max_s"),
            f(&single, "median_s"),
            f(&many, "gflops"),
            f(&many, "percent_of_roofline"),
            mib("arena_bytes"),
            mib("peak_bytes"),
            mib("weights_bytes"),
        );
        rows.push(json!({
            "case": case.name(), "compile_one_isa_s": one, "compile_host_s": both, "threads": args.threads,
            "bench": many, "bench_1_thread": single,
        }));
    }
    let machine = machine();
    println!("{table}");
    if !args.quick {
        let head = format!(
            "# Host: S, B, M, L\n\nfloat32, batch 1, {} threads, random weights, median of {} runs. {} (family {}, model {}), {} cores, AVX-512: {}.\n\
             Made by `make bench`. Roofline: the sum over launches of the larger of flops over the measured FMA peak and bytes over the measured copy\n\
             bandwidth, both with the same number of threads in the same run.\n\n",
            args.threads,
            args.runs,
            machine["cpu"].as_str().unwrap_or("unknown"),
            machine["family"].as_str().unwrap_or("?"),
            machine["model"].as_str().unwrap_or("?"),
            machine["cores"],
            machine["avx512"],
        );
        write_atomic(&args.folders.out.join("host.md"), &format!("{head}{table}"))?;
        let text = serde_json::to_string_pretty(&json!({ "machine": machine, "rows": rows })).map_err(|e| e.to_string())?;
        write_atomic(&args.folders.out.join("host.json"), &(text + "\n"))?;
    }
    Ok(())
}
