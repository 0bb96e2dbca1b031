//! Input planes on their way into shared memory, some steps ahead of their use.

use super::place::Place;
use super::stem::Stem;
use crate::mlir::{Buffer, Builder, Val};
use mnx_plan::gpu::Depthwise;
use mnx_plan::gpu::depthwise::{Layout, Read, Walk};

/// Pieces per thread up to which their places are worked out once, before the walk.
const REMEMBERED: usize = 4;

/// Bytes of a piece: the longest that one copy moves.
const PIECE: usize = 16;

/// A piece of a plane.
#[derive(Clone, Copy)]
pub(super) struct Piece<'c> {
    /// First element in the staged plane.
    pub(super) slot: Val<'c>,
    /// First element in the plane of x, from its first channel on.
    pub(super) from: Val<'c>,
    /// Inside the image.
    pub(super) valid: Val<'c>,
    /// The thread has this piece.
    pub(super) exists: Val<'c>,
}

pub(super) struct Staging<'a, 'c> {
    k: &'a Depthwise,
    b: &'a Builder<'c>,
    place: &'a Place<'c>,
    x: Buffer<'c>,
    planes: Buffer<'c>,
    layout: Layout,
    walk: Walk,
    pieces: Vec<Piece<'c>>,
    stem: Option<Stem<'a, 'c>>,
}

impl<'a, 'c> Staging<'a, 'c> {
    pub(super) fn new(
        k: &'a Depthwise,
        b: &'a Builder<'c>,
        place: &'a Place<'c>,
        x: Buffer<'c>,
        stem: Option<(Buffer<'c>, Buffer<'c>)>,
        shared: Buffer<'c>,
    ) -> Self {
        let (layout, walk) = (k.layout(), k.walk());
        let scalar = super::taps::storage(k.storage);
        let bytes = layout.plane * walk.planes.len() * k.tile.stages;
        let planes = b.view(shared, 0usize, scalar, bytes / scalar.bytes());
        let stem = stem.map(|(w, bias)| Stem::new(k, b, place, x, w, bias, shared));
        let mut staging = Self { k, b, place, x, planes, layout, walk, pieces: Vec::new(), stem };
        let each = staging.count().div_ceil(k.threads());
        if each <= REMEMBERED && k.conv.stem.is_none() {
            staging.pieces = (0..each).map(|i| staging.piece(b.add(place.thread, i * k.threads()))).collect();
        }
        staging
    }

    fn lanes(&self) -> usize {
        PIECE / self.k.storage.bytes()
    }

    /// Pieces of a plane.
    fn count(&self) -> usize {
        self.k.staged().iter().product::<usize>() * self.k.tile.channels / self.lanes()
    }

    fn piece(&self, number: Val<'c>) -> Piece<'c> {
        let (k, b) = (self.k, self.b);
        let lanes = self.lanes();
        let per_voxel = k.tile.channels / lanes;
        let (chunk, voxel) = (b.rem(number, per_voxel), b.div(number, per_voxel));
        let [_, columns] = k.staged();
        let at = [b.div(voxel, columns), b.rem(voxel, columns)];
        let slot = b.add(b.at(b.mul(chunk, lanes), at[1], k.tile.channels), b.mul(at[0], self.layout.pitch));
        let [row, column] = source(k, b, self.place, at);
        let [_, h, w] = k.conv.input;
        let valid = b.and(b.within(row, h), b.within(column, w));
        let from = b.at(b.at(self.place.channel, chunk, lanes), b.at(column, row, w), k.conv.channels);
        Piece { slot, from, valid, exists: b.lt(number, self.count()) }
    }

    /// Calls `body` with each piece of this thread.
    fn each_piece(&self, body: &dyn Fn(Piece<'c>)) {
        let (b, threads) = (self.b, self.k.threads());
        if self.pieces.is_empty() {
            b.each(self.place.thread, self.count(), threads, |number| {
                let piece = self.piece(number);
                body(Piece { exists: b.lt(0usize, 1usize), ..piece });
            });
        }
        for (i, &piece) in self.pieces.iter().enumerate() {
            if (i + 1) * threads <= self.count() {
                body(piece);
            } else {
                b.when(piece.exists, || body(piece));
            }
        }
    }

    /// First element of plane `t` of the step in `slot`.
    fn slot(&self, slot: Val<'c>, t: usize) -> Val<'c> {
        let plane = self.layout.plane / self.k.storage.bytes();
        self.b.at(t * plane, slot, self.walk.planes.len() * plane)
    }

    /// Starts the copies of a step's planes.
    fn fetch(&self, step: Val<'c>, slot: Val<'c>) {
        let (k, b) = (self.k, self.b);
        let [d, h, w] = k.conv.input;
        b.when(b.lt(step, self.place.steps), || {
            for (t, read) in self.walk.planes.iter().enumerate() {
                let plane = input_plane(k, b, self.place, step, read);
                b.when(b.within(plane, d), || match &self.stem {
                    Some(stem) => stem.fetch(plane, b.at(t, slot, self.walk.planes.len())),
                    None => {
                        let to = b.shifted(self.planes, self.slot(slot, t));
                        let from = b.shifted(self.x, b.mul(b.at(plane, self.place.sample, d), h * w * k.conv.channels));
                        self.each_piece(&|piece| b.copy_async(from, piece.from, to, piece.slot, PIECE, Some(piece.valid)));
                    }
                });
            }
        });
        b.commit_copies();
    }

    /// The stem of a step's planes, from the port's planes in `slot` to those of the same number.
    fn transform(&self, step: Val<'c>, slot: Val<'c>) {
        let (k, b) = (self.k, self.b);
        let Some(stem) = &self.stem else { return };
        b.when(b.lt(step, self.place.steps), || {
            for (t, read) in self.walk.planes.iter().enumerate() {
                let plane = input_plane(k, b, self.place, step, read);
                b.when(b.within(plane, k.conv.input[0]), || {
                    let to = b.shifted(self.planes, self.slot(slot, t));
                    let raw = b.at(t, slot, self.walk.planes.len());
                    self.each_piece(&|piece| stem.piece(piece, raw, to));
                });
            }
        });
    }

    /// Before the walk.
    pub(super) fn start(&self) {
        let b = self.b;
        b.phase("stage");
        match &self.stem {
            None => (0..self.k.tile.stages - 1).for_each(|step| self.fetch(step.into(), step.into())),
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
        let (b, stages) = (self.b, self.k.tile.stages);
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
        let next = self.b.add(slot, 1usize);
        self.b.select(self.b.eq(next, self.k.tile.stages), self.b.index(0), next)
    }
}

/// The plane of x that a step reads; it may lie outside.
pub(super) fn input_plane<'c>(k: &Depthwise, b: &Builder<'c>, place: &Place<'c>, step: Val<'c>, read: &Read) -> Val<'c> {
    b.at(read.at, b.add(place.origin, step), k.conv.axis(0).in_step())
}

/// The row and column of x at a place of the staged plane; they may lie outside.
pub(super) fn source<'c>(k: &Depthwise, b: &Builder<'c>, place: &Place<'c>, at: [Val<'c>; 2]) -> [Val<'c>; 2] {
    [1, 2].map(|a| {
        let axis = k.conv.axis(a);
        let extent = [k.tile.height, k.tile.width][a - 1];
        let (low, _) = axis.reach(0, extent);
        let first = b.at(low, place.tile[a - 1], extent / axis.out_step() * axis.in_step());
        b.add(first, at[a - 1])
    })
}
