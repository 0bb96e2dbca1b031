//! f32 arithmetic, its roundings and modifiers, and the approximations.

use crate::rig::Kind::{Bf16, F16, F32, Near};
use crate::rig::{Case, check, f, w};
use mnx_ptx_sim::numeric as n;
use mnx_ptx_sim::numeric::Rounding::{Rm, Rn, Rp, Rz};

fn flush(v: f32) -> f32 {
    if v.is_subnormal() { 0f32.copysign(v) } else { v }
}

fn sat(v: f32) -> f32 {
    if v.is_nan() || v <= 0.0 { 0.0 } else { v.min(1.0) }
}

fn greater(a: f32, b: f32) -> f32 {
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

fn less(a: f32, b: f32) -> f32 {
    -greater(-a, -b)
}

fn nan_or(a: f32, b: f32, v: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { v }
}

#[test]
fn nearest_even() {
    let k = [F32; 3];
    check(
        "f32",
        "8.0",
        &[
            f("add.f32 %w9, %w0, %w1;", k, |a, b, _| a + b),
            f("add.rn.f32 %w9, %w0, %w1;", k, |a, b, _| a + b),
            f("sub.rn.f32 %w9, %w0, %w1;", k, |a, b, _| a - b),
            f("mul.rn.f32 %w9, %w0, %w1;", k, |a, b, _| a * b),
            f("mul.f32 %w9, %w0, 0f3F000000;", k, |a, _, _| a * 0.5),
            f("fma.rn.f32 %w9, %w0, %w1, %w2;", k, |a, b, c| a.mul_add(b, c)),
            f("mad.rn.f32 %w9, %w0, %w1, %w2;", k, |a, b, c| a.mul_add(b, c)),
            f("div.rn.f32 %w9, %w0, %w1;", k, |a, b, _| a / b),
            f("sqrt.rn.f32 %w9, %w0;", k, |a, _, _| a.sqrt()),
            f("rcp.rn.f32 %w9, %w0;", k, |a, _, _| 1.0 / a),
            f("min.f32 %w9, %w0, %w1;", k, |a, b, _| less(a, b)),
            f("max.f32 %w9, %w0, %w1;", k, |a, b, _| greater(a, b)),
            f("min.NaN.f32 %w9, %w0, %w1;", k, |a, b, _| nan_or(a, b, less(a, b))),
            f("max.NaN.f32 %w9, %w0, %w1;", k, |a, b, _| nan_or(a, b, greater(a, b))),
            // Signs are bits: of a NaN too.
            w("xor.b32 %w8, %w0, 0; neg.f32 %w9, %w8;", [Near; 3], |a, _, _| a ^ 0x8000_0000),
            w("abs.f32 %w9, %w0;", [Near; 3], |a, _, _| a & 0x7fff_ffff),
            w("copysign.f32 %w9, %w0, %w1;", [Near; 3], |a, b, _| (a & 0x8000_0000) | (b & 0x7fff_ffff)),
        ],
    );
}

#[test]
fn modifiers() {
    let k = [F32; 3];
    check(
        "f32-modifiers",
        "8.0",
        &[
            f("add.rn.ftz.f32 %w9, %w0, %w1;", k, |a, b, _| flush(flush(a) + flush(b))),
            f("sub.rn.ftz.f32 %w9, %w0, %w1;", k, |a, b, _| flush(flush(a) - flush(b))),
            f("mul.rn.ftz.f32 %w9, %w0, %w1;", k, |a, b, _| flush(flush(a) * flush(b))),
            f("fma.rn.ftz.f32 %w9, %w0, %w1, %w2;", k, |a, b, c| flush(flush(a).mul_add(flush(b), flush(c)))),
            f("add.rn.sat.f32 %w9, %w0, %w1;", k, |a, b, _| sat(a + b)),
            f("mul.rn.sat.f32 %w9, %w0, %w1;", k, |a, b, _| sat(a * b)),
            f("fma.rn.sat.f32 %w9, %w0, %w1, %w2;", k, |a, b, c| sat(a.mul_add(b, c))),
            f("fma.rn.ftz.sat.f32 %w9, %w0, %w1, %w2;", k, |a, b, c| sat(flush(flush(a).mul_add(flush(b), flush(c))))),
            f("div.rn.ftz.f32 %w9, %w0, %w1;", k, |a, b, _| flush(flush(a) / flush(b))),
            f("min.ftz.f32 %w9, %w0, %w1;", k, |a, b, _| less(flush(a), flush(b))),
            f("max.ftz.NaN.f32 %w9, %w0, %w1;", k, |a, b, _| nan_or(a, b, greater(flush(a), flush(b)))),
        ],
    );
}

/// The roundings themselves are held to their definition in `tests/numeric.rs`; here the text must reach them.
#[test]
fn directed_roundings() {
    let mut cases: Vec<Case> = Vec::new();
    for (suffix, r) in [("rz", Rz), ("rm", Rm), ("rp", Rp), ("rn", Rn)] {
        cases.push(f(&format!("add.{suffix}.f32 %w9, %w0, %w1;"), [F32; 3], move |a, b, _| n::add_f32(a, b, r, false, false)));
        cases.push(f(&format!("sub.{suffix}.f32 %w9, %w0, %w1;"), [F32; 3], move |a, b, _| n::add_f32(a, -b, r, false, false)));
        cases.push(f(&format!("mul.{suffix}.f32 %w9, %w0, %w1;"), [F32; 3], move |a, b, _| n::mul_f32(a, b, r, false, false)));
        cases.push(f(&format!("fma.{suffix}.f32 %w9, %w0, %w1, %w2;"), [F32; 3], move |a, b, c| n::fma_f32([a, b, c], r, false, false)));
        cases.push(f(&format!("div.{suffix}.f32 %w9, %w0, %w1;"), [F32; 3], move |a, b, _| n::div_f32(a, b, r, false)));
        cases.push(f(&format!("sqrt.{suffix}.f32 %w9, %w0;"), [F32; 3], move |a, _, _| n::sqrt_f32(a, r, false)));
        cases.push(f(&format!("rcp.{suffix}.f32 %w9, %w0;"), [F32; 3], move |a, _, _| n::rcp_f32(a, r, false)));
    }
    // A rounding that shows: 1 + 2^-25 up, and down to the number below when subtracted.
    cases.push(f("add.rp.f32 %w9, 0f3F800000, 0f33000000;", [F32; 3], |_, _, _| 1.0 + f32::EPSILON));
    cases.push(f("sub.rz.f32 %w9, 0f3F800000, 0f32000000;", [F32; 3], |_, _, _| 1.0 - f32::EPSILON / 2.0));
    check("f32-directed", "8.0", &cases);
}

/// Within the ISA's bound for the hardware, of f64; classes (NaN, infinity, zero) must be the same.
fn relative(got: u64, want: u64, bound: f64) -> bool {
    let (got, want) = (f32::from_bits(got as u32), f32::from_bits(want as u32));
    if !want.is_finite() || want == 0.0 {
        return got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
    }
    (f64::from(got) - f64::from(want)).abs() <= bound * f64::from(want).abs() + f64::from(f32::from_bits(1))
}

#[test]
fn approximations() {
    fn g(v: f32) -> f64 {
        v.into()
    }
    let k = [F32; 3];
    let near = [Near; 3];
    check(
        "approx",
        "8.0",
        &[
            f("ex2.approx.f32 %w9, %w0;", k, |a, _, _| g(a).exp2() as f32).within(|x, y| relative(x, y, 2f64.powi(-22))),
            f("ex2.approx.ftz.f32 %w9, %w0;", near, |a, _, _| g(flush(a)).exp2() as f32).within(|x, y| relative(x, y, 2f64.powi(-22))),
            f("lg2.approx.f32 %w9, %w0;", k, |a, _, _| g(a).log2() as f32).within(|x, y| relative(x, y, 2f64.powi(-22))),
            f("rsqrt.approx.f32 %w9, %w0;", k, |a, _, _| (1.0 / g(a).sqrt()) as f32).within(|x, y| relative(x, y, 2f64.powi(-22))),
            f("rcp.approx.f32 %w9, %w0;", k, |a, _, _| (1.0 / g(a)) as f32).within(|x, y| relative(x, y, 2f64.powi(-23))),
            f("rcp.approx.ftz.f32 %w9, %w0;", k, |a, _, _| flush((1.0 / g(flush(a))) as f32)).within(|x, y| relative(x, y, 2f64.powi(-23))),
            f("sqrt.approx.f32 %w9, %w0;", k, |a, _, _| g(a).sqrt() as f32).within(|x, y| relative(x, y, 2f64.powi(-23))),
            f("sin.approx.f32 %w9, %w0;", near, |a, _, _| g(a).sin() as f32)
                .within(|x, y| (f32::from_bits(x as u32) - f32::from_bits(y as u32)).abs() < 1e-6),
            f("cos.approx.f32 %w9, %w0;", near, |a, _, _| g(a).cos() as f32)
                .within(|x, y| (f32::from_bits(x as u32) - f32::from_bits(y as u32)).abs() < 1e-6),
            f("tanh.approx.f32 %w9, %w0;", k, |a, _, _| g(a).tanh() as f32).within(|x, y| relative(x, y, 2f64.powi(-11))),
            f("div.full.f32 %w9, %w0, %w1;", k, |a, b, _| a / b).within(|x, y| relative(x, y, 2f64.powi(-22))),
            f("div.approx.f32 %w9, %w0, %w1;", k, |a, b, _| {
                // Divisors beyond 2^126 have a reciprocal of zero.
                if b.is_finite() && b.abs() > 2f32.powi(126) { a * 0f32.copysign(b) } else { a / b }
            })
            .within(|x, y| relative(x, y, 2f64.powi(-22))),
        ],
    );
}

/// Sums of 16-bit floats and a float32, which later chips have.
#[test]
fn mixed_precision() {
    fn wide(bf: bool, v: u32) -> f32 {
        if bf { half::bf16::from_bits(v as u16).to_f32() } else { half::f16::from_bits(v as u16).to_f32() }
    }
    let mut cases: Vec<Case> = Vec::new();
    for bf in [true, false] {
        let (name, narrow) = if bf { ("bf16", Bf16) } else { ("f16", F16) };
        for (suffix, r) in [("rn", Rn), ("rz", Rz), ("rm", Rm), ("rp", Rp)] {
            let add = move |a: u32, b: u32| n::add_f32(wide(bf, a), f32::from_bits(b), r, false, false).to_bits();
            let sub = move |a: u32, b: u32| n::add_f32(wide(bf, a), -f32::from_bits(b), r, false, false).to_bits();
            let fma = move |a: u32, b: u32, c: u32| n::fma_f32([wide(bf, a), wide(bf, b), f32::from_bits(c)], r, false, false).to_bits();
            cases.push(w(&format!("add.{suffix}.f32.{name} %w9, %h0, %w1;"), [narrow, F32, F32], move |a, b, _| add(a, b)));
            cases.push(w(&format!("sub.{suffix}.f32.{name} %w9, %h0, %w1;"), [narrow, F32, F32], move |a, b, _| sub(a, b)));
            cases.push(w(&format!("fma.{suffix}.f32.{name} %w9, %h0, %h1, %w2;"), [narrow, narrow, F32], fma));
        }
    }
    let saturated = |a: u32, b: u32| n::add_f32(wide(true, a), f32::from_bits(b), Rn, false, true).to_bits();
    cases.push(w("add.rn.sat.f32.bf16 %w9, %h0, %w1;", [Bf16, F32, F32], move |a, b, _| saturated(a, b)));
    check("f32-mixed", "8.6", &cases);
}
