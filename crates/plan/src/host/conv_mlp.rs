//! The pointwise half of a block with the depthwise convolution and layer norm of the tile's rows computed in place.

use serde::{Deserialize, Serialize};

use super::depthwise::{self, Depthwise, DepthwiseScratch};
use super::mlp::{MlpScratch, arithmetic, complaints, hidden_step, neighbours_hidden, row_limits, tail_args};
use super::scratch::{Carver, ScratchTile};
use super::{HostKernel, formed, max_row_block, verdict};
use crate::family::{Arithmetic, Family, Neighbours, Row, Strategy, tile, tiled};
use crate::lowering::Lowering;
use crate::slot::{Arg, Slot};
use crate::target::Cpu;
use crate::vocabulary::{Gelu, voxels};
use crate::work::{self, Grn, Task, Work};

/// The convolution hands over whole rows of the image, layer norm is taken over their channels, and they go through the MLP.
///
/// Args: those that the convolution reads ([`work::Conv::inputs`]), then those of the MLP behind its input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConvMlp {
    /// What is computed.
    pub work: work::ConvMlp,
    /// How closely GELU is computed.
    pub gelu: Gelu,
    /// Whether the result takes the place of the tensor it is added to ([`work::Mlp::overwritten`]).
    pub in_place: bool,
    /// The schedule.
    #[serde(skip)]
    pub tile: Tile,
}

tile! {
    /// How a convolution with its MLP is cut; a workgroup has all channels of its slab.
    pub struct Tile {
        /// Output planes per workgroup.
        depth,
        /// Output rows per plane and workgroup.
        height,
        /// Output voxels along w held in registers.
        width,
        /// Voxels per tile held in cache while the hidden channels go by.
        rows,
        /// Hidden channels per step; a multiple of the panels' width unless it is all of them.
        hidden,
    }
}

/// The scratch of a [`ConvMlp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvMlpScratch {
    /// The MLP's.
    pub mlp: MlpScratch,
    /// Convolved rows, `[group * w, channels]` without gaps.
    pub rows: ScratchTile,
    /// Output rows of the convolution that go through the MLP together.
    pub group: usize,
    /// The row engine's own.
    pub depthwise: DepthwiseScratch,
    /// Bytes in all.
    pub bytes: usize,
}

impl ConvMlpScratch {
    /// The layout of a kernel, the same for every target.
    pub fn of(k: &ConvMlp) -> Self {
        let (conv, t) = (&k.work.conv, &k.tile);
        let mut carver = Carver::default();
        let mlp = MlpScratch::carve(&k.work.mlp, t.rows, t.hidden, &mut carver);
        let width = conv.output[2];
        let group = (t.rows / width).clamp(1, t.height.max(1));
        let channels = k.work.mlp.channels;
        let rows = ScratchTile { offset: carver.region(group * width * channels, 4).byte, stride: channels, rows: group * width };
        let depthwise = DepthwiseScratch::carve(&k.depthwise(), &mut carver);
        Self { mlp, rows, group, depthwise, bytes: carver.bytes() }
    }
}

impl ConvMlp {
    /// The convolution as a kernel of its own, with this tile.
    pub fn depthwise(&self) -> Depthwise {
        let Tile { depth, height, width, .. } = self.tile;
        let conv = self.work.conv.clone();
        let channels = conv.channels;
        Depthwise { conv, tile: depthwise::Tile { channels, depth, height, width } }
    }
}

impl Family for ConvMlp {
    type Machine = Cpu;
    tiled!();
    fn args(&self) -> Vec<Arg> {
        let mut args = self.work.conv.inputs();
        args.extend(tail_args(&self.work.mlp, self.in_place, || self.depthwise().spatial_parts()));
        args
    }
    fn workgroups(&self) -> usize {
        self.work.mlp.batch * self.depthwise().spatial_parts()
    }
    fn arithmetic(&self) -> Arithmetic {
        let Arithmetic { flops, gelus } = arithmetic(&self.work.mlp);
        Arithmetic { flops: flops + self.work.conv.flops(), gelus }
    }
    fn scratch_bytes(&self) -> usize {
        ConvMlpScratch::of(self).bytes
    }
    fn parts(&self) -> Option<usize> {
        (self.work.mlp.grn == Grn::Partials).then(|| self.depthwise().spatial_parts())
    }
    fn overwritable(&self) -> Option<Slot> {
        self.work.mlp.overwritten()
    }
    fn overwrite(&mut self) {
        self.in_place = true;
    }
    fn choose(&mut self, cpu: &Cpu) {
        let depthwise::Tile { depth, height, width, .. } = self.depthwise().row_tile(cpu);
        let k = &self.work.mlp;
        let hidden = hidden_step(k.hidden, cpu);
        let (_, most, _) = row_limits(k, hidden, cpu);
        // The convolution hands over whole rows of the image: some of them to a tile, or some tiles to one of them.
        let line = k.grid[2];
        let unit = (most / line).clamp(1, k.grid[1]) * line;
        let rows = unit.div_ceil(unit.div_ceil(most));
        self.tile = Tile { depth, height, width, rows: whole_blocks(rows, unit, max_row_block(cpu)), hidden };
    }
    fn legal(&self, cpu: &Cpu) -> Result<(), String> {
        let (conv, k) = (&self.work.conv, &self.work.mlp);
        let mut wrong = complaints(k, self.in_place, self.tile.rows, self.tile.hidden);
        if conv.output != k.grid || conv.channels != k.channels || conv.batch != k.batch || voxels(conv.output) == 0 {
            wrong.push(format!(
                "mlp: the convolution gives {} x {} of {} channels, the mlp reads {} x {} of {}",
                conv.batch,
                mnx_words::extents(&conv.output),
                conv.channels,
                k.batch,
                mnx_words::extents(&k.grid),
                k.channels
            ));
        }
        if conv.stats || k.norm {
            wrong.push("mlp: behind a layer norm there are no statistics".into());
        }
        if let Err(reason) = self.depthwise().legal(cpu) {
            wrong.push(format!("mlp: its convolution: {reason}"));
        }
        verdict(wrong)
    }
    fn neighbours(&self, near: &mut Neighbours, cpu: &Cpu) {
        let conv = &self.work.conv;
        near.sizes(conv.output, conv.axis(2).out_step());
        let (rows, block) = (self.tile.rows, max_row_block(cpu));
        for rows in [rows * 2, rows / 2, rows + block, rows.saturating_sub(block)] {
            near.offer(&[("rows", rows)]);
        }
        neighbours_hidden(near, self.tile.hidden, self.work.mlp.hidden);
    }
}

impl Row for ConvMlp {
    type Kernel = HostKernel;
    const STRATEGY: Strategy = Strategy {
        name: "mlp.conv_tile",
        knobs: Tile::KNOBS,
        tensor: false,
        about: "the MLP of a tile of voxels with the depthwise conv and layer norm of its rows computed in place (layer-norm networks)",
    };

    fn take(task: &Task, to: &mut Lowering<HostKernel>) -> Result<bool, String> {
        let Work::ConvMlp(work) = &task.work else { return Ok(false) };
        let gelu = to.choices.gelu;
        to.push(Self { work: work.clone(), gelu, in_place: false, tile: Tile::default() }, formed(task, true)?);
        Ok(true)
    }
}

/// About `rows` rows, in whole register blocks of nearly full size, wasting as little of `m` voxels as can be.
fn whole_blocks(rows: usize, m: usize, block: usize) -> usize {
    if rows < m && rows >= 4 * block {
        return rows / block * block;
    }
    (block.div_ceil(2)..=block)
        .rev()
        .min_by_key(|b| {
            let tile = rows.next_multiple_of(*b);
            // blocks computed over all tiles; the last tile computes only the blocks it needs
            let (full, rest) = (m / tile, m % tile);
            let computed = full * tile + rest.next_multiple_of(*b);
            // small blocks read the panel more often: about two rows' worth of work per block
            computed + 2 * computed / b
        })
        .map_or(rows, |b| rows.next_multiple_of(b))
}
