//! Partial sums of squares to GRN's ratio.

use serde::{Deserialize, Serialize};

use super::sum_parts::SumParts;
use super::{Geometry, GpuKernel, THREADS, padded};
use crate::family::{Arithmetic, Family, Row, Strategy};
use crate::lowering::Lowering;
use crate::slot::{Arg, Slot};
use crate::target::Gpu;
use crate::work::{GrnRatio, Task, Work};

/// `g[e] = sqrt(sum over parts)`, `ratio[e] = g[e] / (reduce_e(g) + eps)`.
///
/// Args: `partials` f32 `[n, parts, e]`, `ratio` f32 `[n, e]`, hidden channels padded. One workgroup per sample (grid y).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MergeGrn {
    /// What is computed; a mean is taken over its channels.
    pub ratio: GrnRatio,
    /// Parts per sample.
    pub parts: usize,
}

impl MergeGrn {
    /// Hidden channels as they are stored.
    pub fn channels(&self) -> usize {
        padded(self.ratio.channels)
    }
}

impl Family for MergeGrn {
    type Machine = Gpu;
    fn args(&self) -> Vec<Arg> {
        let (batch, channels) = (self.ratio.batch, self.channels());
        vec![Arg::read(Slot::Partials, batch * self.parts * channels), Arg::write(Slot::Ratio, batch * channels)]
    }
    fn geometry(&self) -> Option<Geometry> {
        let shared_bytes = (4 * (self.channels() + THREADS)) as u32;
        Some(Geometry { grid: [1, self.ratio.batch as u32, 1], block: [THREADS as u32, 1, 1], shared_bytes })
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops((self.ratio.batch * self.parts * self.channels()) as u64)
    }
    fn take_parts(&mut self, parts: usize) {
        self.parts = parts;
    }
}

impl Row for MergeGrn {
    type Kernel = GpuKernel;
    const STRATEGY: Strategy =
        Strategy { name: "gpu.merge_grn", knobs: &[], tensor: false, about: "partial sums of squares to GRN's ratio, in fixed order" };

    fn take(task: &Task, to: &mut Lowering<GpuKernel>) -> Result<bool, String> {
        let Work::GrnRatio(ratio) = &task.work else { return Ok(false) };
        let sums = to.partial();
        let sum = SumParts { batch: ratio.batch, channels: padded(ratio.channels), parts: 0, group: 1 };
        to.push(sum, vec![(Slot::Partials, task.operand(Slot::Partials)?), (Slot::Sums, sums.clone())]);
        let merge = Self { ratio: ratio.clone(), parts: 0 };
        to.push(merge, vec![(Slot::Partials, sums), (Slot::Ratio, task.operand(Slot::Ratio)?)]);
        Ok(true)
    }
}
