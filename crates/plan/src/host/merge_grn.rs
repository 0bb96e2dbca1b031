//! Partial sums of squares to GRN's ratio.

use serde::{Deserialize, Serialize};

use super::HostKernel;
use crate::family::{Arithmetic, Family, Row, Strategy};
use crate::lowering::Lowering;
use crate::slot::{Arg, Element, Slot};
use crate::target::Cpu;
use crate::work::{GrnRatio, Task, Work};

/// GRN's ratio: `g[e] = sqrt(sum over parts)`, `r[e] = g[e] / (reduce_e(g) + eps)`.
///
/// Args: `partials` f64 `[n, parts, e]`, `ratio` f32 `[n, e]`. One workgroup per sample.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MergeGrn {
    /// What is computed.
    pub ratio: GrnRatio,
    /// Parts per sample.
    pub parts: usize,
}

impl Family for MergeGrn {
    type Machine = Cpu;
    fn args(&self) -> Vec<Arg> {
        let r = &self.ratio;
        vec![Arg::read(Slot::Partials, r.batch * self.parts * r.channels).of(Element::F64), Arg::write(Slot::Ratio, r.batch * r.channels)]
    }
    fn workgroups(&self) -> usize {
        self.ratio.batch
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops(2 * (self.ratio.batch * self.parts * self.ratio.channels) as u64)
    }
    fn take_parts(&mut self, parts: usize) {
        self.parts = parts;
    }
}

impl Row for MergeGrn {
    type Kernel = HostKernel;
    const STRATEGY: Strategy =
        Strategy { name: "merge.grn", knobs: &[], tensor: false, about: "partial sums of squares to GRN's ratio, in fixed order" };

    fn take(task: &Task, to: &mut Lowering<HostKernel>) -> Result<bool, String> {
        let Work::GrnRatio(ratio) = &task.work else { return Ok(false) };
        to.push(Self { ratio: ratio.clone(), parts: 0 }, task.take(&[Slot::Partials, Slot::Ratio])?);
        Ok(true)
    }
}
