//! Depthwise convolution on a GPU: a workgroup holds a tile of output voxels of a block of channels and walks along depth.

use super::{Family, Geometry, Storage};
use crate::args::Arg;
use crate::kernel::{Depthwise as Conv, voxels};
use crate::target::Gpu;

/// `conv` (its channels padded, its host tile unused), with the result in `storage` and its statistics of the unrounded values.
///
/// Args: `x` storage `[n, input, c]`, or with stem the port f32 `[n, ci, input]`, `stem_w` f32 `[c, ci]`, `stem_b` f32 `[c]`; `w` f32 `[taps, c]`, with bias `b` f32
/// `[c]`; `y` storage `[n, output, c]`; with stats `partials` f32 `[n, parts, 3, c]`: per part and channel the count of voxels, their mean, and the sum of
/// squared differences from that mean.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Depthwise {
    /// The convolution.
    pub conv: Conv,
    /// Element type of x and y.
    pub storage: Storage,
    /// The schedule.
    pub tile: Tile,
}

/// How it is cut. Grid: x = spatial tiles (depth slabs outermost, then height, then width), y = channel blocks, z = samples.
/// A thread computes `run` neighbouring outputs along w of two neighbouring channels, plane after plane.
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
    /// Input planes in shared memory.
    pub stages: usize,
}

impl Depthwise {
    /// Spatial tiles: rows of `partials` per sample.
    pub fn parts(&self) -> usize {
        let [d, h, w] = self.conv.output;
        d.div_ceil(self.tile.depth.max(1)) * h.div_ceil(self.tile.height.max(1)) * w.div_ceil(self.tile.width.max(1))
    }

    /// Threads of a workgroup.
    pub fn threads(&self) -> usize {
        self.tile.channels / 2 * self.tile.height * (self.tile.width / self.tile.run.max(1))
    }

    /// Bytes of one staged input plane: the rows and columns that the tile's outputs touch, of the tile's channels.
    pub fn plane_bytes(&self) -> usize {
        let [h, w] = [(1, self.tile.height), (2, self.tile.width)].map(|(a, outputs)| self.touched(a, outputs));
        (h * w * self.tile.channels * self.storage.bytes()).next_multiple_of(128)
    }

    /// Input positions that `outputs` neighbouring outputs touch along an axis.
    pub fn touched(&self, axis: usize, outputs: usize) -> usize {
        let (k, s) = (self.conv.taps[axis], self.conv.stride[axis]);
        if self.conv.transposed { (outputs + k - 2) / s + 1 + usize::from(s > 1) } else { (outputs - 1) * s + k }
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
        args.push(Arg::write("y", k.batch * voxels(k.output) * k.channels).of(element));
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
            shared_bytes: (self.plane_bytes() * self.tile.stages) as u32,
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
        let [d, h, w] = self.conv.output;
        let channels = if self.conv.channels.is_multiple_of(32) { 32 } else { 16 };
        let run = if self.conv.taps[2] <= 3 && w >= 8 { 8 } else { 4 };
        let width = w.next_multiple_of(run).min(16);
        let height = h.next_power_of_two().min(8);
        // A workgroup has whole warps.
        let height = height.max((32 * run).div_ceil(channels / 2 * width));
        self.tile = Tile { channels, depth: d, height, width, run, stages: 1 };
        self.tile.stages = self.least_stages() + 1;
        while self.geometry().shared_bytes as usize > gpu.shared_block && self.tile.channels > 16 {
            self.tile.channels = 16;
            self.tile.height = height.max((32 * run).div_ceil(8 * width));
        }
        while self.geometry().shared_bytes as usize > gpu.shared_block && self.tile.height > 1 && self.threads() % 64 == 0 {
            self.tile.height /= 2;
        }
        // Enough workgroups to fill the device twice, but slabs long enough that the halo planes stay few.
        while self.tile.depth > 4 && (self.geometry().grid.iter().product::<u32>() as usize) < 4 * gpu.sms {
            self.tile.depth = self.tile.depth.div_ceil(2);
        }
    }

    fn legal(&self, _gpu: &Gpu) -> Result<(), String> {
        let t = &self.tile;
        if t.depth == 0 || t.height == 0 || t.run == 0 || t.width % t.run != 0 || t.width == 0 {
            return Err(format!("tile {t:?}: width must be a multiple of run, nothing 0"));
        }
        if t.channels == 0 || t.channels % 16 != 0 || self.conv.channels % t.channels != 0 {
            return Err(format!("{} channels per workgroup must divide {} and be a multiple of 16", t.channels, self.conv.channels));
        }
        if t.stages < self.least_stages() {
            return Err(format!("{} planes in shared memory, at least {} are needed", t.stages, self.least_stages()));
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

impl Depthwise {
    /// Planes that must stand in shared memory at once: one where outputs of several planes are summed side by side (stride 1), else all
    /// that one output plane reads.
    pub fn least_stages(&self) -> usize {
        if self.streamed() { 1 } else { self.touched(0, 1) }
    }

    /// Whether each input plane is read once, for all the output planes it takes part in.
    pub fn streamed(&self) -> bool {
        !self.conv.transposed && self.conv.stride == [1; 3]
    }
}
