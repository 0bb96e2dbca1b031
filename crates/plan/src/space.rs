//! The space a tuner searches: for each kernel a handful of neighbours of its tile, every one legal.

use crate::kernel::{Kernel, Mlp, MlpSource, PANEL, voxels};
use crate::knobs::{check, knobs, set_knob};
use crate::scratch::max_row_block;
use crate::target::Target;

/// What a kernel computes, without its tile: kernels of equal shape have the same schedules.
///
/// The text names every field of the description, so it can serve as a key; it is not read back.
pub fn shape(k: &Kernel) -> String {
    let mut bare = k.clone();
    for (name, _) in knobs(k) {
        // A knob that the kernel itself listed can be set to 1.
        let _ = set_knob(&mut bare, name, 1);
    }
    match &mut bare {
        Kernel::MergeStats(m) => m.parts = 1,
        Kernel::MergeGrn(m) => m.parts = 1,
        Kernel::Mlp(m) => m.tile.voxels = 1,
        Kernel::Depthwise(_) | Kernel::Pointwise(_) | Kernel::Classify(_) | Kernel::Gpu(_) => {}
    }
    let mut text = format!("{bare:?}");
    // Tiles are all ones now and say nothing.
    while let Some(start) = text.find(", tile: ") {
        let Some(length) = text[start..].find('}') else { break };
        text.replace_range(start..=start + length, "");
    }
    text
}

/// Tiles worth measuring besides the one the kernel has: legal, distinct, none equal to it, the likeliest first.
///
/// The list depends on the kernel and the target alone.
pub fn candidates(k: &Kernel, target: &Target) -> Vec<Kernel> {
    let now = |name: &str| knobs(k).iter().find(|(n, _)| *n == name).map_or(1, |(_, v)| *v);
    let mut space = Space { from: k, target, found: Vec::new() };
    match k {
        Kernel::Depthwise(d) => {
            let channels: Vec<usize> = [now("channels") * 2, now("channels") / 2, 16, 32, 64].to_vec();
            space.sizes(d.output, d.axis(2).out_step());
            for c in channels {
                space.offer(&[("channels", c)]);
                space.offer(&[("channels", c), ("height", (now("height") * now("channels") / c.max(1)).clamp(1, d.output[1]))]);
            }
        }
        Kernel::Mlp(m) => match &m.source {
            MlpSource::Tensor { .. } => {
                space.rows(voxels(m.grid), max_row_block(target));
                space.hidden(m);
            }
            MlpSource::ConvLayerNorm { conv, .. } => {
                space.sizes(conv.output, conv.axis(2).out_step());
                let block = max_row_block(target);
                for rows in [now("rows") * 2, now("rows") / 2, now("rows") + block, now("rows").saturating_sub(block)] {
                    space.offer(&[("rows", rows)]);
                }
                space.hidden(m);
            }
        },
        Kernel::Pointwise(p) => space.rows(voxels(p.output), if p.out_first { 16 } else { max_row_block(target) }),
        Kernel::Classify(c) => {
            for v in [now("voxels") * 2, now("voxels") / 2, 4096] {
                space.offer(&[("voxels", v.next_multiple_of(64).min(c.space))]);
            }
        }
        // The tuner measures on the host; GPU tiles are searched where there is a GPU.
        Kernel::MergeStats(_) | Kernel::MergeGrn(_) | Kernel::Gpu(_) => {}
    }
    space.found
}

/// Candidates while they are gathered.
struct Space<'a> {
    from: &'a Kernel,
    target: &'a Target,
    found: Vec<Kernel>,
}

impl Space<'_> {
    fn now(&self, name: &str) -> usize {
        knobs(self.from).iter().find(|(n, _)| *n == name).map_or(1, |(_, v)| *v)
    }

    /// Takes the kernel with these knobs, if that is a new and legal one.
    fn offer(&mut self, edits: &[(&str, usize)]) {
        let mut made = self.from.clone();
        let set = edits.iter().all(|(name, value)| set_knob(&mut made, name, *value).is_ok());
        if set && made != *self.from && !self.found.contains(&made) && check(&made, self.target).is_ok() {
            self.found.push(made);
        }
    }

    /// Depth, height and width of a convolution's tile.
    fn sizes(&mut self, output: [usize; 3], step: usize) {
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
    fn rows(&mut self, all: usize, block: usize) {
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

    /// Hidden channels per step: whole panels, or all.
    fn hidden(&mut self, m: &Mlp) {
        let hidden = m.tile.hidden;
        for h in [hidden * 2, hidden / 2, m.hidden, 64, 128, 256] {
            let h = if h >= m.hidden { m.hidden } else { h.next_multiple_of(PANEL).min(m.hidden) };
            self.offer(&[("hidden", h)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Bits, Classify, Depthwise, DepthwiseTile, Gelu, Grn, MergeStats, MlpTile, Pointwise, Residual};
    use crate::knobs::choose;
    use crate::target::TARGETS;

    /// A fixed linear congruential sequence.
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % n
        }

        fn of<T: Copy>(&mut self, all: &[T]) -> T {
            all[self.below(all.len())]
        }
    }

    fn conv(d: &mut Draw, channels: usize) -> Depthwise {
        let k = d.of(&[1, 3, 5, 7]);
        let stride = d.of(&[1, 1, 2]);
        let input = [1 + d.below(40), 1 + d.below(40), 1 + d.below(70)];
        Depthwise {
            batch: 1 + d.below(2),
            channels,
            input,
            output: input.map(|i| i.div_ceil(stride)),
            taps: [k; 3],
            stride: [stride; 3],
            pad: [k / 2; 3],
            transposed: false,
            bias: d.below(2) == 0,
            stem: (d.below(3) == 0).then_some(2),
            stats: true,
            tile: DepthwiseTile { channels: 1, depth: 1, height: 1, width: 1 },
        }
    }

    fn mlp(d: &mut Draw) -> Mlp {
        let channels = d.of(&[3, 8, 32, 64, 128, 512]);
        let mut source = MlpSource::Tensor { norm: true };
        let mut grid = [1 + d.below(40), 1 + d.below(40), 1 + d.below(40)];
        let mut batch = 1 + d.below(2);
        if d.below(3) == 0 {
            let conv = Depthwise { stats: false, ..conv(d, channels) };
            (grid, batch) = (conv.output, conv.batch);
            source = MlpSource::ConvLayerNorm { conv, eps: Bits::of(1e-5) };
        }
        Mlp {
            batch,
            grid,
            channels,
            hidden: channels * d.of(&[2, 3, 4, 8]),
            out_channels: channels,
            source,
            grn: Grn::None,
            residual: Residual::Identity,
            pad_front: [0; 3],
            skip: false,
            head: None,
            store: true,
            gelu: d.of(&[Gelu::Accurate, Gelu::Fast]),
            in_place: d.below(2) == 0,
            tile: MlpTile { voxels: 1, rows: 1, hidden: 1 },
        }
    }

    fn random(d: &mut Draw) -> Kernel {
        match d.below(4) {
            0 => {
                let channels = d.of(&[1, 3, 16, 24, 32, 64, 128, 256]);
                Kernel::Depthwise(conv(d, channels))
            }
            1 => Kernel::Mlp(mlp(d)),
            2 => {
                let space = [1 + d.below(30), 1 + d.below(30), 1 + d.below(30)];
                Kernel::Pointwise(Pointwise {
                    batch: 1,
                    input: space,
                    output: space,
                    stride: [1; 3],
                    in_channels: 1 + d.below(100),
                    out_channels: 1 + d.below(100),
                    in_first: d.below(2) == 0,
                    out_first: d.below(2) == 0,
                    bias: true,
                    voxels: 1,
                    rows: 1,
                })
            }
            _ => Kernel::Classify(Classify { batch: 1, classes: 1 + d.below(9), space: 1 + d.below(99_999), argmax: true, voxels: 1 }),
        }
    }

    #[test]
    fn candidates_are_legal_distinct_and_compute_the_same() {
        let mut draw = Draw(11);
        let mut most = 0;
        for _ in 0..400 {
            let mut k = random(&mut draw);
            for target in TARGETS {
                choose(&mut k, target);
                assert_eq!(check(&k, target), Ok(()), "{k:?}");
                let all = candidates(&k, target);
                most = most.max(all.len());
                assert!(all.len() <= 32, "{} candidates for {k:?}", all.len());
                for (i, c) in all.iter().enumerate() {
                    assert_eq!(check(c, target), Ok(()), "{c:?}");
                    assert_ne!(*c, k);
                    assert!(!all[..i].contains(c), "{c:?} twice");
                    assert_eq!(shape(c), shape(&k), "a candidate differs in nothing but its tile");
                }
            }
        }
        assert!(most >= 8, "the largest space has {most} candidates");
    }

    #[test]
    fn shapes_tell_kernels_apart_and_know_no_tile() {
        let mut draw = Draw(5);
        let all: Vec<Kernel> = (0..200).map(|_| random(&mut draw)).collect();
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                assert_eq!(shape(a) == shape(b), a == b, "{a:?}\n{b:?}");
            }
        }
        let merge = |parts| Kernel::MergeStats(MergeStats { batch: 1, channels: 4, parts, count: 64, eps: Bits::of(1e-5) });
        assert_eq!(shape(&merge(3)), shape(&merge(8)));
        assert!(candidates(&merge(3), &TARGETS[0]).is_empty());
    }
}
