//! Connected components of a mask, by runs along x: linear in time, and in memory a few bytes per run rather than per voxel.

use mnx_artifact::Connectivity;

/// A maximal stretch of mask along x.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// `z * ny + y`.
    pub row: usize,
    /// First voxel along x.
    pub start: u32,
    /// One past the last.
    pub end: u32,
}

/// The runs of a mask and the component that each belongs to.
pub(crate) struct Components {
    /// All runs, in the order of their voxels.
    pub runs: Vec<Run>,
    /// Component of each run, counted from 0 in the order of first voxels.
    pub component: Vec<u32>,
    /// How many components.
    pub count: usize,
}

impl Components {
    /// The components of the voxels for which `inside` (given the flat index) is true.
    pub fn new(shape: [usize; 3], connectivity: Connectivity, inside: impl Fn(usize) -> bool) -> Components {
        let [nz, ny, nx] = shape;
        let mut runs: Vec<Run> = Vec::new();
        let mut parent: Vec<u32> = Vec::new();
        // First run of each row, and one past the last.
        let mut first = Vec::with_capacity(nz * ny + 1);
        let corners = connectivity == Connectivity::Corners;
        for row in 0..nz * ny {
            first.push(runs.len());
            let mut x = 0;
            while x < nx {
                if !inside(row * nx + x) {
                    x += 1;
                    continue;
                }
                let start = x;
                while x < nx && inside(row * nx + x) {
                    x += 1;
                }
                parent.push(runs.len() as u32);
                runs.push(Run { row, start: start as u32, end: x as u32 });
            }
            let (z, y) = (row / ny, row % ny);
            let mut join = |other: usize| {
                let to = first.get(other + 1).copied().unwrap_or(runs.len());
                touch(&runs, first[row]..runs.len(), first[other]..to, u32::from(corners), &mut parent);
            };
            if y > 0 {
                join(row - 1);
            }
            if z > 0 {
                join(row - ny);
                if corners && y > 0 {
                    join(row - ny - 1);
                }
                if corners && y + 1 < ny {
                    join(row - ny + 1);
                }
            }
        }
        // A root is always the earliest run of its component, so numbers follow the order of voxels.
        let mut component = vec![0u32; runs.len()];
        let mut count = 0;
        for i in 0..runs.len() {
            let root = find(&mut parent, i as u32) as usize;
            component[i] = if root == i {
                count += 1;
                count - 1
            } else {
                component[root]
            };
        }
        Components { runs, component, count: count as usize }
    }

    /// Voxels of each component.
    pub fn sizes(&self) -> Vec<u64> {
        let mut sizes = vec![0u64; self.count];
        for (run, &c) in self.runs.iter().zip(&self.component) {
            sizes[c as usize] += u64::from(run.end - run.start);
        }
        sizes
    }
}

/// Joins the runs of two rows that overlap along x (`reach` 1: also those that meet at a corner).
fn touch(runs: &[Run], a: std::ops::Range<usize>, b: std::ops::Range<usize>, reach: u32, parent: &mut [u32]) {
    let (mut i, mut j) = (a.start, b.start);
    while i < a.end && j < b.end {
        let (p, q) = (runs[i], runs[j]);
        if p.start < q.end + reach && q.start < p.end + reach {
            let (r, s) = (find(parent, i as u32), find(parent, j as u32));
            parent[r.max(s) as usize] = r.min(s);
        }
        if p.end < q.end {
            i += 1;
        } else {
            j += 1;
        }
    }
}

fn find(parent: &mut [u32], mut i: u32) -> u32 {
    while parent[i as usize] != i {
        parent[i as usize] = parent[parent[i as usize] as usize];
        i = parent[i as usize];
    }
    i
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flood fill, the definition.
    fn slow(mask: &[bool], shape: [usize; 3], connectivity: Connectivity) -> Vec<usize> {
        let mut label = vec![usize::MAX; mask.len()];
        let mut next = 0;
        for seed in 0..mask.len() {
            if !mask[seed] || label[seed] != usize::MAX {
                continue;
            }
            let mut open = vec![seed];
            label[seed] = next;
            while let Some(i) = open.pop() {
                let at = [i / (shape[1] * shape[2]), i / shape[2] % shape[1], i % shape[2]];
                for d in 0..27usize {
                    let step = [d / 9, d / 3 % 3, d % 3];
                    let moved = step.iter().filter(|s| **s != 1).count();
                    if moved == 0 || (connectivity == Connectivity::Faces && moved > 1) {
                        continue;
                    }
                    let to: [usize; 3] = std::array::from_fn(|a| (at[a] + step[a]).wrapping_sub(1));
                    if (0..3).all(|a| to[a] < shape[a]) {
                        let j = (to[0] * shape[1] + to[1]) * shape[2] + to[2];
                        if mask[j] && label[j] == usize::MAX {
                            label[j] = next;
                            open.push(j);
                        }
                    }
                }
            }
            next += 1;
        }
        label
    }

    #[test]
    fn equals_a_flood_fill() {
        let mut state = 77u64;
        let mut draw = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            state >> 33
        };
        for case in 0..200 {
            let shape: [usize; 3] = std::array::from_fn(|_| 1 + draw() as usize % 7);
            let n = shape.iter().product();
            let density = 1 + case % 9;
            let mask: Vec<bool> = (0..n).map(|_| draw() % 10 < density).collect();
            for connectivity in [Connectivity::Faces, Connectivity::Corners] {
                let found = Components::new(shape, connectivity, |i| mask[i]);
                let want = slow(&mask, shape, connectivity);
                let mut got = vec![usize::MAX; n];
                for (run, &c) in found.runs.iter().zip(&found.component) {
                    for x in run.start..run.end {
                        got[run.row * shape[2] + x as usize] = c as usize;
                    }
                }
                assert_eq!(got, want, "{shape:?} {connectivity:?}");
                let total: u64 = found.sizes().iter().sum();
                assert_eq!(total as usize, mask.iter().filter(|m| **m).count());
                assert_eq!(found.count, want.iter().filter(|w| **w != usize::MAX).max().map_or(0, |m| m + 1));
            }
        }
    }
}
