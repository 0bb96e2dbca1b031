//! A loop of independent fused multiply-adds: what the CPU can do at most.

use std::hint::black_box;

/// Chains in flight: latency 4 times two ports, doubled for older cores.
const CHAINS: usize = 16;

/// Runs about `rounds` steps of the widest FMA loop that the CPU has; returns the floating-point operations done.
pub(crate) fn fma_loop(rounds: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has the feature.
            unsafe { avx512(rounds) };
            return rounds * (CHAINS * 16 * 2) as u64;
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            // SAFETY: the CPU has the features.
            unsafe { avx2(rounds) };
            return rounds * (12 * 8 * 2) as u64;
        }
    }
    plain(rounds);
    rounds * (CHAINS * 4 * 2) as u64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(rounds: u64) {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-3)));
    let mut chains = [_mm512_set1_ps(black_box(1.0)); CHAINS];
    for _ in 0..rounds {
        for c in &mut chains {
            *c = _mm512_fmadd_ps(*c, a, b);
        }
    }
    black_box(chains);
}

/// Twelve chains: sixteen registers hold no more beside the two operands.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(rounds: u64) {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(1e-3)));
    let mut chains = [_mm256_set1_ps(black_box(1.0)); 12];
    for _ in 0..rounds {
        for c in &mut chains {
            *c = _mm256_fmadd_ps(*c, a, b);
        }
    }
    black_box(chains);
}

fn plain(rounds: u64) {
    let (a, b) = (black_box(0.999f32), black_box(1e-3f32));
    let mut chains = [[black_box(1.0f32); 4]; CHAINS];
    for _ in 0..rounds {
        for c in chains.iter_mut().flatten() {
            *c = *c * a + b;
        }
    }
    black_box(chains);
}
