//! `mnx`: runs compiled MedNeXt bundles.
//!
//! Room: the command line of the runtime; one module per command under `cmd`.
//! May import: mnx-runtime, mnx-volume, mnx-artifact, mnx-weights, clap.
//! Never: the IR, passes, plans, LLVM.
//! Start reading at: `cli.rs`, then `cmd/run.rs`.
#![forbid(unsafe_code)]

mod cli;
mod cmd;
mod failure;
mod text;

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use mnx_console::{Problem, be_quiet, say};

use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    failure::install_hooks();
    if let Err(e) = mnx_files::end_on_signals(|| ()) {
        mnx_console::warn(&format!("an interrupted run may leave hidden files behind: no handler for signals can be made: {e}"));
    }
    let start = Instant::now();
    let code = match Cli::try_parse() {
        Ok(cli) if cli.quiet && cli.verbose > 0 => {
            refuse(&Cli::command().error(ErrorKind::ArgumentConflict, "--quiet and --verbose cannot be used together"))
        }
        Ok(cli) => run(cli),
        Err(e) => refuse(&e),
    };
    tracing::info!(code, seconds = %format_args!("{:.4}", start.elapsed().as_secs_f64()), "mnx has ended");
    ExitCode::from(code)
}

/// Does what the command line says; answers the exit code.
fn run(cli: Cli) -> u8 {
    let quiet = cli.quiet;
    be_quiet(quiet);
    if let Err(e) = mnx_console::log::start(cli.verbose, cli.log.as_deref()) {
        let place = cli.log.map_or_else(String::new, |p| p.display().to_string());
        say(&Problem::new("mnx-0102", format!("{place}: cannot write the log: {e}")).to_string());
        return 1;
    }
    let line = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{line}");
    let outcome = match cli.command {
        Command::Run(args) => cmd::run::run(&args, quiet),
        Command::Predict(args) => cmd::predict::run(&args, quiet),
        Command::Evaluate(args) => cmd::evaluate::run(&args, quiet),
        Command::Bench(args) => cmd::bench::run(&args, quiet),
        Command::Devices(args) => cmd::devices::run(&args),
        Command::Record(args) => cmd::record::run(&args, quiet),
        Command::Inspect(args) => cmd::inspect::run(&args),
        Command::Refit(args) => cmd::refit::run(&args, quiet),
        Command::Verify(args) => cmd::verify::run(&args, quiet),
        Command::ExplainError(args) => cmd::explain_error::run(&args),
        Command::Completions(args) => cmd::completions::run(&args, &mut Cli::command()),
    };
    match outcome {
        Ok(()) => 0,
        Err(Failure::User(problem)) => {
            say(&problem.to_string());
            1
        }
        Err(Failure::Bug(message)) => {
            say(&format!("internal error: {message}\n{}", failure::replay()));
            101
        }
    }
}

/// Prints what clap has to say: help and version, which are wanted, or what is wrong with the command line. Answers the exit code.
fn refuse(e: &clap::Error) -> u8 {
    let printed = e.print().and_then(|()| std::io::stdout().flush());
    match mnx_console::forgive(printed) {
        // Who asks for help and cannot be given it should know.
        Err(io) if !e.use_stderr() => {
            say(&Problem::new("mnx-0102", format!("standard output: {io}")).to_string());
            1
        }
        _ => u8::try_from(e.exit_code()).unwrap_or(2),
    }
}
