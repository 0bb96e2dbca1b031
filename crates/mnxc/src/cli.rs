//! The command line: what each command takes, and the way to its module.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};

use crate::cmd;
use crate::report::{Failure, Voice, stdout_failure, system_reason};

/// The MedNeXt compiler: from a network's config and weights to a bundle that `mnx` runs.
#[derive(Debug, Parser)]
#[command(name = "mnxc", version, propagate_version = true, max_term_width = 120)]
#[command(after_help = "Examples:
  mnxc compile s.toml --weights s.safetensors --patch 64,64,64 -o s.mnxa
  mnxc compile s.toml --seed 1 --patch 32,48,32 -o s.mnxa      random weights, for trials
  mnxc compile s.toml --patch 64,64,64 --to dispatch -o a.mnx  stop, look, edit ...
  mnxc compile a.mnx --weights s.safetensors -o s.mnxa         ... and go on
  mnxc explain s.mnxa --measure --html s.html                  where the time goes, against the machine's floor
  mnxc import nnUNet_results/Dataset101/TRAINER__PLANS__CONFIG -o d    checkpoints of nnU-Net, PyTorch, MONAI
  mnxc compile d -o d.mnxa                                     an imported folder, whole
  mnxc model s.toml --summary

Exit codes: 0 done, 1 something is wrong with the input, 2 wrong usage, 101 a bug in mnxc (with a command that replays it),
130 and 143 interrupted.")]
pub struct Cli {
    /// Say nothing but errors
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Say on stderr what is done and chosen, and what it takes (-vv: details, -vvv: everything)
    #[arg(long, short, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Append all of that, down to the details and with times, to a file
    #[arg(long, global = true, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Model(cmd::model::Args),
    Import(cmd::import::Args),
    Compile(Box<cmd::compile::Args>),
    Explain(cmd::explain::Args),
    Opt(cmd::opt::Args),
    Bisect(cmd::bisect::Args),
    Reduce(cmd::reduce::Args),
    List(cmd::list::Args),
    Tune(Box<cmd::tune::Args>),
    Upkern(cmd::upkern::Args),
    ExportOnnx(cmd::export_onnx::Args),
    View(cmd::view::Args),
    ExplainError(cmd::explain_error::Args),
    Completions(cmd::completions::Args),
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Model(_) => "model",
            Self::Import(_) => "import",
            Self::Compile(_) => "compile",
            Self::Explain(_) => "explain",
            Self::Opt(_) => "opt",
            Self::Bisect(_) => "bisect",
            Self::Reduce(_) => "reduce",
            Self::List(_) => "list",
            Self::Tune(_) => "tune",
            Self::Upkern(_) => "upkern",
            Self::ExportOnnx(_) => "export-onnx",
            Self::View(_) => "view",
            Self::ExplainError(_) => "explain-error",
            Self::Completions(_) => "completions",
        }
    }
}

/// Runs a command line, the program's name first; answers the exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) if cli.quiet && cli.verbose > 0 => {
            return refuse(&Cli::command().error(ErrorKind::ArgumentConflict, "--quiet and --verbose cannot be used together"));
        }
        Ok(cli) => cli,
        Err(e) => return refuse(&e),
    };
    let voice = Voice { quiet: cli.quiet };
    let name = cli.command.name();
    if let Err(failure) = start_log(&cli, &args) {
        failure.print(&mut Cli::command());
        return failure.code();
    }
    let start = Instant::now();
    let outcome = match cli.command {
        Command::Model(a) => cmd::model::run(&a),
        Command::Import(a) => cmd::import::run(&a, voice),
        Command::Compile(a) => cmd::compile::run(&a, voice),
        Command::Explain(a) => cmd::explain::run(&a, voice),
        Command::Opt(a) => cmd::opt::run(&a, voice),
        Command::Bisect(a) => cmd::bisect::run(&a, voice),
        Command::Reduce(a) => cmd::reduce::run(&a, voice),
        Command::List(a) => cmd::list::run(&a),
        Command::Tune(a) => cmd::tune::run(&a, voice),
        Command::Upkern(a) => cmd::upkern::run(&a, voice),
        Command::ExportOnnx(a) => cmd::export_onnx::run(&a, voice),
        Command::View(a) => cmd::view::run(&a),
        Command::ExplainError(a) => cmd::explain_error::run(&a),
        Command::Completions(a) => cmd::completions::run(&a, &mut Cli::command()),
    };
    let code = match outcome {
        Ok(()) => 0,
        Err(failure) => {
            let mut all = Cli::command();
            all.build();
            failure.print(all.find_subcommand_mut(name).expect("a command is found under its own name"));
            failure.code()
        }
    };
    tracing::info!(code, seconds = %format_args!("{:.4}", start.elapsed().as_secs_f64()), "{name} has ended");
    code
}

/// Prints what clap has to say: help and version, which are wanted, or what is wrong with the command line. Answers the exit code.
fn refuse(e: &clap::Error) -> u8 {
    let printed = e.print().and_then(|()| std::io::stdout().flush());
    match mnx_console::forgive(printed) {
        // Who asks for help and cannot be given it should know.
        Err(io) if !e.use_stderr() => {
            let failure = stdout_failure(&io);
            failure.print(&mut Cli::command());
            failure.code()
        }
        _ => u8::try_from(e.exit_code()).unwrap_or(2),
    }
}

/// Opens the log and begins it with the command line.
fn start_log(cli: &Cli, args: &[OsString]) -> Result<(), Failure> {
    mnx_console::log::start(cli.verbose, cli.log.as_deref()).map_err(|e| {
        let place = cli.log.as_deref().unwrap_or(std::path::Path::new("stderr"));
        Failure::user("mnxc-0002", place.display(), format!("cannot write the log: {}", system_reason(&e.to_string())))
    })?;
    let line = args.iter().map(|a| a.to_string_lossy()).collect::<Vec<_>>().join(" ");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{line}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
