//! Pointwise convolutions in every layout, soft-max and arg-max.

use crate::harness::{Data, Random, close, cpu, on_every_target, random};
use crate::reference::{points, weight};
use mnx_plan::Kernel;
use mnx_plan::family::Family;
use mnx_plan::host::{Classify, Pointwise, classify, pointwise};
use mnx_plan::target::TARGETS;
use mnx_plan::vocabulary::voxels;
use mnx_plan::work;

fn want(k: &work::Pointwise, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let (from, to) = (voxels(k.input), voxels(k.output));
    let (ci, co) = (k.in_channels, k.out_channels);
    let mut y = vec![0.0; k.batch * to * co];
    for n in 0..k.batch {
        for (m, p) in points(k.output).enumerate() {
            let p = [0, 1, 2].map(|a| p[a] * k.stride[a]);
            let v = (p[0] * k.input[1] + p[1]) * k.input[2] + p[2];
            for o in 0..co {
                let value = |i: usize| x[if k.in_first { (n * ci + i) * from + v } else { (n * from + v) * ci + i }];
                let sum: f64 = (0..ci).map(|i| f64::from(value(i)) * weight(w, co, ci, o, i)).sum();
                let at = if k.out_first { (n * co + o) * to + m } else { (n * to + m) * co + o };
                y[at] = sum + bias.map_or(0.0, |b| f64::from(b[o]));
            }
        }
    }
    y
}

#[test]
fn every_layout() {
    let mut rng = Random::new(21);
    for round in 0..24usize {
        let output = [rng.between(1, 4), rng.between(1, 6), rng.between(1, 20)];
        let stride = if round % 8 < 4 { [1; 3] } else { [0, 1, 2].map(|_| rng.between(1, 2)) };
        let k = work::Pointwise {
            batch: rng.between(1, 2),
            input: [0, 1, 2].map(|a| output[a] * stride[a] - rng.between(0, stride[a] - 1)),
            output,
            stride,
            in_channels: rng.pick(&[1, 2, 3, 5, 8, 20, 32, 33]),
            out_channels: rng.pick(&[1, 2, 3, 4, 9, 20, 33, 64]),
            in_first: round & 1 == 1,
            out_first: round & 2 == 2,
            bias: rng.flip(),
        };
        let rows = rng.pick(&[1, 6, 16, 17, 24, 36]);
        let tile = pointwise::Tile { voxels: if rng.flip() { voxels(output) } else { rows * rng.between(1, 3) }, rows };
        let mut k = Pointwise { pointwise: k, tile };
        if round >= 16 {
            k.choose(cpu(&TARGETS[round % 2]));
        }
        let kernel = Kernel::from(k.clone());
        let inputs: Vec<Data> = kernel.args().iter().filter(|a| !a.access.writes()).map(|a| random(a, &mut rng)).collect();
        let want = want(&k.pointwise, inputs[0].f32(), inputs[1].f32(), inputs.get(2).map(Data::f32));
        on_every_target(&kernel, &inputs, round as u64, |target, out| {
            close(&format!("{} {k:?}", target.name), out[0].f32(), &want, 1.0, 1e-5);
        });
    }
}

#[test]
fn softmax_and_argmax() {
    let mut rng = Random::new(22);
    for round in 0..8 {
        let k = work::Classify {
            batch: rng.between(1, 2),
            classes: rng.pick(&[1, 2, 3, 4, 14]),
            space: rng.between(1, 700),
            argmax: round % 2 == 0,
        };
        let mut kernel = Classify { classify: k.clone(), tile: classify::Tile { voxels: rng.between(1, 200) } };
        if round > 4 {
            kernel.choose(cpu(&TARGETS[0]));
        }
        // few distinct values, so that equal maxima occur; wide, so that exp underflows
        let spread = rng.pick(&[2.0, 20.0, 200.0]);
        let x: Vec<f32> = (0..k.batch * k.classes * k.space)
            .map(|_| if k.argmax { (rng.float() * 3.0).round() as f32 } else { (rng.float() * spread) as f32 })
            .collect();
        let inputs = [Data::F32(x.clone())];
        let value = |n: usize, c: usize, m: usize| f64::from(x[(n * k.classes + c) * k.space + m]);
        on_every_target(&kernel.into(), &inputs, round, |target, out| {
            for n in 0..k.batch {
                for m in 0..k.space {
                    let most = (0..k.classes).map(|c| value(n, c, m)).fold(f64::MIN, f64::max);
                    if k.argmax {
                        let want = (0..k.classes).position(|c| value(n, c, m) == most).unwrap();
                        let Data::I32(got) = &out[0] else { panic!("labels are int32") };
                        assert_eq!(got[n * k.space + m] as usize, want, "{}", target.name);
                    } else {
                        let sum: f64 = (0..k.classes).map(|c| (value(n, c, m) - most).exp()).sum();
                        let want: Vec<f64> = (0..k.classes).map(|c| (value(n, c, m) - most).exp() / sum).collect();
                        let got: Vec<f32> = (0..k.classes).map(|c| out[0].f32()[(n * k.classes + c) * k.space + m]).collect();
                        close(target.name, &got, &want, 1e-3, 1e-6);
                    }
                }
            }
        });
    }
}
