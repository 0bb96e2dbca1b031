//! The parts of an access to memory, and every check of a single one.

use super::address::lanes;
use crate::check::FindingKind;
use crate::check::global::By;
use crate::check::shared::{Lanes, Problem, Touch, Who};
use crate::counters::{sectors, wavefronts};
use crate::cta::{Cta, Spot};
use crate::memory::{Allocation, Fault};
use crate::program::Inst;
use crate::syntax::Space;
use crate::warp::Warp;

/// Where an access comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    pub warp: usize,
    pub line: u32,
}

impl Site {
    pub(super) fn of(warp: &Warp, inst: &Inst) -> Self {
        Self { warp: warp.index, line: inst.line }
    }

    pub(super) fn lane(self, lane: usize) -> Spot {
        Spot { line: self.line, warp: self.warp, lane }
    }
}

/// An access by lanes of a warp to one state space.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'r> {
    pub site: Site,
    pub space: Space,
    /// Each lane's address within the space.
    pub at: &'r [u64; 32],
    /// The lanes that take part.
    pub mask: u32,
    /// Bytes of one lane.
    pub bytes: u64,
}

impl<'r> Request<'r> {
    /// The request of fewer lanes.
    pub(super) fn of(self, mask: u32) -> Self {
        Self { mask, ..self }
    }

    /// What one lane asks for.
    pub(super) fn piece(self, lane: usize) -> Piece {
        Piece { spot: self.site.lane(lane), at: self.at[lane], bytes: self.bytes }
    }

    fn lanes(self) -> Lanes<'r> {
        Lanes { warp: self.site.warp, mask: self.mask, addresses: self.at }
    }
}

/// Bytes that one lane accesses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub spot: Spot,
    pub at: u64,
    pub bytes: u64,
}

impl Piece {
    /// Element `k` of the piece, elements being `width` bytes.
    pub(super) fn element(self, k: usize, width: u64) -> Self {
        Self { at: self.at + k as u64 * width, bytes: width, ..self }
    }

    fn who(self) -> Who {
        Who { warp: self.spot.warp, lane: self.spot.lane }
    }
}

/// What an access does to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Atomic,
}

/// The bits that any active lane's address has.
fn union(a: &[u64; 32], mask: u32) -> u64 {
    if mask == u32::MAX {
        return a.iter().fold(0, |all, a| all | a);
    }
    a.iter().enumerate().fold(0, |all, (i, a)| all | if mask >> i & 1 == 1 { *a } else { 0 })
}

/// Drops lanes whose address is no multiple of their bytes.
pub(super) fn aligned(cta: &mut Cta<'_>, r: Request<'_>) -> u32 {
    // Nearly always all lanes are good: one look at all of them together.
    if union(r.at, r.mask) & (r.bytes - 1) == 0 {
        return r.mask;
    }
    let mut good = r.mask;
    for lane in lanes(r.mask) {
        if r.at[lane] & (r.bytes - 1) != 0 {
            good &= !(1 << lane);
            if cta.launch.checks.alignment {
                let Piece { spot, at, bytes } = r.piece(lane);
                cta.find(FindingKind::Misaligned, spot, || format!("address {at:#x} is no multiple of {bytes}"));
            }
        }
    }
    good
}

/// Drops lanes that leave a space of `size` bytes.
fn bounded(cta: &mut Cta<'_>, r: Request<'_>, size: u64) -> u32 {
    // No address exceeds the union of their bits.
    if union(r.at, r.mask).saturating_add(r.bytes) <= size {
        return r.mask;
    }
    let mut good = r.mask;
    for lane in lanes(r.mask) {
        if r.at[lane].saturating_add(r.bytes) > size {
            good &= !(1 << lane);
            if cta.launch.checks.bounds {
                let Piece { spot, at, bytes } = r.piece(lane);
                cta.find(FindingKind::OutOfBounds, spot, || format!("{bytes} bytes at {at:#x} of {} memory, which has {size}", r.space));
            }
        }
    }
    good
}

pub(super) fn fault(cta: &mut Cta<'_>, Piece { spot, at, bytes }: Piece, fault: Fault) {
    let kind = match fault {
        Fault::OutOfBounds => FindingKind::OutOfBounds,
        Fault::ReadOnly => FindingKind::ReadOnly,
        Fault::Freed => FindingKind::UseAfterFree,
    };
    if cta.launch.checks.bounds {
        let memory = cta.launch.memory;
        cta.find(kind, spot, || format!("{bytes} bytes at {at:#x}, {}", memory.near(at)));
    }
}

fn problem(cta: &mut Cta<'_>, spot: Spot, at: u64, p: Problem) {
    match p {
        Problem::Uninitialised if cta.launch.checks.uninitialised => {
            cta.find(FindingKind::UninitialisedMemory, spot, || format!("shared byte {at:#x} is read before anybody writes it"));
        }
        Problem::Pending if cta.launch.checks.async_copies => {
            cta.find(FindingKind::MissingAsyncWait, spot, || format!("a cp.async to shared byte {at:#x} has not been waited for"));
        }
        Problem::Race { warp: w, lane: l, wrote } if cta.launch.checks.shared_races => {
            let first = 32 * u32::from(w);
            let who = match l {
                Some(l) => format!("thread {}", mnx_words::list(&cta.place.thread(first + u32::from(l)))),
                None => format!("a thread of the warp that starts at thread {}", mnx_words::list(&cta.place.thread(first))),
            };
            let what = if wrote { "wrote" } else { "read" };
            cta.find(FindingKind::SharedRace, spot, || format!("{who} {what} shared byte {at:#x} and no barrier lies between"));
        }
        _ => {}
    }
}

/// Tells the shared-memory watch of an access and reports what is wrong.
pub(super) fn touch_shared(cta: &mut Cta<'_>, piece: Piece, kind: Touch) {
    if cta.watch_shared
        && let Some(p) = cta.watch.touch(piece.at as usize, piece.bytes as usize, piece.who(), kind)
    {
        problem(cta, piece.spot, piece.at, p);
    }
}

/// Tells the shared-memory watch of loads of one element by each lane, at its address plus `step`, and reports what is wrong.
pub(super) fn read_shared(cta: &mut Cta<'_>, r: Request<'_>, step: u64, width: u64) {
    if cta.watch_shared {
        for (lane, at, p) in cta.watch.read_lanes(r.lanes(), step, width as usize) {
            problem(cta, r.site.lane(lane), at, p);
        }
    }
}

/// Tells the shared-memory watch that an asynchronous copy begins and reports what is wrong.
pub(super) fn touch_copy(cta: &mut Cta<'_>, piece: Piece) {
    if cta.watch_shared
        && let Some(p) = cta.watch.begin_copy(piece.at as usize, piece.bytes as usize, piece.who())
    {
        problem(cta, piece.spot, piece.at, p);
    }
}

/// Lanes inside shared memory, aligned, counted.
pub(super) fn shared_lanes(cta: &mut Cta<'_>, r: Request<'_>) -> u32 {
    let mask = aligned(cta, r);
    let size = cta.shared.len() as u64;
    let mask = bounded(cta, r.of(mask), size);
    if mask != 0 {
        let (total, least) = wavefronts(r.at, mask, r.bytes);
        let c = &mut cta.tally.rest;
        c.shared_requests += 1;
        c.shared_wavefronts += total;
        c.bank_conflicts += total - least;
    }
    mask
}

/// Lanes that may access what they ask for, as far as their space as a whole tells, with the bytes that they move counted.
pub(super) fn admit(cta: &mut Cta<'_>, r: Request<'_>, kind: Kind) -> u32 {
    let within = |cta: &mut Cta<'_>, size: u64| {
        let mask = aligned(cta, r);
        bounded(cta, r.of(mask), size)
    };
    let good = match (r.space, kind) {
        (Space::Shared, _) => shared_lanes(cta, r),
        (Space::Global | Space::Generic, _) => {
            let good = aligned(cta, r);
            if good != 0 {
                cta.tally.rest.global_requests += 1;
                cta.tally.rest.global_sectors += sectors(r.at, good, r.bytes);
            }
            good
        }
        (space, Kind::Atomic) => {
            for lane in lanes(r.mask).take(1) {
                cta.find(FindingKind::BadOperand, r.site.lane(lane), || format!("an atomic on {space} memory"));
            }
            0
        }
        (Space::Local, _) => within(cta, u64::from(cta.launch.program.local_bytes)),
        // Generic pointers into read-only spaces.
        (Space::Param | Space::Const, Kind::Write) => {
            for lane in lanes(r.mask).take(1) {
                fault(cta, r.piece(lane), Fault::ReadOnly);
            }
            0
        }
        (Space::Param, Kind::Read) => within(cta, cta.launch.params.len() as u64),
        (Space::Const, Kind::Read) => within(cta, cta.launch.constants.len() as u64),
    };
    let bytes = r.bytes * u64::from(good.count_ones());
    if kind != Kind::Write {
        cta.tally.rest.read.add(r.space, bytes);
    }
    if kind != Kind::Read {
        cta.tally.rest.written.add(r.space, bytes);
    }
    good
}

/// Reports global memory that is read before it is written.
pub(super) fn check_written(cta: &mut Cta<'_>, allocation: &Allocation, offset: u64, Piece { spot, at, bytes }: Piece) {
    if cta.launch.checks.uninitialised && !allocation.is_written(offset, bytes) {
        cta.find(FindingKind::UninitialisedMemory, spot, || {
            format!("{bytes} bytes at global {at:#x} are read before all of them are written")
        });
    }
}

/// Tells the global-memory watch of an access to an element that lies at an offset of an allocation, by its number, and reports what is wrong.
pub(super) fn touch_global(cta: &mut Cta<'_>, Piece { spot, at, bytes }: Piece, (allocation, offset): (usize, u64), write: bool) {
    let Some(races) = cta.launch.races else { return };
    if let Some(other) = races.touch(allocation, offset, bytes, By { cta: cta.linear, write }) {
        let [x, y, _] = cta.place.grid.map(u64::from);
        let who = match other.cta {
            Some(c) => format!("CTA {}", mnx_words::list(&[c % x, c / x % y, c / (x * y)])),
            None => "another CTA".into(),
        };
        let what = if other.wrote { "writes" } else { "reads" };
        cta.find(FindingKind::GlobalRace, spot, || format!("{who} also {what} byte {at:#x} in this launch"));
    }
}
