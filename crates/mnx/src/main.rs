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

use std::process::ExitCode;

use clap::Parser;
use mnx_console::{be_quiet, say};

use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    failure::install_hooks();
    let cli = Cli::parse();
    let quiet = cli.quiet;
    be_quiet(quiet);
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
        Command::Completions(args) => cmd::completions::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::User(problem)) => {
            say(&problem.to_string());
            ExitCode::from(1)
        }
        Err(Failure::Bug(message)) => {
            say(&format!("internal error: {message}\n{}", failure::replay()));
            ExitCode::from(101)
        }
    }
}
