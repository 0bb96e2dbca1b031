//! Bit fields, permutations and the integer dot product.

/// `lop3.b32`: bit `i` of `lut` is the result for `a`, `b`, `c` being bits 2, 1, 0 of `i`.
#[inline]
pub fn lop3(a: u32, b: u32, c: u32, lut: u8) -> u32 {
    let mut out = 0;
    for i in 0..8u8 {
        if lut >> i & 1 == 1 {
            let pick = |x: u32, bit: u8| if i >> bit & 1 == 1 { x } else { !x };
            out |= pick(a, 2) & pick(b, 1) & pick(c, 0);
        }
    }
    out
}

/// Modes of `prmt.b32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prmt {
    /// Four selectors of four bits each; the top bit of one replicates the byte's sign.
    Generic,
    /// Four bytes forward from the selector.
    F4e,
    /// Four bytes backward from the selector.
    B4e,
    /// One byte replicated.
    Rc8,
    /// Edge clamp left.
    Ecl,
    /// Edge clamp right.
    Ecr,
    /// One 16-bit half replicated.
    Rc16,
}

/// `prmt.b32[.mode]`: bytes of `{b, a}`, numbered from `a`'s lowest.
#[inline]
pub fn prmt(a: u32, b: u32, c: u32, mode: Prmt) -> u32 {
    let source = u64::from(b) << 32 | u64::from(a);
    let byte = |i: u32| (source >> (8 * i)) as u32 & 0xff;
    let s = c & 3;
    let mut out = 0;
    for k in 0..4 {
        let value = match mode {
            Prmt::Generic => {
                let selector = c >> (4 * k) & 0xf;
                let value = byte(selector & 7);
                if selector & 8 == 0 { value } else { 0xff * (value >> 7) }
            }
            Prmt::F4e => byte(s + k),
            Prmt::B4e => byte((8 + s - k) % 8),
            Prmt::Rc8 => byte(s),
            Prmt::Ecl => byte(s.max(k)),
            Prmt::Ecr => byte(s.min(k)),
            Prmt::Rc16 => byte(2 * (s & 1) + k % 2),
        };
        out |= value << (8 * k);
    }
    out
}

/// `bfe.{u,s}{32,64}`: `bits` is 32 or 64; position and length are taken modulo 256. The result is in the low `bits` bits.
#[inline]
pub fn bfe(a: u64, position: u32, length: u32, bits: u32, signed: bool) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    if length == 0 {
        return 0;
    }
    let a = a & mask;
    let sign = signed && a >> (position + length - 1).min(bits - 1) & 1 == 1;
    let filled = if sign { mask } else { 0 };
    if position >= bits {
        return filled;
    }
    let held = length.min(bits - position);
    let low = if held == 64 { u64::MAX } else { (1 << held) - 1 };
    (a >> position & low) | (filled & !low)
}

/// `bfi.b{32,64}`: the low `length` bits of `a` into `b` at `position`; `bits` is 32 or 64.
#[inline]
pub fn bfi(a: u64, b: u64, position: u32, length: u32, bits: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    if length == 0 || position >= bits {
        return b;
    }
    let held = length.min(bits - position);
    let low = if held == 64 { u64::MAX } else { (1 << held) - 1 };
    (b & !(low << position)) | (a & low) << position
}

/// `shf.l.{clamp,wrap}.b32`: the high half of `{b, a}` shifted left.
#[inline]
pub fn shf_left(a: u32, b: u32, amount: u32, wrap: bool) -> u32 {
    let n = if wrap { amount & 31 } else { amount.min(32) };
    ((u64::from(b) << 32 | u64::from(a)) << n >> 32) as u32
}

/// `shf.r.{clamp,wrap}.b32`: the low half of `{b, a}` shifted right.
#[inline]
pub fn shf_right(a: u32, b: u32, amount: u32, wrap: bool) -> u32 {
    let n = if wrap { amount & 31 } else { amount.min(32) };
    ((u64::from(b) << 32 | u64::from(a)) >> n) as u32
}

/// `bfind[.shiftamt].{u,s}{32,64}`: position of the highest bit that differs from the sign, or how far left it has to go; `u32::MAX` if none.
#[inline]
pub fn bfind(a: u64, bits: u32, signed: bool, shift_amount: bool) -> u32 {
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let a = a & mask;
    let a = if signed && a >> (bits - 1) & 1 == 1 { !a & mask } else { a };
    match a {
        0 => u32::MAX,
        _ if shift_amount => a.leading_zeros() - (64 - bits),
        _ => 63 - a.leading_zeros(),
    }
}

/// `szext.{clamp,wrap}.{u,s}32`: extends the low `width` bits of `a`.
#[inline]
pub fn szext(a: u32, width: u32, signed: bool, wrap: bool) -> u32 {
    let n = width & 31;
    if width >= 32 && !wrap {
        return a;
    }
    if n == 0 {
        return 0;
    }
    let mask = u32::MAX << n;
    (a & !mask) | if signed && a >> (n - 1) & 1 == 1 { mask } else { 0 }
}

/// `dp4a.ATYPE.BTYPE`: four byte products added to `c`, modulo 2^32.
#[inline]
pub fn dp4a(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    let byte = |x: u32, k: u32, signed: bool| {
        let v = (x >> (8 * k)) as u8;
        if signed { i32::from(v as i8) } else { i32::from(v) }
    };
    (0..4).fold(c, |sum, k| sum.wrapping_add((byte(a, k, a_signed) * byte(b, k, b_signed)) as u32))
}
