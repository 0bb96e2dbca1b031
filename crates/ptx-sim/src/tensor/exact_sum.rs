//! A sum of products of f32 values without any rounding: a fixed-point number wide enough for all of them.

use crate::numeric::exact::Exact;

/// The lowest bit: the product of two smallest subnormals, 2^-298.
const LOWEST: i32 = -298;
/// Limbs of 32 bits: products end below 2^256, and there is room for 2^40 of them.
const LIMBS: usize = 19;

/// The running sum. Limbs are signed and may hold more than 32 bits until the end.
pub(crate) struct ExactSum {
    limbs: [i64; LIMBS],
}

impl ExactSum {
    pub fn new() -> Self {
        Self { limbs: [0; LIMBS] }
    }

    /// Adds `a * b`, both finite.
    pub fn add_product(&mut self, a: f32, b: f32) {
        // The product of two f32 has at most 48 bits: an f64 holds it, and its exponent range is no concern here.
        let product = f64::from(a) * f64::from(b);
        let bits = product.to_bits();
        if product == 0.0 {
            return;
        }
        let magnitude = u128::from(bits & ((1 << 52) - 1) | 1 << 52);
        let exponent = (bits >> 52 & 0x7ff) as i32 - 1075;
        // The 53 bits end in zeros where the product is near the lowest bit.
        let (magnitude, position) =
            if exponent < LOWEST { (magnitude >> (LOWEST - exponent), 0) } else { (magnitude, (exponent - LOWEST) as usize) };
        let spread = magnitude << (position % 32);
        let first = position / 32;
        for (i, limb) in self.limbs[first..].iter_mut().take(3).enumerate() {
            let part = (spread >> (32 * i)) as u32;
            *limb += if product < 0.0 { -i64::from(part) } else { i64::from(part) };
        }
    }

    /// The sum, with its lowest bit marking what the top 127 bits do not hold.
    pub fn total(mut self) -> Exact {
        let mut carry = 0;
        for limb in &mut self.limbs {
            let sum = *limb + carry;
            carry = sum >> 32;
            *limb = sum & 0xffff_ffff;
        }
        let negative = carry < 0;
        if negative {
            // Two's complement over all limbs.
            let mut carry = 1;
            for limb in &mut self.limbs {
                let flipped = (!*limb & 0xffff_ffff) + carry;
                carry = flipped >> 32;
                *limb = flipped & 0xffff_ffff;
            }
        }
        let Some(top) = self.limbs.iter().rposition(|&l| l != 0) else {
            return Exact::new(false, 0, 0);
        };
        let low = top.saturating_sub(3);
        let magnitude = self.limbs[low..=top].iter().rev().fold(0u128, |m, &l| m << 32 | l as u128);
        let more = self.limbs[..low].iter().any(|&l| l != 0);
        Exact::new(negative, magnitude | u128::from(more), LOWEST + 32 * low as i32)
    }
}
