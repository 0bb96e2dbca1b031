//! The main job on real input: compile the sample, segment the whole brain, compare with what the official network predicts.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use mnx_volume::{ReadOptions, Volume, read};
use mnx_weights::Checkpoint;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn volume(path: &Path) -> Volume {
    read(path, &ReadOptions::default()).unwrap()
}

/// Dice of one class over voxels whose x index (fastest) satisfies `side`.
fn dice(a: &Volume, b: &Volume, class: f32, side: &dyn Fn(usize) -> bool) -> f64 {
    let (mut both, mut sum) = (0u64, 0u64);
    for (i, (p, q)) in a.data.iter().zip(&b.data).enumerate() {
        if side(i % a.shape[2]) {
            both += u64::from(*p == class && *q == class);
            sum += u64::from(*p == class) + u64::from(*q == class);
        }
    }
    2.0 * both as f64 / sum as f64
}

/// Width and bytes of a PNG's pixels.
fn pixels(path: &Path) -> (u32, Vec<u8>) {
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(path).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut out = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut out).unwrap();
    out.truncate(info.buffer_size());
    (info.width, out)
}

#[test]
fn the_sample_is_segmented_as_by_the_official_network() {
    let bin = mnx_tests::binaries::folder();
    let sample = root().join("examples/brain_tissue");
    let dir = tempfile::tempdir().unwrap();
    let run = |program: &str, args: &[&str]| {
        let out = Command::new(bin.join(program)).args(args).current_dir(dir.path()).output().unwrap();
        assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    let run_for = |args: &[&str]| {
        let out = Command::new(bin.join("mnx")).args(args).current_dir(dir.path()).output().unwrap();
        assert!(out.status.success(), "mnx {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    };
    let at = |name: &str| sample.join(name).display().to_string();
    run(
        "mnxc",
        &[
            "compile",
            &at("config.toml"),
            "--weights",
            &at("weights.safetensors"),
            "--patch",
            "64,64,64",
            "--vectors",
            "none",
            "-o",
            "b.mnxa",
        ],
    );
    run("mnx", &["predict", "b.mnxa", "-i", &at("t1.nii.gz"), "-o", "seg.nii.gz", "--probabilities", "p.nii.gz", "--picture", "seg.png"]);

    let vectors = root().join("tests/vectors/pipeline");
    let (got, want) = (volume(&dir.path().join("seg.nii.gz")), volume(&vectors.join("expected_seg.nii.gz")));
    let image = volume(&sample.join("t1.nii.gz"));
    assert_eq!((got.shape, got.affine), (image.shape, image.affine), "the image's grid");
    let equal = got.data.iter().zip(&want.data).filter(|(a, b)| a == b).count();
    println!("{} of {} voxels differ", got.data.len() - equal, got.data.len());
    assert!(equal as f64 >= 0.999 * got.data.len() as f64, "{equal} of {} voxels agree", got.data.len());

    // Soft-max of the averaged logits, at every sixth voxel of the crop to the brain; outside it the answer is background.
    let scores: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(vectors.join("scores.json")).unwrap()).unwrap();
    let crop: Vec<[usize; 2]> = serde_json::from_value(scores["box"].clone()).unwrap();
    let probabilities = volume(&dir.path().join("p.nii.gz"));
    assert_eq!(probabilities.channels, 4);
    let stored = Checkpoint::load(vectors.join("logits_every_6th.safetensors")).unwrap();
    let (_, logits) = stored.iter().next().unwrap();
    let [k, nz, ny, nx] = logits.shape[..] else { panic!("{:?}", logits.shape) };
    let coarse: Vec<usize> = crop.iter().map(|[low, high]| (high - low).div_ceil(6)).collect();
    assert_eq!([k, nz, ny, nx], [4, coarse[0], coarse[1], coarse[2]]);
    let (small, whole) = (nz * ny * nx, image.shape.iter().product::<usize>());
    for m in 0..small {
        let (z, y, x) = (crop[0][0] + m / (ny * nx) * 6, crop[1][0] + m / nx % ny * 6, crop[2][0] + m % nx * 6);
        let at = (z * image.shape[1] + y) * image.shape[2] + x;
        let l: Vec<f64> = (0..4).map(|c| f64::from(logits.data[c * small + m])).collect();
        let top = l.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = l.iter().map(|v| (v - top).exp()).sum();
        for (c, v) in l.iter().enumerate() {
            let error = (f64::from(probabilities.data[c * whole + at]) - (v - top).exp() / sum).abs();
            assert!(error <= 1e-3, "class {c} at {z},{y},{x}: error {error:.2e}");
        }
    }

    // No tissue in the air: the image is exactly 0 there.
    let air = got.data.iter().zip(&image.data).filter(|(label, v)| **label > 0.0 && **v == 0.0).count();
    let foreground = got.data.iter().filter(|label| **label > 0.0).count();
    assert!(air * 10_000 < foreground, "{air} of {foreground} voxels of tissue lie where the image is 0");
    let scored = run_for(&["evaluate", "--pred", "seg.nii.gz", "--ref", &at("tissue.nii.gz"), "--bundle", "b.mnxa", "--json", "-"]);
    let scored: serde_json::Value = serde_json::from_slice(&scored).unwrap();
    for class in ["1", "2", "3"] {
        let hd95 = scored["mean"][class]["HD95"].as_f64().unwrap_or(f64::NAN);
        assert!(hd95 <= 3.5, "HD95 of {class}: {hd95} mm");
    }

    // The Dice scores that the official network's result was given, on each half.
    let reference = volume(&sample.join("tissue.nii.gz"));
    let middle = image.shape[2] / 2;
    let halves: [Vec<f64>; 2] = [
        (1..4).map(|c| dice(&got, &reference, c as f32, &|x| x < middle)).collect(),
        (1..4).map(|c| dice(&got, &reference, c as f32, &|x| x >= middle)).collect(),
    ];
    let stored: Vec<Vec<f64>> =
        ["left", "right"].iter().map(|s| scores[s].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()).collect();
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 0.01);
    assert!(halves.iter().all(|h| stored.iter().any(|s| near(h, s))), "Dice per half {halves:?}, the official network's {stored:?}");
    // The picture on top of the README is the one that the demo draws.
    let (width, drawn) = pixels(&dir.path().join("seg.png"));
    let (stored_width, stored) = pixels(&sample.join("segmentation.png"));
    assert_eq!((width, drawn.len()), (stored_width, stored.len()), "size of examples/brain_tissue/segmentation.png");
    let other = drawn.iter().zip(&stored).filter(|(a, b)| a != b).count();
    assert!(
        other * 1000 < drawn.len(),
        "{other} of {} values of examples/brain_tissue/segmentation.png differ from what is drawn",
        drawn.len()
    );
}
