//! The multiply-adds: the planes of a step into the sums of all output planes they take part in.

use super::Conv;
use super::staging::input_plane;
use super::taps::{TapRow, Taps, storage};
use crate::mlir::{Buffer, Scalar, Ty, Val};
use mnx_plan::gpu::depthwise::{Layout, Read, Use, Walk};
use mnx_plan::vocabulary::Storage;

pub(super) struct Sums<'a, 'c> {
    conv: Conv<'a, 'c>,
    taps: &'a Taps<'a, 'c>,
    /// The staged planes, in elements (float16, float32) or pairs of them (bfloat16).
    planes: Buffer<'c>,
    bias: Option<[Val<'c>; 2]>,
    layout: Layout,
    walk: Walk,
    rows: Vec<Read>,
    columns: Vec<Read>,
    /// Open output planes, rows and columns of a thread.
    shape: [usize; 3],
}

impl<'a, 'c> Sums<'a, 'c> {
    pub(super) fn new(conv: Conv<'a, 'c>, taps: &'a Taps<'a, 'c>, bias: Option<Buffer<'c>>) -> Self {
        let Conv { k, b, place, shared } = conv;
        let (layout, walk) = (k.layout(), k.walk());
        let scalar = if k.storage == Storage::Bf16 { Scalar::I32 } else { storage(k.storage) };
        let bytes = layout.plane * walk.planes.len() * k.tile.stages;
        let planes = b.view(shared, 0usize, scalar, bytes / scalar.bytes());
        let bias = bias.map(|bias| {
            let both = b.load_whole(bias, b.at(place.channel, place.pair, 2), 2);
            [b.extract(both, 0), b.extract(both, 1)]
        });
        Self { conv, taps, planes, bias, layout, walk, rows: k.rows(), columns: k.columns(), shape: k.sums() }
    }

    fn fresh(&self, planes: usize) -> Vec<Val<'c>> {
        let each = planes * self.shape[1] * self.shape[2];
        let [a, c] = self.bias.unwrap_or_else(|| [self.conv.b.f32(0.0); 2]);
        (0..each).flat_map(|_| [a, c]).collect()
    }

    /// The sums before the walk.
    pub(super) fn start(&self) -> Vec<Val<'c>> {
        self.fresh(self.shape[0])
    }

    /// Adds a step's planes; the sums that are then complete, and those that stay open with new ones behind them.
    pub(super) fn step(&self, step: Val<'c>, slot: Val<'c>, sums: &[Val<'c>]) -> (Vec<Val<'c>>, Vec<Val<'c>>) {
        let (k, b) = (self.conv.k, self.conv.b);
        let mut sums = sums.to_vec();
        for (t, read) in self.walk.planes.iter().enumerate() {
            let plane = input_plane(&self.conv, step, read);
            let there = b.and(b.within(plane, k.conv.input[0]), b.lt(step, self.conv.place.steps));
            sums = b.choose(there, || self.plane(t, &read.uses, slot, &sums), || sums.clone());
        }
        let finished = k.conv.axis(0).out_step();
        let done = sums.drain(..finished * self.shape[1] * self.shape[2] * 2).collect();
        sums.extend(self.fresh(finished));
        (done, sums)
    }

    /// One plane, row by row.
    fn plane(&self, t: usize, planes: &[Use], slot: Val<'c>, sums: &[Val<'c>]) -> Vec<Val<'c>> {
        let (k, b) = (self.conv.k, self.conv.b);
        let element = k.storage.bytes();
        let pair = self.pair_elements();
        let plane = self.layout.plane / element / 2 * pair;
        let steps = [1, 2].map(|a| k.conv.axis(a).in_step());
        let along = k.tile.run / k.conv.axis(2).out_step() * steps[1];
        let (voxel, pitch) = (k.tile.channels / 2 * pair, self.layout.pitch / 2 * pair);
        let own = b.at(b.mul(self.conv.place.pair, pair), self.conv.place.group, steps[0] * pitch);
        let own = b.at(own, self.conv.place.segment, along * voxel);
        let first = b.add(own, b.at(t * plane, slot, self.walk.planes.len() * plane));
        if k.looped() {
            return b.steps(0usize, self.rows.len(), 1).carry(sums, |row, sums| {
                let taps = self.taps.row(row);
                self.row(b.at(first, row, pitch), planes, &[(0, &taps)], sums)
            });
        }
        let mut sums = sums.to_vec();
        for read in &self.rows {
            let taps: Vec<TapRow<'_, 'c>> = read.uses.iter().map(|u| self.taps.row(u.tap.into())).collect();
            let outputs: Vec<(usize, &TapRow<'_, 'c>)> = read.uses.iter().map(|u| u.output).zip(&taps).collect();
            if !outputs.is_empty() {
                sums = self.row(b.add(first, read.at as usize * pitch), planes, &outputs, &sums);
            }
        }
        sums
    }

    /// Elements of the staged planes' view in a pair of channels.
    fn pair_elements(&self) -> usize {
        if self.conv.k.storage == Storage::Bf16 { 1 } else { 2 }
    }

    /// One row of inputs into the output rows it takes part in.
    fn row(&self, first: Val<'c>, planes: &[Use], rows: &[(usize, &TapRow<'_, 'c>)], sums: &[Val<'c>]) -> Vec<Val<'c>> {
        let (k, b) = (self.conv.k, self.conv.b);
        let voxel = k.tile.channels / 2 * self.pair_elements();
        let inputs: Vec<Option<[Val<'c>; 2]>> = self
            .columns
            .iter()
            .map(|column| (!column.uses.is_empty()).then(|| self.pair(b.add(first, column.at as usize * voxel))))
            .collect();
        let mut sums = sums.to_vec();
        // Output planes ascending: the first multiply-add of each set of sums can then move it on by one.
        for plane in planes {
            for &(row, taps) in rows {
                for tap in 0..k.conv.taps[2] {
                    let weights = taps.get(plane.tap, tap);
                    for (column, input) in self.columns.iter().zip(&inputs) {
                        let Some(input) = input else { continue };
                        for used in column.uses.iter().filter(|u| u.tap == tap) {
                            let at = ((plane.output * self.shape[1] + row) * self.shape[2] + used.output) * 2;
                            for i in 0..2 {
                                sums[at + i] = b.fma(input[i], weights[i], sums[at + i]);
                            }
                        }
                    }
                }
            }
        }
        sums
    }

    /// Two channels of a staged voxel in float32.
    fn pair(&self, at: Val<'c>) -> [Val<'c>; 2] {
        let b = self.conv.b;
        if self.conv.k.storage == Storage::Bf16 {
            // A bfloat16 is the upper half of a float32.
            let both = b.load(self.planes, at);
            let low = b.shl(both, b.int(Ty::I32, 16));
            let high = b.and(both, b.int(Ty::I32, 0xffff_0000_u32 as i32 as i64));
            return [b.bitcast(low, Scalar::F32), b.bitcast(high, Scalar::F32)];
        }
        let both = b.widen(b.load_whole(self.planes, at, 2));
        [b.extract(both, 0), b.extract(both, 1)]
    }
}
