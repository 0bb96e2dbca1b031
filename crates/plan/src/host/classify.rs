//! Soft-max or arg-max over the classes of a port.

use serde::{Deserialize, Serialize};

use super::HostKernel;
use super::verdict;
use crate::family::{Arithmetic, Family, Neighbours, Row, Strategy, tile, tiled};
use crate::lowering::Lowering;
use crate::slot::{Arg, Slot};
use crate::target::Cpu;
use crate::work::{self, Task, Work};

/// Soft-max (max subtracted) or arg-max (first of equals) over the classes of a port.
///
/// Args: `x` f32 `[n, classes, voxels]`, `y` f32 `[n, classes, voxels]` (soft-max) or i32 `[n, voxels]` (arg-max).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Classify {
    /// What is computed.
    pub classify: work::Classify,
    /// The schedule.
    #[serde(skip)]
    pub tile: Tile,
}

tile! {
    /// How classification is cut.
    pub struct Tile {
        /// Voxels per workgroup.
        voxels,
    }
}

impl Family for Classify {
    type Machine = Cpu;
    tiled!();
    fn args(&self) -> Vec<Arg> {
        self.classify.args()
    }
    fn workgroups(&self) -> usize {
        self.classify.batch * self.classify.space.div_ceil(self.tile.voxels)
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops(self.classify.flops())
    }
    /// Whole cache lines of the port.
    fn choose(&mut self, _cpu: &Cpu) {
        let parts = 64usize.div_ceil(self.classify.batch);
        let space = self.classify.space;
        self.tile.voxels = space.div_ceil(parts).next_multiple_of(64).min(space);
    }
    fn legal(&self, _cpu: &Cpu) -> Result<(), String> {
        let k = &self.classify;
        let mut wrong = Vec::new();
        if k.batch == 0 || k.classes == 0 || k.space == 0 || self.tile.voxels == 0 {
            wrong.push(format!(
                "classify: an extent is zero: batch {}, classes {}, space {}, voxels per workgroup {}",
                k.batch, k.classes, k.space, self.tile.voxels
            ));
        }
        verdict(wrong)
    }
    fn neighbours(&self, near: &mut Neighbours, _cpu: &Cpu) {
        for v in [self.tile.voxels * 2, self.tile.voxels / 2, 4096] {
            near.offer(&[("voxels", v.next_multiple_of(64).min(self.classify.space))]);
        }
    }
}

impl Row for Classify {
    type Kernel = HostKernel;
    const STRATEGY: Strategy =
        Strategy { name: "classify.rows", knobs: Tile::KNOBS, tensor: false, about: "soft-max or arg-max over the classes" };

    fn take(task: &Task, to: &mut Lowering<HostKernel>) -> Result<bool, String> {
        let Work::Classify(classify) = &task.work else { return Ok(false) };
        to.push(Self { classify: classify.clone(), tile: Tile::default() }, task.take(&[Slot::X, Slot::Y])?);
        Ok(true)
    }
}
