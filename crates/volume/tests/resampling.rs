//! Resampling against numbers recorded from scikit-image and SciPy (`scripts/record_resampling.py`).
#![allow(clippy::unwrap_used)]

use mnx_artifact::{Resampling, SeparateZ};
use mnx_volume::resample::{coarse_axis, new_shape, resample};
use mnx_volume::{AxisMap, Geometry, Rules, restore};

fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T>
where
    T::Err: std::fmt::Debug,
{
    text.split_whitespace().map(|t| t.parse().unwrap()).collect()
}

fn triple(text: &str) -> [usize; 3] {
    numbers(text).try_into().unwrap()
}

#[test]
fn agrees_with_scipy() {
    let mut cases = 0;
    for line in include_str!("fixtures/resampled.txt").lines().skip(1) {
        let part: Vec<&str> = line.split('|').collect();
        let kind: Vec<i32> = numbers(part[0]);
        let rule = Resampling { order: kind[0] as u8, order_z: kind[1] as u8, ..Resampling::DATA };
        let separate = usize::try_from(kind[2]).ok();
        let (from, to) = (triple(part[1]), triple(part[2]));
        let input: Vec<f32> = numbers(part[3]);
        let expected: Vec<f64> = numbers(part[4]);
        let got = resample(&input, from, to, &rule, separate).unwrap();
        assert_eq!(got.len(), expected.len());
        for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
            let error = (f64::from(*g) - e).abs();
            // Of a range of some hundreds: 1e-8.
            assert!(error <= 2e-7 * e.abs() + 1e-6, "{} {from:?} {to:?} voxel {i}: {g} {e}", part[0]);
        }
        // The same as one of several channels.
        let mut two = vec![1.0; input.len()];
        two.extend_from_slice(&input);
        let both = resample(&two, from, to, &rule, separate).unwrap();
        assert_eq!(both[got.len()..], got[..]);
        assert!(both[..got.len()].iter().all(|v| (*v - 1.0).abs() < 1e-6));
        cases += 1;
    }
    assert_eq!(cases, 29);
}

#[test]
fn clipping_can_be_left_out() {
    let step: Vec<f32> = (0..20).map(|i| if i < 10 { 0.0 } else { 1.0 }).collect();
    let over = |clip| {
        let rule = Resampling { clip, ..Resampling::DATA };
        resample(&step, [20, 1, 1], [47, 1, 1], &rule, None).unwrap().into_iter().fold(0f32, f32::max)
    };
    assert_eq!(over(true), 1.0);
    assert!(over(false) > 1.01, "a cubic overshoots a step");
    // A volume of NaN stays one and brings nothing down; an order of 2 is none of ours.
    let lost = resample(&[f32::NAN; 8], [2; 3], [3; 3], &Resampling::DATA, None).unwrap();
    assert!(lost.iter().all(|v| v.is_nan()));
    let wrong = Resampling { order: 2, ..Resampling::DATA };
    assert!(resample(&[0.0; 8], [2; 3], [3; 3], &wrong, None).unwrap_err().to_string().contains("order 2"));
}

#[test]
fn a_cubic_goes_through_the_samples_and_keeps_a_ramp() {
    // Odd factors put an output sample on every input sample.
    let (n, m) = (9usize, 27usize);
    let ramp: Vec<f32> = (0..n).map(|i| ((i * i) as f32).sin() * 50.0).collect();
    let up = resample(&ramp, [n, 1, 1], [m, 1, 1], &Resampling::DATA, None).unwrap();
    for i in 0..n {
        assert!((up[3 * i + 1] - ramp[i]).abs() < 1e-4, "{i}");
    }
}

#[test]
fn the_coarse_axis_is_the_one_above_ratio_three() {
    let auto = |current, new| coarse_axis(&Resampling::DATA, current, new);
    assert_eq!(auto([5.0, 1.0, 1.0], [1.0, 1.0, 1.0]), Some(0));
    assert_eq!(auto([1.0, 1.0, 1.0], [1.0, 1.0, 3.5]), Some(2));
    assert_eq!(auto([3.0, 1.0, 1.0], [3.0, 1.0, 1.0]), None);
    assert_eq!(auto([0.24, 1.25, 1.25], [1.0, 1.0, 1.0]), None);
    // The current spacing decides first, even when it then names no single axis.
    assert_eq!(auto([0.2, 1.25, 1.25], [9.0, 1.0, 1.0]), None);

    let rule = |separate_z, anisotropy| Resampling { separate_z, anisotropy, ..Resampling::DATA };
    assert_eq!(coarse_axis(&rule(SeparateZ::Auto, 2.0), [3.0, 1.0, 1.0], [1.0; 3]), Some(0));
    assert_eq!(coarse_axis(&rule(SeparateZ::Never, 3.0), [9.0, 1.0, 1.0], [1.0; 3]), None);
    assert_eq!(coarse_axis(&rule(SeparateZ::Always, 3.0), [1.5, 1.0, 1.0], [1.0, 9.0, 1.0]), Some(0));
    assert_eq!(coarse_axis(&rule(SeparateZ::Always, 3.0), [1.0; 3], [9.0, 1.0, 1.0]), None);
}

#[test]
fn shapes_round_half_to_even() {
    assert_eq!(new_shape([5, 7, 100], [1.0, 1.0, 3.0], [2.0, 2.0, 2.7]), [2, 4, 111]);
    assert_eq!(new_shape([1, 1, 1], [1.0; 3], [9.0; 3]), [1; 3]);
}

#[test]
fn order_0_takes_scipys_plane_for_every_pair() {
    // Made by `ties/make.py`; 760 of the pairs have a tie that the order of multiplication and division decides.
    let rule = Resampling { order_z: 0, ..Resampling::DATA };
    let table = include_str!("ties/table.txt");
    assert!(table.starts_with("SciPy") && table.lines().next().unwrap().contains("43890 pairs"));
    let mut pairs = 0;
    for line in table.lines().skip(1) {
        let (n, want) = line.split_once(' ').unwrap();
        let (n, want): (usize, u64) = (n.parse().unwrap(), want.parse().unwrap());
        let planes: Vec<f32> = (0..n).map(|v| v as f32).collect();
        let mut hash = 0u64;
        for m in (1..=210).filter(|m| *m != n) {
            for plane in resample(&planes, [n, 1, 1], [m, 1, 1], &rule, Some(0)).unwrap() {
                hash = hash.wrapping_mul(1_099_511_628_211) ^ plane as u64;
            }
            pairs += 1;
        }
        assert_eq!(hash, want, "from {n} planes");
    }
    assert_eq!(pairs, 43_890);
}

#[test]
fn order_0_is_one_along_every_axis_and_on_the_way_back() {
    let rule = Resampling { order_z: 0, separate_z: SeparateZ::Always, ..Resampling::DATA };
    // Pairs with ties that the order of the arithmetic decides.
    for (n, m) in [(4, 49), (10, 77), (26, 23), (30, 11), (18, 33), (20, 78)] {
        let planes: Vec<f32> = (0..n).map(|v| (v * 7 % n) as f32).collect();
        let along = resample(&planes, [n, 1, 1], [m, 1, 1], &rule, Some(0)).unwrap();
        assert_eq!(resample(&planes, [1, n, 1], [1, m, 1], &rule, Some(1)).unwrap(), along);
        assert_eq!(resample(&planes, [1, 1, n], [1, 1, m], &rule, Some(2)).unwrap(), along);
        // Scores of two classes, from n model planes to m planes of the crop: the way that labels go.
        let geometry = Geometry {
            file_shape: [m, 1, 1],
            map: AxisMap::IDENTITY,
            reader: AxisMap::IDENTITY,
            crop_low: [0; 3],
            crop_size: [m, 1, 1],
            crop_spacing: [8.0, 1.0, 1.0],
            model_shape: [n, 1, 1],
            model_spacing: [8.0 * m as f64 / n as f64, 1.0, 1.0],
        };
        let export = Resampling { order: 1, ..rule };
        let odd = |v: &f32| (*v as usize % 2) as f32;
        let scores: Vec<f32> = planes.iter().map(|v| 0.5 - odd(v)).chain(planes.iter().map(|v| odd(v) - 0.5)).collect();
        let labels = restore(&scores, &geometry, &Rules { export, ..Rules::logits(2) }, false).unwrap().labels;
        let want: Vec<u16> = along.iter().map(|v| odd(v) as u16).collect();
        assert_eq!(labels, want, "{n} to {m}");
    }
}
