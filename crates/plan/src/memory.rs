//! The memory plan: every buffer of a run gets a place in one arena; buffers that never live at once may share bytes.

use mnx_artifact::ALIGNMENT;

/// A buffer and the launches it lives over, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Size in bytes.
    pub bytes: u64,
    /// First launch that touches it.
    pub first: usize,
    /// Last launch that touches it.
    pub last: usize,
}

impl Interval {
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Places in the arena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// First byte of each buffer, in the order given; multiples of [`ALIGNMENT`].
    pub offsets: Vec<u64>,
    /// Size of the arena.
    pub bytes: u64,
    /// Most bytes alive at once: a lower bound of `bytes`.
    pub live: u64,
}

/// Greedy by size: large buffers first, each at the lowest offset where no buffer that lives at the same time stands.
pub fn place(buffers: &[Interval]) -> Placed {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), buffers[i].first, i));
    let mut offsets = vec![0; buffers.len()];
    let mut done: Vec<usize> = Vec::new();
    let mut bytes = 0;
    for i in order {
        let size = round(buffers[i].bytes);
        let mut taken: Vec<(u64, u64)> =
            done.iter().filter(|&&j| buffers[j].meets(&buffers[i])).map(|&j| (offsets[j], offsets[j] + round(buffers[j].bytes))).collect();
        taken.sort_unstable();
        let mut at = 0;
        for (from, to) in taken {
            if at + size <= from {
                break;
            }
            at = at.max(to);
        }
        offsets[i] = at;
        bytes = bytes.max(at + size);
        done.push(i);
    }
    let last = buffers.iter().map(|b| b.last).max().unwrap_or(0);
    let live =
        (0..=last).map(|t| buffers.iter().filter(|b| b.first <= t && t <= b.last).map(|b| round(b.bytes)).sum::<u64>()).max().unwrap_or(0);
    Placed { offsets, bytes, live }
}

fn round(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_live_together_never_overlap() {
        // A fixed linear congruential sequence: many random sets of intervals.
        let mut state = 7u64;
        let mut draw = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for _ in 0..300 {
            let buffers: Vec<Interval> = (0..draw(40))
                .map(|_| {
                    let first = draw(30) as usize;
                    Interval { bytes: draw(5000), first, last: first + draw(6) as usize }
                })
                .collect();
            let p = place(&buffers);
            assert!(p.live <= p.bytes);
            for (i, a) in buffers.iter().enumerate() {
                assert_eq!(p.offsets[i] % ALIGNMENT, 0);
                assert!(p.offsets[i] + a.bytes <= p.bytes);
                for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                    let apart = p.offsets[i] + a.bytes <= p.offsets[j] || p.offsets[j] + b.bytes <= p.offsets[i];
                    assert!(apart || !a.meets(b), "{a:?} and {b:?} share bytes");
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Interval> = (0..10).map(|i| Interval { bytes: 6400, first: i, last: i + 1 }).collect();
        assert_eq!(place(&chain).bytes, 2 * 6400);
    }
}
