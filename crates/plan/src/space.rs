//! The space a tuner searches: for each kernel a handful of neighbours of its tile, every one legal.

use crate::kernel::Kernel;
use crate::target::{Machine, Target};

/// What a kernel computes, without its tile: kernels of equal shape have the same schedules.
pub fn shape(k: &Kernel) -> String {
    let mut bare = k.clone();
    // How many partial results there are follows from tiles.
    bare.take_parts(1);
    format!("{} {}", bare.strategy().name, bare.description())
}

/// Tiles worth measuring besides the one the kernel has: legal, distinct, none equal to it, the likeliest first.
///
/// The list depends on the kernel and the target alone.
pub fn candidates(k: &Kernel, target: &Target) -> Vec<Kernel> {
    let mut space = Space { from: k, target, found: Vec::new() };
    match (k, &target.machine) {
        (Kernel::Host(h), Machine::Cpu(cpu)) => h.family().neighbours(&mut space, cpu),
        (Kernel::Gpu(g), Machine::Nvptx(gpu)) => g.family().neighbours(&mut space, gpu),
        (Kernel::Host(_) | Kernel::Gpu(_), _) => {}
    }
    space.found
}

/// Candidates while they are gathered.
pub struct Space<'a> {
    from: &'a Kernel,
    target: &'a Target,
    found: Vec<Kernel>,
}

impl Space<'_> {
    fn now(&self, name: &str) -> usize {
        self.from.knobs().iter().find(|(n, _)| *n == name).map_or(1, |(_, v)| *v)
    }

    /// Takes the kernel with these knobs, if that is a new and legal one.
    pub(crate) fn offer(&mut self, edits: &[(&str, usize)]) {
        let mut made = self.from.clone();
        let set = edits.iter().all(|(name, value)| made.set_knob(name, *value).is_ok());
        if set && made != *self.from && !self.found.contains(&made) && made.legal(self.target).is_ok() {
            self.found.push(made);
        }
    }

    /// Depth, height and width of a convolution's tile.
    pub(crate) fn sizes(&mut self, output: [usize; 3], step: usize) {
        let (depth, height, width) = (self.now("depth"), self.now("height"), self.now("width"));
        for w in [width + step, width.saturating_sub(step), width / 2, 8, 12, 16, 6, 4] {
            self.offer(&[("width", w)]);
        }
        for h in [height * 2, height / 2, output[1], output[1].div_ceil(3)] {
            self.offer(&[("height", h.min(output[1]))]);
        }
        for d in [depth * 2, depth / 2, output[0], output[0].div_ceil(3)] {
            self.offer(&[("depth", d.min(output[0]))]);
        }
        self.offer(&[("depth", (depth * 2).min(output[0])), ("height", height / 2)]);
        self.offer(&[("depth", depth / 2), ("height", (height * 2).min(output[1]))]);
    }

    /// Rows per tile and voxels per workgroup; the latter stay near what they were, in whole tiles.
    pub(crate) fn rows(&mut self, all: usize, block: usize) {
        let (rows, per_workgroup) = (self.now("rows"), self.now("voxels"));
        let near = |voxels: usize, rows: usize| ((voxels + rows / 2) / rows.max(1)).max(1).saturating_mul(rows).min(all);
        for r in [rows * 2, rows / 2, rows + block, rows.saturating_sub(block), 2 * block, 4 * block, 8 * block, block] {
            if r > 0 {
                self.offer(&[("rows", r), ("voxels", near(per_workgroup, r))]);
            }
        }
        for v in [per_workgroup * 2, per_workgroup / 2, per_workgroup / 4] {
            self.offer(&[("voxels", near(v, rows))]);
        }
    }
}
