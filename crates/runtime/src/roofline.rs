//! What a device can do at most. Of the host: fused multiply-adds per second and bytes copied per second, measured in about a fifth of a second.

use std::hint::black_box;
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use mnx_artifact::Cost;

use crate::device::host::peak::fma_loop;

/// One reading. Short, so that some readings are undisturbed on a busy machine.
const WINDOW: Duration = Duration::from_millis(2);

/// Readings of each ceiling; the best counts.
const WINDOWS: usize = 40;

/// Floats that all threads together copy from; far beyond the caches.
const COPY_FLOATS: usize = 16 << 20;

/// Floats copied at once.
const PIECE: usize = 1 << 16;

/// The two ceilings of a device; of the host for a number of threads.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Roofline {
    /// Floating-point operations per second of the widest FMA loop (a multiply-add is two).
    pub flops_per_s: f64,
    /// Bytes read plus bytes written per second by copies that no cache holds.
    pub bytes_per_s: f64,
    /// Where the figures come from.
    pub about: String,
}

impl Roofline {
    /// Measures both ceilings of the host with this many threads.
    pub fn measure(threads: usize) -> Self {
        let threads = threads.max(1);
        let flops_per_s = best_rate(threads, |_, _| fma_loop(5_000) as f64);
        let pieces = (COPY_FLOATS / threads / PIECE).max(1);
        let slots: Vec<_> = (0..threads).map(|i| Mutex::new((vec![i as f32; pieces * PIECE], vec![0.5f32; pieces * PIECE]))).collect();
        let bytes_per_s = best_rate(threads, |thread, step| {
            if let Ok(mut slot) = slots[thread].lock() {
                let (src, dst) = &mut *slot;
                let at = step % pieces * PIECE;
                dst[at..at + PIECE].copy_from_slice(black_box(&src[at..at + PIECE]));
                black_box(dst);
            }
            (2 * PIECE * 4) as f64
        });
        Self { flops_per_s, bytes_per_s, about: "measured now".to_owned() }
    }

    /// The least time that a cost can take: the slower of its two ceilings, in seconds.
    pub fn seconds(&self, cost: Cost) -> f64 {
        (cost.flops as f64 / self.flops_per_s).max(cost.bytes as f64 / self.bytes_per_s)
    }
}

/// Calls `step(thread, counter)` on all threads at once, window after window; the best window's sum of amounts per second.
fn best_rate(threads: usize, step: impl Fn(usize, usize) -> f64 + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let one = |thread: usize| -> Vec<f64> {
        let mut counter = 0;
        let window = |_| {
            barrier.wait();
            let start = Instant::now();
            let mut amount = 0.0;
            while start.elapsed() < WINDOW {
                amount += step(thread, counter);
                counter += 1;
            }
            amount / start.elapsed().as_secs_f64()
        };
        (0..WINDOWS).map(window).collect()
    };
    let mut sums = vec![0.0; WINDOWS];
    std::thread::scope(|scope| {
        let one = &one;
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        let mine = one(0);
        for rates in others.into_iter().filter_map(|t| t.join().ok()).chain([mine]) {
            sums.iter_mut().zip(rates).for_each(|(sum, rate)| *sum += rate);
        }
    });
    sums.into_iter().fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_positive_and_the_slower_one_binds() {
        let r = Roofline::measure(2);
        assert!(r.flops_per_s.is_finite() && r.flops_per_s > 1e8, "{r:?}");
        assert!(r.bytes_per_s.is_finite() && r.bytes_per_s > 1e7, "{r:?}");
        let r = Roofline { flops_per_s: 100.0, bytes_per_s: 10.0, about: String::new() };
        assert_eq!(r.seconds(Cost { flops: 200, bytes: 10, gelus: 0 }), 2.0);
        assert_eq!(r.seconds(Cost { flops: 200, bytes: 70, gelus: 0 }), 7.0);
    }
}
