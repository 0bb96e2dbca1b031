//! Merging kernels.

use crate::harness::{Data, Random, close, on_every_target};
use mnx_plan::host::{MergeGrn, MergeStats};
use mnx_plan::vocabulary::Bits;
use mnx_plan::work::{GrnRatio, Moments};

#[test]
fn statistics_merge() {
    let mut random = Random::new(1);
    for round in 0..6 {
        let (batch, channels, parts) = (random.between(1, 3), random.between(1, 70), random.between(1, 9));
        let (count, eps) = (random.between(1, 4000), 1e-5);
        let mut partials = Vec::new();
        for _ in 0..batch * parts {
            let sums: Vec<f64> = (0..channels).map(|_| random.float() * 50.0).collect();
            partials.extend(&sums);
            partials.extend(sums.iter().map(|s| s * s + random.float().abs() * 100.0));
        }
        let mut want = vec![0.0; batch * 2 * channels];
        for n in 0..batch {
            for c in 0..channels {
                let at = |p: usize, j: usize| partials[((n * parts + p) * 2 + j) * channels + c];
                let s: f64 = (0..parts).map(|p| at(p, 0)).sum();
                let q: f64 = (0..parts).map(|p| at(p, 1)).sum();
                let mean = s / count as f64;
                let variance = (q / count as f64 - mean * mean).max(0.0);
                want[n * 2 * channels + c] = mean;
                want[(n * 2 + 1) * channels + c] = 1.0 / (variance + eps).sqrt();
            }
        }
        let kernel = MergeStats { moments: Moments { batch, channels, count, eps: Bits::of(eps) }, parts }.into();
        on_every_target(&kernel, &[Data::F64(partials)], round, |target, out| {
            close(target.name, out[0].f32(), &want, 1e-9, 2e-7);
        });
    }
}

#[test]
fn grn_merges() {
    let mut random = Random::new(2);
    for round in 0..6 {
        let (batch, channels, parts) = (random.between(1, 3), random.between(1, 150), random.between(1, 9));
        let (eps, mean) = (1e-6, random.flip());
        let partials: Vec<f64> = (0..batch * parts * channels).map(|_| random.float().abs() * 100.0).collect();
        let mut want = Vec::new();
        for n in 0..batch {
            let norms: Vec<f64> =
                (0..channels).map(|c| (0..parts).map(|p| partials[(n * parts + p) * channels + c]).sum::<f64>().sqrt()).collect();
            let sum: f64 = norms.iter().sum();
            let share = if mean { sum / channels as f64 } else { sum };
            want.extend(norms.iter().map(|g| g / (share + eps)));
        }
        let kernel = MergeGrn { ratio: GrnRatio { batch, channels, eps: Bits::of(eps), mean }, parts }.into();
        on_every_target(&kernel, &[Data::F64(partials)], round, |target, out| {
            close(target.name, out[0].f32(), &want, 1e-9, 2e-7);
        });
    }
}
