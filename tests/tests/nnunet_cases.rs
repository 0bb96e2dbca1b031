//! nnU-Net result folders from import to segmentation, against what nnU-Net's own predictors say of the same image.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use mnx_tests::nnunet::Case;
use mnx_volume::{Header, ReadOptions, Volume, read, write_f32};
use mnx_weights::Checkpoint;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn run(dir: &Path, program: &str, args: &[&str]) {
    let out = Command::new(mnx_tests::binaries::folder().join(program)).args(args).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// The image of a case: the torso, or the planes of it that nnU-Net v1 was given.
fn image(case: &Case, dir: &Path) -> PathBuf {
    let whole = folder().join("data/torso_ct/ct.nii.gz");
    if !case.is_v1() {
        return whole;
    }
    let ct = read(&whole, &ReadOptions::default()).unwrap();
    let [nz, ny, nx] = ct.shape;
    assert_eq!(nz, 112);
    let path = dir.join("crop.nii");
    let header = Header::new([30, ny, nx], ct.affine).unwrap();
    write_f32(&path, &ct.data[82 * ny * nx..112 * ny * nx], 1, &header).unwrap();
    path
}

/// The one array of an archive: its shape as written, and its numbers.
fn array(path: &Path, name: &str) -> (String, Vec<f32>) {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name(&format!("{name}.npy")).unwrap().read_to_end(&mut bytes).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..start].to_vec()).unwrap();
    let body = &bytes[start..];
    let values = if header.contains("<f2") {
        body.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    } else {
        body.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    (header, values)
}

/// Probabilities within 1e-3 at every n-th voxel.
fn check_probabilities(got: &[f32], shape: [usize; 3], stored: &Path, name: &str) {
    let bytes = std::fs::read(stored).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let stride: Vec<usize> = serde_json::from_str(&header.metadata().as_ref().unwrap()["stride"]).unwrap();
    let checkpoint = Checkpoint::load(stored).unwrap();
    let (_, want) = checkpoint.iter().next().unwrap();
    let small: [usize; 3] = std::array::from_fn(|a| shape[a].div_ceil(stride[a]));
    let classes = want.shape[0];
    assert_eq!(want.shape[1..], small);
    assert_eq!(got.len(), classes * shape.iter().product::<usize>());
    let mut worst = 0f32;
    for (i, w) in want.data.iter().enumerate() {
        let (k, at) = (i / small.iter().product::<usize>(), i % small.iter().product::<usize>());
        let [z, y, x] = [at / (small[1] * small[2]) * stride[0], at / small[2] % small[1] * stride[1], at % small[2] * stride[2]];
        let error = (got[((k * shape[0] + z) * shape[1] + y) * shape[2] + x] - w).abs();
        assert!(error <= 1e-3, "{name}: class {k} at {z}, {y}, {x} is off by {error:.2e}");
        worst = worst.max(error);
    }
    println!("{name}: probabilities within {worst:.1e}");
}

fn goes_as_in_nnunet(name: &str, more: &[&str], array_name: &str) {
    let case = Case::named(name);
    let dir = tempfile::tempdir().unwrap();
    let root = case.rebuild(dir.path());
    run(dir.path(), "mnxc", &["import", &root.display().to_string(), "-o", "imported", "--quiet"]);
    run(dir.path(), "mnxc", &["compile", "imported", "--target", "host", "--vectors", "none", "-o", "m.mnxa", "--quiet"]);
    let image = image(&case, dir.path());
    let mut args = vec!["predict", "m.mnxa", "-i"];
    let shown = image.display().to_string();
    args.extend([shown.as_str(), "-o", "seg.nii.gz", "--save-probabilities", "--quiet"]);
    args.extend(more);
    run(dir.path(), "mnx", &args);

    let vectors = folder().join("vectors/nnunet").join(name);
    let load = |path: &Path| -> Volume { read(path, &ReadOptions::default()).unwrap() };
    let (got, want) = (load(&dir.path().join("seg.nii.gz")), load(&vectors.join("expected.nii.gz")));
    assert_eq!(got.shape, want.shape);
    let differ = got.data.iter().zip(&want.data).filter(|(a, b)| a != b).count();
    println!("{name}: {differ} of {} voxels differ", want.data.len());
    assert!(differ as f64 <= 0.001 * want.data.len() as f64, "{name}: {differ} of {} voxels differ", want.data.len());
    // Not by a segmentation of nothing: every class has its share.
    let classes = want.data.iter().map(|v| *v as usize).max().unwrap() + 1;
    for class in 0..classes {
        assert!(got.data.iter().filter(|v| **v as usize == class).count() > 1000, "{name}: class {class}");
    }
    let (header, probabilities) = array(&dir.path().join("seg.npz"), array_name);
    assert!(header.contains(&format!("({classes}, {}, {}, {})", got.shape[0], got.shape[1], got.shape[2])), "{header}");
    check_probabilities(&probabilities, got.shape, &vectors.join("probabilities.safetensors"), name);
}

#[test]
fn version_one() {
    goes_as_in_nnunet("v1_ct", &[], "softmax");
}

#[test]
fn version_two() {
    goes_as_in_nnunet("v2_ct_iso", &[], "probabilities");
}

#[test]
fn version_two_with_separate_z_two_folds_and_mirroring() {
    goes_as_in_nnunet("v2_ct_aniso_tta", &["--tta"], "probabilities");
}
