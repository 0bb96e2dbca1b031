//! One pass over both volumes: how often each pair of labels meets, and where each label lies.

use std::collections::{BTreeSet, HashMap};

use rayon::prelude::*;

/// Voxels of a case by outcome for one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// In both.
    pub tp: u64,
    /// In the prediction only.
    pub fp: u64,
    /// In the reference only.
    pub fn_: u64,
    /// In neither.
    pub tn: u64,
}

impl Counts {
    /// Voxels of the prediction.
    pub fn prediction(&self) -> u64 {
        self.tp + self.fp
    }

    /// Voxels of the reference.
    pub fn reference(&self) -> u64 {
        self.tp + self.fn_
    }

    /// `2 TP / (2 TP + FP + FN)`, NaN if both masks are empty.
    pub fn dice(&self) -> f64 {
        2.0 * self.tp as f64 / (2 * self.tp + self.fp + self.fn_) as f64
    }

    /// `TP / (TP + FP + FN)`, NaN if both masks are empty.
    pub fn iou(&self) -> f64 {
        self.tp as f64 / (self.tp + self.fp + self.fn_) as f64
    }
}

/// The smallest box around some voxels: first index and one past the last, axes z, y, x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub low: [usize; 3],
    pub high: [usize; 3],
}

impl Extent {
    fn join(self, other: Self) -> Self {
        Self { low: std::array::from_fn(|a| self.low[a].min(other.low[a])), high: std::array::from_fn(|a| self.high[a].max(other.high[a])) }
    }
}

/// What is known of two volumes after reading them once. Memory grows with the number of distinct labels only.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// (label of the prediction, of the reference) to voxels.
    pairs: HashMap<(u16, u16), u64>,
    prediction: HashMap<u16, Extent>,
    reference: HashMap<u16, Extent>,
}

fn extend(map: &mut HashMap<u16, Extent>, label: u16, extent: Extent) {
    map.entry(label).and_modify(|e| *e = e.join(extent)).or_insert(extent);
}

impl Tally {
    /// Counts two volumes of `shape`; voxels where the reference is `ignore` are passed over.
    pub fn of(prediction: &[u16], reference: &[u16], shape: [usize; 3], ignore: Option<u16>) -> Self {
        let [nz, ny, nx] = shape;
        let plane = |z: usize| {
            let mut tally = Self::default();
            for y in 0..ny {
                let at = (z * ny + y) * nx;
                tally.row(&prediction[at..at + nx], &reference[at..at + nx], [z, y], ignore);
            }
            tally
        };
        (0..nz).into_par_iter().map(plane).reduce(Self::default, Self::merge)
    }

    /// Labels come in runs: one look at the maps for each run of equal pairs.
    fn row(&mut self, prediction: &[u16], reference: &[u16], [z, y]: [usize; 2], ignore: Option<u16>) {
        let mut start = 0;
        while start < prediction.len() {
            let (p, r) = (prediction[start], reference[start]);
            let run = prediction[start..].iter().zip(&reference[start..]).take_while(|&(a, b)| (*a, *b) == (p, r)).count();
            if ignore != Some(r) {
                *self.pairs.entry((p, r)).or_default() += run as u64;
                let extent = Extent { low: [z, y, start], high: [z + 1, y + 1, start + run] };
                extend(&mut self.prediction, p, extent);
                extend(&mut self.reference, r, extent);
            }
            start += run;
        }
    }

    fn merge(mut self, other: Self) -> Self {
        for (pair, n) in other.pairs {
            *self.pairs.entry(pair).or_default() += n;
        }
        for (label, extent) in other.prediction {
            extend(&mut self.prediction, label, extent);
        }
        for (label, extent) in other.reference {
            extend(&mut self.reference, label, extent);
        }
        self
    }

    /// Labels of either volume.
    pub fn labels(&self) -> BTreeSet<u16> {
        self.prediction.keys().chain(self.reference.keys()).copied().collect()
    }

    /// Voxels counted.
    pub fn voxels(&self) -> u64 {
        self.pairs.values().sum()
    }

    /// Outcomes for the class made of `labels`.
    pub fn counts(&self, labels: &[u16]) -> Counts {
        let mut counts = Counts::default();
        for ((p, r), n) in &self.pairs {
            *match (labels.contains(p), labels.contains(r)) {
                (true, true) => &mut counts.tp,
                (true, false) => &mut counts.fp,
                (false, true) => &mut counts.fn_,
                (false, false) => &mut counts.tn,
            } += n;
        }
        counts
    }

    /// Boxes around the class in prediction and reference.
    pub fn boxes(&self, labels: &[u16]) -> (Option<Extent>, Option<Extent>) {
        let around = |map: &HashMap<u16, Extent>| labels.iter().filter_map(|l| map.get(l)).copied().reduce(Extent::join);
        (around(&self.prediction), around(&self.reference))
    }
}
