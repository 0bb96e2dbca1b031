//! What a launch did, in numbers that do not depend on threads or timing.

use std::collections::BTreeMap;

use crate::program::Program;
use crate::syntax::Space;

/// Bytes per state space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Device memory.
    pub global: u64,
    /// Shared memory.
    pub shared: u64,
    /// Thread-local memory.
    pub local: u64,
    /// Constant bank.
    pub constant: u64,
    /// Kernel parameters.
    pub param: u64,
}

impl Bytes {
    pub(crate) fn add(&mut self, space: Space, bytes: u64) {
        match space {
            Space::Global | Space::Generic => self.global += bytes,
            Space::Shared => self.shared += bytes,
            Space::Local => self.local += bytes,
            Space::Const => self.constant += bytes,
            Space::Param => self.param += bytes,
        }
    }

    fn merge(&mut self, o: &Self) {
        self.global += o.global;
        self.shared += o.shared;
        self.local += o.local;
        self.constant += o.constant;
        self.param += o.param;
    }
}

/// Totals of one launch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Warp instructions issued, by mnemonic as written.
    pub instructions: BTreeMap<String, u64>,
    /// Warp instructions issued, by PTX line.
    pub lines: BTreeMap<u32, u64>,
    /// Warp instructions issued.
    pub warp_instructions: u64,
    /// Lanes that took part in them (predicated-off lanes do not).
    pub lane_instructions: u64,
    /// Shared-memory requests: one per warp instruction, and one per 8x8 matrix of `ldmatrix`.
    pub shared_requests: u64,
    /// Passes through the banks that they took.
    pub shared_wavefronts: u64,
    /// Passes beyond the least possible.
    pub bank_conflicts: u64,
    /// Global-memory requests: one per warp instruction.
    pub global_requests: u64,
    /// 32-byte sectors that they touched.
    pub global_sectors: u64,
    /// Bytes read by lanes.
    pub read: Bytes,
    /// Bytes written by lanes.
    pub written: Bytes,
    /// `mma` warp instructions.
    pub mma: u64,
    /// Floating-point operations, tensor cores included; a fused multiply-add counts two.
    pub flops: u64,
    /// Barriers that a CTA passed.
    pub barriers: u64,
}

/// Counters while running: per instruction, without names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub issued: Vec<u64>,
    pub lanes: Vec<u64>,
    pub rest: Counters,
}

impl Tally {
    pub(crate) fn new(instructions: usize) -> Self {
        Self { issued: vec![0; instructions], lanes: vec![0; instructions], rest: Counters::default() }
    }

    pub(crate) fn merge(&mut self, o: &Self) {
        for (a, b) in self.issued.iter_mut().zip(&o.issued) {
            *a += b;
        }
        for (a, b) in self.lanes.iter_mut().zip(&o.lanes) {
            *a += b;
        }
        let (a, b) = (&mut self.rest, &o.rest);
        a.shared_requests += b.shared_requests;
        a.shared_wavefronts += b.shared_wavefronts;
        a.bank_conflicts += b.bank_conflicts;
        a.global_requests += b.global_requests;
        a.global_sectors += b.global_sectors;
        a.read.merge(&b.read);
        a.written.merge(&b.written);
        a.mma += b.mma;
        a.flops += b.flops;
        a.barriers += b.barriers;
    }

    pub(crate) fn finish(self, p: &Program) -> Counters {
        let mut c = self.rest;
        for (pc, (&n, &lanes)) in self.issued.iter().zip(&self.lanes).enumerate() {
            let name = &p.mnemonics[usize::from(p.mnemonic[pc])];
            // Marks of the decoder are no instructions.
            if n == 0 || name.starts_with('(') {
                continue;
            }
            *c.instructions.entry(name.clone()).or_default() += n;
            *c.lines.entry(p.code[pc].line).or_default() += n;
            c.warp_instructions += n;
            c.lane_instructions += lanes;
            c.flops += lanes * u64::from(p.flops[pc]);
        }
        c
    }
}

fn offsets_ascend(a: &[u64; 32], bytes: u64) -> bool {
    a.windows(2).all(|p| p[1].wrapping_sub(p[0]) == bytes)
}

/// 32-byte sectors that lanes touch, `bytes` each from its address.
pub(crate) fn sectors(addresses: &[u64; 32], mask: u32, bytes: u64) -> u64 {
    // Lanes in ascending order, without holes: the span counts.
    if mask == u32::MAX && offsets_ascend(addresses, bytes) {
        return (addresses[31] + bytes - 1) / 32 - addresses[0] / 32 + 1;
    }
    // All lanes in one sector.
    let first = addresses[mask.trailing_zeros() as usize & 31] / 32;
    if addresses.iter().enumerate().all(|(i, a)| mask >> i & 1 == 0 || (a / 32 == first && (a + bytes - 1) / 32 == first)) {
        return 1;
    }
    let mut seen = [0u64; 64];
    let mut n = 0;
    for (lane, &address) in addresses.iter().enumerate() {
        if mask >> lane & 1 == 1 {
            for s in [address / 32, (address + bytes - 1) / 32] {
                // Neighbours share a sector with the lane before, mostly.
                if n == 0 || (seen[n - 1] != s && !seen[..n].contains(&s)) {
                    seen[n] = s;
                    n += 1;
                }
            }
        }
    }
    n as u64
}

/// Passes through 32 banks of 4 bytes for lanes reading `bytes` each, and the least number for that many bytes. Lanes are served 32, 16 or 8
/// at a time for 4, 8 or 16 bytes; lanes on the same word share it.
pub(crate) fn wavefronts(offsets: &[u64; 32], mask: u32, bytes: u64) -> (u64, u64) {
    let group = match bytes {
        0..=4 => 32,
        5..=8 => 16,
        9..=16 => 8,
        _ => 4,
    };
    // The two commonest patterns: every lane right after the one before, and all lanes at one place.
    if mask == u32::MAX && bytes >= 4 {
        let step = offsets[1].wrapping_sub(offsets[0]);
        if (step == bytes || step == 0) && offsets.windows(2).all(|p| p[1].wrapping_sub(p[0]) == step) {
            let groups = (32 / group) as u64;
            return (groups, groups);
        }
    }
    let words = bytes.div_ceil(4);
    let (mut total, mut least) = (0, 0);
    for first in (0..32).step_by(group) {
        // Distinct words of this group, by bank: almost always at most one or two per bank.
        let mut seen = [[0u32; 8]; 32];
        let mut count = [0usize; 32];
        let mut any = false;
        for (lane, &offset) in offsets.iter().enumerate().skip(first).take(group) {
            if mask >> lane & 1 == 0 {
                continue;
            }
            any = true;
            for w in offset / 4..offset / 4 + words {
                let bank = (w % 32) as usize;
                let (known, w) = (count[bank].min(8), w as u32);
                if !seen[bank][..known].contains(&w) {
                    if known < 8 {
                        seen[bank][known] = w;
                    }
                    count[bank] += 1;
                }
            }
        }
        if any {
            total += count.iter().copied().max().unwrap_or(1).max(1) as u64;
            least += 1;
        }
    }
    (total, least)
}
