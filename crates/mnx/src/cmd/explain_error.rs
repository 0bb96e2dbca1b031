//! `mnx explain-error`: what an error code means and what to do.

use mnx_console::codes;

use crate::cli::ExplainError;
use crate::failure::Failure;
use crate::text;

/// Prints the explanation of a code, or the list of all.
pub fn run(args: &ExplainError) -> Result<(), Failure> {
    let answer = codes::answer(args.code.as_deref()).map_err(|why| Failure::user("mnx-0110", format!("explain-error: {why}")))?;
    text::print(&answer)
}
