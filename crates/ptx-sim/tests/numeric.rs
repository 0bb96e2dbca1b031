//! Formats and arithmetic against hand-derived values, against the definition of rounding in exact integers, and against crate `half`.
#![allow(clippy::unwrap_used)]

use mnx_ptx_sim::numeric::Rounding::{Rm, Rn, Rna, Rp, Rz};
use mnx_ptx_sim::numeric::*;
use proptest::prelude::*;

const NAN32: u32 = 0x7fff_ffff;
const TINY: f32 = f32::from_bits(1);
const DIRECTED: [Rounding; 4] = [Rn, Rz, Rm, Rp];

fn same(got: f32, want: f32) {
    assert_eq!(got.to_bits(), want.to_bits(), "got {got:e}, want {want:e}");
}

/// Every f32 pattern class: random bits, and numbers near each other so that sums cancel.
fn any_f32() -> impl Strategy<Value = f32> {
    prop_oneof![
        any::<u32>().prop_map(f32::from_bits),
        (any::<u32>(), 120u32..134).prop_map(|(b, e)| f32::from_bits(b & 0x807f_ffff | e << 23)),
        prop::sample::select(vec![
            0.0,
            -0.0,
            TINY,
            -TINY,
            f32::MIN_POSITIVE,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1.0,
            -1.5
        ]),
    ]
}

#[test]
fn bf16_all_values_and_ties() {
    for bits in 0..=u16::MAX {
        let x = bf16_to_f32(bits);
        assert_eq!(x.to_bits(), u32::from(bits) << 16);
        let back = f32_to_bf16_rn(x);
        assert_eq!(back, if x.is_nan() { 0x7fff } else { bits });
        // Half a unit above: a tie, which goes to the even neighbour; one bit less or more is no tie.
        if x.is_finite() {
            let tie = f32::from_bits(x.to_bits() + 0x8000);
            assert_eq!(f32_to_bf16_rn(tie), bits + (bits & 1), "tie above {bits:#06x}");
            assert_eq!(f32_to_bf16_rn(f32::from_bits(tie.to_bits() - 1)), bits);
            assert_eq!(f32_to_bf16_rn(f32::from_bits(tie.to_bits() + 1)), bits + 1);
            assert_eq!(f32_to_bf16(tie, Rz), bits);
        }
    }
    // 1 + 2^-8 is the tie between 1 and 1 + 2^-7; f32::MAX lies above the tie of the largest bf16 and infinity.
    assert_eq!(f32_to_bf16_rn(1.0 + 2f32.powi(-8)), 0x3f80);
    assert_eq!(f32_to_bf16_rn(f32::MAX), 0x7f80);
    assert_eq!(f32_to_bf16(f32::MAX, Rz), 0x7f7f);
    assert_eq!(f32_to_bf16(1.0 + f32::EPSILON, Rp), 0x3f81);
    assert_eq!(f32_to_bf16(-1.0 - f32::EPSILON, Rp), 0xbf80);
    assert_eq!(f32_to_bf16(-1.0 - f32::EPSILON, Rm), 0xbf81);
    assert_eq!(f32_to_bf16(TINY, Rp), 1);
    assert_eq!(f32_to_bf16(-TINY, Rp), 0x8000);
}

#[test]
fn f16_all_values_and_ties() {
    for bits in 0..=u16::MAX {
        let x = f16_to_f32(bits);
        let reference = half::f16::from_bits(bits);
        if reference.is_nan() {
            assert_eq!(x.to_bits(), NAN32);
            assert_eq!(f32_to_f16_rn(x), 0x7fff);
            continue;
        }
        same(x, reference.to_f32_const());
        for r in [Rn, Rz, Rm, Rp, Rna] {
            assert_eq!(f32_to_f16(x, r), bits, "{r:?}");
        }
    }
    // 65504 is the largest, 65520 the tie with infinity, 2^-25 the tie of 0 with the smallest subnormal 2^-24.
    assert_eq!(f32_to_f16_rn(65519.996), 0x7bff);
    assert_eq!(f32_to_f16_rn(65520.0), 0x7c00);
    assert_eq!(f32_to_f16_rz(1e30), 0x7bff);
    assert_eq!(f32_to_f16_rz(f32::INFINITY), 0x7c00);
    assert_eq!(f32_to_f16(-1e30, Rp), 0xfbff);
    assert_eq!(f32_to_f16(-1e30, Rm), 0xfc00);
    assert_eq!(f32_to_f16_rn(2f32.powi(-25)), 0);
    assert_eq!(f32_to_f16_rn(2f32.powi(-25) * 1.000_000_1), 1);
    assert_eq!(f32_to_f16(2f32.powi(-149), Rp), 1);
    // 1 + 2^-11: tie, down to even; 1 + 3 * 2^-11: tie, up to even.
    assert_eq!(f32_to_f16_rn(1.0 + 2f32.powi(-11)), 0x3c00);
    assert_eq!(f32_to_f16_rn(1.0 + 3.0 * 2f32.powi(-11)), 0x3c02);
    // 2047.5 units of 2^-24 round to the even 2048: the smallest subnormals turn into the smallest normal.
    assert_eq!(f32_to_f16_rn(1023.5 * 2f32.powi(-24)), 0x0400);
}

#[test]
fn relu_and_satfinite() {
    for ty in [Half::F16, Half::Bf16] {
        let (largest, infinity) = if ty == Half::F16 { (0x7bff, 0x7c00) } else { (0x7f7f, 0x7f80) };
        assert_eq!(f32_to_half(ty, -1.0, Rn, true, false), 0);
        assert_eq!(f32_to_half(ty, -0.0, Rn, true, false), 0);
        assert_eq!(f32_to_half(ty, f32::NAN, Rn, true, true), 0x7fff);
        assert_eq!(f32_to_half(ty, f32::INFINITY, Rn, false, false), infinity);
        assert_eq!(f32_to_half(ty, f32::INFINITY, Rn, false, true), largest);
        assert_eq!(f32_to_half(ty, f32::MIN, Rn, false, true), 0x8000 | largest);
        assert_eq!(f32_to_half(ty, f32::NEG_INFINITY, Rn, true, true), 0);
    }
}

#[test]
fn tf32_roundings() {
    let one_and_half_unit = f32::from_bits(0x3f80_1000);
    assert_eq!(f32_to_tf32(one_and_half_unit, Rna), 0x3f80_2000);
    assert_eq!(f32_to_tf32(one_and_half_unit, Rn), 0x3f80_0000);
    assert_eq!(f32_to_tf32(one_and_half_unit, Rz), 0x3f80_0000);
    assert_eq!(f32_to_tf32(f32::from_bits(0x3f80_3000), Rn), 0x3f80_4000);
    assert_eq!(f32_to_tf32(-one_and_half_unit, Rna), 0xbf80_2000);
    assert_eq!(f32_to_tf32(f32::MAX, Rna), 0x7f80_0000);
    assert_eq!(finish_tf32(f32_to_tf32(f32::MAX, Rna), false, true), 0x7f7f_e000);
    assert_eq!(finish_tf32(f32_to_tf32(-1.0, Rn), true, false), 0);
    assert_eq!(f32_to_tf32(f32::NAN, Rna), NAN32);
    assert_eq!(finish_tf32(NAN32, true, true), NAN32);
    assert_eq!(f32_to_tf32(f32::from_bits(0x1000), Rna), 0x2000);
}

#[test]
fn floats_to_integers() {
    for (x, r, want) in
        [(2.5, Rn, 2), (3.5, Rn, 4), (-2.5, Rn, -2), (2.9, Rz, 2), (-2.9, Rz, -2), (-2.1, Rm, -3), (2.1, Rp, 3), (-0.5, Rp, 0)]
    {
        assert_eq!(float_to_int(x, 32, true, r) as u32 as i32, want, "{x} {r:?}");
    }
    assert_eq!(float_to_int(3e9, 32, true, Rz), 0x7fff_ffff);
    assert_eq!(float_to_int(-3e9, 32, true, Rz), 0x8000_0000);
    assert_eq!(float_to_int(-1.0, 32, false, Rz), 0);
    assert_eq!(float_to_int(1e30, 32, false, Rz), 0xffff_ffff);
    assert_eq!(float_to_int(f64::INFINITY, 64, true, Rz), i64::MAX as u64);
    assert_eq!(float_to_int(f64::NEG_INFINITY, 64, true, Rz), i64::MIN as u64);
    assert_eq!(float_to_int(f64::INFINITY, 64, false, Rz), u64::MAX);
    assert_eq!(float_to_int(300.0, 8, false, Rz), 255);
    assert_eq!(float_to_int(-300.0, 8, true, Rz), 0x80);
    // NaN: zero unless the source is f64 or the result has 64 bits.
    assert_eq!(float_to_int(f64::NAN, 32, true, Rz), 0);
    assert_eq!(float_to_int(f64::NAN, 64, true, Rz), 1 << 63);
    assert_eq!(nan_as_int(32, true), 0x8000_0000);
    assert_eq!(nan_as_int(16, false), 0);
}

#[test]
fn integers_to_floats() {
    // 2^24 + 1 lies half way between two f32.
    let odd = (1 << 24) + 1;
    same(int_to_f32(odd, Rn), 16_777_216.0);
    same(int_to_f32(odd, Rz), 16_777_216.0);
    same(int_to_f32(odd, Rp), 16_777_218.0);
    same(int_to_f32(-odd, Rm), -16_777_218.0);
    same(int_to_f32(-odd, Rz), -16_777_216.0);
    same(int_to_f32(0, Rm), 0.0);
    same(int_to_f32(i128::from(u64::MAX), Rz), 1.844_674_3e19);
    same(int_to_f32(i128::from(u64::MAX), Rn), 1.844_674_4e19);
    assert_eq!(int_to_f64((1 << 53) + 1, Rp), 9_007_199_254_740_994.0);
    assert_eq!(int_to_f64((1 << 53) + 1, Rn), 9_007_199_254_740_992.0);
    assert_eq!(int_to_half(Half::F16, 2049, Rn), f32_to_f16_rn(2048.0));
    assert_eq!(int_to_half(Half::F16, 100_000, Rz), 0x7bff);
    assert_eq!(int_to_half(Half::Bf16, -257, Rm), f32_to_bf16_rn(-258.0));
}

#[test]
fn directed_sums_and_products_by_hand() {
    let next = 1.0 + f32::EPSILON;
    same(add_f32(1.0, TINY, Rn, false, false), 1.0);
    same(add_f32(1.0, TINY, Rp, false, false), next);
    same(add_f32(1.0, -TINY, Rz, false, false), 1.0 - f32::EPSILON / 2.0);
    same(add_f32(-1.0, -TINY, Rm, false, false), -next);
    // Exact cancellation is +0, but -0 when rounding down; (-0) + (-0) is -0 always.
    same(add_f32(1.0, -1.0, Rm, false, false), -0.0);
    same(add_f32(1.0, -1.0, Rp, false, false), 0.0);
    same(add_f32(-0.0, -0.0, Rp, false, false), -0.0);
    same(mul_f32(-0.0, 1.0, Rm, false, false), -0.0);
    same(fma_f32([2.0, 0.5, -1.0], Rm, false, false), -0.0);
    // Overflow: the largest finite number where the rounding leads back.
    same(add_f32(f32::MAX, f32::MAX, Rz, false, false), f32::MAX);
    same(add_f32(f32::MAX, f32::MAX, Rm, false, false), f32::MAX);
    same(add_f32(f32::MAX, f32::MAX, Rp, false, false), f32::INFINITY);
    same(mul_f32(f32::MIN, f32::MAX, Rp, false, false), f32::MIN);
    // Underflow.
    same(mul_f32(TINY, 0.5, Rn, false, false), 0.0);
    same(mul_f32(TINY, 0.5, Rp, false, false), TINY);
    same(mul_f32(-TINY, 0.5, Rm, false, false), -TINY);
    same(mul_f32(TINY, 0.75, Rn, false, false), TINY);
    // (1 + e)(1 - e) - 1 = -e^2, which two roundings would lose.
    same(fma_f32([next, 1.0 - f32::EPSILON, -1.0], Rn, false, false), -f32::EPSILON * f32::EPSILON);
    same(div_f32(1.0, 3.0, Rz, false), f32::from_bits(0x3eaa_aaaa));
    same(div_f32(1.0, 3.0, Rn, false), f32::from_bits(0x3eaa_aaab));
    same(div_f32(-1.0, 3.0, Rm, false), -f32::from_bits(0x3eaa_aaab));
    same(div_f32(1.0, 0.0, Rz, false), f32::INFINITY);
    same(sqrt_f32(2.0, Rz, false), f32::from_bits(0x3fb5_04f3));
    same(sqrt_f32(2.0, Rp, false), f32::from_bits(0x3fb5_04f4));
    same(sqrt_f32(4.0, Rp, false), 2.0);
    same(sqrt_f32(-0.0, Rm, false), -0.0);
    same(rcp_f32(-0.0, Rn, false), f32::NEG_INFINITY);
    for nan in [
        add_f32(f32::INFINITY, f32::NEG_INFINITY, Rz, false, false),
        mul_f32(0.0, f32::INFINITY, Rn, false, false),
        fma_f32([0.0, f32::INFINITY, 1.0], Rp, false, false),
        sqrt_f32(-1.0, Rn, false),
        div_f32(0.0, 0.0, Rm, false),
        add_f32(f32::from_bits(0xffc0_1234), 1.0, Rn, false, false),
    ] {
        assert_eq!(nan.to_bits(), NAN32);
    }
}

#[test]
fn ftz_and_sat() {
    same(add_f32(TINY, TINY, Rn, true, false), 0.0);
    same(add_f32(-TINY, -TINY, Rn, true, false), -0.0);
    same(mul_f32(f32::MIN_POSITIVE, -0.5, Rn, true, false), -0.0);
    same(mul_f32(f32::MIN_POSITIVE, -0.5, Rn, false, false), -f32::MIN_POSITIVE / 2.0);
    same(fma_f32([1.0, 1.0, TINY], Rp, true, false), 1.0);
    same(add_f32(0.75, 0.75, Rn, false, true), 1.0);
    same(add_f32(-0.75, 0.25, Rn, false, true), 0.0);
    same(fma_f32([f32::NAN, 1.0, 1.0], Rn, false, true), 0.0);
    same(saturate(-0.0), 0.0);
    same(min_max_f32(TINY, -TINY, true, false, true), 0.0);
}

#[test]
fn minimum_and_maximum() {
    same(min_max_f32(-0.0, 0.0, true, false, false), 0.0);
    same(min_max_f32(0.0, -0.0, false, false, false), -0.0);
    same(min_max_f32(f32::NAN, 3.0, true, false, false), 3.0);
    same(min_max_f32(3.0, f32::NAN, false, false, false), 3.0);
    assert_eq!(min_max_f32(3.0, f32::NAN, false, true, false).to_bits(), NAN32);
    assert_eq!(min_max_f32(f32::NAN, -f32::NAN, true, false, false).to_bits(), NAN32);
    for ty in [Half::F16, Half::Bf16] {
        assert_eq!(min_max_half(ty, 0x8000, 0, true, false), 0);
        assert_eq!(min_max_half(ty, 0, 0x8000, false, false), 0x8000);
        assert_eq!(min_max_half(ty, 0xfe00, 0xffff, true, false), if ty == Half::F16 { 0x7fff } else { 0xfe00 });
        assert_eq!(min_max_half(ty, 0x7fc0, 5, true, false), 5);
        assert_eq!(min_max_half(ty, 0x7fc0, 5, true, true), 0x7fff);
        assert_eq!(min_max_half(ty, 0x8001, 0x8002, true, false), 0x8001);
        assert_eq!(min_max_half(ty, 0x0001, 0x8002, false, false), 0x8002);
    }
    assert_eq!(min_max_f64(f64::NAN, -2.0, true), -2.0);
}

#[test]
fn half_fma_rounds_once() {
    // 1 + 2^-8 is the tie between 1 and 1 + 2^-7, and goes to the even 1; 1 + 2^-8 (1 + 2^-7) lies above it.
    let bf = f32_to_bf16_rn;
    assert_eq!(fma_half(Half::Bf16, bf(2f32.powi(-8)), bf(1.0), bf(1.0), false), bf(1.0));
    assert_eq!(fma_half(Half::Bf16, bf(2f32.powi(-8)), bf(1.0 + 2f32.powi(-7)), bf(1.0), false), bf(1.0 + 2f32.powi(-7)));
    // A tie by the product, and an addend so far below that f64 cannot hold both:
    // 0x88 * 0x98 = 20672 = 0b101_0000_1100_0000: top 8 bits 1010_0001, rest 100_0000: a tie between 0xa1 (odd) and 0xa2 (even).
    let (a, b) = (f32::from(0x88u8), f32::from(0x98u8));
    let (below, above) = (f32::from(0xa1u8) * 128.0, f32::from(0xa2u8) * 128.0);
    let far = 2f32.powi(-60);
    assert_eq!(fma_half(Half::Bf16, bf(a), bf(b), bf(0.0), false), bf(above));
    assert_eq!(fma_half(Half::Bf16, bf(a), bf(b), bf(-far), false), bf(below), "the far addend breaks the tie");
    assert_eq!(fma_half(Half::Bf16, bf(a), bf(b), bf(far), false), bf(above));
    assert_eq!(fma_half(Half::Bf16, bf(-a), bf(b), bf(far), false), bf(-below));
    // 257 is the tie between 256 and 258.
    assert_eq!(add_half(Half::Bf16, bf(256.0), bf(1.0)), bf(256.0));
    assert_eq!(fma_half(Half::Bf16, bf(-1.0), bf(1.0), bf(0.5), true), 0);
    assert_eq!(fma_half(Half::F16, 0x7c00, 0, 0x3c00, true), 0x7fff);
    assert_eq!(mul_half(Half::F16, 0x7bff, 0x4000), 0x7c00);
    assert_eq!(add_half(Half::F16, 0x7c00, 0xfc00), 0x7fff);
    // 2^-24 * 0.5 is the tie of 0 and 2^-24.
    assert_eq!(mul_half(Half::F16, 1, 0x3800), 0);
    assert_eq!(mul_half(Half::F16, 3, 0x3800), 2);
    assert_eq!(flush_half(Half::F16, 0x83ff), 0x8000);
    assert_eq!(saturate_half(Half::Bf16, bf(2.0)), bf(1.0));
    assert_eq!(saturate_half(Half::F16, 0x7fff), 0);
}

#[test]
fn approximations_at_special_values() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    same(ex2_approx(10.0, false), 1024.0);
    same(ex2_approx(-inf, false), 0.0);
    same(ex2_approx(-127.0, false), 2f32.powi(-127));
    same(ex2_approx(-127.0, true), 0.0);
    same(ex2_approx(TINY, true), 1.0);
    same(lg2_approx(8.0, false), 3.0);
    same(lg2_approx(-0.0, false), -inf);
    same(lg2_approx(TINY, false), -149.0);
    same(lg2_approx(TINY, true), -inf);
    same(rsqrt_approx(4.0, false), 0.5);
    same(rsqrt_approx(-0.0, false), -inf);
    same(rsqrt_approx(inf, false), 0.0);
    same(rcp_approx(-inf, false), -0.0);
    same(rcp_approx(2f32.powi(127), false), 2f32.powi(-127));
    same(rcp_approx(2f32.powi(127), true), 0.0);
    same(sqrt_approx(9.0, false), 3.0);
    same(sin_approx(-0.0, false), -0.0);
    same(cos_approx(0.0, false), 1.0);
    same(tanh_approx(inf), 1.0);
    same(div_approx(1.0, 4.0, false), 0.25);
    // Beyond 2^126 the reciprocal is zero.
    same(div_approx(2f32.powi(127), 2f32.powi(127), false), 0.0);
    same(div_full(2f32.powi(127), 2f32.powi(127), false), 1.0);
    assert_eq!(div_approx(inf, 2f32.powi(127), false).to_bits(), NAN32);
    for x in [ex2_approx(nan, false), lg2_approx(-1.0, false), rsqrt_approx(-1.0, false), sqrt_approx(-1.0, false), sin_approx(inf, false)]
    {
        assert_eq!(x.to_bits(), NAN32);
    }
    assert_eq!(tanh_half(Half::F16, 0xfc00), 0xbc00);
    assert_eq!(ex2_half(Half::Bf16, f32_to_bf16_rn(3.0)), f32_to_bf16_rn(8.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Crate `half` rounds to nearest even on its own.
    #[test]
    fn sixteen_bit_conversions_agree_with_half(x in any_f32()) {
        if !x.is_nan() {
            prop_assert_eq!(f32_to_bf16_rn(x), half::bf16::from_f32_const(x).to_bits());
            prop_assert_eq!(f32_to_f16_rn(x), half::f16::from_f32_const(x).to_bits());
        }
    }

    /// Directed results lie next to each other around the nearest one, in order, and equal it where it is exact.
    #[test]
    fn roundings_bracket(a in any_f32(), b in any_f32(), c in any_f32(), op in 0..5) {
        let f = |r| match op {
            0 => add_f32(a, b, r, false, false),
            1 => mul_f32(a, b, r, false, false),
            2 => fma_f32([a, b, c], r, false, false),
            3 => div_f32(a, b, r, false),
            _ => sqrt_f32(a, r, false),
        };
        let [n, z, m, p] = DIRECTED.map(f);
        if n.is_nan() {
            prop_assert!([z, m, p].iter().all(|x| x.to_bits() == NAN32));
            return Ok(());
        }
        prop_assert!(m <= n && n <= p);
        if m.to_bits() != p.to_bits() && m != 0.0 {
            prop_assert_eq!(m.next_up().to_bits() & 0x7fff_ffff, p.to_bits() & 0x7fff_ffff);
        }
        let towards_zero = if n > 0.0 { m } else if n < 0.0 { p } else { 0.0 };
        prop_assert_eq!(z, towards_zero);
        // The nearest of the exact machine is the host's.
        prop_assert!(n == m || n == p);
    }

    /// fma by the definition: in units of 2^-86 all terms are integers, and no number of the format lies nearer than the result.
    #[test]
    fn f32_fma_is_the_nearest_number(
        a in -(1i64 << 24)..1 << 24, ea in 0u32..14, b in -(1i64 << 24)..1 << 24, eb in 0u32..14, c in -(1i64 << 24)..1 << 24, ec in 0u32..60,
    ) {
        let (x, y, z) = (a as f32 * 2f32.powi(ea as i32), b as f32 * 2f32.powi(eb as i32), c as f32 * 2f32.powi(ec as i32));
        let exact = i128::from(a) * i128::from(b) * (1i128 << (ea + eb)) + i128::from(c) * (1i128 << ec);
        for r in DIRECTED {
            let got = fma_f32([x, y, z], r, false, false);
            let value = got as i128;
            prop_assert_eq!(value as f32, got);
            match r {
                Rm => prop_assert!(value <= exact && (got.next_up() as i128) > exact),
                Rp => prop_assert!(value >= exact && (got.next_down() as i128) < exact),
                Rz => prop_assert!(value.abs() <= exact.abs() && (got.abs().next_up() as i128) > exact.abs()),
                _ => {
                    let off = (value - exact).abs();
                    for other in [got.next_up(), got.next_down()] {
                        let off_other = (other as i128 - exact).abs();
                        prop_assert!(off < off_other || (off == off_other && got.to_bits() & 1 == 0) || exact.abs() < 2);
                    }
                }
            }
        }
    }

    /// Arithmetic of f16, whose every fma is an integer number of 2^-48, over the whole range with subnormals.
    #[test]
    fn f16_arithmetic_is_the_nearest_number(a in 0u16..0xffff, b in 0u16..0xffff, c in 0u16..0xffff) {
        let units = |x: u16| (f64::from(f16_to_f32(x)) * 2f64.powi(24)) as i128;
        let finite = |x: u16| x & 0x7c00 != 0x7c00;
        prop_assume!(finite(a) && finite(b) && finite(c));
        let cases = [
            (fma_half(Half::F16, a, b, c, false), units(a) * units(b) + (units(c) << 24)),
            (add_half(Half::F16, a, b), (units(a) + units(b)) << 24),
            (mul_half(Half::F16, a, b), units(a) * units(b)),
        ];
        for (got, exact) in cases {
            if !finite(got) {
                prop_assert!(exact.abs() >= 65520i128 << 48 && (got == 0x7c00) == (exact > 0));
                continue;
            }
            prop_assert!(exact == 0 || (got & 0x8000 != 0) == (exact < 0));
            let magnitude = got & 0x7fff;
            let off = |m: u16| ((units(m) << 24) - exact.abs()).abs();
            // Beside the largest number stands what would come next, 65536.
            let above = if magnitude == 0x7bff { (65536i128 << 48) - exact.abs() } else { off(magnitude + 1) };
            prop_assert!(off(magnitude) < above || (off(magnitude) == above && magnitude & 1 == 0));
            if magnitude > 0 {
                let below = off(magnitude - 1);
                prop_assert!(off(magnitude) < below || (off(magnitude) == below && magnitude & 1 == 0));
            }
        }
    }

    /// f64 directed: the two-sum's error tells on which side the exact sum lies.
    #[test]
    fn f64_directed_sums(a in any::<u64>(), b in any::<u64>(), near in any::<bool>()) {
        let x = f64::from_bits(a);
        let y = if near { f64::from_bits(b & 0x800f_ffff_ffff_ffff | a & 0x7ff0_0000_0000_0000) } else { f64::from_bits(b) };
        prop_assume!(x.is_finite() && y.is_finite() && (x + y).is_finite() && x.abs() < 1e300 && y.abs() < 1e300);
        let s = x + y;
        let t = s - x;
        let error = (x - (s - t)) + (y - t);
        let (down, up) = (add_f64(x, y, Rm), add_f64(x, y, Rp));
        prop_assert_eq!(down, if error < 0.0 { s.next_down() } else { s });
        prop_assert_eq!(up, if error > 0.0 { s.next_up() } else { s });
        prop_assert_eq!(add_f64(x, y, Rz), if s > 0.0 { down } else { up });
        // Of the product the host's fused multiply-add gives the error's sign.
        let p = x * y;
        if p.is_normal() && p.abs() > 1e-250 {
            let error = x.mul_add(y, -p);
            prop_assert_eq!(mul_f64(x, y, Rm), if error < 0.0 { p.next_down() } else { p });
            prop_assert_eq!(mul_f64(x, y, Rp), if error > 0.0 { p.next_up() } else { p });
        }
        let q = x / y;
        if q.is_normal() && x.abs() > 1e-250 && q.abs() < 1e300 {
            let rest = (-q).mul_add(y, x);
            let error = if (rest > 0.0) == (y > 0.0) { rest.abs() } else { -rest.abs() };
            prop_assert_eq!(div_f64(x, y, Rm), if error < 0.0 { q.next_down() } else { q });
        }
        let v = x.abs();
        if v > 1e-200 {
            let root = v.sqrt();
            let rest = (-root).mul_add(root, v);
            prop_assert_eq!(sqrt_f64(v, Rm), if rest < 0.0 { root.next_down() } else { root });
            prop_assert_eq!(sqrt_f64(v, Rp), if rest > 0.0 { root.next_up() } else { root });
        }
    }

    #[test]
    fn f64_to_f32_brackets(bits in any::<u64>(), exponent in 850u64..1180) {
        let x = f64::from_bits(bits & 0x800f_ffff_ffff_ffff | exponent << 52);
        let (down, up) = (f64_to_f32(x, Rm), f64_to_f32(x, Rp));
        prop_assert!(f64::from(down) <= x && x <= f64::from(up));
        prop_assert!(down == up || down.next_up() == up);
        prop_assert_eq!(f64_to_f32(x, Rz), if x > 0.0 { down } else { up });
    }
}
