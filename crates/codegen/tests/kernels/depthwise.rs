//! Depthwise convolutions of random shapes, tiles and options against the definition in float64.

use crate::harness::{Data, Random, close, close64, cpu, on_targets, random, targets};
use crate::reference::{Inputs, convolve};
use mnx_plan::Kernel;
use mnx_plan::family::Family;
use mnx_plan::host::Depthwise;
use mnx_plan::host::depthwise::Tile;
use mnx_plan::target::{TARGETS, Target};
use mnx_plan::vocabulary::voxels;
use mnx_plan::work::Conv;

/// Sums and sums of squares of a result, `[n, 2, c]`.
fn whole_sums(k: &Conv, y: &[f64]) -> Vec<f64> {
    let (c, per_sample) = (k.channels, voxels(k.output) * k.channels);
    let mut sums = vec![0.0; k.batch * 2 * c];
    for (i, value) in y.iter().enumerate() {
        let at = i / per_sample * 2 * c + i % c;
        sums[at] += value;
        sums[at + c] += value * value;
    }
    sums
}

fn check(kernel: &Depthwise, seed: u64, targets: &[&'static Target]) {
    let mut generator = Random::new(seed);
    let (k, parts) = (&kernel.conv, kernel.spatial_parts());
    let args = k.inputs();
    let mut inputs: Vec<Data> = args.iter().map(|a| random(a, &mut generator)).collect();
    // A mean far from zero, which sums of squares in float32 would not survive.
    if let (None, Data::F32(x)) = (k.stem, &mut inputs[0]) {
        x.iter_mut().for_each(|v| *v += 3.0);
    }
    let y = convolve(k, &Inputs::new(&args, &inputs));
    let sums = whole_sums(k, &y);
    let taps = voxels(k.taps) as f64;
    on_targets(targets, &Kernel::from(kernel.clone()), &inputs, seed, |target, out| {
        close(target.name, out[0].f32(), &y, taps.sqrt(), 2e-6);
        if !k.stats {
            return;
        }
        let c = k.channels;
        let count = voxels(k.output) as f64;
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
    let conv = Conv {
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
    };
    let tile = Tile {
        channels: r.pick(&blocks),
        depth: r.between(1, output[0] + 2),
        height: r.between(1, output[1] + 2),
        width: r.between(1, 7) * step,
    };
    Depthwise { conv, tile }
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
            k.choose(cpu(target));
            k.legal(cpu(target)).unwrap_or_else(|e| panic!("{e}: {k:?}"));
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
        let tile = Tile { channels: 16, depth: r.between(9, 20), height: r.between(9, 30), width: 6 };
        let (taps, pad, stats) = ([3, 1, 3], [1, 0, 1], true);
        let conv = Conv { batch: 1, channels, input, output, taps, stride, pad, transposed, bias: true, stem: None, stats };
        let k = Depthwise { conv, tile };
        assert!(voxels(output) * channels * 4 > 16 << 20, "{output:?}");
        check(&k, 900 + u64::from(transposed), &targets());
    }
}

fn check_legal(k: &Depthwise) {
    for target in TARGETS {
        k.legal(cpu(target)).unwrap_or_else(|e| panic!("{e}: {k:?}"));
    }
}

#[test]
fn unsuitable_tiles_are_refused() {
    let good = drawn(&mut Random::new(14), false);
    let target = cpu(&TARGETS[0]);
    good.legal(target).unwrap();
    let with = |change: &dyn Fn(&mut Depthwise)| {
        let mut k = good.clone();
        change(&mut k);
        k.legal(target).unwrap_err()
    };
    assert!(with(&|k| k.tile.width = 40).contains("width 40"));
    assert!(with(&|k| k.tile.channels = k.conv.channels + 1).contains("divisor"));
    assert!(with(&|k| k.tile.height = 0).contains("height 0"));
    assert!(with(&|k| k.conv.pad[1] = k.conv.taps[1]).contains("padding"));
    assert!(with(&|k| k.conv.stride[2] = 3).contains("stride 3"));
}
