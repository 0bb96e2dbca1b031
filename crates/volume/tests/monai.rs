//! MONAI's way through a volume against MONAI itself: tile starts, weights, whole sliding windows over files of several orientations,
//! and intensity transforms (`monai/*.txt`, made by `monai/make.py`).
#![allow(clippy::unwrap_used)]

use mnx_artifact::{Gaussian, Normalization, Preprocess, Reader, Windows};
use mnx_volume::{Header, ReadOptions, Scan, SlidingWindow, Volume, VolumeError, gaussian_weights, monai_tile_starts, preprocess, read};

fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split_whitespace().map(|t| t.parse().ok().unwrap()).collect()
}

fn triple(text: &str) -> [usize; 3] {
    numbers(text).try_into().unwrap()
}

/// The lines below one heading of `windows.txt`, split at the bars.
fn section(name: &str) -> Vec<Vec<&'static str>> {
    let lines = include_str!("monai/windows.txt").lines().skip_while(|l| *l != name).skip(1);
    lines.take_while(|l| l.contains('|')).map(|l| l.split(" | ").collect()).collect()
}

#[test]
fn tiles_begin_where_monais_do() {
    let lines = section("starts");
    assert_eq!(lines.len(), 500);
    for line in lines {
        let given: Vec<f64> = numbers(line[0]);
        let (n, patch) = (given[0] as usize, given[1] as usize);
        let starts = monai_tile_starts(n.max(patch), patch, 1.0 - given[2]);
        assert_eq!(starts, numbers::<usize>(line[1]), "{}", line[0]);
    }
}

#[test]
fn weights_are_monais() {
    let lines = section("weights");
    assert_eq!(lines.len(), 6);
    for line in lines {
        let (ours, want) = (gaussian_weights(triple(line[0]), Gaussian::Monai), numbers::<f32>(line[1]));
        assert_eq!(ours.len(), want.len());
        for (a, b) in ours.iter().zip(&want) {
            assert!((a - b).abs() <= 1e-6, "{}: {a} {b}", line[0]);
        }
    }
}

/// The network of `make.py` on a patch `[1, z, y, x]`; the first axis of a 2-D network's patch is no axis to it.
fn network(patch: &[f32], [nz, ny, nx]: [usize; 3], flat: bool, out: &mut [f32]) {
    let factor = if flat { [0.0, 1.0, 2.0] } else { [1.0, 2.0, 3.0] };
    let stride = [ny * nx, nx, 1];
    let (scaled, near) = out.split_at_mut(nz * ny * nx);
    for (i, v) in patch.iter().enumerate() {
        let at = [i / (ny * nx), i / nx % ny, i % nx];
        let place: f64 = 1.0 + (0..3).map(|a| factor[a] * 0.05 * at[a] as f64).sum::<f64>();
        scaled[i] = (f64::from(*v) * place) as f32;
        let before = |a: usize| if at[a] == 0 { 0.0 } else { f64::from(patch[i - stride[a]]) };
        near[i] = (f64::from(*v) - (0..3).map(|a| 0.25 * factor[a] * before(a)).sum::<f64>()) as f32;
    }
}

#[test]
fn whole_windows_are_monais() {
    let folder = tempfile::tempdir().unwrap();
    let lines = section("windows");
    assert_eq!(lines.len(), 10);
    for line in lines {
        let name = line[0];
        let [x, y, z] = triple(line[1]);
        let patch: Vec<usize> = numbers(line[2]);
        let (overlap, mode) = line[3].split_once(' ').unwrap();
        let path = folder.path().join("v.nii");
        let bytes: Vec<u8> = (0..line[4].len() / 2).map(|i| u8::from_str_radix(&line[4][2 * i..2 * i + 2], 16).unwrap()).collect();
        std::fs::write(&path, bytes).unwrap();

        let settings = Preprocess {
            reader: Some(Reader::Nibabel),
            orientation: Some("RAS".into()),
            transpose: [2, 1, 0],
            normalization: vec![Normalization::ZScoreNonzero],
            ..Preprocess::default()
        };
        let volume = read(&path, &ReadOptions { reader: settings.reader, ..ReadOptions::default() }).unwrap();
        assert_eq!(volume.shape, [z, y, x], "{name}");
        let p = preprocess(&volume, &settings).unwrap();
        let mut window = SlidingWindow::new(&patch).unwrap();
        window.step = 1.0 - overlap.parse::<f64>().unwrap();
        window.windows = Windows::Monai;
        window.gaussian = if mode == "gaussian" { Gaussian::Monai } else { Gaussian::None };
        let size = window.patch;
        let mut run = |patch_in: &[f32], out: &mut [f32]| -> Result<(), VolumeError> {
            network(patch_in, size, patch.len() == 2, out);
            Ok(())
        };
        let ours = window.run(Scan { image: &p.data, shape: p.shape, classes: 2, mirror_axes: &[] }, &mut run, &mut |_, _| {}).unwrap();
        let want: Vec<f32> = numbers(line[5]);
        let ours: Vec<f32> = ours.into_iter().step_by(3).collect();
        assert_eq!(ours.len(), want.len(), "{name}");
        for (i, (a, b)) in ours.iter().zip(&want).enumerate() {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{name} output {i}: {a} {b}");
        }
    }
}

/// The arrays of `make.py`.
fn draws(n: usize, kind: &str) -> Vec<f32> {
    (0..n)
        .map(|i| {
            let v = (i * 7919 % 10007) as f64 / 10007.0;
            let value = match kind {
                "spread" => 400.0 * v * v * v - 100.0,
                "holes" if i * 31 % 7 >= 4 => 300.0 * v,
                "nearly-empty" if i.is_multiple_of(50) => 10.0 * v + 1.0,
                "constant" => 37.25,
                "tenth" => 0.1,
                _ => 0.0,
            };
            value as f32
        })
        .collect()
}

fn scheme(words: &[&str]) -> Normalization {
    let n: Vec<f64> = words[1..].iter().map(|w| w.parse().unwrap()).collect();
    match (words[0], &n[..]) {
        ("nonzero", _) => Normalization::ZScoreNonzero,
        ("zscore", _) => Normalization::ZScore,
        ("range", &[low, high, to_low, to_high, clip]) => Normalization::Range { low, high, to_low, to_high, clip: clip > 0.0 },
        ("percentiles", &[lower, upper, to_low, to_high, clip]) => {
            Normalization::Percentiles { lower, upper, to_low, to_high, clip: clip > 0.0 }
        }
        _ => panic!("{words:?}"),
    }
}

#[test]
fn intensities_are_monais() {
    let mut seen = 0;
    for line in include_str!("monai/intensities.txt").lines().skip(1) {
        let part: Vec<&str> = line.split(" | ").collect();
        let made: Vec<&str> = part[0].split(' ').collect();
        let (n, step): (usize, usize) = (made[1].parse().unwrap(), made[2].parse().unwrap());
        let header = Header::new([1, 1, 1], [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.], [0., 0., 0., 1.]]).unwrap();
        let volume =
            Volume { data: draws(n, made[0]), channels: 1, shape: [1, 1, n], affine: header.affine(), spacing: header.spacing(), header };
        let words: Vec<&str> = part[1].split(' ').collect();
        let settings = Preprocess { normalization: vec![scheme(&words)], ..Preprocess::default() };
        // An axis of a million voxels is more than preprocessing takes; two axes are not.
        let volume = if n > 60_000 { Volume { shape: [1, factor(n), n / factor(n)], ..volume } } else { volume };
        let ours: Vec<f32> = preprocess(&volume, &settings).unwrap().data.into_iter().step_by(step).collect();
        let want: Vec<f32> = numbers(part[2]);
        assert_eq!(ours.len(), want.len());
        let reach = want.iter().fold(0f32, |m, v| m.max(v.abs())).max(1.0);
        for (a, b) in ours.iter().zip(&want) {
            assert!((a - b).abs() <= 1e-5 * reach, "{} {}: {a} {b}", part[0], part[1]);
        }
        seen += 1;
    }
    assert_eq!(seen, 192);
}

/// A divisor that leaves both axes short.
fn factor(n: usize) -> usize {
    (20..60_000).find(|d| n.is_multiple_of(*d) && n / d < 60_000).unwrap()
}
