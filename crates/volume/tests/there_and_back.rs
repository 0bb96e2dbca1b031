//! Preprocessing and the way back to the file's grid.
#![allow(clippy::unwrap_used)]

mod nifti_bytes;

use mnx_volume::resample::{Order, resample};
use mnx_volume::{Header, LabelRestorer, Normalization, Preprocess, Volume, preprocess, restore_labels, restore_probabilities, softmax};
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
    }
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
        let back = restore_labels(&logits, 7, &p.geometry).unwrap();
        let want: Vec<u16> = v.data.iter().map(|v| *v as u16 % 7).collect();
        assert_eq!(back, want, "{settings:?}");

        let mut soft = restore_probabilities(&logits, 7, &p.geometry).unwrap();
        for (i, l) in want.iter().enumerate() {
            let n = want.len();
            let sum: f32 = (0..7).map(|k| soft[k * n + i]).sum();
            assert!((sum - 1.0).abs() < 1e-5);
            assert!((0..7).all(|k| soft[k * n + i] <= soft[usize::from(*l) * n + i]));
            if settings.crop_to_nonzero && v.data[i] == 0.0 {
                assert_eq!(soft[i], 1.0);
            }
        }
        soft.clear();
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
        settings.spacing = Some(target);
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
        separate += usize::from(g.separate.is_some());
        let n: usize = p.shape.iter().product();
        let logits: Vec<f32> = (0..5 * n).map(|_| draws.unit() as f32 * 3.0).collect();
        let back = restore_labels(&logits, 5, g).unwrap();

        // The definition, class by class.
        let part = resample(&logits, 5, p.shape, g.crop_size, Order::Linear, g.separate).unwrap();
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
        let mut restorer = LabelRestorer::new(g, 5).unwrap();
        let plane = p.shape[1] * p.shape[2];
        let mut z = 0;
        while z < p.shape[0] {
            let depth = draws.within(1, 4).min(p.shape[0] - z);
            let band: Vec<f32> = (0..5).flat_map(|k| &logits[k * n + z * plane..][..depth * plane]).copied().collect();
            restorer.push(z, depth, &band).unwrap();
            z += depth;
        }
        assert_eq!(restorer.finish().unwrap(), back);
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
    let fine = Preprocess { spacing: Some([0.3; 3]), ..settings.clone() };
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
    let ct = Normalization::Ct { low: 250.0, high: 350.0, mean: 300.0, std: 50.0 };
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
        (Preprocess { normalization: vec![], ..base.clone() }, "0 entries"),
        (Preprocess { orientation: Some("RAR".into()), ..base.clone() }, "RAR"),
        (Preprocess { transpose: [0, 0, 1], ..base.clone() }, "permutation"),
        (Preprocess { spacing: Some([1.0, -1.0, 1.0]), ..base.clone() }, "spacing"),
        (Preprocess { spacing: Some([1.0, f64::NAN, 1.0]), ..base.clone() }, "spacing"),
        (Preprocess { spacing: Some([1e-7, 1.0, 1.0]), ..base }, "voxels"),
    ] {
        let message = preprocess(&v, &settings).unwrap_err().to_string();
        assert!(message.contains(word) && !message.contains('\n'), "{message}");
    }
}

#[test]
fn logits_that_are_not_numbers_or_do_not_fit_are_refused() {
    let v = random_volume(&mut Draws(10), [3, 4, 5], 1, 0);
    let p = preprocess(&v, &Preprocess::default()).unwrap();
    let mut logits = vec![0.0f32; 120];
    assert!(restore_labels(&logits, 2, &p.geometry).is_ok());
    assert!(restore_labels(&logits, 3, &p.geometry).is_err());
    assert!(restore_labels(&logits, 0, &p.geometry).is_err());
    assert!(restore_probabilities(&logits[1..], 2, &p.geometry).is_err());
    logits[7] = f32::NAN;
    assert!(restore_labels(&logits, 2, &p.geometry).unwrap_err().to_string().contains("1 NaN"));
    assert!(restore_probabilities(&logits, 2, &p.geometry).is_err());
    let mut restorer = LabelRestorer::new(&p.geometry, 2).unwrap();
    assert!(restorer.push(1, 1, &[0.0; 40]).is_err());
    restorer.push(0, 2, &[0.0; 80]).unwrap();
    assert!(restorer.finish().is_err());
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
