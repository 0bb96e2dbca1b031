//! The bundle file: round trip, stable bytes, damage anywhere, and files whose digests are right but whose content is wrong.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use mnx_artifact::{
    BufferRef, Bundle, BundleError, BundleWriter, Command, Connectivity, Cost, Element, Fold, Geometry, GpuNeeds, Inference, Label,
    Manifest, ModelCard, Normalization, Port, Postprocess, Preprocess, Program, Reader, SectionKind, Space, TestVectors, WeightEntry,
    Write,
};

fn buffer(space: Space, offset: u64, bytes: u64) -> BufferRef {
    BufferRef { space, offset, bytes }
}

fn program(target: &str) -> Program {
    Program {
        target: target.into(),
        requires: vec!["avx2".into()],
        arena_bytes: 1024,
        scratch_bytes: 100,
        inputs: vec![buffer(Space::Arena, 0, 96)],
        outputs: vec![buffer(Space::Arena, 128, 192)],
        commands: vec![
            Command::Fill { dst: buffer(Space::Arena, 512, 64), value: 0 },
            Command::Launch {
                dispatch: "head".into(),
                kernel: "head_pointwise".into(),
                args: vec![buffer(Space::Arena, 0, 96), buffer(Space::Weights, 64, 12), buffer(Space::Arena, 128, 192)],
                workgroups: 3,
                cost: Cost { flops: 10, bytes: 20, gelus: 5 },
                geometry: None,
                writes: vec![],
            },
            Command::Copy { src: buffer(Space::Arena, 512, 64), dst: buffer(Space::Arena, 576, 64) },
        ],
        precision: "f32".into(),
        gpu: None,
    }
}

fn manifest() -> Manifest {
    Manifest {
        compiler: "mnxc test".into(),
        model: ModelCard {
            name: "tiny".into(),
            flavour: "official".into(),
            spatial_dims: 3,
            in_channels: 1,
            n_classes: 2,
            parameters: 5,
            macs: 6,
            output: "logits".into(),
            config: serde_json::json!({"n_channels": 8}),
        },
        batch: 1,
        patch: vec![2, 3, 4],
        precision: "f32".into(),
        gelu: "accurate".into(),
        inputs: vec![Port { name: "input".into(), shape: vec![1, 1, 2, 3, 4], dtype: "f32".into() }],
        outputs: vec![Port { name: "out_0".into(), shape: vec![1, 2, 2, 3, 4], dtype: "f32".into() }],
        weights: vec![
            WeightEntry { name: "w".into(), offset: 0, bytes: 8, recipe: serde_json::json!({"op": "zeros", "shape": [2]}) },
            WeightEntry { name: "b".into(), offset: 64, bytes: 12, recipe: serde_json::json!({"op": "zeros", "shape": [3]}) },
        ],
        folds: Fold::only(),
        programs: vec![program("x86-64-v4"), program("x86-64-v3")],
        preprocess: Some(Preprocess {
            spacing: Some(vec![1.0, 1.1, 0.1 + 0.2]),
            orientation: Some("RAS".into()),
            normalization: vec![Normalization::ZScore],
            ..Preprocess::default()
        }),
        inference: Some(Inference { mirror_axes: Some(vec![0, 2]), ..Inference::default() }),
        channels: vec!["CT".into()],
        labels: vec![Label { name: "bone".into(), value: 1 }],
        vectors: Some(TestVectors { input_name: "v".into(), outputs: vec![vec![(47, 0.125)]], maxima: vec![1.0 / 3.0], tolerance: 1e-4 }),
        formula: None,
        source_digest: "00".into(),
        notes: vec![],
    }
}

const WEIGHTS: [u8; 76] = [7; 76];

fn write(dir: &Path) -> PathBuf {
    let path = dir.join("m.mnxa");
    let manifest = manifest();
    BundleWriter::new(&manifest).code(b"code of v4").code(b"code of v3, longer").weights(&WEIGHTS).write(&path).unwrap();
    path
}

/// Opens and reads everything.
fn open(path: &Path) -> Result<Bundle, BundleError> {
    let bundle = Bundle::open(path)?;
    for fold in 0..bundle.folds() {
        bundle.read_weights(fold)?;
    }
    Ok(bundle)
}

#[test]
fn round_trip_and_stable_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path());
    let first = std::fs::read(&path).unwrap();
    let bundle = open(&path).unwrap();
    assert_eq!(*bundle.manifest(), manifest());
    assert_eq!(bundle.code(0), b"code of v4");
    assert_eq!(bundle.code(1), b"code of v3, longer");
    assert_eq!(bundle.code(2), b"");
    assert_eq!(bundle.read_weights(0).unwrap(), WEIGHTS);
    assert!(bundle.weights_section(0).unwrap().offset.is_multiple_of(4096));
    assert_eq!(bundle.size(), first.len() as u64);
    assert_eq!(std::fs::read(write(dir.path())).unwrap(), first);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "temporary files left behind");
}

#[test]
fn a_bundle_without_weights_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let mut m = manifest();
    m.weights.clear();
    for p in &mut m.programs {
        p.commands.clear();
    }
    let path = dir.path().join("m.mnxa");
    BundleWriter::new(&m).code(b"").code(b"x").write(&path).unwrap();
    assert!(open(&path).unwrap().read_weights(0).unwrap().is_empty());
}

#[test]
fn every_bit_flip_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path());
    let good = std::fs::read(&path).unwrap();
    // Every bit of the header, then a stride that is coprime to the section alignments.
    let positions = (0..280 * 8).chain((280 * 8..good.len() * 8).step_by(37));
    for at in positions {
        let mut bytes = good.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        std::fs::write(&path, &bytes).unwrap();
        assert!(open(&path).is_err(), "bit {at} flipped unnoticed");
    }
}

#[test]
fn every_truncation_and_extension_is_an_error_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path());
    let good = std::fs::read(&path).unwrap();
    for length in (0..good.len()).step_by(13).chain([1, 7, 8, 9, 23, 24, 25, good.len() - 1]) {
        std::fs::write(&path, &good[..length]).unwrap();
        let err = open(&path).unwrap_err().to_string();
        assert!(err.contains("m.mnxa"), "{err}");
        if length >= 24 {
            let want = format!("truncated: file has {length} bytes, header says {}", good.len());
            assert!(err.contains(&want), "{err}");
        }
    }
    let mut longer = good.clone();
    longer.push(0);
    std::fs::write(&path, &longer).unwrap();
    assert!(open(&path).unwrap_err().to_string().contains("appended"));
}

#[test]
fn foreign_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path());
    let good = std::fs::read(&path).unwrap();
    let expect = |bytes: &[u8], reason: &str| {
        std::fs::write(&path, bytes).unwrap();
        let err = open(&path).unwrap_err().to_string();
        assert!(err.contains(reason), "{reason}: {err}");
    };
    expect(b"", "not a bundle: expected magic");
    expect(b"\x7fELF and so on and so forth, long enough", "found \\x7fELF");
    let mut version = good.clone();
    version[8] = 9;
    expect(&version, "version 9, this mnx reads version 1");
    let mut sections = good.clone();
    sections[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    expect(&sections, "4294967295 sections");
    let mut sections = good.clone();
    sections[12..16].copy_from_slice(&64u32.to_le_bytes());
    sections.truncate(100);
    sections[16..24].copy_from_slice(&100u64.to_le_bytes());
    expect(&sections, "cannot hold a table");
    let mut weights = good.clone();
    *weights.last_mut().unwrap() ^= 1;
    expect(&weights, "section \"weights\": digest mismatch");
    let mut header = good.clone();
    header[30] ^= 1;
    expect(&header, "header digest mismatch");
    assert!(Bundle::open(dir.path()).unwrap_err().to_string().contains("directory"));
    assert!(Bundle::open(dir.path().join("none.mnxa")).unwrap_err().to_string().contains("none.mnxa"));
}

/// Replaces text in the manifest by text of equal length and makes all digests right again.
fn forge(good: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = good.to_vec();
    let read = |at: usize| u64::from_le_bytes(good[at..at + 8].try_into().unwrap()) as usize;
    let (offset, length) = (read(24 + 8), read(24 + 16));
    let text = String::from_utf8(bytes[offset..offset + length].to_vec()).unwrap();
    assert!(text.contains(from), "{from} not in {text}");
    bytes[offset..offset + length].copy_from_slice(text.replacen(from, to, 1).as_bytes());
    let digest = *blake3::hash(&bytes[offset..offset + length]).as_bytes();
    bytes[24 + 24..24 + 56].copy_from_slice(&digest);
    let body = 24 + 4 * 56;
    let digest = *blake3::hash(&bytes[..body]).as_bytes();
    bytes[body..body + 32].copy_from_slice(&digest);
    bytes
}

#[test]
fn consistent_files_with_wrong_content_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path());
    let good = std::fs::read(&path).unwrap();
    // A forgery that changes nothing is accepted: the forging itself is right.
    std::fs::write(&path, forge(&good, "mnxc test", "mnxc best")).unwrap();
    assert_eq!(open(&path).unwrap().manifest().compiler, "mnxc best");
    for (from, to, reason) in [
        ("\"arena_bytes\": 1024", "\"arena_bytes\": 0639", "cannot be read"),
        ("\"arena_bytes\": 1024", "\"arena_bytes\":   63", "of the arena, which has 63"),
        ("\"offset\": 512,", "\"offset\": 500,", "multiples of 64"),
        ("\"offset\": 512,", "\"offset\": 1e9,", "cannot be read"),
        ("\"offset\": 576,", "\"offset\": 512,", "without overlap"),
        ("\"bytes\": 192", "\"bytes\": 188", "port \"out_0\""),
        ("\"batch\": 1", "\"batch\": 2", "batch, channels and patch say"),
        ("\"dtype\": \"f32\"", "\"dtype\": \"f16\"", "not a tensor we carry"),
        ("\"x86-64-v3\"", "\"x86-64-v4\"", "two programs for target"),
        ("\"workgroups\": 3", "\"workgroups\": 0", "0 workgroups"),
        ("\"name\": \"b\"", "\"name\": \"w\"", "two weights named"),
        ("\"offset\": 64,\n      \"bytes\": 12", "\"offset\": 64,\n      \"bytes\": 16", "of a section of 76"),
        ("\"offset\": 64,\n      \"bytes\": 12", "\"offset\":  0,\n      \"bytes\": 12", "overlap"),
        ("      47,", "      48,", "at index 48 of 48"),
        ("1.1", "-11", "spacing"),
        ("\"step\": 0.5", "\"step\": 1.5", "above 0 and at most 1"),
        ("\"order_z\": 0", "\"order_z\": 2", "0, 1 or 3"),
    ] {
        std::fs::write(&path, forge(&good, from, to)).unwrap();
        let err = open(&path).unwrap_err().to_string();
        assert!(err.contains(reason), "{from} -> {to}: {err}");
    }
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.mnxa");
    let m = manifest();
    let err = BundleWriter::new(&m).code(b"only one").weights(&WEIGHTS).write(&path).unwrap_err();
    assert!(err.to_string().contains("1 code blobs for 2 programs"), "{err}");
    let err = BundleWriter::new(&m).code(b"a").code(b"b").weights(&WEIGHTS[..70]).write(&path).unwrap_err();
    assert!(err.to_string().contains("weight \"b\""), "{err}");
    assert!(!path.exists());

    // What is wrong with the way through a volume is said in plain words.
    let preprocess = |change: &dyn Fn(&mut Preprocess)| {
        let mut m = manifest();
        change(m.preprocess.as_mut().unwrap());
        m
    };
    let reader = Some(Reader::NibabelReorient);
    for (m, reason) in [
        (preprocess(&|p| (p.reader, p.orientation) = (reader, Some("LPS".into()))), "orientation \"LPS\", expected \"RAS\""),
        (preprocess(&|p| p.spacing = Some(vec![1.5, 2.0])), "spacing [1.5, 2] for 3 spatial dimensions, in mm"),
        (preprocess(&|p| p.transpose = [0, 2, 2]), "transpose [0, 2, 2] is not"),
    ] {
        let err = BundleWriter::new(&m).code(b"a").code(b"b").weights(&WEIGHTS).write(&path).unwrap_err().to_string();
        assert!(err.contains(reason), "{reason}: {err}");
    }
    let accepted = preprocess(&|p| p.reader = reader);
    BundleWriter::new(&accepted).code(b"a").code(b"b").weights(&WEIGHTS).write(&path).unwrap();
    let rule = |labels: Vec<u32>| Postprocess { labels, connectivity: Connectivity::Faces, min_size: Some(-2.0) };
    let mut m = manifest();
    m.inference = Some(Inference { postprocess: vec![rule(vec![1, 2])], ..Inference::default() });
    let err = BundleWriter::new(&m).code(b"a").code(b"b").weights(&WEIGHTS).write(&path).unwrap_err().to_string();
    assert!(err.contains("postprocess of labels [1, 2], min_size -2: labels other than 0 and a size in mm3 expected"), "{err}");
}

/// The manifest with a first program for a GPU.
fn gpu_manifest() -> Manifest {
    let mut m = manifest();
    let p = &mut m.programs[0];
    p.target = "sm_90a".into();
    p.requires.clear();
    p.scratch_bytes = 0;
    p.precision = "bf16".into();
    p.gpu = Some(GpuNeeds { compute: [9, 0], exact: true, ptx: [8, 0] });
    if let Command::Launch { geometry, writes, .. } = &mut p.commands[1] {
        *geometry = Some(Geometry { grid: [3, 1, 1], block: [128, 1, 1], shared_bytes: 100_000 });
        *writes = vec![Write { arg: 2, element: Element::F32 }];
    }
    m
}

const CUBIN: &[u8] = b"\x7fELF and machine code";

#[test]
fn cubins_stand_beside_their_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.mnxa");
    let m = gpu_manifest();
    BundleWriter::new(&m).code(b"ptx").cubin(Some(CUBIN)).code(b"so").weights(&WEIGHTS).write(&path).unwrap();
    let bundle = open(&path).unwrap();
    assert_eq!(*bundle.manifest(), m);
    assert_eq!((bundle.code(0), bundle.cubin(0)), (&b"ptx"[..], Some(CUBIN)));
    assert_eq!((bundle.code(1), bundle.cubin(1), bundle.cubin(2)), (&b"so"[..], None, None));
    let names: Vec<String> = bundle.sections().iter().map(mnx_artifact::Section::name).collect();
    assert_eq!(names, ["manifest", "code 0", "cubin 0", "code 1", "weights"]);
    let section = bundle.sections().iter().find(|s| s.kind == SectionKind::Cubin).unwrap();
    let good = std::fs::read(&path).unwrap();
    let mut bytes = good.clone();
    bytes[section.offset as usize + 6] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert!(open(&path).unwrap_err().to_string().contains("section \"cubin 0\": digest mismatch"));

    // Without a cubin the same manifest is sound, and the table tells the two files apart.
    BundleWriter::new(&m).code(b"ptx").cubin(None).code(b"so").weights(&WEIGHTS).write(&path).unwrap();
    assert!(open(&path).unwrap().cubin(0).is_none());

    // Swapped kinds: two cubins for one program, or one before any code.
    for (at, kind, reason) in [(1usize, 4u32, "at most one cubin"), (3, 4, "at most one cubin"), (2, 2, "at most one cubin")] {
        let mut bytes = good.clone();
        bytes[24 + at * 56..][..4].copy_from_slice(&kind.to_le_bytes());
        if (at, kind) == (3, 4) {
            bytes[24 + at * 56 + 4..][..4].copy_from_slice(&0u32.to_le_bytes());
        }
        let body = 24 + 5 * 56;
        let digest = *blake3::hash(&bytes[..body]).as_bytes();
        bytes[body..body + 32].copy_from_slice(&digest);
        std::fs::write(&path, &bytes).unwrap();
        let err = open(&path).unwrap_err().to_string();
        assert!(err.contains(reason), "{at} {kind}: {err}");
    }
}

#[test]
fn gpu_launches_keep_to_the_limits_of_cuda() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.mnxa");
    let refuse = |change: &dyn Fn(&mut Program), reason: &str| {
        let mut m = gpu_manifest();
        change(&mut m.programs[0]);
        let err = BundleWriter::new(&m).code(b"ptx").cubin(Some(CUBIN)).code(b"so").weights(&WEIGHTS).write(&path).unwrap_err().to_string();
        assert!(err.contains(reason), "{reason}: {err}");
    };
    let edit = |p: &mut Program, g: Option<Geometry>| {
        if let Command::Launch { geometry, workgroups, .. } = &mut p.commands[1] {
            *geometry = g;
            *workgroups = g.map_or(3, |g| g.grid.iter().fold(1, |n, &e| n * u64::from(e).max(1)));
        }
    };
    let geometry = |grid, block, shared_bytes| Some(Geometry { grid, block, shared_bytes });
    refuse(&|p| edit(p, None), "without grid and block");
    refuse(&|p| edit(p, geometry([3, 1, 1], [1025, 1, 1], 0)), "block [1025, 1, 1]");
    refuse(&|p| edit(p, geometry([3, 1, 1], [32, 32, 2], 0)), "1024 threads in all");
    refuse(&|p| edit(p, geometry([3, 1, 1], [1, 1, 65], 0)), "block [1, 1, 65]");
    refuse(&|p| edit(p, geometry([3, 1, 1], [u32::MAX; 3], 0)), "block [4294967295");
    refuse(&|p| edit(p, geometry([3, 1, 1], [0, 1, 1], 0)), "block [0, 1, 1]");
    refuse(&|p| edit(p, geometry([1, 65_536, 1], [32, 1, 1], 0)), "grid [1, 65536, 1]");
    refuse(&|p| edit(p, geometry([1, 0, 1], [32, 1, 1], 0)), "grid [1, 0, 1]");
    refuse(&|p| edit(p, geometry([3, 1, 1], [32, 1, 1], 300_000)), "300000 bytes of shared memory");
    refuse(&|p| p.scratch_bytes = 64, "scratch");
    refuse(&|p| p.precision = "fp4".into(), "precision \"fp4\"");
    refuse(&|p| p.gpu = None, "not a GPU's");
    refuse(
        &|p| {
            if let Command::Launch { workgroups, .. } = &mut p.commands[1] {
                *workgroups = 4;
            }
        },
        "grid [3, 1, 1] for 4 workgroups",
    );
    for (arg, element) in [(3, Element::F32), (1, Element::F32), (7, Element::I32)] {
        refuse(
            &|p| {
                if let Command::Launch { writes, .. } = &mut p.commands[1] {
                    *writes = vec![Write { arg, element }];
                }
            },
            "writes",
        );
    }
    let m = gpu_manifest();
    let err = BundleWriter::new(&m).code(b"ptx").code(b"so").cubin(Some(CUBIN)).weights(&WEIGHTS).write(&path).unwrap_err().to_string();
    assert!(err.contains("program x86-64-v3: a cubin"), "{err}");
    let err = BundleWriter::new(&m).code(b"ptx").cubin(Some(b"text")).code(b"so").weights(&WEIGHTS).write(&path).unwrap_err().to_string();
    assert!(err.contains("no ELF file"), "{err}");
    assert!(!path.exists());
}

/// The bundle of above with three folds.
fn write_folds(dir: &Path, weights: [&[u8]; 3], names: [&str; 3]) -> Result<PathBuf, BundleError> {
    let path = dir.join("m.mnxa");
    let mut m = manifest();
    m.folds = names.iter().map(|n| Fold { name: (*n).into() }).collect();
    let writer = BundleWriter::new(&m).code(b"code of v4").code(b"code of v3, longer");
    weights.into_iter().fold(writer, |w, bytes| w.weights(bytes)).write(&path)?;
    Ok(path)
}

#[test]
fn folds_share_the_code_and_each_has_its_weights() {
    let dir = tempfile::tempdir().unwrap();
    let path = write_folds(dir.path(), [&[1; 76], &[2; 76], &[3; 76]], ["0", "1", "4"]).unwrap();
    let bundle = open(&path).unwrap();
    assert_eq!((bundle.folds(), bundle.weights_bytes()), (3, 76));
    assert_eq!(bundle.manifest().folds.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["0", "1", "4"]);
    for (fold, value) in [1u8, 2, 3].into_iter().enumerate() {
        assert_eq!(bundle.read_weights(fold).unwrap(), [value; 76]);
        assert!(bundle.weights_section(fold).unwrap().offset.is_multiple_of(4096));
        assert!(bundle.check_weights(fold, &[value; 76]).is_ok() && bundle.check_weights(fold, &[9; 76]).is_err());
    }
    assert!(bundle.read_weights(3).unwrap_err().to_string().contains("fold 3 asked for, there are 3"));
    assert_eq!(bundle.sections().iter().map(mnx_artifact::Section::name).collect::<Vec<_>>()[3..], ["weights", "weights 1", "weights 2"]);
    // One flipped bit in the last fold is found when that fold is read.
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let bundle = Bundle::open(&path).unwrap();
    assert!(bundle.read_weights(0).is_ok());
    assert!(bundle.read_weights(2).unwrap_err().to_string().contains("section \"weights 2\": digest mismatch"));
}

#[test]
fn folds_that_do_not_match_the_manifest_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let err = |weights: [&[u8]; 3], names| write_folds(dir.path(), weights, names).unwrap_err().to_string();
    assert!(err([&[1; 76], &[2; 80], &[3; 76]], ["0", "1", "2"]).contains("different sizes"));
    assert!(err([&[1; 76], &[2; 76], &[3; 76]], ["0", "1", "1"]).contains("\"1\" is empty or taken"));
    let path = dir.path().join("m.mnxa");
    let m = manifest();
    let two = BundleWriter::new(&m).code(b"a").code(b"b").weights(&WEIGHTS).weights(&WEIGHTS).write(&path).unwrap_err();
    assert!(two.to_string().contains("2 weights sections for 1 folds"), "{two}");
    assert!(!path.exists());
}
