//! One warp: its registers, the groups of lanes that stand at one instruction, its copies under way.

use crate::program::{Compare, Constant, Program, Reg, Special};
use crate::{Row, Row64};

/// Why a group does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// At an instruction that needs lanes of other groups.
    Gathering,
    /// At a barrier of the CTA, whose completed rounds were this many.
    Barrier {
        id: u32,
        round: u64,
    },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    pub pc: u32,
    pub mask: u32,
    pub state: State,
}

/// A `cp.async` of one lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy {
    pub lane: u8,
    /// Number of groups the lane had committed when it was issued.
    pub group: u32,
    pub shared: u32,
    pub global: u64,
    pub bytes: u8,
    pub source_bytes: u8,
}

#[derive(Debug, Default)]
pub(crate) struct Warp {
    pub index: usize,
    pub w: Vec<Row>,
    pub d: Vec<Row64>,
    pub p: Vec<u32>,
    /// Lanes that have written a register; kept for watched registers only.
    written_w: Vec<u32>,
    written_d: Vec<u32>,
    written_p: Vec<u32>,
    /// The running group. `mask` 0: none.
    pub pc: u32,
    pub mask: u32,
    pub others: Vec<Group>,
    /// Instruction at which another group waits to be joined or run.
    pub next_stop: u32,
    /// Lanes that have not exited, and all that ever were.
    pub live: u32,
    pub members: u32,
    /// The running group goes on though lanes are missing (already reported).
    pub forced: bool,
    /// Slices since the groups last changed.
    pub same: u32,
    pub local: Vec<u8>,
    pub local_written: Vec<bool>,
    pub copies: Vec<Copy>,
    pub committed: [u32; 32],
    /// Constant rows hold what they must, but for those that change with the CTA.
    prepared: bool,
}

/// Values of special registers of one CTA.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub block: [u32; 3],
    pub grid: [u32; 3],
    pub cta: [u32; 3],
    pub static_shared: u32,
    pub dynamic_shared: u32,
    pub module_globals: u64,
}

impl Place {
    pub(crate) fn threads(&self) -> u32 {
        self.block[0] * self.block[1] * self.block[2]
    }

    /// `%tid` of a thread by its number in the CTA.
    pub(crate) fn thread(&self, linear: u32) -> [u32; 3] {
        let [x, y, _] = self.block;
        [linear % x, linear / x % y, linear / (x * y)]
    }

    fn special(&self, s: Special, thread: u32) -> u32 {
        let lane = thread % 32;
        match s {
            Special::Tid(axis) => self.thread(thread)[axis],
            Special::Ntid(axis) => self.block[axis],
            Special::Ctaid(axis) => self.cta[axis],
            Special::Nctaid(axis) => self.grid[axis],
            Special::Lane => lane,
            Special::Warp => thread / 32,
            Special::Warps => self.threads().div_ceil(32),
            Special::LaneMask(c) => match c {
                Compare::Eq => 1 << lane,
                Compare::Lt => (1 << lane) - 1,
                Compare::Le => u32::MAX >> (31 - lane),
                Compare::Gt => !(u32::MAX >> (31 - lane)),
                Compare::Ge | Compare::Ne => !((1 << lane) - 1),
            },
            Special::DynamicShared => self.dynamic_shared,
            Special::TotalShared => self.static_shared + self.dynamic_shared,
        }
    }

    fn constant(&self, c: Constant, thread: u32) -> u64 {
        match c {
            Constant::Value(v) => v,
            Constant::Special(s) => u64::from(self.special(s, thread)),
            Constant::DynamicShared(offset) => u64::from(self.static_shared).wrapping_add(offset),
            Constant::ModuleGlobal(offset) => self.module_globals.wrapping_add(offset),
        }
    }
}

impl Warp {
    /// Ready to run a CTA from the start; always of one launch. Register rows keep their old bits: code that reads them unwritten is reported.
    pub(crate) fn reset(&mut self, program: &Program, index: usize, place: &Place) {
        self.index = index;
        self.w.resize(program.words as usize, [0; 32]);
        self.d.resize(program.doubles as usize, [0; 32]);
        self.p.resize(program.predicates as usize, 0);
        for (bits, n) in [(&mut self.written_w, self.w.len()), (&mut self.written_d, self.d.len()), (&mut self.written_p, self.p.len())] {
            bits.clear();
            bits.resize(n, 0);
        }
        let first = index as u32 * 32;
        let prepared = std::mem::replace(&mut self.prepared, true);
        let stale = |c: Constant| !prepared || matches!(c, Constant::Special(Special::Ctaid(_)));
        for &(slot, c) in program.word_constants.iter().filter(|(_, c)| stale(*c)) {
            self.w[slot as usize] = std::array::from_fn(|lane| place.constant(c, first + lane as u32) as u32);
        }
        for &(slot, c) in program.double_constants.iter().filter(|(_, c)| stale(*c)) {
            self.d[slot as usize] = std::array::from_fn(|lane| place.constant(c, first + lane as u32));
        }
        for &(slot, v) in &program.predicate_constants {
            self.p[slot as usize] = if v { u32::MAX } else { 0 };
        }
        let lanes = (place.threads() - first).min(32);
        self.members = u32::MAX >> (32 - lanes);
        self.live = self.members;
        self.mask = self.members;
        self.pc = 0;
        self.others.clear();
        self.next_stop = u32::MAX;
        self.forced = false;
        self.same = 0;
        self.local.clear();
        self.local.resize(program.local_bytes as usize * 32, 0x7f);
        self.local_written.clear();
        self.local_written.resize(self.local.len(), false);
        self.copies.clear();
        self.committed = [0; 32];
    }

    /// Lanes of `mask` that read `reg` unwritten; they count as written from now on.
    pub(crate) fn unwritten(&mut self, reg: Reg, mask: u32) -> u32 {
        let bits = self.written(reg);
        let missing = mask & !*bits;
        *bits |= mask;
        missing
    }

    pub(crate) fn written(&mut self, reg: Reg) -> &mut u32 {
        match reg {
            Reg::W(i) => &mut self.written_w[i as usize],
            Reg::D(i) => &mut self.written_d[i as usize],
            Reg::P(i) => &mut self.written_p[i as usize],
        }
    }

    /// One lane of a register, zero-extended.
    #[inline(always)]
    pub(crate) fn get(&self, reg: Reg, lane: usize) -> u64 {
        match reg {
            Reg::W(i) => u64::from(self.w[i as usize][lane]),
            Reg::D(i) => self.d[i as usize][lane],
            Reg::P(i) => u64::from(self.p[i as usize] >> lane & 1),
        }
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, reg: Reg, lane: usize, v: u64) {
        match reg {
            Reg::W(i) => self.w[i as usize][lane] = v as u32,
            Reg::D(i) => self.d[i as usize][lane] = v,
            Reg::P(i) => {
                let p = &mut self.p[i as usize];
                *p = (*p & !(1 << lane)) | ((v as u32 & 1) << lane);
            }
        }
    }

    /// Puts the running group back and runs the ready group at the smallest instruction, joined by all that stand there.
    pub(crate) fn reschedule(&mut self) {
        if self.mask != 0 {
            self.others.push(Group { pc: self.pc, mask: self.mask, state: State::Ready });
            self.mask = 0;
        }
        let pc = self.others.iter().filter(|g| g.state == State::Ready).map(|g| g.pc).min();
        if let Some(pc) = pc {
            self.run_at(pc);
        }
    }

    /// Makes the groups at `pc` the running one.
    pub(crate) fn run_at(&mut self, pc: u32) {
        self.pc = pc;
        let mut mask = 0;
        self.others.retain(|g| {
            let join = g.pc == pc && !matches!(g.state, State::Barrier { .. });
            mask |= if join { g.mask } else { 0 };
            !join
        });
        self.mask = mask;
        let ahead = self.others.iter().filter(|g| g.pc > pc && !matches!(g.state, State::Barrier { .. }));
        self.next_stop = ahead.map(|g| g.pc).min().unwrap_or(u32::MAX);
    }

    /// Stops the running group at `pc` in a waiting state and runs another, if any is ready.
    pub(crate) fn park(&mut self, pc: u32, state: State) {
        self.others.push(Group { pc, mask: self.mask, state });
        self.mask = 0;
        self.next_stop = u32::MAX;
        self.reschedule();
    }
}
