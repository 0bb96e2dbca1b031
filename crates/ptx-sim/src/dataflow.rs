//! Which registers may be read before they are written: a forward "written on every path" analysis. What it proves needs no look at run
//! time, so that the check of uninitialised registers costs nothing in ordinary code.

use crate::program::{NO_GUARD, Op, Program, Reg};

/// Whether some read of a register is not proven to follow a write.
pub(crate) fn is_watched(p: &Program, r: Reg) -> bool {
    let k = index(p, r);
    p.watched.get(k / 64).is_some_and(|w| w >> (k % 64) & 1 == 1)
}

/// Index of a register in one bit set over all three classes.
fn index(p: &Program, r: Reg) -> usize {
    match r {
        Reg::W(i) => i as usize,
        Reg::D(i) => (p.words + i) as usize,
        Reg::P(i) => (p.words + p.doubles + i) as usize,
    }
}

/// Sets `watch` and `track`.
pub(crate) fn mark(p: &mut Program) {
    let bits = (p.words + p.doubles + p.predicates) as usize;
    let words = bits.div_ceil(64);
    let n = p.code.len();
    let mut leader = vec![false; n + 1];
    leader[0] = true;
    for (i, inst) in p.code.iter().enumerate() {
        match &inst.op {
            Op::Bra(t) => {
                leader[*t as usize] = true;
                leader[i + 1] = true;
            }
            Op::BrxIdx(_, ts) => {
                ts.iter().for_each(|t| leader[*t as usize] = true);
                leader[i + 1] = true;
            }
            Op::Exit | Op::Trap => leader[i + 1] = true,
            _ => {}
        }
    }
    let starts: Vec<usize> = (0..n).filter(|&i| leader[i]).collect();
    let block_of = |pc: usize| starts.partition_point(|&s| s <= pc) - 1;
    let mut entry: Vec<Option<Vec<u64>>> = vec![None; starts.len()];
    let mut first = vec![0u64; words];
    let constants = p.word_constants.iter().map(|c| Reg::W(c.0)).chain(p.double_constants.iter().map(|c| Reg::D(c.0)));
    for r in constants.chain(p.predicate_constants.iter().map(|c| Reg::P(c.0))) {
        set(&mut first, index(p, r));
    }
    entry[0] = Some(first);
    let mut work = vec![0];
    let mut maybe = vec![0u64; words];
    while let Some(b) = work.pop() {
        let Some(mut state) = entry[b].clone() else { continue };
        let end = starts.get(b + 1).copied().unwrap_or(n);
        for i in starts[b]..end {
            define(p, i, &mut state);
        }
        let mut successors = Vec::new();
        if end > 0 {
            let last = &p.code[end - 1];
            match &last.op {
                Op::Bra(t) => successors.push(*t as usize),
                Op::BrxIdx(_, ts) => successors.extend(ts.iter().map(|t| *t as usize)),
                _ => {}
            }
            let falls = !matches!(last.op, Op::Bra(_) | Op::BrxIdx(..) | Op::Exit | Op::Trap) || last.guard != NO_GUARD;
            if falls && end < n {
                successors.push(end);
            }
        }
        for s in successors {
            let s = block_of(s);
            match &mut entry[s] {
                Some(old) => {
                    let mut changed = false;
                    for (o, n) in old.iter_mut().zip(&state) {
                        changed |= *o & !n != 0;
                        *o &= n;
                    }
                    if changed {
                        work.push(s);
                    }
                }
                slot @ None => {
                    *slot = Some(state.clone());
                    work.push(s);
                }
            }
        }
    }
    for b in 0..starts.len() {
        let Some(mut state) = entry[b].clone() else { continue };
        let end = starts.get(b + 1).copied().unwrap_or(n);
        for i in starts[b]..end {
            let mut watch = false;
            for &r in &p.uses[i] {
                let k = index(p, r);
                if state[k / 64] >> (k % 64) & 1 == 0 {
                    watch = true;
                    set(&mut maybe, k);
                }
            }
            p.code[i].watch = watch;
            define(p, i, &mut state);
        }
    }
    for i in 0..n {
        p.code[i].track = p.defs[i].iter().any(|&r| {
            let k = index(p, r);
            maybe[k / 64] >> (k % 64) & 1 == 1
        });
    }
    p.watched = maybe;
}

fn set(bits: &mut [u64], k: usize) {
    bits[k / 64] |= 1 << (k % 64);
}

fn define(p: &Program, i: usize, state: &mut [u64]) {
    if p.code[i].guard == NO_GUARD {
        for &r in &p.defs[i] {
            set(state, index(p, r));
        }
    }
}
