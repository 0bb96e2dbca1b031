//! `mnx evaluate` as scripts see it: pairing, errors, contents of every output, exit codes.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

#[path = "../../runtime/tests/sample/mod.rs"]
mod sample;

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use mnx_artifact::{Activation, Inference, Label};
use mnx_volume::{Header, write_f32, write_labels};
use sample::{manifest, program};
use serde_json::Value;

/// One voxel is 6 cubic millimetres.
const SHAPE: [usize; 3] = [4, 6, 8];
const VOXEL_ML: f64 = 0.006;

fn affine() -> [[f64; 4]; 4] {
    [[-1.0, 0.0, 0.0, 5.0], [0.0, -2.0, 0.0, -7.0], [0.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
}

/// Rows of voxels along x in plane 1: label, row, columns.
fn painted(rows: &[(u16, usize, std::ops::Range<usize>)]) -> Vec<u16> {
    let mut out = vec![0; SHAPE.iter().product()];
    for (label, y, xs) in rows {
        for x in xs.clone() {
            out[(SHAPE[1] + y) * SHAPE[2] + x] = *label;
        }
    }
    out
}

struct Folders {
    root: tempfile::TempDir,
}

impl Folders {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for name in ["pred", "ref"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn put(&self, name: &str, labels: &[u16]) {
        write_labels(&self.path(name), labels, &Header::new(SHAPE, affine()).unwrap()).unwrap();
    }

    /// Both: class 1 half right, class 2 missed; only the second case: class 3, in the prediction alone.
    fn two_cases(&self) {
        self.put("pred/a.nii.gz", &painted(&[(1, 1, 0..4)]));
        self.put("ref/a.nii.gz", &painted(&[(1, 1, 2..6), (2, 4, 0..3)]));
        self.put("pred/b.nii.gz", &painted(&[(1, 1, 0..4), (3, 5, 0..1)]));
        self.put("ref/b.nii", &painted(&[(1, 1, 0..4)]));
    }

    fn run(&self, args: &[&str]) -> Output {
        Process::new(env!("CARGO_BIN_EXE_mnx")).arg("evaluate").args(args).current_dir(self.root.path()).output().unwrap()
    }

    fn folders(&self, more: &[&str]) -> Output {
        self.run(&[&["--pred", "pred", "--ref", "ref"], more].concat())
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn ok(output: Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    out(&output)
}

/// Expects exit code 1, these words in the message and nothing on standard output.
fn refused(output: Output, words: &[&str]) {
    let message = err(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} not in {message:?}");
    }
    assert!(out(&output).is_empty(), "{}", out(&output));
}

fn near(v: &Value, want: f64) {
    let v = v.as_f64().unwrap();
    assert!((v - want).abs() <= 1e-6 * (1.0 + want.abs()), "{v} {want}");
}

#[test]
fn folders_are_paired_by_name_and_every_output_agrees() {
    let f = Folders::new();
    f.two_cases();
    let said = ok(f.folders(&["--csv", "s.csv", "--md", "s.md", "--json", "s.json"]));

    let json = f.json("s.json");
    let cases = json["metric_per_case"].as_array().unwrap();
    assert_eq!(cases.iter().map(|c| c["case"].as_str().unwrap()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(cases[1]["prediction_file"], "pred/b.nii.gz");
    assert_eq!(cases[1]["reference_file"], "ref/b.nii");
    // Rows of 4 that share 2 voxels, shifted by 2 along x (1 mm): all within 1 mm but the outermost voxel of each.
    let one = &cases[0]["metrics"]["1"];
    near(&one["Dice"], 0.5);
    near(&one["IoU"], 1.0 / 3.0);
    for (key, n) in [("TP", 2), ("FP", 2), ("FN", 2), ("TN", 186), ("n_pred", 4), ("n_ref", 4)] {
        assert_eq!(one[key], n, "{key}");
    }
    near(&one["SurfaceDice"], 6.0 / 8.0);
    // Distances 2, 1, 0, 0: the 95th percentile lies at 2.85 of 3.
    near(&one["HD95"], 1.85);
    near(&one["volume_pred_ml"], 4.0 * VOXEL_ML);
    // Missed: scores of 0, no distance. In neither: no scores, counted for nothing.
    let two = &cases[0]["metrics"]["2"];
    assert_eq!((two["Dice"].as_f64(), two["SurfaceDice"].as_f64(), &two["HD95"]), (Some(0.0), Some(0.0), &Value::Null));
    near(&two["volume_ref_ml"], 3.0 * VOXEL_ML);
    let absent = &cases[1]["metrics"]["2"];
    assert_eq!(
        (&absent["Dice"], &absent["IoU"], &absent["SurfaceDice"], &absent["HD95"]),
        (&Value::Null, &Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(absent["TN"], 192);

    near(&json["mean"]["1"]["Dice"], 0.75);
    near(&json["mean"]["1"]["HD95"], 0.925);
    near(&json["mean"]["2"]["Dice"], 0.0);
    near(&json["mean"]["2"]["volume_ref_ml"], 1.5 * VOXEL_ML);
    assert_eq!((&json["mean"]["2"]["HD95"], &json["mean"]["2"]["HD95_unbounded"]), (&Value::Null, &Value::from(1)));
    near(&json["foreground_mean"]["Dice"], 0.25);
    near(&json["foreground_mean"]["HD95"], 0.925);
    assert_eq!(json["foreground_mean"]["HD95_unbounded"], 2);
    assert_eq!(json["failed"].as_array().unwrap().len(), 0);

    let csv: Vec<Vec<String>> = f.text("s.csv").lines().map(|l| l.split(',').map(str::to_owned).collect()).collect();
    let column = |name: &str| csv[0].iter().position(|c| c == name).unwrap();
    let row = |kind: &str, case: &str, class: &str| {
        let is = |r: &&Vec<String>| r[0] == kind && r[1] == case && r[2] == class;
        csv.iter().find(is).unwrap_or_else(|| panic!("{kind} {case} {class}")).clone()
    };
    assert_eq!(csv.len(), 1 + 6 + 3 + 1);
    assert!(csv.iter().all(|r| r.len() == csv[0].len()));
    assert_eq!(row("case", "a", "1")[column("dice")], "0.5");
    assert_eq!(row("case", "a", "1")[column("surface_dice")], "0.75");
    assert_eq!(row("case", "a", "1")[column("fp")], "2");
    assert_eq!(row("case", "a", "2")[column("hd95_mm")], "inf");
    assert_eq!(row("case", "b", "2")[column("dice")], "NaN");
    assert_eq!(row("class_mean", "", "1")[column("dice")], "0.75");
    assert_eq!(row("class_mean", "", "3")[column("hd95_unbounded")], "1");
    assert_eq!(row("foreground_mean", "", "")[column("dice")], "0.25");

    let md = f.text("s.md");
    for line in [
        "| 1 | 1 | 2 | 0.7500 | 0.6667 | 0.8750 | 0.925 | 0 | 0.024 | 0.024 |",
        "| mean |  |  | 0.2500 | 0.2222 | 0.2917 | 0.925 | 2 | 0.009 | 0.011 |",
        "| a | 1 | 0.5000 | 0.3333 | 0.7500 | 1.850 | 0.024 | 0.024 |",
        "| a | 2 | 0.0000 | 0.0000 | 0.0000 | inf | 0.000 | 0.018 |",
        "| b | 2 | - | - | - | - | 0.000 | 0.000 |",
    ] {
        assert!(md.contains(line), "{line:?} not in\n{md}");
    }
    assert!(!md.contains("## Failed"));
    for word in ["1.850", "0.9250".trim_end_matches('0'), "Surface Dice at 1 mm", "inf"] {
        assert!(said.contains(word), "{word:?} not in\n{said}");
    }
    // One thread or several: the same text. JSON on standard output: nothing else there.
    assert_eq!(ok(f.folders(&["--threads", "1"])), said);
    assert_eq!(ok(f.folders(&["--json", "-", "--quiet"])), f.text("s.json"));
}

#[test]
fn two_files_are_one_case() {
    let f = Folders::new();
    f.two_cases();
    let said = ok(f.run(&["--pred", "pred/a.nii.gz", "--ref", "ref/b.nii", "--labels", "1", "--json", "-"]));
    let json: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["metric_per_case"].as_array().unwrap().len(), 1);
    assert_eq!((&json["metric_per_case"][0]["case"], &json["mean"]["1"]["Dice"]), (&Value::from("a"), &Value::from(1.0)));
    refused(f.run(&["--pred", "pred", "--ref", "ref/b.nii"]), &["pred: is a folder and ref/b.nii a file"]);
}

#[test]
fn classes_regions_and_tolerance_from_the_command_line() {
    let f = Folders::new();
    f.two_cases();
    let output = f.folders(&["--labels", "background=0,any=1+2+3,first=1", "--tolerance", "2", "--json", "s.json"]);
    assert!(err(&output).is_empty(), "{}", err(&output));
    ok(output);
    let json = f.json("s.json");
    assert_eq!(json["tolerance_mm"], 2.0);
    assert_eq!(json["classes"], serde_json::json!({ "0": "background", "(1, 2, 3)": "any", "1": "first" }));
    let any = &json["metric_per_case"][0]["metrics"]["(1, 2, 3)"];
    assert_eq!((&any["TP"], &any["FN"], &any["FP"]), (&Value::from(2), &Value::from(5), &Value::from(2)));
    near(&json["metric_per_case"][0]["metrics"]["1"]["SurfaceDice"], 1.0);
    // Background has its row, but no part in the mean over classes.
    near(&json["mean"]["(1, 2, 3)"]["Dice"], (4.0 / 11.0 + 8.0 / 9.0) / 2.0);
    near(&json["foreground_mean"]["Dice"], ((4.0 / 11.0 + 8.0 / 9.0) / 2.0 + 0.75) / 2.0);
    assert!(json["mean"]["0"]["Dice"].as_f64().unwrap() > 0.9);

    // What is in no class is said; what no case has is left out of the mean over classes.
    let output = f.folders(&["--labels", "1,99", "--json", "t.json"]);
    assert!(err(&output).contains("note: no class holds the labels 2 (in 1 of 2 cases), 3 (in 1 of 2 cases)"), "{}", err(&output));
    ok(output);
    let json = f.json("t.json");
    assert_eq!(json["mean"]["99"]["Dice"], Value::Null);
    near(&json["foreground_mean"]["Dice"], 0.75);

    for (labels, words) in [("1,x=1", "classes 1 and x are both 1"), ("x=1,x=2", "two classes are called x")] {
        refused(f.folders(&["--labels", labels]), &[words]);
    }
    refused(f.folders(&["--labels", "1,9", "--ignore-label", "9"]), &["class 9 holds label 9"]);
    for wrong in [&["--labels", "tumour"][..], &["--tolerance", "-1"], &["--tolerance", "nan"], &["--labels", "1", "--bundle", "m.mnxa"]] {
        assert_eq!(f.folders(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn ignored_voxels_count_for_nothing() {
    let f = Folders::new();
    f.put("pred/a.nii.gz", &painted(&[(1, 1, 0..6), (7, 3, 0..1)]));
    f.put("ref/a.nii.gz", &painted(&[(1, 1, 0..4), (7, 1, 4..6)]));
    ok(f.folders(&["--ignore-label", "7", "--json", "s.json"]));
    let json = f.json("s.json");
    assert_eq!(json["mean"].as_object().unwrap().keys().collect::<Vec<_>>(), ["1"]);
    let one = &json["metric_per_case"][0]["metrics"]["1"];
    assert_eq!((&one["Dice"], &one["TN"], &one["HD95"]), (&Value::from(1.0), &Value::from(186), &Value::from(0.0)));
}

#[test]
fn names_come_from_a_bundle() {
    let f = Folders::new();
    f.two_cases();
    let mut m = manifest(vec![program("x86-64-v3", &["sse2"])]);
    m.labels = vec![Label { name: "background".into(), value: 0 }, Label { name: "a, \"b\" | c".into(), value: 1 }];
    let bundle = sample::bundle(f.root.path(), &m, [1.0, 0.0], [0.0, 1.0]);
    let bundle = bundle.to_str().unwrap();
    let output = f.folders(&["--bundle", bundle, "--csv", "s.csv", "--md", "s.md", "--json", "s.json", "--quiet"]);
    assert!(err(&output).is_empty());
    assert!(ok(output).contains("a, \"b\" | c"));
    assert!(f.text("s.csv").contains("case,a,\"a, \"\"b\"\" | c\",1,0.5,"));
    assert!(f.text("s.md").contains("| a, \"b\" \\| c | 1 | 2 | 0.7500 |"));
    assert_eq!(f.json("s.json")["classes"], serde_json::json!({ "1": "a, \"b\" | c" }));
    m.labels.clear();
    std::fs::remove_file(bundle).unwrap();
    sample::bundle(f.root.path(), &m, [1.0, 0.0], [0.0, 1.0]);
    refused(f.folders(&["--bundle", bundle]), &["names no labels"]);
    refused(f.folders(&["--bundle", "absent.mnxa"]), &["absent.mnxa"]);
}

#[test]
fn regions_and_the_ignored_label_come_from_a_bundle() {
    let f = Folders::new();
    f.put("pred/a.nii.gz", &painted(&[(1, 1, 0..2), (2, 1, 2..4), (1, 2, 0..2)]));
    f.put("ref/a.nii.gz", &painted(&[(2, 1, 0..2), (2, 1, 2..4), (3, 2, 0..2)]));
    let mut m = manifest(vec![program("x86-64-v3", &["sse2"])]);
    m.labels = ["background", "whole"].iter().zip(0..).map(|(name, value)| Label { name: (*name).into(), value }).collect();
    m.inference = Some(Inference {
        activation: Activation::Sigmoid,
        regions: vec![vec![1, 2], vec![2]],
        class_order: vec![1, 2],
        ignore: Some(3),
        ..Inference::default()
    });
    let bundle = sample::bundle(f.root.path(), &m, [1.0, 0.0], [0.0, 1.0]);
    ok(f.folders(&["--bundle", bundle.to_str().unwrap(), "--json", "s.json"]));
    let json = f.json("s.json");
    assert_eq!(json["classes"], serde_json::json!({ "(1, 2)": "whole", "2": "2" }));
    let counts = |key: &str| ["TP", "FP", "FN", "TN"].map(|k| json["mean"][key][k].as_f64().unwrap());
    assert_eq!((counts("(1, 2)"), counts("2")), ([4.0, 0.0, 0.0, 186.0], [2.0, 0.0, 2.0, 186.0]));
}

fn other_grid(path: &Path, shape: [usize; 3], affine: [[f64; 4]; 4]) {
    write_labels(path, &vec![1; shape.iter().product()], &Header::new(shape, affine).unwrap()).unwrap();
}

#[test]
fn cases_that_fail_are_listed_and_the_others_compared() {
    let f = Folders::new();
    f.two_cases();
    f.put("ref/lonely.nii.gz", &painted(&[]));
    f.put("pred/extra.nii", &painted(&[]));
    for case in ["shape", "spacing", "turned", "moved", "broken", "fraction", "channels"] {
        f.put(&format!("ref/{case}.nii.gz"), &painted(&[]));
    }
    let pred = |case: &str| f.path(&format!("pred/{case}.nii.gz"));
    let with = |change: &dyn Fn(&mut [[f64; 4]; 4])| {
        let mut a = affine();
        change(&mut a);
        a
    };
    other_grid(&pred("shape"), [4, 6, 9], affine());
    other_grid(&pred("spacing"), SHAPE, with(&|a| a[2][2] = 3.1));
    other_grid(&pred("turned"), SHAPE, with(&|a| a[0][0] = 1.0));
    other_grid(&pred("moved"), SHAPE, with(&|a| a[1][3] += 0.5));
    std::fs::write(pred("broken"), b"not a volume").unwrap();
    let header = Header::new(SHAPE, affine()).unwrap();
    write_f32(&pred("fraction"), &[0.5; 192], 1, &header).unwrap();
    write_f32(&pred("channels"), &[0.0; 384], 2, &header).unwrap();
    // Neither a hidden file nor something else is a case.
    std::fs::write(f.path("pred/._a.nii.gz"), b"").unwrap();
    std::fs::write(f.path("pred/plans.json"), b"{}").unwrap();

    let output = f.folders(&["--md", "s.md", "--json", "s.json"]);
    assert_eq!(output.status.code(), Some(1));
    let message = err(&output);
    for line in [
        "9 of 11 cases failed",
        "extra: no reference: ref/extra.nii expected beside pred/extra.nii",
        "lonely: no prediction: pred/lonely.nii.gz expected beside ref/lonely.nii.gz",
        "shape: pred/shape.nii.gz: its shape (z, y, x) is 4x6x9, expected 4x6x8 as in ref/shape.nii.gz",
        "spacing: pred/spacing.nii.gz: its spacing (z, y, x) is 3.1, 2.0, 1.0 mm, expected 3.0, 2.0, 1.0 mm",
        "turned: pred/turned.nii.gz: its orientation is RPS, expected LPS",
        "moved: pred/moved.nii.gz: its affine entry (1, 3) is -6.5, expected -7",
        "broken: pred/broken.nii.gz: not a NIfTI file",
        "fraction: pred/fraction.nii.gz: label 0.5 is not a whole number",
        "channels: pred/channels.nii.gz: 2 channels, expected 1",
    ] {
        assert!(message.contains(line), "{line:?} not in\n{message}");
    }
    let json = f.json("s.json");
    assert_eq!(json["metric_per_case"].as_array().unwrap().len(), 2);
    assert_eq!(json["failed"].as_array().unwrap().len(), 9);
    assert_eq!(json["failed"][0]["case"], "broken");
    assert!(f.text("s.md").contains("## Failed") && f.text("s.md").contains("  lonely: no prediction"));
    assert!(out(&output).contains("0.7500"));
}

#[test]
fn nothing_is_written_when_nothing_can_be_compared() {
    let f = Folders::new();
    refused(f.folders(&["--csv", "s.csv"]), &["no .nii or .nii.gz files"]);
    f.put("pred/a.nii.gz", &painted(&[(1, 1, 0..4)]));
    f.put("ref/b.nii.gz", &painted(&[(1, 1, 0..4)]));
    refused(f.folders(&["--csv", "s.csv"]), &["no case could be compared", "a: no reference", "b: no prediction"]);
    refused(f.run(&["--pred", "nowhere", "--ref", "ref"]), &["nowhere: "]);
    f.put("ref/a.nii.gz", &painted(&[(1, 1, 0..4)]));
    f.put("pred/b.nii.gz", &painted(&[(1, 1, 0..4)]));
    refused(f.folders(&["--csv", "s.csv", "--md", "s.csv"]), &["s.csv: named for two outputs"]);
    refused(f.folders(&["--csv", "ref/a.nii.gz"]), &["would overwrite an input"]);
    refused(f.folders(&["--json", "absent/s.json"]), &["there is no directory absent"]);
    f.put("pred/a.nii", &painted(&[]));
    refused(f.folders(&["--csv", "s.csv"]), &["case a is there twice"]);
    assert!(!f.path("s.csv").exists());
    for (name, side) in [("e.nii", "pred"), ("f.nii", "ref")] {
        f.put(&format!("{side}/{name}"), &painted(&[]));
    }
    refused(f.run(&["--pred", "pred/e.nii", "--ref", "ref/f.nii"]), &["no label other than 0"]);
}

#[test]
fn folders_of_other_formats_say_so() {
    let f = Folders::new();
    let nrrd = "NRRD0004\ntype: short\n";
    refused(f.folders(&[]), &["error[mnx-0234]: pred: no .nii or .nii.gz files in this folder"]);
    std::fs::write(f.path("pred/a.b.nrrd"), nrrd).unwrap();
    std::fs::write(f.path("pred/c.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    refused(
        f.folders(&[]),
        &["error[mnx-0235]: pred: no NIfTI files, but 2 files of other formats", "pred/a.b.nrrd: an NRRD file, NIfTI expected"],
    );
    // Beside volumes: a partner of another format is named with the way to convert; a picture is nobody's partner.
    f.put("ref/a.b.nii.gz", &painted(&[(1, 1, 0..4)]));
    f.put("pred/c.nii.gz", &painted(&[(1, 1, 0..4)]));
    f.put("ref/c.nii.gz", &painted(&[(1, 1, 0..4)]));
    let output = f.folders(&[]);
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert!(
        said.contains("1 of 2 cases failed") && said.contains("a.b: pred/a.b.nrrd: an NRRD file, NIfTI expected; convert it: "),
        "{said}"
    );
    // All failed, by what the files are and not by what they are called.
    std::fs::write(f.path("pred/a.b.nii.gz"), nrrd).unwrap();
    std::fs::write(f.path("pred/c.nii.gz"), "").unwrap();
    refused(f.folders(&[]), &["no case could be compared", "a.b: pred/a.b.nii.gz: an NRRD file", "c: pred/c.nii.gz: "]);
    // Pipes are not waited for.
    assert!(Process::new("mkfifo").arg(f.path("pred/d.nii")).status().unwrap().success());
    f.put("ref/d.nii", &painted(&[(1, 1, 0..4)]));
    f.put("pred/c.nii.gz", &painted(&[(1, 1, 0..4)]));
    let said = err(&f.folders(&[]));
    assert!(said.contains("pred/d.nii: no file, left out") && said.contains("d: no prediction: "), "{said}");
}
