//! Segmentation metrics: by hand, against plain search over all pairs of surface voxels, and against numbers recorded from SciPy
//! (`scripts/record_metrics.py`).
#![allow(clippy::unwrap_used)]

use std::path::Path;

use mnx_volume::metrics::{Comparison, Scores};
use mnx_volume::{Header, ReadOptions, Volume, read, same_grid, write_labels};

/// Scores of label 1.
fn one(prediction: &[u16], reference: &[u16], shape: [usize; 3], spacing: [f64; 3], tolerance: f64) -> Scores {
    Comparison::new(prediction, reference, shape, spacing, None).unwrap().scores(&[1], tolerance).unwrap()
}

/// A volume with label 1 in the given box (low, high).
fn cuboid(shape: [usize; 3], low: [usize; 3], high: [usize; 3]) -> Vec<u16> {
    let mut out = vec![0; shape.iter().product()];
    for z in low[0]..high[0] {
        for y in low[1]..high[1] {
            for x in low[2]..high[2] {
                out[(z * shape[1] + y) * shape[2] + x] = 1;
            }
        }
    }
    out
}

fn near(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-6 * (1.0 + b.abs()), "{a} {b}");
}

#[test]
fn equal_masks_are_perfect() {
    let a = cuboid([5, 6, 7], [1, 1, 1], [4, 4, 4]);
    let s = one(&a, &a, [5, 6, 7], [1.0, 2.0, 3.0], 0.0);
    assert_eq!((s.counts.tp, s.counts.fp, s.counts.fn_, s.counts.tn), (27, 0, 0, 210 - 27));
    assert_eq!((s.counts.dice(), s.counts.iou(), s.surface_dice, s.hd95_mm), (1.0, 1.0, 1.0, 0.0));
    near(s.prediction_ml, 27.0 * 6.0 / 1000.0);
    near(s.reference_ml, 27.0 * 6.0 / 1000.0);
}

#[test]
fn two_voxels_are_as_far_apart_as_the_spacing_says() {
    // Offset (1, 2, 3) voxels of (3, 2, 0.5) mm: sqrt(9 + 16 + 2.25).
    let shape = [3, 5, 6];
    let p = cuboid(shape, [0, 0, 0], [1, 1, 1]);
    let r = cuboid(shape, [1, 2, 3], [2, 3, 4]);
    let d = 27.25_f64.sqrt();
    for (tolerance, share) in [(d - 0.01, 0.0), (d, 1.0), (d + 0.01, 1.0)] {
        let s = one(&p, &r, shape, [3.0, 2.0, 0.5], tolerance);
        near(s.hd95_mm, d);
        assert_eq!(s.surface_dice, share, "{tolerance}");
        assert_eq!(s.counts.dice(), 0.0);
    }
}

#[test]
fn a_cube_shifted_by_a_voxel() {
    // Cube of side 3 (26 surface voxels) moved by 1 along x at 2 mm: its new face of 9 is 2 mm out. So is the centre of the old
    // cube, inside the other's surface, and the nearest surface of the other to the moved cube's voxels is at most 2 mm away.
    let shape = [5, 5, 9];
    let p = cuboid(shape, [1, 1, 1], [4, 4, 4]);
    let r = cuboid(shape, [1, 1, 2], [4, 4, 5]);
    let s = one(&p, &r, shape, [1.0, 1.0, 2.0], 1.0);
    near(s.counts.dice(), 18.0 / 27.0);
    // Of p's surface: x = 1 has 9 voxels; x = 2 has 8 (the rim), all on r's face x = 2; x = 3 has 9, its rim of 8 on r's rim, its
    // centre 1 mm (along y) from it. The nine of x = 1 are 2 mm from r's face x = 2. So 17 of 26, both ways by symmetry.
    near(s.surface_dice, 17.0 / 26.0);
    near(s.hd95_mm, 2.0);
    near(one(&p, &r, shape, [1.0, 1.0, 2.0], 2.0).surface_dice, 1.0);
    near(one(&p, &r, shape, [1.0, 1.0, 2.0], 0.5).surface_dice, 16.0 / 26.0);
}

#[test]
fn empty_masks_follow_nnunet() {
    let shape = [3, 4, 5];
    let some = cuboid(shape, [1, 1, 1], [2, 3, 4]);
    let none = vec![0; 60];
    for (p, r) in [(&some, &none), (&none, &some)] {
        let s = one(p, r, shape, [1.0; 3], 1.0);
        assert_eq!((s.counts.dice(), s.counts.iou(), s.surface_dice, s.hd95_mm), (0.0, 0.0, 0.0, f64::INFINITY));
        assert_eq!(s.counts.fp + s.counts.fn_, 6);
    }
    let s = one(&none, &none, shape, [1.0; 3], 1.0);
    assert!(s.counts.dice().is_nan() && s.counts.iou().is_nan() && s.surface_dice.is_nan() && s.hd95_mm.is_nan());
    assert_eq!((s.prediction_ml, s.reference_ml, s.counts.tn), (0.0, 0.0, 60));
    assert_eq!(Scores::absent(60).counts, s.counts);
}

#[test]
fn the_border_of_the_image_is_surface_and_a_slice_has_an_outline() {
    // A volume full of the class: its shell is surface. One inner voxel missing in the prediction moves nothing at the shell.
    let shape = [5, 5, 5];
    let full = vec![1; 125];
    let mut hole = full.clone();
    hole[62] = 0;
    let s = one(&hole, &full, shape, [1.0; 3], 0.5);
    // The hole adds its 6 neighbours (1 mm inside the shell) to the prediction's surface of 98.
    near(s.surface_dice, (98.0 + 98.0) / (104.0 + 98.0));
    // One slice, 5 x 5 of the class: 16 on the outline, and the outline alone is compared.
    let slice = [1, 5, 5];
    let s = one(&full[..25], &cuboid(slice, [0, 1, 1], [1, 4, 4]), slice, [9.0, 1.0, 1.0], 1.0);
    // Outline of 16 against one of 8: the four corners are sqrt 2 away.
    near(s.surface_dice, (12.0 + 8.0) / (16.0 + 8.0));
    near(s.hd95_mm, 2.0_f64.sqrt());
}

#[test]
fn classes_of_several_labels_and_ignored_voxels() {
    let shape = [1, 1, 8];
    let p = [0, 1, 2, 2, 3, 3, 1, 0];
    let r = [0, 2, 2, 1, 3, 9, 9, 1];
    let all = Comparison::new(&p, &r, shape, [1.0; 3], None).unwrap();
    let kept = Comparison::new(&p, &r, shape, [1.0; 3], Some(9)).unwrap();
    assert_eq!(all.labels().into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 9]);
    assert_eq!(kept.labels().into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!((all.voxels(), kept.voxels()), (8, 6));
    let s = all.scores(&[1, 2], 1.0).unwrap();
    assert_eq!((s.counts.tp, s.counts.fp, s.counts.fn_, s.counts.tn), (3, 1, 1, 3));
    let s = kept.scores(&[1, 2], 0.0).unwrap();
    assert_eq!((s.counts.tp, s.counts.fp, s.counts.fn_, s.counts.tn), (3, 0, 1, 2));
    // The prediction's 1 at an ignored voxel is no surface: {1, 3} against {1, 3, 7}.
    near(s.surface_dice, 4.0 / 5.0);
}

#[test]
fn wrong_sizes_and_spacings_are_refused() {
    assert!(Comparison::new(&[0; 7], &[0; 8], [2, 2, 2], [1.0; 3], None).unwrap_err().to_string().contains("prediction has 7"));
    assert!(Comparison::new(&[0; 8], &[0; 9], [2, 2, 2], [1.0; 3], None).unwrap_err().to_string().contains("reference has 9"));
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(Comparison::new(&[0; 8], &[0; 8], [2, 2, 2], [1.0, bad, 1.0], None).is_err());
    }
}

/// A small generator of our own numbers: xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n
    }
}

/// Surface voxels of label 1, by the definition.
fn surface(volume: &[u16], shape: [usize; 3]) -> Vec<[usize; 3]> {
    let at = |z: i64, y: i64, x: i64| {
        let inside = [z, y, x].iter().zip(shape).all(|(i, n)| (0..n as i64).contains(i));
        inside && volume[((z * shape[1] as i64 + y) * shape[2] as i64 + x) as usize] == 1
    };
    let mut out = Vec::new();
    for z in 0..shape[0] as i64 {
        for y in 0..shape[1] as i64 {
            for x in 0..shape[2] as i64 {
                let along = [
                    at(z - 1, y, x) && at(z + 1, y, x) || shape[0] == 1,
                    at(z, y - 1, x) && at(z, y + 1, x) || shape[1] == 1,
                    at(z, y, x - 1) && at(z, y, x + 1) || shape[2] == 1,
                ];
                if at(z, y, x) && along.contains(&false) {
                    out.push([z as usize, y as usize, x as usize]);
                }
            }
        }
    }
    out
}

/// Surface Dice and HD95 by trying every pair.
fn by_search(p: &[u16], r: &[u16], shape: [usize; 3], spacing: [f64; 3], tolerance: f64) -> (f64, f64) {
    let (sp, sr) = (surface(p, shape), surface(r, shape));
    let nearest = |from: &[[usize; 3]], to: &[[usize; 3]]| {
        let distance =
            |a: &[usize; 3], b: &[usize; 3]| (0..3).map(|i| ((a[i] as f64 - b[i] as f64) * spacing[i]).powi(2)).sum::<f64>().sqrt();
        let mut all: Vec<f64> = from.iter().map(|a| to.iter().map(|b| distance(a, b)).fold(f64::INFINITY, f64::min)).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let (a, b) = (nearest(&sp, &sr), nearest(&sr, &sp));
    let percentile = |v: &[f64]| {
        let at = 0.95 * (v.len() - 1) as f64;
        let (low, high) = (v[at.floor() as usize], v[at.ceil() as usize]);
        low + (high - low) * at.fract()
    };
    let within = a.iter().chain(&b).filter(|d| **d <= tolerance * (1.0 + 1e-6)).count();
    (within as f64 / (a.len() + b.len()) as f64, percentile(&a).max(percentile(&b)))
}

#[test]
fn agrees_with_a_search_over_all_pairs() {
    let mut random = Random(0x5eed_0005);
    let mut compared = 0;
    for round in 0..120 {
        let shape = [1 + random.below(9), 1 + random.below(11), 1 + random.below(37)];
        let spacing = std::array::from_fn(|_| 0.25 * (1 + random.below(14)) as f64);
        let voxels = shape.iter().product();
        // Scattered voxels, or boxes, anywhere and of any size.
        let mut volume = || -> Vec<u16> {
            if round % 2 == 0 {
                let rarity = 1 + random.below(12);
                return (0..voxels).map(|_| u16::from(random.below(rarity) == 0)).collect();
            }
            let mut out = vec![0; voxels];
            for _ in 0..1 + random.below(2) {
                let low: [usize; 3] = std::array::from_fn(|a| random.below(shape[a]));
                let high = std::array::from_fn(|a| low[a] + 1 + random.below(shape[a] - low[a]));
                for (v, b) in out.iter_mut().zip(cuboid(shape, low, high)) {
                    *v |= b;
                }
            }
            out
        };
        let (p, r) = (volume(), volume());
        let tolerance = 0.5 * random.below(6) as f64;
        if surface(&p, shape).is_empty() || surface(&r, shape).is_empty() {
            continue;
        }
        let got = one(&p, &r, shape, spacing, tolerance);
        let (dice, hd95) = by_search(&p, &r, shape, spacing, tolerance);
        assert!((got.surface_dice - dice).abs() <= 1e-12, "{shape:?} {spacing:?} {tolerance}: {} {dice}", got.surface_dice);
        assert!((got.hd95_mm - hd95).abs() <= 1e-6 * hd95.max(1.0), "{shape:?} {spacing:?}: {} {hd95}", got.hd95_mm);
        compared += 1;
    }
    assert!(compared > 90, "{compared}");
}

#[test]
fn agrees_with_scipy() {
    let numbers = |text: &str| -> Vec<f64> { text.split(' ').map(|t| t.parse().unwrap()).collect() };
    let volume = |text: &str| -> Vec<u16> {
        let run = |t: &str| {
            let (label, n) = t.split_once('*').unwrap();
            vec![label.parse().unwrap(); n.parse().unwrap()]
        };
        text.split(' ').flat_map(run).collect()
    };
    let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * b.abs();
    let mut lines = 0;
    for line in include_str!("fixtures/metrics.txt").lines() {
        let part: Vec<&str> = line.split('|').collect();
        let shape: [usize; 3] = part[0].split(' ').map(|t| t.parse().unwrap()).collect::<Vec<_>>().try_into().unwrap();
        let spacing: [f64; 3] = numbers(part[1]).try_into().unwrap();
        let (p, r) = (volume(part[3]), volume(part[4]));
        let s =
            Comparison::new(&p, &r, shape, spacing, None).unwrap().scores(&[part[5].parse().unwrap()], part[2].parse().unwrap()).unwrap();
        let counts = [s.counts.tp, s.counts.fp, s.counts.fn_, s.counts.tn].map(|n| n as f64);
        assert_eq!(counts.to_vec(), numbers(part[6]));
        let got = [s.counts.dice(), s.surface_dice, s.hd95_mm];
        for (got, want) in got.iter().zip(&part[7..]) {
            assert!(same(*got, want.parse().unwrap()), "{shape:?} label {}: {got} {want}", part[5]);
        }
        lines += 1;
    }
    assert_eq!(lines, 15);
}

#[test]
fn grids_are_compared_within_the_stated_tolerance() {
    let dir = tempfile::tempdir().unwrap();
    let affine = [[-0.8, 0.0, 0.0, 90.0], [0.0, -0.8, 0.0, 120.0], [0.0, 0.0, 3.0, -55.0], [0.0, 0.0, 0.0, 1.0]];
    let volume = |name: &str, shape: [usize; 3], affine: [[f64; 4]; 4]| -> Volume {
        let path = dir.path().join(name);
        write_labels(&path, &vec![0; shape.iter().product()], &Header::new(shape, affine).unwrap()).unwrap();
        read(&path, &ReadOptions::default()).unwrap()
    };
    let reference = volume("r.nii", [3, 4, 5], affine);
    let check = |v: &Volume| same_grid(Path::new("p.nii"), v, Path::new("r.nii"), &reference).map_err(|e| e.to_string());
    let with = |change: &dyn Fn(&mut [[f64; 4]; 4])| {
        let mut a = affine;
        change(&mut a);
        volume("p.nii", [3, 4, 5], a)
    };
    check(&reference).unwrap();
    check(&with(&|a| a[0][3] += 0.079)).unwrap();
    check(&with(&|a| a[2][0] += 0.0007)).unwrap();
    let refused = |v: &Volume, words: &[&str]| {
        let message = check(v).unwrap_err();
        for word in words.iter().chain(&["p.nii", "as in r.nii"]) {
            assert!(!message.contains(['[', '{']) && message.contains(word), "{word:?} not in {message:?}");
        }
    };
    refused(&volume("p.nii", [4, 3, 5], affine), &["4x3x5", "expected 3x4x5"]);
    refused(&with(&|a| a[2][2] = 2.5), &["spacing", "2.5, ", "3.0, "]);
    refused(&with(&|a| a[0][0] = 0.8), &["orientation is RPS, expected LPS"]);
    refused(&with(&|a| a[0][3] += 0.081), &["entry (0, 3)", "expected 90"]);
    refused(&with(&|a| a[2][0] += 0.0009), &["entry (2, 0)"]);
}
