//! `mnx completions`: a shell completion script.

use clap::CommandFactory;

use crate::cli::{Cli, Completions};
use crate::failure::Failure;
use crate::text;

/// Prints the script of a shell.
pub fn run(args: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mnx", &mut script);
    text::print(&String::from_utf8_lossy(&script))
}
