//! The ring of stages in shared memory that products draw their factors from: filled ahead by asynchronous copies, waited for, turned.

use super::tile::Tile;
use crate::mlir::{Builder, Val};

/// Which stage is read next, and which will be filled next.
#[derive(Clone, Copy)]
pub(super) struct Ring<'c> {
    stages: usize,
    slot: Val<'c>,
    free: Val<'c>,
}

/// The steps that draw on a ring.
pub(super) struct Steps<'f, 'c> {
    /// How many.
    pub(super) count: usize,
    /// Whether the first steps come again behind the last, where that is known only as the code runs: their stages are then filled towards the end.
    pub(super) again: Option<Val<'c>>,
    /// Starts copying what a step needs into a stage.
    pub(super) fill: &'f dyn Fn(Val<'c>, Val<'c>),
}

impl<'c> Ring<'c> {
    /// A ring whose first stage is read first.
    pub(super) fn new(b: &Builder<'c>, stages: usize) -> Self {
        Self { stages, slot: b.index_value(0), free: b.index_value((stages - 1) % stages) }
    }

    /// Steps whose copies are under way while one is computed.
    fn ahead(&self) -> usize {
        self.stages - 1
    }

    /// What a loop carries of it.
    pub(super) fn state(&self) -> [Val<'c>; 2] {
        [self.slot, self.free]
    }

    /// The ring as a loop has carried it.
    pub(super) fn with(&self, state: &[Val<'c>]) -> Self {
        Self { slot: state[0], free: state[1], ..*self }
    }

    /// Starts the copies of the first steps.
    pub(super) fn fill(&self, b: &Builder<'c>, steps: &Steps<'_, 'c>) {
        for i in 0..self.ahead().min(steps.count) {
            (steps.fill)(i.into(), i.into());
            b.commit_copies();
        }
    }

    /// All steps on a tile; `body` gets the stage. A stage is filled again one barrier after its last reader, so one barrier per step is enough.
    pub(super) fn run(
        self,
        b: &Builder<'c>,
        steps: &Steps<'_, 'c>,
        tile: Tile<'c>,
        body: &dyn Fn(Val<'c>, Tile<'c>) -> Tile<'c>,
    ) -> (Self, Tile<'c>) {
        let mut carried = self.state().to_vec();
        carried.extend(tile.flat());
        let after = b.steps(0usize, steps.count, 1).carry(&carried, |step, carried| {
            let ring = self.with(carried);
            ring.wait(b, steps, step);
            let sums = body(ring.slot, tile.like(&carried[2..]));
            let mut next = ring.turned(b).state().to_vec();
            next.extend(sums.flat());
            next
        });
        (self.with(&after), tile.like(&after[2..]))
    }

    /// Waits for the copies of a step and starts those of a later one.
    fn wait(&self, b: &Builder<'c>, steps: &Steps<'_, 'c>, step: Val<'c>) {
        let ahead = self.ahead();
        if ahead == 0 {
            b.barrier();
            (steps.fill)(step, 0usize.into());
            b.commit_copies();
            b.copies_done(0);
            b.barrier();
            return;
        }
        b.copies_done(ahead.min(steps.count) - 1);
        b.barrier();
        let next = b.add(step, ahead);
        let (next, needed) = match steps.again {
            None => (next, b.lt(next, steps.count)),
            Some(again) => {
                // Towards the end the first steps' factors are fetched again.
                let wrapped = b.ge(next, steps.count);
                let first = b.select(wrapped, b.sub(next, steps.count), next);
                let needed = match again.constant() {
                    Some(0) => b.lt(b.add(step, ahead), steps.count),
                    _ => b.or(b.lt(b.add(step, ahead), steps.count), again),
                };
                (first, needed)
            }
        };
        b.when(needed, || (steps.fill)(next, self.free));
        b.commit_copies();
    }

    /// One stage further.
    fn turned(&self, b: &Builder<'c>) -> Self {
        let following = |s: Val<'c>| {
            let s = b.add(s, 1usize);
            b.select(b.eq(s, self.stages), 0usize.into(), s)
        };
        Self { slot: following(self.slot), free: following(self.free), ..*self }
    }
}
