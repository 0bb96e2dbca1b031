//! `cvt` between all formats.

use crate::rig::Kind::{Bf16, Bits, F16, F32, F64};
use crate::rig::{Case, Kind, Out, check, f, w, x};
use mnx_ptx_sim::numeric as n;
use mnx_ptx_sim::numeric::Half;
use mnx_ptx_sim::numeric::Rounding::{Rm, Rn, Rna, Rp, Rz};

fn g(v: u32) -> f32 {
    f32::from_bits(v)
}

fn canonical(v: f32) -> u32 {
    if v.is_nan() { 0x7fff_ffff } else { v.to_bits() }
}

/// Rust's `as` from floats to integers truncates, clamps and takes NaN to 0, as PTX does for f32 to 32 bits.
#[test]
fn floats_to_integers() {
    let k = [F32; 3];
    check(
        "float-to-int",
        "8.0",
        &[
            w("cvt.rzi.s32.f32 %w9, %w0;", k, |a, _, _| g(a) as i32 as u32),
            w("cvt.rzi.u32.f32 %w9, %w0;", k, |a, _, _| g(a) as u32),
            w("cvt.rni.s32.f32 %w9, %w0;", k, |a, _, _| g(a).round_ties_even() as i32 as u32),
            w("cvt.rmi.s32.f32 %w9, %w0;", k, |a, _, _| g(a).floor() as i32 as u32),
            w("cvt.rpi.u32.f32 %w9, %w0;", k, |a, _, _| g(a).ceil() as u32),
            w("cvt.rmi.ftz.s32.f32 %w9, %w0;", k, |a, _, _| (if g(a).is_subnormal() { 0.0 } else { g(a).floor() }) as i32 as u32),
            // To 64 bits, NaN gives the top bit alone.
            x("cvt.rzi.s64.f32 %x9, %w0;", k, |a, _, _| if g(a as u32).is_nan() { 1 << 63 } else { g(a as u32) as i64 as u64 }),
            x("cvt.rni.u64.f32 %x9, %w0;", k, |a, _, _| if g(a as u32).is_nan() { 1 << 63 } else { g(a as u32).round_ties_even() as u64 }),
            Case::new("cvt.rzi.s16.f32 %h9, %w0;", k, Out::H, |[a, ..]| u64::from(g(a as u32) as i16 as u16)),
            Case::new("cvt.rni.u16.f32 %h9, %w0;", k, Out::H, |[a, ..]| u64::from(g(a as u32).round_ties_even() as u16)),
            // An 8-bit result in a wider register is extended by its sign.
            w("cvt.rzi.s8.f32 %w9, %w0;", k, |a, _, _| i32::from(g(a) as i8) as u32),
            w("cvt.rzi.u8.f32 %w9, %w0;", k, |a, _, _| u32::from(g(a) as u8)),
            // From f64 NaN gives the top bit for every width.
            Case::new("cvt.rzi.s32.f64 %w9, %x0;", [F64; 3], Out::W, |[a, ..]| {
                let v = f64::from_bits(a);
                if v.is_nan() { 0x8000_0000 } else { u64::from(v as i32 as u32) }
            }),
            x("cvt.rmi.s64.f64 %x9, %x0;", [F64; 3], |a, _, _| {
                let v = f64::from_bits(a);
                if v.is_nan() { 1 << 63 } else { v.floor() as i64 as u64 }
            }),
            Case::new("cvt.rzi.s32.f16 %w9, %h0;", [F16; 3], Out::W, |[a, ..]| {
                u64::from(half::f16::from_bits(a as u16).to_f32() as i32 as u32)
            }),
            Case::new("cvt.rni.s32.bf16 %w9, %h0;", [Bf16; 3], Out::W, |[a, ..]| {
                u64::from(half::bf16::from_bits(a as u16).to_f32().round_ties_even() as i32 as u32)
            }),
        ],
    );
}

#[test]
fn integers_to_floats() {
    let mut cases = vec![
        w("cvt.rn.f32.s32 %w9, %w0;", [Bits; 3], |a, _, _| (a as i32 as f32).to_bits()),
        w("cvt.rn.f32.u32 %w9, %w0;", [Bits; 3], |a, _, _| (a as f32).to_bits()),
        Case::new("cvt.rn.f32.s64 %w9, %x0;", [Bits; 3], Out::W, |[a, ..]| (a as i64 as f32).to_bits().into()),
        Case::new("cvt.rn.f32.u64 %w9, %x0;", [Bits; 3], Out::W, |[a, ..]| (a as f32).to_bits().into()),
        Case::new("cvt.rn.f32.u16 %w9, %h0;", [Bits; 3], Out::W, |[a, ..]| f32::from(a as u16).to_bits().into()),
        w("cvt.rn.f32.s8 %w9, %w0;", [Bits; 3], |a, _, _| f32::from(a as i8).to_bits()),
        x("cvt.rn.f64.s32 %x9, %w0;", [Bits; 3], |a, _, _| f64::from(a as i32).to_bits()),
        x("cvt.rn.f64.u64 %x9, %x0;", [Bits; 3], |a, _, _| (a as f64).to_bits()),
        w("cvt.rn.sat.f32.s32 %w9, %w0;", [Bits; 3], |a, _, _| (a as i32 as f32).clamp(0.0, 1.0).to_bits()),
    ];
    for (suffix, r) in [("rz", Rz), ("rm", Rm), ("rp", Rp), ("rn", Rn)] {
        cases.push(w(&format!("cvt.{suffix}.f32.s32 %w9, %w0;"), [Bits; 3], move |a, _, _| n::int_to_f32((a as i32).into(), r).to_bits()));
        cases.push(x(&format!("cvt.{suffix}.f64.s64 %x9, %x0;"), [Bits; 3], move |a, _, _| n::int_to_f64((a as i64).into(), r).to_bits()));
        cases.push(Case::new(&format!("cvt.{suffix}.f16.s32 %h9, %w0;"), [Bits; 3], Out::H, move |[a, ..]| {
            n::int_to_half(Half::F16, (a as i32).into(), r).into()
        }));
        cases.push(Case::new(&format!("cvt.{suffix}.bf16.u64 %h9, %x0;"), [Bits; 3], Out::H, move |[a, ..]| {
            n::int_to_half(Half::Bf16, a.into(), r).into()
        }));
    }
    check("int-to-float", "8.0", &cases);
}

#[test]
fn integers_to_integers() {
    let b = [Bits; 3];
    check(
        "int-to-int",
        "8.0",
        &[
            x("cvt.s64.s32 %x9, %w0;", b, |a, _, _| i64::from(a as i32) as u64),
            x("cvt.u64.u32 %x9, %w0;", b, |a, _, _| u64::from(a as u32)),
            x("cvt.s64.s16 %x9, %h0;", b, |a, _, _| i64::from(a as i16) as u64),
            w("cvt.s32.s8 %w9, %w0;", b, |a, _, _| i32::from(a as i8) as u32),
            w("cvt.u32.u8 %w9, %w0;", b, |a, _, _| a & 0xff),
            w("cvt.s32.s16 %w9, %h0;", b, |a, _, _| i32::from(a as i16) as u32),
            Case::new("cvt.u32.u64 %w9, %x0;", b, Out::W, |[a, ..]| a & 0xffff_ffff),
            Case::new("cvt.u16.u32 %h9, %w0;", b, Out::H, |[a, ..]| a & 0xffff),
            w("cvt.sat.s8.s32 %w9, %w0;", b, |a, _, _| (a as i32).clamp(-128, 127) as u32),
            w("cvt.sat.u8.s32 %w9, %w0;", b, |a, _, _| (a as i32).clamp(0, 255) as u32),
            w("cvt.sat.u32.s32 %w9, %w0;", b, |a, _, _| (a as i32).max(0) as u32),
            Case::new("cvt.sat.s32.s64 %w9, %x0;", b, Out::W, |[a, ..]| {
                u64::from((a as i64).clamp(i32::MIN.into(), i32::MAX.into()) as i32 as u32)
            }),
            Case::new("cvt.sat.u16.s32 %h9, %w0;", b, Out::H, |[a, ..]| (a as i32).clamp(0, 65535) as u64),
        ],
    );
}

#[test]
fn floats_to_floats() {
    let k = [F32; 3];
    let from64 = |suffix: &str, r| {
        Case::new(&format!("cvt.{suffix}.f32.f64 %w9, %x0;"), [F64; 3], Out::W, move |[a, ..]| {
            canonical(n::f64_to_f32(f64::from_bits(a), r)).into()
        })
    };
    let half_of = |ty: &str, kind: Kind, f: fn(u16) -> f32| {
        Case::new(&format!("cvt.f32.{ty} %w9, %h0;"), [kind; 3], Out::W, move |[a, ..]| u64::from(f(a as u16).to_bits()))
            .within(|got, want| f32::from_bits(got as u32).is_nan() && f32::from_bits(want as u32).is_nan())
    };
    check(
        "float-to-float",
        "8.0",
        &[
            from64("rn", Rn),
            from64("rz", Rz),
            from64("rm", Rm),
            from64("rp", Rp),
            Case::new("cvt.f64.f32 %x9, %w0;", k, Out::X, |[a, ..]| f64::from(g(a as u32)).to_bits())
                .within(|got, want| f64::from_bits(got).is_nan() && f64::from_bits(want).is_nan()),
            half_of("f16", F16, |a| half::f16::from_bits(a).to_f32()),
            half_of("bf16", Bf16, |a| half::bf16::from_bits(a).to_f32()),
            f("cvt.rni.f32.f32 %w9, %w0;", k, |a, _, _| a.round_ties_even()),
            f("cvt.rzi.f32.f32 %w9, %w0;", k, |a, _, _| a.trunc()),
            f("cvt.rmi.f32.f32 %w9, %w0;", k, |a, _, _| a.floor()),
            f("cvt.rpi.f32.f32 %w9, %w0;", k, |a, _, _| a.ceil()),
            f("cvt.sat.f32.f32 %w9, %w0;", k, |a, _, _| if a > 0.0 { a.min(1.0) } else { 0.0 }),
            f("cvt.ftz.f32.f32 %w9, %w0;", k, |a, _, _| if a.is_subnormal() { 0f32.copysign(a) } else { a })
                .within(|got, want| f32::from_bits(got as u32).is_nan() && f32::from_bits(want as u32).is_nan()),
            Case::new("cvt.rn.f16.f64 %h9, %x0;", [F64; 3], Out::H, |[a, ..]| n::f64_to_half(Half::F16, f64::from_bits(a), Rn).into()),
        ],
    );
}

#[test]
fn to_sixteen_bits() {
    let mut cases = Vec::new();
    for (name, ty) in [("f16", Half::F16), ("bf16", Half::Bf16)] {
        for (suffix, r) in [("rn", Rn), ("rz", Rz)] {
            for (relu, satfinite, modifiers) in
                [(false, false, ""), (true, false, ".relu"), (false, true, ".satfinite"), (true, true, ".relu.satfinite")]
            {
                let one = move |v: u64| u64::from(n::f32_to_half(ty, g(v as u32), r, relu, satfinite));
                cases.push(Case::new(&format!("cvt.{suffix}{modifiers}.{name}.f32 %h9, %w0;"), [F32; 3], Out::H, move |[a, ..]| one(a)));
                // The first operand lands in the high half.
                cases.push(Case::new(
                    &format!("cvt.{suffix}{modifiers}.{name}x2.f32 %w9, %w0, %w1;"),
                    [F32; 3],
                    Out::W,
                    move |[a, b, _]| one(a) << 16 | one(b),
                ));
            }
        }
    }
    // Independent of our own rounding: crate `half`, on numbers.
    cases.push(Case::new("cvt.rn.bf16x2.f32 %w9, %w0, %w1;", [Kind::Near; 3], Out::W, |[a, b, _]| {
        u64::from(half::bf16::from_f32(g(a as u32)).to_bits()) << 16 | u64::from(half::bf16::from_f32(g(b as u32)).to_bits())
    }));
    cases.push(Case::new("cvt.rn.f16x2.f32 %w9, %w0, %w1;", [Kind::Near; 3], Out::W, |[a, b, _]| {
        u64::from(half::f16::from_f32(g(a as u32)).to_bits()) << 16 | u64::from(half::f16::from_f32(g(b as u32)).to_bits())
    }));
    check("to-half", "8.1", &cases);
}

#[test]
fn to_tf32() {
    let mut cases = vec![
        w("cvt.rna.tf32.f32 %w9, %w0;", [F32; 3], |a, _, _| n::f32_to_tf32(g(a), Rna)),
        w("cvt.rna.satfinite.tf32.f32 %w9, %w0;", [F32; 3], |a, _, _| n::finish_tf32(n::f32_to_tf32(g(a), Rna), false, true)),
    ];
    for (suffix, r) in [("rn", Rn), ("rz", Rz)] {
        cases.push(w(&format!("cvt.{suffix}.tf32.f32 %w9, %w0;"), [F32; 3], move |a, _, _| n::f32_to_tf32(g(a), r)));
        cases.push(w(&format!("cvt.{suffix}.relu.tf32.f32 %w9, %w0;"), [F32; 3], move |a, _, _| {
            n::finish_tf32(n::f32_to_tf32(g(a), r), true, false)
        }));
    }
    check("to-tf32", "8.1", &cases);
}
