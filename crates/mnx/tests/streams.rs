//! The exit code is the verdict, whoever reads: every command with streams closed, full and gone.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

#[path = "../../runtime/tests/sample/mod.rs"]
mod sample;
#[path = "../../console/tests/streams/mod.rs"]
mod streams;

use std::path::Path;

use mnx_artifact::TestVectors;
use mnx_volume::{Header, write_f32, write_labels};
use mnx_weights::{Checkpoint, Tensor, det, det_input};
use sample::{PATCH, VOXELS, expected, input, manifest, program};
use streams::{Line, check, line};

const W: [f32; 2] = [1.5, -0.5];
const B: [f32; 2] = [0.125, 0.325];
const SHAPE: [usize; 3] = [5, 6, 7];

/// Bundles, sound and not; a tensor; an image; folders of cases, one of them unreadable.
fn fill(dir: &Path) {
    let at = |name: &str| dir.join(name);
    let mut m = manifest(vec![program("x86-64-v3", &["sse2"])]);
    let (y, counts) = expected(&det_input("streams", &[&[1, 1][..], &PATCH].concat()).data, W, B);
    let samples = |v: &dyn Fn(usize) -> f64| [0, 7, VOXELS - 1].iter().map(|&i| (i as u64, v(i))).collect::<Vec<_>>();
    let vectors = |shift: f64| TestVectors {
        input_name: "streams".into(),
        tolerance: 1e-4,
        outputs: vec![samples(&|i| f64::from(y[i]) + shift), samples(&|i| f64::from(counts[i]))],
        maxima: vec![4.0, 2.0],
    };
    for (name, shift) in [("m.mnxa", 0.0), ("wrong.mnxa", 0.5)] {
        m.vectors = Some(vectors(shift));
        std::fs::rename(sample::bundle(dir, &m, W, B), at(name)).unwrap();
    }
    let mut damaged = std::fs::read(at("m.mnxa")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(at("damaged.mnxa"), damaged).unwrap();

    let tensor = Tensor::new([&[1, 1][..], &PATCH].concat(), input("x"));
    [("input".to_owned(), tensor)].into_iter().collect::<Checkpoint>().save(at("x.safetensors")).unwrap();
    let header = Header::new(SHAPE, [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]]).unwrap();
    let voxels: Vec<f32> = det("streams", SHAPE.iter().product()).map(|v| v as f32).collect();
    let labels: Vec<u16> = voxels.iter().map(|v| u16::from(*v > 0.0)).collect();
    for folder in ["cases", "mixed", "pred", "ref", "more"] {
        std::fs::create_dir(at(folder)).unwrap();
    }
    for name in ["image.nii.gz", "cases/a_0000.nii.gz", "cases/b_0000.nii.gz", "mixed/a_0000.nii.gz"] {
        write_f32(&at(name), &voxels, 1, &header).unwrap();
    }
    std::fs::write(at("mixed/b_0000.nii.gz"), "no image").unwrap();
    for name in ["pred/a.nii.gz", "ref/a.nii.gz", "more/a.nii.gz", "more/b.nii.gz"] {
        write_labels(&at(name), &labels, &header).unwrap();
    }
}

#[test]
fn the_exit_code_is_the_verdict_whoever_reads() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let lines: Vec<Line> = vec![
        line(0, "--help"),
        line(0, "predict --help"),
        line(0, "--version"),
        line(2, ""),
        line(2, "bench"),
        line(2, "verify m.mnxa --nonsense"),
        line(2, "-q -v devices"),
        line(1, "devices --log none/log"),
        line(0, "completions bash"),
        line(0, "devices"),
        line(0, "devices --json"),
        line(0, "inspect m.mnxa"),
        line(0, "-vvv inspect m.mnxa --json --log log"),
        line(1, "inspect damaged.mnxa"),
        line(1, "inspect none.mnxa"),
        line(0, "verify m.mnxa"),
        line(0, "verify -v m.mnxa"),
        line(0, "verify m.mnxa --json"),
        line(1, "verify wrong.mnxa"),
        line(1, "verify wrong.mnxa --json"),
        line(1, "verify damaged.mnxa"),
        line(0, "run m.mnxa -i x.safetensors -o y.safetensors"),
        line(1, "run m.mnxa -i none.safetensors -o y.safetensors"),
        line(0, "bench m.mnxa --runs 1 --per-dispatch"),
        line(0, "bench m.mnxa --runs 1 --json -"),
        line(0, "bench m.mnxa --runs 1 --json b.json --trace-json t.json"),
        Line { stdin: "a\nb\nc\n", ..line(0, "bench m.mnxa --paced") },
        line(1, "bench damaged.mnxa"),
        line(1, "record m.mnxa -o r.safetensors"),
        line(1, "record damaged.mnxa -o r.safetensors"),
        line(0, "refit m.mnxa --formula other -o n.mnxa"),
        line(1, "refit m.mnxa --weights x.safetensors -o n.mnxa"),
        line(0, "predict m.mnxa -i image.nii.gz -o s.nii.gz"),
        line(0, "predict m.mnxa -i image.nii.gz -o s.nii.gz --json --picture p.png --save-probabilities"),
        line(1, "predict m.mnxa -i none.nii.gz -o s.nii.gz"),
        line(0, "predict m.mnxa -i cases -o out"),
        line(0, "predict m.mnxa -i cases -o out --json"),
        line(1, "predict m.mnxa -i mixed -o out"),
        line(1, "predict m.mnxa -i mixed -o out --json"),
        line(0, "evaluate --pred pred --ref ref"),
        line(0, "evaluate --pred pred --ref ref --json - --csv s.csv --md s.md"),
        line(1, "evaluate --pred pred --ref more"),
        line(1, "evaluate --pred pred --ref none"),
    ];
    check(env!("CARGO_BIN_EXE_mnx"), dir.path(), &lines);
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().starts_with(".mnx-")), "{left:?}");
    // Files that were written stay written.
    for name in ["y.safetensors", "n.mnxa", "s.nii.gz", "s.npz", "p.png", "out/a.nii.gz", "out/b.nii.gz", "s.csv"] {
        assert!(dir.path().join(name).is_file(), "{name}");
    }
}

#[test]
fn no_output_file_takes_the_place_of_a_closed_stream() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let refit = |name: &str, streams: &str| {
        let line = format!("exec \"$0\" -v refit m.mnxa --formula other --log {name}.log -o {name} {streams}");
        let status = std::process::Command::new("sh").args(["-c", &line, env!("CARGO_BIN_EXE_mnx")]).current_dir(dir.path()).status();
        assert_eq!(status.unwrap().code(), Some(0), "{streams}");
        std::fs::read(dir.path().join(name)).unwrap()
    };
    let wanted = refit("open.mnxa", ">/dev/null 2>&1");
    for (i, closed) in ["<&- >&- 2>&-", ">&- 2>&-", "<&- 2>&-", "2>&-"].into_iter().enumerate() {
        assert!(refit(&format!("{i}.mnxa"), closed) == wanted, "{closed}");
        let log = std::fs::read_to_string(dir.path().join(format!("{i}.mnxa.log"))).unwrap();
        assert!(log.lines().all(|l| l.as_bytes().get(10) == Some(&b'T')) && log.contains("bundle written"), "{log}");
    }
}
