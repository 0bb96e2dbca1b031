//! Soft-max or arg-max over the classes of a port, a thread per voxel.

use serde::{Deserialize, Serialize};

use super::{Geometry, GpuKernel, THREADS, flat};
use crate::family::{Arithmetic, Family, Row, Strategy};
use crate::lowering::Lowering;
use crate::slot::{Arg, Slot};
use crate::target::Gpu;
use crate::work::{self, Task, Work};

/// Soft-max (max subtracted) or arg-max (first of equals) over the classes of a port, a thread per voxel.
///
/// Args: `x` f32 `[n, classes, voxels]`, `y` f32 `[n, classes, voxels]` or i32 `[n, voxels]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Classify {
    /// What is computed.
    pub classify: work::Classify,
}

impl Family for Classify {
    type Machine = Gpu;
    fn args(&self) -> Vec<Arg> {
        self.classify.args()
    }
    fn geometry(&self) -> Option<Geometry> {
        Some(flat(self.classify.space, THREADS, self.classify.batch, 0))
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops(self.classify.flops())
    }
}

impl Row for Classify {
    type Kernel = GpuKernel;
    const STRATEGY: Strategy = Strategy { name: "gpu.classify", knobs: &[], tensor: false, about: "soft-max or arg-max over the classes" };

    fn take(task: &Task, to: &mut Lowering<GpuKernel>) -> Result<bool, String> {
        let Work::Classify(classify) = &task.work else { return Ok(false) };
        to.push(Self { classify: classify.clone() }, task.take(&[Slot::X, Slot::Y])?);
        Ok(true)
    }
}
