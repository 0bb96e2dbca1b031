//! GPU kernels against plain references.
#![allow(clippy::unwrap_used)]

mod ptx;
