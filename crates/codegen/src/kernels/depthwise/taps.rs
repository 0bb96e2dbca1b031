//! Which inputs an output reads along d or h, while the code runs.

use crate::mlir::{Builder, Val};
use mnx_plan::axis::Axis;

/// The taps of one output coordinate that fall inside the image.
#[derive(Clone, Copy)]
pub(super) struct Taps<'c> {
    /// First input.
    pub(super) low: Val<'c>,
    /// End of the inputs (no tap at all if not above `low`).
    pub(super) high: Val<'c>,
    /// The tap that reads input `low`.
    pub(super) first: Val<'c>,
    /// From one input to the next, the tap moves on by this much.
    pub(super) step: i64,
}

impl<'c> Taps<'c> {
    /// The taps of output `o`.
    pub(super) fn of(axis: &Axis, b: &Builder<'c>, o: Val<'c>) -> Self {
        let [low, high] = window(axis, b, o, b.add(o, 1));
        let (first, step) = if axis.transposed {
            let origin = b.add(o, axis.pad);
            (b.sub(origin, b.mul(low, axis.stride)), -(axis.stride as i64))
        } else {
            let origin = b.sub(b.mul(o, axis.stride), axis.pad);
            (b.sub(low, origin), 1)
        };
        Self { low, high, first, step }
    }

    /// The tap that reads input `i`.
    pub(super) fn tap(&self, b: &Builder<'c>, i: Val<'c>) -> Val<'c> {
        b.add(self.first, b.mul(b.sub(i, self.low), self.step))
    }
}

/// The inputs that outputs `first..end` read, clipped to the image: `mnx_plan::axis::Axis::window` in emitted code.
pub(super) fn window<'c>(axis: &Axis, b: &Builder<'c>, first: Val<'c>, end: Val<'c>) -> [Val<'c>; 2] {
    let (taps, stride, pad) = (axis.taps as i64, axis.stride, axis.pad as i64);
    if let (Some(f), Some(e)) = (first.constant(), end.constant()) {
        let (low, high) = axis.window(f as usize, e as usize);
        return [b.index(low), b.index(high)];
    }
    let [low, high] = if axis.transposed {
        // Division is of indices that are not negative; what is below zero would be clipped anyway.
        let low = b.max(b.add(first, pad - taps + stride as i64), 0);
        let last = b.add(end, pad - 1);
        [b.div(low, stride), b.add(b.div(last, stride), 1)]
    } else {
        let low = b.max(b.sub(b.mul(first, stride), pad), 0);
        let last = b.mul(b.sub(end, 1), stride);
        [low, b.add(last, taps - pad)]
    };
    [low, b.min(high, axis.input)]
}
