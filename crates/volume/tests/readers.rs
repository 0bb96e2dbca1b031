//! What nnU-Net's nibabel readers hand over (`readers/table.txt`, made by `readers/make.py`): the same voxels, spacing and affines.
#![allow(clippy::unwrap_used)]

use mnx_artifact::{Normalization, Preprocess, Reader};
use mnx_volume::{AxisMap, ReadOptions, Rules, preprocess, read, restore, softmax};

fn near(a: &[f64], b: &[f64], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= 1e-6 * b.abs().max(1e-3), "{what}: {a} {b}");
    }
}

fn rows(affine: &[[f64; 4]; 4]) -> Vec<f64> {
    affine[..3].iter().flatten().copied().collect()
}

/// A file's name and bytes.
fn file(line: &str) -> (&str, Vec<u8>) {
    let (name, hex) = line.strip_prefix("file ").unwrap().split_once(' ').unwrap();
    (name, (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect())
}

#[test]
fn arrays_and_grids_are_nnunets() {
    let table = include_str!("readers/table.txt");
    let lines: Vec<&str> = table.lines().skip(1).collect();
    let folder = tempfile::tempdir().unwrap();
    let (mut turned, mut seen) = (0, 0);
    for group in lines.chunks_exact(3) {
        let (name, bytes) = file(group[0]);
        let path = folder.path().join("v.nii");
        std::fs::write(&path, bytes).unwrap();
        for (reader, line) in [Reader::Nibabel, Reader::NibabelReorient].into_iter().zip(&group[1..]) {
            let what = format!("{name} {reader:?}");
            let parts: Vec<Vec<f64>> = line.split(" | ").map(|p| p.split(' ').map(|v| v.parse().unwrap()).collect()).collect();
            let volume = read(&path, &ReadOptions { reader: Some(reader), ..ReadOptions::default() }).unwrap();
            near(&rows(&volume.affine), &parts[2], &what);
            for transpose in [[0, 1, 2], [1, 2, 0], [2, 1, 0]] {
                let settings =
                    Preprocess { reader: Some(reader), transpose, normalization: vec![Normalization::None], ..Preprocess::default() };
                let p = preprocess(&volume, &settings).unwrap();
                near(&rows(&p.geometry.reader.affine(&volume.affine, volume.shape)), &parts[3], &what);
                turned += usize::from(p.geometry.reader != AxisMap::IDENTITY);
                // Back from the model's axes to those of the reader's array.
                let back = AxisMap::transpose(transpose).unwrap().inverse();
                near(&back.permute(p.shape).map(|n| n as f64), &parts[0], &what);
                near(&back.permute(p.spacing), &parts[1], &what);
                let voxels: Vec<f64> = back.apply(&p.data, 1, p.shape).unwrap().into_iter().map(f64::from).collect();
                assert_eq!(voxels, parts[4], "{what}");

                // Saved probabilities lie on that array's grid, labels on the file's.
                let n = p.data.len();
                let mut scores: Vec<f32> = (0..3 * n).map(|i| ((i * 7919) % 101) as f32 / 20.0).collect();
                let restored = restore(&scores, &p.geometry, &Rules::logits(3), true).unwrap();
                softmax(&mut scores, 3);
                let probabilities = restored.probabilities.unwrap();
                assert_eq!(probabilities.reader_shape(), back.permute(p.shape), "{what}");
                for k in 0..3 {
                    let saved = probabilities.of_reader(k).unwrap();
                    let want = back.apply(&scores[k * n..][..n], 1, p.shape).unwrap();
                    assert!(saved.iter().zip(&want).all(|(a, b)| (a - b).abs() <= 1e-6), "{what} class {k}");
                }
                let labels = p.geometry.map.apply(&restored.labels, 1, volume.shape).unwrap();
                for (i, label) in labels.iter().enumerate() {
                    let of = |k: usize| scores[k * n + i];
                    assert!((0..3).all(|k| of(k) <= of(usize::from(*label)) + 1e-6), "{what} voxel {i}");
                }
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 9 * 2 * 3);
    assert!(turned >= 18, "{turned}");
}
