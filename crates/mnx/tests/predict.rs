//! `mnx predict` with a network whose answer is known voxel by voxel, so that tiling must not show.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

#[path = "../../runtime/tests/sample/mod.rs"]
mod sample;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use mnx_artifact::{
    Activation, Average, BundleWriter, Command, Connectivity, Fold, Gaussian, Inference, Label, Manifest, Postprocess, Preprocess,
    ProbabilityFile,
};
use mnx_volume::{Header, ReadOptions, read, write_f32};
use mnx_weights::det;
use sample::{manifest, program};
use serde_json::Value;

/// Class 1 wins where the z-scored voxel is below 0.1.
const W: [f32; 2] = [1.5, -0.5];
const B: [f32; 2] = [0.125, 0.325];
const SHAPE: [usize; 3] = [7, 9, 17];

struct Case {
    _dir: tempfile::TempDir,
    bundle: PathBuf,
    image: PathBuf,
    seg: PathBuf,
    root: PathBuf,
}

fn affine() -> [[f64; 4]; 4] {
    [[-2.0, 0.0, 0.0, 5.0], [0.0, 1.5, 0.0, -7.0], [0.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
}

fn voxels(name: &str, channels: usize) -> Vec<f32> {
    det(name, channels * SHAPE.iter().product::<usize>()).map(|v| (100.0 + 30.0 * v) as f32).collect()
}

fn case(m: &Manifest, name: &str) -> Case {
    let dir = tempfile::tempdir().unwrap();
    let bundle = sample::bundle(dir.path(), m, W, B);
    let image = dir.path().join("image.nii.gz");
    write_f32(&image, &voxels(name, 1), 1, &Header::new(SHAPE, affine()).unwrap()).unwrap();
    let root = dir.path().to_owned();
    Case { bundle, image, seg: root.join("seg.nii.gz"), root, _dir: dir }
}

fn model() -> Manifest {
    manifest(vec![program("x86-64-v3", &["sse2"])])
}

fn predict(case: &Case, image: &Path, more: &[&str]) -> Output {
    Process::new(env!("CARGO_BIN_EXE_mnx"))
        .arg("predict")
        .arg(&case.bundle)
        .arg("-i")
        .arg(image)
        .arg("-o")
        .arg(&case.seg)
        .args(more)
        .current_dir(&case.root)
        .output()
        .unwrap()
}

/// Class of every voxel by the formula, none where the two logits are nearly equal.
fn wanted(image: &[f32]) -> Vec<Option<u16>> {
    let n = image.len() as f64;
    let mean = image.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let sd = (image.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let logit = |c: usize, z: f64| (f64::from(W[c]) * z + f64::from(B[c])).max(0.0);
    image
        .iter()
        .map(|v| {
            let z = (f64::from(*v) - mean) / sd;
            let (a, b) = (logit(0, z), logit(1, z));
            ((a - b).abs() > 1e-4).then_some(u16::from(b > a))
        })
        .collect()
}

fn check(case: &Case, image: &[f32], values: [u16; 2]) {
    let seg = read(&case.seg, &ReadOptions::default()).unwrap();
    assert_eq!((seg.shape, seg.affine), (SHAPE, affine()));
    let labels = seg.to_labels().unwrap();
    let mut compared = [0; 2];
    for (got, want) in labels.iter().zip(wanted(image)) {
        if let Some(want) = want {
            assert_eq!(*got, values[usize::from(want)]);
            compared[usize::from(want)] += 1;
        }
    }
    assert!(compared.iter().all(|&n| n > 100), "{compared:?}");
}

fn ok(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn labels_follow_the_network_whatever_the_tiling() {
    let case = case(&model(), "plain");
    let image = voxels("plain", 1);
    for more in [&[][..], &["--overlap", "0.25", "--threads", "1"], &["--tta"]] {
        let output = predict(&case, &case.image, more);
        let said = ok(&output);
        assert!(said.contains("0 background") && said.contains("1 class 1") && said.contains("seg.nii.gz"), "{said}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("patches"));
        check(&case, &image, [0, 1]);
        std::fs::remove_file(&case.seg).unwrap();
    }
    let output = predict(&case, &case.image, &["--quiet"]);
    assert_eq!(ok(&output), "");
    assert!(output.stderr.is_empty());
}

#[test]
fn probabilities_picture_and_json() {
    let mut m = model();
    m.labels = vec![Label { name: "outside".into(), value: 0 }, Label { name: "lesion".into(), value: 300 }];
    let case = case(&m, "extras");
    let output = predict(&case, &case.image, &["--probabilities", "p.nii.gz", "--picture", "p.png", "--json"]);
    let json: Value = serde_json::from_str(&ok(&output)).unwrap();
    check(&case, &voxels("extras", 1), [0, 300]);
    let p = read(&case.root.join("p.nii.gz"), &ReadOptions::default()).unwrap();
    assert_eq!((p.channels, p.shape), (2, SHAPE));
    let n = p.voxels();
    assert!((0..n).all(|i| (p.data[i] + p.data[n + i] - 1.0).abs() < 1e-5));
    assert!(std::fs::read(case.root.join("p.png")).unwrap().starts_with(b"\x89PNG"));
    let labels = json["labels"].as_array().unwrap();
    assert_eq!((labels[1]["value"].as_u64(), labels[1]["name"].as_str()), (Some(300), Some("lesion")));
    let count: u64 = labels.iter().map(|l| l["voxels"].as_u64().unwrap()).sum();
    assert_eq!(count, n as u64);
    let ml = labels[1]["ml"].as_f64().unwrap();
    assert!((ml - labels[1]["voxels"].as_f64().unwrap() * 9.0 / 1000.0).abs() < 1e-9);
}

#[test]
fn two_dimensional_networks_go_slice_by_slice() {
    let mut m = model();
    m.model.spatial_dims = 2;
    m.patch = vec![15, 7];
    m.inputs[0].shape = vec![1, 1, 15, 7];
    m.outputs[0].shape = vec![1, 2, 15, 7];
    m.outputs[1].shape = vec![1, 1, 15, 7];
    let case = case(&m, "slices");
    ok(&predict(&case, &case.image, &["--tta"]));
    check(&case, &voxels("slices", 1), [0, 1]);
}

/// Both samples of a batch at once.
const BATCH_OF_TWO: &str = r#"
#include <stdint.h>
void both(const void *const *buffers, uint64_t workgroup, void *scratch) {
    const float *x = buffers[0], *w = buffers[1], *b = buffers[2];
    float *out = (float *)buffers[3];
    (void)scratch;
    for (int c = 0; c < 2; ++c)
        for (int i = 0; i < 105; ++i) {
            float v = w[c] * x[workgroup * 105 + i] + b[c];
            out[(workgroup * 2 + c) * 105 + i] = v > 0 ? v : 0;
        }
}
"#;

#[test]
fn a_batch_is_filled_with_patches() {
    let mut m = model();
    m.batch = 2;
    m.inputs[0].shape[0] = 2;
    m.outputs.truncate(1);
    m.outputs[0].shape[0] = 2;
    let p = &mut m.programs[0];
    p.inputs = vec![sample::arena(0, 840)];
    p.outputs = vec![sample::arena(1024, 1680)];
    let Command::Launch { kernel, args, workgroups, .. } = &mut p.commands[1] else { panic!("not a launch") };
    (*kernel, *workgroups) = ("both".into(), 2);
    (args[0], args[3]) = (sample::arena(0, 840), sample::arena(1024, 1680));
    p.commands = vec![p.commands[1].clone()];
    let mut case = case(&model(), "batch");
    let code = sample::compile(&case.root, BATCH_OF_TWO);
    case.bundle = case.root.join("batch.mnxa");
    let weights = sample::weight_bytes(W, B);
    BundleWriter::new(&m).code(&code).weights(&weights).write(&case.bundle).unwrap();
    let output = predict(&case, &case.image, &[]);
    ok(&output);
    check(&case, &voxels("batch", 1), [0, 1]);
    // With mirrorings too: every patch has its own place in a batch, and the last batch may be half full.
    ok(&predict(&case, &case.image, &["--tta", "--step", "0.4"]));
    check(&case, &voxels("batch", 1), [0, 1]);
}

#[test]
fn refusals_name_the_reason_and_write_nothing() {
    let mut softmax = model();
    softmax.model.output = "softmax".into();
    let probabilities = case(&softmax, "softmax");
    let plain = case(&model(), "refusals");
    let two = plain.root.join("two.nii");
    write_f32(&two, &voxels("two", 2), 2, &Header::new(SHAPE, affine()).unwrap()).unwrap();
    let holes = plain.root.join("holes.nii");
    let mut values = voxels("holes", 1);
    values[5] = f32::NAN;
    write_f32(&holes, &values, 1, &Header::new(SHAPE, affine()).unwrap()).unwrap();
    let text = plain.root.join("text.nii");
    std::fs::write(&text, "not a volume").unwrap();
    let cut = plain.root.join("cut.nii.gz");
    let whole = std::fs::read(&plain.image).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();

    let expect = |case: &Case, image: &Path, more: &[&str], reason: &str| {
        let output = predict(case, image, more);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "{reason:?} not in {said:?}");
        assert!(output.stdout.is_empty() && !case.seg.exists() && !case.root.join("p.png").exists());
    };
    expect(&probabilities, &probabilities.image, &[], "output is softmax, predict needs logits");
    expect(&plain, &two, &[], "2 channels, expected 1");
    expect(&plain, &holes, &["--picture", "p.png"], "1 NaN");
    expect(&plain, &text, &[], "not a NIfTI file");
    expect(&plain, &cut, &[], "cut.nii.gz");
    expect(&plain, &plain.root.join("none.nii"), &[], "none.nii");
    expect(&plain, &plain.image, &["--device", "null"], "computes nothing");
    expect(&plain, &plain.image, &["--picture", "p.jpg"], "a name ending in .png expected");
    expect(&plain, &plain.image, &["--probabilities", "p.txt"], "a name ending in .nii");
    expect(&plain, &plain.image, &["--probabilities", "nowhere/p.nii"], "there is no directory nowhere");
    ok(&predict(&plain, &holes, &["--nan-to-num"]));
    assert!(plain.seg.exists());
}

#[test]
fn scores_that_are_not_finite_are_no_segmentation() {
    let mut case = case(&model(), "wild");
    // Voxels further than one standard deviation from the mean leave float32.
    case.bundle = sample::bundle(&case.root, &model(), [f32::MAX, 1.0], B);
    let output = predict(&case, &case.image, &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("scores of a patch are not finite"), "{said}");
    assert!(!case.seg.exists());
}

/// A folder with the case's image under several names.
fn folder(case: &Case, names: &[&str]) -> PathBuf {
    let folder = case.root.join("images");
    std::fs::create_dir(&folder).unwrap();
    for name in names {
        std::fs::copy(&case.image, folder.join(name)).unwrap();
    }
    folder
}

fn predict_folder(case: &Case, folder: &Path, more: &[&str]) -> Output {
    Process::new(env!("CARGO_BIN_EXE_mnx"))
        .arg("predict")
        .arg(&case.bundle)
        .arg("-i")
        .arg(folder)
        .args(["-o", "out"])
        .args(more)
        .current_dir(&case.root)
        .output()
        .unwrap()
}

#[test]
fn a_folder_is_segmented_case_by_case() {
    let case = case(&model(), "folder");
    let images = folder(&case, &["a_0000.nii.gz", "b_1_0000.nii.gz", "c_0000.nii.gz", "d_0001.nii.gz", "other.nii.gz"]);
    std::fs::write(images.join("broken_0000.nii"), "not a volume").unwrap();
    std::fs::write(images.join("notes.txt"), "no image").unwrap();
    // What a Mac and an interrupted copy leave.
    std::fs::write(images.join("._a_0000.nii.gz"), "no image").unwrap();
    std::fs::write(images.join(".e_0000.nii.gz"), "half an image").unwrap();
    let output = predict_folder(&case, &images, &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("2 of 5 cases failed") && said.contains("broken: ") && said.contains("not a NIfTI file"), "{said}");
    assert!(said.contains("d: channel 0000 is missing") && said.contains("1 NIfTI files without a channel"), "{said}");
    // Progress counts the cases that the report at the end counts.
    assert!(said.contains("1 of 5 cases: d failed\n") && said.contains("5 of 5 cases: c done") && !said.contains("of 4"), "{said}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = json["cases"].as_array().unwrap().iter().map(|c| c["case"].as_str().unwrap()).collect();
    assert_eq!((names, json["failed"].as_array().unwrap().len()), (vec!["a", "b_1", "c"], 2));
    let out = case.root.join("out");
    let listed = |dir: &Path| {
        let mut names: Vec<String> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(listed(&out), ["a.nii.gz", "b_1.nii.gz", "c.nii.gz"]);
    // Each is what the case alone gives.
    ok(&predict(&case, &case.image, &[]));
    let alone = std::fs::read(&case.seg).unwrap();
    for name in ["a", "b_1", "c"] {
        assert!(std::fs::read(out.join(format!("{name}.nii.gz"))).unwrap() == alone, "{name}");
    }

    // Going on: what is there stays untouched, what is missing is made.
    std::fs::write(out.join("a.nii.gz"), "mine").unwrap();
    std::fs::remove_file(out.join("c.nii.gz")).unwrap();
    std::fs::remove_file(images.join("broken_0000.nii")).unwrap();
    std::fs::remove_file(images.join("d_0001.nii.gz")).unwrap();
    let output = predict_folder(&case, &images, &["--continue"]);
    let said = ok(&output);
    assert!(said.contains("2 there already") && said.contains("1 cases"), "{said}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("2 of 3 cases: 2 there already\n") && said.contains("3 of 3 cases: c done"), "{said}");
    assert_eq!(std::fs::read(out.join("a.nii.gz")).unwrap(), b"mine");
    assert!(std::fs::read(out.join("c.nii.gz")).unwrap() == alone);
    // With probabilities asked for, a case without them is not done.
    ok(&predict_folder(&case, &images, &["--continue", "--save-probabilities", "--quiet"]));
    assert_eq!(listed(&out).len(), 9);
    assert!(std::fs::read(out.join("a.nii.gz")).unwrap() == alone);
}

#[test]
fn folders_that_cannot_be_segmented_are_refused() {
    let case = case(&model(), "no folder");
    let images = folder(&case, &["image.nii.gz"]);
    let expect = |more: &[&str], reason: &str| {
        let output = predict_folder(&case, &images, more);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason) && !case.root.join("out").is_dir(), "{reason:?} not in {said:?}");
    };
    expect(&[], "no cases");
    expect(&["--picture", "p.png"], "--save-probabilities");
    expect(&["-i", "image.nii.gz"], "must be the only input");
    std::fs::copy(&case.image, images.join("a_0000.nii.gz")).unwrap();
    std::fs::write(case.root.join("out"), "a file").unwrap();
    expect(&[], "a folder expected");
    std::fs::remove_file(case.root.join("out")).unwrap();
    // A case whose segmentation would be another's image.
    std::fs::copy(&case.image, images.join("a_0000_0000.nii.gz")).unwrap();
    let before = std::fs::read(images.join("a_0000.nii.gz")).unwrap();
    let output = predict_folder(&case, &images, &["-o", "images"]);
    assert_eq!(output.status.code(), Some(2), "one output only");
    let output = Process::new(env!("CARGO_BIN_EXE_mnx"))
        .arg("predict")
        .arg(&case.bundle)
        .args(["-i", "images", "-o", "images"])
        .current_dir(&case.root)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("would overwrite an input") && images.join("a.nii.gz").is_file(), "{said}");
    assert!(std::fs::read(images.join("a_0000.nii.gz")).unwrap() == before);
}

#[test]
fn the_bundle_s_inference_is_followed() {
    // The two outputs as regions: whichever is above one half paints, the second over the first.
    let mut m = model();
    m.inference = Some(Inference {
        activation: Activation::Sigmoid,
        average: Average::Probabilities,
        gaussian: Gaussian::NnunetV1,
        class_order: vec![5, 9],
        mirror_axes: Some(vec![2]),
        ..Inference::default()
    });
    let regions = case(&m, "regions");
    let output = predict(&regions, &regions.image, &["--tta", "--json"]);
    let json: Value = serde_json::from_str(&ok(&output)).unwrap();
    assert_eq!(json["mirrorings"], 2);
    let image = voxels("regions", 1);
    let n = image.len() as f64;
    let mean = image.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let sd = (image.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let seg = read(&regions.seg, &ReadOptions::default()).unwrap().to_labels().unwrap();
    let mut seen = std::collections::BTreeMap::new();
    for (v, got) in image.iter().zip(&seg) {
        // The network's logits are clamped at 0, so a region is there where they are above it.
        let z = (f64::from(*v) - mean) / sd;
        let logit = |c: usize| f64::from(W[c]) * z + f64::from(B[c]);
        if logit(0).abs() < 1e-4 || logit(1).abs() < 1e-4 {
            continue;
        }
        let want = if logit(1) > 0.0 { 9 } else { 5 * u16::from(logit(0) > 0.0) };
        assert_eq!(*got, want, "{z}");
        *seen.entry(want).or_insert(0) += 1;
    }
    assert!(seen.len() == 2 && seen.values().all(|n| *n > 50), "{seen:?}");

    // Largest component: of noise, almost nothing is left.
    let mut m = model();
    let rule = Postprocess { labels: vec![1], connectivity: Connectivity::Faces, min_size: None };
    m.inference = Some(Inference { mirror_axes: Some(vec![]), postprocess: vec![rule], ..Inference::default() });
    let cleaned = case(&m, "plain");
    let output = predict(&cleaned, &cleaned.image, &["--tta"]);
    ok(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--tta has no effect"));
    let got = read(&cleaned.seg, &ReadOptions::default()).unwrap().to_labels().unwrap();
    let before = case(&model(), "plain");
    ok(&predict(&before, &before.image, &[]));
    let all = read(&before.seg, &ReadOptions::default()).unwrap().to_labels().unwrap();
    let count = |l: &[u16]| l.iter().filter(|v| **v == 1).count();
    assert!(count(&got) > 0 && count(&got) < count(&all), "{} {}", count(&got), count(&all));
    assert!(got.iter().zip(&all).all(|(g, a)| g == a || (*g, *a) == (0, 1)));
}

#[test]
fn saved_probabilities_are_nnunet_s() {
    let bytes_of = |path: &Path, entry: &str| {
        let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
        let mut bytes = Vec::new();
        archive.by_name(entry).unwrap().read_to_end(&mut bytes).unwrap();
        let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        (String::from_utf8(bytes[10..header].to_vec()).unwrap(), bytes[header..].to_vec())
    };
    let two = case(&model(), "saved");
    ok(&predict(&two, &two.image, &["--save-probabilities", "--probabilities", "p.nii.gz"]));
    let (head, data) = bytes_of(&two.root.join("seg.npz"), "probabilities.npy");
    assert!(head.contains("'<f4'") && head.contains("(2, 7, 9, 17)"), "{head}");
    let volume = read(&two.root.join("p.nii.gz"), &ReadOptions::default()).unwrap();
    let saved: Vec<f32> = data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(saved, volume.data);
    let pickle = std::fs::read(two.root.join("seg.pkl")).unwrap();
    let holds = |pickle: &[u8], text: &str| pickle.windows(text.len()).any(|w| w == text.as_bytes());
    for key in ["sitk_stuff", "spacing", "shape_before_cropping", "bbox_used_for_cropping"] {
        assert!(holds(&pickle, key), "{key}");
    }

    // Version 1: float16 over the crop.
    let mut m = model();
    m.preprocess = Some(Preprocess { crop_to_nonzero: true, ..Preprocess::default() });
    m.inference = Some(Inference { probabilities: ProbabilityFile::NnunetV1, average: Average::Probabilities, ..Inference::default() });
    let one = case(&m, "saved");
    let mut image = voxels("saved", 1);
    for (i, v) in image.iter_mut().enumerate() {
        if i / (9 * 17) < 2 || i % 17 == 16 {
            *v = 0.0;
        }
    }
    write_f32(&one.image, &image, 1, &Header::new(SHAPE, affine()).unwrap()).unwrap();
    ok(&predict(&one, &one.image, &["--save-probabilities"]));
    let (head, data) = bytes_of(&one.root.join("seg.npz"), "softmax.npy");
    assert!(head.contains("'<f2'") && head.contains("(2, 5, 9, 16)"), "{head}");
    assert_eq!(data.len(), 2 * 5 * 9 * 16 * 2);
    let pickle = std::fs::read(one.root.join("seg.pkl")).unwrap();
    assert!(holds(&pickle, "crop_bbox") && holds(&pickle, "itk_origin"));
}

#[test]
fn folds_are_averaged_as_the_bundle_says() {
    let second = ([-0.75f32, 1.25], [0.5f32, -0.25]);
    let image = voxels("folds", 1);
    let n = image.len();
    let mean = image.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
    let sd = (image.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
    let logits = |(w, b): ([f32; 2], [f32; 2]), z: f64| [0, 1].map(|c| (f64::from(w[c]) * z + f64::from(b[c])).max(0.0));
    let soft = |l: [f64; 2]| 1.0 / (1.0 + (l[0] - l[1]).exp());
    for (average, gaussian, tolerance) in [
        (Average::Logits, Gaussian::Peak10, 1e-5),
        (Average::Probabilities, Gaussian::NnunetV1, 1e-5),
        (Average::Logits, Gaussian::NnunetV2, 2e-3),
    ] {
        let mut m = model();
        m.folds = ["0", "3"].map(|name| Fold { name: name.into() }).into();
        m.inference = Some(Inference { average, gaussian, ..Inference::default() });
        let case = case(&model(), "folds");
        let code = sample::compile(&case.root, sample::SOURCE);
        let weights = [sample::weight_bytes(W, B), sample::weight_bytes(second.0, second.1)];
        let mut writer = BundleWriter::new(&m).weights(&weights[0]).weights(&weights[1]);
        for _ in &m.programs {
            writer = writer.code(&code);
        }
        writer.write(&case.bundle).unwrap();
        let said = ok(&predict(&case, &case.image, &["--probabilities", "p.nii.gz"]));
        assert!(said.contains("2 folds"), "{said}");
        let p = read(&case.root.join("p.nii.gz"), &ReadOptions::default()).unwrap();
        for (i, v) in image.iter().enumerate() {
            let z = (f64::from(*v) - mean) / sd;
            let (a, b) = (logits((W, B), z), logits(second, z));
            let want = match average {
                Average::Logits => soft([0, 1].map(|c| (a[c] + b[c]) / 2.0)),
                Average::Probabilities => (soft(a) + soft(b)) / 2.0,
            };
            let got = f64::from(p.data[n + i]);
            assert!((got - want).abs() <= tolerance, "{average:?} {gaussian:?} voxel {i}: {got} {want}");
        }
    }
}
