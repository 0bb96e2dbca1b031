//! The command line as scripts see it: exit codes, output, and nothing written when something is wrong.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

#[path = "../../runtime/tests/sample/mod.rs"]
mod sample;

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use mnx_artifact::{Bundle, Manifest, TestVectors};
use mnx_weights::{Checkpoint, Tensor, det_input};
use sample::{PATCH, VOXELS, expected, input, manifest, program};
use serde_json::Value;

const W: [f32; 2] = [1.5, -0.75];
const B: [f32; 2] = [0.125, 0.25];

fn mnx(args: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let mut process = Process::new(env!("CARGO_BIN_EXE_mnx"));
    for arg in args {
        process.arg(arg);
    }
    process.output().unwrap()
}

macro_rules! mnx {
    ($($arg:expr),* $(,)?) => { mnx(&[$(&$arg),*]) };
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Expects success.
fn ok(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    out(&output)
}

/// Expects exit code 1 and this in the message.
fn refused(output: Output, reason: &str) {
    let message = err(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(reason), "{reason:?} not in {message:?}");
    assert!(out(&output).is_empty(), "{}", out(&output));
}

fn sound() -> Manifest {
    manifest(vec![program("x86-64-v9", &["avx9000"]), program("x86-64-v3", &["sse2"])])
}

fn bundle(dir: &Path) -> PathBuf {
    sample::bundle(dir, &sound(), W, B)
}

fn save(path: &Path, entries: &[(&str, Tensor)]) {
    let ckpt: Checkpoint = entries.iter().map(|(k, t)| ((*k).to_owned(), t.clone())).collect();
    ckpt.save(path).unwrap();
}

fn input_tensor(name: &str) -> Tensor {
    Tensor::new([&[1, 1][..], &PATCH].concat(), input(name))
}

#[test]
fn run_writes_every_output_with_its_type() {
    let dir = tempfile::tempdir().unwrap();
    let (m, x) = (bundle(dir.path()), dir.path().join("x.safetensors"));
    save(&x, &[("input", input_tensor("run"))]);
    let mut files = Vec::new();
    for threads in ["1", "2"] {
        let y = dir.path().join(format!("y{threads}.safetensors"));
        let said = ok(mnx!["run", m, "--input", x, "--output", y, "--threads", threads]);
        assert!(said.contains("x86-64-v3") && said.contains("out_0 1x2x3x5x7"), "{said}");
        files.push(std::fs::read(&y).unwrap());
    }
    assert_eq!(files[0], files[1]);
    let tensors = safetensors::SafeTensors::deserialize(&files[0]).unwrap();
    let (y, counts) = expected(&input("run"), W, B);
    assert_eq!(tensors.tensor("out_0").unwrap().data(), bytemuck::cast_slice::<f32, u8>(&y));
    assert_eq!(tensors.tensor("out_0").unwrap().shape(), [1, 2, 3, 5, 7]);
    assert_eq!(tensors.tensor("out_1").unwrap().data(), bytemuck::cast_slice::<i32, u8>(&counts));
    assert_eq!(tensors.tensor("out_1").unwrap().dtype(), safetensors::Dtype::I32);
    let y = dir.path().join("q.safetensors");
    assert_eq!(ok(mnx!["run", m, "-i", x, "-o", y, "--quiet"]), "");
}

#[test]
fn run_refuses_with_the_reason_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (m, x, y) = (bundle(dir.path()), dir.path().join("x.safetensors"), dir.path().join("y.safetensors"));
    save(&x, &[("input", input_tensor("x"))]);
    let other = dir.path().join("other.safetensors");
    save(&other, &[("image", input_tensor("x"))]);
    let wrong = dir.path().join("wrong.safetensors");
    save(&wrong, &[("input", Tensor::zeros(vec![1, 1, 3, 5, 8]))]);
    let damaged = dir.path().join("damaged.mnxa");
    let mut bytes = std::fs::read(&m).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&damaged, &bytes).unwrap();
    let cut = dir.path().join("cut.mnxa");
    std::fs::write(&cut, &bytes[..middle]).unwrap();

    refused(mnx!["run", m, "-i", dir.path().join("none"), "-o", y], "none");
    refused(mnx!["run", dir.path().join("none.mnxa"), "-i", x, "-o", y], "none.mnxa");
    refused(mnx!["run", m, "-i", other, "-o", y], "no tensor \"input\" ([1, 1, 3, 5, 7]); the file has image");
    refused(mnx!["run", m, "-i", wrong, "-o", y], "[1, 1, 3, 5, 8], the bundle was compiled for [1, 1, 3, 5, 7]");
    refused(mnx!["run", damaged, "-i", x, "-o", y], "digest mismatch");
    refused(mnx!["run", cut, "-i", x, "-o", y], "truncated");
    refused(mnx!["run", x, "-i", x, "-o", y], "not a bundle");
    refused(mnx!["run", m, "-i", m, "-o", y], "safetensors");
    refused(mnx!["run", m, "-i", x, "-o", x], "would overwrite an input");
    refused(mnx!["run", m, "-i", x, "-o", dir.path().join("no/y.safetensors")], "there is no directory");
    refused(mnx!["run", m, "-i", x, "-o", y, "--isa", "x86-64-v9"], "needs avx9000, which this CPU lacks");
    refused(mnx!["run", m, "-i", x, "-o", y, "--isa", "x86-64-v7"], "it has x86-64-v9, x86-64-v3");
    assert!(!y.exists());
    assert!(std::fs::read_dir(dir.path()).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().starts_with('.')));
}

#[test]
fn wrong_usage_is_exit_code_two_and_help_has_examples() {
    let dir = tempfile::tempdir().unwrap();
    let m = bundle(dir.path());
    for output in [
        mnx![],
        mnx!["frobnicate"],
        mnx!["run", m],
        mnx!["bench", m, "--threads", "0"],
        mnx!["bench", m, "--threads", "two"],
        mnx!["bench", m, "--runs", "0"],
        mnx!["bench", m, "--device", "abacus"],
        mnx!["predict", m, "-i", "a.nii", "-o", "b.nii", "--overlap", "1.5"],
        mnx!["completions", "ed"],
    ] {
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    }
    for command in ["run", "predict", "bench", "inspect", "devices", "record", "refit", "verify", "explain-error", "completions"] {
        let help = ok(mnx![command, "-h"]);
        assert!(help.contains("Example") && help.contains(&format!("mnx {command}")), "{help}");
    }
    assert!(ok(mnx!["completions", "bash"]).contains("_mnx"));
    assert!(ok(mnx!["--version"]).starts_with("mnx "));
}

#[test]
fn bench_json_stands_alone_on_stdout() {
    let dir = tempfile::tempdir().unwrap();
    let m = bundle(dir.path());
    let json: Value = serde_json::from_str(&ok(mnx!["bench", m, "--runs", "3", "--threads", "2", "--json", "-"])).unwrap();
    for key in ["median_s", "min_s", "max_s", "peak_bytes", "gflops", "bytes", "percent_of_roofline", "arena_bytes", "weights_bytes"] {
        assert!(json[key].as_f64().unwrap() > 0.0, "{key}: {json}");
    }
    assert_eq!((json["threads"].as_u64(), json["isa"].as_str()), (Some(2), Some("x86-64-v3")));
    assert!(json["min_s"].as_f64() <= json["median_s"].as_f64() && json["median_s"].as_f64() <= json["max_s"].as_f64());
    let dispatches = json["dispatches"].as_array().unwrap();
    let names: Vec<&str> = dispatches.iter().map(|d| d["dispatch"].as_str().unwrap()).collect();
    assert_eq!(names, ["(fill)", "block", "(copy)", "head"]);
    for key in ["median_s", "min_s", "max_s", "gflops", "bytes", "percent"] {
        assert!(dispatches[1][key].as_f64().unwrap() > 0.0, "{key}: {json}");
    }
    assert_eq!(dispatches[1]["kernel"], "affine");

    let file = dir.path().join("b.json");
    let said = ok(mnx!["bench", m, "--runs", "2", "--per-dispatch", "--json", file]);
    assert!(said.contains("median") && said.contains("block") && said.contains("peak memory"), "{said}");
    assert!(serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap()["runs"] == 2);
    let null: Value = serde_json::from_str(&ok(mnx!["bench", m, "--runs", "2", "--device", "null", "--json", "-"])).unwrap();
    assert!(null["gflops"].is_null() && null["device"] == "null");
}

#[test]
fn a_paced_bench_answers_every_line_before_the_next() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    let dir = tempfile::tempdir().unwrap();
    let m = bundle(dir.path());
    let mut child = Process::new(env!("CARGO_BIN_EXE_mnx"))
        .args(["bench", "--paced", "--threads", "2"])
        .arg(&m)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ask = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..3 {
        ask.write_all(b"\n").unwrap();
        // The answer comes while the input is still open: no buffer holds it back.
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        let seconds: f64 = answer.trim_end().parse().unwrap();
        assert!(seconds > 0.0 && seconds.is_finite(), "{answer}");
    }
    drop(ask);
    let mut rest = String::new();
    assert_eq!(answers.read_line(&mut rest).unwrap(), 0, "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(0));

    for more in ["--per-dispatch", "--json=-", "--runs=2"] {
        assert_eq!(mnx!["bench", "--paced", more, m].status.code(), Some(2));
    }
    refused(mnx!["bench", "--paced", dir.path().join("none.mnxa")], "none.mnxa");
}

#[test]
fn inspect_shows_the_manifest_and_refuses_damage() {
    let dir = tempfile::tempdir().unwrap();
    let m = bundle(dir.path());
    let text = ok(mnx!["inspect", m]);
    for word in ["affine", "x86-64-v3", "weights", "code 0", "patch 3x5x7", "blake3", "vectors     none"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let json: Manifest = serde_json::from_str(&ok(mnx!["inspect", m, "--json"])).unwrap();
    assert_eq!(json, sound());
    let mut bytes = std::fs::read(&m).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&m, &bytes).unwrap();
    refused(mnx!["inspect", m], "section \"weights\": digest mismatch");
}

#[test]
fn refit_equals_compiling_with_the_new_weights() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let m = bundle(dir.path());
    let (w, b) = ([-0.5, 2.0], [1.0, -0.25]);
    let (new, weights) = (dir.path().join("new.mnxa"), dir.path().join("w.safetensors"));
    let pair = |v: [f32; 2]| Tensor::new(vec![2], v.to_vec());
    save(&weights, &[("unused", Tensor::zeros(vec![3])), ("b", pair(b)), ("w", pair(w))]);
    let said = ok(mnx!["refit", m, "--weights", weights, "-o", new]);
    assert!(said.contains("2 weights from 2 tensors") && said.contains("1 tensor of the file is not used"), "{said}");
    let compiled = sample::bundle(other.path(), &sound(), w, b);
    let (refitted, compiled) = (Bundle::open(&new).unwrap(), Bundle::open(&compiled).unwrap());
    assert_eq!(refitted.read_weights(0).unwrap(), compiled.read_weights(0).unwrap());
    assert_eq!(refitted.manifest(), compiled.manifest());
    // In place, and with the same weights: the same file.
    let before = std::fs::read(&new).unwrap();
    ok(mnx!["refit", new, "-w", weights, "-o", new]);
    assert_eq!(std::fs::read(&new).unwrap(), before);

    let bad = dir.path().join("bad.safetensors");
    save(&bad, &[("w", Tensor::zeros(vec![3]))]);
    let none = dir.path().join("none.mnxa");
    let output = mnx!["refit", m, "--weights", bad, "-o", none];
    assert!(err(&output).contains("\"w\" has shape [3], the network needs [2]"), "{}", err(&output));
    refused(output, "tensor \"b\" is missing");
    save(&bad, &[("w", pair([f32::NAN, 0.0])), ("b", pair(b))]);
    refused(mnx!["refit", m, "--weights", bad, "-o", none], "weight \"w\": 1 of 2 values");
    assert!(!none.exists());
}

#[test]
fn verify_passes_fails_and_says_when_there_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    refused(mnx!["verify", bundle(dir.path())], "no test vectors");
    let x = det_input("vectors", &[1, 1, 3, 5, 7]);
    let (y, counts) = expected(&x.data, W, B);
    let mut m = sound();
    m.vectors = Some(TestVectors {
        input_name: "vectors".into(),
        outputs: vec![
            (0..2 * VOXELS).step_by(11).map(|i| (i as u64, f64::from(y[i]))).collect(),
            (0..VOXELS).step_by(7).map(|i| (i as u64, f64::from(counts[i]))).collect(),
        ],
        maxima: vec![y.iter().fold(0.0, |m, v| v.abs().max(m)).into(), 2.0],
        tolerance: 1e-5,
    });
    let path = sample::bundle(dir.path(), &m, W, B);
    let said = ok(mnx!["verify", path]);
    assert!(said.contains("out_0") && said.contains("out_1") && said.contains("ok"), "{said}");
    let json: Value = serde_json::from_str(&ok(mnx!["verify", path, "--json", "--threads", "3"])).unwrap();
    assert_eq!((json["pass"].as_bool(), json["outputs"].as_array().unwrap().len()), (Some(true), 2));
    refused(mnx!["verify", path, "--device", "null"], "computes nothing");

    let path = sample::bundle(dir.path(), &m, [1.5, -0.7], B);
    refused(mnx!["verify", path, "--quiet"], "out_0: error");
    let path = sample::bundle(dir.path(), &m, [f32::NAN, -0.75], B);
    assert_eq!(mnx!["verify", path].status.code(), Some(1));

    // Refit drops them and says so.
    let path = sample::bundle(dir.path(), &m, W, B);
    let (weights, new) = (dir.path().join("w.safetensors"), dir.path().join("n.mnxa"));
    save(&weights, &[("w", Tensor::new(vec![2], W.to_vec())), ("b", Tensor::new(vec![2], B.to_vec()))]);
    assert!(ok(mnx!["refit", path, "-w", weights, "-o", new]).contains("test vectors dropped"));
    assert!(Bundle::open(&new).unwrap().manifest().vectors.is_none());
}

#[test]
fn a_crash_of_compiled_code_names_the_kernel_and_the_replay() {
    let dir = tempfile::tempdir().unwrap();
    let m = sound();
    // The first kernel reads address 8, on whichever thread takes its last workgroup.
    let code = sample::compile(
        dir.path(),
        "void affine(const void *const *b, unsigned long w, void *s) { if (w == 29) *(volatile int *)8 = 1; } void count(){}",
    );
    let (path, x) = (dir.path().join("crash it.mnxa"), dir.path().join("x.safetensors"));
    let weights = sample::weight_bytes(W, B);
    mnx_artifact::BundleWriter::new(&m).code(&code).code(&code).weights(&weights).write(&path).unwrap();
    save(&x, &[("input", input_tensor("x"))]);
    for threads in ["1", "3"] {
        let y = dir.path().join("y.safetensors");
        let output = mnx!["run", path, "-i", x, "-o", y, "--threads", threads];
        let said = err(&output);
        assert_eq!(output.status.code(), Some(101), "{said}");
        // Three threads are one too many on a small machine, which is said first.
        let lines: Vec<&str> = said.lines().filter(|l| !l.starts_with("warning: --threads")).collect();
        assert_eq!(lines[0], "internal error: bad memory access in kernel affine");
        assert!(
            lines[1].starts_with("  note: this is a bug in mnx ") && lines[1].ends_with(", not in your input; please report it"),
            "{said}"
        );
        assert!(lines[2].starts_with("  note: replay: cd ") && lines[2].contains("crash it.mnxa' -i") && lines.len() == 3, "{said}");
        assert!(!y.exists());
    }
}

/// A bundle whose way from volume to segmentation uses every word that `inspect` has.
#[test]
fn inspect_speaks_as_the_config_does() {
    use mnx_artifact::{Inference, Normalization, Postprocess, Preprocess, Reader, Windows};
    let dir = tempfile::tempdir().unwrap();
    let mut m = sound();
    m.channels = vec!["CT".into()];
    m.preprocess = Some(Preprocess {
        spacing: Some(vec![3.5, 1.1, 1.1]),
        orientation: Some("RAS".into()),
        reader: Some(Reader::NibabelReorient),
        transpose: [2, 1, 0],
        normalization: vec![Normalization::Ct { low: 98.0, high: 200.5, mean: 99.25, std: 3.5, masked: false }],
        crop_to_nonzero: true,
        ..Preprocess::default()
    });
    m.inference = Some(Inference {
        windows: Windows::Monai,
        mirror_axes: Some(vec![0, 2]),
        ignore: Some(9),
        postprocess: vec![Postprocess { labels: vec![1, 2], connectivity: mnx_artifact::Connectivity::Faces, min_size: Some(12.5) }],
        ..Inference::default()
    });
    let said = ok(mnx!["inspect", sample::bundle(dir.path(), &m, W, B)]);
    for line in [
        "3-D, 1 channel in, 2 classes, logits out\n",
        "channels    0 CT\n",
        "preprocess  spacing 3.5, 1.1, 1.1 mm, orientation RAS, files read as nibabel-reorient does, ",
        "does, axes transposed 2, 1, 0, cropped to what is not zero\n",
        "intensities ct (low = 98, high = 200.5, mean = 99.25, std = 3.5), then resampled\n",
        "windows monai, gaussian peak10, logits averaged, mirroring along axes 0 and 2\n",
        "softmax, label 9 was left out in training\n",
        "then components below 12.5 mm3 of labels 1, 2 removed (voxels touch by faces)\n",
    ] {
        assert!(said.contains(line), "{line:?} not in\n{said}");
    }
    let plain = ok(mnx!["inspect", bundle(dir.path())]);
    assert!(plain.contains("intensities zscore, then resampled") && plain.contains("mirroring along all axes"), "{plain}");
    // Rust's own way of writing values has braces, or names in capitals within words.
    for text in [said, plain] {
        for leak in ["{ ", "ZScore", "Peak10", "Some(", "Softmax", "Faces"] {
            assert!(!text.contains(leak), "{leak}: {text}");
        }
    }
}

#[test]
fn a_named_channel_is_named_where_an_input_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = sound();
    m.channels = vec!["FLAIR".into()];
    let m = sample::bundle(dir.path(), &m, W, B);
    let (x, y) = (dir.path().join("x.safetensors"), dir.path().join("y.safetensors"));
    save(&x, &[("input", Tensor::zeros(vec![1, 1, 3, 5, 8]))]);
    refused(mnx!["run", m, "-i", x, "-o", y], "the bundle was compiled for [1, 1, 3, 5, 7], channels 0 FLAIR");
    save(&x, &[("image", input_tensor("x"))]);
    refused(mnx!["run", m, "-i", x, "-o", y], "no tensor \"input\" ([1, 1, 3, 5, 7], channels 0 FLAIR); the file has image");
}

#[test]
fn errors_have_one_face() {
    let dir = tempfile::tempdir().unwrap();
    let (m, none, y) = (bundle(dir.path()), dir.path().join("none.mnxa"), dir.path().join("y.safetensors"));
    let said = err(&mnx!["inspect", none]);
    assert_eq!(said, format!("error[bundle-0101]: {}: no such file or directory\n", none.display()));
    let said = err(&mnx!["run", m, "-i", none, "-o", y]);
    assert_eq!(said, format!("error[weights-0100]: {}: no such file or directory\n", none.display()));
    let bad = dir.path().join("bad.safetensors");
    save(&bad, &[("w", Tensor::zeros(vec![3]))]);
    let said = err(&mnx!["refit", m, "-w", bad, "-o", none]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("error[weights-0102]: {}: 2 tensors do not fit the network", bad.display()));
    assert!(lines.len() == 3 && lines[1..].iter().all(|l| l.starts_with("  note: tensor \"")), "{said}");
}

#[test]
fn error_codes_are_explained() {
    let said = ok(mnx!["explain-error", "bundle-0102"]);
    assert!(said.starts_with("bundle-0102: the file is not a sound bundle\n\n") && said.ends_with(".\n"), "{said}");
    let all = ok(mnx!["explain-error"]);
    assert!(all.lines().count() > 60 && all.contains("volume-0102 "), "{all}");
    refused(
        mnx!["explain-error", "bundel-0102"],
        "error[mnx-0110]: explain-error: bundel-0102: there is no such code; did you mean bundle-0102?",
    );
}
