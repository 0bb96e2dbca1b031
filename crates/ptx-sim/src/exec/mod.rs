//! Runs one warp for a while: fetch, guard, dispatch. Arithmetic is in line, so that the whole loop is compiled for the vector unit.

mod access;
mod address;
mod alu;
mod async_copy;
mod atomics;
mod lanes;
mod matrix;
mod memory;

pub(crate) use async_copy::land;

use crate::check::FindingKind;
use crate::cta::{Cta, Spot};
use crate::dataflow::is_watched;
use crate::program::{Inst, NO_GUARD, Op, Program, Reg};
use crate::warp::{Group, State, Warp};

/// Why a warp stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The warp's share of steps is used up.
    Slice,
    /// No group can go on before a barrier completes.
    Blocked,
    /// All lanes have exited.
    Done,
}

/// The vector unit of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Simd {
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    V3(pulp::x86::V3),
    /// Whatever the compiler may assume.
    Plain,
}

impl Simd {
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = pulp::x86::V3::try_new() {
            return Self::V3(v3);
        }
        Self::Plain
    }
}

/// Runs at most `steps` warp instructions; also says how many it ran.
pub(crate) fn run(simd: Simd, cta: &mut Cta<'_>, warp: &mut Warp, steps: u32) -> (Stop, u32) {
    match simd {
        #[cfg(target_arch = "x86_64")]
        Simd::V3(v3) => v3.vectorize(Slice { cta, warp, steps }),
        Simd::Plain => slice(cta, warp, steps),
    }
}

/// A call of `slice`. A closure would do, but its call shim is no `inline(always)` function and would lose the vector unit.
struct Slice<'s, 'a> {
    cta: &'s mut Cta<'a>,
    warp: &'s mut Warp,
    steps: u32,
}

impl pulp::NullaryFnOnce for Slice<'_, '_> {
    type Output = (Stop, u32);

    #[inline(always)]
    fn call(self) -> Self::Output {
        slice(self.cta, self.warp, self.steps)
    }
}

#[inline(always)]
fn slice(cta: &mut Cta<'_>, warp: &mut Warp, steps: u32) -> (Stop, u32) {
    let program: &Program = cta.launch.program;
    for step in 0..steps {
        if warp.mask == 0
            && let Some(stop) = next_group(cta, warp)
        {
            return (stop, step);
        }
        let mut pc = warp.pc;
        if pc >= warp.next_stop {
            warp.reschedule();
            pc = warp.pc;
        }
        let inst = &program.code[pc as usize];
        let mut mask = warp.mask;
        if inst.guard != NO_GUARD {
            let p = warp.p[inst.guard as usize];
            mask &= if inst.negated { !p } else { p };
        }
        cta.tally.issued[pc as usize] += 1;
        cta.tally.lanes[pc as usize] += u64::from(mask.count_ones());
        if inst.watch || inst.track {
            watch(cta, warp, program, pc, mask);
        }
        warp.pc = pc + 1;
        if mask != 0 && !alu::alu(warp, &inst.op, mask) {
            control(cta, warp, inst, pc, mask);
        }
    }
    (Stop::Slice, steps)
}

/// No group runs: take one, or say why there is none.
#[inline(never)]
fn next_group(cta: &mut Cta<'_>, warp: &mut Warp) -> Option<Stop> {
    if warp.live == 0 {
        return Some(Stop::Done);
    }
    for g in &mut warp.others {
        if let State::Barrier { id, round } = g.state
            && cta.rounds(id) > round
        {
            g.state = State::Ready;
        }
    }
    warp.reschedule();
    if warp.mask != 0 {
        return None;
    }
    if warp.others.iter().any(|g| matches!(g.state, State::Barrier { .. })) {
        return Some(Stop::Blocked);
    }
    release_gathering(cta, warp);
    None
}

/// All groups wait for each other's lanes. Warp barriers with one mask may stand at different places; anything else is divergence, reported,
/// and the first group goes on without the lanes it misses.
#[inline(never)]
pub(crate) fn release_gathering(cta: &mut Cta<'_>, warp: &mut Warp) {
    let program = cta.launch.program;
    let all_barriers = warp.others.iter().all(|g| matches!(program.code[g.pc as usize].op, Op::WarpBar(_)));
    let gathered = warp.others.iter().fold(0, |m, g| m | g.mask);
    if all_barriers && gathered == warp.live {
        for g in &mut warp.others {
            g.pc += 1;
            g.state = State::Ready;
        }
        cta.watch.warp_barrier(warp.index);
        warp.reschedule();
        return;
    }
    let first = warp.others.iter().filter(|g| g.state == State::Gathering).map(|g| g.pc).min();
    if let Some(pc) = first {
        warp.run_at(pc);
        warp.forced = true;
        let elsewhere: Vec<String> =
            warp.others.iter().map(|g| format!("{:#010x} at line {}", g.mask, program.code[g.pc as usize].line)).collect();
        let exited = warp.members & !warp.live;
        let message =
            format!("only lanes {:#010x} are here; waiting elsewhere: {}; exited: {exited:#010x}", warp.mask, elsewhere.join(", "));
        if cta.launch.checks.divergence {
            let spot = spot(warp, &program.code[pc as usize], warp.mask);
            cta.find(FindingKind::Divergence, spot, || message);
        }
    }
}

#[inline(never)]
fn watch(cta: &mut Cta<'_>, warp: &mut Warp, program: &Program, pc: u32, mask: u32) {
    let inst = &program.code[pc as usize];
    if inst.watch && cta.launch.checks.uninitialised {
        for &r in program.uses[pc as usize].iter().filter(|r| is_watched(program, **r)) {
            let reading = if r == Reg::P(inst.guard) { warp.mask } else { mask };
            let missing = warp.unwritten(r, reading);
            if missing != 0 {
                cta.find(FindingKind::UninitialisedRegister, spot(warp, inst, missing), || {
                    format!("`{}` is read but never written on this path (lanes {missing:#010x})", program.name(r))
                });
            }
        }
    }
    if inst.track {
        for &r in &program.defs[pc as usize] {
            *warp.written(r) |= mask;
        }
    }
}

/// True if the instruction may run now; else the group has been parked until the missing lanes come. `named` are the lanes it needs.
fn gather(cta: &mut Cta<'_>, warp: &mut Warp, inst: &Inst, pc: u32, named: u32) -> bool {
    let missing = named & !warp.mask;
    let forced = std::mem::take(&mut warp.forced);
    if missing == 0 || forced {
        return true;
    }
    let gone = missing & !warp.live;
    if missing == gone {
        if cta.launch.checks.divergence {
            cta.find(FindingKind::Divergence, spot(warp, inst, warp.mask), || format!("lanes {gone:#010x} are needed but have exited"));
        }
        return true;
    }
    warp.park(pc, State::Gathering);
    false
}

/// The first of some lanes of a warp at an instruction.
fn spot(warp: &Warp, inst: &Inst, lanes: u32) -> Spot {
    Spot { line: inst.line, warp: warp.index, lane: lanes.trailing_zeros() as usize }
}

/// Splits off the lanes for which the guard is false, which go on to the next instruction.
fn split_guarded(warp: &mut Warp, pc: u32, mask: u32) {
    if mask != warp.mask {
        warp.others.push(Group { pc: pc + 1, mask: warp.mask & !mask, state: State::Ready });
        warp.mask = mask;
        warp.next_stop = warp.next_stop.min(pc + 1);
    }
}

/// Everything but arithmetic.
#[inline(never)]
fn control(cta: &mut Cta<'_>, warp: &mut Warp, inst: &Inst, pc: u32, mask: u32) {
    match &inst.op {
        Op::Bra(target) => {
            if mask == warp.mask {
                warp.pc = *target;
                if !warp.others.is_empty() {
                    warp.reschedule();
                }
            } else {
                split_guarded(warp, pc, mask);
                warp.pc = *target;
                warp.reschedule();
            }
        }
        Op::BrxIdx(index, targets) => {
            split_guarded(warp, pc, mask);
            let mut left = mask;
            while left != 0 {
                let lane = left.trailing_zeros() as usize;
                let value = warp.w[*index as usize][lane];
                let same = (0..32).filter(|&l| left >> l & 1 == 1 && warp.w[*index as usize][l] == value).fold(0, |m, l| m | 1u32 << l);
                left &= !same;
                match targets.get(value as usize) {
                    Some(&t) => warp.others.push(Group { pc: t, mask: same, state: State::Ready }),
                    None => {
                        cta.find(FindingKind::BadOperand, spot(warp, inst, same), || {
                            format!("index {value} into a branch table of {} entries", targets.len())
                        });
                        exit(cta, warp, same);
                    }
                }
            }
            warp.mask = 0;
            warp.reschedule();
        }
        Op::Exit => exit(cta, warp, mask),
        Op::Trap => {
            cta.find(FindingKind::Trap, spot(warp, inst, mask), || "the kernel gave up".into());
            exit(cta, warp, mask);
        }
        Op::Bar { aligned, .. } => {
            split_guarded(warp, pc, mask);
            let live = warp.live;
            if *aligned && !gather(cta, warp, inst, pc, live) {
                return;
            }
            cta.arrive(warp, inst, pc);
        }
        Op::WarpBar(m) => {
            split_guarded(warp, pc, mask);
            let named = named(cta, warp, inst, *m, mask);
            if gather(cta, warp, inst, pc, named) {
                cta.watch.warp_barrier(warp.index);
            }
        }
        Op::Shfl { mask: m, .. }
        | Op::Vote { mask: m, .. }
        | Op::Match { mask: m, .. }
        | Op::Redux { mask: m, .. }
        | Op::Elect { mask: m, .. } => {
            split_guarded(warp, pc, mask);
            let named = named(cta, warp, inst, *m, mask);
            if gather(cta, warp, inst, pc, named) {
                lanes::across(warp, &inst.op, warp.mask);
            }
        }
        Op::ActiveMask(d) => alu::put(&mut warp.w[*d as usize], mask, |_| mask),
        Op::Ldmatrix { .. } | Op::Stmatrix { .. } | Op::Movmatrix(..) | Op::Mma(_) => {
            split_guarded(warp, pc, mask);
            // The whole warp must be there, exited lanes included.
            if gather(cta, warp, inst, pc, u32::MAX) {
                matrix::matrix(cta, warp, inst, warp.mask);
            }
        }
        Op::Load { .. } => memory::load(cta, warp, inst, mask),
        Op::Store { .. } => memory::store(cta, warp, inst, mask),
        Op::Atom { .. } => atomics::atomic(cta, warp, inst, mask),
        Op::Cvta { .. } | Op::IsSpace(..) => address::convert(warp, &inst.op, mask),
        Op::CpAsync { .. } => async_copy::issue(cta, warp, inst, mask),
        Op::CpCommit => async_copy::commit(warp, mask),
        Op::CpWait(groups) => async_copy::wait(cta, warp, mask, *groups),
        // Arithmetic has been done.
        _ => {}
    }
}

/// The lanes that a `.sync` instruction names; they must include those that execute it, and agree.
fn named(cta: &mut Cta<'_>, warp: &Warp, inst: &Inst, m: u32, mask: u32) -> u32 {
    let row = &warp.w[m as usize];
    let first = row[mask.trailing_zeros() as usize];
    let mut odd = 0u32;
    for (lane, &v) in row.iter().enumerate() {
        if mask >> lane & 1 == 1 && (v >> lane & 1 == 0) {
            odd |= 1 << lane;
        }
    }
    if odd != 0 && cta.launch.checks.divergence {
        cta.find(FindingKind::Divergence, spot(warp, inst, odd), || {
            format!("lanes {odd:#010x} execute it but are not in the mask {first:#010x}")
        });
    }
    // Lanes that never were cannot be waited for.
    first & warp.members
}

fn exit(cta: &mut Cta<'_>, warp: &mut Warp, mask: u32) {
    warp.live &= !mask;
    warp.mask &= !mask;
    cta.leave(mask.count_ones());
    if warp.mask == 0 {
        warp.next_stop = u32::MAX;
        warp.reschedule();
    } else if !warp.others.is_empty() {
        warp.reschedule();
    }
}
