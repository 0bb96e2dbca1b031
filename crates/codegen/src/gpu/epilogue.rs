//! The block's end on a warp's sums: residual, skip, head, result, padded planes.
//!
//! Columns are dealt out so that a lane owns 8 (of every 32) or 4 (of 16 left over) that follow one another: every tensor moves in pieces of 8 or 16 bytes.

use super::atom::{Sums, Warp};
use super::stage::{Crew, PIECE, split};
use super::tile::Tile;
use super::{Args, vectors};
use crate::mlir::{Buffer, Val};
use mnx_plan::gpu::Epilogue;
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::{Extent, voxels};
use mnx_plan::work::Residual;

/// Columns that a lane owns in a row: `2 * blocks` from `width * t` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    /// First column of the group.
    pub(super) column: usize,
    /// Blocks of eight columns.
    pub(super) blocks: usize,
}

impl Group {
    /// The groups of so many columns.
    pub(super) fn all(columns: usize) -> Vec<Self> {
        let wide = columns / 32;
        let left = (!columns.is_multiple_of(32)).then_some(Self { column: wide * 32, blocks: 2 });
        (0..wide).map(|i| Self { column: i * 32, blocks: 4 }).chain(left).collect()
    }

    /// Columns that a lane owns.
    pub(super) fn own(self) -> usize {
        2 * self.blocks
    }

    /// A lane's values in row half `half` (0: row g, 1: row g + 8) of a row block, in the order of its columns.
    pub(super) fn values<'c>(self, sums: &[Sums<'c>], half: usize) -> Vec<Val<'c>> {
        sums[self.column / 8..][..self.blocks].iter().flat_map(|s| [s[2 * half], s[2 * half + 1]]).collect()
    }

    /// Puts them back.
    fn put<'c>(self, sums: &mut [Sums<'c>], half: usize, values: &[Val<'c>]) {
        for (s, pair) in sums[self.column / 8..][..self.blocks].iter_mut().zip(values.chunks_exact(2)) {
            s[2 * half..2 * half + 2].copy_from_slice(pair);
        }
    }
}

/// The end of a block, as one thread sees it.
pub(super) struct End<'k, 'a, 'c> {
    warp: &'k Warp<'a, 'c>,
    epilogue: &'k Epilogue,
    grid: Extent,
    /// Channels of the result; this workgroup's are `columns` from `first_column` on.
    channels: usize,
    first_column: Val<'c>,
    groups: Vec<Group>,
    sample: Val<'c>,
    residual: Option<Buffer<'c>>,
    /// The residual's, where it is a convolution.
    weight: Option<Buffer<'c>>,
    skip: Option<Buffer<'c>>,
    head: Option<[Buffer<'c>; 3]>,
    out: Option<Buffer<'c>>,
}

/// A row of a warp's tile.
#[derive(Clone, Copy)]
struct Row<'c> {
    block: usize,
    half: usize,
    /// Voxel on the grid, counted over all samples.
    voxel: Val<'c>,
    /// Voxel of the output, likewise.
    output: Val<'c>,
    /// Coordinates, where something depends on them.
    at: Option<[Val<'c>; 3]>,
    /// Whether it lies on the grid; none if all of the tile's do.
    valid: Option<Val<'c>>,
}

/// What a workgroup works on: this sample, these columns of the output channels.
#[derive(Clone, Copy)]
pub(super) struct Share<'c> {
    pub(super) sample: Val<'c>,
    pub(super) first_column: Val<'c>,
    pub(super) columns: usize,
}

impl<'k, 'a, 'c> End<'k, 'a, 'c> {
    /// Finds the buffers of [`Epilogue`] among `args`.
    pub(super) fn new(
        warp: &'k Warp<'a, 'c>,
        epilogue: &'k Epilogue,
        (grid, channels): (Extent, usize),
        share: Share<'c>,
        args: &Args<'c>,
    ) -> Self {
        let head = epilogue.head.map(|_| [Slot::HeadW, Slot::HeadB, Slot::Logits].map(|slot| args.of(slot)));
        Self {
            warp,
            epilogue,
            grid,
            channels,
            first_column: share.first_column,
            groups: Group::all(share.columns),
            sample: share.sample,
            residual: args.get(Slot::Res),
            weight: args.get(Slot::ResW),
            skip: args.get(Slot::Skip),
            head,
            out: args.get(Slot::Out),
        }
    }

    fn output(&self) -> Extent {
        self.epilogue.output(self.grid)
    }

    /// The lane's first column of a group.
    fn column(&self, group: Group) -> Val<'c> {
        let b = self.warp.b;
        b.at(b.add(self.first_column, group.column), self.warp.quad, group.own())
    }

    /// Sums start as the bias: `bias[first]` is that of output channel 0.
    pub(super) fn start(&self, bias: Buffer<'c>, first: Val<'c>, row_blocks: usize) -> Tile<'c> {
        let b = self.warp.b;
        let per_block: Vec<Sums<'c>> = self
            .groups
            .iter()
            .flat_map(|&group| {
                let values = vectors::load(b, bias, b.add(first, self.column(group)), group.own());
                values.chunks_exact(2).map(|v| [v[0], v[1], v[0], v[1]]).collect::<Vec<_>>()
            })
            .collect();
        Tile::of(per_block, row_blocks)
    }

    /// Ends a warp's tile, whose first row is voxel `first` of the sample. All lanes take part.
    pub(super) fn finish(&self, first: Val<'c>, sums: Tile<'c>) {
        let b = self.warp.b;
        let (rows, all) = (16 * sums.row_blocks(), voxels(self.grid));
        let inside = b.le(b.add(first, rows), all);
        b.choose(
            inside,
            || {
                self.end(first, sums.clone(), false);
                vec![]
            },
            || {
                if !all.is_multiple_of(rows) {
                    self.end(first, sums.clone(), true);
                }
                vec![]
            },
        );
    }

    fn end(&self, first: Val<'c>, mut sums: Tile<'c>, ragged: bool) {
        let rows = self.rows(first, sums.row_blocks(), ragged);
        if let Residual::Stem { channels } = self.epilogue.residual {
            sums = self.add_stem(channels, &rows, sums);
        } else if let Residual::Strided { from, channels, stride } = self.epilogue.residual {
            sums = self.add_strided(channels, &rows, sums, &|at| self.flat(from, [0, 1, 2].map(|a| self.warp.b.mul(at[a], stride[a]))));
        } else if let Some(from) = self.residual {
            self.add_stored(from, &rows, &mut sums, &|row| self.residual_voxel(row));
        }
        if let Some(from) = self.skip {
            self.add_stored(from, &rows, &mut sums, &|row| (row.output, row.valid));
        }
        if let Some(out) = self.out {
            for row in &rows {
                self.guarded(row.valid, || {
                    for &group in &self.groups {
                        let at = self.warp.b.at(self.column(group), row.output, self.channels);
                        vectors::store(self.warp.b, &group.values(&sums[row.block], row.half), out, at);
                    }
                });
            }
        }
        self.head(first, &rows, &sums);
    }

    fn guarded(&self, valid: Option<Val<'c>>, body: impl FnOnce()) {
        match valid {
            None => body(),
            Some(valid) => self.warp.b.when(valid, body),
        }
    }

    fn rows(&self, first: Val<'c>, blocks: usize, ragged: bool) -> Vec<Row<'c>> {
        let b = self.warp.b;
        let all = voxels(self.grid);
        let pad = self.epilogue.pad_front;
        let padded = pad != [0; 3];
        let read = matches!(self.epilogue.residual, Residual::Strided { .. });
        let half = |(block, half): (usize, usize)| {
            let own = b.add(b.add(first, self.warp.row), 16 * block + 8 * half);
            let voxel = b.at(own, self.sample, all);
            let at = self.epilogue.located().then(|| {
                // What rows off the grid read is not used, but must be there.
                let own = if ragged && read { b.min(own, all - 1) } else { own };
                let (line, x) = split(b, own, self.grid[2]);
                let (z, y) = split(b, line, self.grid[1]);
                [z, y, x]
            });
            let output = match at {
                Some(at) if padded => self.flat(self.output(), [0, 1, 2].map(|a| b.add(at[a], pad[a]))),
                _ => voxel,
            };
            Row { block, half, voxel, output, at, valid: ragged.then(|| b.lt(own, all)) }
        };
        (0..blocks).flat_map(|block| [(block, 0), (block, 1)]).map(half).collect()
    }

    /// Voxel number over all samples.
    fn flat(&self, extent: Extent, at: [Val<'c>; 3]) -> Val<'c> {
        let b = self.warp.b;
        let plane = b.at(at[0], self.sample, extent[0]);
        b.at(at[2], b.at(at[1], plane, extent[1]), extent[2])
    }

    /// Where a row's stored residual stands, and when it has one.
    fn residual_voxel(&self, row: &Row<'c>) -> (Val<'c>, Option<Val<'c>>) {
        let b = self.warp.b;
        match (self.epilogue.residual, row.at) {
            (Residual::Scattered { from, stride }, Some(at)) => {
                let hit = [0, 1, 2].map(|a| b.eq(b.rem(at[a], stride[a]), 0usize));
                let hit = b.and(hit[0], b.and(hit[1], hit[2]));
                let low = [0, 1, 2].map(|a| b.div(at[a], stride[a]));
                (self.flat(from, low), Some(row.valid.map_or(hit, |v| b.and(v, hit))))
            }
            _ => (row.voxel, row.valid),
        }
    }

    /// Adds a tensor of the result's channels. All of it is asked for before the first value is used, or all of a row where rows differ.
    fn add_stored(&self, from: Buffer<'c>, rows: &[Row<'c>], sums: &mut Tile<'c>, place: &dyn Fn(&Row<'c>) -> (Val<'c>, Option<Val<'c>>)) {
        let places: Vec<_> = rows.iter().map(place).collect();
        if places.iter().all(|(_, valid)| valid.is_none()) {
            let loaded: Vec<_> = places.iter().map(|&(voxel, _)| self.load_row(from, voxel)).collect();
            for (row, pieces) in rows.iter().zip(loaded) {
                let new = self.plus(&self.row_values(sums, row), pieces);
                self.put_row(sums, row, &new);
            }
            return;
        }
        for (row, (voxel, valid)) in rows.iter().zip(places) {
            let old = self.row_values(sums, row);
            // The sum within the branch: only sums live on behind it.
            let added = || self.plus(&old, self.load_row(from, voxel));
            let new = match valid {
                None => added(),
                Some(valid) => self.warp.b.choose(valid, added, || old.clone()),
            };
            self.put_row(sums, row, &new);
        }
    }

    /// A lane's columns of a voxel as they are stored.
    fn load_row(&self, from: Buffer<'c>, voxel: Val<'c>) -> Vec<Val<'c>> {
        let b = self.warp.b;
        let pieces = |&group: &Group| vectors::pieces(b, from, b.at(self.column(group), voxel, self.channels), group.own());
        self.groups.iter().flat_map(pieces).collect()
    }

    fn plus(&self, values: &[Val<'c>], pieces: Vec<Val<'c>>) -> Vec<Val<'c>> {
        let b = self.warp.b;
        let addends = pieces.into_iter().flat_map(|p| b.unpack(b.widen(p)));
        values.iter().zip(addends).map(|(&v, a)| b.add(v, a)).collect()
    }

    /// A lane's values in a row, in the order of its columns.
    fn row_values(&self, sums: &Tile<'c>, row: &Row<'c>) -> Vec<Val<'c>> {
        self.groups.iter().flat_map(|group| group.values(&sums[row.block], row.half)).collect()
    }

    fn put_row(&self, sums: &mut Tile<'c>, row: &Row<'c>, mut values: &[Val<'c>]) {
        for group in &self.groups {
            let (own, rest) = values.split_at(group.own());
            group.put(&mut sums[row.block], row.half, own);
            values = rest;
        }
    }

    /// Adds the stem, recomputed from the input port. Its weight is row-major `[c, image]`.
    fn add_stem(&self, image: usize, rows: &[Row<'c>], sums: Tile<'c>) -> Tile<'c> {
        let b = self.warp.b;
        let (Some(input), Some(weight)) = (self.residual, self.weight) else { return sums };
        let all = voxels(self.grid);
        sums.carry(b, image, 1, |c, mut sums| {
            let values: Vec<Val<'c>> = rows
                .iter()
                .map(|row| {
                    // voxel + sample * all * (image - 1) + c * all: the port is channels-first.
                    let at = b.at(b.at(row.voxel, self.sample, all * (image - 1)), c, all);
                    let load = || vec![b.load(input, at)];
                    match row.valid {
                        None => load()[0],
                        Some(valid) => b.choose(valid, load, || vec![b.f32(0.0)])[0],
                    }
                })
                .collect();
            for &group in &self.groups {
                let weights: Vec<Val<'c>> = if image == 1 {
                    vectors::load(b, weight, self.column(group), group.own())
                } else {
                    let first = self.column(group);
                    (0..group.own()).map(|i| b.load(weight, b.at(c, b.add(first, i), image))).collect()
                };
                for (row, &value) in rows.iter().zip(&values) {
                    let old = group.values(&sums[row.block], row.half);
                    let new: Vec<_> = old.iter().zip(&weights).map(|(&v, &w)| b.fma(w, value, v)).collect();
                    group.put(&mut sums[row.block], row.half, &new);
                }
            }
            sums
        })
    }

    /// Adds a pointwise convolution of what lies at `place` of each row's coordinates; weight row-major `[c, channels]`. Both factors come from memory as they are: few
    /// voxels, and each value is read once.
    fn add_strided(&self, channels: usize, rows: &[Row<'c>], sums: Tile<'c>, place: &dyn Fn([Val<'c>; 3]) -> Val<'c>) -> Tile<'c> {
        let b = self.warp.b;
        let (Some(from), Some(weight)) = (self.residual, self.weight) else { return sums };
        let warp = self.warp.of(from.scalar());
        let starts: Vec<Val<'c>> = rows.iter().filter_map(|row| row.at).map(|at| b.opaque(b.mul(place(at), channels))).collect();
        let columns: Vec<Vec<Val<'c>>> = self
            .groups
            .iter()
            .map(|group| {
                let first = b.add(self.first_column, group.column);
                warp.columns(group.own()).into_iter().map(|c| b.opaque(b.mul(b.add(first, c), channels))).collect()
            })
            .collect();
        let step = |at: Val<'c>, reach: usize, mut sums: Tile<'c>| {
            let lefts: Vec<_> = starts.chunks(2).map(|s| warp.left_stored(from, [b.add(s[0], at), b.add(s[1], at)], reach)).collect();
            for (group, columns) in self.groups.iter().zip(&columns) {
                for block in 0..group.blocks {
                    let own: Vec<Val<'c>> = columns.iter().map(|&c| b.add(b.add(c, at), 2 * block * channels)).collect();
                    for (i, right) in warp.right_stored(weight, &own, reach).iter().enumerate() {
                        for (row, left) in sums.rows_mut().iter_mut().zip(&lefts) {
                            let sum = &mut row[group.column / 8 + block];
                            *sum = warp.multiply(&left[i], right, *sum);
                        }
                    }
                }
            }
            sums
        };
        let reach = warp.reach(channels);
        let whole = channels / reach * reach;
        let sums = sums.carry(b, whole, reach, |at, sums| step(at, reach, sums));
        if whole < channels { step(whole.into(), channels - whole, sums) } else { sums }
    }

    /// Logits, where there is a head: each lane sums over its columns, the quad over its lanes; then lane t of a quad writes row t of every four.
    fn head(&self, first: Val<'c>, rows: &[Row<'c>], sums: &Tile<'c>) {
        let (Some(classes), Some([weight, bias, logits])) = (self.epilogue.head, self.head) else {
            return;
        };
        let b = self.warp.b;
        let all = voxels(self.grid);
        b.each(0usize, classes, 1, |class| {
            let mut totals = vec![b.f32(0.0); rows.len()];
            for &group in &self.groups {
                let weights = vectors::load(b, weight, b.at(self.column(group), class, self.channels), group.own());
                for (total, row) in totals.iter_mut().zip(rows) {
                    let values = group.values(&sums[row.block], row.half);
                    *total = values.iter().zip(&weights).fold(*total, |sum, (&v, &w)| b.fma(w, v, sum));
                }
            }
            let start = b.load(bias, class);
            let totals: Vec<_> = totals.into_iter().map(|t| b.add(b.sum_lanes(t, 3), start)).collect();
            let to = b.mul(b.at(class, self.sample, classes), all);
            for (i, four) in totals.chunks(4).enumerate() {
                let own = four.iter().enumerate().skip(1).fold(four[0], |own, (t, &v)| b.select(b.eq(self.warp.quad, t), v, own));
                let voxel = b.at(b.add(b.add(first, self.warp.row), 32 * i), self.warp.quad, 8);
                let mut needed = (four.len() < 4).then(|| b.lt(self.warp.quad, four.len()));
                if rows[0].valid.is_some() {
                    let valid = b.lt(voxel, all);
                    needed = Some(needed.map_or(valid, |n| b.and(n, valid)));
                }
                self.guarded(needed, || b.store(own, logits, b.add(to, voxel)));
            }
        });
    }

    /// Writes the planes that `pad_front` puts in front, as this thread's share of a crew that covers the sample and these columns.
    ///
    /// In place there is nothing to write: the skip is there already.
    pub(super) fn pad(&self, crew: Crew<'c>, columns: usize) {
        let b = self.warp.b;
        let (pad, grid, output) = (self.epilogue.pad_front, self.grid, self.output());
        let Some(out) = self.out.filter(|_| pad != [0; 3] && !self.epilogue.in_place) else { return };
        let elements = PIECE / out.scalar().bytes();
        let per_voxel = columns / elements;
        // The planes one axis after another, each without what the axes before it have.
        let counts = [pad[0] * output[1] * output[2], pad[1] * grid[0] * output[2], pad[2] * grid[0] * grid[1]];
        let total: usize = counts.iter().sum();
        b.each(crew.thread, total * per_voxel, crew.threads, |i| {
            let (voxel, piece) = split(b, i, per_voxel);
            let zero: Val<'c> = 0usize.into();
            let on = |axis: usize, inside: Val<'c>| match axis {
                0 => {
                    let (y, x) = split(b, inside, output[2]);
                    [zero, y, x]
                }
                1 => {
                    let (z, x) = split(b, inside, output[2]);
                    [b.add(z, pad[0]), zero, x]
                }
                _ => {
                    let (z, y) = split(b, inside, grid[1]);
                    [b.add(z, pad[0]), b.add(y, pad[1]), zero]
                }
            };
            let mut end = total;
            let mut at: Option<Val<'c>> = None;
            for axis in (0..3).rev().filter(|&a| counts[a] > 0) {
                let start = end - counts[axis];
                let own = self.flat(output, on(axis, b.sub(voxel, start)));
                at = Some(at.map_or(own, |later| b.select(b.lt(voxel, end), own, later)));
                end = start;
            }
            let Some(at) = at else { return };
            let at = b.add(b.at(self.first_column, at, self.channels), b.mul(piece, elements));
            let value = match self.skip {
                Some(skip) => b.load_whole(skip, at, elements),
                None => vectors::zero(b, out.scalar(), elements),
            };
            b.store_whole(value, out, at);
        });
    }
}
