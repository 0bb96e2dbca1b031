//! Depthwise convolution: planes stream through shared memory, sums of all open output planes stay in registers.
//!
//! Each step waits for its planes, starts the copies of a later step, adds its planes to the sums, and stores the output planes that are then complete.

mod finish;
mod place;
mod staging;
mod statistics;
mod stem;
mod sums;
mod taps;

use super::Args;
use crate::mlir::{Buffer, Builder};
use finish::Finish;
use mnx_plan::gpu::Depthwise;
use mnx_plan::slot::Slot;
use place::Place;
use staging::Staging;
use statistics::Running;
use sums::Sums;
use taps::Taps;

/// What every part of the emission of one convolution works with.
#[derive(Clone, Copy)]
struct Conv<'a, 'c> {
    /// What is to be computed.
    k: &'a Depthwise,
    /// Where code goes.
    b: &'a Builder<'c>,
    /// Where the workgroup and the thread stand.
    place: &'a Place<'c>,
    /// The workgroup's shared memory, in bytes.
    shared: Buffer<'c>,
}

pub(super) fn emit<'c>(k: &Depthwise, b: &Builder<'c>, args: &Args<'c>) {
    let (x, w, y) = (args.of(Slot::X), args.of(Slot::W), args.of(Slot::Y));
    let stem = k.conv.stem.map(|_| (args.of(Slot::StemW), args.of(Slot::StemB)));
    let (bias, partials) = (args.get(Slot::B), args.get(Slot::Partials));

    let layout = k.layout();
    let shared = b.shared_memory(layout.bytes);
    let place = Place::new(k, b);
    let conv = Conv { k, b, place: &place, shared };
    let taps = Taps::new(conv, w);
    let staging = Staging::new(conv, x, stem);
    let sums = Sums::new(conv, &taps, bias);
    let finish = Finish::new(conv, y);

    staging.start();
    let mut first = vec![b.index(0)];
    first.extend(sums.start());
    let count = first.len();
    if partials.is_some() {
        first.extend(Running::start(b));
    }
    let turn = unrolled(k);
    let last = b.steps(0usize, place.steps, turn).carry(&first, |start, carried| {
        let mut carried = carried.to_vec();
        for i in 0..turn {
            let step = b.add(start, i);
            let slot = carried[0];
            staging.turn(step, slot);
            b.phase("sum");
            let (done, open) = sums.step(step, slot, &carried[1..count]);
            b.phase("store");
            let running = finish.step(step, &done, &carried[count..]);
            carried = [vec![staging.after(slot)], open, running].concat();
        }
        carried
    });
    if let Some(partials) = partials {
        b.phase("statistics");
        statistics::merge(&conv, &last[count..], partials);
    }
}

/// Steps in one turn of the loop. After as many as there are sets of sums, each set is back in its registers: nothing has to be moved. Steps
/// beyond the last do nothing.
fn unrolled(k: &Depthwise) -> usize {
    let sets = k.walk().groups;
    let multiply = 2 * k.conv.taps.iter().product::<usize>() * k.tile.run;
    if sets * multiply <= UNROLLED { sets } else { 1 }
}

/// Multiply-adds of a turn up to which steps are unrolled.
const UNROLLED: usize = 1500;
