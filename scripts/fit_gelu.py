#!/usr/bin/env python3
"""Fits the polynomials of crates/codegen/src/math.rs and measures their errors in float32 arithmetic.

Needs numpy and mpmath. Prints the Rust constants and, for each, the largest error found.

gelu(x) = max(x, 0) - a * Q(a) with a = |x| and Q(a) = erfc(a / sqrt 2) / 2. Q is close to a Gaussian, and the K-th root of a
Gaussian is a K times wider Gaussian, which a low-degree polynomial follows much better than Q itself; so p ~ Q^(1/K) is
fitted on [0, c] and raised to the power K by squarings. `a` is clamped to c, where a * p(a)^K is below the error bound.
"""
import argparse
import math

import mpmath
import numpy as np


def lawson(basis, target, weight, error, rounds):
    """Minimax fit by Lawson's iteration: least squares, reweighted by the error that the caller measures."""
    lam = np.ones(len(target)) / len(target)
    best = (math.inf, None)
    for _ in range(rounds):
        root = weight * np.sqrt(lam)
        coef, *_ = np.linalg.lstsq(basis * root[:, None], target * root, rcond=None)
        e = error(basis @ coef)
        if e.max() < best[0]:
            best = (e.max(), coef)
        lam = lam * (e / e.max() + 1e-6)
        lam /= lam.sum()
    return best


def horner32(coef, x):
    """The polynomial in float32 with fused multiply-adds, as the kernels evaluate it."""
    p = np.full_like(x, np.float32(coef[-1]))
    for c in coef[-2::-1]:
        p = (p.astype(np.float64) * x + np.float64(np.float32(c))).astype(np.float32)
    return p


def monomial(cheb, scale, shift):
    """Coefficients in a of a Chebyshev series in t = scale * a + shift."""
    t = np.polynomial.Polynomial([shift, scale])
    return np.polynomial.Polynomial(np.polynomial.chebyshev.cheb2poly(cheb))(t).coef


def fit_gelu(power, degree, clamp):
    n = 4000
    t = np.cos(np.pi * (np.arange(n) + 0.5) / n)
    a = (t + 1) * clamp / 2
    q = np.array([float(mpmath.erfc(mpmath.mpf(v) / mpmath.sqrt(2)) / 2) for v in a])
    basis = np.polynomial.chebyshev.chebvander(t, degree)
    exact, cheb = lawson(
        basis, q ** (1 / power), a * power * q ** ((power - 1) / power),
        lambda p: np.abs(a * (np.abs(p) ** power - q)), 400)
    coef = monomial(cheb, 2 / clamp, -1)
    x = np.linspace(-clamp - 2, clamp + 2, 4_000_001).astype(np.float32)
    x64 = x.astype(np.float64)
    erfc = np.vectorize(math.erfc)
    truth = np.where(x64 > 0, x64, 0) - np.abs(x64) * 0.5 * erfc(np.abs(x64) / math.sqrt(2))
    b = np.minimum(np.abs(x), np.float32(clamp))
    p = horner32(coef, b)
    k = power
    while k > 1:
        p = p * p
        k //= 2
    got = (np.maximum(x, 0).astype(np.float64) - p.astype(np.float64) * b).astype(np.float32)
    # the spacing of float32 itself is part of the error where |x| is large
    err = np.abs(got - truth)
    e = err.max()
    small = err[np.abs(x) < 2].max()
    print(f"// gelu: power {power}, degree {degree}, clamp {clamp}: exact arithmetic {exact:.2e}, float32 {e:.2e} "
          f"(|x| < 2: {small:.2e}), at the clamp {float(p[0] * b[0]):.1e}")
    return coef


def fit_exp(degree):
    n = 4000
    t = np.cos(np.pi * (np.arange(n) + 0.5) / n)
    h = math.log(2) / 2 * 1.0001
    r = t * h
    truth = np.exp(r)
    basis = np.polynomial.chebyshev.chebvander(t, degree)
    exact, cheb = lawson(basis, truth, 1 / truth, lambda p: np.abs(p / truth - 1), 200)
    coef = monomial(cheb, 1 / h, 0)
    x = np.linspace(-80, 0, 2_000_001).astype(np.float32)
    k = np.rint(x * np.float32(1 / math.log(2))).astype(np.float32)
    hi, lo = split_ln2()
    red = (x.astype(np.float64) - k.astype(np.float64) * hi).astype(np.float32)
    red = (red.astype(np.float64) - k.astype(np.float64) * lo).astype(np.float32)
    got = horner32(coef, red).astype(np.float64) * np.exp2(k.astype(np.float64))
    truth = np.exp(x.astype(np.float64))
    print(f"// exp: degree {degree}: exact arithmetic {exact:.2e}, float32 relative {np.abs(got / truth - 1).max():.2e}")
    return coef


def split_ln2():
    """ln 2 as a short float32 (products with |k| < 256 are exact) and the rest."""
    hi = np.float32(round(math.log(2) * 2**15) / 2**15)
    return float(hi), float(np.float32(math.log(2) - float(hi)))


def rust(name, coef):
    print(f"const {name}: [f32; {len(coef)}] = [")
    for c in coef:
        print(f"    {float(np.float32(c))!r},")
    print("];")


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--power", type=int, default=4)
    ap.add_argument("--degree", type=int, default=8)
    ap.add_argument("--clamp", type=float, default=5.6)
    a = ap.parse_args()
    rust("GELU", fit_gelu(a.power, a.degree, a.clamp))
    rust("EXP", fit_exp(6))
    print("// ln 2 =", *split_ln2())


main()
