//! `mnx predict` on folders: names of cases, what is no case, going on, failures.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command as Process;

use mnx_artifact::{Inference, ProbabilityFile};
use mnx_volume::{ReadOptions, read, write_f32, write_labels};
use serde_json::Value;
use support::{Room, SHAPE, header, listed, model, two_channels};

#[test]
fn a_folder_s_output_is_a_folder() {
    let room = Room::new(&model());
    room.volume("in/a_0000.nii.gz");
    for name in ["x.nii.gz", "x.nii", "x.nrrd", "x.png"] {
        room.predict(&["-i", "in", "-o", name]).refused(&["error[mnx-0206]: ", name, "a file's name, a folder expected since in is one"]);
        assert!(!room.path(name).exists());
    }
    // A folder of such a name that is there is meant.
    room.folder("y.nii.gz");
    room.predict(&["-i", "in", "-o", "y.nii.gz"]).ok(&[]);
    assert_eq!(listed(&room.path("y.nii.gz")), ["a.nii.gz"]);
}

#[test]
fn nothing_done_leaves_nothing() {
    let room = Room::new(&model());
    let folder = room.folder("in");
    fs::write(folder.join("a_0000.nii"), "no volume").unwrap();
    fs::write(folder.join("b_0000.nii.gz"), "").unwrap();
    room.predict(&["-i", "in", "-o", "deep/er/out"])
        .refused(&[
            "error[mnx-0212]: in: 2 of 2 cases failed",
            "  note: a: in/a_0000.nii: not a NIfTI file",
            "  note: b: in/b_0000.nii.gz: ",
        ])
        .never(&["on host", "segmentations"]);
    assert!(!room.path("deep").exists());
    // Folders that were there stay.
    room.folder("mine");
    room.predict(&["-i", "in", "-o", "mine/out"]).refused(&[]);
    room.predict(&["-i", "in", "-o", "mine"]).refused(&[]);
    assert!(room.path("mine").is_dir() && listed(&room.path("mine")).is_empty());
    // Refused by their names: nothing is loaded; JSON says so too.
    fs::remove_file(folder.join("a_0000.nii")).unwrap();
    fs::rename(folder.join("b_0000.nii.gz"), folder.join("b_0003.nii.gz")).unwrap();
    let said =
        room.predict(&["-i", "in", "-o", "out", "--json"]).ends(1, &["1 of 1 case failed", "b: channel 0 is missing: in/b_0000.nii.gz"]);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((json["cases"].as_array().unwrap().len(), json["failed"].as_array().unwrap().len()), (0, 1));
    assert!(!room.path("out").exists());
}

#[test]
fn only_files_are_cases() {
    let room = Room::new(&model());
    let real = room.volume("elsewhere/real.nii.gz");
    let folder = room.folder("in");
    symlink(&real, folder.join("link_0000.nii.gz")).unwrap();
    fs::create_dir(folder.join("sub_0000.nii.gz")).unwrap();
    assert!(Process::new("mkfifo").arg(folder.join("pipe_0000.nii")).status().unwrap().success());
    room.predict(&["-i", "in", "-o", "out"])
        .ok(&["warning: in/pipe_0000.nii: a pipe or a device, a file expected; left out", "warning: in/sub_0000.nii.gz: a folder, a file"]);
    assert_eq!(listed(&room.path("out")), ["link.nii.gz"]);
    // A link to nowhere is a case whose file is missing.
    symlink(room.path("gone.nii"), folder.join("lost_0000.nii")).unwrap();
    room.predict(&["-i", "in", "-o", "out"]).ends(1, &["1 of 2 cases failed", "lost: in/lost_0000.nii: no such file"]);
    // A pipe by itself is not waited for either.
    room.predict(&["-i", "in/pipe_0000.nii", "-o", "x.nii"]).refused(&["in/pipe_0000.nii: not a regular file"]);
}

#[test]
fn cases_of_one_channel_need_no_number() {
    let room = Room::new(&model());
    room.volume("in/a.nii.gz");
    room.volume("in/b_0000.nii.gz");
    room.volume("in/c.1.nii");
    room.predict(&["-i", "in", "-o", "out"]).ok(&["3 of 3 cases: "]);
    assert_eq!(listed(&room.path("out")), ["a.nii.gz", "b.nii.gz", "c.1.nii"]);
    // One case under two names is refused by name; the others go on.
    room.volume("in/a_0000.nii.gz");
    room.predict(&["-i", "in", "-o", "out"])
        .ends(1, &["1 of 3 cases failed", "  note: a: in/a_0000.nii.gz and in/a.nii.gz are both channel 0"]);
    // Where the outputs lie beside the inputs, a.nii.gz is what an earlier run made.
    fs::remove_file(room.path("in/a.nii.gz")).unwrap();
    fs::remove_file(room.path("in/c.1.nii")).unwrap();
    for _ in 0..2 {
        room.predict(&["-i", "in", "-o", "in"]).ok(&["2 of 2 cases: "]);
        assert_eq!(listed(&room.path("in")), ["a.nii.gz", "a_0000.nii.gz", "b.nii.gz", "b_0000.nii.gz"]);
    }
    // Alone it would be replaced by its own segmentation.
    let mine = room.volume("own/a.nii.gz");
    let before = fs::read(&mine).unwrap();
    room.predict(&["-i", "own", "-o", "own"]).refused(&["a: own/a.nii.gz: would overwrite an input"]);
    assert!(fs::read(&mine).unwrap() == before);
}

#[test]
fn suffixes_name_the_channels() {
    let room = Room::new(&two_channels(&["T1", "FLAIR"]));
    for (case, separator) in [("BraTS-0001", '-'), ("b_2", '_'), ("c", '.')] {
        room.volume(&format!("in/{case}{separator}flair.nii.gz"));
        room.volume(&format!("in/{case}{separator}t1.nii.gz"));
    }
    // By the bundle's names, a hint; the names of channels and of the file that is expected, always.
    room.predict(&["-i", "in", "-o", "out"]).refused(&[
        "error[mnx-0208]: in: no cases; files CASE_0000.nii.gz, CASE_0001.nii.gz, ... (one per channel: 2 (T1, FLAIR)) expected",
        "6 NIfTI files of other names: BraTS-0001-flair.nii.gz, ",
        "names end in the model's channels (T1, FLAIR): add --channels t1,flair",
    ]);
    room.predict(&["-i", "in", "-o", "out", "--channels", "t1,Flair"]).ok(&["3 of 3 cases: "]);
    assert_eq!(listed(&room.path("out")), ["BraTS-0001.nii.gz", "b_2.nii.gz", "c.nii.gz"]);
    // Each is what the files in the model's order give, which differs from the other order.
    let both = |first: &str, second: &str, out: &str| {
        let (a, b) = (format!("in/b_2_{first}.nii.gz"), format!("in/b_2_{second}.nii.gz"));
        room.predict(&["-i", &a, "-i", &b, "-o", out]).ok(&[]);
        read(&room.path(out), &ReadOptions::default()).unwrap().data
    };
    let got = read(&room.path("out/b_2.nii.gz"), &ReadOptions::default()).unwrap().data;
    assert!(got == both("t1", "flair", "x.nii") && got != both("flair", "t1", "y.nii"));

    fs::remove_file(room.path("in/b_2_flair.nii.gz")).unwrap();
    fs::rename(room.path("in/c.t1.nii.gz"), room.path("in/c.t1x.nii.gz")).unwrap();
    room.predict(&["-i", "in", "-o", "out", "--channels", "t1,flair"]).ends(
        1,
        &[
            "  note: b_2: channel 1 (FLAIR) is missing: in/b_2_flair.nii.gz expected",
            "  note: c: channel 0 (T1) is missing: in/c.t1.nii.gz expected",
            "1 NIfTI file is not named by channel (--channels) and left out: c.t1x.nii.gz",
        ],
    );
    for (given, what) in [
        ("t1", "--channels t1: 1 channel, the model takes 2 (T1, FLAIR)"),
        ("t1,T1", "T1 is there twice"),
        ("t1,", "\"\" is no ending"),
        ("t1,_flair", "\"_flair\" is no ending"),
    ] {
        room.predict(&["-i", "in", "-o", "out", "--channels", given]).refused(&["error[mnx-0210]: ", what]);
    }
    room.predict(&["-i", "in/c.flair.nii.gz", "-o", "x.nii", "--channels", "a,b"]).refused(&["is for a folder of cases"]);
}

#[test]
fn numbered_channels_are_told_by_name() {
    let room = Room::new(&two_channels(&["T1", "T2"]));
    for name in ["a_0000", "b_0001", "c_0000", "c_0001", "c_0002", "d_0000", "d_0001", "case-t2", "e_0000"] {
        room.volume(&format!("in/{name}.nii.gz"));
    }
    fs::write(room.path("in/e_0001.nii.gz"), "no volume").unwrap();
    room.predict(&["-i", "in", "-o", "out"])
        .ends(
            1,
            &[
                "4 of 5 cases failed",
                "  note: a: channel 1 (T2) is missing: in/a_0001.nii.gz expected",
                "  note: b: channel 0 (T1) is missing: in/b_0000.nii.gz expected",
                "  note: c: in/c_0002.nii.gz is one too many: the model takes 2 (T1, T2)",
                "  note: e: in/e_0001.nii.gz: not a NIfTI file",
                "(channel 1 (T2))",
                "1 NIfTI file is not named by channel (CASE_0000.nii.gz, ...) and left out: case-t2.nii.gz",
            ],
        )
        .never(&["--channels"]);
    assert_eq!(listed(&room.path("out")), ["d.nii.gz"]);
}

#[test]
fn other_formats_are_named() {
    let room = Room::new(&model());
    let folder = room.folder("in");
    let nrrd = "NRRD0004\n# Complete NRRD file format specification\n";
    fs::write(folder.join("a_0000.nrrd"), nrrd).unwrap();
    fs::write(folder.join("b.mha"), "ObjectType = Image\nNDims = 3\n").unwrap();
    fs::write(folder.join("notes.txt"), "words").unwrap();
    room.predict(&["-i", "in", "-o", "out"]).refused(&[
        "error[mnx-0209]: in: no NIfTI files, but 2 files of other formats",
        "a_0000.nrrd: an NRRD file, NIfTI expected; convert it: python -c \"import SimpleITK as s; \
         s.WriteImage(s.ReadImage('in/a_0000.nrrd'), 'in/a_0000.nii.gz')\"",
        "b.mha: a MetaImage file, NIfTI expected",
    ]);
    // Beside cases a scan of another format is a case that fails; a picture or an array is none.
    room.volume("in/c.nii.gz");
    fs::write(folder.join("c.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    fs::write(folder.join("lies.nii.gz"), nrrd).unwrap();
    room.predict(&["-i", "in", "-o", "out"]).ends(
        1,
        &[
            "3 of 4 cases failed",
            "  note: a_0000.nrrd: in/a_0000.nrrd: an NRRD file, NIfTI expected; convert it: ",
            "  note: b.mha: in/b.mha: a MetaImage file",
            "  note: lies: in/lies.nii.gz: an NRRD file",
            "warning: 1 file of other formats is left out: c.png",
        ],
    );
    assert_eq!(listed(&room.path("out")), ["c.nii.gz"]);
    // Once converted, what it was made from is in nobody's way.
    room.volume("in/a_0000.nii.gz");
    fs::remove_file(folder.join("b.mha")).unwrap();
    fs::remove_file(folder.join("lies.nii.gz")).unwrap();
    room.predict(&["-i", "in", "-o", "out"]).ok(&[]);
    assert_eq!(listed(&room.path("out")), ["a.nii.gz", "c.nii.gz"]);
}

#[test]
fn dicom_is_named() {
    let room = Room::new(&model());
    let mut bytes = vec![0u8; 128];
    bytes.extend_from_slice(b"DICM\x02\0\0\0UL\x04\0");
    for name in ["flat/IM1", "flat/IM2", "nested/series 1/1.dcm"] {
        let path = room.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &bytes).unwrap();
    }
    room.predict(&["-i", "flat", "-o", "out"]).refused(&[
        "flat: no NIfTI files, but 2 files of other formats",
        "IM1, IM2: DICOM; convert the series: dcm2niix -z y -o OUTPUT_FOLDER flat",
    ]);
    room.predict(&["-i", "nested", "-o", "out"]).refused(&[
        "folders of DICOM files such as nested/series 1",
        "dcm2niix",
        "'nested/series 1'",
    ]);
    room.predict(&["-i", "flat/IM1", "-o", "x.nii"]).refused(&["flat/IM1: a DICOM file, NIfTI expected", "dcm2niix"]);
    room.folder("empty");
    room.predict(&["-i", "empty", "-o", "out"])
        .refused(&["error[mnx-0208]: empty: no cases; files CASE.nii.gz or CASE_0000.nii.gz expected"])
        .never(&["DICOM"]);
    assert!(!room.path("out").exists());
}

#[test]
fn going_on_believes_only_what_this_model_wrote() {
    let room = Room::new(&model());
    let names = ["cut", "empty", "foreign", "good", "grid", "kind", "labels", "link", "moved", "words"];
    for name in names {
        room.volume(&format!("in/{name}_0000.nii.gz"));
    }
    room.volume("in/plain_0000.nii");
    room.predict(&["-i", "in", "-o", "out"]).ok(&[]);
    let out = |name: &str| room.path(&format!("out/{name}"));
    let whole = |name: &str| fs::read(out(name)).unwrap();
    let kept: Vec<Vec<u8>> = names.iter().map(|n| whole(&format!("{n}.nii.gz"))).collect();
    let plain = whole("plain.nii");

    let n = SHAPE.iter().product();
    let grid = header(SHAPE, [3.0, 1.5, 2.0]);
    fs::write(out("cut.nii.gz"), &kept[0][..kept[0].len() - 9]).unwrap();
    fs::write(out("empty.nii.gz"), "").unwrap();
    write_labels(&out("foreign.nii.gz"), &vec![7; n], &grid).unwrap();
    write_labels(&out("grid.nii.gz"), &[1; 60], &header([3, 4, 5], [3.0, 1.5, 2.0])).unwrap();
    write_f32(&out("kind.nii.gz"), &vec![1.0; n], 1, &grid).unwrap();
    write_labels(&out("labels.nii.gz"), &vec![1; n], &grid).unwrap();
    fs::remove_file(out("link.nii.gz")).unwrap();
    fs::write(room.path("foreign.nii.gz"), "some volume").unwrap();
    symlink(room.path("foreign.nii.gz"), out("link.nii.gz")).unwrap();
    write_labels(&out("moved.nii.gz"), &vec![1; n], &header(SHAPE, [3.0, 1.5, 2.5])).unwrap();
    fs::write(out("words.nii.gz"), "mine").unwrap();
    // Its length, and zeros: what a power failure leaves.
    fs::write(out("plain.nii"), vec![0; plain.len()]).unwrap();
    room.predict(&["-i", "in", "-o", "out", "--continue"])
        .ok(&[
            "note: cut is done again: out/cut.nii.gz: truncated",
            "note: empty is done again: out/empty.nii.gz: not a NIfTI file",
            "note: foreign is done again: out/foreign.nii.gz: label 7 is none of this model's",
            "note: grid is done again: out/grid.nii.gz: 3x4x5 voxels, its input has 7x9x17",
            "note: kind is done again: out/kind.nii.gz: no label map",
            "note: link is done again: out/link.nii.gz: not a NIfTI file",
            "note: moved is done again: out/moved.nii.gz: it lies elsewhere than its input",
            "note: plain is done again: out/plain.nii: not a NIfTI file",
            "note: words is done again: ",
            "2 there already",
        ])
        // These two hold nothing that this model would not write.
        .never(&["good is", "labels is"]);
    for (name, before) in names.iter().zip(&kept) {
        if *name != "labels" {
            assert!(whole(&format!("{name}.nii.gz")) == *before, "{name}");
        }
    }
    assert!(out("link.nii.gz").is_symlink(), "a link stays one");
    assert!(whole("plain.nii") == plain);
    // Nothing left to do: nothing is loaded, and no line about cases that were done.
    fs::remove_file(out("labels.nii.gz")).unwrap();
    room.predict(&["-i", "in", "-o", "out", "--continue"]).ok(&["10 there already"]);
    let said =
        room.predict(&["-i", "in", "-o", "out", "--continue"]).ok(&["11 of 11 cases: 11 there already"]).never(&["on host", "0 cases"]);
    assert!(said.out.starts_with("11 there already\nsegmentations  out"), "{}", said.out);
}

#[test]
fn saved_probabilities_must_be_whole_too() {
    for file in [ProbabilityFile::NnunetV2, ProbabilityFile::NnunetV1] {
        let mut m = model();
        m.inference = Some(Inference { probabilities: file, ..Inference::default() });
        let room = Room::new(&m);
        for name in ["a", "b", "c", "d"] {
            room.volume(&format!("in/{name}.nii.gz"));
        }
        let go_on = || room.predict(&["-i", "in", "-o", "out", "--continue", "--save-probabilities"]);
        go_on().ok(&["4 of 4 cases: d done"]);
        let out = |name: &str| room.path(&format!("out/{name}"));
        let whole = fs::read(out("b.npz")).unwrap();
        fs::remove_file(out("a.npz")).unwrap();
        fs::write(out("b.npz"), &whole[..whole.len() / 2]).unwrap();
        fs::write(out("c.pkl"), "").unwrap();
        go_on().ok(&[
            "note: a is done again: out/a.npz: is not there",
            "note: b is done again: out/b.npz: not a whole archive",
            "note: c is done again: out/c.pkl: not a whole pickle",
            "1 there already",
        ]);
        assert!(fs::read(out("b.npz")).unwrap() == whole);
        go_on().ok(&["4 there already"]);
    }
}

#[test]
fn a_link_to_a_file_of_another_kind_is_not_written_through() {
    let room = Room::new(&model());
    for name in ["a", "b"] {
        room.volume(&format!("in/{name}_0000.nii.gz"));
    }
    room.folder("out");
    fs::write(room.path("accounts"), "precious").unwrap();
    symlink(room.path("accounts"), room.path("out/a.nii.gz")).unwrap();
    for more in [&[][..], &["--continue"]] {
        let line = [&["-i", "in", "-o", "out"][..], more].concat();
        room.predict(&line).ends(1, &["1 of 2 cases failed", "a: out/a.nii.gz: is a link to ", "accounts, a file of another kind"]);
        assert_eq!(fs::read_to_string(room.path("accounts")).unwrap(), "precious");
    }
    assert!(room.path("out/b.nii.gz").is_file());
    room.predict(&["-i", "in/a_0000.nii.gz", "-o", "out/a.nii.gz"]).refused(&["error[mnx-0224]: out/a.nii.gz: ", "a file of another kind"]);
    assert_eq!(fs::read_to_string(room.path("accounts")).unwrap(), "precious");
}
