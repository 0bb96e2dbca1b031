//! The end of a block: what is added to the compressed result and where it goes.

use serde::{Deserialize, Serialize};

use crate::slot::{Arg, Slot};
use crate::vocabulary::{Extent, Storage, voxels};
use crate::work::Residual;

/// `out[m + pad_front] = skip[m + pad_front] + value[m] + residual[m]`; where `pad_front`, voxels of the output with any coordinate 0 are `skip`
/// alone (0 without skip); with `in_place` they stay as they are. A head reads the result before it is rounded to the storage type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Epilogue {
    /// What is added on the grid.
    pub residual: Residual,
    /// Zero planes put in front, per axis (0 or 1).
    pub pad_front: Extent,
    /// Whether an encoder skip is added (on the padded grid).
    pub skip: bool,
    /// Classes of a head that reads the result (never with `pad_front`; needs all output channels in one workgroup).
    pub head: Option<usize>,
    /// Whether the result is stored.
    pub store: bool,
    /// Whether `out` holds the skip (without one, the `Identity` residual) at the start; that buffer is then not among the args.
    pub in_place: bool,
}

impl Epilogue {
    /// Store and nothing else.
    pub const STORE: Self = Self { residual: Residual::None, pad_front: [0; 3], skip: false, head: None, store: true, in_place: false };

    /// Extent of the output for this grid.
    pub fn output(&self, grid: Extent) -> Extent {
        [0, 1, 2].map(|a| grid[a] + self.pad_front[a])
    }

    /// The slot of the tensor that the result may overwrite, as in [`crate::work::Mlp::overwritten`].
    pub fn overwritten(&self) -> Option<Slot> {
        if self.store { self.residual.overwritten(self.skip, self.pad_front) } else { None }
    }

    /// Buffers of a block's end: `res` storage `[n, grid, c]` (or `res` f32 `[n, ci, grid]` and `res_w` f32 `[c, ci]`, or `res` `[n, from, ci]` and `res_w` storage `[c, ci]`, or `res` `[n, from, c]`), `skip` storage `[n, output, c]`,
    /// `head_w` f32 `[classes, c]`, `head_b` f32 `[classes]`, `logits` f32 `[n, classes, output]`, `out` storage `[n, output, c]`.
    pub(crate) fn args(&self, batch: usize, grid: Extent, channels: usize, storage: Storage) -> Vec<Arg> {
        let element = storage.element();
        let output = batch * voxels(self.output(grid));
        let replaced = self.store && self.in_place;
        let mut args = Vec::new();
        match self.residual {
            Residual::None => {}
            Residual::Identity if replaced && !self.skip => {}
            Residual::Identity => args.push(Arg::read(Slot::Res, batch * voxels(grid) * channels).of(element)),
            Residual::Stem { channels: image } => {
                args.push(Arg::read(Slot::Res, batch * voxels(grid) * image));
                args.push(Arg::read(Slot::ResW, channels * image));
            }
            Residual::Strided { from, channels: own, .. } => {
                args.push(Arg::read(Slot::Res, batch * voxels(from) * own).of(element));
                args.push(Arg::read(Slot::ResW, channels * own).of(element));
            }
            Residual::Scattered { from, .. } => args.push(Arg::read(Slot::Res, batch * voxels(from) * channels).of(element)),
        }
        if self.skip && !replaced {
            args.push(Arg::read(Slot::Skip, output * channels).of(element));
        }
        if let Some(classes) = self.head {
            args.push(Arg::read(Slot::HeadW, classes * channels));
            args.push(Arg::read(Slot::HeadB, classes));
            args.push(Arg::write(Slot::Logits, output * classes));
        }
        if let Some(over) = self.overwritten().filter(|_| replaced) {
            args.push(Arg::in_place(Slot::Out, over, output * channels).of(element));
        } else if self.store {
            args.push(Arg::write(Slot::Out, output * channels).of(element));
        }
        args
    }

    /// Whether something depends on a voxel's coordinates.
    pub fn located(&self) -> bool {
        self.pad_front != [0; 3] || matches!(self.residual, Residual::Scattered { .. } | Residual::Strided { .. })
    }

    /// Registers that a tensor added to `columns` columns of `m_tiles` row blocks takes in a thread, with its places: one row at a time where rows
    /// have residuals of their own.
    pub(crate) fn registers(&self, m_tiles: usize, columns: usize, storage: Storage) -> usize {
        let stored = self.skip || matches!(self.residual, Residual::Identity | Residual::Scattered { .. });
        let row = if stored { columns * storage.bytes() / 16 } else { 0 };
        let product = if matches!(self.residual, Residual::Strided { .. }) { 32 + 16 * m_tiles } else { 0 };
        2 * m_tiles * row + product + if self.located() { 16 * m_tiles } else { 4 * m_tiles }
    }

    /// Floating-point operations on `m` voxels of `channels`.
    pub(crate) fn flops(&self, m: usize, channels: usize) -> u64 {
        2 * (m * channels * (self.residual.product() + self.head.unwrap_or(0))) as u64
    }
}
