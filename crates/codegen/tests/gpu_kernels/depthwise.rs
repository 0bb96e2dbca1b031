//! Depthwise convolutions against the definition in float64.

use crate::harness::{Random, apart, compile, rounded, target, tolerance};
use mnx_plan::Kernel;
use mnx_plan::gpu::Depthwise;
use mnx_plan::gpu::depthwise::Tile;
use mnx_plan::slot::Slot;
use mnx_plan::vocabulary::{Extent, Storage, voxels};
use mnx_plan::work::Conv;

/// What is convolved, as the tests vary it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub batch: usize,
    pub channels: usize,
    pub input: Extent,
    pub taps: Extent,
    pub stride: Extent,
    pub transposed: bool,
    pub bias: bool,
    pub stem: Option<usize>,
    pub storage: Storage,
}

pub const PLAIN: Case = Case {
    batch: 1,
    channels: 16,
    input: [5, 7, 9],
    taps: [3; 3],
    stride: [1; 3],
    transposed: false,
    bias: false,
    stem: None,
    storage: Storage::Bf16,
};

impl Case {
    fn conv(&self) -> Conv {
        let output = [0, 1, 2].map(|a| {
            let (n, s) = (self.input[a], self.stride[a]);
            if self.transposed { (n - 1) * s + 1 } else { (n - 1) / s + 1 }
        });
        Conv {
            batch: self.batch,
            channels: self.channels,
            input: self.input,
            output,
            taps: self.taps,
            stride: self.stride,
            pad: self.taps.map(|k| k / 2),
            transposed: self.transposed,
            bias: self.bias,
            stem: self.stem,
            stats: true,
        }
    }

    /// The kernel with the default tile for a target.
    pub fn chosen(&self, name: &str) -> Depthwise {
        let mut k = Depthwise {
            conv: self.conv(),
            storage: self.storage,
            result: if self.storage == Storage::F32 { Storage::F32 } else { Storage::F16 },
            tile: Tile::default(),
        };
        k.tile = k.best(target(name).nvptx().unwrap());
        k
    }

    fn with(&self, tile: [usize; 6]) -> Depthwise {
        let [channels, depth, height, width, run, stages] = tile;
        Depthwise {
            conv: self.conv(),
            storage: self.storage,
            result: self.storage,
            tile: Tile { channels, depth, height, width, run, stages },
        }
    }
}

/// The convolution by its definition; `x` is channels-last.
fn reference(conv: &Conv, x: &[f64], w: &[f32], bias: &[f32]) -> Vec<f64> {
    let c = conv.channels;
    let [id, ih, iw] = conv.input;
    let [od, oh, ow] = conv.output;
    let mut y = vec![0.0; conv.batch * voxels(conv.output) * c];
    let pairs = |a: usize, o: usize| -> Vec<(usize, usize)> {
        let (s, pad) = (conv.stride[a] as i64, conv.pad[a] as i64);
        let mut all = Vec::new();
        for i in 0..conv.input[a] {
            for q in 0..conv.taps[a] {
                let hit =
                    if conv.transposed { o as i64 == i as i64 * s - pad + q as i64 } else { i as i64 == o as i64 * s - pad + q as i64 };
                if hit {
                    all.push((i, q));
                }
            }
        }
        all
    };
    let [pd, ph, pw] = [0, 1, 2].map(|a| (0..conv.output[a]).map(|o| pairs(a, o)).collect::<Vec<_>>());
    for n in 0..conv.batch {
        for d in 0..od {
            for h in 0..oh {
                for v in 0..ow {
                    let out = &mut y[(((n * od + d) * oh + h) * ow + v) * c..][..c];
                    for (o, b) in out.iter_mut().zip(bias) {
                        *o = f64::from(*b);
                    }
                    for &(i, q) in &pd[d] {
                        for &(j, r) in &ph[h] {
                            for &(k, s) in &pw[v] {
                                let from = &x[(((n * id + i) * ih + j) * iw + k) * c..][..c];
                                let tap = &w[((q * conv.taps[1] + r) * conv.taps[2] + s) * c..][..c];
                                for e in 0..c {
                                    out[e] += from[e] * f64::from(tap[e]);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    y
}

/// Runs a kernel and compares result and statistics with the definition.
fn check(k: &Depthwise, name: &str, seed: u64) {
    let conv = &k.conv;
    let mut random = Random(seed);
    let element = k.storage.element();
    let c = conv.channels;
    let space = conv.batch * voxels(conv.input);
    let w: Vec<f32> = (0..voxels(conv.taps) * c).map(|_| random.value()).collect();
    let bias: Vec<f32> = (0..c).map(|_| if conv.bias { 2.0 + random.value() } else { 0.0 }).collect();
    let mut inputs: Vec<(Slot, Vec<f32>)> = Vec::new();
    let x: Vec<f64> = match conv.stem {
        None => {
            let x = random.values(space * c, element);
            let wide = x.iter().map(|&v| f64::from(v)).collect();
            inputs.push((Slot::X, x));
            wide
        }
        Some(image) => {
            let port: Vec<f32> = (0..space * image).map(|_| random.value()).collect();
            let stem_w: Vec<f32> = (0..c * image).map(|_| random.value()).collect();
            let stem_b: Vec<f32> = (0..c).map(|_| random.value()).collect();
            let inner = voxels(conv.input);
            let mut x = vec![0.0; space * c];
            for n in 0..conv.batch {
                for v in 0..inner {
                    for e in 0..c {
                        let sum: f64 = (0..image)
                            .map(|i| f64::from(stem_w[e * image + i]) * f64::from(port[(n * image + i) * inner + v]))
                            .sum::<f64>();
                        let value = (f64::from(stem_b[e]) + sum) as f32;
                        x[(n * inner + v) * c + e] = f64::from(rounded(value, element));
                    }
                }
            }
            inputs.extend([(Slot::X, port), (Slot::StemW, stem_w), (Slot::StemB, stem_b)]);
            x
        }
    };
    inputs.push((Slot::W, w.clone()));
    if conv.bias {
        inputs.push((Slot::B, bias.clone()));
    }
    let inputs: Vec<(Slot, &[f32])> = inputs.iter().map(|(n, v)| (*n, v.as_slice())).collect();
    let compiled = compile(&k.clone().into(), target(name));
    let outcome = compiled.run(&inputs, seed);
    let want = reference(conv, &x, &w, &bias);
    let error = apart(outcome.get(Slot::Y), &want);
    assert!(error <= tolerance(k.result), "{k:?}: {error:e} apart");
    statistics(k, outcome.get(Slot::Partials), &want);
    let again = compiled.run(&inputs, seed ^ 0x5555);
    for slot in [Slot::Y, Slot::Partials] {
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(outcome.get(slot)) == bits(again.get(slot)), "{k:?}: {slot} depends on the order of warps");
    }
}

/// Each part's count, mean and sum of squared differences.
fn statistics(k: &Depthwise, partials: &[f32], y: &[f64]) {
    let conv = &k.conv;
    let (c, [d, h, w], t) = (conv.channels, conv.output, k.tile);
    let [_, high, wide] = k.tiles();
    let parts = k.spatial_parts();
    // A recomputed stem's rounding may fall on the other side for a value that is nearly halfway.
    let allowed = if conv.stem.is_some() { 1e-3 } else { 1e-5 };
    for n in 0..conv.batch {
        for part in 0..parts {
            let [first_d, first_h, first_w] = [part / (high * wide) * t.depth, part / wide % high * t.height, part % wide * t.width];
            let mut values = vec![Vec::new(); c];
            for i in first_d..(first_d + t.depth).min(d) {
                for j in first_h..(first_h + t.height).min(h) {
                    for l in first_w..(first_w + t.width).min(w) {
                        for (e, all) in values.iter_mut().enumerate() {
                            all.push(y[(((n * d + i) * h + j) * w + l) * c + e]);
                        }
                    }
                }
            }
            let field = |f: usize| &partials[((n * parts + part) * 3 + f) * c..][..c];
            let count = vec![values[0].len() as f64; c];
            let mean: Vec<f64> = values.iter().map(|v| v.iter().sum::<f64>() / v.len() as f64).collect();
            let squares: Vec<f64> = values.iter().zip(&mean).map(|(v, m)| v.iter().map(|x| (x - m) * (x - m)).sum()).collect();
            assert!(apart(field(0), &count) == 0.0, "{k:?}: part {part} counts {:?}, not {}", &field(0)[..2], count[0]);
            let error = apart(field(1), &mean);
            assert!(error <= allowed, "{k:?}: mean of part {part} is {error:e} apart");
            let error = if squares.iter().all(|&s| s < 1e-9) { 0.0 } else { apart(field(2), &squares) };
            assert!(error <= 10.0 * allowed, "{k:?}: squares of part {part} are {error:e} apart");
        }
    }
}

const STORAGES: [Storage; 3] = [Storage::F32, Storage::Bf16, Storage::F16];

#[test]
fn stride_one() {
    for (i, storage) in STORAGES.into_iter().enumerate() {
        let case = Case { storage, ..PLAIN };
        check(&case.with([16, 5, 4, 16, 4, 2]), "sm_80", 1 + i as u64);
        check(&Case { channels: 32, ..case }.with([32, 2, 4, 8, 8, 3]), "sm_90a", 11 + i as u64);
    }
}

#[test]
fn other_kernel_sizes() {
    let small = Case { input: [4, 5, 6], ..PLAIN };
    check(&Case { taps: [1; 3], storage: Storage::F16, ..small }.with([16, 3, 4, 8, 2, 2]), "sm_80", 20);
    check(&Case { taps: [5; 3], storage: Storage::F32, ..small }.with([16, 3, 4, 8, 4, 2]), "sm_86", 21);
    check(&Case { taps: [7; 3], ..small }.with([16, 4, 4, 8, 4, 3]), "sm_120", 22);
    check(&Case { taps: [7; 3], storage: Storage::F16, ..small }.with([16, 2, 4, 8, 8, 2]), "sm_80", 23);
    // Taps that not even shared memory holds.
    check(&Case { taps: [11; 3], input: [5, 4, 6], ..small }.chosen("sm_86"), "sm_86", 24);
    check(&Case { taps: [15; 3], stride: [2; 3], input: [4, 3, 5], ..small }.chosen("sm_86"), "sm_86", 25);
}

#[test]
fn strided() {
    for taps in [1, 3, 5, 7] {
        for (i, input) in [[6, 7, 8], [5, 4, 9]].into_iter().enumerate() {
            let storage = STORAGES[(taps / 2 + i) % 3];
            let case = Case { taps: [taps; 3], stride: [2; 3], input, storage, ..PLAIN };
            check(&case.with([16, 2, 4, 8, 2, 2 + i]), "sm_80", 30 + taps as u64);
        }
    }
}

#[test]
fn transposed() {
    for taps in [1, 3, 5, 7] {
        for (i, input) in [[3, 4, 5], [4, 3, 2]].into_iter().enumerate() {
            let storage = STORAGES[(taps / 2 + i) % 3];
            let case = Case { taps: [taps; 3], stride: [2; 3], transposed: true, input, storage, ..PLAIN };
            check(&case.with([16, [4, 2][i], 8, 8, [4, 2][i], 2 + i]), "sm_80", 40 + taps as u64);
        }
    }
}

#[test]
fn recomputed_stem() {
    for (i, storage) in STORAGES.into_iter().enumerate() {
        let case = Case { storage, stem: Some(1 + i), batch: 1 + i % 2, ..PLAIN };
        check(&case.with([16, 3, 4, 16, 4, 2]), "sm_80", 50 + i as u64);
    }
    check(&Case { taps: [5; 3], stem: Some(1), channels: 32, input: [3, 5, 6], ..PLAIN }.with([32, 3, 4, 8, 4, 2]), "sm_80", 55);
}

#[test]
fn two_dimensional() {
    let flat = Case { taps: [1, 3, 3], input: [1, 9, 13], batch: 2, ..PLAIN };
    check(&flat.with([16, 1, 4, 16, 4, 2]), "sm_80", 60);
    check(&Case { taps: [1, 5, 5], bias: true, storage: Storage::F32, ..flat }.with([16, 1, 8, 8, 2, 2]), "sm_80", 61);
    check(&Case { stride: [1, 2, 2], storage: Storage::F16, ..flat }.with([16, 1, 4, 8, 4, 2]), "sm_80", 62);
    check(&Case { stride: [1, 2, 2], transposed: true, input: [1, 5, 4], ..flat }.with([16, 1, 8, 8, 4, 2]), "sm_80", 63);
}

#[test]
fn bias_and_batch() {
    let case = Case { bias: true, batch: 2, channels: 48, input: [4, 6, 5], storage: Storage::F32, ..PLAIN };
    check(&case.with([48, 3, 4, 8, 4, 3]), "sm_80", 70);
    check(&Case { stride: [2; 3], ..case }.with([16, 2, 4, 8, 4, 2]), "sm_80", 71);
    check(&Case { stride: [2; 3], transposed: true, input: [2, 3, 3], ..case }.with([16, 2, 8, 8, 4, 2]), "sm_80", 72);
}

/// A random convolution and a random tile for it that is legal on the target.
fn drawn(random: &mut Random, name: &str) -> Depthwise {
    let gpu = target(name).nvptx().unwrap();
    loop {
        let kind = random.below(4);
        let flat = random.below(5) == 0;
        let side = |random: &mut Random| 1 + random.below(if kind == 3 { 5 } else { 9 });
        let taps = random.pick(&[1, 3, 5, 7]);
        let stride = if kind >= 2 { 2 } else { 1 };
        let case = Case {
            batch: 1 + random.below(2),
            channels: random.pick(&[16, 32, 48]),
            input: [if flat { 1 } else { side(random) }, side(random), side(random)],
            taps: [if flat { 1 } else { taps }, taps, taps],
            stride: [if flat { 1 } else { stride }, stride, stride],
            transposed: kind == 3,
            bias: random.below(3) == 0,
            stem: (kind == 0 && random.below(2) == 0).then_some(1 + random.below(3)),
            storage: random.pick(&STORAGES),
        };
        let [d, h, w] = [0, 1, 2].map(|a| case.conv().axis(a).out_step());
        let run = w * random.pick(&[1, 2, 3, 4]);
        let tile = [
            random.pick(&[16, 32, 48]),
            d * (1 + random.below(5)),
            h * random.pick(&[1, 2, 4, 8]),
            run * random.pick(&[1, 2, 4]),
            run,
            2 + if case.stem.is_some() { 0 } else { random.below(3) },
        ];
        let k = case.with(tile);
        if Kernel::from(k.clone()).legal(target(name)).is_ok() && k.layout().bytes <= gpu.shared_block {
            return k;
        }
    }
}

#[test]
fn random_tiles() {
    let mut random = Random(0xd5);
    for i in 0..24 {
        let name = random.pick(&["sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120"]);
        check(&drawn(&mut random, name), name, 1000 + i);
    }
}

#[test]
fn default_tiles() {
    for (i, name) in ["sm_80", "sm_86", "sm_90a"].into_iter().enumerate() {
        let case = Case { storage: STORAGES[i], channels: 32, input: [6, 10, 9], ..PLAIN };
        check(&case.chosen(name), name, 80);
        check(&Case { taps: [5; 3], stride: [2; 3], ..case }.chosen(name), name, 81);
        check(&Case { input: [3, 5, 4], stride: [2; 3], transposed: true, ..case }.chosen(name), name, 82);
    }
}

/// Lanes of a warp meet different banks where a step reads its inputs.
#[test]
fn inputs_are_read_without_bank_conflicts() {
    for (storage, tile) in [
        (Storage::Bf16, [32, 4, 8, 8, 4, 2]),
        (Storage::F16, [16, 4, 8, 8, 4, 2]),
        (Storage::F32, [16, 4, 8, 8, 4, 2]),
        (Storage::F32, [32, 4, 8, 8, 4, 2]),
    ] {
        let case = Case { channels: 32, input: [4, 8, 8], storage, ..PLAIN };
        let k = Kernel::from(case.with(tile));
        let mut random = Random(90);
        let values: Vec<(Slot, Vec<f32>)> =
            k.args().iter().filter(|a| a.access.reads()).map(|a| (a.slot, random.values(a.len, a.element))).collect();
        let inputs: Vec<(Slot, &[f32])> = values.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        let counters = compile(&k, target("sm_80")).run(&inputs, 1).counters;
        println!("{storage:?} {tile:?}: {} conflicts of {} passes", counters.bank_conflicts, counters.shared_wavefronts);
        assert!(counters.bank_conflicts * 20 < counters.shared_wavefronts, "{storage:?} {tile:?}: {counters:?}");
    }
}
