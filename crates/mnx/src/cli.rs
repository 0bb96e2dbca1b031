//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};

use crate::cmd;

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
    Run(cmd::run::Args),
    Predict(cmd::predict::Args),
    Evaluate(cmd::evaluate::Args),
    Bench(cmd::bench::Args),
    Devices(cmd::devices::Args),
    Record(cmd::record::Args),
    Inspect(cmd::inspect::Args),
    Refit(cmd::refit::Args),
    Verify(cmd::verify::Args),
    ExplainError(cmd::explain_error::Args),
    Completions(cmd::completions::Args),
}
