//! GPU kernels against plain references.
#![allow(clippy::unwrap_used)]

mod depthwise;
mod harness;
mod small;
mod spills;
