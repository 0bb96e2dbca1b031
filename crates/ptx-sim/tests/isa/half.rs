//! f16 and bf16, single and packed.

use crate::rig::Kind::{Bf16, F16};
use crate::rig::{Case, check, h, w};
use mnx_ptx_sim::numeric as n;
use mnx_ptx_sim::numeric::Half;

fn nan(ty: Half, v: u16) -> bool {
    v & 0x7fff > if ty == Half::F16 { 0x7c00 } else { 0x7f80 }
}

fn wide(ty: Half, v: u16) -> f64 {
    match ty {
        Half::F16 => half::f16::from_bits(v).to_f64(),
        Half::Bf16 => half::bf16::from_bits(v).to_f64(),
    }
}

/// A sum or product of two, which f64 holds closely enough for the ties to show: both formats have few bits.
fn narrow(ty: Half, v: f64) -> u16 {
    if v.is_nan() { 0x7fff } else { n::f64_to_half(ty, v, n::Rounding::Rn) }
}

fn greater(ty: Half, a: u16, b: u16) -> u16 {
    match (nan(ty, a), nan(ty, b)) {
        (true, true) => 0x7fff,
        (true, _) => b,
        (_, true) => a,
        _ if wide(ty, a) == wide(ty, b) => {
            if a & 0x8000 == 0 {
                a
            } else {
                b
            }
        }
        _ => {
            if wide(ty, a) > wide(ty, b) {
                a
            } else {
                b
            }
        }
    }
}

fn less(ty: Half, a: u16, b: u16) -> u16 {
    let r = greater(ty, a ^ 0x8000, b ^ 0x8000);
    if r == 0x7fff && nan(ty, a) && nan(ty, b) { r } else { r ^ 0x8000 }
}

fn nan_or(ty: Half, a: u16, b: u16, v: u16) -> u16 {
    if nan(ty, a) || nan(ty, b) { 0x7fff } else { v }
}

type Function = Box<dyn Fn(u16, u16, u16) -> u16>;

/// The single and the packed form of an operation.
fn both(cases: &mut Vec<Case>, ty: Half, operation: &str, operands: usize, f: impl Fn() -> Function) {
    let name = if ty == Half::F16 { "f16" } else { "bf16" };
    let kinds = [if ty == Half::F16 { F16 } else { Bf16 }; 3];
    let list = |letter: char| (0..operands).map(|i| format!(", %{letter}{i}")).collect::<String>();
    let (one, two) = (f(), f());
    cases.push(h(&format!("{operation}.{name} %h9{};", list('h')), kinds, one));
    cases.push(w(&format!("{operation}.{name}x2 %w9{};", list('w')), kinds, move |a, b, c| {
        let low = two(a as u16, b as u16, c as u16);
        let high = two((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16);
        u32::from(high) << 16 | u32::from(low)
    }));
}

#[test]
fn arithmetic() {
    let mut cases = Vec::new();
    for ty in [Half::F16, Half::Bf16] {
        let c = &mut cases;
        both(c, ty, "add.rn", 2, || Box::new(move |a, b, _| narrow(ty, wide(ty, a) + wide(ty, b))));
        both(c, ty, "sub.rn", 2, || Box::new(move |a, b, _| narrow(ty, wide(ty, a) - wide(ty, b))));
        both(c, ty, "mul.rn", 2, || Box::new(move |a, b, _| narrow(ty, wide(ty, a) * wide(ty, b))));
        both(c, ty, "fma.rn", 3, || Box::new(move |a, b, c| n::fma_half(ty, a, b, c, false)));
        both(c, ty, "fma.rn.relu", 3, || {
            Box::new(move |a, b, c| {
                let r = n::fma_half(ty, a, b, c, false);
                if r & 0x8000 != 0 { 0 } else { r }
            })
        });
        both(c, ty, "min", 2, || Box::new(move |a, b, _| less(ty, a, b)));
        both(c, ty, "max", 2, || Box::new(move |a, b, _| greater(ty, a, b)));
        both(c, ty, "min.NaN", 2, || Box::new(move |a, b, _| nan_or(ty, a, b, less(ty, a, b))));
        both(c, ty, "max.NaN", 2, || Box::new(move |a, b, _| nan_or(ty, a, b, greater(ty, a, b))));
        both(c, ty, "neg", 1, || Box::new(|a, _, _| a ^ 0x8000));
        both(c, ty, "abs", 1, || Box::new(|a, _, _| a & 0x7fff));
    }
    check("half", "8.0", &cases);
}

/// Exact in f64 and rounded once: the simulator's definition, within every bound of the ISA.
#[test]
fn approximations() {
    let mut cases = Vec::new();
    for ty in [Half::F16, Half::Bf16] {
        let ftz = if ty == Half::Bf16 { ".ftz" } else { "" };
        both(&mut cases, ty, "tanh.approx", 1, || Box::new(move |a, _, _| narrow(ty, wide(ty, a).tanh())));
        both(&mut cases, ty, &format!("ex2.approx{ftz}"), 1, || {
            Box::new(move |a, _, _| {
                // bf16 has `.ftz` only: subnormal operands and results are zeros of their sign.
                let flush = |v: u16| if ty == Half::Bf16 && v & 0x7f80 == 0 { v & 0x8000 } else { v };
                flush(narrow(ty, wide(ty, flush(a)).exp2()))
            })
        });
    }
    check("half-approx", "8.0", &cases);
}

#[test]
fn flush_and_saturate() {
    let flush = |v: u16| if v & 0x7c00 == 0 { v & 0x8000 } else { v };
    let sat = |v: u16| if v & 0x8000 != 0 || v > 0x7c00 { 0 } else { v.min(0x3c00) };
    let mut cases = Vec::new();
    both(&mut cases, Half::F16, "add.rn.ftz", 2, || {
        Box::new(move |a, b, _| flush(narrow(Half::F16, wide(Half::F16, flush(a)) + wide(Half::F16, flush(b)))))
    });
    both(&mut cases, Half::F16, "mul.rn.sat", 2, || {
        Box::new(move |a, b, _| sat(narrow(Half::F16, wide(Half::F16, a) * wide(Half::F16, b))))
    });
    both(&mut cases, Half::F16, "fma.rn.ftz.sat", 3, || {
        Box::new(move |a, b, c| sat(flush(n::fma_half(Half::F16, flush(a), flush(b), flush(c), false))))
    });
    both(&mut cases, Half::F16, "max.ftz", 2, || Box::new(move |a, b, _| greater(Half::F16, flush(a), flush(b))));
    check("half-modifiers", "8.0", &cases);
}
