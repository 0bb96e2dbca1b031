//! Layer norm over channels, in place.

use serde::{Deserialize, Serialize};

use super::{Geometry, GpuKernel, Storage, THREADS, flat, padded};
use crate::family::{Arithmetic, Family, Row, Strategy};
use crate::slot::{Arg, Slot};
use crate::target::Gpu;
use crate::vocabulary::Bits;

/// `y = (x - mean) rsqrt(var + eps)` over the real channels of each voxel; padded channels stay zero. In place.
///
/// Args: `y` storage `[n, grid, c]`, updated. A warp per voxel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LayerNorm {
    /// Voxels, over all samples.
    pub voxels: usize,
    /// Real channels.
    pub channels: usize,
    /// Epsilon.
    pub eps: Bits,
    /// Element type.
    pub storage: Storage,
}

impl Family for LayerNorm {
    type Machine = Gpu;
    fn args(&self) -> Vec<Arg> {
        vec![Arg::update(Slot::Y, self.voxels * padded(self.channels)).of(self.storage.element())]
    }
    fn geometry(&self) -> Option<Geometry> {
        Some(flat(self.voxels, THREADS / 32, 1, 0))
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops((6 * self.voxels * self.channels) as u64)
    }
}

impl Row for LayerNorm {
    type Kernel = GpuKernel;
    const STRATEGY: Strategy = Strategy { name: "gpu.layer_norm", knobs: &[], tensor: false, about: "layer norm over channels, in place" };
}
