//! What both programs say and how: lines that never panic, one style of problem, a code for each.
//!
//! Room: standard output and standard error, the face of errors, the table of error codes, the log file.
//! May import: nothing of ours.
//! Never: a file other than the two streams and the log; a decision about what is worth saying.
//! Invariant: no function here panics, whoever has closed or filled the streams; an exit code never depends on who reads.
//! Start reading at: `problem.rs`, then `stream.rs`.
#![forbid(unsafe_code)]

pub mod codes;
pub mod log;
pub mod problem;
pub mod stream;

pub use problem::Problem;
pub use stream::{be_quiet, emit, emit_bytes, forgive, is_quiet, note, say, warn};
