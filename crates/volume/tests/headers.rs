//! What 169 headers mean: `headers/table.tsv` holds nibabel's and SimpleITK's own answers (made by `headers/make.py`), and whichever
//! reader is asked for, ours must be that one's. Deviations are named below, each with its reason.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use mnx_artifact::{Preprocess, Reader};
use mnx_volume::{AxisMap, ReadOptions, Volume, VolumeError, preprocess, read, write_labels};

/// Where nibabel's answer is not followed.
const NOT_AS_NIBABEL: &[(&str, &str)] = &[
    ("offset-0", "nibabel reads voxels from byte 0, out of the header itself; the format means byte 352"),
    ("offset-0-two", "the same in NIfTI-2, byte 544"),
    ("offset-360.5", "half a byte: refused as damage"),
    ("pixdim-nan", "a voxel size of NaN goes through nibabel; nothing can be resampled with it"),
    ("pixdim-inf", "as is an infinite one"),
];

/// Where SimpleITK's answer is not followed.
const NOT_AS_SIMPLEITK: &[(&str, &str)] = &[
    ("-two", "this build of SimpleITK reads no NIfTI-2; its rules for NIfTI-1 are followed"),
    ("dim-1", "a line of voxels and seven axes are no images to ITK, but grids all the same"),
    ("dim-7", "see dim-1"),
    ("dim-zero-axis", "an empty axis is damage; ITK counts one voxel"),
    ("dim-negative-axis", "see dim-zero-axis"),
    ("offset-0", "ITK reads from byte 348, which is still header; the format means byte 352"),
    ("offset-348", "see offset-0: refused as damage"),
    ("offset--8", "see offset-348"),
    ("offset-100", "see offset-348"),
    ("offset-nan", "see offset-348"),
    ("offset-360.5", "half a byte: refused as damage"),
];

struct Case {
    name: String,
    bytes: Vec<u8>,
    nibabel: String,
    simpleitk: String,
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn cases() -> Vec<Case> {
    let table = include_str!("headers/table.tsv");
    let mut bases: HashMap<&str, Vec<u8>> = HashMap::new();
    let mut out = Vec::new();
    for line in table.lines().skip(1) {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["base", name, hex] => {
                let mut bytes = from_hex(hex);
                bytes.extend((bytes.len()..1024).map(|i| (7 * i % 251) as u8));
                bases.insert(name, bytes);
            }
            ["case", name, base, patches, nibabel, simpleitk] => {
                let mut bytes = bases[base].clone();
                for patch in patches.split_whitespace() {
                    let (at, hex) = patch.split_once('=').unwrap();
                    let (at, new) = (at.parse::<usize>().unwrap(), from_hex(hex));
                    bytes[at..at + new.len()].copy_from_slice(&new);
                }
                out.push(Case { name: name.into(), bytes, nibabel: nibabel.into(), simpleitk: simpleitk.into() });
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!(out.len(), 169);
    out
}

fn reading(case: &Case, reader: Option<Reader>) -> Result<Volume, VolumeError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.nii");
    std::fs::write(&path, &case.bytes).unwrap();
    read(&path, &ReadOptions { reader, ..ReadOptions::default() })
}

/// Fields of a reader's answer; none where it refused.
fn answer(text: &str) -> Option<Vec<Vec<f64>>> {
    let numbers = |part: &str| part.split_whitespace().map(|v| v.parse().unwrap_or(f64::INFINITY)).collect();
    (!text.starts_with("refused")).then(|| text.split(" | ").map(numbers).collect())
}

/// Equal to 1e-6 of the largest among `b`; NaN only where NaN is.
fn near(a: &[f64], b: &[f64]) -> bool {
    let reach = b.iter().filter(|v| v.is_finite()).fold(0.0f64, |m, v| m.max(v.abs()));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-6 * reach)
}

fn listed(list: &[(&str, &str)], name: &str) -> bool {
    list.iter().any(|(known, _)| *known == name || known.starts_with('-') && name.contains(known))
}

/// Checks one reader over the table; `same` compares a volume with its answer. Every listed deviation must be one.
fn check(reader: Reader, deviations: &[(&str, &str)], text: fn(&Case) -> &str, same: fn(&Volume, &[Vec<f64>]) -> Result<(), String>) {
    let mut wrong = Vec::new();
    let mut used = 0;
    for case in cases() {
        let found = match (reading(&case, Some(reader)), answer(text(&case))) {
            (Err(_), None) => Ok(()),
            (Err(e), Some(_)) => Err(format!("refused: {e}")),
            (Ok(_), None) => Err("taken, where the reader refuses".to_owned()),
            (Ok(v), Some(parts)) => same(&v, &parts),
        };
        match (found, listed(deviations, &case.name)) {
            (Ok(()), false) => {}
            (Err(_), true) => used += 1,
            (Ok(()), true) => wrong.push(format!("{}: listed as a deviation, but is none", case.name)),
            (Err(e), false) => wrong.push(format!("{}: {e}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{reader:?}\n{}", wrong.join("\n"));
    assert!(used >= deviations.len(), "{used}");
}

/// First and last voxel of the file; the last channel's last where there are several.
fn ends(v: &Volume) -> [f64; 2] {
    [v.data[0], v.data[v.data.len() - 1]].map(f64::from)
}

fn rows(v: &Volume) -> Vec<f64> {
    v.affine[..3].iter().flatten().copied().collect()
}

fn zooms(v: &Volume, axes: usize) -> Vec<f64> {
    v.spacing.iter().rev().take(axes).copied().collect()
}

/// Shape | affine | zooms | orientation | ends.
fn as_nibabel(v: &Volume, parts: &[Vec<f64>]) -> Result<(), String> {
    let axes = parts[0].len().min(3);
    if !near(&rows(v), &parts[1]) {
        return Err(format!("affine {:?}, nibabel {:?}", rows(v), parts[1]));
    }
    if !near(&zooms(v, axes), &parts[2]) {
        return Err(format!("spacing {:?}, nibabel {:?}", zooms(v, axes), parts[2]));
    }
    if near(&ends(v), &parts[4]) { Ok(()) } else { Err(format!("voxels {:?}, nibabel {:?}", ends(v), parts[4])) }
}

/// Size | spacing | origin | direction | ends, in left-posterior-superior; a time axis is left out.
fn as_simpleitk(v: &Volume, parts: &[Vec<f64>]) -> Result<(), String> {
    let rank = parts[1].len();
    let axes = rank.min(3);
    if !near(&zooms(v, axes), &parts[1][..axes]) {
        return Err(format!("spacing {:?}, SimpleITK {:?}", zooms(v, axes), parts[1]));
    }
    let sign = [-1.0, -1.0, 1.0];
    let origin: Vec<f64> = (0..axes).map(|r| sign[r] * v.affine[r][3]).collect();
    if !near(&origin, &parts[2][..axes]) {
        return Err(format!("origin {origin:?}, SimpleITK {:?}", parts[2]));
    }
    for r in 0..axes {
        let ours: Vec<f64> = (0..axes).map(|c| sign[r] * v.affine[r][c] / v.spacing[2 - c]).collect();
        let equal = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6;
        if !ours.iter().zip(&parts[3][r * rank..]).all(equal) {
            return Err(format!("direction {ours:?}, SimpleITK {:?}", parts[3]));
        }
    }
    if near(&ends(v), &parts[4]) { Ok(()) } else { Err(format!("voxels {:?}, SimpleITK {:?}", ends(v), parts[4])) }
}

#[test]
fn nibabel_reads_as_nibabel() {
    check(Reader::Nibabel, NOT_AS_NIBABEL, |c| &c.nibabel, as_nibabel);
}

#[test]
fn simpleitk_reads_as_simpleitk() {
    check(Reader::Simpleitk, NOT_AS_SIMPLEITK, |c| &c.simpleitk, as_simpleitk);
}

#[test]
fn orientations_are_nibabels() {
    let mut seen = 0;
    for case in cases() {
        let code = case.nibabel.split(" | ").nth(3).unwrap_or("None");
        if code.len() != 3 || listed(NOT_AS_NIBABEL, &case.name) {
            continue;
        }
        let v = reading(&case, Some(Reader::Nibabel)).unwrap();
        assert_eq!(AxisMap::to_orientation(&v.affine, code).unwrap(), AxisMap::IDENTITY, "{}", case.name);
        seen += 1;
    }
    assert!(seen > 130, "{seen}");
}

fn named(name: &str) -> Case {
    cases().into_iter().find(|c| c.name == name).unwrap()
}

#[test]
fn without_a_reader_lengths_are_in_the_files_unit() {
    for (name, factor) in [
        ("plain", 1.0),
        ("unit-none-time-8", 1.0),
        ("unit-metre-time-0", 1e3),
        ("unit-metre-time-24", 1e3),
        ("metre-big", 1e3),
        ("metre-two", 1e3),
        ("metre-qform-alone", 1e3),
        ("metre-no-form", 1e3),
        ("unit-micrometre-time-8", 1e-3),
        ("micrometre-two-big", 1e-3),
        ("micrometre-no-form", 1e-3),
    ] {
        let v = reading(&named(name), None).unwrap();
        assert!(near(&v.spacing, &[2.5 * factor, 2.0 * factor, 1.5 * factor]), "{name} {:?}", v.spacing);
        let column = (0..3).map(|r| v.affine[r][1].powi(2)).sum::<f64>().sqrt();
        assert!(near(&[column], &[2.0 * factor]), "{name} {:?}", v.affine);
        assert_eq!(v.header.oriented(), !name.contains("no-form"), "{name}");
        assert_eq!(v.header.remarks().iter().any(|r| r.contains("metres")), factor != 1.0, "{name} {:?}", v.header.remarks());
    }
    // Both readers say the same of most headers; then so do we.
    let mut agreed = 0;
    for case in cases() {
        let (Ok(a), Ok(b)) = (reading(&case, Some(Reader::Nibabel)), reading(&case, Some(Reader::Simpleitk))) else { continue };
        if near(&rows(&a), &rows(&b)) && near(&a.spacing, &b.spacing) && !case.name.starts_with("pixdim") {
            if case.name == "nan-origin-alone" {
                // Followed where a reader is named: the network does not see the origin.
                assert!(reading(&case, None).unwrap_err().to_string().contains("origin of NaN"));
                continue;
            }
            let v = reading(&case, None).unwrap();
            assert!(near(&rows(&v), &rows(&a)) && near(&v.spacing, &a.spacing), "{}: {:?}", case.name, v.affine);
            agreed += 1;
        }
    }
    assert!(agreed > 80, "{agreed}");
}

#[test]
fn a_file_without_a_form_is_refused_where_the_model_wants_an_orientation() {
    let case = named("codes-0-0");
    let wants = Preprocess { orientation: Some("RAS".into()), ..Preprocess::default() };
    let v = reading(&case, None).unwrap();
    let message = preprocess(&v, &wants).unwrap_err().to_string();
    for word in ["v.nii: neither sform nor qform", "as RAS", "reader = \"simpleitk\"", "\"nibabel\"", "set a form"] {
        assert!(message.contains(word) && !message.contains('\n'), "{message}");
    }
    assert_eq!((v.header.remarks().len(), v.header.formless().is_some()), (0, true), "{:?}", v.header.remarks());
    // Without a wish nothing is turned; with a reader its rule holds: x runs to the left, and in SimpleITK y to the back.
    assert_eq!(preprocess(&v, &Preprocess::default()).unwrap().geometry.map, AxisMap::IDENTITY);
    for (reader, flip) in
        [(Reader::Nibabel, [false, false, true]), (Reader::NibabelReorient, [false, false, true]), (Reader::Simpleitk, [false, true, true])]
    {
        let v = reading(&case, Some(reader)).unwrap();
        let p = preprocess(&v, &Preprocess { reader: Some(reader), ..wants.clone() }).unwrap();
        assert_eq!(p.geometry.map, AxisMap { perm: [0, 1, 2], flip }, "{reader:?}");
        assert!(v.header.formless().unwrap().contains(if reader == Reader::Simpleitk { "LPS" } else { "LAS" }));
    }
    // A form that has no direction is named with its file, too.
    let message = preprocess(&reading(&named("singular-alone"), None).unwrap(), &wants).unwrap_err().to_string();
    assert!(message.contains("v.nii: the orientation cannot be told"), "{message}");
}

#[test]
fn contradicting_voxel_sizes_are_remarked() {
    for (name, expected) in [("sform-other-size", true), ("plain", false), ("metre-small", false), ("sform-close", false)] {
        for reader in [None, Some(Reader::Nibabel), Some(Reader::Simpleitk)] {
            let v = reading(&named(name), reader).unwrap();
            let told =
                v.header.remarks().iter().any(|r| r.contains("contradict") && r.contains("2.5, 2.0, 1.5") && r.contains("5.0, 4.0, 3.0"));
            assert_eq!(told, expected, "{name} {reader:?} {:?}", v.header.remarks());
        }
    }
}

#[test]
fn whoever_reads_the_files_own_fields_are_written_back() {
    for name in ["unit-metre-time-8", "codes-0-0", "conflict-2-2", "metre-two", "sheared-with-qform", "pixdim-negative", "code-negative"] {
        let case = named(name);
        let mut written: Option<Vec<u8>> = None;
        for reader in [None, Some(Reader::Nibabel), Some(Reader::NibabelReorient), Some(Reader::Simpleitk)] {
            let v = reading(&case, reader).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("out.nii");
            write_labels(&path, &vec![1; v.voxels()], &v.header).unwrap();
            let bytes = std::fs::read(path).unwrap();
            let two = name.contains("two");
            let fields: &[(usize, usize)] = if two { &[(104, 64), (344, 152), (500, 4)] } else { &[(76, 16), (123, 1), (252, 76)] };
            for &(at, n) in fields {
                let (now, before) = (&bytes[at..at + n.min(32)], &case.bytes[at..at + n.min(32)]);
                assert_eq!(now, before, "{name} {reader:?} byte {at}");
            }
            assert_eq!(written.get_or_insert_with(|| bytes.clone()), &bytes, "{name} {reader:?}");
        }
    }
}
