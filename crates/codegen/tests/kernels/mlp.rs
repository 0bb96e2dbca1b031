//! The MLP kernel in every combination, on odd shapes.

use crate::harness::{Data, Random, close, close64, cpu, load, on_every_target, random, targets};
use crate::reference::{self, Inputs};
use mnx_plan::Kernel;
use mnx_plan::family::Family;
use mnx_plan::host::mlp::Tile;
use mnx_plan::host::{ConvMlp, Mlp, conv_mlp};
use mnx_plan::vocabulary::{Bits, Extent, Gelu, voxels};
use mnx_plan::work::{self, Conv, Grn, Residual};

const TOLERANCE: f64 = 1e-5;

fn inputs(kernel: &Kernel, rng: &mut Random) -> Vec<Data> {
    kernel.args().iter().filter(|a| a.access.reads()).map(|a| random(a, rng)).collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

fn verify(k: &Mlp, seed: u64) {
    verify_behind(&k.mlp, None, &k.clone().into(), seed);
}

/// Runs one kernel on every target and holds everything it writes against the reference.
fn verify_behind(k: &work::Mlp, conv: Option<(&Conv, Bits)>, kernel: &Kernel, seed: u64) {
    let mut rng = Random::new(seed);
    let args = kernel.args();
    let inputs = inputs(kernel, &mut rng);
    let given = Inputs::new(&args, &inputs);
    let (hidden, y) = reference::mlp(k, conv, &given);
    on_every_target(kernel, &inputs, seed, |target, out| {
        let what = format!("{} {kernel:?}", target.name);
        if k.grn == Grn::Partials {
            let m = voxels(k.grid);
            let (got, parts) = (out[0].f64(), kernel.parts().expect("partial sums"));
            for n in 0..k.batch {
                for j in 0..k.hidden {
                    let want: f64 = (0..m).map(|v| hidden[(n * m + v) * k.hidden + j].powi(2)).sum();
                    let sum: f64 = (0..parts).map(|p| got[(n * parts + p) * k.hidden + j]).sum();
                    close64(&what, &[sum], &[want], 1.0, TOLERANCE);
                }
            }
            return;
        }
        let mut out = out.iter();
        if k.head.is_some() {
            let logits = reference::head(k, &given, &y);
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
    let apart = Kernel::from(k.clone());
    let given = inputs(&apart, &mut rng);
    let over = k.mlp.overwritten().expect("something to overwrite");
    let at = apart.args().iter().position(|a| a.slot == over).unwrap();
    let mut moved = given.clone();
    let old = moved.remove(at);
    moved.push(old);
    let update = Kernel::from(Mlp { in_place: true, ..k.clone() });
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
        let m = &mut k.mlp;
        vary_ends(m, &mut rng);
        m.store = true;
        m.skip = round % 2 == 0 || m.pad_front != [0; 3];
        m.residual = match round % 3 {
            0 if m.skip => Residual::Scattered { from: m.grid.map(|e| e.div_ceil(2)), stride: [2; 3] },
            1 if m.skip => Residual::None,
            _ => Residual::Identity,
        };
        verify_in_place(&k, 700 + round);
    }
}

#[test]
fn nothing_to_overwrite_is_refused() {
    let mut k = plain(&mut Random::new(20));
    (k.mlp.skip, k.in_place) = (false, true);
    assert!(k.legal(cpu(targets()[0])).unwrap_err().contains("in place"));
}

const CHANNELS: [usize; 10] = [1, 3, 5, 8, 17, 20, 32, 33, 40, 64];

fn plain(rng: &mut Random) -> Mlp {
    let grid = [rng.between(1, 5), rng.between(1, 7), rng.between(1, 9)];
    let hidden = rng.pick(&[1, 3, 31, 32, 33, 64, 72, 96, 130]);
    let rows = rng.pick(&[1, 4, 6, 7, 12, 18, 24, 36]);
    let m = voxels(grid);
    let voxels = if rng.flip() { m } else { (rows * rng.between(1, 3)).min(m.next_multiple_of(rows)) };
    let mlp = work::Mlp {
        batch: rng.between(1, 2),
        grid,
        channels: rng.pick(&CHANNELS),
        hidden,
        out_channels: rng.pick(&CHANNELS),
        norm: rng.flip(),
        grn: Grn::None,
        residual: Residual::None,
        pad_front: [0; 3],
        skip: rng.flip(),
        head: None,
        store: true,
    };
    let tile = Tile { voxels, rows, hidden: if rng.flip() { hidden } else { 32.min(hidden) } };
    Mlp { mlp, gelu: Gelu::Accurate, in_place: false, tile }
}

fn vary_ends(k: &mut work::Mlp, rng: &mut Random) {
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
        let m = &mut k.mlp;
        vary_ends(m, &mut rng);
        let stride = [0, 1, 2].map(|_| rng.between(1, 2));
        m.residual = match round % 5 {
            0 => Residual::None,
            1 => Residual::Identity,
            2 => Residual::Stem { channels: rng.pick(&[1, 2, 4, 5]) },
            3 => {
                let from: Extent = [0, 1, 2].map(|a| m.grid[a] * stride[a] - rng.between(0, stride[a] - 1));
                Residual::Strided { from, channels: rng.pick(&CHANNELS), stride }
            }
            _ => Residual::Scattered { from: [0, 1, 2].map(|a| m.grid[a].div_ceil(stride[a])), stride },
        };
        verify(&k, 100 + round);
    }
}

#[test]
fn every_padding_with_and_without_skip() {
    let mut rng = Random::new(12);
    for round in 0..8u64 {
        let mut k = plain(&mut rng);
        k.mlp.grid = [3, 2, 5];
        k.tile.voxels = if round % 2 == 0 { 30 } else { k.tile.rows };
        k.mlp.pad_front = [0, 1, 2].map(|a| (round >> a) as usize & 1);
        k.mlp.skip = round % 3 != 0;
        verify(&k, 200 + round);
    }
}

#[test]
fn heads() {
    let mut rng = Random::new(13);
    for round in 0..8 {
        let mut k = plain(&mut rng);
        k.mlp.head = Some([1, 2, 3, 4, 8, 9, 33, 64][round as usize]);
        k.mlp.store = rng.flip();
        k.mlp.skip = rng.flip();
        k.mlp.residual = Residual::Identity;
        verify(&k, 300 + round);
    }
}

#[test]
fn grn_in_both_launches() {
    let mut rng = Random::new(14);
    for round in 0..10 {
        let mut k = plain(&mut rng);
        vary_ends(&mut k.mlp, &mut rng);
        k.mlp.residual = Residual::Identity;
        k.mlp.grn = if round % 2 == 0 { Grn::Partials } else { Grn::Apply };
        verify(&k, 400 + round);
    }
}

/// A convolution of random size with a layer norm and an MLP of random ends behind it.
fn convolved(round: u64, rng: &mut Random) -> ConvMlp {
    let Mlp { mut mlp, gelu, in_place, tile } = plain(rng);
    vary_ends(&mut mlp, rng);
    let transposed = round % 4 == 3;
    let taps = [0, 1, 2].map(|_| rng.pick(&[1, 3, 5]));
    let pad = taps.map(|t| t / 2);
    let stride = if round % 2 == 1 { [0, 1, 2].map(|_| rng.between(1, 2)) } else { [1; 3] };
    let input = [rng.between(1, 5), rng.between(1, 5), rng.between(1, 9)];
    mlp.grid = [0, 1, 2].map(|a| {
        if transposed { (input[a] - 1) * stride[a] + taps[a] - 2 * pad[a] } else { (input[a] + 2 * pad[a] - taps[a]) / stride[a] + 1 }
    });
    mlp.grn = rng.pick(&[Grn::None, Grn::None, Grn::Partials, Grn::Apply]);
    mlp.residual = rng.pick(&[Residual::None, Residual::Identity, Residual::Stem { channels: 3 }]);
    mlp.norm = false;
    let conv = Conv {
        batch: mlp.batch,
        channels: mlp.channels,
        input,
        output: mlp.grid,
        taps,
        stride,
        pad,
        transposed,
        bias: rng.flip(),
        stem: round.is_multiple_of(4).then(|| rng.between(1, 3)),
        stats: false,
    };
    let tile = conv_mlp::Tile {
        depth: rng.between(1, mlp.grid[0]),
        height: rng.between(1, mlp.grid[1]),
        width: rng.pick(&[2, 4, 8]),
        rows: tile.rows,
        hidden: tile.hidden,
    };
    ConvMlp { work: work::ConvMlp { conv, eps: Bits::of(1e-5), mlp }, gelu, in_place, tile }
}

#[test]
fn convolution_and_layer_norm() {
    let mut rng = Random::new(18);
    for round in 0..16u64 {
        let mut k = convolved(round, &mut rng);
        if rng.flip() {
            let mut chosen = k.clone();
            chosen.choose(cpu(targets()[0]));
            let conv_mlp::Tile { depth, height, width, .. } = chosen.tile;
            k.tile = conv_mlp::Tile { depth, height, width: (width.min(12) / 2 * 2).max(2), ..k.tile };
        }
        verify_behind(&k.work.mlp, Some((&k.work.conv, k.work.eps)), &k.clone().into(), 600 + round);
    }
}

#[test]
fn chosen_tiles() {
    let mut rng = Random::new(15);
    for (round, (grid, c, e, o)) in
        [([8, 8, 8], 32, 64, 32), ([3, 3, 3], 256, 600, 40), ([9, 10, 11], 20, 40, 20), ([4, 4, 4], 64, 512, 64)].into_iter().enumerate()
    {
        let mut k = plain(&mut rng);
        let m = &mut k.mlp;
        (m.grid, m.channels, m.hidden, m.out_channels) = (grid, c, e, o);
        m.residual = Residual::Identity;
        k.choose(cpu(targets()[0]));
        verify(&k, 500 + round as u64);
    }
}

#[test]
fn illegal_tiles_are_refused() {
    let mut k = plain(&mut Random::new(16));
    k.mlp.grid = [4, 4, 4];
    k.tile.voxels = 24;
    k.tile.rows = 7;
    let list = [("k".to_owned(), k.into())];
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
    k.mlp = work::Mlp { batch: 1, grid: [1, 1, m], channels: 1, hidden: 1, out_channels: 1, norm: false, skip: false, ..k.mlp };
    k.tile = Tile { voxels: 4800, rows: 96, hidden: 1 };
    let one = || Data::F32(vec![1.0]);
    let zero = || Data::F32(vec![0.0]);
    let inputs = [Data::F32(x.clone()), one(), zero(), one(), zero()];
    for target in targets() {
        let out = load(&k.clone().into(), target).run(&inputs, &mut rng);
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
