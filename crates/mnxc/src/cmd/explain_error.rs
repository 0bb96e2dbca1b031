//! `mnxc explain-error`: what an error code means and what to do.

use mnx_console::codes;

use crate::report::{Failure, Outcome, emit};

/// Explain an error code, or list them all
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc explain-error plan-0201
  mnxc explain-error")]
pub struct Args {
    /// The code, as it stands between the brackets of error[...]; without it all codes are listed
    code: Option<String>,
    /// Print the whole table as Markdown; docs/errors.md is made so
    #[arg(long, conflicts_with = "code")]
    markdown: bool,
}

/// Prints the explanation, the list or the page.
///
/// # Errors
/// A code that does not exist.
pub fn run(args: &Args) -> Outcome {
    if args.markdown {
        return emit(&codes::markdown());
    }
    let text = codes::answer(args.code.as_deref()).map_err(|why| Failure::user("mnxc-0004", "explain-error", why))?;
    emit(&text)
}
