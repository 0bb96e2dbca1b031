//! Preprocessing and the way back to the file's grid.
#![allow(clippy::unwrap_used)]

mod nifti_bytes;

use mnx_artifact::{Activation, Average, Deviation, Normalization, Preprocess, Resampling, SeparateZ, Sequence};
use mnx_volume::resample::resample;
use mnx_volume::{Geometry, Header, Restorer, Rules, Volume, activate, preprocess, preprocess_taking, restore, softmax};
use nifti_bytes::Draws;

/// A volume whose file axes point along a random signed permutation of the world axes.
fn random_volume(draws: &mut Draws, shape: [usize; 3], channels: usize, margin: usize) -> Volume {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let order = orders[draws.within(0, 5)];
    let mut affine = [[0.0; 4]; 4];
    for (axis, &world) in order.iter().enumerate() {
        let size = draws.within(2, 8) as f64 / 4.0;
        affine[world][axis] = if draws.next() & 1 == 0 { size } else { -size };
    }
    affine[3][3] = 1.0;
    let [nz, ny, nx] = shape;
    let data = (0..channels * nz * ny * nx)
        .map(|i| {
            let at = [i / (ny * nx) % nz, i / nx % ny, i % nx];
            let inner = (0..3).all(|a| at[a] >= margin && at[a] + margin < shape[a]);
            if inner { (draws.unit() * 100.0 + 300.0) as f32 } else { 0.0 }
        })
        .collect();
    let header = Header::new(shape, affine).unwrap();
    Volume { data, channels, shape, affine, spacing: header.spacing(), header }
}

fn random_settings(draws: &mut Draws) -> Preprocess {
    let yes = |draws: &mut Draws| draws.next() & 1 == 0;
    let transposes = [[0, 1, 2], [1, 0, 2], [2, 0, 1]];
    Preprocess {
        spacing: None,
        orientation: yes(draws).then(|| ["RAS", "LPS", "SAR"][draws.within(0, 2)].to_string()),
        transpose: transposes[draws.within(0, 2)],
        normalization: vec![Normalization::ZScore],
        crop_to_nonzero: yes(draws),
        ..Preprocess::default()
    }
}

fn restore_labels(logits: &[f32], classes: u16, geometry: &Geometry) -> Vec<u16> {
    restore(logits, geometry, &Rules::logits(classes), false).unwrap().labels
}

/// Logits whose arg-max is `labels`, with noise below the margin.
fn logits_of(draws: &mut Draws, labels: &[u16], classes: usize) -> Vec<f32> {
    let mut out: Vec<f32> = (0..classes * labels.len()).map(|_| draws.unit() as f32).collect();
    for (i, l) in labels.iter().enumerate() {
        out[usize::from(*l) * labels.len() + i] += 5.0;
    }
    out
}

#[test]
fn without_resampling_labels_return_to_the_voxels_they_came_from() {
    let mut draws = Draws(5);
    for _ in 0..60 {
        let shape: [usize; 3] = std::array::from_fn(|_| draws.within(5, 9));
        let v = random_volume(&mut draws, shape, 1, 1);
        let mut settings = random_settings(&mut draws);
        settings.normalization = vec![Normalization::None];
        let p = preprocess(&v, &settings).unwrap();
        // The image itself is the ruler: label every voxel by its intensity.
        let labels: Vec<u16> = p.data.iter().map(|v| *v as u16 % 7).collect();
        let logits = logits_of(&mut draws, &labels, 7);
        let back = restore_labels(&logits, 7, &p.geometry);
        let want: Vec<u16> = v.data.iter().map(|v| *v as u16 % 7).collect();
        assert_eq!(back, want, "{settings:?}");

        let both = restore(&logits, &p.geometry, &Rules::logits(7), true).unwrap();
        assert_eq!(both.labels, want);
        let soft = both.probabilities.unwrap().all_of_file().unwrap();
        for (i, l) in want.iter().enumerate() {
            let n = want.len();
            let sum: f32 = (0..7).map(|k| soft[k * n + i]).sum();
            assert!((sum - 1.0).abs() < 1e-5);
            assert!((0..7).all(|k| soft[k * n + i] <= soft[usize::from(*l) * n + i]));
            if settings.crop_to_nonzero && v.data[i] == 0.0 {
                assert_eq!(soft[i], 1.0);
            }
        }
        let mut once = v.clone();
        assert_eq!(preprocess_taking(&mut once, &settings).unwrap(), p);
        assert!(once.data.is_empty());
    }
}

#[test]
fn with_resampling_labels_are_the_argmax_of_resampled_logits() {
    let mut draws = Draws(6);
    let mut separate = 0;
    for case in 0..40 {
        let shape: [usize; 3] = std::array::from_fn(|_| draws.within(4, 11));
        let v = random_volume(&mut draws, shape, 2, 1);
        let mut settings = random_settings(&mut draws);
        let mut target: [f64; 3] = std::array::from_fn(|_| draws.within(2, 8) as f64 / 4.3);
        if case % 3 == 0 {
            target[case % 2] = 7.0;
        }
        if case % 4 == 0 {
            target[2] = 0.0; // kept
        }
        settings.spacing = Some(target.to_vec());
        let p = preprocess(&v, &settings).unwrap();
        let g = &p.geometry;
        assert_eq!(p.data.len(), 2 * p.shape.iter().product::<usize>());
        assert!(p.data.iter().all(|v| v.is_finite()));
        for (a, &asked) in target.iter().enumerate() {
            let turned = g.map.permute(v.spacing)[a];
            let want = if asked == 0.0 { turned } else { asked };
            assert_eq!(p.spacing[a], want);
            let n = (turned / want * g.crop_size[a] as f64).round_ties_even().max(1.0);
            assert_eq!(p.shape[a], n as usize);
        }
        separate += usize::from(g.separate(&Resampling::EXPORT).is_some());
        let n: usize = p.shape.iter().product();
        let logits: Vec<f32> = (0..5 * n).map(|_| draws.unit() as f32 * 3.0).collect();
        let back = restore_labels(&logits, 5, g);

        // The definition, class by class.
        let part = resample(&logits, p.shape, g.crop_size, &Resampling::EXPORT, g.separate(&Resampling::EXPORT)).unwrap();
        let m: usize = g.crop_size.iter().product();
        let turned = g.map.permute(v.shape);
        let full = g.map.apply(&back, 1, v.shape).unwrap();
        for (i, label) in full.iter().enumerate() {
            let at = [i / (turned[1] * turned[2]), i / turned[2] % turned[1], i % turned[2]];
            let inside = (0..3).all(|a| at[a] >= g.crop_low[a] && at[a] - g.crop_low[a] < g.crop_size[a]);
            if !inside {
                assert_eq!(*label, 0);
                continue;
            }
            let [z, y, x] = std::array::from_fn(|a| at[a] - g.crop_low[a]);
            let j = (z * g.crop_size[1] + y) * g.crop_size[2] + x;
            let top = (0..5).map(|k| part[k * m + j]).fold(f32::NEG_INFINITY, f32::max);
            // Two summation orders may differ in the last bit of a near tie.
            assert!(top - part[usize::from(*label) * m + j] < 1e-5, "case {case} voxel {j}");
        }

        // In bands of any depth: the same labels.
        let rules = Rules::logits(5);
        let mut restorer = Restorer::new(g, &rules, false).unwrap();
        let plane = p.shape[1] * p.shape[2];
        let mut z = 0;
        while z < p.shape[0] {
            let depth = draws.within(1, 4).min(p.shape[0] - z);
            let band: Vec<f32> = (0..5).flat_map(|k| &logits[k * n + z * plane..][..depth * plane]).copied().collect();
            restorer.push(z, depth, &band).unwrap();
            z += depth;
        }
        assert_eq!(restorer.finish().unwrap().labels, back);
    }
    assert!(separate > 3, "{separate}");
}

#[test]
fn preprocessing_follows_nnunet_s_order() {
    let mut draws = Draws(8);
    let v = random_volume(&mut draws, [9, 10, 11], 2, 2);
    let settings = Preprocess { crop_to_nonzero: true, ..Preprocess::default() };
    let p = preprocess(&v, &settings).unwrap();
    // Cropped before it is normalised: no zero takes part in the statistics.
    assert_eq!((p.geometry.crop_low, p.shape), ([2; 3], [5, 6, 7]));
    for channel in p.data.chunks_exact(210) {
        let mean = channel.iter().map(|v| f64::from(*v)).sum::<f64>() / 210.0;
        let square = channel.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 210.0;
        assert!(mean.abs() < 1e-5 && (square - 1.0).abs() < 1e-5, "{mean} {square}");
    }
    // Normalised before it is resampled: the cubic may overshoot the unit variance, not the range.
    let fine = Preprocess { spacing: Some(vec![0.3; 3]), ..settings.clone() };
    let q = preprocess(&v, &fine).unwrap();
    for (a, b) in p.data.chunks_exact(210).zip(q.data.chunks_exact(q.data.len() / 2)) {
        let range = |d: &[f32]| d.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |r, v| (r.0.min(*v), r.1.max(*v)));
        let (a, b) = (range(a), range(b));
        assert!(b.0 >= a.0 && b.1 <= a.1, "{a:?} {b:?}");
    }
    // Masked statistics equal the cropped ones here, and the outside stays zero.
    let masked = Preprocess { normalization: vec![Normalization::ZScoreMasked], ..Preprocess::default() };
    let m = preprocess(&v, &masked).unwrap();
    assert_eq!(m.data.iter().filter(|v| **v == 0.0).count(), 2 * (990 - 210));
    // Channels may differ.
    let ct = Normalization::Ct { low: 250.0, high: 350.0, mean: 300.0, std: 50.0, masked: false };
    let both = Preprocess { normalization: vec![ct, Normalization::None], ..Preprocess::default() };
    let b = preprocess(&v, &both).unwrap();
    assert!(b.data[..990].iter().all(|v| (-1.0..=1.0).contains(v)));
    assert_eq!(b.data[990..], v.data[990..]);
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let v = random_volume(&mut Draws(9), [3, 4, 5], 2, 0);
    let base = Preprocess::default();
    for (settings, word) in [
        (Preprocess { normalization: vec![Normalization::None; 3], ..base.clone() }, "3 entries"),
        (Preprocess { spacing: Some(vec![1.0]), ..base.clone() }, "two or three"),
        (Preprocess { orientation: Some("RAR".into()), ..base.clone() }, "RAR"),
        (Preprocess { transpose: [0, 0, 1], ..base.clone() }, "transpose is 0, 0, 1"),
        (Preprocess { spacing: Some(vec![1.0, -1.0, 1.0]), ..base.clone() }, "spacing"),
        (Preprocess { spacing: Some(vec![1.0, f64::NAN, 1.0]), ..base.clone() }, "spacing"),
        (Preprocess { spacing: Some(vec![1e-7, 1.0, 1.0]), ..base }, "voxels"),
    ] {
        let message = preprocess(&v, &settings).unwrap_err().to_string();
        assert!(message.contains(word) && !message.contains(['\n', '[', '{']), "{message}");
    }
}

#[test]
fn logits_that_are_not_numbers_or_do_not_fit_are_refused() {
    let v = random_volume(&mut Draws(10), [3, 4, 5], 1, 0);
    let p = preprocess(&v, &Preprocess::default()).unwrap();
    let mut logits = vec![0.0f32; 120];
    let run = |logits: &[f32], classes: u16| restore(logits, &p.geometry, &Rules::logits(classes), classes == 2);
    assert!(run(&logits, 2).is_ok());
    assert!(run(&logits, 3).is_err());
    assert!(run(&logits, 0).is_err());
    assert!(run(&logits[1..], 2).is_err());
    logits[7] = f32::NAN;
    assert!(run(&logits, 2).unwrap_err().to_string().contains("1 NaN"));
    let rules = Rules::logits(2);
    let mut restorer = Restorer::new(&p.geometry, &rules, false).unwrap();
    assert!(restorer.push(1, 1, &[0.0; 40]).is_err());
    restorer.push(0, 2, &[0.0; 80]).unwrap();
    assert!(restorer.finish().is_err());
    let odd = Rules { export: Resampling { order: 2, ..Resampling::EXPORT }, ..rules };
    assert!(Restorer::new(&p.geometry, &odd, false).is_err());
}

/// nnU-Net's export, class by class on the crop's grid.
fn slow_export(scores: &[f32], g: &Geometry, rules: &Rules) -> (Vec<f32>, Vec<u16>) {
    let classes = rules.values.len();
    let m: usize = g.crop_size.iter().product();
    let mut part = resample(scores, g.model_shape, g.crop_size, &rules.export, g.separate(&rules.export)).unwrap();
    if rules.half && g.model_shape != g.crop_size {
        part.iter_mut().for_each(|v| *v = half::f16::from_f32(*v).to_f32());
    }
    if rules.average == Average::Logits {
        activate(&mut part, classes, rules.activation);
    }
    let label = |i: usize| match rules.activation {
        Activation::Softmax => {
            let best = (0..classes).fold(0, |b, k| if part[k * m + i] > part[b * m + i] { k } else { b });
            rules.values[best]
        }
        Activation::Sigmoid => (0..classes).filter(|k| part[k * m + i] > 0.5).map(|k| rules.values[k]).next_back().unwrap_or(0),
    };
    let labels = (0..m).map(label).collect();
    (part, labels)
}

#[test]
fn every_rule_of_export_equals_its_definition() {
    let mut draws = Draws(21);
    let mut regions = 0;
    for case in 0..60 {
        let shape: [usize; 3] = std::array::from_fn(|_| draws.within(3, 9));
        let v = random_volume(&mut draws, shape, 1, 1);
        let mut settings = random_settings(&mut draws);
        settings.spacing = Some((0..3).map(|_| draws.within(2, 8) as f64 / 4.3).collect());
        let p = preprocess(&v, &settings).unwrap();
        let g = &p.geometry;
        let orders = [0, 1, 3];
        let rules = Rules {
            values: vec![0, 7, 3, 300],
            average: if case % 2 == 0 { Average::Logits } else { Average::Probabilities },
            activation: if case % 3 == 0 { Activation::Sigmoid } else { Activation::Softmax },
            export: Resampling {
                order: orders[draws.within(0, 2)],
                order_z: orders[draws.within(0, 2)],
                separate_z: [SeparateZ::Auto, SeparateZ::Always, SeparateZ::Never][draws.within(0, 2)],
                ..Resampling::EXPORT
            },
            half: case % 5 == 0,
        };
        let n: usize = p.shape.iter().product();
        let mut scores: Vec<f32> = (0..4 * n).map(|_| draws.unit() as f32 * 6.0 - 3.0).collect();
        if rules.average == Average::Probabilities {
            activate(&mut scores, 4, rules.activation);
        }
        let (soft, labels) = slow_export(&scores, g, &rules);
        let m = labels.len();
        let plane = p.shape[1] * p.shape[2];
        let mut restorer = Restorer::new(g, &rules, true).unwrap();
        let mut z = 0;
        while z < p.shape[0] {
            let depth = draws.within(1, 3).min(p.shape[0] - z);
            let band: Vec<f32> = (0..4).flat_map(|k| &scores[k * n + z * plane..][..depth * plane]).copied().collect();
            restorer.push(z, depth, &band).unwrap();
            z += depth;
        }
        let got = restorer.finish().unwrap();
        let probabilities = got.probabilities.unwrap();
        let crop = g.map.permute(probabilities.crop_shape());
        assert_eq!(crop, g.crop_size);
        for k in 0..4 {
            let back = g.map.apply(&probabilities.of_crop(k).unwrap(), 1, probabilities.crop_shape()).unwrap();
            for (i, (a, b)) in back.iter().zip(&soft[k * m..]).enumerate() {
                // Two summation orders may lie on either side of a rounding.
                let near = if rules.half { 2e-3 } else { 2e-6 };
                assert!((a - b).abs() < near, "case {case} {rules:?} class {k} voxel {i}: {a} {b}");
            }
        }
        // Labels: equal but for ties within the last bits.
        let turned = g.map.permute(v.shape);
        let full = g.map.apply(&got.labels, 1, v.shape).unwrap();
        let outside = probabilities.of_file(0).unwrap();
        let outside = g.map.apply(&outside, 1, v.shape).unwrap();
        for (i, label) in full.iter().enumerate() {
            let at = [i / (turned[1] * turned[2]), i / turned[2] % turned[1], i % turned[2]];
            if !(0..3).all(|a| at[a] >= g.crop_low[a] && at[a] - g.crop_low[a] < g.crop_size[a]) {
                assert_eq!(*label, 0);
                assert_eq!(outside[i], if rules.activation == Activation::Softmax { 1.0 } else { 0.0 });
                continue;
            }
            let [z, y, x] = std::array::from_fn(|a| at[a] - g.crop_low[a]);
            let j = (z * g.crop_size[1] + y) * g.crop_size[2] + x;
            if *label != labels[j] {
                let near = match rules.activation {
                    Activation::Softmax => {
                        let of = |value: u16| soft[rules.values.iter().position(|v| *v == value).unwrap() * m + j];
                        (of(*label) - of(labels[j])).abs()
                    }
                    Activation::Sigmoid => (0..4).map(|k| (soft[k * m + j] - 0.5).abs()).fold(1.0, f32::min),
                };
                assert!(near < if rules.half { 2e-3 } else { 1e-5 }, "case {case} {rules:?} voxel {j}: {label} {}", labels[j]);
            }
            regions += usize::from(rules.activation == Activation::Sigmoid && *label == 300);
        }
    }
    assert!(regions > 100, "{regions}");
}

#[test]
fn version_one_resamples_before_it_normalises() {
    let mut draws = Draws(30);
    let v = random_volume(&mut draws, [8, 9, 10], 2, 2);
    let settings = Preprocess {
        spacing: Some(v.spacing.iter().map(|s| s * 0.7).collect()),
        crop_to_nonzero: true,
        sequence: Sequence::ResampleNormalize,
        deviation: Deviation::Plus,
        ..Preprocess::default()
    };
    let p = preprocess(&v, &settings).unwrap();
    // Statistics are those of the resampled voxels.
    let n: usize = p.shape.iter().product();
    for channel in p.data.chunks_exact(n) {
        let mean = channel.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
        let square = channel.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 1e-5 && (square - 1.0).abs() < 1e-5, "{mean} {square}");
    }
    let plain = Preprocess { normalization: vec![Normalization::None], ..settings.clone() };
    let q = preprocess(&v, &plain).unwrap();
    let same = Preprocess { sequence: Sequence::NormalizeResample, ..plain.clone() };
    assert_eq!(preprocess(&v, &same).unwrap(), q, "without normalisation the order is the same");

    // The mask is resampled with the image: outside it voxels are 0, inside they have mean 0 and deviation 1.
    let masked = Preprocess { normalization: vec![Normalization::ZScoreMasked], crop_to_nonzero: false, ..settings };
    let m = preprocess(&v, &masked).unwrap();
    let inside: Vec<f64> = m.data[..m.data.len() / 2].iter().filter(|v| **v != 0.0).map(|v| f64::from(*v)).collect();
    assert!(inside.len() > 200 && inside.len() < m.data.len() / 4, "{} of {}", inside.len(), m.data.len() / 2);
    let mean = inside.iter().sum::<f64>() / inside.len() as f64;
    let square = inside.iter().map(|v| v * v).sum::<f64>() / inside.len() as f64;
    assert!(mean.abs() < 1e-4 && (square - 1.0).abs() < 1e-4, "{mean} {square}");
}

#[test]
fn empty_and_tiny_volumes_go_through() {
    let header = Header::new([1, 1, 1], [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.]]).unwrap();
    for value in [0.0, 5.0] {
        let v =
            Volume { data: vec![value], channels: 1, shape: [1; 3], affine: header.affine(), spacing: [1.0; 3], header: header.clone() };
        for scheme in [Normalization::ZScore, Normalization::ZScoreMasked, Normalization::Rescale01, Normalization::Rgb01] {
            for sequence in [Sequence::NormalizeResample, Sequence::ResampleNormalize] {
                let settings = Preprocess {
                    spacing: Some(vec![0.4, 0.5, 0.3]),
                    normalization: vec![scheme],
                    crop_to_nonzero: true,
                    sequence,
                    ..Preprocess::default()
                };
                let p = preprocess(&v, &settings).unwrap();
                assert_eq!(p.shape, [2, 2, 3]);
                assert!(p.data.iter().all(|v| v.is_finite()), "{scheme:?} {value}: {:?}", p.data);
                let labels = restore(&[0.0, 1.0].repeat(12), &p.geometry, &Rules::logits(2), true).unwrap().labels;
                assert_eq!(labels.len(), 1);
            }
        }
    }
    // Nothing but zeros: nothing to crop to, so the whole volume stays.
    let mut v = random_volume(&mut Draws(31), [4, 5, 6], 1, 0);
    v.data.fill(0.0);
    let settings = Preprocess { crop_to_nonzero: true, normalization: vec![Normalization::ZScoreMasked], ..Preprocess::default() };
    let p = preprocess(&v, &settings).unwrap();
    assert_eq!((p.geometry.crop_low, p.geometry.crop_size), ([0; 3], [4, 5, 6]));
    assert!(p.data.iter().all(|v| *v == 0.0));
}

#[test]
fn soft_max_sums_to_one_and_survives_large_logits() {
    let mut draws = Draws(12);
    for voxels in [1, 5, 4096, 5000] {
        let mut logits: Vec<f32> = (0..3 * voxels).map(|_| draws.unit() as f32 * 400.0).collect();
        let before = logits.clone();
        softmax(&mut logits, 3);
        for i in 0..voxels {
            let row: Vec<f64> = (0..3).map(|k| f64::from(before[k * voxels + i])).collect();
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|v| (v - top).exp()).sum();
            for (k, v) in row.iter().enumerate() {
                let want = (v - top).exp() / sum;
                assert!((f64::from(logits[k * voxels + i]) - want).abs() < 1e-6);
            }
        }
    }
}
