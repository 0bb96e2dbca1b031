//! A pointwise weight with what precedes it folded in, per sample.

use serde::{Deserialize, Serialize};

use super::{Geometry, GpuKernel, Storage, THREADS, flat};
use crate::family::{Arithmetic, Family, Row, Strategy};
use crate::slot::{Arg, Slot};
use crate::target::Gpu;

/// What is folded into a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Folded {
    /// Normalisation: `w'[o, i] = w[o, i] rstd[i]`, rounded to the storage type; `b'[o] = b[o] - sum_i w'[o, i] mean[i]`. Reads `stats` f32 `[n, 2, k]`.
    Norm,
    /// GRN: `w'[o, i] = w[o, i] (gamma[i] ratio[i] + 1)`; `b'[o] = b[o] + sum_i w[o, i] beta[i]`. Reads `ratio` f32 `[n, k]`, `gamma` f32 `[k]`, `beta` f32 `[k]`.
    Grn,
}

/// A pointwise weight with what precedes it folded in, per sample.
///
/// Args: what [`Folded`] reads, `w` f32 `[rows, k]`, `b` f32 `[rows]`, `wf` storage `[n, rows, k]`, `bf` f32 `[n, rows]`. Grid: x = groups of 8 rows (a warp each), y = samples.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fold {
    /// Samples.
    pub batch: usize,
    /// Input channels of the weight, padded.
    pub channels: usize,
    /// Output channels of the weight, padded.
    pub rows: usize,
    /// What is folded in.
    pub folded: Folded,
    /// Element type of the result.
    pub storage: Storage,
}

impl Family for Fold {
    type Machine = Gpu;
    fn args(&self) -> Vec<Arg> {
        let (n, k, rows) = (self.batch, self.channels, self.rows);
        let mut args = match self.folded {
            Folded::Norm => vec![Arg::read(Slot::Stats, n * 2 * k)],
            Folded::Grn => vec![Arg::read(Slot::Ratio, n * k), Arg::read(Slot::Gamma, k), Arg::read(Slot::Beta, k)],
        };
        args.push(Arg::read(Slot::W, rows * k));
        args.push(Arg::read(Slot::B, rows));
        args.push(Arg::write(Slot::Wf, n * rows * k).of(self.storage.element()));
        args.push(Arg::write(Slot::Bf, n * rows));
        args
    }
    fn geometry(&self) -> Option<Geometry> {
        Some(flat(self.rows, THREADS / 32, self.batch, 0))
    }
    fn arithmetic(&self) -> Arithmetic {
        Arithmetic::flops((3 * self.batch * self.rows * self.channels) as u64)
    }
}

impl Row for Fold {
    type Kernel = GpuKernel;
    const STRATEGY: Strategy =
        Strategy { name: "gpu.fold", knobs: &[], tensor: false, about: "normalisation or GRN folded into a pointwise weight, per sample" };
}
