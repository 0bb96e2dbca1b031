//! The taps: in registers where there are few, in shared memory in the order in which rows of inputs meet them, or, where not even that holds them, in global memory.

use super::Conv;
use crate::mlir::{Buffer, Scalar, Transfer, Val};
use mnx_plan::vocabulary::Storage;
use std::cell::RefCell;
use std::collections::HashMap;

/// Element type in memory.
pub(super) fn storage(storage: Storage) -> Scalar {
    match storage {
        Storage::F32 => Scalar::F32,
        Storage::Bf16 => Scalar::Bf16,
        Storage::F16 => Scalar::F16,
    }
}

enum Kept<'c> {
    /// Taps of the thread's pair of channels, in order.
    Registers(Vec<[Val<'c>; 2]>),
    /// float32, `[tap row, tap pair, pair of channels, tap of the pair, channel of the pair]`; a tap row has all planes.
    Shared(Buffer<'c>),
    /// As they came, `[tap, channel]`; the thread's pair of channels starts here.
    Global(Buffer<'c>, Val<'c>),
}

pub(super) struct Taps<'a, 'c> {
    conv: Conv<'a, 'c>,
    kept: Kept<'c>,
}

/// The taps of one row, with what was loaded of them.
pub(super) struct TapRow<'a, 'c> {
    taps: &'a Taps<'a, 'c>,
    row: Val<'c>,
    loaded: RefCell<HashMap<usize, Vec<Val<'c>>>>,
}

impl<'a, 'c> Taps<'a, 'c> {
    pub(super) fn new(conv: Conv<'a, 'c>, w: Buffer<'c>) -> Self {
        let Conv { k, b, place, shared } = conv;
        let [kd, kh, kw] = k.conv.taps;
        let from = |tap: Val<'c>, pair: Val<'c>| b.at(b.at(place.channel, pair, 2), tap, k.conv.channels);
        let kept = match k.layout().weights {
            None if !k.held() => Kept::Global(w, b.opaque(b.at(place.channel, place.pair, 2))),
            None => Kept::Registers(
                (0..kd * kh * kw)
                    .map(|tap| {
                        let both = b.load_whole(w, from(tap.into(), place.pair), 2);
                        [b.extract(both, 0), b.extract(both, 1)]
                    })
                    .collect(),
            ),
            Some(at) => {
                b.phase("taps");
                let (pairs, row) = (k.tile.channels / 2, k.row_taps());
                let to = b.view(shared, at, Scalar::F32, kh * row * k.tile.channels);
                b.each(place.thread, kd * kh * kw * pairs, k.threads(), |n| {
                    let (pair, tap) = (b.rem(n, pairs), b.div(n, pairs));
                    let (tw, rest) = (b.rem(tap, kw), b.div(tap, kw));
                    let (th, td) = (b.rem(rest, kh), b.div(rest, kh));
                    let place = b.at(tw, td, kw);
                    let (couple, which) = (b.div(place, 2usize), b.rem(place, 2usize));
                    let slot = b.at(b.at(b.mul(which, 2usize), pair, 4), b.at(couple, th, row / 2), 4 * pairs);
                    // Done with the first step's planes.
                    b.copy_async(Transfer { from: w, at: from(tap, pair), to, slot, bytes: 8 }, None);
                });
                Kept::Shared(to)
            }
        };
        Self { conv, kept }
    }

    /// The taps of row `row`, which must be known while building if they are in registers.
    pub(super) fn row(&'a self, row: Val<'c>) -> TapRow<'a, 'c> {
        TapRow { taps: self, row, loaded: RefCell::default() }
    }
}

impl<'c> TapRow<'_, 'c> {
    /// Both channels' tap of plane `td` and column `tw`.
    pub(super) fn get(&self, td: usize, tw: usize) -> [Val<'c>; 2] {
        let (k, b) = (self.taps.conv.k, self.taps.conv.b);
        let [_, kh, kw] = k.conv.taps;
        match &self.taps.kept {
            Kept::Registers(all) => {
                let row = self.row.constant().unwrap_or_else(|| unreachable!("taps in registers are named while building")) as usize;
                all[(td * kh + row) * kw + tw]
            }
            Kept::Global(w, own) => {
                let tap = b.add(b.mul(self.row, kw), td * kh * kw + tw);
                b.unpack(b.load_whole(*w, b.at(*own, tap, k.conv.channels), 2)).try_into().unwrap_or_else(|_| unreachable!("two channels"))
            }
            Kept::Shared(all) => {
                let (pairs, place) = (k.tile.channels / 2, td * kw + tw);
                let mut loaded = self.loaded.borrow_mut();
                let four = loaded.entry(place / 2).or_insert_with(|| {
                    let slot = b.at(b.mul(self.taps.conv.place.pair, 4usize), self.row, k.row_taps() / 2 * 4 * pairs);
                    b.unpack(b.load_whole(*all, b.add(slot, place / 2 * 4 * pairs), 4))
                });
                let at = place % 2 * 2;
                [four[at], four[at + 1]]
            }
        }
    }
}
