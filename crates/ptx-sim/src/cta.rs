//! One CTA on one worker: its shared memory, its barriers, its warps in turn.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::check::global::GlobalWatch;
use crate::check::shared::SharedWatch;
use crate::check::{Checks, Finding, FindingKind, Reporter};
use crate::counters::Tally;
use crate::exec::{self, Simd, Stop};
use crate::memory::Memory;
use crate::module::Lines;
use crate::program::{Inst, Op, Program};
use crate::tensor::MmaModel;
use crate::warp::{Place, State, Warp};

/// Barrier numbers of a CTA.
const BARRIERS: usize = 16;

#[derive(Debug, Clone, Copy, Default)]
struct Barrier {
    /// Threads and warps (a bit set) that have arrived in this round.
    threads: u32,
    warps: u32,
    /// Threads expected, if the instruction gives them.
    expected: Option<u32>,
    rounds: u64,
}

/// Where something is found: an instruction's line, a warp, a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    pub line: u32,
    pub warp: usize,
    pub lane: usize,
}

/// What instructions may touch besides their own warp.
#[derive(Debug)]
pub(crate) struct Cta<'a> {
    /// What its launch shares.
    pub launch: Shared<'a>,
    pub place: Place,
    /// Number of the CTA in the grid, x fastest.
    pub linear: u64,
    pub shared: Vec<u8>,
    pub watch: SharedWatch,
    /// Whether any check needs the watch.
    pub watch_shared: bool,
    pub tally: Tally,
    pub reporter: Reporter,
    barriers: [Barrier; BARRIERS],
    /// Threads that have not exited.
    live: u32,
}

/// What all CTAs of a launch share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared<'a> {
    pub program: &'a Program,
    pub memory: &'a Memory,
    pub params: &'a [u8],
    pub constants: &'a [u8],
    pub races: Option<&'a GlobalWatch>,
    pub wide_atomics: &'a Mutex<()>,
    /// Some CTA looped without end: the rest of the grid would too.
    pub given_up: &'a AtomicBool,
    pub lines: &'a Lines,
    pub checks: Checks,
    pub model: MmaModel,
    pub place: Place,
    pub seed: u64,
    pub simd: Simd,
}

/// A small generator: the schedule needs to be arbitrary and repeatable, not unpredictable.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

impl<'a> Cta<'a> {
    pub(crate) fn new(launch: Shared<'a>) -> Self {
        let checks = launch.checks;
        Self {
            launch,
            place: launch.place,
            linear: 0,
            shared: Vec::new(),
            watch: SharedWatch::default(),
            watch_shared: checks.uninitialised || checks.shared_races || checks.async_copies,
            tally: Tally::new(launch.program.code.len()),
            reporter: Reporter::default(),
            barriers: [Barrier::default(); BARRIERS],
            live: 0,
        }
    }

    /// Counts a finding and keeps it if it is the first at its place.
    pub(crate) fn find(&mut self, kind: FindingKind, spot: Spot, message: impl FnOnce() -> String) {
        let Spot { line, warp, lane } = spot;
        if self.reporter.wanted(kind, line) {
            let source_text = self.launch.lines.get(line).to_string();
            let thread = self.place.thread((32 * warp + lane) as u32);
            self.reporter.kept.push(Finding { kind, line, source_text, cta: self.place.cta, thread, message: message() });
        }
    }

    /// Completed rounds of a barrier.
    pub(crate) fn rounds(&self, id: u32) -> u64 {
        self.barriers[id as usize].rounds
    }

    /// The running group of `warp` arrives at the barrier of `bar`, and waits there unless it only announces itself.
    pub(crate) fn arrive(&mut self, warp: &mut Warp, inst: &Inst, pc: u32) {
        let Op::Bar { id, threads, arrive, .. } = inst.op else { return };
        let lane = warp.mask.trailing_zeros() as usize;
        let number = warp.w[id as usize][lane];
        let expected = threads.map(|t| warp.w[t as usize][lane]);
        let bad = match expected {
            _ if number as usize >= BARRIERS => Some(format!("barrier {number}: there are {BARRIERS}")),
            Some(n) if n == 0 || n % 32 != 0 => Some(format!("{n} threads are no positive multiple of 32")),
            _ => None,
        };
        if let Some(message) = bad {
            self.find(FindingKind::BadOperand, Spot { line: inst.line, warp: warp.index, lane }, || message);
            return;
        }
        let b = &mut self.barriers[number as usize];
        b.threads += warp.mask.count_ones();
        b.warps |= 1 << warp.index;
        b.expected = b.expected.or(expected);
        let round = b.rounds;
        self.complete(number as usize);
        if !arrive && self.barriers[number as usize].rounds == round {
            warp.park(pc + 1, State::Barrier { id: number, round });
        }
    }

    fn complete(&mut self, id: usize) {
        let b = &mut self.barriers[id];
        let full = match b.expected {
            Some(n) => b.warps.count_ones() * 32 >= n,
            None => b.threads >= self.live,
        };
        if b.warps != 0 && full {
            let warps = b.warps;
            *b = Barrier { rounds: b.rounds + 1, ..Barrier::default() };
            self.tally.rest.barriers += 1;
            self.watch.barrier(warps);
        }
    }

    /// Threads have exited; barriers wait for the others only.
    pub(crate) fn leave(&mut self, threads: u32) {
        self.live -= threads;
        for id in 0..BARRIERS {
            if self.barriers[id].warps != 0 {
                self.complete(id);
            }
        }
    }

    /// Runs the CTA at `cta` from start to end.
    pub(crate) fn run(&mut self, warps: &mut Vec<Warp>, cta: [u32; 3], linear: u64) {
        let Shared { program, seed, simd, given_up, .. } = self.launch;
        if given_up.load(Relaxed) {
            return;
        }
        self.place.cta = cta;
        self.linear = linear;
        let threads = self.place.threads();
        let count = threads.div_ceil(32) as usize;
        self.live = threads;
        self.barriers = [Barrier::default(); BARRIERS];
        self.reporter.new_cta();
        let bytes = (self.place.static_shared + self.place.dynamic_shared) as usize;
        self.shared.clear();
        // Never-written bytes read as NaN.
        self.shared.resize(bytes, 0xff);
        self.watch.begin(bytes, count);
        warps.resize_with(count, Warp::default);
        for (i, w) in warps.iter_mut().enumerate() {
            w.reset(program, i, &self.place);
        }
        let mut state = seed ^ linear.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mut ready: Vec<usize> = (0..count).collect();
        let mut done = 0;
        let mut left = self.launch.checks.instruction_budget;
        while done < count {
            // Any order is legal; a different one each round brings out missing barriers.
            for i in (1..ready.len()).rev() {
                ready.swap(i, (random(&mut state) % (i as u64 + 1)) as usize);
            }
            let mut progress = false;
            let mut next = Vec::with_capacity(ready.len());
            for &i in &ready {
                let steps = (16 + random(&mut state) % 1009).min(left).max(1) as u32;
                let (stop, ran) = exec::run(simd, self, &mut warps[i], steps);
                left = left.saturating_sub(u64::from(ran));
                progress |= ran > 0 || stop == Stop::Done;
                match stop {
                    Stop::Done => done += 1,
                    Stop::Slice => {
                        unstick(&mut warps[i], &mut state);
                        next.push(i);
                    }
                    Stop::Blocked => next.push(i),
                }
            }
            ready = next;
            if left == 0 && done < count {
                self.stop_endless(&warps[ready[0]]);
                given_up.store(true, Relaxed);
                break;
            }
            if !progress && done < count && !self.resolve(warps, &ready) {
                break;
            }
        }
        for w in warps.iter_mut() {
            // What nobody waited for lands at the end.
            let copies = std::mem::take(&mut w.copies);
            exec::land(self, w.index, &copies);
        }
    }

    fn stop_endless(&mut self, warp: &Warp) {
        let (pc, mask) = match warp.others.first() {
            _ if warp.mask != 0 => (warp.pc, warp.mask),
            Some(g) => (g.pc, g.mask),
            None => (0, 1),
        };
        let line = self.launch.program.code[pc as usize].line;
        let budget = self.launch.checks.instruction_budget;
        let spot = Spot { line, warp: warp.index, lane: mask.trailing_zeros() as usize };
        self.find(FindingKind::EndlessLoop, spot, || format!("the CTA has issued {budget} warp instructions; it stood here"));
    }

    /// No warp can go on. Warps that also wait for lanes of their own are diverged: they are let go. Otherwise it is a deadlock.
    fn resolve(&mut self, warps: &mut [Warp], ready: &[usize]) -> bool {
        for &i in ready {
            if warps[i].others.iter().any(|g| g.state == State::Gathering) {
                exec::release_gathering(self, &mut warps[i]);
                return true;
            }
        }
        for &i in ready {
            let w = &warps[i];
            let Some(g) = w.others.first() else { continue };
            let State::Barrier { id, .. } = g.state else { continue };
            let b = self.barriers[id as usize];
            let line = self.launch.program.code[g.pc.saturating_sub(1) as usize].line;
            let expected = b.expected.unwrap_or(self.live);
            let (spot, live) = (Spot { line, warp: w.index, lane: g.mask.trailing_zeros() as usize }, self.live);
            self.find(FindingKind::Deadlock, spot, || {
                format!(
                    "barrier {id}: {} of {expected} threads have arrived, the other {} live threads never will",
                    b.threads,
                    live - b.threads.min(live)
                )
            });
            return false;
        }
        false
    }
}

/// A warp whose lowest group spins for a long time, waiting for one of its own lanes, runs another for once.
fn unstick(warp: &mut Warp, state: &mut u64) {
    warp.same = if warp.others.is_empty() { 0 } else { warp.same + 1 };
    if warp.same > 32 {
        let ready: Vec<u32> = warp.others.iter().filter(|g| g.state == State::Ready).map(|g| g.pc).collect();
        if !ready.is_empty() {
            let pc = ready[(random(state) % ready.len() as u64) as usize];
            if warp.mask != 0 {
                warp.others.push(crate::warp::Group { pc: warp.pc, mask: warp.mask, state: State::Ready });
                warp.mask = 0;
            }
            warp.run_at(pc);
        }
    }
}
