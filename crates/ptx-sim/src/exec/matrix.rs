//! `ldmatrix`, `stmatrix`, `movmatrix`, `mma`: gathers rows, leaves the arithmetic to `tensor`.

use super::alu::put;
use super::memory::{Site, addresses, lanes, read_shared, shared_lanes, store_shared};
use crate::Row;
use crate::check::FindingKind;
use crate::cta::Cta;
use crate::program::{Inst, Op, Reg};
use crate::syntax::Space;
use crate::tensor;
use crate::warp::Warp;

pub(super) fn matrix(cta: &mut Cta<'_>, warp: &mut Warp, inst: &Inst, mask: u32) {
    match &inst.op {
        Op::Ldmatrix { trans, d, base, offset } => load(cta, warp, inst.line, mask, *trans, d, *base, *offset),
        Op::Stmatrix { trans, s, base, offset } => store(cta, warp, inst.line, mask, *trans, s, *base, *offset),
        Op::Movmatrix(d, a) => {
            let out = tensor::movmatrix(&warp.w[*a as usize]);
            put(&mut warp.w[*d as usize], mask, |i| out[i]);
        }
        Op::Mma(m) => {
            let rows = |slots: &[u32]| -> Vec<Row> { slots.iter().map(|&s| warp.w[s as usize]).collect() };
            cta.tally.rest.mma += 1;
            cta.tally.rest.flops += m.flops;
            match tensor::mma(m.shape, m.ab, m.acc_f32, &rows(&m.a), &rows(&m.b), &rows(&m.c), cta.model) {
                Ok(out) => {
                    for (&slot, row) in m.d.iter().zip(&out) {
                        put(&mut warp.w[slot as usize], mask, |i| row[i]);
                    }
                }
                Err(message) => cta.find(FindingKind::BadOperand, inst.line, warp.index, 0, || message),
            }
        }
        _ => {}
    }
}

/// The row addresses of all matrices (lane 8m + r holds row r of matrix m) and which of them are good. Each matrix is one request.
fn rows(cta: &mut Cta<'_>, warp: &Warp, site: Site, count: usize, base: Reg, offset: i64) -> ([u64; 32], u32) {
    let mut a = addresses(warp, base, offset);
    a.iter_mut().for_each(|a| *a &= 0xffff_ffff);
    let mut good = 0;
    for m in 0..count {
        good |= shared_lanes(cta, site, &a, 0xff << (8 * m), 16);
    }
    (a, good)
}

#[allow(clippy::too_many_arguments)]
fn load(cta: &mut Cta<'_>, warp: &mut Warp, line: u32, mask: u32, trans: bool, d: &[u32], base: Reg, offset: i64) {
    let count = d.len();
    let site = Site { warp: warp.index, line };
    let (a, good) = rows(cta, warp, site, count, base, offset);
    cta.tally.rest.read.add(Space::Shared, 16 * u64::from(good.count_ones()));
    // A row of 16 bytes is read as a whole, for the lane that points at it.
    for step in [0, 4, 8, 12] {
        read_shared(cta, site, &a, good, step, 4);
    }
    for (reg, &slot) in d.iter().enumerate() {
        let mut out = [0; 32];
        for lane in lanes(mask) {
            for (e, (row, byte)) in tensor::ldmatrix_source(count, trans, lane, reg).into_iter().enumerate() {
                if good >> row & 1 == 1 {
                    let at = a[row] + byte as u64;
                    let half = u32::from(u16::from_le_bytes([cta.shared[at as usize], cta.shared[at as usize + 1]]));
                    out[lane] |= half << (16 * e);
                }
            }
        }
        put(&mut warp.w[slot as usize], mask, |i| out[i]);
    }
}

#[allow(clippy::too_many_arguments)]
fn store(cta: &mut Cta<'_>, warp: &mut Warp, line: u32, mask: u32, trans: bool, s: &[u32], base: Reg, offset: i64) {
    let count = s.len();
    let site = Site { warp: warp.index, line };
    let (a, good) = rows(cta, warp, site, count, base, offset);
    cta.tally.rest.written.add(Space::Shared, 16 * u64::from(good.count_ones()));
    for (reg, &slot) in s.iter().enumerate() {
        let values = warp.w[slot as usize];
        for lane in lanes(mask) {
            for (e, (row, byte)) in tensor::ldmatrix_source(count, trans, lane, reg).into_iter().enumerate() {
                if good >> row & 1 == 1 {
                    let half = values[lane] >> (16 * e) & 0xffff;
                    store_shared(cta, site, lane, a[row] + byte as u64, 2, u64::from(half));
                }
            }
        }
    }
}
