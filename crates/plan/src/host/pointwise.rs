//! A pointwise convolution on its own: stem, heads, low-resolution residuals.

use serde::{Deserialize, Serialize};

use super::cut::Cut;
use super::scratch::{Carver, ScratchTile, padded_rows};
use super::{HostKernel, formed, max_row_block, row_stride, verdict};
use crate::family::{Arithmetic, Family, Neighbours, Row, Strategy, tile, tiled};
use crate::lowering::Lowering;
use crate::slot::{Arg, Slot};
use crate::target::Cpu;
use crate::vocabulary::voxels;
use crate::work::{self, Task, Work};

/// `y[n, m] = w x[n, m * stride] + b` for every voxel m of `output`.
///
/// Args: `x` f32, `w` f32 panels of `[out, in]`, with bias: `b` f32 `[out]`, `y` f32. Layouts as flagged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pointwise {
    /// What is computed.
    pub pointwise: work::Pointwise,
    /// The schedule.
    #[serde(skip)]
    pub tile: Tile,
}

tile! {
    /// How a pointwise convolution is cut.
    pub struct Tile {
        /// Voxels per workgroup.
        voxels,
        /// Voxels per tile.
        rows,
    }
}

/// The scratch of a [`Pointwise`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PointwiseScratch {
    /// Operand: `[rows, in]`, or `[in, rows]` where x is a port.
    pub input: ScratchTile,
    /// Result, `[rows, out]`; one vector where y is a port.
    pub output: ScratchTile,
    /// Bytes in all.
    pub bytes: usize,
}

impl PointwiseScratch {
    /// The layout of a kernel, the same for every target.
    pub fn of(k: &Pointwise) -> Self {
        let (rows, k) = (padded_rows(k.tile.rows), &k.pointwise);
        let mut carver = Carver::default();
        let input = if k.in_first { carver.tile(k.in_channels, rows) } else { carver.tile(rows, k.in_channels) };
        let output = if k.out_first { carver.tile(1, 16) } else { carver.tile(rows, k.out_channels) };
        Self { input, output, bytes: carver.bytes() }
    }
}

impl Family for Pointwise {
    type Machine = Cpu;
    tiled!();
    fn args(&self) -> Vec<Arg> {
        let k = &self.pointwise;
        let mut args =
            vec![Arg::read(Slot::X, k.batch * voxels(k.input) * k.in_channels), Arg::read(Slot::W, k.out_channels * k.in_channels)];
        if k.bias {
            args.push(Arg::read(Slot::B, k.out_channels));
        }
        args.push(Arg::write(Slot::Y, k.batch * voxels(k.output) * k.out_channels));
        args
    }
    fn workgroups(&self) -> usize {
        self.pointwise.batch * voxels(self.pointwise.output).div_ceil(self.tile.voxels)
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops(self.pointwise.flops())
    }
    fn scratch_bytes(&self) -> usize {
        PointwiseScratch::of(self).bytes
    }
    fn choose(&mut self, cpu: &Cpu) {
        let k = &self.pointwise;
        let row_bytes = 4 * (row_stride(k.in_channels) + row_stride(k.out_channels));
        let block = max_row_block(cpu);
        // where y is a port, vectors run over voxels
        let block = if k.out_first { 16 } else { block };
        let fit = if k.out_first { cpu.l1 } else { cpu.l2 / 2 } / row_bytes;
        let cut = Cut {
            voxels: voxels(k.output),
            batch: k.batch,
            narrowest: if k.out_first { block } else { block.div_ceil(2) },
            block,
            least: block,
            most: fit.clamp(block, 96),
            overhead: 1.0,
        };
        let (voxels, rows) = cut.choose();
        self.tile = Tile { voxels, rows };
    }
    fn legal(&self, _cpu: &Cpu) -> Result<(), String> {
        let (k, t) = (&self.pointwise, &self.tile);
        let mut wrong = Vec::new();
        let m = voxels(k.output);
        if k.batch == 0 || m == 0 || k.in_channels == 0 || k.out_channels == 0 {
            wrong.push(format!(
                "pointwise: an extent is zero: batch {}, output {}, channels {} -> {}",
                k.batch,
                mnx_words::extents(&k.output),
                k.in_channels,
                k.out_channels
            ));
        }
        if !(0..3).all(|a| k.stride[a] > 0 && k.output[a] == k.input[a].div_ceil(k.stride[a])) {
            wrong.push(format!(
                "pointwise: {} at stride {} does not give {}",
                mnx_words::extents(&k.input),
                mnx_words::extents(&k.stride),
                mnx_words::extents(&k.output)
            ));
        }
        if t.rows == 0 || t.voxels == 0 || !(t.voxels.is_multiple_of(t.rows.max(1)) || t.voxels == m) {
            wrong.push(format!("pointwise: voxels = {} is neither a multiple of rows = {} nor the whole output of {m}", t.voxels, t.rows));
        }
        verdict(wrong)
    }
    fn neighbours(&self, near: &mut Neighbours, cpu: &Cpu) {
        near.rows(voxels(self.pointwise.output), if self.pointwise.out_first { 16 } else { max_row_block(cpu) });
    }
}

impl Row for Pointwise {
    type Kernel = HostKernel;
    const STRATEGY: Strategy = Strategy {
        name: "pointwise.tile",
        knobs: Tile::KNOBS,
        tensor: false,
        about: "pointwise convolution on its own: stem, heads, low-resolution residuals",
    };

    fn take(task: &Task, to: &mut Lowering<HostKernel>) -> Result<bool, String> {
        let Work::Pointwise(pointwise) = &task.work else { return Ok(false) };
        to.push(Self { pointwise: pointwise.clone(), tile: Tile::default() }, formed(task, false)?);
        Ok(true)
    }
}
