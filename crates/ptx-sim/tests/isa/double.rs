//! f64 arithmetic and pairs of f32.

use crate::rig::Kind::{Bits, F32, F64};
use crate::rig::{Case, check, x};
use mnx_ptx_sim::numeric as n;
use mnx_ptx_sim::numeric::Rounding::{Rm, Rn, Rp, Rz};

/// f64 operands and result; any NaN equals any other, as the ISA leaves the payload to the device.
fn d(text: &str, f: impl Fn(f64, f64, f64) -> f64 + 'static) -> Case {
    x(text, [F64; 3], move |a, b, c| f(f64::from_bits(a), f64::from_bits(b), f64::from_bits(c)).to_bits())
        .within(|got, want| f64::from_bits(got).is_nan() && f64::from_bits(want).is_nan())
}

fn greater(a: f64, b: f64) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if a == b => {
            if a.is_sign_positive() {
                a
            } else {
                b
            }
        }
        _ => {
            if a > b {
                a
            } else {
                b
            }
        }
    }
}

#[test]
fn arithmetic() {
    let mut cases = vec![
        d("min.f64 %x9, %x0, %x1;", |a, b, _| -greater(-a, -b)),
        d("max.f64 %x9, %x0, %x1;", |a, b, _| greater(a, b)),
        x("neg.f64 %x9, %x0;", [F64; 3], |a, _, _| a ^ 1 << 63)
            .within(|got, want| f64::from_bits(got).is_nan() && f64::from_bits(want).is_nan()),
        x("abs.f64 %x9, %x0;", [F64; 3], |a, _, _| a & !(1 << 63))
            .within(|got, want| f64::from_bits(got).is_nan() && f64::from_bits(want).is_nan()),
        x("copysign.f64 %x9, %x0, %x1;", [F64; 3], |a, b, _| (a & 1 << 63) | (b & !(1 << 63))),
        x("mov.f64 %x9, 0d3FF8000000000000;", [Bits; 3], |_, _, _| 1.5f64.to_bits()),
    ];
    for (suffix, r) in [("rn", Rn), ("rz", Rz), ("rm", Rm), ("rp", Rp)] {
        cases.push(d(&format!("add.{suffix}.f64 %x9, %x0, %x1;"), move |a, b, _| n::add_f64(a, b, r)));
        cases.push(d(&format!("sub.{suffix}.f64 %x9, %x0, %x1;"), move |a, b, _| n::add_f64(a, -b, r)));
        cases.push(d(&format!("mul.{suffix}.f64 %x9, %x0, %x1;"), move |a, b, _| n::mul_f64(a, b, r)));
        cases.push(d(&format!("fma.{suffix}.f64 %x9, %x0, %x1, %x2;"), move |a, b, c| n::fma_f64(a, b, c, r)));
        cases.push(d(&format!("div.{suffix}.f64 %x9, %x0, %x1;"), move |a, b, _| n::div_f64(a, b, r)));
        cases.push(d(&format!("sqrt.{suffix}.f64 %x9, %x0;"), move |a, _, _| n::sqrt_f64(a, r)));
        cases.push(d(&format!("rcp.{suffix}.f64 %x9, %x0;"), move |a, _, _| n::rcp_f64(a, r)));
    }
    check("f64", "8.0", &cases);
}

#[test]
fn moves_of_several_parts() {
    check(
        "moves",
        "8.0",
        &[
            x("mov.b64 %x9, {%w0, %w1};", [Bits; 3], |a, b, _| (b << 32) | (a & 0xffff_ffff)),
            x("mov.b64 {%w5, %w6}, %x0; mov.b64 %x9, {%w6, %w5};", [Bits; 3], |a, _, _| a.rotate_left(32)),
            x("mov.b32 %w5, {%h0, %h1}; cvt.u64.u32 %x9, %w5;", [Bits; 3], |a, b, _| (a & 0xffff) | (b & 0xffff) << 16),
            x("mov.b32 {%h3, %h4}, %w0; mov.b32 %w5, {%h4, %h3}; cvt.u64.u32 %x9, %w5;", [Bits; 3], |a, _, _| {
                (a as u32).rotate_left(16).into()
            }),
            x("mov.b64 %x9, {%h0, %h1, %h2, %h0};", [Bits; 3], |a, b, c| {
                (a & 0xffff) | (b & 0xffff) << 16 | (c & 0xffff) << 32 | (a & 0xffff) << 48
            }),
            x("mov.b64 {_, %w5}, %x0; cvt.u64.u32 %x9, %w5;", [F32; 3], |a, _, _| a >> 32),
        ],
    );
}
