//! The matrix kernels of GPU targets, run as PTX on the CPU and held against plain float64 loops.
#![allow(clippy::unwrap_used)]

mod bench;
mod gemm;
mod mlp;
mod ptx;
mod reference;
