//! `cp.async`: nothing lands before its thread waits for it, so that a missing wait shows as stale data, not only as a report.

use super::access::{Request, Site, aligned, fault, shared_lanes, touch_copy};
use super::address::{addresses, lanes};
use crate::check::FindingKind;
use crate::check::global::By;
use crate::check::shared::Who;
use crate::counters::sectors;
use crate::cta::Cta;
use crate::program::{Inst, Op};
use crate::syntax::Space;
use crate::warp::{Copy, Warp};

pub(super) fn issue(cta: &mut Cta<'_>, warp: &mut Warp, inst: &Inst, mask: u32) {
    let Op::CpAsync { shared, shared_offset, global, global_offset, bytes, source_bytes, ignore } = &inst.op else { return };
    let site = Site::of(warp, inst);
    let mut to = addresses(warp, *shared, *shared_offset);
    // A 64-bit register may hold a shared address too; only its low half counts.
    to.iter_mut().for_each(|a| *a &= 0xffff_ffff);
    let from = addresses(warp, *global, *global_offset);
    let size = u64::from(*bytes);
    let target = Request { site, space: Space::Shared, at: &to, mask, bytes: size };
    let good = shared_lanes(cta, target);
    let source = Request { site, space: Space::Global, at: &from, mask: good, bytes: size };
    let good = aligned(cta, source);
    let mut reading = 0u32;
    let memory = cta.launch.memory;
    for lane in lanes(good) {
        let mut take = size;
        if let Some(n) = source_bytes {
            let n = u64::from(warp.w[*n as usize][lane]);
            if n > size {
                cta.find(FindingKind::BadOperand, site.lane(lane), || format!("source size {n} exceeds the copy's {size} bytes"));
            }
            take = n.min(size);
        }
        if let Some((p, negated)) = ignore
            && (warp.p[*p as usize] >> lane & 1 == 1) != *negated
        {
            take = 0;
        }
        if take > 0 {
            match memory.find(from[lane], take, false) {
                Err(f) => {
                    fault(cta, Request { bytes: take, ..source }.piece(lane), f);
                    take = 0;
                }
                Ok((_, allocation, at)) => {
                    reading |= 1 << lane;
                    if let Some(races) = cta.launch.races {
                        for k in (0..take).step_by(4) {
                            let width = if take - k >= 4 { 4 } else { 1 };
                            if races.touch(allocation, at + k, width, By { cta: cta.linear, write: false }).is_some_and(|o| o.wrote) {
                                cta.find(FindingKind::GlobalRace, site.lane(lane), || {
                                    format!("another CTA writes byte {:#x} in this launch", from[lane] + k)
                                });
                            }
                        }
                    }
                }
            }
        }
        touch_copy(cta, target.piece(lane));
        warp.copies.push(Copy {
            lane: lane as u8,
            group: warp.committed[lane],
            shared: to[lane] as u32,
            global: from[lane],
            bytes: *bytes,
            source_bytes: take as u8,
        });
    }
    let c = &mut cta.tally.rest;
    c.written.add(Space::Shared, size * u64::from(good.count_ones()));
    if reading != 0 {
        c.read.add(Space::Global, size * u64::from(reading.count_ones()));
        c.global_requests += 1;
        c.global_sectors += sectors(&from, reading, size);
    }
}

pub(super) fn commit(warp: &mut Warp, mask: u32) {
    for lane in lanes(mask) {
        warp.committed[lane] += 1;
    }
}

/// Lands the copies of all but the latest `pending` groups of each lane; of everything if `None`.
pub(super) fn wait(cta: &mut Cta<'_>, warp: &mut Warp, mask: u32, pending: Option<u32>) {
    let copies = std::mem::take(&mut warp.copies);
    let (done, rest) = copies.into_iter().partition(|c: &Copy| {
        let limit = pending.map_or(u32::MAX, |n| warp.committed[usize::from(c.lane)].saturating_sub(n));
        mask >> c.lane & 1 == 1 && c.group < limit
    });
    warp.copies = rest;
    land(cta, warp.index, &done);
}

/// Writes the data of copies and ends their watch.
pub(crate) fn land(cta: &mut Cta<'_>, warp: usize, copies: &[Copy]) {
    let memory = cta.launch.memory;
    for c in copies {
        let (at, size, take) = (c.shared as usize, usize::from(c.bytes), u64::from(c.source_bytes));
        let mut written = true;
        let mut data = [0; 16];
        if take > 0
            && let Ok((allocation, _, offset)) = memory.find(c.global, take, false)
        {
            // The source is aligned to the whole copy; bytes of its last word beyond what is taken are cut off again.
            written = (0..take).all(|k| allocation.is_written(offset + k, 1));
            for (k, word) in data[..(take as usize).next_multiple_of(4)].chunks_exact_mut(4).enumerate() {
                word.copy_from_slice(&(allocation.load(offset + 4 * k as u64, 4) as u32).to_le_bytes());
            }
            data[take as usize..].fill(0);
        }
        cta.shared[at..at + size].copy_from_slice(&data[..size]);
        if cta.watch_shared {
            cta.watch.end_copy(at, size, Who { warp, lane: usize::from(c.lane) }, written);
        }
    }
}
