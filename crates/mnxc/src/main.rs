//! `mnxc`: the MedNeXt compiler. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mnxc::crash::install();
    ExitCode::from(mnxc::cli::run(std::env::args_os()))
}
