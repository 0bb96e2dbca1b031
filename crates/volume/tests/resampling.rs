//! Resampling against numbers recorded from SciPy (`fixtures/make_resampled.py`).
#![allow(clippy::unwrap_used)]

use mnx_volume::resample::{Order, new_shape, resample, separate_axis};

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
    for line in include_str!("fixtures/resampled.txt").lines() {
        let part: Vec<&str> = line.split('|').collect();
        let kind: Vec<i32> = numbers(part[0]);
        let order = [Order::Nearest, Order::Linear, Order::Linear, Order::Cubic][kind[0] as usize];
        let separate = usize::try_from(kind[1]).ok();
        let (from, to) = (triple(part[1]), triple(part[2]));
        let input: Vec<f32> = numbers(part[3]);
        let expected: Vec<f64> = numbers(part[4]);
        let got = resample(&input, 1, from, to, order, separate).unwrap();
        assert_eq!(got.len(), expected.len());
        for (i, (g, e)) in got.iter().zip(&expected).enumerate() {
            let error = (f64::from(*g) - e).abs();
            assert!(error <= 2e-7 * e.abs() + 1e-6, "{} {from:?} {to:?} voxel {i}: {g} {e}", part[0]);
        }
        // The same as one of several channels.
        let mut two = vec![1.0; input.len()];
        two.extend_from_slice(&input);
        let both = resample(&two, 2, from, to, order, separate).unwrap();
        assert_eq!(both[got.len()..], got[..]);
        assert!(both[..got.len()].iter().all(|v| *v == 1.0));
        cases += 1;
    }
    assert_eq!(cases, 13);
}

#[test]
fn a_cubic_goes_through_the_samples_and_keeps_a_ramp() {
    // Odd factors put an output sample on every input sample.
    let (n, m) = (9usize, 27usize);
    let ramp: Vec<f32> = (0..n).map(|i| ((i * i) as f32).sin() * 50.0).collect();
    let up = resample(&ramp, 1, [n, 1, 1], [m, 1, 1], Order::Cubic, None).unwrap();
    for i in 0..n {
        assert!((up[3 * i + 1] - ramp[i]).abs() < 1e-4, "{i}");
    }
}

#[test]
fn the_coarse_axis_is_the_one_above_ratio_three() {
    assert_eq!(separate_axis([5.0, 1.0, 1.0], [1.0, 1.0, 1.0]), Some(0));
    assert_eq!(separate_axis([1.0, 1.0, 1.0], [1.0, 1.0, 3.5]), Some(2));
    assert_eq!(separate_axis([3.0, 1.0, 1.0], [3.0, 1.0, 1.0]), None);
    assert_eq!(separate_axis([0.24, 1.25, 1.25], [1.0, 1.0, 1.0]), None);
    // The current spacing decides first, even when it then names no single axis.
    assert_eq!(separate_axis([0.2, 1.25, 1.25], [9.0, 1.0, 1.0]), None);
}

#[test]
fn shapes_round_half_to_even() {
    assert_eq!(new_shape([5, 7, 100], [1.0, 1.0, 3.0], [2.0, 2.0, 2.7]), [2, 4, 111]);
    assert_eq!(new_shape([1, 1, 1], [1.0; 3], [9.0; 3]), [1; 3]);
}
