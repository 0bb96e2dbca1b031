//! `mnxc completions`: completion scripts.

use clap_complete::Shell;

use crate::report::{Outcome, emit_bytes};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc completions bash > ~/.local/share/bash-completion/completions/mnxc
  mnxc completions zsh > ~/.zfunc/_mnxc")]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(args: &Args, command: &mut clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "mnxc", &mut script);
    emit_bytes(&script)
}
