//! The error function, to 1e-15.
//!
//! Three forms, each from the definition (DLMF chapter 7):
//! * `|x| < 3`: the series `erf x = 2/sqrt(pi) exp(-x^2) sum_n 2^n x^(2n+1) / (2n+1)!!` (DLMF 7.6.2); all terms have one sign.
//! * `3 <= x`: `erfc x` by its continued fraction (DLMF 7.9.1), evaluated backwards.
//! * For speed, Taylor polynomials about multiples of 1/16, whose constant terms are the above and whose further
//!   coefficients follow from `f' = 2/sqrt(pi) exp(-x^2)`, `f'' = -2 x f'`. Tests hold this form to the first two.

use std::sync::LazyLock;

/// Grid points per unit.
const STEPS: f64 = 16.0;
/// From here on erf is 1 to the last bit.
const END: f64 = 6.0;
/// Taylor coefficients per grid point: the remainder is below `(1/32)^12`, times less than 1.
const TERMS: usize = 12;

/// `2/sqrt(pi) * integral of exp(-t^2) from 0 to x`; NaN for NaN.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a >= END {
        return x.signum();
    }
    if a.is_nan() {
        return x;
    }
    let i = (a * STEPS).round();
    let h = a - i / STEPS;
    let c = &TABLE[i as usize];
    let mut y = c[TERMS - 1];
    for &coefficient in c[..TERMS - 1].iter().rev() {
        y = y * h + coefficient;
    }
    y.copysign(x)
}

static TABLE: LazyLock<Vec<[f64; TERMS]>> = LazyLock::new(|| (0..=(END * STEPS) as usize).map(|i| taylor(i as f64 / STEPS)).collect());

/// Taylor coefficients of erf about `x`.
///
/// With `f' = sum a_n h^n`, `f'' = -2 (x + h) f'` gives `(n+1) a_(n+1) = -2 (x a_n + a_(n-1))`; those of f are `a_n / (n+1)`.
fn taylor(x: f64) -> [f64; TERMS] {
    let mut c = [0.0; TERMS];
    c[0] = erf_defined(x);
    let mut before = 0.0;
    let mut a = std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp();
    for n in 0..TERMS - 1 {
        c[n + 1] = a / (n + 1) as f64;
        (before, a) = (a, -2.0 * (x * a + before) / (n + 1) as f64);
    }
    c
}

/// erf of `x >= 0` from its series or its continued fraction.
fn erf_defined(x: f64) -> f64 {
    if x < 3.0 {
        // Innermost bracket first, x (1 + 2x^2/3 (1 + 2x^2/5 (1 + ...))), so that rounding errors do not pile up.
        let mut bracket = 1.0;
        for n in (1..=90).rev() {
            bracket = 1.0 + 2.0 * x * x / f64::from(2 * n + 1) * bracket;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * x * bracket
    } else {
        // sqrt(pi) exp(x^2) erfc x = 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ...
        let mut tail = x;
        for n in (1..=120).rev() {
            tail = x + 0.5 * f64::from(n) / tail;
        }
        1.0 - 0.5 * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() / tail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_published_values() {
        // Abramowitz and Stegun, table 7.1, and DLMF 7.23; more digits from the series in exact arithmetic.
        for (x, y) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (1.5, 0.966_105_146_475_310_7),
            (2.0, 0.995_322_265_018_952_7),
            (3.0, 0.999_977_909_503_001_4),
            (3.5, 0.999_999_256_901_627_7),
        ] {
            assert!((erf(x) - y).abs() <= 1e-15, "erf({x}) = {:e}, expected {y:e}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert_eq!(erf(f64::INFINITY), 1.0);
        assert_eq!(erf(f64::NEG_INFINITY), -1.0);
        assert!(erf(f64::NAN).is_nan());
    }

    #[test]
    fn table_agrees_with_the_definition_everywhere() {
        for i in 0..=200_000 {
            let x = f64::from(i) * 3.3e-5;
            let (fast, defined) = (erf(x), erf_defined(x));
            assert!((fast - defined).abs() <= 1e-15, "erf({x}): {fast:e} and {defined:e}");
        }
    }

    #[test]
    fn series_and_fraction_meet() {
        // The same point by both: just below 3 by the series, and by the fraction through the tail.
        let x = 3.0f64;
        let mut tail = x;
        for n in (1..=120).rev() {
            tail = x + 0.5 * f64::from(n) / tail;
        }
        let fraction = 1.0 - 0.5 * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() / tail;
        let series = erf_defined(x - f64::EPSILON * 2.0);
        assert!((fraction - series).abs() <= 1e-15, "{fraction:e} {series:e}");
    }

    #[test]
    fn small_arguments_keep_relative_accuracy() {
        for x in [1e-300f64, 1e-20, 1e-8, 1e-3, 0.02] {
            let want = std::f64::consts::FRAC_2_SQRT_PI * (x - x * x * x / 3.0 + x.powi(5) / 10.0 - x.powi(7) / 42.0);
            assert!(((erf(x) - want) / want).abs() < 1e-14, "erf({x})");
        }
    }
}
