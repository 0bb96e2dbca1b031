//! Every instruction from its PTX text: small kernels, run by the simulator on fresh random operands and the special ones, against plain
//! Rust. The same texts go through ptxas where there is one.
#![allow(clippy::unwrap_used)]

mod convert;
mod double;
mod float;
mod half;
mod integer;
mod matrix;
mod rig;
mod select;
mod warp;
