//! Files made byte by byte: both versions, both byte orders, every type, and every kind of damage.
#![allow(clippy::unwrap_used)]

mod nifti_bytes;

use mnx_volume::{NiftiVersion, ReadOptions, VolumeError, read, write_f32, write_labels};
use nifti_bytes::{Draws, Recipe, TYPES, folder, gzip, put};

fn random_values(draws: &mut Draws, datatype: i16, n: usize) -> Vec<f64> {
    let (_, _, low, high) = *TYPES.iter().find(|t| t.0 == datatype).unwrap();
    (0..n)
        .map(|_| {
            let v = low + (draws.unit() + 1.0) / 2.0 * (high - low);
            // Float types keep fractions that float32 can hold.
            if matches!(datatype, 16 | 64) { f64::from(v as f32) } else { v.round() }
        })
        .collect()
}

#[test]
fn every_type_byte_order_version_and_scaling() {
    let folder = folder();
    let mut draws = Draws(1);
    let mut number = 0;
    for (datatype, ..) in TYPES {
        for bits in 0..16 {
            let dim: Vec<i64> = (0..draws.within(1, 5)).map(|_| draws.within(1, 6) as i64).collect();
            let mut recipe = Recipe::new(&dim, datatype);
            recipe.two = bits & 1 != 0;
            recipe.big = bits & 2 != 0;
            if bits & 4 != 0 {
                (recipe.slope, recipe.inter) = (0.5, -3.25);
            }
            if draws.next() & 1 == 0 {
                recipe.extensions = vec![(6, vec![b'x'; 24]), (4, vec![1; 40])];
            }
            let n = dim.iter().product::<i64>() as usize;
            let values = random_values(&mut draws, datatype, n);
            let mut bytes = recipe.file(&values);
            if draws.next() & 1 == 0 {
                bytes.extend([0xAB; 100]); // bytes after the voxels are tolerated
            }
            let name = format!("v{number}.nii");
            let path = if bits & 8 != 0 {
                // In two members, and with garbage behind them.
                let (a, b) = bytes.split_at(bytes.len() / 2);
                put(&folder, &name, &[gzip(a), gzip(b), vec![0; 13]].concat())
            } else {
                put(&folder, &name, &bytes)
            };
            number += 1;
            let v = read(&path, &ReadOptions::default()).unwrap();
            let mut padded = dim.clone();
            padded.resize(7, 1);
            let want = [padded[2], padded[1], padded[0]].map(|d| d as usize);
            assert_eq!(v.shape, want);
            assert_eq!(v.channels as i64, padded[3] * padded[4]);
            for (got, stored) in v.data.iter().zip(&values) {
                let want = if bits & 4 != 0 { stored * 0.5 - 3.25 } else { *stored };
                assert_eq!(*got, want as f32, "type {datatype} bits {bits}");
            }
            assert_eq!(v.affine[0], [1.5, 0.0, 0.0, -3.0]);
            assert_eq!(v.header.extensions(), recipe.extensions);
            let version = if recipe.two { NiftiVersion::Two } else { NiftiVersion::One };
            assert_eq!(v.header.version(), version);

            let out = folder.path().join("out.nii.gz");
            write_f32(&out, &v.data, v.channels, &v.header).unwrap();
            let back = read(&out, &ReadOptions::default()).unwrap();
            assert_eq!((&back.data, back.affine), (&v.data, v.affine));
        }
    }
}

#[test]
fn a_quaternion_gives_the_rotation_it_stands_for() {
    let folder = folder();
    let mut recipe = Recipe::new(&[2, 3, 4], 2);
    recipe.sform_code = 0;
    recipe.qform_code = 1;
    recipe.pixdim[0] = -1.0;
    // A quarter turn about z: (b, c, d) = (0, 0, sin 45 degrees); then the third axis is mirrored.
    recipe.quatern = [0.0, 0.0, 0.5f64.sqrt(), 10.0, 20.0, 30.0];
    let v = read(&put(&folder, "q.nii", &recipe.file(&[0.0; 24])), &ReadOptions::default()).unwrap();
    let want = [[0.0, -2.0, 0.0, 10.0], [1.5, 0.0, 0.0, 20.0], [0.0, 0.0, -2.5, 30.0]];
    for (a, b) in v.affine[..3].iter().flatten().zip(want.iter().flatten()) {
        assert!((a - b).abs() < 1e-6, "{:?}", v.affine);
    }
    recipe.qform_code = 0;
    let v = read(&put(&folder, "p.nii", &recipe.file(&[0.0; 24])), &ReadOptions::default()).unwrap();
    assert_eq!(v.affine[1], [0.0, 2.0, 0.0, 0.0]);
}

fn refusal(path: &std::path::Path) -> String {
    let message = read(path, &ReadOptions::default()).unwrap_err().to_string();
    assert!(!message.contains('\n') && message.contains("v.nii"), "{message}");
    message
}

#[test]
fn headers_that_make_no_sense_are_refused() {
    let folder = folder();
    let base = Recipe::new(&[4, 5, 6], 4);
    let try_one = |change: &dyn Fn(&mut Recipe), word: &str| {
        for (two, big) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut recipe = Recipe { two, big, ..base.clone() };
            change(&mut recipe);
            let bytes = recipe.file(&[1.0; 120]);
            for bytes in [gzip(&bytes), bytes] {
                let message = refusal(&put(&folder, "v.nii", &bytes));
                assert!(message.contains(word), "{message}, expected {word}");
            }
        }
    };
    for (code, word) in [(32, "complex"), (1792, "complex"), (128, "RGB"), (2304, "RGBA")] {
        try_one(&|r| r.datatype = code, word);
    }
    try_one(&|r| r.datatype = 1536, "128-bit");
    try_one(&|r| r.datatype = 1, "single-bit");
    try_one(&|r| r.datatype = 77, "77");
    try_one(&|r| r.dim = vec![4, 0, 6], "dim[2] is 0");
    try_one(&|r| r.dim = vec![4, 5, -6], "dim[3] is -6");
    try_one(&|r| r.dim = vec![32000, 32000, 32000], "claims");
    try_one(&|r| r.dim = vec![32767; 7], "beyond any memory");
    try_one(&|r| r.vox_offset = Some(-8.0), "vox_offset");
    try_one(&|r| r.vox_offset = Some(100.0), "vox_offset");
    try_one(&|r| r.vox_offset = Some(3e9), "claims");
    try_one(&|r| (r.slope, r.inter) = (2.0, f64::NAN), "scl_inter");
    try_one(&|r| (r.sform_code, r.pixdim[2]) = (0, 0.0), "pixdim[2]");
    for rank in [0, 8, -1] {
        let mut bytes = base.file(&[1.0; 120]);
        bytes[40] = rank as u8;
        bytes[41] = (rank >> 8) as u8;
        let message = refusal(&put(&folder, "v.nii", &bytes));
        assert!(message.contains("dim[0]"), "{message}");
    }
    let mut bytes = Recipe { two: true, ..base.clone() }.file(&[1.0; 120]);
    bytes[8] = b'\n'; // newline translation broke the magic
    assert!(refusal(&put(&folder, "v.nii", &bytes)).contains("magic"));
}

#[test]
fn slope_zero_or_not_a_number_means_unscaled() {
    let folder = folder();
    for slope in [0.0, f64::NAN, f64::INFINITY] {
        let mut recipe = Recipe::new(&[2, 2, 2], 4);
        (recipe.slope, recipe.inter) = (slope, 9.0);
        let v = read(&put(&folder, "v.nii", &recipe.file(&[3.0; 8])), &ReadOptions::default());
        assert_eq!(v.unwrap().data, [3.0; 8]);
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let folder = folder();
    let mut draws = Draws(7);
    for two in [false, true] {
        let mut recipe = Recipe::new(&[5, 4, 3], 512);
        recipe.two = two;
        recipe.extensions = vec![(6, vec![7; 24])];
        let whole = recipe.file(&random_values(&mut draws, 512, 60));
        let packed = gzip(&whole);
        for bytes in [whole, packed] {
            assert!(read(&put(&folder, "v.nii", &bytes), &ReadOptions::default()).is_ok());
            for length in 0..bytes.len() {
                let message = refusal(&put(&folder, "v.nii", &bytes[..length]));
                let truncated = message.contains("truncated") || message.contains("not a NIfTI");
                assert!(truncated, "{length}: {message}");
            }
        }
    }
}

#[test]
fn damaged_bytes_never_panic_and_a_damaged_stream_is_noticed() {
    let folder = folder();
    let mut draws = Draws(11);
    let values = random_values(&mut draws, 4, 60);
    for two in [false, true] {
        let whole = Recipe { two, ..Recipe::new(&[5, 4, 3], 4) }.file(&values);
        for _ in 0..400 {
            let mut bytes = whole.clone();
            for _ in 0..draws.within(1, 6) {
                let at = draws.within(0, bytes.len() - 1);
                bytes[at] = draws.next() as u8;
            }
            for bytes in [gzip(&bytes), bytes] {
                if let Err(e) = read(&put(&folder, "v.nii", &bytes), &ReadOptions::default()) {
                    assert!(!e.to_string().contains('\n'), "{e}");
                }
            }
        }
        let packed = gzip(&whole);
        let mut spare = 0;
        for at in 10..packed.len() {
            let mut bytes = packed.clone();
            bytes[at] ^= 1 << draws.within(0, 7);
            // A flip may hit a spare bit of the code tables; it must then change nothing.
            if let Ok(v) = read(&put(&folder, "v.nii", &bytes), &ReadOptions::default()) {
                let intact = v.data.iter().zip(&values).all(|(a, b)| f64::from(*a) == *b);
                assert!(intact, "flip in byte {at} of {} went unnoticed", packed.len());
                spare += 1;
            }
        }
        assert!(spare < 8, "{spare}");
    }
}

#[test]
fn voxels_that_are_not_numbers_are_counted_or_replaced() {
    let folder = folder();
    let mut values = vec![2.0; 24];
    values[3] = f64::NAN;
    values[4] = f64::NAN;
    values[7] = f64::INFINITY;
    values[9] = f64::NEG_INFINITY;
    values[10] = -5.0;
    values[11] = 8.0;
    let mut recipe = Recipe::new(&[2, 3, 4], 64);
    let path = put(&folder, "v.nii", &recipe.file(&values));
    assert!(matches!(read(&path, &ReadOptions::default()), Err(VolumeError::NonFinite { nan: 2, infinite: 2, total: 24, .. })));
    let message = refusal(&path);
    assert!(message.contains("2 NaN and 2 infinite voxels of 24"), "{message}");
    let v = read(&path, &ReadOptions { nan_to_num: true, ..ReadOptions::default() }).unwrap();
    assert_eq!(v.data[..12], [2., 2., 2., 0., 0., 2., 2., 8., 2., -5., -5., 8.]);
    // Beyond float32's range counts as infinite, and so does an overflow of the scaling.
    let path = put(&folder, "v.nii", &recipe.file(&[1e300; 24]));
    assert!(refusal(&path).contains("24 infinite"));
    recipe.datatype = 16;
    recipe.slope = 3e38;
    let path = put(&folder, "v.nii", &recipe.file(&[1e30; 24]));
    assert!(refusal(&path).contains("24 infinite"));
}

#[test]
fn nothing_is_left_behind_by_a_write_that_fails() {
    let folder = folder();
    let v = read(&put(&folder, "v.nii", &Recipe::new(&[2, 3, 4], 2).file(&[1.0; 24])), &ReadOptions::default()).unwrap();
    let names = || std::fs::read_dir(folder.path()).unwrap().count();
    assert!(write_labels(&folder.path().join("a.nii"), &[0; 23], &v.header).is_err());
    assert!(write_labels(&folder.path().join("a.mha"), &[0; 24], &v.header).is_err());
    assert!(write_labels(&folder.path().join("no/a.nii"), &[0; 24], &v.header).is_err());
    assert!(write_f32(&folder.path().join("a.nii"), &[0.0; 24], 2, &v.header).is_err());
    std::fs::create_dir(folder.path().join("d.nii")).unwrap();
    assert!(write_labels(&folder.path().join("d.nii"), &[0; 24], &v.header).is_err());
    assert_eq!(names(), 2);
    // Labels beyond 255 take 16 bits; a dotted name is kept as it is.
    let path = folder.path().join("sub.01.ses.nii");
    let labels: Vec<u16> = (0..24).map(|i| i * 2000).collect();
    write_labels(&path, &labels, &v.header).unwrap();
    assert_eq!(read(&path, &ReadOptions::default()).unwrap().to_labels().unwrap(), labels);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 352 + 48);
    write_labels(&path, &[255; 24], &v.header).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 352 + 24);
    assert_eq!(names(), 3);
}
