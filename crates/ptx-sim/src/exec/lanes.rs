//! Instructions that look across the lanes of a warp.

use super::alu::put;
use crate::program::{AtomOp, Op, Reg, Shuffle, Vote};
use crate::warp::Warp;

/// `mask` are the lanes that execute together.
pub(super) fn across(w: &mut Warp, op: &Op, mask: u32) {
    let active = (0..32).filter(|l| mask >> l & 1 == 1);
    match *op {
        Op::Shfl { kind, d, p, a, b, c, .. } => {
            let (values, b, c) = (w.w[a as usize], w.w[b as usize], w.w[c as usize]);
            let (mut out, mut within) = ([0; 32], 0u32);
            for lane in active {
                let l = lane as i64;
                let (value, clamp, segment) = (i64::from(b[lane] & 31), i64::from(c[lane] & 31), i64::from(c[lane] >> 8 & 31));
                let highest = (l & segment) | (clamp & !segment);
                let lowest = l & segment;
                let (source, inside) = match kind {
                    Shuffle::Up => (l - value, l - value >= highest),
                    Shuffle::Down => (l + value, l + value <= highest),
                    Shuffle::Bfly => (l ^ value, (l ^ value) <= highest),
                    Shuffle::Idx => (lowest | (value & !segment), (lowest | (value & !segment)) <= highest),
                };
                let source = if inside { source } else { l };
                out[lane] = values[(source & 31) as usize];
                within |= u32::from(inside) << lane;
            }
            put(&mut w.w[d as usize], mask, |i| out[i]);
            if let Some(p) = p {
                let p = &mut w.p[p as usize];
                *p = (*p & !mask) | within;
            }
        }
        Op::Vote { kind, d, p, negated, .. } => {
            let v = (w.p[p as usize] ^ if negated { u32::MAX } else { 0 }) & mask;
            let result = match kind {
                Vote::All => v == mask,
                Vote::Any => v != 0,
                Vote::Uni => v == 0 || v == mask,
                Vote::Ballot => false,
            };
            for lane in active {
                w.set(d, lane, if kind == Vote::Ballot { u64::from(v) } else { u64::from(result) });
            }
        }
        Op::Match { all, d, p, a, .. } => {
            let lanes: Vec<usize> = active.collect();
            let values: Vec<u64> = lanes.iter().map(|&l| w.get(a, l)).collect();
            let equal = values.windows(2).all(|v| v[0] == v[1]);
            for (&lane, value) in lanes.iter().zip(&values) {
                let same = lanes.iter().zip(&values).filter(|(_, v)| *v == value).fold(0u32, |m, (l, _)| m | 1 << l);
                let out = if !all {
                    same
                } else if equal {
                    mask
                } else {
                    0
                };
                w.set(Reg::W(d), lane, u64::from(out));
                if let Some(p) = p {
                    w.set(Reg::P(p), lane, u64::from(equal));
                }
            }
        }
        Op::Redux { op, signed, d, a, .. } => {
            let values = w.w[a as usize];
            let total = active
                .map(|l| values[l])
                .reduce(|x, y| match op {
                    AtomOp::Min if signed => (x as i32).min(y as i32) as u32,
                    AtomOp::Max if signed => (x as i32).max(y as i32) as u32,
                    AtomOp::Min => x.min(y),
                    AtomOp::Max => x.max(y),
                    AtomOp::And => x & y,
                    AtomOp::Or => x | y,
                    AtomOp::Xor => x ^ y,
                    _ => x.wrapping_add(y),
                })
                .unwrap_or(0);
            put(&mut w.w[d as usize], mask, |_| total);
        }
        Op::Elect { d, p, .. } => {
            let leader = mask.trailing_zeros();
            if let Some(d) = d {
                put(&mut w.w[d as usize], mask, |_| leader);
            }
            let p = &mut w.p[p as usize];
            *p = (*p & !mask) | 1 << leader;
        }
        _ => {}
    }
}
