//! Input planes on their way into shared memory, some steps ahead of their use.

use super::Conv;
use super::stem::Stem;
use crate::mlir::{Buffer, Builder, Scalar, Transfer, Ty, Val};
use mnx_plan::gpu::depthwise::{Layout, PIECE, Read, Walk};

pub(super) struct Staging<'a, 'c> {
    conv: Conv<'a, 'c>,
    x: Buffer<'c>,
    planes: Buffer<'c>,
    layout: Layout,
    walk: Walk,
    places: Places<'c>,
    stem: Option<Stem<'a, 'c>>,
}

/// Places in a plane of x, as 32-bit integers, negative outside the image: of the thread's pieces, or a list of all.
enum Places<'c> {
    Own(Vec<Val<'c>>),
    Listed(Buffer<'c>),
}

impl<'a, 'c> Staging<'a, 'c> {
    pub(super) fn new(conv: Conv<'a, 'c>, x: Buffer<'c>, stem: Option<(Buffer<'c>, Buffer<'c>)>) -> Self {
        let Conv { k, b, place, shared } = conv;
        let (layout, walk) = (k.layout(), k.walk());
        let scalar = super::taps::storage(k.storage);
        let bytes = layout.plane * walk.planes.len() * k.tile.stages;
        let planes = b.view(shared, 0usize, scalar, bytes / scalar.bytes());
        let all = k.places();
        let places = match layout.places {
            None => {
                let each = all.div_ceil(k.threads());
                Places::Own((0..each).map(|i| piece_place(&conv, b.add(place.thread, i * k.threads()))).collect())
            }
            Some(at) => {
                let list = b.view(shared, at, Scalar::I32, all);
                b.phase("places");
                b.each(place.thread, all, k.threads(), |n| {
                    let value = if k.conv.stem.is_some() { voxel_place(&conv, n) } else { piece_place(&conv, n) };
                    b.store(value, list, n);
                });
                Places::Listed(list)
            }
        };
        let stem = match (stem, &places) {
            (Some((w, bias)), Places::Listed(list)) => Some(Stem::new(conv, [x, w, bias], *list)),
            _ => None,
        };
        Self { conv, x, planes, layout, walk, places, stem }
    }

    /// Copies a plane of x, from its first channel on, to a staged one. Each thread's list entries are those that it wrote itself.
    fn copy(&self, from: Buffer<'c>, to: Buffer<'c>) {
        let (k, b) = (self.conv.k, self.conv.b);
        let (threads, all) = (k.threads(), k.places());
        let lanes = PIECE / k.storage.bytes();
        let one = |n: Val<'c>, place: Val<'c>| {
            let valid = b.ge(place, b.int(Ty::I32, 0));
            let (at, slot) = (b.index_cast(place, Scalar::Index), b.mul(n, lanes));
            b.copy_async(Transfer { from, at, to, slot, bytes: PIECE }, Some(valid));
        };
        match &self.places {
            Places::Listed(list) => b.each(self.conv.place.thread, all, threads, |n| one(n, b.load(*list, n))),
            Places::Own(own) => {
                for (i, &place) in own.iter().enumerate() {
                    let n = b.add(self.conv.place.thread, i * threads);
                    if (i + 1) * threads <= all {
                        one(n, place);
                    } else {
                        b.when(b.lt(n, all), || one(n, place));
                    }
                }
            }
        }
    }

    /// First element of plane `t` of the step in `slot`.
    fn slot(&self, slot: Val<'c>, t: usize) -> Val<'c> {
        let plane = self.layout.plane / self.conv.k.storage.bytes();
        self.conv.b.at(t * plane, slot, self.walk.planes.len() * plane)
    }

    /// Starts the copies of a step's planes.
    fn fetch(&self, step: Val<'c>, slot: Val<'c>) {
        let (k, b) = (self.conv.k, self.conv.b);
        let [d, h, w] = k.conv.input;
        b.when(b.lt(step, self.conv.place.steps), || {
            for (t, read) in self.walk.planes.iter().enumerate() {
                let plane = input_plane(&self.conv, step, read);
                b.when(b.within(plane, d), || match &self.stem {
                    Some(stem) => stem.fetch(plane, b.at(t, slot, self.walk.planes.len())),
                    None => {
                        let to = b.shifted(self.planes, self.slot(slot, t));
                        let from = b.shifted(self.x, b.mul(b.at(plane, self.conv.place.sample, d), h * w * k.conv.channels));
                        self.copy(from, to);
                    }
                });
            }
        });
        b.commit_copies();
    }

    /// The stem of a step's planes, from the port's planes in `slot` to those of the same number.
    fn transform(&self, step: Val<'c>, slot: Val<'c>) {
        let (k, b) = (self.conv.k, self.conv.b);
        let Some(stem) = &self.stem else { return };
        b.when(b.lt(step, self.conv.place.steps), || {
            for (t, read) in self.walk.planes.iter().enumerate() {
                let plane = input_plane(&self.conv, step, read);
                b.when(b.within(plane, k.conv.input[0]), || {
                    let to = b.shifted(self.planes, self.slot(slot, t));
                    stem.transform(b.at(t, slot, self.walk.planes.len()), to);
                });
            }
        });
    }

    /// Before the walk.
    pub(super) fn start(&self) {
        let b = self.conv.b;
        b.phase("stage");
        match &self.stem {
            None => (0..self.conv.k.tile.stages - 1).for_each(|step| self.fetch(step.into(), step.into())),
            Some(stem) => {
                stem.start();
                (0..2usize).for_each(|step| self.fetch(step.into(), step.into()));
                b.copies_done(1);
                b.barrier();
                self.transform(0usize.into(), 0usize.into());
            }
        }
    }

    /// Waits for the planes of `step` and starts the copies of a later one. The barrier also keeps the copies from planes that others still read.
    pub(super) fn turn(&self, step: Val<'c>, slot: Val<'c>) {
        let (b, stages) = (self.conv.b, self.conv.k.tile.stages);
        b.phase("stage");
        if self.stem.is_some() {
            b.copies_done(0);
            b.barrier();
            self.fetch(b.add(step, 2usize), slot);
            self.transform(b.add(step, 1usize), self.after(slot));
            return;
        }
        b.copies_done(stages - 2);
        b.barrier();
        let before = b.select(b.eq(slot, 0usize), b.index(stages - 1), b.sub(slot, 1usize));
        self.fetch(b.add(step, stages - 1), before);
    }

    /// The slot of the next step.
    pub(super) fn after(&self, slot: Val<'c>) -> Val<'c> {
        let next = self.conv.b.add(slot, 1usize);
        self.conv.b.select(self.conv.b.eq(next, self.conv.k.tile.stages), self.conv.b.index(0), next)
    }
}

/// The plane of x that a step reads; it may lie outside.
pub(super) fn input_plane<'c>(conv: &Conv<'_, 'c>, step: Val<'c>, read: &Read) -> Val<'c> {
    let &Conv { k, b, place, .. } = conv;
    b.at(read.at, b.add(place.origin, step), k.conv.axis(0).in_step())
}

/// The place in a plane of x of a voxel of the staged plane, in voxels; negative outside the image.
fn voxel_place<'c>(conv: &Conv<'_, 'c>, voxel: Val<'c>) -> Val<'c> {
    let &Conv { k, b, .. } = conv;
    let [_, columns] = k.staged();
    let [row, column] = source(conv, [b.div(voxel, columns), b.rem(voxel, columns)]);
    let [_, h, w] = k.conv.input;
    or_negative(b, b.and(b.within(row, h), b.within(column, w)), b.at(column, row, w))
}

/// The place in a plane of x of a piece of the staged plane; negative outside the image and for the gaps between rows.
fn piece_place<'c>(conv: &Conv<'_, 'c>, number: Val<'c>) -> Val<'c> {
    let &Conv { k, b, place, .. } = conv;
    let lanes = PIECE / k.storage.bytes();
    let (per_voxel, per_row) = (k.tile.channels / lanes, k.pitch() / lanes);
    let (above, along) = (b.div(number, per_row), b.rem(number, per_row));
    let (voxel, chunk) = (b.div(along, per_voxel), b.rem(along, per_voxel));
    let [row, column] = source(conv, [above, voxel]);
    let [_, h, w] = k.conv.input;
    let valid = b.and(b.and(b.within(row, h), b.within(column, w)), b.lt(voxel, k.staged()[1]));
    or_negative(b, valid, b.at(b.at(place.channel, chunk, lanes), b.at(column, row, w), k.conv.channels))
}

fn or_negative<'c>(b: &Builder<'c>, valid: Val<'c>, place: Val<'c>) -> Val<'c> {
    let outside = b.int(Ty::I32, -1);
    b.select(valid, b.index_cast(place, Scalar::I32), outside)
}

/// The row and column of x at a place of the staged plane; they may lie outside.
fn source<'c>(conv: &Conv<'_, 'c>, at: [Val<'c>; 2]) -> [Val<'c>; 2] {
    let &Conv { k, b, place, .. } = conv;
    [1, 2].map(|a| {
        let axis = k.conv.axis(a);
        let extent = [k.tile.height, k.tile.width][a - 1];
        let (low, _) = axis.reach(0, extent);
        let first = b.at(low, place.tile[a - 1], extent / axis.out_step() * axis.in_step());
        b.add(first, at[a - 1])
    })
}
