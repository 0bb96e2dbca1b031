//! Addresses of a warp's lanes, and the state spaces that they lie in.

use crate::program::{Op, Reg};
use crate::syntax::Space;
use crate::warp::Warp;

/// Generic addresses: each space but global has a window of 2^32 bytes.
const WINDOW: u64 = 1 << 32;
const SHARED: u64 = 0x7f00_0000_0000;
const LOCAL: u64 = 0x7e00_0000_0000;
const PARAM: u64 = 0x7d00_0000_0000;
const CONST: u64 = 0x7c00_0000_0000;

fn window(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED,
        Space::Local => LOCAL,
        Space::Param => PARAM,
        Space::Const => CONST,
        Space::Global | Space::Generic => 0,
    }
}

fn space_at(address: u64) -> Space {
    let inside = |w: u64| address.wrapping_sub(w) < WINDOW;
    [Space::Shared, Space::Local, Space::Param, Space::Const].into_iter().find(|&s| inside(window(s))).unwrap_or(Space::Global)
}

/// `cvta` and `isspacep`.
pub(super) fn convert(warp: &mut Warp, op: &Op, mask: u32) {
    for lane in lanes(mask) {
        match *op {
            Op::Cvta { to, space, d, s } => {
                let (v, w) = (warp.get(s, lane), window(space));
                warp.set(d, lane, if to { v.wrapping_sub(w) } else { v.wrapping_add(w) });
            }
            Op::IsSpace(space, d, s) => {
                let v = warp.get(Reg::D(s), lane);
                warp.set(Reg::P(d), lane, u64::from(space_at(v) == space));
            }
            _ => {}
        }
    }
}

pub(super) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        let lane = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        (lane < 32).then_some(lane as usize)
    })
}

pub(super) fn addresses(warp: &Warp, base: Reg, offset: i64) -> [u64; 32] {
    match base {
        Reg::D(b) => {
            let row = &warp.d[b as usize];
            std::array::from_fn(|i| row[i].wrapping_add_signed(offset))
        }
        // 32-bit addresses wrap within their space.
        Reg::W(b) => {
            let row = &warp.w[b as usize];
            std::array::from_fn(|i| u64::from(row[i].wrapping_add(offset as u32)))
        }
        Reg::P(_) => [0; 32],
    }
}

/// Calls `f` once per state space that the lanes' addresses lie in, with addresses inside that space.
pub(super) fn by_space(space: Space, addresses: [u64; 32], mask: u32, mut f: impl FnMut(Space, &[u64; 32], u32)) {
    if space != Space::Generic {
        return f(space, &addresses, mask);
    }
    let mut left = mask;
    while left != 0 {
        let space = space_at(addresses[left.trailing_zeros() as usize]);
        let same = lanes(left).filter(|&l| space_at(addresses[l]) == space).fold(0u32, |m, l| m | 1 << l);
        let inside = addresses.map(|a| a.wrapping_sub(window(space)));
        f(space, &inside, same);
        left &= !same;
    }
}
