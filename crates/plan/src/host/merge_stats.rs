//! Partial statistics to mean and reciprocal standard deviation.

use serde::{Deserialize, Serialize};

use super::HostKernel;
use crate::family::{Arithmetic, Family, Row, Strategy};
use crate::lowering::Lowering;
use crate::slot::{Arg, Element, Slot};
use crate::target::Cpu;
use crate::work::{Moments, Task, Work};

/// `mean = S/count`, `rstd = 1/sqrt(max(Q/count - mean^2, 0) + eps)`, S and Q summed over the parts in order, in float64.
///
/// Args: `partials` f64 `[n, parts, 2, c]`, `stats` f32 `[n, 2, c]` (mean, rstd). One workgroup per sample.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MergeStats {
    /// What is computed.
    pub moments: Moments,
    /// Parts per sample.
    pub parts: usize,
}

impl Family for MergeStats {
    type Machine = Cpu;
    fn args(&self) -> Vec<Arg> {
        let m = &self.moments;
        vec![
            Arg::read(Slot::Partials, m.batch * self.parts * 2 * m.channels).of(Element::F64),
            Arg::write(Slot::Stats, m.batch * 2 * m.channels),
        ]
    }
    fn workgroups(&self) -> usize {
        self.moments.batch
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops(2 * (self.moments.batch * self.parts * 2 * self.moments.channels) as u64)
    }
    fn take_parts(&mut self, parts: usize) {
        self.parts = parts;
    }
}

impl Row for MergeStats {
    type Kernel = HostKernel;
    const STRATEGY: Strategy = Strategy {
        name: "merge.stats",
        knobs: &[],
        tensor: false,
        about: "partial sums to mean and reciprocal standard deviation, in fixed order",
    };

    fn take(task: &Task, to: &mut Lowering<HostKernel>) -> Result<bool, String> {
        let Work::Moments(moments) = &task.work else { return Ok(false) };
        to.push(Self { moments: moments.clone(), parts: 0 }, task.take(&[Slot::Partials, Slot::Stats])?);
        Ok(true)
    }
}
