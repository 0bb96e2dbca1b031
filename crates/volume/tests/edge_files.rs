//! Every file of `tests/data/nifti_edge`: volumes against what nibabel read, the rest refused.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use mnx_volume::{AxisMap, NiftiVersion, ReadOptions, read, read_channels, write_f32, write_labels};

fn edge(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/nifti_edge").join(name)
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map(|t| t.parse().unwrap()).collect()
}

fn near(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-6 * scale
}

#[test]
fn volumes_are_read_as_nibabel_reads_them() {
    let expected = std::fs::read_to_string(edge("expected.txt")).unwrap();
    let mut seen = 0;
    for line in expected.lines() {
        let part: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = part[0];
        let v = read(&edge(name), &ReadOptions::default()).unwrap();
        let shape = [v.shape[0], v.shape[1], v.shape[2], v.channels].map(|n| n as f64);
        assert_eq!(numbers(part[1]), shape, "{name}");
        for (a, b) in v.spacing.iter().zip(numbers(part[2])) {
            assert!(near(*a, b, b), "{name} spacing {a} {b}");
        }
        for (a, b) in v.affine[..3].iter().flatten().zip(numbers(part[3])) {
            assert!(near(*a, b, 10.0), "{name} affine {a} {b}");
        }
        let stats = numbers(part[4]);
        let reach = stats[0].abs().max(stats[1].abs());
        let low = v.data.iter().copied().fold(f32::INFINITY, f32::min);
        let high = v.data.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mean = v.data.iter().map(|v| f64::from(*v)).sum::<f64>() / v.data.len() as f64;
        for (a, b) in [f64::from(low), f64::from(high), mean].iter().zip(&stats) {
            assert!(near(*a, *b, reach), "{name} {a} {b}");
        }
        // The code nibabel found is the one that needs no change.
        assert_eq!(AxisMap::to_orientation(&v.affine, part[5]).unwrap(), AxisMap::IDENTITY);
        for pick in part[6].split_whitespace() {
            let (at, value) = pick.split_once(':').unwrap();
            let (at, value): (usize, f64) = (at.parse().unwrap(), value.parse().unwrap());
            assert!(near(f64::from(v.data[at]), value, reach), "{name} voxel {at}");
        }
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn what_is_written_for_a_volume_has_its_grid_and_header() {
    let folder = tempfile::tempdir().unwrap();
    for (i, name) in
        ["anatomical.nii", "example4d.nii.gz", "example_nifti2.nii.gz", "functional.nii", "reoriented_anat_moved.nii", "standard.nii.gz"]
            .into_iter()
            .enumerate()
    {
        let v = read(&edge(name), &ReadOptions::default()).unwrap();
        for suffix in ["nii", "nii.gz"] {
            let path = folder.path().join(format!("case.{i}.{suffix}"));
            write_f32(&path, &v.data, v.channels, &v.header).unwrap();
            let back = read(&path, &ReadOptions::default()).unwrap();
            assert_eq!(back.data, v.data, "{name}");
            assert_eq!(back.affine, v.affine, "{name}");
            assert_eq!(back.spacing, v.spacing, "{name}");
            assert_eq!(back.header.form_codes(), v.header.form_codes(), "{name}");
            assert_eq!(back.header.extensions(), v.header.extensions(), "{name}");
            assert_eq!(back.header.version(), v.header.version(), "{name}");

            let labels: Vec<u16> = (0..v.voxels()).map(|i| (i % 5) as u16).collect();
            write_labels(&path, &labels, &v.header).unwrap();
            let back = read(&path, &ReadOptions { channels: Some(1), ..Default::default() }).unwrap();
            assert_eq!(back.to_labels().unwrap(), labels, "{name}");
            assert_eq!((back.shape, back.affine), (v.shape, v.affine), "{name}");
        }
    }
    let two = read(&edge("example_nifti2.nii.gz"), &ReadOptions::default()).unwrap();
    assert_eq!(two.header.version(), NiftiVersion::Two);
    assert_eq!(two.header.extensions().len(), 2);
}

#[test]
fn the_nifti_crate_reads_the_same_voxels() {
    use nifti::{IntoNdArray, NiftiObject, ReaderOptions};
    for name in ["anatomical.nii", "example4d.nii.gz", "functional.nii", "standard.nii.gz"] {
        let v = read(&edge(name), &ReadOptions::default()).unwrap();
        let theirs = ReaderOptions::new().read_file(edge(name)).unwrap().into_volume();
        let theirs = theirs.into_ndarray::<f64>().unwrap().reversed_axes();
        assert_eq!(theirs.len(), v.data.len(), "{name}");
        for (a, b) in v.data.iter().zip(theirs.iter()) {
            assert!(near(f64::from(*a), *b, b.abs().max(1.0)), "{name}: {a} {b}");
        }
    }
}

#[test]
fn what_is_no_volume_is_refused_in_one_line() {
    for (name, words) in [
        ("rgb24.nii.gz", ["RGB", "128"]),
        ("nifti1.hdr", ["ni1", "image beside it is missing"]),
        ("analyze.hdr", ["Analyze", "magic"]),
        ("README.md", ["not a NIfTI file", "348"]),
        ("no_such_file.nii", ["no_such_file.nii", "No such file"]),
        ("", ["not a regular file", "nifti_edge"]),
    ] {
        let message = read(&edge(name), &ReadOptions::default()).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
        assert!(message.contains(name), "{message}");
        for word in words {
            assert!(message.contains(word), "{message}");
        }
    }
}

#[test]
fn channels_come_from_files_or_the_fourth_axis() {
    let anatomical = edge("anatomical.nii");
    let one = read(&anatomical, &ReadOptions::default()).unwrap();
    let want = ReadOptions { channels: Some(2), ..Default::default() };
    let two = read_channels(&[anatomical.clone(), anatomical.clone()], &want).unwrap();
    assert_eq!(two.channels, 2);
    assert_eq!(two.data, [one.data.clone(), one.data].concat());

    let four = read_channels(&[edge("example4d.nii.gz")], &want).unwrap();
    assert_eq!((four.channels, four.data.len()), (2, 2 * four.voxels()));

    let message = read_channels(&[anatomical.clone(), edge("standard.nii.gz")], &want).unwrap_err();
    assert!(message.to_string().contains("shape"), "{message}");
    for wrong in [
        vec![anatomical.clone()],
        vec![edge("functional.nii")],
        vec![anatomical.clone(), anatomical.clone(), anatomical.clone()],
        vec![anatomical, edge("functional.nii")],
        vec![],
    ] {
        let message = read_channels(&wrong, &want).unwrap_err().to_string();
        assert!(message.contains("channel") || message.contains("no input"), "{message}");
    }
}
