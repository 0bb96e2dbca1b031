//! Partial sums, fewer of them.

use serde::{Deserialize, Serialize};

use super::{Geometry, GpuKernel, flat};
use crate::family::{Arithmetic, Family, Row, Strategy};
use crate::slot::{Arg, Slot};
use crate::target::Gpu;

/// Parts that one workgroup can sum without being the slowest of its launch.
const SUMMED: usize = 256;

/// Sums of groups of parts: `y[n, q, c] = sum of x[n, p, c]` for the parts p of group q, in order.
///
/// Args: `partials` f32 `[n, parts, c]`, `sums` f32 `[n, parts.div_ceil(group), c]`. Grid: x = groups, y = samples.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SumParts {
    /// Samples.
    pub batch: usize,
    /// Columns, padded.
    pub channels: usize,
    /// Parts per sample.
    pub parts: usize,
    /// Parts per group.
    pub group: usize,
}

impl Family for SumParts {
    type Machine = Gpu;
    fn args(&self) -> Vec<Arg> {
        let read = Arg::read(Slot::Partials, self.batch * self.parts * self.channels);
        vec![read, Arg::write(Slot::Sums, self.batch * self.groups() * self.channels)]
    }
    fn geometry(&self) -> Option<Geometry> {
        Some(flat(self.parts, self.group.max(1), self.batch, 0))
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops((self.batch * self.parts * self.channels) as u64)
    }
    fn parts(&self) -> Option<usize> {
        Some(self.groups())
    }
    fn take_parts(&mut self, parts: usize) {
        self.parts = parts;
        self.group = parts.div_ceil(SUMMED).max(1);
    }
}

impl SumParts {
    fn groups(&self) -> usize {
        self.parts.div_ceil(self.group.max(1))
    }
}

impl Row for SumParts {
    type Kernel = GpuKernel;
    const STRATEGY: Strategy =
        Strategy { name: "gpu.sum_parts", knobs: &[], tensor: false, about: "partial sums, fewer of them, in fixed order" };
}
