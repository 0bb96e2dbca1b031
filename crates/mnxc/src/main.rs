//! `mnxc`: the MedNeXt compiler. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mnxc::crash::install();
    mnxc::children::end_on_signals();
    ExitCode::from(mnxc::cli::run(std::env::args_os()))
}
