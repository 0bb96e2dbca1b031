//! The small kernels against float64 loops: merging, folding, layer norm, ports, classification.

use crate::harness::{Outcome, Random, apart, compile, rounded, target, tolerance};
use mnx_plan::Kernel;
use mnx_plan::gpu::fold::Folded;
use mnx_plan::gpu::{Classify, Fold, LayerNorm, MergeGrn, MergeStats, Pointwise, SumParts};
use mnx_plan::slot::{Element, Slot};
use mnx_plan::vocabulary::{Bits, Storage, voxels};
use mnx_plan::work::{self, GrnRatio, Moments};

const STORAGES: [Storage; 3] = [Storage::F32, Storage::Bf16, Storage::F16];
const TARGETS: [&str; 3] = ["sm_80", "sm_90a", "sm_120"];

/// Runs with two orders of warps, which must give the same bits.
fn run(kernel: impl Into<Kernel>, on: &str, inputs: &[(Slot, &[f32])]) -> Outcome {
    let compiled = compile(&kernel.into(), target(on));
    let (first, again) = (compiled.run(inputs, 1), compiled.run(inputs, 99));
    for ((slot, a), (_, b)) in first.buffers.iter().zip(&again.buffers) {
        assert!(a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits()), "{slot} depends on the order of warps");
    }
    first
}

fn close(what: &str, got: &[f32], want: &[f64], allowed: f64) {
    let error = apart(got, want);
    assert!(error <= allowed, "{what}: {error:.3e}, {allowed:.0e} allowed");
}

#[test]
fn statistics_of_parts_are_those_of_all_voxels() {
    let mut rng = Random(11);
    for (i, (batch, channels, parts)) in [(1, 16, 1), (2, 48, 7), (1, 64, 33), (3, 16, 130)].into_iter().enumerate() {
        // Voxels of each part and channel, far from zero, so that cancellation would show.
        let (mut partials, mut means, mut rstds, mut count) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..batch {
            let sizes: Vec<usize> = (0..parts).map(|p| 1 + p * 7 % 23).collect();
            count = sizes.iter().sum();
            let shift: Vec<f64> = (0..channels).map(|_| 50.0 * f64::from(rng.value())).collect();
            let values: Vec<Vec<Vec<f64>>> =
                sizes.iter().map(|&n| shift.iter().map(|s| (0..n).map(|_| s + f64::from(rng.value())).collect()).collect()).collect();
            for part in &values {
                let mean = |v: &Vec<f64>| v.iter().sum::<f64>() / v.len() as f64;
                partials.extend(part.iter().map(|v| v.len() as f32));
                partials.extend(part.iter().map(|v| mean(v) as f32));
                partials.extend(part.iter().map(|v| v.iter().map(|x| (x - mean(v)).powi(2)).sum::<f64>() as f32));
            }
            for c in 0..channels {
                let all: Vec<f64> = values.iter().flat_map(|p| p[c].clone()).collect();
                let mean = all.iter().sum::<f64>() / all.len() as f64;
                let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
                means.push(mean);
                rstds.push(1.0 / (variance + 1e-5).sqrt());
            }
        }
        let k = MergeStats { moments: Moments { batch, channels, count, eps: Bits::of(1e-5) }, parts };
        let out = run(k, TARGETS[i % 3], &[(Slot::Partials, &partials)]);
        let stats = out.get(Slot::Stats);
        for n in 0..batch {
            let (mean, rstd) = stats[n * 2 * channels..][..2 * channels].split_at(channels);
            close("mean", mean, &means[n * channels..][..channels], 1e-6);
            close("rstd", rstd, &rstds[n * channels..][..channels], 1e-4);
        }
    }
}

#[test]
fn folded_weights_do_what_the_norm_before_them_did() {
    let mut rng = Random(12);
    for storage in STORAGES {
        for (batch, channels, rows, folded) in
            [(1, 16, 16, Folded::Norm), (2, 48, 40, Folded::Norm), (2, 80, 24, Folded::Grn), (1, 32, 72, Folded::Grn)]
        {
            let mut draw = |n: usize| rng.values(n, Element::F32);
            let (w, bias) = (draw(rows * channels), draw(rows));
            let (stats, ratio, gamma, beta) = (draw(batch * 2 * channels), draw(batch * channels), draw(channels), draw(channels));
            let mut inputs: Vec<(Slot, &[f32])> = vec![(Slot::W, &w), (Slot::B, &bias)];
            match folded {
                Folded::Norm => inputs.push((Slot::Stats, &stats)),
                Folded::Grn => inputs.extend([(Slot::Ratio, &ratio[..]), (Slot::Gamma, &gamma[..]), (Slot::Beta, &beta[..])]),
            }
            let out = run(Fold { batch, channels, rows, folded, storage }, "sm_90a", &inputs);
            let (wf, bf) = (out.get(Slot::Wf), out.get(Slot::Bf));
            for n in 0..batch {
                let (mut weights, mut biases) = (Vec::new(), Vec::new());
                for row in 0..rows {
                    let mut b = f64::from(bias[row]);
                    for i in 0..channels {
                        let weight = f64::from(w[row * channels + i]);
                        let used = f64::from(wf[(n * rows + row) * channels + i]);
                        match folded {
                            Folded::Norm => {
                                let (mean, rstd) = (stats[n * 2 * channels + i], stats[(n * 2 + 1) * channels + i]);
                                weights.push(weight * f64::from(rstd));
                                b -= used * f64::from(mean);
                            }
                            Folded::Grn => {
                                weights.push(weight * (f64::from(gamma[i]) * f64::from(ratio[n * channels + i]) + 1.0));
                                b += weight * f64::from(beta[i]);
                            }
                        }
                    }
                    biases.push(b);
                }
                close("weight", &wf[n * rows * channels..][..rows * channels], &weights, tolerance(storage));
                close("bias", &bf[n * rows..][..rows], &biases, 1e-5);
            }
        }
    }
}

#[test]
fn layer_norm_normalises_the_real_channels_alone() {
    let mut rng = Random(13);
    for storage in STORAGES {
        for (voxels, channels) in [(1, 16), (13, 40), (77, 8), (9, 100)] {
            let pitch = mnx_plan::gpu::padded(channels);
            let element = storage.element();
            let y: Vec<f32> =
                (0..voxels * pitch).map(|i| if i % pitch < channels { rounded(3.0 + 2.0 * rng.value(), element) } else { 0.0 }).collect();
            let k = LayerNorm { voxels, channels, eps: Bits::of(1e-6), storage };
            let out = run(k, "sm_80", &[(Slot::Y, &y)]);
            let mut want = vec![0.0; y.len()];
            for v in 0..voxels {
                let row: Vec<f64> = y[v * pitch..][..channels].iter().map(|&x| f64::from(x)).collect();
                let mean = row.iter().sum::<f64>() / channels as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / channels as f64;
                for (c, x) in row.iter().enumerate() {
                    want[v * pitch + c] = (x - mean) / (variance + 1e-6).sqrt();
                }
            }
            close("layer norm", out.get(Slot::Y), &want, tolerance(storage));
        }
    }
}

#[test]
fn sums_of_parts_and_the_ratio_of_grn() {
    let mut rng = Random(14);
    for (batch, channels, real, parts, group, mean) in [(1, 16, 16, 1, 1, true), (2, 96, 90, 77, 5, true), (1, 272, 260, 40, 64, false)] {
        let partials: Vec<f32> = (0..batch * parts * channels).map(|i| if i % channels < real { rng.value().abs() } else { 0.0 }).collect();
        let k = SumParts { batch, channels, parts, group };
        let out = run(k, "sm_86", &[(Slot::Partials, &partials)]);
        let groups = parts.div_ceil(group);
        let mut want = vec![0.0; batch * groups * channels];
        for (i, &v) in partials.iter().enumerate() {
            let (n, p, c) = (i / channels / parts, i / channels % parts, i % channels);
            want[(n * groups + p / group) * channels + c] += f64::from(v);
        }
        close("sums", out.get(Slot::Sums), &want, 1e-6);

        let k = MergeGrn { ratio: GrnRatio { batch, channels: real, eps: Bits::of(1e-6), mean }, parts };
        let out = run(k, "sm_90a", &[(Slot::Partials, &partials)]);
        for n in 0..batch {
            let sum = |c: usize| (0..parts).map(|p| f64::from(partials[(n * parts + p) * channels + c])).sum::<f64>();
            let norms: Vec<f64> = (0..channels).map(|c| sum(c).sqrt()).collect();
            let below = norms.iter().sum::<f64>() / if mean { real as f64 } else { 1.0 } + 1e-6;
            let want: Vec<f64> = norms.iter().map(|g| g / below).collect();
            close("ratio", &out.get(Slot::Ratio)[n * channels..][..channels], &want, 1e-5);
        }
    }
}

#[test]
fn pointwise_between_ports_and_inner_tensors() {
    let mut rng = Random(15);
    for storage in STORAGES {
        for (in_first, out_first, ci, co, stride, bias) in [
            (true, false, 2, 32, [1; 3], true),
            (false, true, 48, 11, [1; 3], true),
            (true, true, 3, 5, [1, 2, 2], false),
            (false, true, 16, 1, [2; 3], true),
        ] {
            let output = [3, 4, 5];
            let input = [0, 1, 2].map(|a| (output[a] - 1) * stride[a] + 1 + (stride[a] - 1));
            let (batch, m, from) = (2, voxels(output), voxels(input));
            let element = |port: bool| if port { Element::F32 } else { storage.element() };
            let x = rng.values(batch * from * ci, element(in_first));
            let (w, b) = (rng.values(co * ci, Element::F32), rng.values(co, Element::F32));
            let pointwise = work::Pointwise { batch, input, output, stride, in_channels: ci, out_channels: co, in_first, out_first, bias };
            let out = run(Pointwise { pointwise, storage }, "sm_80", &[(Slot::X, &x), (Slot::W, &w), (Slot::B, &b)]);
            let mut want = vec![0.0; batch * m * co];
            for n in 0..batch {
                for v in 0..m {
                    let at = [v / (output[1] * output[2]), v / output[2] % output[1], v % output[2]];
                    let source = (at[0] * stride[0] * input[1] + at[1] * stride[1]) * input[2] + at[2] * stride[2];
                    for o in 0..co {
                        let mut sum = if bias { f64::from(b[o]) } else { 0.0 };
                        for i in 0..ci {
                            let value = if in_first { x[(n * ci + i) * from + source] } else { x[(n * from + source) * ci + i] };
                            sum += f64::from(w[o * ci + i]) * f64::from(value);
                        }
                        want[if out_first { (n * co + o) * m + v } else { (n * m + v) * co + o }] = sum;
                    }
                }
            }
            let allowed = if out_first { 1e-5 } else { tolerance(storage) };
            close("pointwise", out.get(Slot::Y), &want, allowed);
        }
    }
}

#[test]
fn classes_and_their_probabilities() {
    let mut rng = Random(16);
    for (i, (batch, classes, space)) in [(1, 2, 300), (2, 5, 105), (1, 14, 17), (2, 1, 33)].into_iter().enumerate() {
        let mut x: Vec<f32> = (0..batch * classes * space).map(|_| 20.0 * rng.value()).collect();
        // A tie: the first class wins.
        if classes > 1 {
            x[space] = x[0];
        }
        let at = |n: usize, c: usize, v: usize| f64::from(x[(n * classes + c) * space + v]);
        let (mut labels, mut soft) = (vec![0.0; batch * space], vec![0.0; x.len()]);
        for n in 0..batch {
            for v in 0..space {
                let best = (1..classes).fold(0, |b, c| if at(n, c, v) > at(n, b, v) { c } else { b });
                labels[n * space + v] = best as f64;
                let sum: f64 = (0..classes).map(|c| (at(n, c, v) - at(n, best, v)).exp()).sum();
                for c in 0..classes {
                    soft[(n * classes + c) * space + v] = (at(n, c, v) - at(n, best, v)).exp() / sum;
                }
            }
        }
        let classify = |argmax| Classify { classify: work::Classify { batch, classes, space, argmax } };
        let got = run(classify(true), TARGETS[i % 3], &[(Slot::X, &x)]);
        assert!(got.get(Slot::Y).iter().zip(&labels).all(|(g, w)| f64::from(*g) == *w), "{classes} classes");
        let got = run(classify(false), TARGETS[i % 3], &[(Slot::X, &x)]);
        close("soft-max", got.get(Slot::Y), &soft, 1e-6);
    }
}
