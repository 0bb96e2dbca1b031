//! Files that appear whole under their names or not at all.
//!
//! Room: every output of both programs goes through [`WholeFile`], folders through [`WholeFolder`].
//! May import: nothing of ours.
//! Never: what is in a file; a word to the user.
//! Invariant: a name is taken only by [`WholeFile::commit`] or [`WholeFolder::commit`]; whatever ends the process before leaves the name as it was.
//! Start reading at: `whole.rs`.
#![forbid(unsafe_code)]

mod whole;

pub use whole::{WholeFile, WholeFolder, write};
