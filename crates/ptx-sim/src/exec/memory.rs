//! Loads, stores and address conversions, with every check of a single access.

use crate::check::FindingKind;
use crate::check::shared::{Problem, Touch};
use crate::counters::{sectors, wavefronts};
use crate::cta::Cta;
use crate::memory::Fault;
use crate::program::{Access, Inst, Op, Reg};
use crate::syntax::Space;
use crate::warp::Warp;

/// Generic addresses: each space but global has a window of 2^32 bytes.
const WINDOW: u64 = 1 << 32;
const SHARED: u64 = 0x7f00_0000_0000;
const LOCAL: u64 = 0x7e00_0000_0000;
const PARAM: u64 = 0x7d00_0000_0000;
const CONST: u64 = 0x7c00_0000_0000;

/// Where an access comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    pub warp: usize,
    pub line: u32,
}

fn window(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED,
        Space::Local => LOCAL,
        Space::Param => PARAM,
        Space::Const => CONST,
        Space::Global | Space::Generic => 0,
    }
}

fn space_at(address: u64) -> Space {
    let inside = |w: u64| address.wrapping_sub(w) < WINDOW;
    [Space::Shared, Space::Local, Space::Param, Space::Const].into_iter().find(|&s| inside(window(s))).unwrap_or(Space::Global)
}

/// `cvta` and `isspacep`.
pub(super) fn convert(warp: &mut Warp, op: &Op, mask: u32) {
    for lane in lanes(mask) {
        match *op {
            Op::Cvta { to, space, d, s } => {
                let (v, w) = (warp.get(s, lane), window(space));
                warp.set(d, lane, if to { v.wrapping_sub(w) } else { v.wrapping_add(w) });
            }
            Op::IsSpace(space, d, s) => {
                let v = warp.get(Reg::D(s), lane);
                warp.set(Reg::P(d), lane, u64::from(space_at(v) == space));
            }
            _ => {}
        }
    }
}

pub(super) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        let lane = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        (lane < 32).then_some(lane as usize)
    })
}

pub(super) fn addresses(warp: &Warp, base: Reg, offset: i64) -> [u64; 32] {
    match base {
        Reg::D(b) => {
            let row = &warp.d[b as usize];
            std::array::from_fn(|i| row[i].wrapping_add_signed(offset))
        }
        // 32-bit addresses wrap within their space.
        Reg::W(b) => {
            let row = &warp.w[b as usize];
            std::array::from_fn(|i| u64::from(row[i].wrapping_add(offset as u32)))
        }
        Reg::P(_) => [0; 32],
    }
}

/// Calls `f` once per state space that the lanes' addresses lie in, with addresses inside that space.
pub(super) fn by_space(space: Space, addresses: [u64; 32], mask: u32, mut f: impl FnMut(Space, &[u64; 32], u32)) {
    if space != Space::Generic {
        return f(space, &addresses, mask);
    }
    let mut left = mask;
    while left != 0 {
        let space = space_at(addresses[left.trailing_zeros() as usize]);
        let same = lanes(left).filter(|&l| space_at(addresses[l]) == space).fold(0u32, |m, l| m | 1 << l);
        let inside = addresses.map(|a| a.wrapping_sub(window(space)));
        f(space, &inside, same);
        left &= !same;
    }
}

/// The bits that any active lane's address has.
fn union(a: &[u64; 32], mask: u32) -> u64 {
    if mask == u32::MAX {
        return a.iter().fold(0, |all, a| all | a);
    }
    a.iter().enumerate().fold(0, |all, (i, a)| all | if mask >> i & 1 == 1 { *a } else { 0 })
}

/// Drops lanes whose address is no multiple of `bytes`.
pub(super) fn aligned(cta: &mut Cta<'_>, site: Site, a: &[u64; 32], mask: u32, bytes: u64) -> u32 {
    // Nearly always all lanes are good: one look at all of them together.
    if union(a, mask) & (bytes - 1) == 0 {
        return mask;
    }
    let mut good = mask;
    for lane in lanes(mask) {
        if a[lane] & (bytes - 1) != 0 {
            good &= !(1 << lane);
            if cta.checks.alignment {
                cta.find(FindingKind::Misaligned, site.line, site.warp, lane, || {
                    format!("address {:#x} is no multiple of {bytes}", a[lane])
                });
            }
        }
    }
    good
}

/// Drops lanes that leave a space of `size` bytes.
fn bounded(cta: &mut Cta<'_>, site: Site, a: &[u64; 32], mask: u32, bytes: u64, size: u64, space: Space) -> u32 {
    // No address exceeds the union of their bits.
    if union(a, mask).saturating_add(bytes) <= size {
        return mask;
    }
    let mut good = mask;
    for lane in lanes(mask) {
        if a[lane].saturating_add(bytes) > size {
            good &= !(1 << lane);
            if cta.checks.bounds {
                cta.find(FindingKind::OutOfBounds, site.line, site.warp, lane, || {
                    format!("{bytes} bytes at {:#x} of {space} memory, which has {size}", a[lane])
                });
            }
        }
    }
    good
}

pub(super) fn fault(cta: &mut Cta<'_>, site: Site, lane: usize, address: u64, bytes: u64, fault: Fault) {
    let kind = match fault {
        Fault::OutOfBounds => FindingKind::OutOfBounds,
        Fault::ReadOnly => FindingKind::ReadOnly,
        Fault::Freed => FindingKind::UseAfterFree,
    };
    if cta.checks.bounds {
        let memory = cta.memory;
        cta.find(kind, site.line, site.warp, lane, || format!("{bytes} bytes at {address:#x}, {}", memory.near(address)));
    }
}

fn problem(cta: &mut Cta<'_>, site: Site, lane: usize, at: u64, p: Problem) {
    match p {
        Problem::Uninitialised if cta.checks.uninitialised => {
            cta.find(FindingKind::UninitialisedMemory, site.line, site.warp, lane, || {
                format!("shared byte {at:#x} is read before anybody writes it")
            });
        }
        Problem::Pending if cta.checks.async_copies => {
            cta.find(FindingKind::MissingAsyncWait, site.line, site.warp, lane, || {
                format!("a cp.async to shared byte {at:#x} has not been waited for")
            });
        }
        Problem::Race { warp: w, lane: l, wrote } if cta.checks.shared_races => {
            let first = 32 * u32::from(w);
            let who = match l {
                Some(l) => format!("thread {}", mnx_words::list(&cta.place.thread(first + u32::from(l)))),
                None => format!("a thread of the warp that starts at thread {}", mnx_words::list(&cta.place.thread(first))),
            };
            let what = if wrote { "wrote" } else { "read" };
            cta.find(FindingKind::SharedRace, site.line, site.warp, lane, || {
                format!("{who} {what} shared byte {at:#x} and no barrier lies between")
            });
        }
        _ => {}
    }
}

/// Tells the shared-memory watch of an access and reports what is wrong.
pub(super) fn touch_shared(cta: &mut Cta<'_>, site: Site, lane: usize, at: u64, width: u64, kind: Touch) {
    if cta.watch_shared
        && let Some(p) = cta.watch.touch(at as usize, width as usize, site.warp, lane, kind)
    {
        problem(cta, site, lane, at, p);
    }
}

/// The same for loads of one element by each lane, at its address plus `step`.
pub(super) fn read_shared(cta: &mut Cta<'_>, site: Site, a: &[u64; 32], mask: u32, step: u64, width: u64) {
    if cta.watch_shared {
        for (lane, at, p) in cta.watch.read_lanes(a, mask, step, width as usize, site.warp) {
            problem(cta, site, lane, at, p);
        }
    }
}

/// The same for the begin of an asynchronous copy.
pub(super) fn touch_copy(cta: &mut Cta<'_>, site: Site, lane: usize, at: u64, bytes: u64) {
    if cta.watch_shared
        && let Some(p) = cta.watch.begin_copy(at as usize, bytes as usize, site.warp, lane)
    {
        problem(cta, site, lane, at, p);
    }
}

/// Lanes inside shared memory, aligned, counted.
pub(super) fn shared_lanes(cta: &mut Cta<'_>, site: Site, a: &[u64; 32], mask: u32, bytes: u64) -> u32 {
    let mask = aligned(cta, site, a, mask, bytes);
    let size = cta.shared.len() as u64;
    let mask = bounded(cta, site, a, mask, bytes, size, Space::Shared);
    if mask != 0 {
        let (total, least) = wavefronts(a, mask, bytes);
        let c = &mut cta.tally.rest;
        c.shared_requests += 1;
        c.shared_wavefronts += total;
        c.bank_conflicts += total - least;
    }
    mask
}

fn touch_global(cta: &mut Cta<'_>, site: Site, lane: usize, (address, allocation, at): (u64, usize, u64), width: u64, write: bool) {
    let Some(races) = cta.races else { return };
    if let Some(other) = races.touch(allocation, at, width, cta.linear, write) {
        let [x, y, _] = cta.place.grid.map(u64::from);
        let who = match other.cta {
            Some(c) => format!("CTA {}", mnx_words::list(&[c % x, c / x % y, c / (x * y)])),
            None => "another CTA".into(),
        };
        let what = if other.wrote { "writes" } else { "reads" };
        cta.find(FindingKind::GlobalRace, site.line, site.warp, lane, || format!("{who} also {what} byte {address:#x} in this launch"));
    }
}

fn from_bytes(bytes: &[u8], at: usize, width: usize) -> u64 {
    bytes[at..at + width].iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))
}

#[allow(clippy::too_many_arguments)]
fn load_shared(
    cta: &mut Cta<'_>,
    warp: &mut Warp,
    site: Site,
    a: &[u64; 32],
    good: u32,
    width: u64,
    extend: &impl Fn(u64) -> u64,
    d: &[Option<Reg>],
) {
    for (k, d) in d.iter().enumerate() {
        let step = k as u64 * width;
        read_shared(cta, site, a, good, step, width);
        match d {
            None => {}
            Some(Reg::W(d)) if width == 4 => {
                let row = &mut warp.w[*d as usize];
                for lane in lanes(good) {
                    let at = (a[lane] + step) as usize;
                    if let Some(bytes) = cta.shared[at..].first_chunk() {
                        row[lane] = u32::from_le_bytes(*bytes);
                    }
                }
            }
            Some(d) => {
                for lane in lanes(good) {
                    let v = from_bytes(&cta.shared, (a[lane] + step) as usize, width as usize);
                    warp.set(*d, lane, extend(v));
                }
            }
        }
    }
}

/// Loads of 32-bit elements that all lie in one allocation, the usual case; false if they do not, and nothing has been done.
fn load_global(cta: &mut Cta<'_>, warp: &mut Warp, site: Site, a: &[u64; 32], good: u32, access: &Access, d: &[Option<Reg>]) -> bool {
    let bytes = 4 * d.len() as u64;
    if access.width != 4 || d.iter().any(|d| !matches!(d, Some(Reg::W(_)))) {
        return false;
    }
    let (mut low, mut high) = (u64::MAX, 0);
    for lane in lanes(good) {
        low = low.min(a[lane]);
        high = high.max(a[lane]);
    }
    let memory = cta.memory;
    let span = high.wrapping_sub(low).saturating_add(bytes);
    let Ok((allocation, index, first)) = memory.find(low, span, false) else { return false };
    let mut before = u64::MAX;
    for lane in lanes(good) {
        let offset = a[lane] - low + first;
        // Lanes on one address are looked at once.
        if offset == before {
            continue;
        }
        before = offset;
        if cta.checks.uninitialised && !allocation.is_written(offset, bytes) {
            cta.find(FindingKind::UninitialisedMemory, site.line, site.warp, lane, || {
                format!("{bytes} bytes at global {:#x} are read before all of them are written", a[lane])
            });
        }
        if cta.races.is_some() && !access.strong {
            for k in 0..d.len() as u64 {
                touch_global(cta, site, lane, (a[lane], index, offset + 4 * k), 4, false);
            }
        }
    }
    for (k, d) in d.iter().enumerate() {
        let Some(Reg::W(d)) = d else { continue };
        let row = &mut warp.w[*d as usize];
        let step = first + 4 * k as u64;
        if low == high {
            let v = allocation.load(step, 4) as u32;
            super::alu::put(row, good, |_| v);
        } else {
            for lane in lanes(good) {
                row[lane] = allocation.load(a[lane] - low + step, 4) as u32;
            }
        }
    }
    true
}

pub(super) fn load(cta: &mut Cta<'_>, warp: &mut Warp, inst: &Inst, mask: u32, access: &Access, sign: u8, d: &[Option<Reg>]) {
    let site = Site { warp: warp.index, line: inst.line };
    let a = addresses(warp, access.base, access.offset);
    let width = u64::from(access.width);
    let bytes = width * d.len() as u64;
    let extend = |v: u64| {
        if sign == 0 {
            return v;
        }
        let shift = 64 - 8 * width;
        let wide = ((v << shift) as i64 >> shift) as u64;
        if sign == 64 { wide } else { wide & ((1 << sign) - 1) }
    };
    by_space(access.space, a, mask, |space, a, mask| {
        let good = match space {
            Space::Shared => shared_lanes(cta, site, a, mask, bytes),
            Space::Global | Space::Generic => {
                let good = aligned(cta, site, a, mask, bytes);
                if good != 0 {
                    cta.tally.rest.global_requests += 1;
                    cta.tally.rest.global_sectors += sectors(a, good, bytes);
                }
                good
            }
            Space::Local | Space::Param | Space::Const => {
                let size = match space {
                    Space::Local => u64::from(cta.program.local_bytes),
                    Space::Param => cta.params.len() as u64,
                    _ => cta.constants.len() as u64,
                };
                let good = aligned(cta, site, a, mask, bytes);
                bounded(cta, site, a, good, bytes, size, space)
            }
        };
        cta.tally.rest.read.add(space, bytes * u64::from(good.count_ones()));
        let mut zero = mask & !good;
        let memory = cta.memory;
        let done = match space {
            Space::Shared => {
                load_shared(cta, warp, site, a, good, width, &extend, d);
                true
            }
            Space::Global => load_global(cta, warp, site, a, good, access, d),
            _ => false,
        };
        for lane in lanes(if done { 0 } else { good }) {
            let at = a[lane];
            match space {
                Space::Global | Space::Generic => match memory.find(at, bytes, false) {
                    Err(f) => {
                        zero |= 1 << lane;
                        fault(cta, site, lane, at, bytes, f);
                    }
                    Ok((allocation, index, offset)) => {
                        if cta.checks.uninitialised && !allocation.is_written(offset, bytes) {
                            cta.find(FindingKind::UninitialisedMemory, site.line, site.warp, lane, || {
                                format!("{bytes} bytes at global {at:#x} are read before all of them are written")
                            });
                        }
                        for (k, d) in d.iter().enumerate() {
                            let offset = offset + k as u64 * width;
                            if cta.races.is_some() && !access.strong {
                                touch_global(cta, site, lane, (at, index, offset), width, false);
                            }
                            if let Some(d) = d {
                                warp.set(*d, lane, extend(allocation.load(offset, width)));
                            }
                        }
                    }
                },
                Space::Shared => {}
                Space::Local => {
                    let frame = lane * cta.program.local_bytes as usize + at as usize;
                    if cta.checks.uninitialised && !warp.local_written[frame..frame + bytes as usize].iter().all(|w| *w) {
                        cta.find(FindingKind::UninitialisedMemory, site.line, site.warp, lane, || {
                            format!("{bytes} bytes at local {at:#x} are read before all of them are written")
                        });
                    }
                    for (k, d) in d.iter().enumerate() {
                        if let Some(d) = d {
                            let v = from_bytes(&warp.local, frame + k * width as usize, width as usize);
                            warp.set(*d, lane, extend(v));
                        }
                    }
                }
                Space::Param | Space::Const => {
                    let bank = if space == Space::Param { cta.params } else { cta.constants };
                    for (k, d) in d.iter().enumerate() {
                        if let Some(d) = d {
                            warp.set(*d, lane, extend(from_bytes(bank, at as usize + k * width as usize, width as usize)));
                        }
                    }
                }
            }
        }
        for lane in lanes(zero) {
            for d in d.iter().flatten() {
                warp.set(*d, lane, 0);
            }
        }
    });
}

pub(super) fn store(cta: &mut Cta<'_>, warp: &mut Warp, inst: &Inst, mask: u32, access: &Access, s: &[Reg]) {
    let site = Site { warp: warp.index, line: inst.line };
    let a = addresses(warp, access.base, access.offset);
    let width = u64::from(access.width);
    let bytes = width * s.len() as u64;
    by_space(access.space, a, mask, |space, a, mask| {
        let good = match space {
            Space::Shared => shared_lanes(cta, site, a, mask, bytes),
            Space::Global | Space::Generic => {
                let good = aligned(cta, site, a, mask, bytes);
                if good != 0 {
                    cta.tally.rest.global_requests += 1;
                    cta.tally.rest.global_sectors += sectors(a, good, bytes);
                }
                good
            }
            Space::Local => {
                let good = aligned(cta, site, a, mask, bytes);
                let size = u64::from(cta.program.local_bytes);
                bounded(cta, site, a, good, bytes, size, space)
            }
            // Generic pointers into read-only spaces.
            Space::Param | Space::Const => {
                for lane in lanes(mask).take(1) {
                    fault(cta, site, lane, a[lane], bytes, Fault::ReadOnly);
                }
                0
            }
        };
        cta.tally.rest.written.add(space, bytes * u64::from(good.count_ones()));
        let memory = cta.memory;
        for lane in lanes(good) {
            let at = a[lane];
            match space {
                Space::Global | Space::Generic => match memory.find(at, bytes, true) {
                    Err(f) => fault(cta, site, lane, at, bytes, f),
                    Ok((allocation, index, offset)) => {
                        for (k, s) in s.iter().enumerate() {
                            let offset = offset + k as u64 * width;
                            if cta.races.is_some() && !access.strong {
                                touch_global(cta, site, lane, (at, index, offset), width, true);
                            }
                            allocation.store(offset, width, warp.get(*s, lane));
                        }
                    }
                },
                Space::Shared => {
                    for (k, s) in s.iter().enumerate() {
                        let at = at + k as u64 * width;
                        store_shared(cta, site, lane, at, width, warp.get(*s, lane));
                    }
                }
                Space::Local => {
                    let frame = lane * cta.program.local_bytes as usize + at as usize;
                    for (k, s) in s.iter().enumerate() {
                        let from = frame + k * width as usize;
                        let v = warp.get(*s, lane).to_le_bytes();
                        warp.local[from..from + width as usize].copy_from_slice(&v[..width as usize]);
                    }
                    warp.local_written[frame..frame + bytes as usize].fill(true);
                }
                Space::Param | Space::Const => {}
            }
        }
    });
}

/// One element to shared memory.
pub(super) fn store_shared(cta: &mut Cta<'_>, site: Site, lane: usize, at: u64, width: u64, value: u64) {
    let range = at as usize..(at + width) as usize;
    let v = value.to_le_bytes();
    let same = cta.shared[range.clone()] == v[..width as usize];
    touch_shared(cta, site, lane, at, width, Touch::Write(same));
    cta.shared[range].copy_from_slice(&v[..width as usize]);
}
