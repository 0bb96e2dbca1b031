//! Loads, stores, atomics and asynchronous copies of every width, each lane in its own slot.

use crate::rig::Kind::{Bf16, Bits, F16, Near};
use crate::rig::{Case, Kind, Out, check, w, x};
use mnx_ptx_sim::numeric::{Half, add_half};

/// Wraps a body that uses `[%x14]` (generic), `[%w14]` (shared) as 16 bytes of shared memory of its own.
fn shared(body: &str) -> String {
    format!(
        "{{ .shared .align 16 .b8 slots[2048];
 mov.u32 %w14, slots; shl.b32 %w15, %w10, 4; add.s32 %w14, %w14, %w15;
 cvt.u64.u32 %x14, %w14; cvta.shared.u64 %x14, %x14;
 {body} }}"
    )
}

#[test]
fn global_loads() {
    let b = [Bits; 3];
    check(
        "loads",
        "8.0",
        &[
            w("ld.global.u8 %w9, [%x10+3];", b, |a, _, _| a >> 24),
            w("ld.global.s8 %w9, [%x10+3];", b, |a, _, _| ((a as i32) >> 24) as u32),
            w("ld.global.b8 %w9, [%x10];", b, |a, _, _| a & 0xff),
            w("ld.global.u16 %w9, [%x10+2];", b, |a, _, _| a >> 16),
            w("ld.global.s16 %w9, [%x10+2];", b, |a, _, _| ((a as i32) >> 16) as u32),
            w("ld.global.b32 %w9, [%x10+8];", b, |_, b, _| b),
            w("ld.global.f32 %w9, [%x10+16];", b, |_, _, c| c),
            x("ld.global.s32 %x9, [%x10];", b, |a, _, _| i64::from(a as i32) as u64),
            x("ld.global.u32 %x9, [%x10];", b, |a, _, _| a & 0xffff_ffff),
            x("ld.global.b64 %x9, [%x10+8];", b, |_, b, _| b),
            x("ld.b64 %x9, [%x10+8];", b, |_, b, _| b),
            x("ld.volatile.global.b64 %x9, [%x10];", b, |a, _, _| a),
            x("ld.relaxed.gpu.global.b64 %x9, [%x10];", b, |a, _, _| a),
            x("ld.global.nc.b64 %x9, [%x10];", b, |a, _, _| a),
            w("ld.global.nc.L1::no_allocate.b32 %w9, [%x10];", b, |a, _, _| a),
            x("ld.global.v2.b32 {%w5, %w6}, [%x10]; mov.b64 %x9, {%w6, %w5};", b, |a, _, _| a.rotate_left(32)),
            x("ld.global.v4.b16 {%h3, %h4, %h5, %h6}, [%x10]; mov.b64 %x9, {%h6, %h3, %h4, %h5};", b, |a, _, _| a.rotate_left(16)),
            w(
                "ld.global.v4.u8 {%h3, %h4, %h5, %h6}, [%x10]; cvt.u32.u16 %w5, %h6; shl.b32 %w5, %w5, 8; cvt.u32.u16 %w6, %h4; or.b32 %w9, %w5, %w6;",
                b,
                |a, _, _| (a >> 24) << 8 | (a >> 8 & 0xff),
            ),
        ],
    );
}

#[test]
fn stores_and_spaces() {
    let b = [Bits; 3];
    let cases = [
        x(&shared("st.shared.b64 [%w14], %x0; ld.shared.b64 %x9, [%w14];"), b, |a, _, _| a),
        x(&shared("st.shared.b64 [%w14], %x0; st.shared.b8 [%w14+1], %w1; ld.shared.b64 %x9, [%w14];"), b, |a, b, _| a & !0xff00 | (b & 0xff) << 8),
        x(&shared("st.shared.b64 [%w14], %x0; st.shared.b16 [%w14+6], %h1; ld.shared.b64 %x9, [%w14];"), b, |a, b, _| a << 16 >> 16 | b << 48),
        x(&shared("st.shared.v2.b64 [%w14], {%x0, %x1}; ld.shared.v4.b32 {%w3, %w4, %w5, %w6}, [%w14]; mov.b64 %x9, {%w6, %w3};"), b, |a, b, _| {
            b >> 32 | a << 32
        }),
        x(&shared("st.shared.v4.b32 [%w14], {%w0, %w1, %w2, %w0}; ld.shared.v2.b64 {%x3, %x4}, [%w14]; xor.b64 %x9, %x3, %x4;"), b, |a, b, c| {
            let low = |v: u64| v & 0xffff_ffff;
            (low(a) | low(b) << 32) ^ (low(c) | low(a) << 32)
        }),
        // The same bytes through generic addresses.
        x(&shared("st.b64 [%x14], %x0; ld.shared.b64 %x9, [%w14];"), b, |a, _, _| a),
        x(&shared("st.shared.b64 [%w14], %x0; ld.b64 %x9, [%x14];"), b, |a, _, _| a),
        Case::new(&shared("isspacep.shared %p9, %x14;"), b, Out::P, |_| 1),
        Case::new("isspacep.shared %p9, %x10;", b, Out::P, |_| 0),
        Case::new("isspacep.global %p9, %x10;", b, Out::P, |_| 1),
        // Local memory is each thread's own.
        x("{ .local .align 8 .b8 own[32]; st.local.b64 [own+8], %x0; st.local.b32 [own+12], %w1; ld.local.b64 %x9, [own+8]; }", b, |a, b, _| {
            a & 0xffff_ffff | b << 32
        }),
        x(
            "{ .local .align 8 .b8 own[32]; mov.u64 %x3, own; cvta.local.u64 %x3, %x3; and.b32 %w3, %w2, 3; mul.wide.u32 %x4, %w3, 8; add.s64 %x3, %x3, %x4;
 st.b64 [%x3], %x0; ld.b64 %x9, [%x3]; }",
            b,
            |a, _, _| a,
        ),
        x("st.global.v2.b32 [%x11], {%w0, %w1}; ld.global.b64 %x9, [%x11];", b, |a, b, _| a & 0xffff_ffff | b << 32),
        x("st.global.b64 [%x11], %x0; st.global.b8 [%x11+7], %w1; ld.global.b64 %x9, [%x11];", b, |a, b, _| a << 8 >> 8 | b << 56),
        x("membar.gl; fence.acq_rel.gpu; bar.warp.sync -1; bar.sync 0; barrier.sync 1; mov.b64 %x9, %x0;", b, |a, _, _| a),
    ];
    check("spaces", "8.0", &cases);
}

/// Old value in the low half of the result, new value in the high half.
fn atomic(operation: &str, kind: Kind, new: impl Fn(u32, u32, u32) -> u32 + 'static) -> Vec<Case> {
    let operands = if operation.starts_with("cas") { "%w1, %w2" } else { "%w1" };
    let both = shared(&format!(
        "st.shared.b32 [%w14], %w0; atom.shared.{operation} %w5, [%w14], {operands}; ld.shared.b32 %w6, [%w14]; mov.b64 %x9, {{%w5, %w6}};"
    ));
    let global = format!(
        "st.global.b32 [%x11], %w0; atom.global.{operation} %w5, [%x11], {operands}; ld.global.b32 %w6, [%x11]; mov.b64 %x9, {{%w5, %w6}};"
    );
    let new = std::rc::Rc::new(new);
    [both, global]
        .into_iter()
        .map(|text| {
            let new = new.clone();
            x(&text, [kind; 3], move |a, b, c| a & 0xffff_ffff | u64::from(new(a as u32, b as u32, c as u32)) << 32)
        })
        .collect()
}

#[test]
fn atomics() {
    let f = f32::from_bits;
    let pairs = |ty: Half| {
        move |a: u32, b: u32, _| {
            u32::from(add_half(ty, (a >> 16) as u16, (b >> 16) as u16)) << 16 | u32::from(add_half(ty, a as u16, b as u16))
        }
    };
    let mut cases: Vec<Case> = [
        atomic("add.u32", Bits, |a, b, _| a.wrapping_add(b)),
        atomic("min.u32", Bits, |a, b, _| a.min(b)),
        atomic("max.u32", Bits, |a, b, _| a.max(b)),
        atomic("min.s32", Bits, |a, b, _| (a as i32).min(b as i32) as u32),
        atomic("max.s32", Bits, |a, b, _| (a as i32).max(b as i32) as u32),
        atomic("and.b32", Bits, |a, b, _| a & b),
        atomic("or.b32", Bits, |a, b, _| a | b),
        atomic("xor.b32", Bits, |a, b, _| a ^ b),
        atomic("exch.b32", Bits, |_, b, _| b),
        atomic("inc.u32", Bits, |a, b, _| if a >= b { 0 } else { a + 1 }),
        atomic("dec.u32", Bits, |a, b, _| if a == 0 || a > b { b } else { a - 1 }),
        atomic("cas.b32", Bits, |a, b, c| if a == b { c } else { a }),
        atomic("add.f32", Near, move |a, b, _| (f(a) + f(b)).to_bits()),
        atomic("add.noftz.bf16x2", Bf16, pairs(Half::Bf16)),
        atomic("add.noftz.f16x2", F16, pairs(Half::F16)),
    ]
    .into_iter()
    .flatten()
    .collect();
    cases.extend([
        // A comparison that holds.
        x(
            &shared(
                "st.shared.b32 [%w14], %w0; atom.shared.cas.b32 %w5, [%w14], %w0, %w2; ld.shared.b32 %w6, [%w14]; mov.b64 %x9, {%w5, %w6};",
            ),
            [Bits; 3],
            |a, _, c| a & 0xffff_ffff | c << 32,
        ),
        x(
            &shared("st.shared.b64 [%w14], %x0; atom.shared.add.u64 %x5, [%w14], %x1; ld.shared.b64 %x6, [%w14]; xor.b64 %x9, %x5, %x6;"),
            [Bits; 3],
            |a, b, _| a ^ a.wrapping_add(b),
        ),
        x(
            &shared("st.shared.b64 [%w14], %x0; atom.shared.exch.b64 %x5, [%w14], %x1; ld.shared.b64 %x6, [%w14]; sub.s64 %x9, %x5, %x6;"),
            [Bits; 3],
            |a, b, _| a.wrapping_sub(b),
        ),
        x(&shared("st.shared.b64 [%w14], %x0; red.shared.max.u64 [%w14], %x1; ld.shared.b64 %x9, [%w14];"), [Bits; 3], |a, b, _| a.max(b)),
        x("st.global.b64 [%x11], %x0; red.global.add.u32 [%x11], %w1; ld.global.b64 %x9, [%x11];", [Bits; 3], |a, b, _| {
            a & !0xffff_ffff | u64::from((a as u32).wrapping_add(b as u32))
        }),
    ]);
    check("atomics", "8.0", &cases);
}

#[test]
fn asynchronous_copies() {
    let b = [Bits; 3];
    let wait = "cp.async.commit_group; cp.async.wait_group 0;";
    check("cp-async", "8.0", &[
        x(&shared(&format!("cp.async.ca.shared.global [%w14], [%x10], 8; {wait} ld.shared.b64 %x9, [%w14];")), b, |a, _, _| a),
        x(&shared(&format!("cp.async.ca.shared.global [%w14+4], [%x10+8], 4; {wait} ld.shared.b32 %w9, [%w14+4]; cvt.u64.u32 %x9, %w9;")), b, |_, b, _| b & 0xffff_ffff),
        // Fewer source bytes: the rest is zero.
        x(&shared(&format!("cp.async.ca.shared.global [%w14], [%x10], 8, 4; {wait} ld.shared.b64 %x9, [%w14];")), b, |a, _, _| a & 0xffff_ffff),
        x(&shared(&format!("mov.b32 %w5, 0; cp.async.ca.shared.global [%w14], [%x10], 8, %w5; {wait} ld.shared.b64 %x9, [%w14];")), b, |_, _, _| 0),
        x(&shared("cp.async.ca.shared.global [%w14], [%x10], 8; cp.async.wait_all; ld.shared.b64 %x9, [%w14];"), b, |a, _, _| a),
        // Two groups, of which the older one is waited for.
        x(
            &shared(
                "cp.async.ca.shared.global [%w14], [%x10], 8; cp.async.commit_group; cp.async.ca.shared.global [%w14+8], [%x10+8], 8; cp.async.commit_group;
 cp.async.wait_group 1; ld.shared.b64 %x5, [%w14]; cp.async.wait_group 0; ld.shared.b64 %x6, [%w14+8]; sub.s64 %x9, %x5, %x6;",
            ),
            b,
            |a, b, _| a.wrapping_sub(b),
        ),
    ]);
}
