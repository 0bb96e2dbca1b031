//! Rounding to the element types of a graph.

use mnx_ir::DType;

use crate::array::Array;
use crate::real::Real;

/// A binary float type below float64: what rounding to it needs to know.
struct Format {
    /// Bits of the significand, the leading one included.
    digits: i32,
    /// Exponent of the smallest normal value.
    lowest: i32,
    /// Largest finite value.
    largest: f64,
}

const BF16: Format = Format { digits: 8, lowest: -126, largest: 3.389_531_389_251_535_5e38 };
const F16: Format = Format { digits: 11, lowest: -14, largest: 65504.0 };

/// `cast`: from float64, rounded once. float32 and float64 are what the interpreter computes in, so nothing is rounded to them.
///
/// # Panics
/// For labels, to which inference casts nothing.
pub(crate) fn cast<T: Real>(to: DType, input: &Array<T>) -> Array<T> {
    let format = match to {
        DType::F32 | DType::F64 => return input.clone(),
        DType::Bf16 => BF16,
        DType::F16 => F16,
        DType::I32 => panic!("inference casts to no integers"),
    };
    Array::new(&input.shape, input.data.iter().map(|v| T::from_f64(nearest(v.to_f64(), &format))).collect())
}

/// The nearest value of a format, of two equally near the even one.
fn nearest(x: f64, to: &Format) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    // Exponents of subnormal float64 values lie far below every format's and need not be exact.
    let exponent = ((x.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(to.lowest);
    // The distance of neighbours is a power of two, so both products but the rounding are exact.
    let step = 2f64.powi(exponent - (to.digits - 1));
    let rounded = (x / step).round_ties_even() * step;
    if rounded.abs() > to.largest { f64::INFINITY.copysign(x) } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bf16(bits: u16) -> f64 {
        f64::from(f32::from_bits(u32::from(bits) << 16))
    }

    /// IEEE half precision, decoded by its definition.
    fn f16(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
        let magnitude = match exponent {
            0 => fraction * 2f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
        };
        if bits >> 15 == 1 { -magnitude } else { magnitude }
    }

    fn round(to: DType, x: f64) -> f64 {
        cast(to, &Array::new(&[1], vec![x])).data[0]
    }

    fn same(a: f64, b: f64) -> bool {
        a.is_nan() && b.is_nan() || a.to_bits() == b.to_bits()
    }

    #[test]
    fn every_value_stays_and_every_tie_goes_to_the_even_neighbour() {
        for (to, decode, infinity) in [(DType::Bf16, bf16 as fn(u16) -> f64, 0x7f80u16), (DType::F16, f16, 0x7c00)] {
            for bits in 0..=u16::MAX {
                let x = decode(bits);
                assert!(same(round(to, x), x), "{to} {bits:#x}: {x} became {}", round(to, x));
                // float32 holds all of them, and gives the same.
                let single = cast(to, &Array::new(&[1], vec![x as f32])).data[0];
                assert!(same(f64::from(single), x), "{to} {bits:#x}");
            }
            for bits in 0..infinity - 1 {
                let (low, high) = (decode(bits), decode(bits + 1));
                let (middle, even) = ((low + high) / 2.0, if bits % 2 == 0 { low } else { high });
                let (below, above) = (f64::from_bits(middle.to_bits() - 1), f64::from_bits(middle.to_bits() + 1));
                for sign in [1.0, -1.0] {
                    assert!(same(round(to, sign * middle), sign * even), "{to} {bits:#x} tie");
                    assert!(same(round(to, sign * below), sign * low), "{to} {bits:#x} below the tie");
                    assert!(same(round(to, sign * above), sign * high), "{to} {bits:#x} above the tie");
                }
            }
        }
    }

    #[test]
    fn edges_are_those_of_ieee() {
        // Half a step beyond the largest value is a tie, and its even neighbour is infinity.
        for (to, largest, tie) in [(DType::F16, 65504.0, 65520.0), (DType::Bf16, BF16.largest, (2.0 - 2f64.powi(-8)) * 2f64.powi(127))] {
            assert_eq!(round(to, tie), f64::INFINITY);
            assert_eq!(round(to, -tie), f64::NEG_INFINITY);
            assert_eq!(round(to, f64::from_bits(tie.to_bits() - 1)), largest);
            assert_eq!(round(to, f64::MAX), f64::INFINITY);
            assert!(same(round(to, f64::INFINITY), f64::INFINITY) && round(to, f64::NAN).is_nan());
            assert!(same(round(to, -0.0), -0.0) && same(round(to, 0.0), 0.0));
            // Far below the smallest subnormal: zero of the same sign, whatever float64 makes of it.
            for tiny in [f64::MIN_POSITIVE, f64::from_bits(1), 1e-300] {
                assert!(same(round(to, tiny), 0.0) && same(round(to, -tiny), -0.0), "{to} {tiny:e}");
            }
        }
        assert_eq!(BF16.largest, bf16(0x7f7f));
        // Half of the smallest subnormal ties with zero.
        assert_eq!(round(DType::F16, 2f64.powi(-25)), 0.0);
        assert_eq!(round(DType::F16, 2f64.powi(-25) * 1.000_001), 2f64.powi(-24));
        assert_eq!(round(DType::Bf16, 2f64.powi(-134)), 0.0);
        assert_eq!(round(DType::Bf16, 3.0 * 2f64.powi(-134)), 2f64.powi(-132));
        // One rounding: through float32 first, the tie that this is not would go to the even neighbour.
        let just_above = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(round(DType::F16, just_above), 1.0 + 2f64.powi(-10));
        assert_eq!(half::f16::from_f32(just_above as f32).to_f64(), 1.0);
    }

    #[test]
    fn float32_values_round_as_another_implementation_rounds_them() {
        let mut seed = 0x1234_5678_9abc_def0u64;
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let x = f32::from_bits((seed >> 32) as u32);
            assert!(same(round(DType::F16, f64::from(x)), half::f16::from_f32(x).to_f64()), "{x:e}");
            assert!(same(round(DType::Bf16, f64::from(x)), half::bf16::from_f32(x).to_f64()), "{x:e}");
        }
    }

    #[test]
    fn wide_types_keep_every_value() {
        for x in [1.0 / 3.0, 1e300, f64::from_bits(1), -0.0] {
            assert!(same(round(DType::F32, x), x) && same(round(DType::F64, x), x));
        }
    }
}
