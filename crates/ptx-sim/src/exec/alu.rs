//! Arithmetic on register rows.

use crate::decode::permute;
use crate::numeric::{self as n, Rounding};
use crate::program::{Bin, Bin64, BoolOp, Compare, CompareType, Op, P, Reg, Shift64, Tri, Un};
use crate::warp::Warp;
use crate::{Row, Row64};

/// Writes the active lanes of a row.
#[inline(always)]
pub(super) fn put(row: &mut Row, mask: u32, f: impl Fn(usize) -> u32) {
    if mask == u32::MAX {
        for (i, r) in row.iter_mut().enumerate() {
            *r = f(i);
        }
    } else {
        for (i, r) in row.iter_mut().enumerate() {
            let v = f(i);
            *r = if mask >> i & 1 == 1 { v } else { *r };
        }
    }
}

#[inline(always)]
fn put64(row: &mut Row64, mask: u32, f: impl Fn(usize) -> u64) {
    for (i, r) in row.iter_mut().enumerate() {
        let v = f(i);
        *r = if mask >> i & 1 == 1 { v } else { *r };
    }
}

#[inline(always)]
fn un(w: &mut Warp, mask: u32, d: u32, a: u32, f: impl Fn(u32) -> u32) {
    let a = w.w[a as usize];
    put(&mut w.w[d as usize], mask, |i| f(a[i]));
}

#[inline(always)]
fn bin(w: &mut Warp, mask: u32, [d, a, b]: [u32; 3], f: impl Fn(u32, u32) -> u32) {
    let (a, b) = (w.w[a as usize], w.w[b as usize]);
    put(&mut w.w[d as usize], mask, |i| f(a[i], b[i]));
}

#[inline(always)]
fn tri(w: &mut Warp, mask: u32, [d, a, b, c]: [u32; 4], f: impl Fn(u32, u32, u32) -> u32) {
    let (a, b, c) = (w.w[a as usize], w.w[b as usize], w.w[c as usize]);
    put(&mut w.w[d as usize], mask, |i| f(a[i], b[i], c[i]));
}

#[inline(always)]
fn bin64(w: &mut Warp, mask: u32, [d, a, b]: [u32; 3], f: impl Fn(u64, u64) -> u64) {
    let (a, b) = (w.d[a as usize], w.d[b as usize]);
    put64(&mut w.d[d as usize], mask, |i| f(a[i], b[i]));
}

/// A float operation on bits; NaN results are canonical, as on the device.
#[inline(always)]
fn canonical(x: f32) -> u32 {
    if x.is_nan() { 0x7fff_ffff } else { x.to_bits() }
}

#[inline(always)]
fn float(f: impl Fn(f32, f32) -> f32) -> impl Fn(u32, u32) -> u32 {
    move |a, b| canonical(f(f32::from_bits(a), f32::from_bits(b)))
}

fn each_half(a: u32, b: u32, c: u32, f: impl Fn(u16, u16, u16) -> u16) -> u32 {
    let low = f(a as u16, b as u16, c as u16);
    let high = f((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16);
    u32::from(high) << 16 | u32::from(low)
}

#[inline(always)]
fn bits(f: impl Fn(usize) -> bool) -> u32 {
    let mut out = 0;
    for i in 0..32 {
        out |= u32::from(f(i)) << i;
    }
    out
}

#[inline(always)]
fn compare<T: PartialOrd + PartialEq>(c: Compare, a: impl Fn(usize) -> T, b: impl Fn(usize) -> T) -> u32 {
    match c {
        Compare::Eq => bits(|i| a(i) == b(i)),
        Compare::Ne => bits(|i| a(i) != b(i)),
        Compare::Lt => bits(|i| a(i) < b(i)),
        Compare::Le => bits(|i| a(i) <= b(i)),
        Compare::Gt => bits(|i| a(i) > b(i)),
        Compare::Ge => bits(|i| a(i) >= b(i)),
    }
}

#[inline(always)]
fn set_predicate(w: &mut Warp, d: P, mask: u32, v: u32) {
    let p = &mut w.p[d as usize];
    *p = (*p & !mask) | (v & mask);
}

#[inline(always)]
fn combine(op: BoolOp, a: u32, b: u32) -> u32 {
    match op {
        BoolOp::And => a & b,
        BoolOp::Or => a | b,
        BoolOp::Xor => a ^ b,
    }
}

/// `setp`'s results: the comparison `v` and its complement, each combined with the third predicate.
#[inline(always)]
fn set_compare(w: &mut Warp, mask: u32, v: u32, [d, complement]: [Option<P>; 2], with: Option<(BoolOp, P, bool)>) {
    let (mut v, mut not) = (v, !v);
    if let Some((op, p, negated)) = with {
        let p = w.p[p as usize] ^ if negated { u32::MAX } else { 0 };
        (v, not) = (combine(op, v, p), combine(op, not, p));
    }
    if let Some(d) = d {
        set_predicate(w, d, mask, v);
    }
    if let Some(d) = complement {
        set_predicate(w, d, mask, not);
    }
}

/// True if the operation was arithmetic and is done.
#[inline(always)]
#[expect(clippy::too_many_lines, reason = "a table: one arm per operation of the arithmetic unit")]
pub(super) fn alu(w: &mut Warp, op: &Op, mask: u32) -> bool {
    match *op {
        Op::Tri(kind, d, a, b, c) => match kind {
            Tri::Fma => tri(w, mask, [d, a, b, c], |a, b, c| canonical(f32::from_bits(a).mul_add(f32::from_bits(b), f32::from_bits(c)))),
            Tri::Mad => tri(w, mask, [d, a, b, c], |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
            Tri::Prmt => tri(w, mask, [d, a, b, c], permute),
            Tri::Lop3(table) => tri(w, mask, [d, a, b, c], |a, b, c| {
                let mut out = 0;
                for (bit, term) in [!a & !b & !c, !a & !b & c, !a & b & !c, !a & b & c, a & !b & !c, a & !b & c, a & b & !c, a & b & c]
                    .into_iter()
                    .enumerate()
                {
                    out |= if table >> bit & 1 == 1 { term } else { 0 };
                }
                out
            }),
            Tri::FmaH2(ty) => tri(w, mask, [d, a, b, c], |a, b, c| each_half(a, b, c, |a, b, c| n::fma_half(ty, a, b, c, false))),
            Tri::ShfL => tri(w, mask, [d, a, b, c], |lo, hi, n| (((u64::from(hi) << 32 | u64::from(lo)) << (n & 31)) >> 32) as u32),
            Tri::ShfR => tri(w, mask, [d, a, b, c], |lo, hi, n| ((u64::from(hi) << 32 | u64::from(lo)) >> (n & 31)) as u32),
        },
        Op::Bin(kind, d, a, b) => match kind {
            Bin::Add => bin(w, mask, [d, a, b], u32::wrapping_add),
            Bin::Sub => bin(w, mask, [d, a, b], u32::wrapping_sub),
            Bin::Mul => bin(w, mask, [d, a, b], u32::wrapping_mul),
            Bin::MulHiU => bin(w, mask, [d, a, b], |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32),
            Bin::MulHiS => bin(w, mask, [d, a, b], |a, b| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32),
            Bin::And => bin(w, mask, [d, a, b], |a, b| a & b),
            Bin::Or => bin(w, mask, [d, a, b], |a, b| a | b),
            Bin::Xor => bin(w, mask, [d, a, b], |a, b| a ^ b),
            Bin::Shl => bin(w, mask, [d, a, b], |a, b| if b < 32 { a.wrapping_shl(b) } else { 0 }),
            Bin::ShrU => bin(w, mask, [d, a, b], |a, b| if b < 32 { a.wrapping_shr(b) } else { 0 }),
            Bin::ShrS => bin(w, mask, [d, a, b], |a, b| ((a as i32).wrapping_shr(b.min(31))) as u32),
            Bin::MinU => bin(w, mask, [d, a, b], u32::min),
            Bin::MaxU => bin(w, mask, [d, a, b], u32::max),
            Bin::MinS => bin(w, mask, [d, a, b], |a, b| (a as i32).min(b as i32) as u32),
            Bin::MaxS => bin(w, mask, [d, a, b], |a, b| (a as i32).max(b as i32) as u32),
            Bin::AddF => bin(w, mask, [d, a, b], float(|a, b| a + b)),
            Bin::SubF => bin(w, mask, [d, a, b], float(|a, b| a - b)),
            Bin::MulF => bin(w, mask, [d, a, b], float(|a, b| a * b)),
            Bin::DivF => bin(w, mask, [d, a, b], float(|a, b| a / b)),
            Bin::MinF => bin(w, mask, [d, a, b], float(|a, b| n::min_max_f32(a, b, false, false, false))),
            Bin::MaxF => bin(w, mask, [d, a, b], float(|a, b| n::min_max_f32(a, b, true, false, false))),
            Bin::PackRn(n::Half::Bf16) => bin(w, mask, [d, a, b], |a, b| {
                let one = |v| u32::from(n::f32_to_bf16_rn(f32::from_bits(v)));
                one(a) << 16 | one(b)
            }),
            Bin::PackRn(n::Half::F16) => bin(w, mask, [d, a, b], |a, b| {
                let one = |v| u32::from(n::f32_to_f16(f32::from_bits(v), Rounding::Rn));
                one(a) << 16 | one(b)
            }),
            Bin::AddH2(ty) => bin(w, mask, [d, a, b], |a, b| each_half(a, b, 0, |a, b, _| n::add_half(ty, a, b))),
            Bin::MulH2(ty) => bin(w, mask, [d, a, b], |a, b| each_half(a, b, 0, |a, b, _| n::mul_half(ty, a, b))),
        },
        Op::Un(kind, d, a) => match kind {
            Un::Mov => un(w, mask, d, a, |a| a),
            Un::Not => un(w, mask, d, a, |a| !a),
            Un::NegI => un(w, mask, d, a, u32::wrapping_neg),
            Un::NegF => un(w, mask, d, a, |a| a ^ 0x8000_0000),
            Un::AbsF => un(w, mask, d, a, |a| a & 0x7fff_ffff),
            Un::Ex2 => un(w, mask, d, a, |a| n::ex2_approx(f32::from_bits(a), false).to_bits()),
            Un::Lg2 => un(w, mask, d, a, |a| n::lg2_approx(f32::from_bits(a), false).to_bits()),
            Un::Rsqrt => un(w, mask, d, a, |a| n::rsqrt_approx(f32::from_bits(a), false).to_bits()),
            Un::Rcp => un(w, mask, d, a, |a| n::rcp_approx(f32::from_bits(a), false).to_bits()),
            Un::Bf16ToF32 => un(w, mask, d, a, |a| a << 16),
            Un::F16ToF32 => un(w, mask, d, a, |a| n::f16_to_f32(a as u16).to_bits()),
            Un::S32ToF32 => un(w, mask, d, a, |a| (a as i32 as f32).to_bits()),
            Un::U32ToF32 => un(w, mask, d, a, |a| (a as f32).to_bits()),
        },
        Op::Setp { compare: c, ty, d, complement, a, b, with } => {
            let (a, b) = (a as usize, b as usize);
            let v = match ty {
                CompareType::U32 => compare(c, |i| w.w[a][i], |i| w.w[b][i]),
                CompareType::S32 => compare(c, |i| w.w[a][i] as i32, |i| w.w[b][i] as i32),
                CompareType::U64 => compare(c, |i| w.d[a][i], |i| w.d[b][i]),
                CompareType::S64 => compare(c, |i| w.d[a][i] as i64, |i| w.d[b][i] as i64),
                CompareType::F32(unordered) => {
                    let (x, y) = (|i: usize| f32::from_bits(w.w[a][i]), |i: usize| f32::from_bits(w.w[b][i]));
                    let nan = bits(|i| x(i).is_nan() | y(i).is_nan());
                    let v = compare(c, x, y);
                    if unordered { v | nan } else { v & !nan }
                }
            };
            set_compare(w, mask, v, [d, complement], with);
        }
        Op::Selp(d, a, b, p, negated) => {
            let p = w.p[p as usize] ^ if negated { u32::MAX } else { 0 };
            let (a, b) = (w.w[a as usize], w.w[b as usize]);
            put(&mut w.w[d as usize], mask, |i| if p >> i & 1 == 1 { a[i] } else { b[i] });
        }
        Op::Selp64(d, a, b, p, negated) => {
            let p = w.p[p as usize] ^ if negated { u32::MAX } else { 0 };
            let (a, b) = (w.d[a as usize], w.d[b as usize]);
            put64(&mut w.d[d as usize], mask, |i| if p >> i & 1 == 1 { a[i] } else { b[i] });
        }
        Op::PredLogic(op, d, a, b) => {
            let v = combine(op, w.p[a as usize], w.p[b as usize]);
            set_predicate(w, d, mask, v);
        }
        Op::PredNot(d, a) => {
            let v = !w.p[a as usize];
            set_predicate(w, d, mask, v);
        }
        Op::PredMov(d, a) => {
            let v = w.p[a as usize];
            set_predicate(w, d, mask, v);
        }
        Op::Bin64(kind, d, a, b) => match kind {
            Bin64::Add => bin64(w, mask, [d, a, b], u64::wrapping_add),
            Bin64::Sub => bin64(w, mask, [d, a, b], u64::wrapping_sub),
            Bin64::Mul => bin64(w, mask, [d, a, b], u64::wrapping_mul),
            Bin64::And => bin64(w, mask, [d, a, b], |a, b| a & b),
            Bin64::Or => bin64(w, mask, [d, a, b], |a, b| a | b),
            Bin64::Xor => bin64(w, mask, [d, a, b], |a, b| a ^ b),
        },
        Op::Shift64(kind, d, a, b) => {
            let (a, b) = (w.d[a as usize], w.w[b as usize]);
            let d = &mut w.d[d as usize];
            match kind {
                Shift64::Shl => put64(d, mask, |i| if b[i] < 64 { a[i].wrapping_shl(b[i]) } else { 0 }),
                Shift64::ShrU => put64(d, mask, |i| if b[i] < 64 { a[i].wrapping_shr(b[i]) } else { 0 }),
                Shift64::ShrS => put64(d, mask, |i| (a[i] as i64).wrapping_shr(b[i].min(63)) as u64),
            }
        }
        Op::Mov64(d, a) => {
            let a = w.d[a as usize];
            put64(&mut w.d[d as usize], mask, |i| a[i]);
        }
        Op::Mad64(d, a, b, c) => {
            let (a, b, c) = (w.d[a as usize], w.d[b as usize], w.d[c as usize]);
            put64(&mut w.d[d as usize], mask, |i| a[i].wrapping_mul(b[i]).wrapping_add(c[i]));
        }
        Op::MadWide(signed, d, a, b, c) => {
            let (a, b, c) = (w.w[a as usize], w.w[b as usize], w.d[c as usize]);
            let d = &mut w.d[d as usize];
            if signed {
                put64(d, mask, |i| (i64::from(a[i] as i32).wrapping_mul(i64::from(b[i] as i32)) as u64).wrapping_add(c[i]));
            } else {
                put64(d, mask, |i| u64::from(a[i]).wrapping_mul(u64::from(b[i])).wrapping_add(c[i]));
            }
        }
        Op::Widen(signed, d, a) => {
            let a = w.w[a as usize];
            put64(&mut w.d[d as usize], mask, |i| if signed { i64::from(a[i] as i32) as u64 } else { u64::from(a[i]) });
        }
        Op::Narrow(d, a) => {
            let a = w.d[a as usize];
            put(&mut w.w[d as usize], mask, |i| a[i] as u32);
        }
        Op::Pack64(d, lo, hi) => {
            let (lo, hi) = (w.w[lo as usize], w.w[hi as usize]);
            put64(&mut w.d[d as usize], mask, |i| u64::from(hi[i]) << 32 | u64::from(lo[i]));
        }
        Op::Unpack64(lo, hi, a) => {
            let a = w.d[a as usize];
            if let Some(d) = lo {
                put(&mut w.w[d as usize], mask, |i| a[i] as u32);
            }
            if let Some(d) = hi {
                put(&mut w.w[d as usize], mask, |i| (a[i] >> 32) as u32);
            }
        }
        Op::Pack32(d, lo, hi) => bin(w, mask, [d, lo, hi], |lo, hi| hi << 16 | (lo & 0xffff)),
        Op::Unpack32(lo, hi, a) => {
            let a = w.w[a as usize];
            if let Some(d) = lo {
                put(&mut w.w[d as usize], mask, |i| a[i] & 0xffff);
            }
            if let Some(d) = hi {
                put(&mut w.w[d as usize], mask, |i| a[i] >> 16);
            }
        }
        Op::Pack16x4(d, parts) => {
            let part = |k: usize, i: usize| u64::from(w.w[parts[k] as usize][i] & 0xffff) << (16 * k);
            let row: Row64 = std::array::from_fn(|i| part(0, i) | part(1, i) | part(2, i) | part(3, i));
            put64(&mut w.d[d as usize], mask, |i| row[i]);
        }
        Op::Unpack16x4(parts, a) => {
            let a = w.d[a as usize];
            for (k, d) in parts.iter().enumerate() {
                if let Some(d) = d {
                    put(&mut w.w[*d as usize], mask, |i| (a[i] >> (16 * k)) as u32 & 0xffff);
                }
            }
        }
        Op::PairF32 { f, d, a, b, c } => {
            let (a, b, c) = (w.d[a as usize], w.d[b as usize], w.d[c as usize]);
            put64(&mut w.d[d as usize], mask, |i| {
                let half = |s: u32| {
                    u64::from(canonical(f(
                        f32::from_bits((a[i] >> s) as u32),
                        f32::from_bits((b[i] >> s) as u32),
                        f32::from_bits((c[i] >> s) as u32),
                    )))
                };
                half(32) << 32 | half(0)
            });
        }
        Op::SetpLane { .. } | Op::SetpHalves { .. } | Op::Lane { .. } => lanes(w, op, mask),
        Op::Nop => {}
        _ => return false,
    }
    true
}

/// One lane after the other.
#[inline(never)]
fn lanes(w: &mut Warp, op: &Op, mask: u32) {
    match op {
        Op::Lane { f, d, sources } => {
            let get = |w: &Warp, r: Option<Reg>, i: usize| r.map_or(0, |r| w.get(r, i));
            for i in (0..32).filter(|i| mask >> i & 1 == 1) {
                let v = f(get(w, sources[0], i), get(w, sources[1], i), get(w, sources[2], i));
                w.set(*d, i, v);
            }
        }
        Op::SetpLane { f, d, complement, a, b, with } => {
            let v = bits(|i| mask >> i & 1 == 1 && f(w.get(*a, i), w.get(*b, i), 0) != 0);
            set_compare(w, mask, v, [*d, *complement], *with);
        }
        Op::SetpHalves { f, low, high, a, b, with } => {
            let (a, b) = (w.w[*a as usize], w.w[*b as usize]);
            let half = |shift: u32| bits(|i| f(u64::from(a[i] >> shift & 0xffff), u64::from(b[i] >> shift & 0xffff), 0) != 0);
            let (lows, highs) = (half(0), half(16));
            // The third predicate may be one of the results: both are made before either is written.
            let third = with.map(|(op, p, negated)| (op, w.p[p as usize] ^ if negated { u32::MAX } else { 0 }));
            let done = |v: u32| third.map_or(v, |(op, p)| combine(op, v, p));
            for (d, v) in [(low, done(lows)), (high, done(highs))] {
                if let Some(d) = d {
                    set_predicate(w, *d, mask, v);
                }
            }
        }
        _ => {}
    }
}
