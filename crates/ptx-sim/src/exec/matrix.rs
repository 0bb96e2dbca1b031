//! `ldmatrix`, `stmatrix`, `movmatrix`, `mma`: gathers rows, leaves the arithmetic to `tensor`.

use super::access::{Piece, Request, Site, read_shared, shared_lanes};
use super::address::{addresses, lanes};
use super::alu::put;
use super::memory::store_shared;
use crate::Row;
use crate::check::FindingKind;
use crate::cta::Cta;
use crate::program::{Inst, Op, Reg};
use crate::syntax::Space;
use crate::tensor;
use crate::warp::Warp;

pub(super) fn matrix(cta: &mut Cta<'_>, warp: &mut Warp, inst: &Inst, mask: u32) {
    let site = Site::of(warp, inst);
    match &inst.op {
        Op::Ldmatrix { trans, d, base, offset } => {
            load(cta, warp, mask, &Matrices { site, trans: *trans, slots: d, base: *base, offset: *offset });
        }
        Op::Stmatrix { trans, s, base, offset } => {
            store(cta, warp, mask, &Matrices { site, trans: *trans, slots: s, base: *base, offset: *offset });
        }
        Op::Movmatrix(d, a) => {
            let out = tensor::movmatrix(&warp.w[*a as usize]);
            put(&mut warp.w[*d as usize], mask, |i| out[i]);
        }
        Op::Mma(m) => {
            let rows = |slots: &[u32]| -> Vec<Row> { slots.iter().map(|&s| warp.w[s as usize]).collect() };
            cta.tally.rest.mma += 1;
            cta.tally.rest.flops += m.flops;
            match tensor::mma(m.shape, m.ab, m.acc_f32, [&rows(&m.a), &rows(&m.b), &rows(&m.c)], cta.launch.model) {
                Ok(out) => {
                    for (&slot, row) in m.d.iter().zip(&out) {
                        put(&mut warp.w[slot as usize], mask, |i| row[i]);
                    }
                }
                Err(message) => cta.find(FindingKind::BadOperand, site.lane(0), || message),
            }
        }
        _ => {}
    }
}

/// A load or store of 8x8 matrices.
struct Matrices<'i> {
    site: Site,
    trans: bool,
    /// One register per matrix.
    slots: &'i [u32],
    base: Reg,
    offset: i64,
}

impl Matrices<'_> {
    /// The row addresses of all matrices (lane 8m + r holds row r of matrix m) and which of them are good. Each matrix is one request.
    fn rows(&self, cta: &mut Cta<'_>, warp: &Warp) -> ([u64; 32], u32) {
        let mut a = addresses(warp, self.base, self.offset);
        a.iter_mut().for_each(|a| *a &= 0xffff_ffff);
        let mut good = 0;
        for m in 0..self.slots.len() {
            good |= shared_lanes(cta, self.request(&a, 0xff << (8 * m)));
        }
        (a, good)
    }

    fn request<'r>(&self, at: &'r [u64; 32], mask: u32) -> Request<'r> {
        Request { site: self.site, space: Space::Shared, at, mask, bytes: 16 }
    }

    /// Calls `f` with the 16-bit halves of a register: the lane, the half's number and its address, but for rows that are not good.
    #[inline(always)]
    fn each_half(&self, reg: usize, mask: u32, (a, good): &([u64; 32], u32), mut f: impl FnMut(usize, usize, u64)) {
        for lane in lanes(mask) {
            for (e, (row, byte)) in tensor::ldmatrix_source(self.slots.len(), self.trans, lane, reg).into_iter().enumerate() {
                if good >> row & 1 == 1 {
                    f(lane, e, a[row] + byte as u64);
                }
            }
        }
    }
}

fn load(cta: &mut Cta<'_>, warp: &mut Warp, mask: u32, m: &Matrices<'_>) {
    let rows = m.rows(cta, warp);
    cta.tally.rest.read.add(Space::Shared, 16 * u64::from(rows.1.count_ones()));
    // A row of 16 bytes is read as a whole, for the lane that points at it.
    for step in [0, 4, 8, 12] {
        read_shared(cta, m.request(&rows.0, rows.1), step, 4);
    }
    for (reg, &slot) in m.slots.iter().enumerate() {
        let mut out = [0; 32];
        m.each_half(reg, mask, &rows, |lane, e, at| {
            let half = u32::from(u16::from_le_bytes([cta.shared[at as usize], cta.shared[at as usize + 1]]));
            out[lane] |= half << (16 * e);
        });
        put(&mut warp.w[slot as usize], mask, |i| out[i]);
    }
}

fn store(cta: &mut Cta<'_>, warp: &mut Warp, mask: u32, m: &Matrices<'_>) {
    let rows = m.rows(cta, warp);
    cta.tally.rest.written.add(Space::Shared, 16 * u64::from(rows.1.count_ones()));
    for (reg, &slot) in m.slots.iter().enumerate() {
        let values = warp.w[slot as usize];
        m.each_half(reg, mask, &rows, |lane, e, at| {
            let half = values[lane] >> (16 * e) & 0xffff;
            store_shared(cta, Piece { spot: m.site.lane(lane), at, bytes: 2 }, u64::from(half));
        });
    }
}
