//! `mnx predict` on one case: inputs that are refused or doubted, threads, memory, what is said.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command as Process;

use mnx_artifact::{Preprocess, Reader};
use mnx_runtime::session::{default_threads, most_threads};
use mnx_volume::write_f32;
use support::{Room, SHAPE, header, model, two_channels};

#[test]
fn absurd_numbers_of_threads_are_refused_by_every_command() {
    let room = Room::new(&model());
    room.volume("a.nii");
    let commands: [&[&str]; 6] = [
        &["predict", "m.mnxa", "-i", "a.nii", "-o", "s.nii"],
        &["evaluate", "--pred", "a.nii", "--ref", "a.nii"],
        &["bench", "m.mnxa"],
        &["verify", "m.mnxa"],
        &["run", "m.mnxa", "-i", "x.safetensors", "-o", "y.safetensors"],
        &["record", "m.mnxa", "-o", "k.safetensors"],
    ];
    let cores = default_threads();
    for command in commands {
        for n in ["99999".to_owned(), (most_threads() + 1).to_string(), "18446744073709551616".to_owned()] {
            let expected = format!("from 1 to {} expected: four times the cores that this process may use, {cores}", 4 * cores);
            room.mnx(&[command, &["--threads", &n]].concat()).ends(2, &["--threads", &n, &expected]);
        }
    }
    assert!(!room.path("s.nii").exists());
    // Beyond the cores, a warning, once; as many as there are, none.
    let many = most_threads().to_string();
    let warning = format!("warning: --threads {many}: this process may use {cores} core");
    for command in &commands[..3] {
        let said = room.mnx(&[*command, &["--threads", &many]].concat());
        assert_eq!(said.err.matches(&warning).count(), 1, "{}", said.err);
    }
    room.predict(&["-i", "a.nii", "-o", "s.nii", "--threads", &cores.to_string()]).ok(&[]).never(&["warning"]);
    room.predict(&["-i", "a.nii", "-o", "s.nii", "--threads", &many, "--quiet"]).ok(&[]).never(&["warning"]);
}

#[test]
fn other_formats_are_refused_by_name_and_by_content() {
    let room = Room::new(&model());
    let mut gipl = vec![0u8; 252];
    gipl.extend_from_slice(&[0xef, 0xff, 0xe9, 0xb0]);
    let mut mgh: Vec<u8> = [1i32, 4, 5, 6, 1, 3, 0].iter().flat_map(|v| v.to_be_bytes()).collect();
    mgh.resize(284, 0);
    let mut dicom = vec![0u8; 128];
    dicom.extend_from_slice(b"DICM\x02\0\0\0UL\x04\0");
    let sitk = "SimpleITK";
    let formats: [(&str, &[u8], &str, &str); 14] = [
        ("mha", b"ObjectType = Image\nNDims = 3\nElementDataFile = LOCAL\n\x01\xff", "a MetaImage file", sitk),
        ("mhd", b"ObjectType = Image\nNDims = 3\nElementDataFile = a.raw\n", "a MetaImage file", sitk),
        ("nrrd", b"NRRD0005\ntype: short\n", "an NRRD file", sitk),
        ("nhdr", b"NRRD0004\ndata file: a.raw\n", "an NRRD file", sitk),
        ("mgz", &mgh, "a FreeSurfer MGH file", "mri_convert scan.mgz scan.nii.gz"),
        ("gipl", &gipl, "a GIPL file", sitk),
        ("tif", b"II*\0\x08\0\0\0", "a TIFF file", sitk),
        ("tiff", b"MM\0*\0\0\0\x08", "a TIFF file", sitk),
        ("png", b"\x89PNG\r\n\x1a\n", "a PNG picture", sitk),
        ("jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture", sitk),
        ("npy", b"\x93NUMPY\x01\0v\0{'descr': '<f4'", "a NumPy array", "no spacing and no orientation"),
        ("npz", b"PK\x03\x04\x14\0\0\0", "a NumPy archive", "no spacing and no orientation"),
        ("dcm", &dicom, "a DICOM file", "dcm2niix"),
        ("jpeg", b"damaged beyond its name", "a JPEG picture", sitk),
    ];
    for (ending, bytes, called, way) in formats {
        let name = format!("scan.{ending}");
        fs::write(room.path(&name), bytes).unwrap();
        let line = format!("{name}: {called}, NIfTI expected; ");
        room.predict(&["-i", &name, "-o", "s.nii"]).refused(&[&line, way]);
        room.mnx(&["evaluate", "--pred", &name, "--ref", &name]).refused(&[&line]);
        if !bytes.starts_with(b"damaged") {
            // The name lies.
            fs::write(room.path("scan.nii.gz"), bytes).unwrap();
            room.predict(&["-i", "scan.nii.gz", "-o", "s.nii"]).refused(&["scan.nii.gz: ", called, "NIfTI expected"]);
        }
    }
    assert!(!room.path("s.nii").exists());
    let write = "python -c \"import SimpleITK as s; s.WriteImage(s.ReadImage('scan.nrrd'), 'scan.nii.gz')\"";
    room.predict(&["-i", "scan.nrrd", "-o", "s.nii"]).refused(&[write]);
}

#[test]
fn inputs_are_counted_by_the_model_s_channels() {
    let one = {
        let mut m = model();
        m.channels = vec!["CT".into()];
        Room::new(&m)
    };
    for name in ["a.nii", "b.nii"] {
        one.volume(name);
    }
    one.predict(&["-i", "a.nii", "-i", "b.nii", "-o", "s.nii"]).refused(&["error[mnx-0211]: 2 inputs given, the model takes 1 (CT)"]);
    let two = Room::new(&two_channels(&["T1", "T2"]));
    for name in ["a.nii", "b.nii", "c.nii"] {
        two.volume(name);
    }
    let three = ["-i", "a.nii", "-i", "b.nii", "-i", "c.nii", "-o", "s.nii"];
    two.predict(&three).refused(&["3 inputs given, the model takes 2 (T1, T2)"]);
    two.predict(&["-i", "a.nii", "-o", "s.nii"])
        .refused(&["a.nii: 1 channel, the model takes 2 (T1, T2): one -i per channel, in this order, or one 4-D file expected"]);
    let values: Vec<f32> = (0..2 * SHAPE.iter().product::<usize>()).map(|i| (i % 97) as f32).collect();
    write_f32(&two.path("both.nii"), &values, 2, &header(SHAPE, [3.0, 1.5, 2.0])).unwrap();
    two.predict(&["-i", "a.nii", "-i", "both.nii", "-o", "s.nii"]).refused(&["both.nii: 2 channels, one per file expected"]);
    fs::write(two.path("b.nii"), &fs::read(two.path("a.nii")).unwrap()[..1000]).unwrap();
    two.predict(&["-i", "a.nii", "-i", "b.nii", "-o", "s.nii"]).refused(&["b.nii: truncated", "(channel 1 (T2))"]);
    two.predict(&["-i", "both.nii", "-o", "s.nii"]).ok(&[]);
    // A name is not made up where nobody gave one.
    let bare = Room::new(&two_channels(&[]));
    bare.volume("a.nii");
    bare.predict(&["-i", "a.nii", "-o", "s.nii"]).refused(&["1 channel, the model takes 2: one -i per channel"]);
}

#[test]
fn constant_images_are_doubted() {
    let room = Room::new(&model());
    let grid = header(SHAPE, [3.0, 1.5, 2.0]);
    let n = SHAPE.iter().product();
    write_f32(&room.path("flat.nii"), &vec![-1024.0; n], 1, &grid).unwrap();
    let warning = "warning: flat.nii: the image is constant, every voxel is -1024\n";
    let said = room.predict(&["-i", "flat.nii", "-o", "s.nii"]).ok(&[warning]);
    // Before the work.
    assert!(said.err.find(warning) < said.err.find("patches"), "{}", said.err);
    let mut values = vec![-1024.0; n];
    values[n - 1] = -1023.0;
    write_f32(&room.path("dot.nii"), &values, 1, &grid).unwrap();
    room.predict(&["-i", "dot.nii", "-o", "s.nii"]).ok(&[]).never(&["constant"]);
    // In a folder, and by channel.
    let two = Room::new(&two_channels(&["T1", "T2"]));
    two.volume("in/a_0000.nii");
    write_f32(&two.path("in/a_0001.nii"), &vec![0.0; n], 1, &grid).unwrap();
    two.predict(&["-i", "in", "-o", "out"])
        .ok(&["warning: in/a_0001.nii: the image is constant, every voxel is 0"])
        .never(&["a_0000.nii: the"]);
    let both: Vec<f32> = (0..2 * n).map(|i| if i < n { (i % 7) as f32 } else { 3.0 }).collect();
    write_f32(&two.path("both.nii"), &both, 2, &grid).unwrap();
    two.predict(&["-i", "both.nii", "-o", "s.nii"]).ok(&["warning: both.nii: channel 1 (T2): the image is constant, every voxel is 3"]);
}

#[test]
fn a_missing_orientation_is_doubted() {
    let mut m = model();
    m.preprocess = Some(Preprocess { orientation: Some("RAS".into()), reader: Some(Reader::Nibabel), ..Preprocess::default() });
    let room = Room::new(&m);
    let path = room.volume("a.nii");
    room.predict(&["-i", "a.nii", "-o", "s.nii"]).ok(&[]).never(&["warning"]);
    let mut bytes = fs::read(&path).unwrap();
    // qform_code and sform_code.
    bytes[252..256].fill(0);
    fs::write(&path, &bytes).unwrap();
    room.predict(&["-i", "a.nii", "-o", "s.nii"]).ok(&[
        "warning: a.nii: neither sform nor qform says how the volume lies; nibabel, the model's reader, takes it for LAS",
        "brings volumes to RAS",
    ]);
    // Without one wanted, nothing depends on it.
    m.preprocess = Some(Preprocess { reader: Some(Reader::Nibabel), ..Preprocess::default() });
    let room = Room::new(&m);
    fs::write(room.path("a.nii"), &bytes).unwrap();
    room.predict(&["-i", "a.nii", "-o", "s.nii"]).ok(&[]).never(&["warning"]);
}

fn to_spacing(spacing: [f64; 3], crop_to_nonzero: bool) -> Room {
    let mut m = model();
    m.preprocess = Some(Preprocess { spacing: Some(spacing.into()), crop_to_nonzero, ..Preprocess::default() });
    Room::new(&m)
}

#[test]
fn a_spacing_that_grows_the_volume_tenfold_is_doubted() {
    let room = to_spacing([1.5, 0.5, 1.0], false);
    room.volume("a.nii");
    // 2 x 3 x 2 is twelve times as many.
    room.predict(&["-i", "a.nii", "-o", "s.nii"]).ok(&[
        "warning: a.nii: resampling from 3.0, 1.5, 2.0 mm to 1.5, 0.5, 1.0 mm (z, y, x) makes 14x27x34 of 7x9x17 voxels, 12 times as many",
    ]);
    let room = to_spacing([1.5, 0.75, 1.0], false);
    room.volume("a.nii");
    room.predict(&["-i", "a.nii", "-o", "s.nii"]).ok(&[]).never(&["warning"]);
}

#[test]
fn a_resampled_volume_beyond_memory_is_refused() {
    for crop in [false, true] {
        let room = to_spacing([0.5; 3], crop);
        write_f32(&room.path("far.nii"), &[1.0; 24], 1, &header([2, 3, 4], [20_000.0; 3])).unwrap();
        room.predict(&["-i", "far.nii", "-o", "s.nii"]).refused(&[
            "error[mnx-0217]: far.nii: resampled from 20000.0, 20000.0, 20000.0 mm to 0.5, 0.5, 0.5 mm (z, y, x) it would have \
             80000x120000x160000 voxels: 5.46 PiB of memory needed, ",
        ]);
        // In a folder, one case.
        room.folder("in");
        fs::rename(room.path("far.nii"), room.path("in/far.nii")).unwrap();
        write_f32(&room.path("in/near.nii"), &[1.0, 2.0, 3.0], 1, &header([1, 1, 3], [0.5; 3])).unwrap();
        room.predict(&["-i", "in", "-o", "out"]).ends(1, &["1 of 2 cases failed", "  note: far: in/far.nii: resampled from 20000.0"]);
    }
    // What matters is what is left of the crop: one voxel of so many.
    let room = to_spacing([0.5; 3], true);
    let mut values = vec![0.0; 64_000];
    values[33_333] = 5.0;
    write_f32(&room.path("speck.nii"), &values, 1, &header([40; 3], [30.0; 3])).unwrap();
    let (mnx, limit) = (env!("CARGO_BIN_EXE_mnx"), 2_000_000);
    let script = |crop: &str| format!("ulimit -v {limit}; exec {mnx} predict {crop} -i speck.nii -o s.nii --threads 1");
    let output = Process::new("sh").args(["-c", &script("m.mnxa")]).current_dir(&room.root).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let whole = to_spacing([0.5; 3], false);
    fs::copy(&whole.bundle, room.path("whole.mnxa")).unwrap();
    let output = Process::new("sh").args(["-c", &script("whole.mnxa")]).current_dir(&room.root).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("2400x2400x2400 voxels: 51.50 GiB of memory needed, the limit on this process (ulimit -v) is 1.91 GiB"),
        "{said}"
    );
}

#[test]
fn an_arena_beyond_memory_is_refused_before_the_volume_is_read() {
    let mut m = model();
    m.programs[0].arena_bytes = 1 << 52;
    let room = Room::new(&m);
    // The volume is not even there as a volume.
    fs::write(room.path("a.nii"), "no volume").unwrap();
    room.predict(&["-i", "a.nii", "-o", "s.nii"]).refused(&[
        "error[mnx-0217]: m.mnxa: its activations do not fit: 4.00 PiB of memory needed, ",
        "compile it with a smaller --patch",
    ]);
    room.predict(&["-i", ".", "-o", "out"]).refused(&["4.00 PiB of memory needed"]);
    // What a batch system or a container grants counts, not what is built in.
    m.programs[0].arena_bytes = 3 << 30;
    let room = Room::new(&m);
    room.volume("a.nii");
    for command in ["predict m.mnxa -i a.nii -o s.nii", "bench m.mnxa"] {
        let script = format!("ulimit -v 2000000; exec {} {command} --threads 1", env!("CARGO_BIN_EXE_mnx"));
        let output = Process::new("sh").args(["-c", &script]).current_dir(&room.root).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("3.00 GiB of memory needed, the limit on this process (ulimit -v) is 1.91 GiB"), "{said}");
    }
}

#[test]
fn outputs_that_cannot_be_written_are_refused_before_the_work() {
    let room = Room::new(&model());
    fs::write(room.path("a.nii"), "no volume").unwrap();
    // Nobody makes a file there, root neither.
    room.predict(&["-i", "a.nii", "-o", "/proc/s.nii"])
        .refused(&["error[mnx-0224]: /proc/s.nii: cannot be written: "])
        .never(&[".mnx-", ".tmp"]);
    room.predict(&["-i", "a.nii", "-o", "no/where/s.nii"]).refused(&["error[mnx-0222]: no/where/s.nii: there is no directory no/where"]);
    room.volume("in/a.nii");
    room.predict(&["-i", "in", "-o", "/proc/out"]).refused(&["error[mnx-0207]: /proc/out: "]);
    room.predict(&["-i", "in", "-o", "/proc"])
        .refused(&["error[mnx-0224]: /proc: cannot be written: "])
        .never(&["failed:", ".mnx-", ".tmp"]);
}

#[test]
fn progress_and_times_are_plain() {
    let mut m = model();
    m.labels = vec![];
    let room = Room::new(&m);
    room.volume("a.nii");
    let said = room.predict(&["-i", "a.nii", "-o", "s.nii"]).ok(&[" patches, 0 s elapsed\n"]).never(&[
        " us",
        "x 1 on",
        "gone",
        "to go",
        "postprocess",
    ]);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    let line = said.out.lines().find(|l| l.contains(" on host, ")).unwrap();
    assert!(line.contains(" patches on host, x86-64-v3, "), "{line}");
    let said = room.predict(&["-i", "a.nii", "-o", "s.nii", "--tta"]).ok(&[]);
    assert!(said.out.contains(" patches x 8 mirrorings on host"), "{}", said.out);
    // One of each.
    write_f32(&room.path("in/b.nii"), &[1.0, 2.0], 1, &header([1, 1, 2], [1.0; 3])).unwrap_err();
    room.folder("in");
    write_f32(&room.path("in/b.nii"), &[1.0, 2.0], 1, &header([1, 1, 2], [1.0; 3])).unwrap();
    let said = room.predict(&["-i", "in/b.nii", "-o", "s.nii"]).ok(&["1 of 1 patch, "]);
    assert!(said.out.contains("\n1 patch on host, "), "{}", said.out);
    let said = room.predict(&["-i", "in", "-o", "out"]).ok(&["1 of 1 case: b done, 0 s elapsed\n"]);
    assert!(said.out.contains("\n1 case on host, ") && said.out.contains("< 1 ms"), "{}", said.out);
}

#[test]
fn one_case_goes_on_only_from_what_is_whole() {
    let room = Room::new(&model());
    room.volume("a.nii.gz");
    let go_on = |more: &[&str]| room.predict(&[&["-i", "a.nii.gz", "-o", "s.nii.gz", "--continue"], more].concat());
    go_on(&[]).ok(&["patches"]);
    let whole = fs::read(room.path("s.nii.gz")).unwrap();
    go_on(&[]).ok(&["s.nii.gz: is there already"]).never(&["patches"]);
    fs::write(room.path("s.nii.gz"), &whole[..whole.len() - 1]).unwrap();
    go_on(&[]).ok(&["note: s.nii.gz is done again: s.nii.gz: truncated", "patches"]);
    assert!(fs::read(room.path("s.nii.gz")).unwrap() == whole);
    let more = ["--probabilities", "p.nii", "--picture", "p.png", "--save-probabilities"];
    go_on(&more).ok(&["p.nii: is not there"]);
    go_on(&more).ok(&["is there already"]);
    for name in ["p.nii", "p.png", "s.npz", "s.pkl"] {
        let bytes = fs::read(room.path(name)).unwrap();
        fs::write(room.path(name), &bytes[..bytes.len() - 1]).unwrap();
        go_on(&more).ok(&["note: s.nii.gz is done again: ", name]);
        assert!(fs::read(room.path(name)).unwrap() == bytes, "{name}");
    }
    fs::write(room.path("s.nii.gz"), "").unwrap();
    room.predict(&["-i", "a.nii.gz", "-o", "s.nii.gz", "--continue", "--quiet"]).ok(&[]);
    assert!(fs::read(room.path("s.nii.gz")).unwrap() == whole);
}
