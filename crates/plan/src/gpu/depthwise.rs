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

use serde::{Deserialize, Serialize};

use super::lower::conv_operands;
use super::{Geometry, GpuKernel, Storage};
use crate::family::{Arithmetic, Family, Row, Strategy, named, tile, tiled};
use crate::lowering::Lowering;
use crate::slot::{Arg, Slot};
use crate::target::Gpu;
use crate::vocabulary::voxels;
use crate::work::{Conv, Task, Work};

pub use layout::{Layout, PIECE};
pub use sweep::{Read, Use, Walk};

/// `conv` (its channels padded), with the result in `result` and its statistics of the unrounded values.
///
/// Args: `x` storage `[n, input, c]`, or with stem the port f32 `[n, ci, input]`, `stem_w` f32 `[c, ci]`, `stem_b` f32 `[c]`; `w` f32 `[taps, c]`, with bias `b` f32
/// `[c]`; `y` result `[n, output, c]`; with stats `partials` f32 `[n, parts, 3, c]`: per part and channel the count of voxels, their mean, and the sum of
/// squared differences from that mean.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Depthwise {
    /// The convolution.
    pub conv: Conv,
    /// Element type of x.
    pub storage: Storage,
    /// Element type of y, of as many bytes.
    pub result: Storage,
    /// The schedule.
    #[serde(skip)]
    pub tile: Tile,
}

tile! {
    /// How it is cut. Grid: x = spatial tiles (depth slabs outermost, then height, then width), y = channel blocks, z = samples.
    /// A thread computes `run` neighbouring outputs along w of two neighbouring channels (of one row; where rows are upsampled, of as many as share an
    /// input row), step after step along depth.
    pub struct Tile {
        /// Channels per workgroup.
        channels,
        /// Output planes per workgroup.
        depth,
        /// Output rows per workgroup.
        height,
        /// Output columns per workgroup.
        width,
        /// Outputs along w per thread.
        run,
        /// Steps whose input planes are in shared memory at a time.
        stages,
    }
}

impl Depthwise {
    /// Spatial tiles along depth, height and width.
    pub fn tiles(&self) -> [usize; 3] {
        let [d, h, w] = self.conv.output;
        [d.div_ceil(self.tile.depth.max(1)), h.div_ceil(self.tile.height.max(1)), w.div_ceil(self.tile.width.max(1))]
    }

    /// Spatial tiles: rows of `partials` per sample.
    pub fn spatial_parts(&self) -> usize {
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
    type Machine = Gpu;
    tiled!();
    fn args(&self) -> Vec<Arg> {
        let k = &self.conv;
        let element = self.storage.element();
        let mut args = k.inputs();
        if let (None, Some(x)) = (k.stem, args.first_mut()) {
            x.element = element;
        }
        args.push(Arg::write(Slot::Y, k.batch * voxels(k.output) * k.channels).of(self.result.element()));
        if k.stats {
            args.push(Arg::write(Slot::Partials, k.batch * self.spatial_parts() * 3 * k.channels));
        }
        args
    }

    fn geometry(&self) -> Option<Geometry> {
        let blocks = self.conv.channels.div_ceil(self.tile.channels.max(1));
        Some(Geometry {
            grid: [self.spatial_parts() as u32, blocks as u32, self.conv.batch as u32],
            block: [self.threads() as u32, 1, 1],
            shared_bytes: self.layout().bytes as u32,
        })
    }

    fn choose(&mut self, gpu: &Gpu) {
        self.tile = self.best(gpu);
    }

    fn legal(&self, gpu: &Gpu) -> Result<(), String> {
        self.conv.check()?;
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
            return Err(format!("tile {}: width must be a multiple of run, nothing 0", named(&self.knobs())));
        }
        if [t.depth, t.height, t.width].iter().any(|&n| n > 4096) || t.run > 16 || t.channels > 2048 {
            return Err(format!("tile {}: extents up to 4096, run up to 16 and channels up to 2048 expected", named(&self.knobs())));
        }
        let [d, h, w] = [0, 1, 2].map(|a| self.conv.axis(a).out_step());
        if !t.depth.is_multiple_of(d) || !t.height.is_multiple_of(h) || !t.run.is_multiple_of(w) {
            return Err(format!(
                "tile {}: depth, height and run must be multiples of the upsampling {}",
                named(&self.knobs()),
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

    fn parts(&self) -> Option<usize> {
        self.conv.stats.then(|| self.spatial_parts())
    }

    fn side_by_side(&self, gpu: &Gpu) -> Option<usize> {
        // The estimate holds for plain 16-bit convolutions of few taps; elsewhere ptxas takes more, and would spill rather than give up a workgroup.
        let plain = !self.conv.transposed && self.conv.stride == [1; 3] && self.conv.stem.is_none() && self.storage != Storage::F32;
        let few = voxels(self.conv.taps) <= 27;
        Some(if plain && few { self.resident_by_registers().clamp(1, gpu.blocks_sm) } else { 1 })
    }

    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops(self.conv.flops())
    }
}

impl Row for Depthwise {
    type Kernel = GpuKernel;
    const STRATEGY: Strategy = Strategy {
        name: "gpu.depthwise",
        knobs: Tile::KNOBS,
        tensor: false,
        about: "depthwise conv on a GPU: planes streamed along depth through shared memory, statistics in the same pass",
    };

    fn take(task: &Task, to: &mut Lowering<GpuKernel>) -> Result<bool, String> {
        let Work::Conv(conv) = &task.work else { return Ok(false) };
        let (conv, mut operands) = conv_operands(task, conv)?;
        operands.push((Slot::Y, task.operand(Slot::Y)?));
        if conv.stats {
            operands.push((Slot::Partials, task.operand(Slot::Partials)?));
        }
        let (storage, result) = (task.types.staged, task.types.factors);
        to.push(Self { conv, storage, result, tile: Tile::default() }, operands);
        Ok(true)
    }
}
