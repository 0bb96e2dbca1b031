//! `mnx completions`: a shell completion script.

use crate::failure::Failure;
use crate::text;

/// Print a shell completion script.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mnx completions bash > ~/.local/share/bash-completion/completions/mnx")]
pub struct Args {
    /// The shell.
    shell: clap_complete::Shell,
}

/// Prints the script of a shell.
pub fn run(args: &Args, command: &mut clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "mnx", &mut script);
    text::print(&String::from_utf8_lossy(&script))
}
