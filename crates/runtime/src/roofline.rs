//! What this machine can do at most: fused multiply-adds per second and bytes copied per second, measured in about a fifth of a second.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use mnx_artifact::Cost;

use crate::device::host::peak::fma_loop;

/// How long each of the two measurements runs.
const SPAN: Duration = Duration::from_millis(80);

/// Bytes that all threads together copy from; far beyond the caches.
const COPY_BYTES: usize = 128 << 20;

/// The two ceilings of the host for a number of threads.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Roofline {
    /// Floating-point operations per second of the widest FMA loop (a multiply-add is two).
    pub flops_per_s: f64,
    /// Bytes read plus bytes written per second by copies that no cache holds.
    pub bytes_per_s: f64,
}

impl Roofline {
    /// Measures both ceilings with this many threads.
    pub fn measure(threads: usize) -> Self {
        let threads = threads.max(1);
        let flops_per_s = rate(threads, |_| fma_loop(20_000) as f64);
        let each = (COPY_BYTES / threads / 4).max(1);
        let mut blocks: Vec<(Vec<f32>, Vec<f32>)> = (0..threads)
            .map(|i| (vec![i as f32; each], vec![0.5; each]))
            .collect();
        let slots: Vec<_> = blocks.iter_mut().map(std::sync::Mutex::new).collect();
        let bytes_per_s = rate(threads, |thread| {
            if let Ok(mut slot) = slots[thread].lock() {
                let (src, dst) = &mut **slot;
                dst.copy_from_slice(black_box(src));
                black_box(dst);
            }
            (2 * each * 4) as f64
        });
        Self {
            flops_per_s,
            bytes_per_s,
        }
    }

    /// The least time that a cost can take: the slower of its two ceilings, in seconds.
    pub fn seconds(&self, cost: Cost) -> f64 {
        (cost.flops as f64 / self.flops_per_s).max(cost.bytes as f64 / self.bytes_per_s)
    }
}

/// Calls `step` on every thread until the span is over; the sum over threads of amounts per second.
fn rate(threads: usize, step: impl Fn(usize) -> f64 + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let one = |thread: usize| {
        step(thread);
        barrier.wait();
        let start = Instant::now();
        let mut amount = 0.0;
        while start.elapsed() < SPAN {
            amount += step(thread);
        }
        amount / start.elapsed().as_secs_f64()
    };
    std::thread::scope(|scope| {
        let one = &one;
        let others: Vec<_> = (1..threads)
            .map(|thread| scope.spawn(move || one(thread)))
            .collect();
        let mine = one(0);
        mine + others
            .into_iter()
            .filter_map(|t| t.join().ok())
            .sum::<f64>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_positive_and_the_slower_one_binds() {
        let r = Roofline::measure(2);
        assert!(r.flops_per_s.is_finite() && r.flops_per_s > 1e8, "{r:?}");
        assert!(r.bytes_per_s.is_finite() && r.bytes_per_s > 1e7, "{r:?}");
        let r = Roofline {
            flops_per_s: 100.0,
            bytes_per_s: 10.0,
        };
        assert_eq!(
            r.seconds(Cost {
                flops: 200,
                bytes: 10
            }),
            2.0
        );
        assert_eq!(
            r.seconds(Cost {
                flops: 200,
                bytes: 70
            }),
            7.0
        );
    }
}
