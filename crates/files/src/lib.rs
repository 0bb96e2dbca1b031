//! Files that appear whole under their names or not at all, and what ends a process before they do.
//!
//! Room: every output of both programs goes through [`WholeFile`], folders through [`WholeFolder`], what is for this run alone through
//! [`ScratchFolder`]; the signals that end a process.
//! May import: nothing of ours.
//! Never: what is in a file; a word to the user.
//! Invariant: a name is taken only by [`WholeFile::commit`] or [`WholeFolder::commit`]; whatever ends the process before leaves the name as it was.
//! What a killed process leaves is called `.mnx-PID-XXXXXX` and goes with the next output in that folder.
//! Start reading at: `whole.rs`, then `hidden.rs`.
#![forbid(unsafe_code)]

mod folder;
mod hidden;
mod live;
#[cfg(unix)]
mod signals;
mod target;
mod whole;

pub use folder::{ScratchFolder, WholeFolder};
#[cfg(unix)]
pub use signals::end_on_signals;
pub use whole::{WholeFile, try_directory, write};
