//! Every emitter against a plain float64 reference, compiled for each target this machine can run.
#![allow(unsafe_code, clippy::unwrap_used)]

mod depthwise;
mod harness;
mod merge;
mod mlp;
mod object;
mod pointwise;
mod reference;
