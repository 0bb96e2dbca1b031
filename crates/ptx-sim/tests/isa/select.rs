//! Comparison, selection, predicate logic, predication and branches.

use crate::rig::Kind::{Bf16, Bits, F16, F32, F64};
use crate::rig::{Case, Kind, Out, check, w, x};

fn p(text: &str, kinds: [Kind; 3], f: impl Fn(u64, u64, u64) -> bool + 'static) -> Case {
    Case::new(text, kinds, Out::P, move |[a, b, c]| f(a, b, c).into())
}

/// The twelve float comparisons on the ordering of two values.
fn float_compare(name: &str) -> fn(Option<std::cmp::Ordering>) -> bool {
    match name {
        "eq" => |o| o.is_some_and(|o| o.is_eq()),
        "ne" => |o| o.is_some_and(|o| o.is_ne()),
        "lt" => |o| o.is_some_and(|o| o.is_lt()),
        "le" => |o| o.is_some_and(|o| o.is_le()),
        "gt" => |o| o.is_some_and(|o| o.is_gt()),
        "ge" => |o| o.is_some_and(|o| o.is_ge()),
        "equ" => |o| o.is_none_or(|o| o.is_eq()),
        "neu" => |o| o.is_none_or(|o| o.is_ne()),
        "ltu" => |o| o.is_none_or(|o| o.is_lt()),
        "leu" => |o| o.is_none_or(|o| o.is_le()),
        "gtu" => |o| o.is_none_or(|o| o.is_gt()),
        "geu" => |o| o.is_none_or(|o| o.is_ge()),
        "num" => |o| o.is_some(),
        _ => |o| o.is_none(),
    }
}

#[test]
fn float_comparisons() {
    let mut cases = Vec::new();
    for name in ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"] {
        let holds = float_compare(name);
        cases.push(p(&format!("setp.{name}.f32 %p9, %w0, %w1;"), [F32; 3], move |a, b, _| {
            holds(f32::from_bits(a as u32).partial_cmp(&f32::from_bits(b as u32)))
        }));
        cases.push(p(&format!("setp.{name}.f64 %p9, %x0, %x1;"), [F64; 3], move |a, b, _| {
            holds(f64::from_bits(a).partial_cmp(&f64::from_bits(b)))
        }));
        cases.push(p(&format!("setp.{name}.f16 %p9, %h0, %h1;"), [F16; 3], move |a, b, _| {
            holds(half::f16::from_bits(a as u16).partial_cmp(&half::f16::from_bits(b as u16)))
        }));
        cases.push(p(&format!("setp.{name}.bf16 %p9, %h0, %h1;"), [Bf16; 3], move |a, b, _| {
            holds(half::bf16::from_bits(a as u16).partial_cmp(&half::bf16::from_bits(b as u16)))
        }));
    }
    cases.push(p("setp.eq.ftz.f32 %p9, %w0, %w1;", [F32; 3], |a, b, _| {
        let flush = |v: u64| {
            let v = f32::from_bits(v as u32);
            if v.is_subnormal() { 0.0 } else { v }
        };
        flush(a) == flush(b)
    }));
    check("setp-float", "8.0", &cases);
}

#[test]
fn integer_comparisons() {
    let b = [Bits; 3];
    // Operands that are often equal: compare the low bits.
    check(
        "setp-integer",
        "8.0",
        &[
            p("setp.eq.u32 %p9, %w0, %w1;", b, |a, b, _| a as u32 == b as u32),
            p("and.b32 %w0, %w0, 3; and.b32 %w1, %w1, 3; setp.eq.s32 %p9, %w0, %w1;", b, |a, b, _| a & 3 == b & 3),
            p("and.b32 %w0, %w0, 3; and.b32 %w1, %w1, 3; setp.ne.b32 %p9, %w0, %w1;", b, |a, b, _| a & 3 != b & 3),
            p("setp.lt.s32 %p9, %w0, %w1;", b, |a, b, _| (a as i32) < b as i32),
            p("setp.le.u32 %p9, %w0, %w1;", b, |a, b, _| a as u32 <= b as u32),
            p("setp.gt.s32 %p9, %w0, %w1;", b, |a, b, _| a as i32 > b as i32),
            p("setp.ge.u32 %p9, %w0, 16;", b, |a, _, _| a as u32 >= 16),
            p("setp.lo.u32 %p9, %w0, %w1;", b, |a, b, _| (a as u32) < b as u32),
            p("setp.hs.u32 %p9, %w0, %w1;", b, |a, b, _| a as u32 >= b as u32),
            p("setp.lt.s64 %p9, %x0, %x1;", b, |a, b, _| (a as i64) < b as i64),
            p("setp.gt.u64 %p9, %x0, %x1;", b, |a, b, _| a > b),
            p("setp.lt.s16 %p9, %h0, %h1;", b, |a, b, _| (a as i16) < b as i16),
            p("setp.ge.u16 %p9, %h0, %h1;", b, |a, b, _| a as u16 >= b as u16),
            p("setp.ne.s32 %p1, %w2, 0; setp.lt.and.s32 %p9, %w0, %w1, %p1;", b, |a, b, c| (a as i32) < b as i32 && c as u32 != 0),
            p("setp.gt.s32 %p1, %w2, 0; setp.lt.or.s32 %p9, %w0, %w1, !%p1;", b, |a, b, c| (a as i32) < b as i32 || c as i32 <= 0),
            p("setp.gt.s32 %p1, %w2, 0; setp.lt.xor.s32 %p9, %w0, %w1, %p1;", b, |a, b, c| ((a as i32) < b as i32) ^ (c as i32 > 0)),
            w("setp.lt.s32 %p1|%p2, %w0, %w1; selp.u32 %w5, 1, 0, %p1; selp.u32 %w6, 2, 0, %p2; or.b32 %w9, %w5, %w6;", b, |a, b, _| {
                if (a as i32) < b as i32 { 1 } else { 2 }
            }),
        ],
    );
}

#[test]
fn selection_and_predicates() {
    let b = [Bits; 3];
    check(
        "select",
        "8.0",
        &[
            w("setp.lt.s32 %p1, %w2, 0; selp.b32 %w9, %w0, %w1, %p1;", b, |a, b, c| if (c as i32) < 0 { a } else { b }),
            w("setp.lt.s32 %p1, %w2, 0; selp.f32 %w9, %w0, 0f40400000, %p1;", b, |a, _, c| if (c as i32) < 0 { a } else { 3f32.to_bits() }),
            x("setp.lt.s32 %p1, %w2, 0; selp.b64 %x9, %x0, %x1, %p1;", b, |a, b, c| if (c as i32) < 0 { a } else { b }),
            p("setp.lt.s32 %p1, %w0, 0; setp.lt.s32 %p2, %w1, 0; and.pred %p9, %p1, %p2;", b, |a, b, _| (a as i32) < 0 && (b as i32) < 0),
            p("setp.lt.s32 %p1, %w0, 0; setp.lt.s32 %p2, %w1, 0; or.pred %p9, %p1, %p2;", b, |a, b, _| (a as i32) < 0 || (b as i32) < 0),
            p("setp.lt.s32 %p1, %w0, 0; setp.lt.s32 %p2, %w1, 0; xor.pred %p9, %p1, %p2;", b, |a, b, _| {
                ((a as i32) < 0) ^ ((b as i32) < 0)
            }),
            p("setp.lt.s32 %p1, %w0, 0; not.pred %p9, %p1;", b, |a, _, _| a as i32 >= 0),
            // Predication, with its complement.
            w("setp.lt.s32 %p1, %w2, 0; mov.b32 %w9, %w0; @%p1 mov.b32 %w9, %w1;", b, |a, b, c| if (c as i32) < 0 { b } else { a }),
            w("setp.lt.s32 %p1, %w2, 0; mov.b32 %w9, %w0; @!%p1 add.u32 %w9, %w9, %w1;", b, |a, b, c| {
                if (c as i32) < 0 { a } else { a.wrapping_add(b) }
            }),
        ],
    );
}

/// Divergence: each lane loops as often as its own operand says, and takes its own side of a branch.
#[test]
fn divergent_loops() {
    check(
        "loops",
        "8.0",
        &[w(
            "and.b32 %w5, %w0, 15; mov.b32 %w9, 0;
LOOP: setp.eq.s32 %p1, %w5, 0; @%p1 bra DONE;
 and.b32 %w6, %w5, 1; setp.eq.s32 %p2, %w6, 1; @%p2 bra ODD;
 add.u32 %w9, %w9, %w1; bra.uni NEXT;
ODD: xor.b32 %w9, %w9, %w2;
NEXT: sub.s32 %w5, %w5, 1; bra LOOP;
DONE:",
            [Bits; 3],
            |a, b, c| (1..=a & 15).rev().fold(0u32, |d, i| if i & 1 == 1 { d ^ c } else { d.wrapping_add(b) }),
        )],
    );
}
