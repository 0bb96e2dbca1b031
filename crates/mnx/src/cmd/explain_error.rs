//! `mnx explain-error`: what an error code means and what to do.

use mnx_console::codes;

use crate::failure::Failure;
use crate::text;

/// Explain an error code, or list them all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mnx explain-error volume-0102
  mnx explain-error")]
pub struct Args {
    /// The code, as it stands between the brackets of error[...]; without it all codes are listed.
    code: Option<String>,
}

/// Prints the explanation of a code, or the list of all.
pub fn run(args: &Args) -> Result<(), Failure> {
    let answer = codes::answer(args.code.as_deref()).map_err(|why| Failure::user("mnx-0110", format!("explain-error: {why}")))?;
    text::print(&answer)
}
