//! Depthwise convolution on a GPU: a workgroup holds a tile of output voxels of a block of channels and walks along depth.
//!
//! Every staged input plane is read once, for all the output planes it takes part in: a thread holds a set of sums per open output plane and
//! moves the sets on by one per step. Strided and transposed convolutions differ only in how many planes a step brings and finishes, and in which taps
//! meet which outputs ([`Depthwise::walk`], [`Depthwise::rows`], [`Depthwise::columns`]).

mod choose;
mod layout;
mod sweep;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use super::{Family, Geometry, Storage};
use crate::args::Arg;
use crate::kernel::{Depthwise as Conv, voxels};
use crate::target::Gpu;

pub use layout::{Layout, PIECE};
pub use sweep::{Read, Use, Walk};

/// `conv` (its channels padded, its host tile unused), with the result in `result` and its statistics of the unrounded values.
///
/// Args: `x` storage `[n, input, c]`, or with stem the port f32 `[n, ci, input]`, `stem_w` f32 `[c, ci]`, `stem_b` f32 `[c]`; `w` f32 `[taps, c]`, with bias `b` f32
/// `[c]`; `y` result `[n, output, c]`; with stats `partials` f32 `[n, parts, 3, c]`: per part and channel the count of voxels, their mean, and the sum of
/// squared differences from that mean.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Depthwise {
    /// The convolution.
    pub conv: Conv,
    /// Element type of x.
    pub storage: Storage,
    /// Element type of y, of as many bytes.
    pub result: Storage,
    /// The schedule.
    pub tile: Tile,
}

/// How it is cut. Grid: x = spatial tiles (depth slabs outermost, then height, then width), y = channel blocks, z = samples.
/// A thread computes `run` neighbouring outputs along w of two neighbouring channels (of one row; where rows are upsampled, of as many as share an
/// input row), step after step along depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tile {
    /// Channels per workgroup.
    pub channels: usize,
    /// Output planes per workgroup.
    pub depth: usize,
    /// Output rows per workgroup.
    pub height: usize,
    /// Output columns per workgroup.
    pub width: usize,
    /// Outputs along w per thread.
    pub run: usize,
    /// Steps whose input planes are in shared memory at a time.
    pub stages: usize,
}

impl Depthwise {
    /// Spatial tiles along depth, height and width.
    pub fn tiles(&self) -> [usize; 3] {
        let [d, h, w] = self.conv.output;
        [d.div_ceil(self.tile.depth.max(1)), h.div_ceil(self.tile.height.max(1)), w.div_ceil(self.tile.width.max(1))]
    }

    /// Spatial tiles: rows of `partials` per sample.
    pub fn parts(&self) -> usize {
        self.tiles().iter().product()
    }

    /// Groups of rows, a thread's rows each, and runs of columns in a tile.
    pub fn shares(&self) -> [usize; 2] {
        [self.tile.height / self.conv.axis(1).out_step(), self.tile.width / self.tile.run.max(1)]
    }

    /// Threads of a workgroup.
    pub fn threads(&self) -> usize {
        self.tile.channels / 2 * self.shares().iter().product::<usize>()
    }
}

impl Family for Depthwise {
    fn args(&self) -> Vec<Arg> {
        let k = &self.conv;
        let element = self.storage.element();
        let mut args = k.inputs();
        if let (None, Some(x)) = (k.stem, args.first_mut()) {
            x.element = element;
        }
        args.push(Arg::write("y", k.batch * voxels(k.output) * k.channels).of(self.result.element()));
        if k.stats {
            args.push(Arg::write("partials", k.batch * self.parts() * 3 * k.channels));
        }
        args
    }

    fn geometry(&self) -> Geometry {
        let blocks = self.conv.channels.div_ceil(self.tile.channels.max(1));
        Geometry {
            grid: [self.parts() as u32, blocks as u32, self.conv.batch as u32],
            block: [self.threads() as u32, 1, 1],
            shared_bytes: self.layout().bytes as u32,
        }
    }

    fn knobs(&self) -> Vec<(&'static str, usize)> {
        let t = &self.tile;
        vec![("channels", t.channels), ("depth", t.depth), ("height", t.height), ("width", t.width), ("run", t.run), ("stages", t.stages)]
    }

    fn knob(&mut self, name: &str) -> Option<&mut usize> {
        let t = &mut self.tile;
        Some(match name {
            "channels" => &mut t.channels,
            "depth" => &mut t.depth,
            "height" => &mut t.height,
            "width" => &mut t.width,
            "run" => &mut t.run,
            "stages" => &mut t.stages,
            _ => return None,
        })
    }

    fn choose(&mut self, gpu: &Gpu) {
        self.tile = self.best(gpu);
    }

    fn legal(&self, gpu: &Gpu) -> Result<(), String> {
        let t = &self.tile;
        if *t == Tile::default() {
            let taps = self.conv.taps;
            return Err(format!(
                "no tile of a depthwise convolution with kernel {taps} fits the registers and shared memory of {}",
                gpu.chip,
                taps = mnx_words::extents(&taps)
            ));
        }
        if t.depth == 0 || t.height == 0 || t.run == 0 || t.width == 0 || !t.width.is_multiple_of(t.run) {
            return Err(format!("tile {}: width must be a multiple of run, nothing 0", super::named(&self.knobs())));
        }
        if [t.depth, t.height, t.width].iter().any(|&n| n > 4096) || t.run > 16 || t.channels > 2048 {
            return Err(format!("tile {}: extents up to 4096, run up to 16 and channels up to 2048 expected", super::named(&self.knobs())));
        }
        let [d, h, w] = [0, 1, 2].map(|a| self.conv.axis(a).out_step());
        if !t.depth.is_multiple_of(d) || !t.height.is_multiple_of(h) || !t.run.is_multiple_of(w) {
            return Err(format!(
                "tile {}: depth, height and run must be multiples of the upsampling {}",
                super::named(&self.knobs()),
                mnx_words::extents(&[d, h, w])
            ));
        }
        if self.conv.input[1] * self.conv.input[2] * self.conv.channels > i32::MAX as usize {
            return Err(format!(
                "a plane of {} voxels of {} channels has more than 2^31 values",
                mnx_words::extents(&self.conv.input),
                self.conv.channels
            ));
        }
        if t.channels == 0 || !t.channels.is_multiple_of(16) || !self.conv.channels.is_multiple_of(t.channels) {
            return Err(format!("{} channels per workgroup must divide {} and be a multiple of 16", t.channels, self.conv.channels));
        }
        if !(2..=8).contains(&t.stages) || (self.conv.stem.is_some() && t.stages != 2) {
            return Err(format!("planes of {} steps in shared memory; 2 to 8 can be, with a recomputed stem 2", t.stages));
        }
        if self.registers() > self.register_limit() {
            let (have, want) = (self.register_limit(), self.registers());
            return Err(format!("{want} registers per thread, {have} are there for {} threads", self.threads()));
        }
        Ok(())
    }

    fn strategy(&self) -> &'static str {
        "gpu.depthwise"
    }

    fn work(&self) -> (u64, u64) {
        (crate::cost::depthwise(&self.conv), 0)
    }
}
