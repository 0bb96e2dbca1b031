//! Where a workgroup and a thread stand.

use crate::mlir::{Builder, Val};
use mnx_plan::gpu::Depthwise;

pub(super) struct Place<'c> {
    pub(super) thread: Val<'c>,
    pub(super) sample: Val<'c>,
    /// Spatial tile: the row of `partials`.
    pub(super) part: Val<'c>,
    /// First channel of the workgroup.
    pub(super) channel: Val<'c>,
    /// The thread's pair of channels, from the workgroup's first on.
    pub(super) pair: Val<'c>,
    /// The thread's group of rows in the tile.
    pub(super) group: Val<'c>,
    /// The thread's run of columns in the tile.
    pub(super) segment: Val<'c>,
    /// The tile's position along height and width.
    pub(super) tile: [Val<'c>; 2],
    /// First output row and column of the thread.
    pub(super) corner: [Val<'c>; 2],
    /// First group of output planes; see [`mnx_plan::gpu::depthwise::Walk`].
    pub(super) first: Val<'c>,
    /// Steps of the walk, those included that only lead to the first group.
    pub(super) steps: Val<'c>,
    /// What a step's number adds to for the number of its group of output planes.
    pub(super) origin: Val<'c>,
}

impl<'c> Place<'c> {
    pub(super) fn new(k: &Depthwise, b: &Builder<'c>) -> Self {
        let t = &k.tile;
        let (thread, part) = (b.thread(), b.block(0));
        let [_, high, wide] = k.tiles();
        let (column, above) = (b.rem(part, wide), b.div(part, wide));
        let (row, slab) = (b.rem(above, high), b.div(above, high));
        let pairs = t.channels / 2;
        let (pair, rest) = (b.rem(thread, pairs), b.div(thread, pairs));
        let [shares, _] = k.shares();
        let (group, segment) = (b.rem(rest, shares), b.div(rest, shares));
        let rows = k.conv.axis(1).out_step();
        let top = b.at(b.mul(group, rows), row, t.height);
        let left = b.at(b.mul(segment, t.run), column, t.width);
        let planes = k.conv.axis(0).out_step();
        let (all, slab_groups) = (k.conv.output[0].div_ceil(planes), t.depth / planes);
        let one_slab = all <= slab_groups;
        let first = if one_slab { b.index(0) } else { b.mul(slab, slab_groups) };
        let groups = if one_slab {
            b.index(all)
        } else if all.is_multiple_of(slab_groups) {
            b.index(slab_groups)
        } else {
            b.min(slab_groups, b.sub(all, first))
        };
        let lead = k.walk().groups - 1;
        Self {
            thread,
            sample: b.block(2),
            part,
            channel: b.mul(b.block(1), t.channels),
            pair,
            group,
            segment,
            tile: [row, column],
            corner: [top, left],
            first,
            steps: b.add(groups, lead),
            origin: b.sub(first, lead),
        }
    }
}
