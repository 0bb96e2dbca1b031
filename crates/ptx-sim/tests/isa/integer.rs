//! Integer and bit instructions.

use crate::rig::Kind::{Bits, Small};
use crate::rig::{Case, Out, check, h, w, x};

fn s(v: u32) -> i32 {
    v as i32
}
fn l(v: u64) -> i64 {
    v as i64
}
fn q(v: u16) -> i16 {
    v as i16
}

#[test]
fn arithmetic_of_32_bits() {
    let b = [Bits; 3];
    check(
        "int32",
        "8.0",
        &[
            w("add.u32 %w9, %w0, %w1;", b, |a, b, _| a.wrapping_add(b)),
            w("add.s32 %w9, %w0, -5;", b, |a, _, _| a.wrapping_sub(5)),
            w("sub.s32 %w9, %w0, %w1;", b, |a, b, _| a.wrapping_sub(b)),
            w("add.sat.s32 %w9, %w0, %w1;", b, |a, b, _| s(a).saturating_add(s(b)) as u32),
            w("sub.sat.s32 %w9, %w0, %w1;", b, |a, b, _| s(a).saturating_sub(s(b)) as u32),
            w("mul.lo.s32 %w9, %w0, %w1;", b, |a, b, _| a.wrapping_mul(b)),
            w("mul.hi.s32 %w9, %w0, %w1;", b, |a, b, _| ((i64::from(s(a)) * i64::from(s(b))) >> 32) as u32),
            w("mul.hi.u32 %w9, %w0, %w1;", b, |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32),
            w("mad.lo.s32 %w9, %w0, %w1, %w2;", b, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
            w("mad.hi.u32 %w9, %w0, %w1, %w2;", b, |a, b, c| (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c)),
            w("mad.hi.s32 %w9, %w0, %w1, %w2;", b, |a, b, c| (((i64::from(s(a)) * i64::from(s(b))) >> 32) as u32).wrapping_add(c)),
            w("or.b32 %w1, %w1, 1; div.u32 %w9, %w0, %w1;", b, |a, b, _| a / (b | 1)),
            w("or.b32 %w1, %w1, 1; div.s32 %w9, %w0, %w1;", b, |a, b, _| s(a).wrapping_div(s(b | 1)) as u32),
            w("or.b32 %w1, %w1, 1; rem.u32 %w9, %w0, %w1;", b, |a, b, _| a % (b | 1)),
            w("or.b32 %w1, %w1, 1; rem.s32 %w9, %w0, %w1;", b, |a, b, _| s(a).wrapping_rem(s(b | 1)) as u32),
            w("min.s32 %w9, %w0, %w1;", b, |a, b, _| s(a).min(s(b)) as u32),
            w("max.s32 %w9, %w0, %w1;", b, |a, b, _| s(a).max(s(b)) as u32),
            w("min.u32 %w9, %w0, %w1;", b, |a, b, _| a.min(b)),
            w("max.u32 %w9, %w0, %w1;", b, |a, b, _| a.max(b)),
            w("neg.s32 %w9, %w0;", b, |a, _, _| a.wrapping_neg()),
            w("abs.s32 %w9, %w0;", b, |a, _, _| s(a).unsigned_abs()),
            w("sad.s32 %w9, %w0, %w1, %w2;", b, |a, b, c| c.wrapping_add(s(a).abs_diff(s(b)))),
            w("sad.u32 %w9, %w0, %w1, %w2;", b, |a, b, c| c.wrapping_add(a.abs_diff(b))),
        ],
    );
}

#[test]
fn bits_of_32() {
    let b = [Bits; 3];
    let shift = [Bits, Small, Bits];
    check(
        "bits32",
        "8.0",
        &[
            w("and.b32 %w9, %w0, %w1;", b, |a, b, _| a & b),
            w("or.b32 %w9, %w0, %w1;", b, |a, b, _| a | b),
            w("xor.b32 %w9, %w0, %w1;", b, |a, b, _| a ^ b),
            w("not.b32 %w9, %w0;", b, |a, _, _| !a),
            w("cnot.b32 %w9, %w0;", b, |a, _, _| u32::from(a == 0)),
            // Amounts beyond the width shift everything out; an arithmetic shift leaves the sign.
            w("shl.b32 %w9, %w0, %w1;", shift, |a, b, _| a.checked_shl(b).unwrap_or(0)),
            w("shr.u32 %w9, %w0, %w1;", shift, |a, b, _| a.checked_shr(b).unwrap_or(0)),
            w("shr.s32 %w9, %w0, %w1;", shift, |a, b, _| (s(a) >> b.min(31)) as u32),
            w("shl.b32 %w9, %w0, %w1;", b, |a, b, _| a.checked_shl(b).unwrap_or(0)),
            w("shf.l.wrap.b32 %w9, %w0, %w1, %w2;", b, |a, b, c| (((u64::from(b) << 32) | u64::from(a)) << (c & 31) >> 32) as u32),
            w("shf.r.wrap.b32 %w9, %w0, %w1, %w2;", b, |a, b, c| (((u64::from(b) << 32) | u64::from(a)) >> (c & 31)) as u32),
            w("shf.l.clamp.b32 %w9, %w0, %w1, %w2;", [Bits, Bits, Small], |a, b, c| {
                (((u64::from(b) << 32) | u64::from(a)) << c.min(32) >> 32) as u32
            }),
            w("shf.r.clamp.b32 %w9, %w0, %w1, %w2;", [Bits, Bits, Small], |a, b, c| {
                (((u64::from(b) << 32) | u64::from(a)) >> c.min(32)) as u32
            }),
            w("lop3.b32 %w9, %w0, %w1, %w2, 0x80;", b, |a, b, c| a & b & c),
            w("lop3.b32 %w9, %w0, %w1, %w2, 0x96;", b, |a, b, c| a ^ b ^ c),
            w("lop3.b32 %w9, %w0, %w1, %w2, 0x1a;", b, |a, b, c| ((a & b) | c) ^ a),
            w("lop3.b32 %w9, %w0, %w1, %w2, 0x2d;", b, |a, b, c| {
                (0..32).fold(0, |d, i| d | (0x2du32 >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)) & 1) << i)
            }),
            w("popc.b32 %w9, %w0;", b, |a, _, _| a.count_ones()),
            w("clz.b32 %w9, %w0;", b, |a, _, _| a.leading_zeros()),
            w("brev.b32 %w9, %w0;", b, |a, _, _| a.reverse_bits()),
            w("bfind.u32 %w9, %w0;", b, |a, _, _| a.checked_ilog2().unwrap_or(u32::MAX)),
            w("bfind.s32 %w9, %w0;", b, |a, _, _| (if s(a) < 0 { !a } else { a }).checked_ilog2().unwrap_or(u32::MAX)),
            w("bfind.shiftamt.u32 %w9, %w0;", b, |a, _, _| a.checked_ilog2().map_or(u32::MAX, |n| 31 - n)),
            w("prmt.b32 %w9, %w0, %w1, %w2;", b, |a, b, c| {
                let bytes: Vec<u8> = a.to_le_bytes().into_iter().chain(b.to_le_bytes()).collect();
                u32::from_le_bytes(std::array::from_fn(|i| {
                    let selector = c >> (4 * i) & 15;
                    let byte = bytes[selector as usize & 7];
                    if selector & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 }
                }))
            }),
            w("prmt.b32 %w9, %w0, %w1, 0x5410;", b, |a, b, _| (a & 0xffff) | b << 16),
        ],
    );
}

/// The modes of `prmt`, by the ISA's table: rows are selectors 0 to 3, entries the source bytes from the highest.
#[test]
fn permute_modes() {
    let tables: [(&str, [u32; 4]); 6] = [
        ("f4e", [0x3210, 0x4321, 0x5432, 0x6543]),
        ("b4e", [0x5670, 0x6701, 0x7012, 0x0123]),
        ("rc8", [0x0000, 0x1111, 0x2222, 0x3333]),
        ("ecl", [0x3210, 0x3211, 0x3222, 0x3333]),
        ("ecr", [0x0000, 0x1110, 0x2210, 0x3210]),
        ("rc16", [0x1010, 0x3232, 0x1010, 0x3232]),
    ];
    let cases: Vec<Case> = tables
        .into_iter()
        .map(|(mode, rows)| {
            w(&format!("prmt.b32.{mode} %w9, %w0, %w1, %w2;"), [Bits; 3], move |a, b, c| {
                let bytes = u64::from(b) << 32 | u64::from(a);
                (0..4).fold(0, |d, i| d | ((bytes >> (8 * (rows[c as usize & 3] >> (4 * i) & 7))) as u32 & 0xff) << (8 * i))
            })
        })
        .collect();
    check("prmt", "8.0", &cases);
}

/// Bit fields, by the ISA's pseudo-code bit by bit.
#[test]
fn bit_fields() {
    fn bfe(a: u64, b: u64, c: u64, msb: u64, signed: bool) -> u64 {
        let (pos, len) = (b & 0xff, c & 0xff);
        let bit = |i: u64| a >> i & 1;
        let sign = if !signed || len == 0 { 0 } else { bit((pos + len - 1).min(msb)) };
        (0..=msb).fold(0, |d, i| d | if i < len && pos + i <= msb { bit(pos + i) } else { sign } << i)
    }
    let kinds = [Bits, Small, Small];
    let mut cases = vec![
        w("bfe.u32 %w9, %w0, %w1, %w2;", kinds, |a, b, c| bfe(a.into(), b.into(), c.into(), 31, false) as u32),
        w("bfe.s32 %w9, %w0, %w1, %w2;", kinds, |a, b, c| bfe(a.into(), b.into(), c.into(), 31, true) as u32),
        w("bfe.s32 %w9, %w0, %w1, %w2;", [Bits; 3], |a, b, c| bfe(a.into(), b.into(), c.into(), 31, true) as u32),
        w("bfe.u32 %w9, %w0, 8, 8;", kinds, |a, _, _| a >> 8 & 0xff),
        x("bfe.u64 %x9, %x0, %w1, %w2;", kinds, |a, b, c| bfe(a, b, c, 63, false)),
        x("bfe.s64 %x9, %x0, %w1, %w2;", kinds, |a, b, c| bfe(a, b, c, 63, true)),
    ];
    for (pos, len) in [(0, 0), (0, 32), (4, 7), (28, 12), (31, 1), (40, 3), (8, 200)] {
        cases.push(w(&format!("bfi.b32 %w9, %w0, %w1, {pos}, {len};"), [Bits; 3], move |a, b, _| {
            let mut f = b;
            let mut i = 0;
            while i < len && pos + i <= 31 {
                f = f & !(1 << (pos + i)) | (a >> i & 1) << (pos + i);
                i += 1;
            }
            f
        }));
    }
    cases.push(x("bfi.b64 %x9, %x0, %x1, 30, 20;", [Bits; 3], |a, b, _| b & !(0xf_ffff << 30) | (a & 0xf_ffff) << 30));
    check("fields", "8.0", &cases);
}

#[test]
fn arithmetic_of_64_bits() {
    let b = [Bits; 3];
    check(
        "int64",
        "8.0",
        &[
            x("add.s64 %x9, %x0, %x1;", b, |a, b, _| a.wrapping_add(b)),
            x("sub.u64 %x9, %x0, %x1;", b, |a, b, _| a.wrapping_sub(b)),
            x("mul.lo.s64 %x9, %x0, %x1;", b, |a, b, _| a.wrapping_mul(b)),
            x("mul.hi.u64 %x9, %x0, %x1;", b, |a, b, _| ((u128::from(a) * u128::from(b)) >> 64) as u64),
            x("mul.hi.s64 %x9, %x0, %x1;", b, |a, b, _| ((i128::from(l(a)) * i128::from(l(b))) >> 64) as u64),
            x("mad.lo.s64 %x9, %x0, %x1, %x2;", b, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
            x("mul.wide.s32 %x9, %w0, %w1;", b, |a, b, _| (i64::from(a as i32) * i64::from(b as i32)) as u64),
            x("mul.wide.u32 %x9, %w0, %w1;", b, |a, b, _| u64::from(a as u32) * u64::from(b as u32)),
            x("mad.wide.s32 %x9, %w0, %w1, %x2;", b, |a, b, c| ((i64::from(a as i32) * i64::from(b as i32)) as u64).wrapping_add(c)),
            x("mad.wide.u32 %x9, %w0, %w1, %x2;", b, |a, b, c| (u64::from(a as u32) * u64::from(b as u32)).wrapping_add(c)),
            x("or.b64 %x1, %x1, 1; div.u64 %x9, %x0, %x1;", b, |a, b, _| a / (b | 1)),
            x("or.b64 %x1, %x1, 1; div.s64 %x9, %x0, %x1;", b, |a, b, _| l(a).wrapping_div(l(b | 1)) as u64),
            x("or.b64 %x1, %x1, 1; rem.s64 %x9, %x0, %x1;", b, |a, b, _| l(a).wrapping_rem(l(b | 1)) as u64),
            x("or.b64 %x1, %x1, 1; rem.u64 %x9, %x0, %x1;", b, |a, b, _| a % (b | 1)),
            x("min.s64 %x9, %x0, %x1;", b, |a, b, _| l(a).min(l(b)) as u64),
            x("max.u64 %x9, %x0, %x1;", b, |a, b, _| a.max(b)),
            x("neg.s64 %x9, %x0;", b, |a, _, _| a.wrapping_neg()),
            x("abs.s64 %x9, %x0;", b, |a, _, _| l(a).unsigned_abs()),
            x("and.b64 %x9, %x0, %x1;", b, |a, b, _| a & b),
            x("or.b64 %x9, %x0, %x1;", b, |a, b, _| a | b),
            x("xor.b64 %x9, %x0, %x1;", b, |a, b, _| a ^ b),
            x("not.b64 %x9, %x0;", b, |a, _, _| !a),
            x("shl.b64 %x9, %x0, %w1;", [Bits, Small, Bits], |a, b, _| a.checked_shl(b as u32).unwrap_or(0)),
            x("shr.u64 %x9, %x0, %w1;", [Bits, Small, Bits], |a, b, _| a.checked_shr(b as u32).unwrap_or(0)),
            x("shr.s64 %x9, %x0, %w1;", [Bits, Small, Bits], |a, b, _| (l(a) >> b.min(63)) as u64),
            x("brev.b64 %x9, %x0;", b, |a, _, _| a.reverse_bits()),
            Case::new("popc.b64 %w9, %x0;", b, Out::W, |[a, ..]| a.count_ones().into()),
            Case::new("clz.b64 %w9, %x0;", b, Out::W, |[a, ..]| a.leading_zeros().into()),
            Case::new("bfind.s64 %w9, %x0;", b, Out::W, |[a, ..]| {
                (if l(a) < 0 { !a } else { a }).checked_ilog2().unwrap_or(u32::MAX).into()
            }),
        ],
    );
}

#[test]
fn arithmetic_of_16_bits() {
    let b = [Bits; 3];
    check(
        "int16",
        "8.0",
        &[
            h("add.u16 %h9, %h0, %h1;", b, |a, b, _| a.wrapping_add(b)),
            h("sub.s16 %h9, %h0, %h1;", b, |a, b, _| a.wrapping_sub(b)),
            h("mul.lo.u16 %h9, %h0, %h1;", b, |a, b, _| a.wrapping_mul(b)),
            h("mul.hi.s16 %h9, %h0, %h1;", b, |a, b, _| ((i32::from(q(a)) * i32::from(q(b))) >> 16) as u16),
            h("mad.lo.s16 %h9, %h0, %h1, %h2;", b, |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
            h("min.s16 %h9, %h0, %h1;", b, |a, b, _| q(a).min(q(b)) as u16),
            h("max.u16 %h9, %h0, %h1;", b, |a, b, _| a.max(b)),
            h("neg.s16 %h9, %h0;", b, |a, _, _| a.wrapping_neg()),
            h("abs.s16 %h9, %h0;", b, |a, _, _| q(a).unsigned_abs()),
            h("and.b16 %h9, %h0, %h1;", b, |a, b, _| a & b),
            h("xor.b16 %h9, %h0, %h1;", b, |a, b, _| a ^ b),
            h("not.b16 %h9, %h0;", b, |a, _, _| !a),
            h("shl.b16 %h9, %h0, %w1;", [Bits, Small, Bits], |a, b, _| a.checked_shl(b.into()).unwrap_or(0)),
            h("shr.s16 %h9, %h0, %w1;", [Bits, Small, Bits], |a, b, _| (q(a) >> b.min(15)) as u16),
            h("shr.u16 %h9, %h0, %w1;", [Bits, Small, Bits], |a, b, _| a.checked_shr(b.into()).unwrap_or(0)),
            w("mul.wide.s16 %w9, %h0, %h1;", b, |a, b, _| (i32::from(a as i16) * i32::from(b as i16)) as u32),
            w("mul.wide.u16 %w9, %h0, %h1;", b, |a, b, _| (a & 0xffff) * (b & 0xffff)),
        ],
    );
}
