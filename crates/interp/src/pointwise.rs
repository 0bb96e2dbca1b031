//! Pointwise convolutions.

use mnx_ir::StrideAttrs;

use crate::array::Array;
use crate::real::Real;
use crate::shape::{Grid, axpy};

/// Step along each axis; the depth of a 2-D network has step 1.
fn steps(a: &StrideAttrs, rank: usize) -> [usize; 3] {
    [if rank == 4 { 1 } else { a.stride }, a.stride, a.stride]
}

/// `conv.pointwise`.
pub(crate) fn pointwise<T: Real>(a: &StrideAttrs, x: &[&Array<T>], out: &[usize]) -> Array<T> {
    let (input, weight, bias) = (x[0], x[1], x.get(2));
    let [sd, sh, sw] = steps(a, out.len());
    let (gi, go) = (Grid::of(&input.shape), Grid::of(out));
    let mut y = Array::zeros(out);
    let [wi, wo] = [gi.space[2], go.space[2]];
    for n in 0..go.n {
        for d in 0..go.space[0] {
            for h in 0..go.space[1] {
                for o in 0..go.c {
                    let row = &mut y.data[go.row(n, o, d, h)..][..wo];
                    row.fill(bias.map_or(T::ZERO, |b| b.data[o]));
                    for i in 0..gi.c {
                        let source = &input.data[gi.row(n, i, d * sd, h * sh)..][..wi];
                        axpy(row, 1, weight.data[o * gi.c + i], source, sw);
                    }
                }
            }
        }
    }
    y
}

/// `conv.pointwise_transposed`.
pub(crate) fn pointwise_transposed<T: Real>(a: &StrideAttrs, x: &[&Array<T>], out: &[usize]) -> Array<T> {
    let (input, weight, bias) = (x[0], x[1], x.get(2));
    let [sd, sh, sw] = steps(a, out.len());
    let (gi, go) = (Grid::of(&input.shape), Grid::of(out));
    let mut y = Array::zeros(out);
    let [wi, wo] = [gi.space[2], go.space[2]];
    if let Some(bias) = bias {
        for (i, channel) in y.data.chunks_exact_mut(go.voxels()).enumerate() {
            channel.fill(bias.data[i % go.c]);
        }
    }
    for n in 0..gi.n {
        for d in 0..gi.space[0] {
            for h in 0..gi.space[1] {
                for o in 0..go.c {
                    let row = &mut y.data[go.row(n, o, d * sd, h * sh)..][..wo];
                    for i in 0..gi.c {
                        let source = &input.data[gi.row(n, i, d, h)..][..wi];
                        axpy(row, sw, weight.data[i * go.c + o], source, 1);
                    }
                }
            }
        }
    }
    y
}
