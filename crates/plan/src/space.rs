//! The space a tuner searches: for each kernel a handful of neighbours of its tile, every one legal.

use crate::family::Neighbours;
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
    let mut near = Neighbours::of(k.knobs());
    match (k, &target.machine) {
        (Kernel::Host(h), Machine::Cpu(cpu)) => h.family().neighbours(&mut near, cpu),
        (Kernel::Gpu(g), Machine::Nvptx(gpu)) => g.family().neighbours(&mut near, gpu),
        (Kernel::Host(_) | Kernel::Gpu(_), _) => {}
    }
    let mut found: Vec<Kernel> = Vec::new();
    for edits in near.offers() {
        let mut made = k.clone();
        let set = edits.iter().all(|(name, value)| made.set_knob(name, *value).is_ok());
        if set && made != *k && !found.contains(&made) && made.legal(target).is_ok() {
            found.push(made);
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::host;
    use crate::target::TARGETS;
    use crate::vocabulary::{Bits, Gelu};
    use crate::work::{self, Conv, Grn, Moments, Residual};

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

    fn conv(d: &mut Draw, channels: usize, stats: bool) -> Conv {
        let k = d.of(&[1, 3, 5, 7]);
        let stride = d.of(&[1, 1, 2]);
        let input = [1 + d.below(40), 1 + d.below(40), 1 + d.below(70)];
        Conv {
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
            stats,
        }
    }

    fn mlp(d: &mut Draw) -> Kernel {
        let channels = d.of(&[3, 8, 32, 64, 128, 512]);
        let mut mlp = work::Mlp {
            batch: 1 + d.below(2),
            grid: [1 + d.below(40), 1 + d.below(40), 1 + d.below(40)],
            channels,
            hidden: channels * d.of(&[2, 3, 4, 8]),
            out_channels: channels,
            norm: true,
            grn: Grn::None,
            residual: Residual::Identity,
            pad_front: [0; 3],
            skip: false,
            head: None,
            store: true,
        };
        let (gelu, in_place) = (d.of(&[Gelu::Accurate, Gelu::Fast]), d.below(2) == 0);
        if d.below(3) != 0 {
            return host::Mlp { mlp, gelu, in_place, tile: Default::default() }.into();
        }
        let conv = conv(d, channels, false);
        (mlp.grid, mlp.batch, mlp.norm) = (conv.output, conv.batch, false);
        let work = work::ConvMlp { conv, eps: Bits::of(1e-5), mlp };
        host::ConvMlp { work, gelu, in_place, tile: Default::default() }.into()
    }

    fn random(d: &mut Draw) -> Kernel {
        match d.below(4) {
            0 => {
                let channels = d.of(&[1, 3, 16, 24, 32, 64, 128, 256]);
                host::Depthwise { conv: conv(d, channels, true), tile: Default::default() }.into()
            }
            1 => mlp(d),
            2 => {
                let space = [1 + d.below(30), 1 + d.below(30), 1 + d.below(30)];
                let pointwise = work::Pointwise {
                    batch: 1,
                    input: space,
                    output: space,
                    stride: [1; 3],
                    in_channels: 1 + d.below(100),
                    out_channels: 1 + d.below(100),
                    in_first: d.below(2) == 0,
                    out_first: d.below(2) == 0,
                    bias: true,
                };
                host::Pointwise { pointwise, tile: Default::default() }.into()
            }
            _ => {
                let classify = work::Classify { batch: 1, classes: 1 + d.below(9), space: 1 + d.below(99_999), argmax: true };
                host::Classify { classify, tile: Default::default() }.into()
            }
        }
    }

    #[test]
    fn candidates_are_legal_distinct_and_compute_the_same() {
        let mut draw = Draw(11);
        let mut most = 0;
        for _ in 0..400 {
            let mut k = random(&mut draw);
            for target in TARGETS {
                k.choose(target).unwrap();
                assert_eq!(k.legal(target), Ok(()), "{k:?}");
                let all = candidates(&k, target);
                most = most.max(all.len());
                assert!(all.len() <= 32, "{} candidates for {k:?}", all.len());
                for (i, c) in all.iter().enumerate() {
                    assert_eq!(c.legal(target), Ok(()), "{c:?}");
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
        let moments = Moments { batch: 1, channels: 4, count: 64, eps: Bits::of(1e-5) };
        let merge = |parts| Kernel::from(host::MergeStats { moments: moments.clone(), parts });
        assert_eq!(shape(&merge(3)), shape(&merge(8)));
        assert!(candidates(&merge(3), &TARGETS[0]).is_empty());
    }
}
