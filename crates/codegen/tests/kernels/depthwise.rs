//! Depthwise convolutions of random shapes, tiles and options against the definition in float64.

use crate::harness::{Data, Random, close, close64, on_targets, random, targets};
use mnx_plan::kernel::{Depthwise, DepthwiseTile, Kernel, PANEL, voxels};
use mnx_plan::target::{TARGETS, Target};

/// The convolved tensor `[n, input, c]` in float64: as stored, or the stem of the port.
fn convolved(k: &Depthwise, inputs: &[Data]) -> Vec<f64> {
    let x = inputs[0].f32();
    let Some(image) = k.stem else {
        return x.iter().map(|&v| f64::from(v)).collect();
    };
    let (w, bias) = (inputs[1].f32(), inputs[2].f32());
    let space = voxels(k.input);
    let c = k.channels;
    let mut out = vec![0.0; k.batch * space * c];
    for n in 0..k.batch {
        for v in 0..space {
            for o in 0..c {
                let start = o / PANEL * PANEL;
                let wide = (c - start).min(PANEL);
                let sum: f64 = (0..image)
                    .map(|i| f64::from(w[start * image + i * wide + o - start]) * f64::from(x[(n * image + i) * space + v]))
                    .sum();
                out[(n * space + v) * c + o] = f64::from(bias[o]) + sum;
            }
        }
    }
    out
}

/// The definition: `y` and the whole-sample sums `[n, 2, c]`.
fn reference(k: &Depthwise, inputs: &[Data]) -> (Vec<f64>, Vec<f64>) {
    let x = convolved(k, inputs);
    let at = if k.stem.is_some() { 3 } else { 1 };
    let w = inputs[at].f32();
    let bias = k.bias.then(|| inputs[at + 1].f32());
    let c = k.channels;
    let mut y = vec![0.0; k.batch * voxels(k.output) * c];
    let mut sums = vec![0.0; k.batch * 2 * c];
    for n in 0..k.batch {
        for (o, out) in coordinates(k.output).enumerate() {
            for channel in 0..c {
                let mut sum = bias.map_or(0.0, |b| f64::from(b[channel]));
                for (q, tap) in coordinates(k.taps).enumerate() {
                    if let Some(i) = source(k, out, tap) {
                        sum += x[(n * voxels(k.input) + i) * c + channel] * f64::from(w[q * c + channel]);
                    }
                }
                y[(n * voxels(k.output) + o) * c + channel] = sum;
                sums[n * 2 * c + channel] += sum;
                sums[(n * 2 + 1) * c + channel] += sum * sum;
            }
        }
    }
    (y, sums)
}

fn coordinates([d, h, w]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..d).flat_map(move |z| (0..h).flat_map(move |y| (0..w).map(move |x| [z, y, x])))
}

fn source(k: &Depthwise, out: [usize; 3], tap: [usize; 3]) -> Option<usize> {
    let mut flat = 0;
    for a in 0..3 {
        let (o, q, s, p) = (out[a] as i64, tap[a] as i64, k.stride[a] as i64, k.pad[a] as i64);
        let i = if k.transposed {
            let i = o + p - q;
            if i % s != 0 {
                return None;
            }
            i / s
        } else {
            o * s - p + q
        };
        if i < 0 || i >= k.input[a] as i64 {
            return None;
        }
        flat = flat * k.input[a] + i as usize;
    }
    Some(flat)
}

fn check(k: &Depthwise, seed: u64, targets: &[&'static Target]) {
    let mut generator = Random::new(seed);
    let mut inputs: Vec<Data> = k.inputs().iter().map(|a| random(a, &mut generator)).collect();
    // A mean far from zero, which sums of squares in float32 would not survive.
    if let (None, Data::F32(x)) = (k.stem, &mut inputs[0]) {
        x.iter_mut().for_each(|v| *v += 3.0);
    }
    let (y, sums) = reference(k, &inputs);
    let taps = voxels(k.taps) as f64;
    on_targets(targets, &Kernel::Depthwise(k.clone()), &inputs, seed, |target, out| {
        close(target.name, out[0].f32(), &y, taps.sqrt(), 2e-6);
        if !k.stats {
            return;
        }
        let c = k.channels;
        let count = voxels(k.output) as f64;
        let parts = k.parts();
        let mut got = vec![0.0; k.batch * 2 * c];
        for (i, value) in out[1].f64().iter().enumerate() {
            let (n, rest) = (i / (parts * 2 * c), i % (2 * c));
            got[n * 2 * c + rest] += value;
        }
        close64("sums", &got, &sums, count * taps.sqrt(), 3e-6);
        let variances = |sums: &[f64]| -> Vec<f64> {
            (0..k.batch * c)
                .map(|i| {
                    let at = i / c * 2 * c + i % c;
                    let mean = sums[at] / count;
                    sums[at + c] / count - mean * mean
                })
                .collect()
        };
        close64("variance", &variances(&got), &variances(&sums), 1e-3 * taps, 1e-5);
    });
}

fn drawn(r: &mut Random, transposed: bool) -> Depthwise {
    let flat = r.between(0, 3) == 0;
    let k = r.pick(&[1, 3, 3, 5, 5, 7, 9, 11]);
    let strided = transposed || r.between(0, 2) == 0;
    let mut taps = [k; 3];
    let mut stride = [1 + usize::from(strided); 3];
    let mut input = [0; 3].map(|_| r.between(1, 9));
    input[2] = r.pick(&[1, 2, 3, 5, 8, 13, 17, 21]);
    if flat {
        (taps[0], stride[0], input[0]) = (1, 1, 1);
    }
    let pad = taps.map(|t| t / 2);
    let output = [0, 1, 2].map(|a| {
        if transposed {
            (input[a] - 1) * stride[a] + 1 + usize::from(r.flip() && stride[a] > 1 && taps[a] > 1)
        } else {
            (input[a] - 1) / stride[a] + 1
        }
    });
    let channels: usize = r.pick(&[1, 3, 5, 8, 16, 20, 32, 33, 40, 48]);
    let blocks: Vec<usize> = (1..=channels).filter(|b| channels.is_multiple_of(*b)).collect();
    let step = if transposed { stride[2] } else { 1 };
    Depthwise {
        batch: r.between(1, 2),
        channels,
        input,
        output,
        taps,
        stride,
        pad,
        transposed,
        bias: r.flip(),
        stem: if r.between(0, 3) == 0 { Some(r.between(1, 6)) } else { None },
        stats: r.flip(),
        tile: DepthwiseTile {
            channels: r.pick(&blocks),
            depth: r.between(1, output[0] + 2),
            height: r.between(1, output[1] + 2),
            width: r.between(1, 7) * step,
        },
    }
}

#[test]
fn random_convolutions() {
    let mut r = Random::new(11);
    for seed in 0..40 {
        let k = drawn(&mut r, false);
        check_legal(&k);
        check(&k, seed, &targets());
    }
}

#[test]
fn random_transposed_convolutions() {
    let mut r = Random::new(12);
    for seed in 0..30 {
        let k = drawn(&mut r, true);
        check_legal(&k);
        check(&k, seed, &targets());
    }
}

#[test]
fn chosen_tiles_are_legal_and_right() {
    let mut r = Random::new(13);
    for seed in 0..16 {
        let mut k = drawn(&mut r, seed % 2 == 1);
        for target in targets() {
            k.tile = k.choose_tile(target);
            k.legal(target).unwrap_or_else(|e| panic!("{e}: {k:?}"));
            check(&k, seed, &[target]);
        }
    }
}

/// Results too large for the caches are stored past them.
#[test]
fn large_results() {
    let mut r = Random::new(15);
    for (transposed, channels, input) in [(false, 32, [35, 63, 61]), (true, 48, [25, 24, 33])] {
        let stride = if transposed { [2; 3] } else { [1; 3] };
        let output = if transposed { input.map(|e: usize| 2 * e - 1) } else { input };
        let tile = DepthwiseTile { channels: 16, depth: r.between(9, 20), height: r.between(9, 30), width: 6 };
        let (taps, pad, stats) = ([3, 1, 3], [1, 0, 1], true);
        let k = Depthwise { batch: 1, channels, input, output, taps, stride, pad, transposed, bias: true, stem: None, stats, tile };
        assert!(voxels(output) * channels * 4 > 16 << 20, "{output:?}");
        check(&k, 900 + u64::from(transposed), &targets());
    }
}

fn check_legal(k: &Depthwise) {
    for target in TARGETS {
        k.legal(target).unwrap_or_else(|e| panic!("{e}: {k:?}"));
    }
}

#[test]
fn unsuitable_tiles_are_refused() {
    let good = drawn(&mut Random::new(14), false);
    let target = &TARGETS[0];
    good.legal(target).unwrap();
    let with = |change: &dyn Fn(&mut Depthwise)| {
        let mut k = good.clone();
        change(&mut k);
        k.legal(target).unwrap_err()
    };
    assert!(with(&|k| k.tile.width = 40).contains("width 40"));
    assert!(with(&|k| k.tile.channels = k.channels + 1).contains("divisor"));
    assert!(with(&|k| k.tile.height = 0).contains("height 0"));
    assert!(with(&|k| k.pad[1] = k.taps[1]).contains("padding"));
    assert!(with(&|k| k.stride[2] = 3).contains("stride 3"));
}
