//! Who touched each byte of shared memory last, and whether a barrier lies between.
//!
//! Time is a counter that every barrier advances. `synced[v][u]` is the time before which everything warp u did is ordered before what
//! warp v does now; `synced[v][v]` is that of the last warp barrier. It is a vector clock whose threads are warps.

/// A reader or writer that stands for several lanes.
const MANY: u8 = 0xff;
/// Beside a writer's lane: it used an atomic.
const ATOMIC: u8 = 0x40;
/// Atomics of several lanes.
const ATOMIC_MANY: u8 = 0x7f;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cell {
    written: u32,
    read: u32,
    /// Warps that have read since the last write and are not known to be ordered.
    readers: u32,
    writer_warp: u8,
    writer_lane: u8,
    reader_lane: u8,
    /// `cp.async` copies under way.
    pending: u8,
}

/// A thread of the CTA, by its warp and lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub warp: usize,
    pub lane: usize,
}

/// Addresses of the lanes of a warp that take part in an access.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes<'a> {
    pub warp: usize,
    pub mask: u32,
    pub addresses: &'a [u64; 32],
}

/// What kind of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    Read,
    /// A store; true if it leaves the bytes as they are.
    Write(bool),
    Atomic,
}

/// What is wrong with an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    Uninitialised,
    /// A copy to these bytes is under way.
    Pending,
    /// The other warp and lane (if one), and whether it wrote.
    Race {
        warp: u8,
        lane: Option<u8>,
        wrote: bool,
    },
}

#[derive(Debug, Default)]
pub(crate) struct SharedWatch {
    /// One per byte; of a uniform word only the first counts.
    cells: Vec<Cell>,
    uniform: Vec<bool>,
    now: u32,
    /// Time at which this CTA began: older entries are another CTA's.
    start: u32,
    synced: Vec<[u32; 32]>,
}

impl SharedWatch {
    /// A new CTA on the same worker: old entries become void by their time.
    pub(crate) fn begin(&mut self, bytes: usize, warps: usize) {
        let bytes = bytes.next_multiple_of(4);
        if self.cells.len() < bytes || self.now > u32::MAX / 2 {
            self.cells = vec![Cell::default(); bytes];
            self.uniform = vec![true; bytes / 4];
            self.now = 0;
        }
        self.now += 1;
        self.start = self.now;
        self.synced.clear();
        self.synced.resize(warps, [self.now; 32]);
    }

    /// Notes that warps (a bit set) have met at a barrier.
    pub(crate) fn barrier(&mut self, warps: u32) {
        self.now += 1;
        let mut merged = [0; 32];
        let members = |i: &usize| warps >> i & 1 == 1;
        for s in (0..self.synced.len()).filter(members) {
            for (m, t) in merged.iter_mut().zip(&self.synced[s]) {
                *m = (*m).max(*t);
            }
        }
        for (u, m) in merged.iter_mut().enumerate() {
            if members(&u) {
                *m = self.now;
            }
        }
        for s in (0..self.synced.len()).filter(members) {
            self.synced[s] = merged;
        }
    }

    /// `bar.warp.sync`.
    pub(crate) fn warp_barrier(&mut self, warp: usize) {
        self.now += 1;
        self.synced[warp][warp] = self.now;
    }

    /// Records an access of `width` aligned bytes and says what is wrong with it.
    #[inline]
    pub(crate) fn touch(&mut self, at: usize, width: usize, who: Who, kind: Touch) -> Option<Problem> {
        let mut worst = None;
        let view = View { now: self.now, start: self.start, synced: &self.synced[who.warp], who };
        if width == 4 && self.uniform[at / 4] {
            let cell = &mut self.cells[at];
            let p = view.judge(cell, kind);
            view.record(cell, kind);
            return p;
        }
        if width >= 4 {
            for word in at / 4..(at + width) / 4 {
                if self.uniform[word] {
                    let p = view.judge(&self.cells[4 * word], kind);
                    worst = worst.or(p);
                    view.record(&mut self.cells[4 * word], kind);
                } else {
                    for cell in &mut self.cells[4 * word..4 * word + 4] {
                        worst = worst.or(view.judge(cell, kind));
                        view.record(cell, kind);
                    }
                    let cells = &self.cells[4 * word..4 * word + 4];
                    self.uniform[word] = cells.iter().all(|c| *c == cells[0]);
                }
            }
            return worst;
        }
        let word = at / 4;
        if self.uniform[word] {
            self.uniform[word] = false;
            let first = self.cells[4 * word];
            self.cells[4 * word..4 * word + 4].fill(first);
        }
        for cell in &mut self.cells[at..at + width] {
            worst = worst.or(view.judge(cell, kind));
            view.record(cell, kind);
        }
        worst
    }

    /// Records a load of one element by each lane, at its address plus `step`; answers what is wrong, by lane and address.
    pub(crate) fn read_lanes(&mut self, lanes: Lanes<'_>, step: u64, width: usize) -> Vec<(usize, u64, Problem)> {
        let Lanes { warp, mask, addresses } = lanes;
        let mut found = Vec::new();
        let full = self.synced[warp].iter().take(self.synced.len()).copied().min().unwrap_or(0);
        for (lane, &address) in addresses.iter().enumerate() {
            if mask >> lane & 1 == 0 {
                continue;
            }
            let at = address + step;
            let word = at as usize / 4;
            if width == 4 && self.uniform[word] {
                // The usual case: written before a barrier of the whole CTA or by this lane, and earlier readers need no second look.
                let cell = &mut self.cells[4 * word];
                let known = cell.written >= self.start && (cell.written < full || wrote_itself(cell, Who { warp, lane }));
                let keep = if cell.read < full {
                    Some(0)
                } else if cell.read == self.now {
                    Some(cell.readers)
                } else if cell.readers == 1 << warp {
                    Some(if cell.read < self.synced[warp][warp] { 0 } else { 1 << warp })
                } else {
                    None
                };
                if let (0, true, Some(keep)) = (cell.pending, known, keep) {
                    let alone = keep == 0 || (keep == 1 << warp && usize::from(cell.reader_lane) == lane);
                    cell.reader_lane = if alone { lane as u8 } else { MANY };
                    cell.readers = keep | 1 << warp;
                    cell.read = self.now;
                    continue;
                }
            }
            if let Some(p) = self.touch(at as usize, width, Who { warp, lane }, Touch::Read) {
                found.push((lane, at, p));
            }
        }
        found
    }

    /// A `cp.async` to these bytes begins.
    pub(crate) fn begin_copy(&mut self, at: usize, bytes: usize, who: Who) -> Option<Problem> {
        let view = View { now: self.now, start: self.start, synced: &self.synced[who.warp], who };
        let mut worst = None;
        for word in at / 4..(at + bytes).div_ceil(4) {
            let cells = if self.uniform[word] { 4 * word..4 * word + 1 } else { 4 * word..4 * word + 4 };
            for cell in &mut self.cells[cells] {
                worst = worst.or(view.judge(cell, Touch::Write(false)));
                cell.pending = cell.pending.saturating_add(1);
            }
        }
        worst
    }

    /// The landing of a copy; `written` is false for bytes whose source nobody has written.
    pub(crate) fn end_copy(&mut self, at: usize, bytes: usize, who: Who, written: bool) {
        let view = View { now: self.now, start: self.start, synced: &self.synced[who.warp], who };
        for word in at / 4..(at + bytes).div_ceil(4) {
            let cells = if self.uniform[word] { 4 * word..4 * word + 1 } else { 4 * word..4 * word + 4 };
            for cell in &mut self.cells[cells] {
                cell.pending = cell.pending.saturating_sub(1);
                if written {
                    view.record(cell, Touch::Write(false));
                }
            }
        }
    }
}

#[inline(always)]
fn wrote_itself(c: &Cell, Who { warp, lane }: Who) -> bool {
    usize::from(c.writer_warp) == warp && usize::from(c.writer_lane & !ATOMIC) == lane
}

/// What one thread knows at one time: see the module's text.
#[derive(Clone, Copy)]
struct View<'a> {
    now: u32,
    start: u32,
    /// The row of the thread's warp.
    synced: &'a [u32; 32],
    who: Who,
}

impl View<'_> {
    /// What is wrong with an access to a byte.
    #[inline(always)]
    fn judge(self, c: &Cell, kind: Touch) -> Option<Problem> {
        if c.pending > 0 {
            return Some(Problem::Pending);
        }
        let has_write = c.written >= self.start;
        if has_write {
            let w = usize::from(c.writer_warp);
            let ordered = c.written < self.synced[w] || wrote_itself(c, self.who);
            let harmless = kind == Touch::Write(true) || (kind == Touch::Atomic && c.writer_lane & ATOMIC != 0);
            if !ordered && !harmless {
                let lane = (c.writer_lane < 32).then_some(c.writer_lane);
                return Some(Problem::Race { warp: c.writer_warp, lane, wrote: true });
            }
        }
        if kind != Touch::Read && kind != Touch::Write(true) && c.read >= self.start {
            let mut readers = c.readers;
            while readers != 0 {
                let u = readers.trailing_zeros() as usize;
                readers &= readers - 1;
                let ordered = c.read < self.synced[u] || (u == self.who.warp && usize::from(c.reader_lane) == self.who.lane);
                if !ordered {
                    let lane = (c.reader_lane < 32).then_some(c.reader_lane);
                    return Some(Problem::Race { warp: u as u8, lane, wrote: false });
                }
            }
        }
        if !has_write && !matches!(kind, Touch::Write(_)) { Some(Problem::Uninitialised) } else { None }
    }

    /// Writes an access down.
    #[inline(always)]
    fn record(self, c: &mut Cell, kind: Touch) {
        let (now, Who { warp, lane }) = (self.now, self.who);
        if kind != Touch::Read {
            // Atomics of other lanes that no barrier orders before this one stay in mind: nobody may read plainly what they left.
            let alone = c.written < self.start || c.written < self.synced[usize::from(c.writer_warp)] || wrote_itself(c, self.who);
            c.writer_lane = match (kind == Touch::Atomic, alone) {
                (false, _) => lane as u8,
                (true, true) => ATOMIC | lane as u8,
                (true, false) => ATOMIC_MANY,
            };
            c.written = now;
            c.writer_warp = warp as u8;
            c.read = 0;
            c.readers = 0;
            return;
        }
        let me = 1 << warp;
        let mut keep = if c.read < self.start { 0 } else { c.readers };
        if c.read != now {
            // Readers ordered before this read need not be remembered: whoever is ordered after it is ordered after them.
            let mut old = keep;
            while old != 0 {
                let u = old.trailing_zeros() as usize;
                old &= old - 1;
                if c.read < self.synced[u] {
                    keep &= !(1 << u);
                }
            }
        }
        c.reader_lane = if keep == 0 || (keep == me && usize::from(c.reader_lane) == lane) { lane as u8 } else { MANY };
        c.readers = keep | me;
        c.read = now;
    }
}
