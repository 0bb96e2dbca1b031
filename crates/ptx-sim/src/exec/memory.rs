//! Loads and stores.

use super::access::{Kind, Piece, Request, Site, admit, check_written, fault, read_shared, touch_global, touch_shared};
use super::address::{addresses, by_space, lanes};
use crate::check::FindingKind;
use crate::check::shared::Touch;
use crate::cta::Cta;
use crate::program::{Access, Inst, Op, Reg};
use crate::syntax::Space;
use crate::warp::Warp;

fn from_bytes(bytes: &[u8], at: usize, width: usize) -> u64 {
    bytes[at..at + width].iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))
}

/// The parts of a load.
struct Load<'i> {
    access: &'i Access,
    width: u64,
    /// Bits that the sign is extended to, 0 for zeros.
    sign: u8,
    d: &'i [Option<Reg>],
}

impl Load<'_> {
    #[inline(always)]
    fn extend(&self, v: u64) -> u64 {
        if self.sign == 0 {
            return v;
        }
        let shift = 64 - 8 * self.width;
        let wide = ((v << shift) as i64 >> shift) as u64;
        if self.sign == 64 { wide } else { wide & ((1 << self.sign) - 1) }
    }

    /// Gives a lane its elements.
    fn set(&self, warp: &mut Warp, lane: usize, element: impl Fn(usize) -> u64) {
        for (k, d) in self.d.iter().enumerate() {
            if let Some(d) = d {
                warp.set(*d, lane, self.extend(element(k)));
            }
        }
    }
}

fn load_shared(cta: &mut Cta<'_>, warp: &mut Warp, r: Request<'_>, load: &Load<'_>) {
    let width = load.width;
    for (k, d) in load.d.iter().enumerate() {
        let step = k as u64 * width;
        read_shared(cta, r, step, width);
        match d {
            None => {}
            Some(Reg::W(d)) if width == 4 => {
                let row = &mut warp.w[*d as usize];
                for lane in lanes(r.mask) {
                    let at = (r.at[lane] + step) as usize;
                    if let Some(bytes) = cta.shared[at..].first_chunk() {
                        row[lane] = u32::from_le_bytes(*bytes);
                    }
                }
            }
            Some(d) => {
                for lane in lanes(r.mask) {
                    let v = from_bytes(&cta.shared, (r.at[lane] + step) as usize, width as usize);
                    warp.set(*d, lane, load.extend(v));
                }
            }
        }
    }
}

/// Loads of 32-bit elements that all lie in one allocation, the usual case; false if they do not, and nothing has been done.
fn load_global_at_once(cta: &mut Cta<'_>, warp: &mut Warp, r: Request<'_>, load: &Load<'_>) -> bool {
    let d = load.d;
    if load.width != 4 || d.iter().any(|d| !matches!(d, Some(Reg::W(_)))) {
        return false;
    }
    let (mut low, mut high) = (u64::MAX, 0);
    for lane in lanes(r.mask) {
        low = low.min(r.at[lane]);
        high = high.max(r.at[lane]);
    }
    let memory = cta.launch.memory;
    let span = high.wrapping_sub(low).saturating_add(r.bytes);
    let Ok((allocation, index, first)) = memory.find(low, span, false) else { return false };
    let mut before = u64::MAX;
    for lane in lanes(r.mask) {
        let offset = r.at[lane] - low + first;
        // Lanes on one address are looked at once.
        if offset == before {
            continue;
        }
        before = offset;
        let piece = r.piece(lane);
        check_written(cta, allocation, offset, piece);
        if cta.launch.races.is_some() && !load.access.strong {
            for k in 0..d.len() {
                // The finding names where the lane begins.
                let element = Piece { at: piece.at, ..piece.element(k, 4) };
                touch_global(cta, element, (index, offset + 4 * k as u64), false);
            }
        }
    }
    for (k, d) in d.iter().enumerate() {
        let Some(Reg::W(d)) = d else { continue };
        let row = &mut warp.w[*d as usize];
        let step = first + 4 * k as u64;
        if low == high {
            let v = allocation.load(step, 4) as u32;
            super::alu::put(row, r.mask, |_| v);
        } else {
            for lane in lanes(r.mask) {
                row[lane] = allocation.load(r.at[lane] - low + step, 4) as u32;
            }
        }
    }
    true
}

/// One lane's load from global memory; false if it faults.
fn load_global(cta: &mut Cta<'_>, warp: &mut Warp, piece: Piece, load: &Load<'_>) -> bool {
    let memory = cta.launch.memory;
    let (allocation, index, offset) = match memory.find(piece.at, piece.bytes, false) {
        Ok(found) => found,
        Err(f) => {
            fault(cta, piece, f);
            return false;
        }
    };
    check_written(cta, allocation, offset, piece);
    if cta.launch.races.is_some() && !load.access.strong {
        for k in 0..load.d.len() {
            let element = Piece { at: piece.at, ..piece.element(k, load.width) };
            touch_global(cta, element, (index, offset + k as u64 * load.width), false);
        }
    }
    load.set(warp, piece.spot.lane, |k| allocation.load(offset + k as u64 * load.width, load.width));
    true
}

/// One lane's load from its local memory.
fn load_local(cta: &mut Cta<'_>, warp: &mut Warp, piece: Piece, load: &Load<'_>) {
    let Piece { spot, at, bytes } = piece;
    let frame = spot.lane * cta.launch.program.local_bytes as usize + at as usize;
    if cta.launch.checks.uninitialised && !warp.local_written[frame..frame + bytes as usize].iter().all(|w| *w) {
        cta.find(FindingKind::UninitialisedMemory, spot, || {
            format!("{bytes} bytes at local {at:#x} are read before all of them are written")
        });
    }
    let width = load.width as usize;
    let local = std::mem::take(&mut warp.local);
    load.set(warp, spot.lane, |k| from_bytes(&local, frame + k * width, width));
    warp.local = local;
}

pub(super) fn load(cta: &mut Cta<'_>, warp: &mut Warp, inst: &Inst, mask: u32) {
    let Op::Load { access, sign, d } = &inst.op else { return };
    let site = Site::of(warp, inst);
    let a = addresses(warp, access.base, access.offset);
    let load = Load { access, width: u64::from(access.width), sign: *sign, d };
    let bytes = load.width * d.len() as u64;
    by_space(access.space, a, mask, |space, at, mask| {
        let request = Request { site, space, at, mask, bytes };
        let good = admit(cta, request, Kind::Read);
        let r = request.of(good);
        let mut zero = mask & !good;
        let bank = match space {
            Space::Param => cta.launch.params,
            _ => cta.launch.constants,
        };
        match space {
            Space::Shared => load_shared(cta, warp, r, &load),
            Space::Global if load_global_at_once(cta, warp, r, &load) => {}
            Space::Global | Space::Generic => {
                for lane in lanes(good) {
                    zero |= u32::from(!load_global(cta, warp, r.piece(lane), &load)) << lane;
                }
            }
            Space::Local => lanes(good).for_each(|lane| load_local(cta, warp, r.piece(lane), &load)),
            Space::Param | Space::Const => {
                let width = access.width as usize;
                lanes(good).for_each(|lane| load.set(warp, lane, |k| from_bytes(bank, at[lane] as usize + k * width, width)));
            }
        }
        for lane in lanes(zero) {
            for d in d.iter().flatten() {
                warp.set(*d, lane, 0);
            }
        }
    });
}

/// One lane's store to global memory.
fn store_global(cta: &mut Cta<'_>, warp: &Warp, piece: Piece, (access, s): (&Access, &[Reg])) {
    let (memory, width) = (cta.launch.memory, u64::from(access.width));
    match memory.find(piece.at, piece.bytes, true) {
        Err(f) => fault(cta, piece, f),
        Ok((allocation, index, offset)) => {
            for (k, s) in s.iter().enumerate() {
                let offset = offset + k as u64 * width;
                if cta.launch.races.is_some() && !access.strong {
                    let element = Piece { at: piece.at, ..piece.element(k, width) };
                    touch_global(cta, element, (index, offset), true);
                }
                allocation.store(offset, width, warp.get(*s, piece.spot.lane));
            }
        }
    }
}

pub(super) fn store(cta: &mut Cta<'_>, warp: &mut Warp, inst: &Inst, mask: u32) {
    let Op::Store { access, s } = &inst.op else { return };
    let site = Site::of(warp, inst);
    let a = addresses(warp, access.base, access.offset);
    let width = u64::from(access.width);
    let bytes = width * s.len() as u64;
    by_space(access.space, a, mask, |space, at, mask| {
        let request = Request { site, space, at, mask, bytes };
        let good = admit(cta, request, Kind::Write);
        for lane in lanes(good) {
            let piece = request.piece(lane);
            match space {
                Space::Global | Space::Generic => store_global(cta, warp, piece, (access, s)),
                Space::Shared => {
                    for (k, s) in s.iter().enumerate() {
                        store_shared(cta, piece.element(k, width), warp.get(*s, lane));
                    }
                }
                Space::Local => {
                    let frame = lane * cta.launch.program.local_bytes as usize + piece.at as usize;
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

/// Stores one element to shared memory.
pub(super) fn store_shared(cta: &mut Cta<'_>, piece: Piece, value: u64) {
    let Piece { at, bytes, .. } = piece;
    let range = at as usize..(at + bytes) as usize;
    let v = value.to_le_bytes();
    let same = cta.shared[range.clone()] == v[..bytes as usize];
    touch_shared(cta, piece, Touch::Write(same));
    cta.shared[range].copy_from_slice(&v[..bytes as usize]);
}
