//! Arithmetic on exact values, and the one place that rounds them: any binary format, any rounding.
//!
//! A value is an integer times a power of two. Where a result has no such form (quotients, roots, sums of far exponents), the lowest bit
//! stands for "and a little more"; there are always enough bits above it for every format to round rightly.

use super::Rounding;

/// A binary floating-point format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    /// Stored fraction bits.
    pub fraction: u32,
    /// Exponent of the smallest normal number.
    pub lowest: i32,
    /// Exponent of the largest finite number.
    pub highest: i32,
}

pub(crate) const F16: Format = Format { fraction: 10, lowest: -14, highest: 15 };
pub(crate) const BF16: Format = Format { fraction: 7, lowest: -126, highest: 127 };
/// As f32 with 10 fraction bits; the bits of a tf32 register are these, shifted left by 13.
pub(crate) const TF32: Format = Format { fraction: 10, lowest: -126, highest: 127 };
pub(crate) const F32: Format = Format { fraction: 23, lowest: -126, highest: 127 };
pub(crate) const F64: Format = Format { fraction: 52, lowest: -1022, highest: 1023 };

impl Format {
    /// Bits of plus infinity.
    pub fn infinity(self) -> u64 {
        ((self.highest - self.lowest + 2) as u64) << self.fraction
    }

    /// Bits of minus zero.
    pub fn sign(self) -> u64 {
        (self.infinity() + (1 << self.fraction)) & !(self.infinity())
    }
}

/// `magnitude * 2^exponent`, negated if `negative`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exact {
    negative: bool,
    magnitude: u128,
    exponent: i32,
}

impl Exact {
    pub fn new(negative: bool, magnitude: u128, exponent: i32) -> Self {
        Self { negative, magnitude, exponent }
    }

    /// The exponent of the highest bit; none for zero.
    pub fn top(self) -> Option<i32> {
        (self.magnitude != 0).then(|| self.exponent + 127 - self.magnitude.leading_zeros() as i32)
    }

    /// The exact value of a finite number.
    pub fn of(x: f64) -> Self {
        let bits = x.to_bits();
        let (field, fraction) = ((bits >> 52 & 0x7ff) as i32, u128::from(bits & ((1 << 52) - 1)));
        let magnitude = if field == 0 { fraction } else { fraction | 1 << 52 };
        Self { negative: bits >> 63 != 0, magnitude, exponent: field.max(1) - 1075 }
    }

    /// The exact value of an integer.
    pub fn of_int(x: i128) -> Self {
        Self { negative: x < 0, magnitude: x.unsigned_abs(), exponent: 0 }
    }

    /// The product of two values of at most 64 bits each.
    pub fn times(self, other: Self) -> Self {
        Self {
            negative: self.negative != other.negative,
            magnitude: self.magnitude * other.magnitude,
            exponent: self.exponent + other.exponent,
        }
    }

    /// The highest bit at position 125, so that a sum has room; at most 108 bits are in use before.
    fn normalised(self) -> Self {
        let up = self.magnitude.leading_zeros().saturating_sub(2).min(127);
        Self { magnitude: self.magnitude << up, exponent: self.exponent - up as i32, ..self }
    }

    /// The sum. A zero sum of unlike signs is -0 when rounding down, else +0.
    pub fn plus(self, other: Self, rounding: Rounding) -> Self {
        if self.magnitude == 0 && other.magnitude == 0 {
            let negative = if self.negative == other.negative { self.negative } else { rounding == Rounding::Rm };
            return Self { negative, magnitude: 0, exponent: 0 };
        }
        if self.magnitude == 0 {
            return other;
        }
        if other.magnitude == 0 {
            return self;
        }
        let (a, b) = (self.normalised(), other.normalised());
        let (high, low) = if a.exponent >= b.exponent { (a, b) } else { (b, a) };
        let apart = (high.exponent - low.exponent) as u32;
        let shifted = if apart >= 127 { 0 } else { low.magnitude >> apart };
        // Bits lost below leave a mark. Something is lost only where the higher value's low bits are empty and at most one bit can cancel.
        let lost = apart >= 127 || shifted << apart != low.magnitude;
        let shifted = shifted | u128::from(lost);
        if high.negative == low.negative {
            return Self { magnitude: high.magnitude + shifted, ..high };
        }
        let (negative, magnitude) =
            if high.magnitude >= shifted { (high.negative, high.magnitude - shifted) } else { (low.negative, shifted - high.magnitude) };
        let negative = if magnitude == 0 { rounding == Rounding::Rm } else { negative };
        Self { negative, magnitude, exponent: high.exponent }
    }

    /// The quotient of two finite numbers' values, the divisor not zero.
    pub fn over(self, divisor: Self) -> Self {
        let negative = self.negative != divisor.negative;
        if self.magnitude == 0 {
            return Self { negative, magnitude: 0, exponent: 0 };
        }
        let up = self.magnitude.leading_zeros();
        let dividend = self.magnitude << up;
        let (quotient, rest) = (dividend / divisor.magnitude, dividend % divisor.magnitude);
        Self { negative, magnitude: quotient << 1 | u128::from(rest != 0), exponent: self.exponent - up as i32 - divisor.exponent - 1 }
    }

    /// The square root of a finite number's value, which is not negative.
    pub fn root(self) -> Self {
        if self.magnitude == 0 {
            return self;
        }
        let mut up = self.magnitude.leading_zeros();
        if (self.exponent - up as i32) % 2 != 0 {
            up -= 1;
        }
        let square = self.magnitude << up;
        let root = square.isqrt();
        Self { negative: false, magnitude: root << 1 | u128::from(root * root != square), exponent: (self.exponent - up as i32) / 2 - 1 }
    }

    /// Rounds to a format: its bits. Overflow gives infinity or the largest finite number, as the rounding says.
    pub fn round(self, format: Format, rounding: Rounding) -> u64 {
        let sign = if self.negative { format.sign() } else { 0 };
        let Some(top) = self.top() else {
            return sign;
        };
        let exponent = top.max(format.lowest);
        // Units in the last place, what lies at half of one, and whether anything lies below that.
        let shift = exponent - format.fraction as i32 - self.exponent;
        let (units, half, rest) = match shift {
            ..=0 => (self.magnitude << -shift, false, false),
            1..=127 => (self.magnitude >> shift, self.magnitude >> (shift - 1) & 1 == 1, self.magnitude & ((1 << (shift - 1)) - 1) != 0),
            128 => (0, self.magnitude >> 127 == 1, self.magnitude << 1 != 0),
            _ => (0, false, true),
        };
        let up = match rounding {
            Rounding::Rn => half && (rest || units & 1 == 1),
            Rounding::Rna => half,
            Rounding::Rz => false,
            Rounding::Rm => self.negative && (half || rest),
            Rounding::Rp => !self.negative && (half || rest),
        };
        // The hidden bit, where there is one, adds one to the exponent field; so does a carry out of the fraction.
        let field = (exponent - format.lowest) as u128;
        let bits = (field << format.fraction) + units + u128::from(up);
        let infinity = format.infinity();
        if bits < u128::from(infinity) {
            return sign | bits as u64;
        }
        let to_infinity = match rounding {
            Rounding::Rn | Rounding::Rna => true,
            Rounding::Rz => false,
            Rounding::Rm => self.negative,
            Rounding::Rp => !self.negative,
        };
        sign | if to_infinity { infinity } else { infinity - 1 }
    }
}
