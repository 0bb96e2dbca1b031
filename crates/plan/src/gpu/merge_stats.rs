//! Partial statistics to mean and reciprocal standard deviation.

use serde::{Deserialize, Serialize};

use super::{Geometry, GpuKernel, THREADS, flat, padded};
use crate::family::{Arithmetic, Family, Row, Strategy};
use crate::lowering::Lowering;
use crate::slot::{Arg, Slot};
use crate::target::Gpu;
use crate::work::{Moments, Task, Work};

/// Channels per workgroup; the other threads of a workgroup share the parts.
pub const MERGED_CHANNELS: usize = 16;

/// `mean = sum n_p mean_p / count`, `rstd = 1 / sqrt((sum m2_p + n_p (mean_p - mean)^2) / count + eps)`, parts in a fixed order, float32.
///
/// Args: `partials` f32 `[n, parts, 3, c]` (count, mean, sum of squared differences), `stats` f32 `[n, 2, c]` (mean, rstd). Grid: x = blocks of [`MERGED_CHANNELS`], y = samples.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MergeStats {
    /// What is computed, channels padded.
    pub moments: Moments,
    /// Parts per sample.
    pub parts: usize,
}

impl Family for MergeStats {
    type Machine = Gpu;
    fn args(&self) -> Vec<Arg> {
        let Moments { batch, channels, .. } = self.moments;
        vec![Arg::read(Slot::Partials, batch * self.parts * 3 * channels), Arg::write(Slot::Stats, batch * 2 * channels)]
    }
    fn geometry(&self) -> Option<Geometry> {
        Some(flat(self.moments.channels, MERGED_CHANNELS, self.moments.batch, 4 * THREADS))
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops((6 * self.moments.batch * self.parts * self.moments.channels) as u64)
    }
    fn take_parts(&mut self, parts: usize) {
        self.parts = parts;
    }
}

impl Row for MergeStats {
    type Kernel = GpuKernel;
    const STRATEGY: Strategy = Strategy {
        name: "gpu.merge_stats",
        knobs: &[],
        tensor: false,
        about: "partial statistics to mean and reciprocal standard deviation, in fixed order",
    };

    fn take(task: &Task, to: &mut Lowering<GpuKernel>) -> Result<bool, String> {
        let Work::Moments(moments) = &task.work else { return Ok(false) };
        let moments = Moments { channels: padded(moments.channels), ..moments.clone() };
        to.push(Self { moments, parts: 0 }, task.take(&[Slot::Partials, Slot::Stats])?);
        Ok(true)
    }
}
