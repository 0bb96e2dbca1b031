//! A pointwise convolution on its own: stem, heads, low-resolution residuals.

use super::Site;
use crate::gemm::{Ends, Panels, Part, Product, Rows, column_groups, copy, gemm, gemm_columns_first, store_valid};
use crate::mlir::{Buffer, Scalar, Ty, Val};
use mnx_plan::host::pointwise::PointwiseScratch;
use mnx_plan::host::scratch::ScratchTile;
use mnx_plan::host::{self, row_block};
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::voxels;
use mnx_plan::work::Pointwise;

/// Vectors of channels per loop iteration.
const GROUP: usize = 4;

pub(super) fn emit<'c>(kernel: &host::Pointwise, site: &Site<'_, 'c>) {
    let &Site { b, cpu, args, workgroup, scratch } = site;
    let layout = PointwiseScratch::of(kernel);
    let (k, tile) = (&kernel.pointwise, kernel.tile);
    let view = |t: ScratchTile| b.view(scratch, t.offset, Scalar::F32, t.rows * t.stride);
    let (operand, result) = (view(layout.input), view(layout.output));
    let (x, w, y) = (args.of(Slot::X), args.of(Slot::W), args.of(Slot::Y));
    let bias = args.get(Slot::B);
    let space = voxels(k.output);
    let parts = space.div_ceil(tile.voxels);
    let sample = b.div(workgroup, parts);
    let start = b.mul(b.rem(workgroup, parts), tile.voxels);
    let end = b.min(b.add(start, tile.voxels), space);
    let panels = Panels { buffer: w, depth: k.in_channels };
    let rows = if k.in_first {
        Rows { buffer: operand, row_stride: 1, k_stride: layout.input.stride }
    } else {
        Rows { buffer: operand, row_stride: layout.input.stride, k_stride: 1 }
    };
    let product = Product { lanes: cpu.lanes, rows, panels };
    b.each(start, end, tile.rows, |first| {
        let count = b.min(b.sub(end, first), tile.rows);
        b.phase("gather");
        gather(k, site, (x, operand), layout.input.stride, (sample, first, count));
        b.phase("product");
        if k.out_first {
            gemm_columns_first(
                b,
                product,
                (k.out_channels, count),
                &|c| bias.map_or_else(|| b.f32(0.0), |bias| b.load(bias, c)),
                &|c, row, value| {
                    let plane = b.add(b.mul(sample, k.out_channels), c);
                    let at = b.add(b.at(first, plane, space), row);
                    store_valid(b, value, b.sub(count, row), (y, at), result);
                },
            );
            return;
        }
        let block = row_block(tile.rows, cpu);
        let part = Part {
            block,
            blocks: b.div(b.add(count, block - 1), block),
            first_k: 0usize.into(),
            k: k.in_channels,
            first_column: 0usize.into(),
            columns: k.out_channels,
        };
        let stride = layout.output.stride;
        gemm(
            b,
            product,
            part,
            Ends {
                init: &|s| match bias {
                    Some(bias) => b.load_vec(bias, s.column, s.lanes),
                    None => b.zero(Ty::vec(Scalar::F32, s.lanes)),
                },
                finish: &|sums| {
                    for &(s, value) in sums {
                        b.store(value, result, b.at(s.column, s.row, stride));
                    }
                },
            },
        );
        b.phase("store");
        let y = b.shifted(y, b.mul(b.at(first, sample, space), k.out_channels));
        b.each(0usize, count, 1, |row| {
            column_groups(b, k.out_channels, cpu.lanes, GROUP, |group| {
                for &(c, lanes) in group {
                    let value = b.load_vec(result, b.at(c, row, stride), lanes);
                    b.store(value, y, b.at(c, row, k.out_channels));
                }
            });
        });
    });
}

/// Copies the tile's voxels to scratch, in the layout they have.
fn gather<'c>(
    k: &Pointwise,
    site: &Site<'_, 'c>,
    (x, operand): (Buffer<'c>, Buffer<'c>),
    stride: usize,
    (sample, first, count): (Val<'c>, Val<'c>, Val<'c>),
) {
    let &Site { b, cpu, .. } = site;
    let dense = k.stride == [1; 3];
    let space = voxels(k.input);
    // flat voxel of the input that row `row` of the tile reads
    let voxel = |row: Val<'c>| {
        let m = b.add(first, row);
        let line = b.div(m, k.output[2]);
        let at = [b.div(line, k.output[1]), b.rem(line, k.output[1]), b.rem(m, k.output[2])];
        let at = [0, 1, 2].map(|a| b.mul(at[a], k.stride[a]));
        b.at(at[2], b.at(at[1], at[0], k.input[1]), k.input[2])
    };
    if k.in_first {
        b.each(0usize, k.in_channels, 1, |c| {
            let plane = b.mul(b.at(c, sample, k.in_channels), space);
            let to = b.shifted(operand, b.mul(c, stride));
            if dense {
                let from = b.shifted(x, b.add(plane, first));
                copy(b, cpu.lanes, count, from, to);
            } else {
                b.each(0usize, count, 1, |row| {
                    b.store(b.load(x, b.add(plane, voxel(row))), to, row);
                });
            }
        });
        return;
    }
    b.each(0usize, count, 1, |row| {
        let voxel = if dense { b.add(first, row) } else { voxel(row) };
        let at = b.at(voxel, sample, space);
        let from = b.shifted(x, b.mul(at, k.in_channels));
        let to = b.shifted(operand, b.mul(row, stride));
        column_groups(b, k.in_channels, cpu.lanes, GROUP, |group| {
            for &(c, lanes) in group {
                b.store(b.load_vec(from, c, lanes), to, c);
            }
        });
    });
}
