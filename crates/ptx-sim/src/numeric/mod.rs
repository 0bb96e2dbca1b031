//! Number formats and arithmetic as PTX defines them, one scalar function each.
//!
//! Results are those of the PTX ISA's semantics: a 32-bit or 16-bit NaN result is the canonical one (`0x7fff_ffff`, `0x7fff`), a 64-bit one
//! is the host's. Nearest-even forms run on the host's own arithmetic; every other rounding goes through the exact integers of `exact.rs`.

mod approx;
mod arith;
mod convert;
pub(crate) mod exact;
mod half;

pub use approx::{
    cos_approx, div_approx, div_full, ex2_approx, ex2_half, lg2_approx, rcp_approx, rsqrt_approx, sin_approx, sqrt_approx, tanh_approx,
    tanh_half,
};
pub use arith::{
    add_f32, add_f64, canonical, div_f32, div_f64, flush, fma_f32, fma_f64, min_max_f32, min_max_f64, mul_f32, mul_f64, rcp_f32, rcp_f64,
    saturate, saturate_f64, sqrt_f32, sqrt_f64,
};
pub use convert::{
    bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_bf16_rn, f32_to_f16, f32_to_f16_rn, f32_to_f16_rz, f32_to_half, f32_to_tf32, f64_to_f32,
    f64_to_half, finish_half, finish_tf32, float_to_int, half_to_f64, int_to_f32, int_to_f64, int_to_half, nan_as_int, round_to_integral,
};
pub use half::{add_half, flush_half, fma_half, min_max_half, mul_half, saturate_half};

/// Rounding of one operation: nearest even, towards zero, down, up, nearest with ties away from zero (`.rna`, conversions only).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Nearest, ties to even.
    Rn,
    /// Towards zero.
    Rz,
    /// Towards minus infinity.
    Rm,
    /// Towards plus infinity.
    Rp,
    /// Nearest, ties away from zero.
    Rna,
}

/// Sixteen-bit float formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
}
