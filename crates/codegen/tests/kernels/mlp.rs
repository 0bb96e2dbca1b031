//! The MLP kernel in every combination, on odd shapes.

use crate::harness::{Data, Random, close, close64, load, on_every_target, random, targets};
use crate::reference;
use mnx_plan::kernel::{Bits, Depthwise, DepthwiseTile, Extent, Gelu, Grn, Kernel, Mlp, MlpSource, MlpTile, Residual, voxels};

const TOLERANCE: f64 = 1e-5;

fn inputs(kernel: &Kernel, rng: &mut Random) -> Vec<Data> {
    kernel.args().iter().filter(|a| a.read).map(|a| random(a, rng)).collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

/// Runs one kernel on every target and holds everything it writes against the reference.
fn verify(k: &Mlp, seed: u64) {
    let mut rng = Random::new(seed);
    let kernel = Kernel::Mlp(k.clone());
    let args = kernel.args();
    let inputs = inputs(&kernel, &mut rng);
    let (hidden, y) = reference::mlp(k, &args, &inputs);
    on_every_target(&kernel, &inputs, seed, |target, out| {
        let what = format!("{} {k:?}", target.name);
        if k.grn == Grn::Partials {
            let m = voxels(k.grid);
            let got = out[0].f64();
            for n in 0..k.batch {
                for j in 0..k.hidden {
                    let want: f64 = (0..m).map(|v| hidden[(n * m + v) * k.hidden + j].powi(2)).sum();
                    let sum: f64 = (0..k.parts()).map(|p| got[(n * k.parts() + p) * k.hidden + j]).sum();
                    close64(&what, &[sum], &[want], 1.0, TOLERANCE);
                }
            }
            return;
        }
        let mut out = out.iter();
        if k.head.is_some() {
            let logits = reference::head(k, &args, &inputs, &y);
            close(&what, out.next().unwrap().f32(), &logits, largest(&logits), TOLERANCE);
        }
        if k.store {
            close(&what, out.next().unwrap().f32(), &y, largest(&y), TOLERANCE);
        }
        assert!(out.next().is_none());
    });
}

/// In place the result is the same, bit for bit.
fn verify_in_place(k: &Mlp, seed: u64) {
    let mut rng = Random::new(seed);
    let apart = Kernel::Mlp(k.clone());
    let given = inputs(&apart, &mut rng);
    let over = k.overwritten().expect("something to overwrite");
    let at = apart.args().iter().position(|a| a.name == over).unwrap();
    let mut moved = given.clone();
    let old = moved.remove(at);
    moved.push(old);
    let update = Kernel::Mlp(Mlp { in_place: true, ..k.clone() });
    let mut want = Vec::new();
    on_every_target(&apart, &given, seed, |_, out| want.push(out.to_vec()));
    let mut want = want.iter();
    on_every_target(&update, &moved, seed, |target, out| {
        assert_eq!(Some(out), want.next().map(Vec::as_slice), "{} {k:?}", target.name);
    });
}

#[test]
fn in_place_over_the_residual_or_the_skip() {
    let mut rng = Random::new(19);
    for round in 0..12u64 {
        let mut k = plain(&mut rng);
        vary_ends(&mut k, &mut rng);
        k.store = true;
        k.skip = round % 2 == 0 || k.pad_front != [0; 3];
        k.residual = match round % 3 {
            0 if k.skip => Residual::Scattered { from: k.grid.map(|e| e.div_ceil(2)), stride: [2; 3] },
            1 if k.skip => Residual::None,
            _ => Residual::Identity,
        };
        verify_in_place(&k, 700 + round);
    }
}

#[test]
fn nothing_to_overwrite_is_refused() {
    let mut k = plain(&mut Random::new(20));
    (k.skip, k.in_place) = (false, true);
    assert!(k.legal(targets()[0]).unwrap_err().contains("in place"));
}

const CHANNELS: [usize; 10] = [1, 3, 5, 8, 17, 20, 32, 33, 40, 64];

fn plain(rng: &mut Random) -> Mlp {
    let grid = [rng.between(1, 5), rng.between(1, 7), rng.between(1, 9)];
    let hidden = rng.pick(&[1, 3, 31, 32, 33, 64, 72, 96, 130]);
    let rows = rng.pick(&[1, 4, 6, 7, 12, 18, 24, 36]);
    let m = voxels(grid);
    let voxels = if rng.flip() { m } else { (rows * rng.between(1, 3)).min(m.next_multiple_of(rows)) };
    Mlp {
        batch: rng.between(1, 2),
        grid,
        channels: rng.pick(&CHANNELS),
        hidden,
        out_channels: rng.pick(&CHANNELS),
        source: MlpSource::Tensor { norm: rng.flip() },
        grn: Grn::None,
        gelu: Gelu::Accurate,
        residual: Residual::None,
        pad_front: [0; 3],
        skip: rng.flip(),
        head: None,
        store: true,
        in_place: false,
        tile: MlpTile { voxels, rows, hidden: if rng.flip() { hidden } else { 32.min(hidden) } },
    }
}

fn vary_ends(k: &mut Mlp, rng: &mut Random) {
    if rng.flip() {
        k.pad_front = [0, 1, 2].map(|_| rng.between(0, 1));
    } else if rng.flip() {
        k.head = Some(rng.pick(&[1, 2, 3, 9, 35]));
        k.store = rng.flip();
    }
}

#[test]
fn residuals() {
    let mut rng = Random::new(11);
    for round in 0..20 {
        let mut k = plain(&mut rng);
        vary_ends(&mut k, &mut rng);
        let stride = [0, 1, 2].map(|_| rng.between(1, 2));
        k.residual = match round % 5 {
            0 => Residual::None,
            1 => Residual::Identity,
            2 => Residual::Stem { channels: rng.pick(&[1, 2, 4, 5]) },
            3 => {
                let from: Extent = [0, 1, 2].map(|a| k.grid[a] * stride[a] - rng.between(0, stride[a] - 1));
                Residual::Strided { from, channels: rng.pick(&CHANNELS), stride }
            }
            _ => Residual::Scattered { from: [0, 1, 2].map(|a| k.grid[a].div_ceil(stride[a])), stride },
        };
        verify(&k, 100 + round);
    }
}

#[test]
fn every_padding_with_and_without_skip() {
    let mut rng = Random::new(12);
    for round in 0..8u64 {
        let mut k = plain(&mut rng);
        k.grid = [3, 2, 5];
        k.tile.voxels = if round % 2 == 0 { 30 } else { k.tile.rows };
        k.pad_front = [0, 1, 2].map(|a| (round >> a) as usize & 1);
        k.skip = round % 3 != 0;
        verify(&k, 200 + round);
    }
}

#[test]
fn heads() {
    let mut rng = Random::new(13);
    for round in 0..8 {
        let mut k = plain(&mut rng);
        k.head = Some([1, 2, 3, 4, 8, 9, 33, 64][round as usize]);
        k.store = rng.flip();
        k.skip = rng.flip();
        k.residual = Residual::Identity;
        verify(&k, 300 + round);
    }
}

#[test]
fn grn_in_both_launches() {
    let mut rng = Random::new(14);
    for round in 0..10 {
        let mut k = plain(&mut rng);
        vary_ends(&mut k, &mut rng);
        k.residual = Residual::Identity;
        k.grn = if round % 2 == 0 { Grn::Partials } else { Grn::Apply };
        verify(&k, 400 + round);
    }
}

#[test]
fn convolution_and_layer_norm() {
    let mut rng = Random::new(18);
    for round in 0..16u64 {
        let mut k = plain(&mut rng);
        vary_ends(&mut k, &mut rng);
        let transposed = round % 4 == 3;
        let taps = [0, 1, 2].map(|_| rng.pick(&[1, 3, 5]));
        let pad = taps.map(|t| t / 2);
        let stride = if round % 2 == 1 { [0, 1, 2].map(|_| rng.between(1, 2)) } else { [1; 3] };
        let input = [rng.between(1, 5), rng.between(1, 5), rng.between(1, 9)];
        k.grid = [0, 1, 2].map(|a| {
            if transposed { (input[a] - 1) * stride[a] + taps[a] - 2 * pad[a] } else { (input[a] + 2 * pad[a] - taps[a]) / stride[a] + 1 }
        });
        k.grn = rng.pick(&[Grn::None, Grn::None, Grn::Partials, Grn::Apply]);
        k.residual = rng.pick(&[Residual::None, Residual::Identity, Residual::Stem { channels: 3 }]);
        let mut conv = Depthwise {
            batch: k.batch,
            channels: k.channels,
            input,
            output: k.grid,
            taps,
            stride,
            pad,
            transposed,
            bias: rng.flip(),
            stem: (round % 4 == 0).then(|| rng.between(1, 3)),
            stats: false,
            tile: DepthwiseTile {
                channels: k.channels,
                depth: rng.between(1, k.grid[0]),
                height: rng.between(1, k.grid[1]),
                width: rng.pick(&[2, 4, 8]),
            },
        };
        if rng.flip() {
            conv.tile = conv.choose_row_tile(targets()[0]);
            conv.tile.width = conv.tile.width.min(12) / 2 * 2;
            conv.tile.width = conv.tile.width.max(2);
        }
        k.source = MlpSource::ConvLayerNorm { conv, eps: Bits::of(1e-5) };
        verify(&k, 600 + round);
    }
}

#[test]
fn chosen_tiles() {
    let mut rng = Random::new(15);
    for (round, (grid, c, e, o)) in
        [([8, 8, 8], 32, 64, 32), ([3, 3, 3], 256, 600, 40), ([9, 10, 11], 20, 40, 20), ([4, 4, 4], 64, 512, 64)].into_iter().enumerate()
    {
        let mut k = plain(&mut rng);
        (k.grid, k.channels, k.hidden, k.out_channels) = (grid, c, e, o);
        k.residual = Residual::Identity;
        k.tile = k.choose_tile(targets()[0]);
        verify(&k, 500 + round as u64);
    }
}

#[test]
fn illegal_tiles_are_refused() {
    let mut k = plain(&mut Random::new(16));
    k.grid = [4, 4, 4];
    k.tile.voxels = 24;
    k.tile.rows = 7;
    let list = [("k".to_owned(), Kernel::Mlp(k))];
    let error = mnx_codegen::compile(&list, targets()[0], &mut |_, _, _| {}).unwrap_err();
    assert!(error.to_string().contains("voxels = 24"), "{error}");
}

/// A one-channel MLP with unit weights is the GELU itself.
#[test]
fn gelu_is_accurate_everywhere() {
    gelu_is_within(Gelu::Accurate, 3e-7, 1e-9);
}

/// The fast form keeps its bound over all magnitudes, and NaN and infinities.
#[test]
fn fast_gelu_is_within_its_bound_everywhere() {
    gelu_is_within(Gelu::Fast, 2e-4, 2e-4);
}

/// `tail` is what may be left of very large magnitudes.
fn gelu_is_within(form: Gelu, bound: f64, tail: f64) {
    let mut rng = Random::new(17);
    let m = 200_000;
    let mut x: Vec<f32> = (0..m - 6)
        .map(|i| match i % 4 {
            0 => (rng.float() * 8.0) as f32,
            1 => (rng.float() * 2.0) as f32,
            2 => rng.float() as f32 * 10f32.powi(rng.between(0, 60) as i32 - 30),
            _ => loop {
                let v = f32::from_bits(rng.next() as u32);
                if v.is_finite() {
                    break v;
                }
            },
        })
        .collect();
    x.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN]);
    let mut k = plain(&mut rng);
    k.gelu = form;
    k.batch = 1;
    k.grid = [1, 1, m];
    (k.channels, k.hidden, k.out_channels) = (1, 1, 1);
    k.source = MlpSource::Tensor { norm: false };
    k.skip = false;
    k.tile = MlpTile { voxels: 4800, rows: 96, hidden: 1 };
    let one = || Data::F32(vec![1.0]);
    let zero = || Data::F32(vec![0.0]);
    let inputs = [Data::F32(x.clone()), one(), zero(), one(), zero()];
    for target in targets() {
        let out = load(&Kernel::Mlp(k.clone()), target).run(&inputs, &mut rng);
        let mut worst = 0.0f64;
        for (&x, &y) in x.iter().zip(out[0].f32()) {
            if x.is_nan() {
                assert!(y.is_nan());
            } else if x.is_infinite() {
                assert!(if x > 0.0 { y == x } else { f64::from(y.abs()) < tail }, "{x} -> {y}");
            } else {
                let error = (f64::from(y) - reference::gelu(f64::from(x))).abs();
                let spacing = f64::from(x.abs()) * f64::from(f32::EPSILON) / 2.0;
                assert!(error <= bound + spacing, "{}: gelu({x}) = {y}", target.name);
                if x.abs() < 8.0 {
                    worst = worst.max(error);
                } else {
                    let far = if x > 0.0 { (f64::from(x) - f64::from(y)).abs() - spacing } else { f64::from(y.abs()) };
                    assert!(far < tail, "{x} -> {y}");
                }
            }
        }
        assert!(worst < bound + 1e-7, "{}: {worst}", target.name);
    }
}
