//! Atomics and reductions on global and shared memory.

use std::sync::PoisonError;

use super::access::{Kind, Request, Site, admit, check_written, fault, touch_shared};
use super::address::{addresses, by_space, lanes};
use crate::check::shared::Touch;
use crate::cta::Cta;
use crate::numeric::{self as n, Rounding};
use crate::program::{AtomOp, AtomType, Inst, Op};
use crate::syntax::Space;
use crate::warp::Warp;

/// The new value.
fn apply(op: AtomOp, ty: AtomType, old: u64, v: u64, compare: u64) -> u64 {
    match op {
        AtomOp::Exch => return v,
        AtomOp::Cas => return if old == compare { v } else { old },
        _ => {}
    }
    match ty {
        AtomType::Int { bits, signed } => {
            let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
            let wide = |v: u64| (v << (64 - bits)) as i64 >> (64 - bits);
            match op {
                AtomOp::Add => old.wrapping_add(v) & mask,
                AtomOp::Min if signed => wide(old).min(wide(v)) as u64 & mask,
                AtomOp::Max if signed => wide(old).max(wide(v)) as u64 & mask,
                AtomOp::Min => old.min(v),
                AtomOp::Max => old.max(v),
                AtomOp::And => old & v,
                AtomOp::Or => old | v,
                AtomOp::Xor => old ^ v,
                AtomOp::Inc => {
                    if old >= v {
                        0
                    } else {
                        old + 1
                    }
                }
                AtomOp::Dec => {
                    if old == 0 || old > v {
                        v
                    } else {
                        old - 1
                    }
                }
                AtomOp::Exch | AtomOp::Cas => v,
            }
        }
        AtomType::F32 => {
            let (a, b) = (f32::from_bits(old as u32), f32::from_bits(v as u32));
            let r = if op == AtomOp::Add {
                n::add_f32(a, b, Rounding::Rn, false, false)
            } else {
                n::min_max_f32(a, b, op == AtomOp::Max, false, false)
            };
            u64::from(r.to_bits())
        }
        AtomType::F64 => {
            let (a, b) = (f64::from_bits(old), f64::from_bits(v));
            (if op == AtomOp::Add {
                a + b
            } else if op == AtomOp::Max {
                a.max(b)
            } else {
                a.min(b)
            })
            .to_bits()
        }
        AtomType::Half(h) => u64::from(half(op, h, old as u16, v as u16)),
        AtomType::Half2(h) => {
            let high = half(op, h, (old >> 16) as u16, (v >> 16) as u16);
            u64::from(high) << 16 | u64::from(half(op, h, old as u16, v as u16))
        }
    }
}

fn half(op: AtomOp, h: n::Half, a: u16, b: u16) -> u16 {
    if op == AtomOp::Add { n::add_half(h, a, b) } else { n::min_max_half(h, a, b, op == AtomOp::Max, false) }
}

pub(super) fn atomic(cta: &mut Cta<'_>, warp: &mut Warp, inst: &Inst, mask: u32) {
    let Op::Atom { op, ty, access, d, s, compare } = &inst.op else { return };
    let site = Site::of(warp, inst);
    let a = addresses(warp, access.base, access.offset);
    let width = u64::from(access.width);
    by_space(access.space, a, mask, |space, at, mask| {
        let request = Request { site, space, at, mask, bytes: width };
        let good = admit(cta, request, Kind::Atomic);
        let memory = cta.launch.memory;
        for lane in lanes(good) {
            let (piece, v) = (request.piece(lane), warp.get(*s, lane));
            let at = piece.at;
            let comparand = compare.map_or(0, |c| warp.get(c, lane));
            let new = |old: u64| apply(*op, *ty, old, v, comparand);
            let old = if space == Space::Shared {
                touch_shared(cta, piece, Touch::Atomic);
                let range = at as usize..(at + width) as usize;
                let mut old = [0; 8];
                old[..width as usize].copy_from_slice(&cta.shared[range.clone()]);
                let old = u64::from_le_bytes(old);
                cta.shared[range].copy_from_slice(&new(old).to_le_bytes()[..width as usize]);
                old
            } else {
                match memory.find(at, width, true) {
                    Err(f) => {
                        fault(cta, piece, f);
                        0
                    }
                    Ok((allocation, _, offset)) => {
                        if *op != AtomOp::Exch {
                            check_written(cta, allocation, offset, piece);
                        }
                        allocation.mark(offset, width);
                        match width {
                            8 => {
                                let _serial = cta.launch.wide_atomics.lock().unwrap_or_else(PoisonError::into_inner);
                                allocation.update_wide(offset, new)
                            }
                            4 => u64::from(allocation.update(offset, |old| new(u64::from(old)) as u32)),
                            _ => {
                                let shift = 8 * (offset % 4) as u32;
                                let field = ((1u32 << (8 * width)) - 1) << shift;
                                let old = allocation
                                    .update(offset, |old| (old & !field) | ((new(u64::from((old & field) >> shift)) as u32) << shift));
                                u64::from((old & field) >> shift)
                            }
                        }
                    }
                }
            };
            if let Some(d) = d {
                warp.set(*d, lane, old);
            }
        }
    });
}
