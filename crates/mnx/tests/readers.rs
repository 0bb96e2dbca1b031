//! `mnx predict` follows the reader that a model names: units, files without a form, and the grid of saved probabilities.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

#[path = "../../runtime/tests/sample/mod.rs"]
mod sample;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mnx_artifact::{Preprocess, Reader};
use mnx_volume::{Header, ReadOptions, read, write_f32};
use mnx_weights::det;
use sample::{manifest, program};

const SHAPE: [usize; 3] = [7, 9, 17];
/// Byte offsets in a NIfTI-1 header.
const PIXDIM: usize = 80;
const UNITS: usize = 123;
const QFORM_CODE: usize = 252;
const SROW: usize = 280;

/// x runs to the left, y to the front, z up.
fn affine() -> [[f64; 4]; 4] {
    [[-2.0, 0.0, 0.0, 5.0], [0.0, 1.5, 0.0, -7.0], [0.0, 0.0, 3.0, 1.0], [0.0, 0.0, 0.0, 1.0]]
}

struct Case {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

impl Case {
    fn new(preprocess: Preprocess) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let mut m = manifest(vec![program("x86-64-v3", &["sse2"])]);
        m.preprocess = Some(preprocess);
        sample::bundle(&root, &m, [1.5, -0.5], [0.125, 0.325]);
        let voxels: Vec<f32> = det("readers", SHAPE.iter().product()).map(|v| (100.0 + 30.0 * v) as f32).collect();
        write_f32(&root.join("image.nii"), &voxels, 1, &Header::new(SHAPE, affine()).unwrap()).unwrap();
        Case { _dir: dir, root }
    }

    /// Changes the image's header.
    fn edit(&self, change: impl Fn(&mut [u8])) {
        let path = self.root.join("image.nii");
        let mut bytes = std::fs::read(&path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }

    fn predict(&self) -> Output {
        let bundle = std::fs::read_dir(&self.root).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "mnxa"));
        Command::new(env!("CARGO_BIN_EXE_mnx"))
            .arg("predict")
            .arg(bundle.unwrap())
            .args(["-i", "image.nii", "-o", "seg.nii", "--save-probabilities"])
            .current_dir(&self.root)
            .output()
            .unwrap()
    }

    fn labels(&self) -> Vec<u16> {
        let output = self.predict();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        read(&self.root.join("seg.nii"), &ReadOptions::default()).unwrap().to_labels().unwrap()
    }
}

fn wants(spacing: Option<Vec<f64>>, orientation: Option<&str>, reader: Option<Reader>) -> Preprocess {
    Preprocess { spacing, orientation: orientation.map(str::to_owned), reader, ..Preprocess::default() }
}

/// Lengths a thousand times smaller, in metres.
fn in_metres(bytes: &mut [u8]) {
    bytes[UNITS] = bytes[UNITS] & !7 | 1;
    for at in (PIXDIM..PIXDIM + 12).chain(SROW..SROW + 48).step_by(4).filter(|at| (at - PIXDIM).is_multiple_of(4)) {
        let v = f32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        bytes[at..at + 4].copy_from_slice(&(v / 1000.0).to_le_bytes());
    }
}

fn without_form(bytes: &mut [u8]) {
    bytes[QFORM_CODE..QFORM_CODE + 4].fill(0);
}

#[test]
fn a_file_in_metres_is_segmented_as_the_same_file_in_millimetres() {
    let spacing = Some(vec![1.9, 1.9, 1.9]);
    for reader in [None, Some(Reader::Simpleitk)] {
        let case = Case::new(wants(spacing.clone(), Some("RAS"), reader));
        let plain = case.labels();
        assert!(plain.contains(&1) && plain.contains(&0));
        case.edit(in_metres);
        assert!(case.labels() == plain, "{reader:?}");
        // The segmentation carries the file's own numbers.
        let (image, seg) = (std::fs::read(case.root.join("image.nii")).unwrap(), std::fs::read(case.root.join("seg.nii")).unwrap());
        for range in [PIXDIM..PIXDIM + 12, UNITS..UNITS + 1, QFORM_CODE..SROW + 48] {
            assert_eq!(image[range.clone()], seg[range]);
        }
    }
}

#[test]
fn a_file_without_a_form_follows_the_reader_or_is_refused() {
    let none = Case::new(wants(None, Some("RAS"), None));
    none.edit(without_form);
    let output = none.predict();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("image.nii: neither sform nor qform") && message.contains("[preprocess]"), "{message}");
    assert!(!none.root.join("seg.nii").exists() && !none.root.join("seg.npz").exists());
    // A network of single voxels does not see turns: with a reader, and without a wish, the labels are those of the file with its form.
    for preprocess in [
        wants(None, None, None),
        wants(None, Some("RAS"), Some(Reader::Nibabel)),
        wants(None, Some("RAS"), Some(Reader::Simpleitk)),
        wants(None, Some("RAS"), Some(Reader::NibabelReorient)),
    ] {
        let case = Case::new(preprocess);
        let plain = case.labels();
        case.edit(without_form);
        assert!(case.labels() == plain);
    }
}

/// Shape as text, and the numbers of the one array.
fn array(path: &Path) -> (String, Vec<f32>) {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name("probabilities.npy").unwrap().read_to_end(&mut bytes).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let values = bytes[header..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    (String::from_utf8(bytes[10..header].to_vec()).unwrap(), values)
}

#[test]
fn probabilities_are_saved_where_the_model_s_reader_has_them() {
    let keys = |case: &Case| -> Vec<&str> {
        let pickle = std::fs::read(case.root.join("seg.pkl")).unwrap();
        let all = ["sitk_stuff", "nibabel_stuff", "original_affine", "reoriented_affine", "direction"];
        all.into_iter().filter(|key| pickle.windows(key.len()).any(|w| w == key.as_bytes())).collect()
    };
    // Swaps the file's x and z, so that RAS is another shape.
    let swapped = |bytes: &mut [u8]| {
        for row in 0..3 {
            let at = SROW + 16 * row;
            let (x, z) = (bytes[at..at + 4].to_vec(), bytes[at + 8..at + 12].to_vec());
            bytes[at..at + 4].copy_from_slice(&z);
            bytes[at + 8..at + 12].copy_from_slice(&x);
        }
    };
    let file = {
        let case = Case::new(wants(None, None, None));
        case.edit(swapped);
        case.labels();
        assert_eq!(keys(&case), ["sitk_stuff", "direction"]);
        array(&case.root.join("seg.npz"))
    };
    assert!(file.0.contains("(2, 7, 9, 17)"), "{}", file.0);
    for (reader, expected) in [
        (Reader::Simpleitk, vec!["sitk_stuff", "direction"]),
        (Reader::Nibabel, vec!["nibabel_stuff", "original_affine"]),
        (Reader::NibabelReorient, vec!["nibabel_stuff", "original_affine", "reoriented_affine"]),
    ] {
        let case = Case::new(wants(None, Some("RAS"), Some(reader)));
        case.edit(swapped);
        case.labels();
        assert_eq!(keys(&case), expected, "{reader:?}");
        let (shape, data) = array(&case.root.join("seg.npz"));
        // Tiles and sums go another way through a turned volume.
        let near = |a: f32, b: f32| (a - b).abs() <= 1e-5;
        if reader != Reader::NibabelReorient {
            assert!(shape == file.0 && data.iter().zip(&file.1).all(|(a, b)| near(*a, *b)), "{reader:?}");
            continue;
        }
        assert!(shape.contains("(2, 17, 9, 7)"), "{shape}");
        // File axis x runs up, y to the front, z to the left.
        for (i, value) in data.iter().enumerate() {
            let (k, s, a, r) = (i / (17 * 9 * 7), i / (9 * 7) % 17, i / 7 % 9, i % 7);
            let at = ((k * 7 + (6 - r)) * 9 + a) * 17 + s;
            assert!(near(*value, file.1[at]), "{k} {s} {a} {r}");
        }
    }
}
