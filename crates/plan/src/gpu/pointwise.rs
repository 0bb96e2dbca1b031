//! Pointwise convolution from or to a port: stem, heads.

use serde::{Deserialize, Serialize};

use super::lower::{matrix, padded_last};
use super::{Geometry, GpuKernel, Storage, THREADS, flat, padded};
use crate::family::{Arithmetic, Family, Row, Strategy};
use crate::lowering::Lowering;
use crate::slot::{Arg, Element, Slot};
use crate::target::Gpu;
use crate::vocabulary::voxels;
use crate::work::{self, Operand, Task, Work};

/// `y[n, m] = w x[n, m * stride] + b`, a thread per voxel of `output`.
///
/// Args: `x` (port f32 `[n, ci, input]` or storage `[n, input, ci]`), `w` f32 `[co, ci]`, with bias `b` f32 `[co]`, `y` (port f32 or storage, likewise).
/// Channels of inner tensors are padded, those of ports are not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pointwise {
    /// What is computed, channels as stored.
    pub pointwise: work::Pointwise,
    /// Element type of inner tensors.
    pub storage: Storage,
}

impl Family for Pointwise {
    type Machine = Gpu;
    fn args(&self) -> Vec<Arg> {
        let k = &self.pointwise;
        let element = |port: bool| if port { Element::F32 } else { self.storage.element() };
        let mut args = vec![
            Arg::read(Slot::X, k.batch * voxels(k.input) * k.in_channels).of(element(k.in_first)),
            Arg::read(Slot::W, k.out_channels * k.in_channels),
        ];
        if k.bias {
            args.push(Arg::read(Slot::B, k.out_channels));
        }
        args.push(Arg::write(Slot::Y, k.batch * voxels(k.output) * k.out_channels).of(element(k.out_first)));
        args
    }
    fn geometry(&self) -> Option<Geometry> {
        Some(flat(voxels(self.pointwise.output), THREADS, self.pointwise.batch, 0))
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops(self.pointwise.flops())
    }
}

impl Row for Pointwise {
    type Kernel = GpuKernel;
    const STRATEGY: Strategy =
        Strategy { name: "gpu.pointwise", knobs: &[], tensor: false, about: "pointwise convolution from or to a port: stem, heads" };

    fn take(task: &Task, to: &mut Lowering<GpuKernel>) -> Result<bool, String> {
        let Work::Pointwise(k) = &task.work else { return Ok(false) };
        if !k.in_first && !k.out_first {
            return Ok(false);
        }
        let stored = |port: bool, channels: usize| if port { channels } else { padded(channels) };
        let (channels, out) = (stored(k.in_first, k.in_channels), stored(k.out_first, k.out_channels));
        let mut operands = vec![(Slot::X, task.operand(Slot::X)?), (Slot::W, Operand::Weight(matrix(task, Slot::W, out, channels)?))];
        if k.bias {
            operands.push((Slot::B, padded_last(task, Slot::B, out)?));
        }
        operands.push((Slot::Y, task.operand(Slot::Y)?));
        let pointwise = work::Pointwise { in_channels: channels, out_channels: out, ..k.clone() };
        to.push(Self { pointwise, storage: task.types.stream }, operands);
        Ok(true)
    }
}
