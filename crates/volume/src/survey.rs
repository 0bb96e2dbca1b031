//! Whether a written file is all there: outputs of an earlier run, looked at without keeping their voxels.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use mnx_artifact::Reader;

use crate::error::VolumeError;
use crate::header::{Datatype, Header};
use crate::npz::Element;
use crate::read::read_header;
use crate::source::Source;

/// Bytes looked at together.
const CHUNK: usize = 1 << 18;
/// An array's header in an archive is a line of text; more is not read.
const NPY_HEADER: usize = 1 << 12;

/// What a whole volume file holds.
#[derive(Debug)]
pub struct Survey {
    /// Header of the file.
    pub header: Header,
    /// Voxels of the file.
    pub voxels: Voxels,
}

/// The kind of voxels a surveyed file has.
#[derive(Debug, PartialEq, Eq)]
pub enum Voxels {
    /// Unsigned 8-bit or 16-bit, unscaled, as labels are written: the values that occur.
    Labels(BTreeSet<u16>),
    /// float32, unscaled, as probabilities are written.
    Float32,
    /// Any other.
    Other,
}

/// Reads a volume file to its last byte, its gzip checksum included, in constant memory; the header is as a reader sees it.
///
/// # Errors
/// Whatever is wrong with it: no NIfTI file, a header that contradicts itself, voxels or a gzip stream that end early, bytes behind
/// the voxels.
pub fn survey(path: &Path, reader: Option<Reader>) -> Result<Survey, VolumeError> {
    let mut source = Source::open(path)?;
    let (header, layout) = read_header(path, &mut source, reader)?;
    let plain = layout.slope == 1.0 && layout.inter == 0.0;
    let width = layout.datatype.bytes();
    let all = header.shape().iter().product::<usize>() * header.channels() * width;
    let mut seen = vec![false; if plain && width <= 2 { 1 << 16 } else { 0 }];
    let mut chunk = vec![0u8; CHUNK];
    let mut have = 0;
    while have < all {
        let want = CHUNK.min(all - have);
        let got = source.fill(path, &mut chunk[..want])?;
        match (layout.datatype, plain) {
            (Datatype::U8, true) => chunk[..got].iter().for_each(|&v| seen[usize::from(v)] = true),
            (Datatype::U16, true) => chunk[..got].chunks_exact(2).for_each(|b| {
                let pair = [b[0], b[1]];
                let v = if layout.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) };
                seen[usize::from(v)] = true;
            }),
            _ => {}
        }
        have += got;
        if got < want {
            return Err(VolumeError::damaged(path, format!("truncated: {have} of {all} bytes of voxels")));
        }
    }
    if source.fill(path, &mut chunk[..1])? > 0 {
        return Err(VolumeError::damaged(path, "bytes follow the voxels"));
    }
    let voxels = match (layout.datatype, plain) {
        (Datatype::U8 | Datatype::U16, true) => Voxels::Labels((0..=u16::MAX).filter(|&v| seen[usize::from(v)]).collect()),
        (Datatype::F32, true) => Voxels::Float32,
        _ => Voxels::Other,
    };
    Ok(Survey { header, voxels })
}

/// Checks that an archive has its central directory and in it `NAME.npy`, of this element type and, where they are given, these many
/// values; says what is wrong otherwise.
///
/// # Errors
/// One line without the file's name.
pub fn whole_npz(path: &Path, name: &str, element: Element, classes: usize, values: Option<usize>) -> Result<(), String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut archive = zip::ZipArchive::new(file).map_err(|_| "not a whole archive".to_owned())?;
    let mut entry = archive.by_name(&format!("{name}.npy")).map_err(|_| format!("no array \"{name}\" in it"))?;
    let size = entry.size();
    let broken = || format!("its array \"{name}\" is no NumPy array");
    let mut start = [0u8; 10];
    entry.read_exact(&mut start).map_err(|_| broken())?;
    let length = usize::from(u16::from_le_bytes([start[8], start[9]]));
    if !start.starts_with(b"\x93NUMPY\x01") || length > NPY_HEADER {
        return Err(broken());
    }
    let mut header = vec![0u8; length];
    entry.read_exact(&mut header).map_err(|_| broken())?;
    let header = String::from_utf8(header).map_err(|_| broken())?;
    let (width, descr) = match element {
        Element::F32 => (4, "'<f4'"),
        Element::F16 => (2, "'<f2'"),
    };
    let shape: Option<Vec<usize>> = header
        .split_once("'shape': (")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(inside, _)| inside.split(',').map(str::trim).filter(|n| !n.is_empty()).map(|n| n.parse().ok()).collect::<Option<_>>())
        .ok_or_else(broken)?;
    let shape = shape.ok_or_else(broken)?;
    if !header.contains(descr) {
        return Err(format!("its array \"{name}\" is not of type {descr}"));
    }
    let product = shape.iter().try_fold(1usize, |acc, &n| acc.checked_mul(n)).ok_or_else(broken)?;
    if shape.first() != Some(&classes) || values.is_some_and(|n| n != product) {
        let shown: Vec<String> = shape.iter().map(ToString::to_string).collect();
        let want = values.map_or_else(String::new, |n| format!(", {n} values"));
        return Err(format!("its array \"{name}\" is {}, {classes} classes{want} expected", shown.join("x")));
    }
    if size != (10 + length + product * width) as u64 {
        return Err(format!("its array \"{name}\" has {size} bytes, {} expected", 10 + length + product * width));
    }
    Ok(())
}

/// Checks that a pickle begins and ends as [`crate::npz::write_pickle`] writes it.
///
/// # Errors
/// One line without the file's name.
pub fn whole_pickle(path: &Path) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    if bytes.len() > 3 && bytes.starts_with(&[0x80, 2, b'}']) && bytes.ends_with(b"u.") { Ok(()) } else { Err("not a whole pickle".into()) }
}

/// Checks that a PNG picture begins and ends as one.
///
/// # Errors
/// One line without the file's name.
pub fn whole_png(path: &Path) -> Result<(), String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let ends = bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.ends_with(b"IEND\xaeB`\x82");
    if ends { Ok(()) } else { Err("not a whole picture".into()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::npz::{Item, write_npz, write_pickle};
    use crate::{write_f32, write_labels};

    fn header() -> Header {
        Header::new([3, 4, 5], [[-1.0, 0.0, 0.0, 2.0], [0.0, 2.0, 0.0, 3.0], [0.0, 0.0, 3.0, 4.0], [0.0, 0.0, 0.0, 1.0]]).unwrap()
    }

    /// What is left of every cut of a file is refused.
    fn cuts(path: &Path, check: &dyn Fn(&Path) -> bool) {
        let whole = std::fs::read(path).unwrap();
        assert!(check(path));
        let ending: String = path.file_name().unwrap().to_str().unwrap().split_once('.').unwrap().1.to_owned();
        let cut = path.with_file_name(format!("cut.{ending}"));
        for n in 0..whole.len() {
            std::fs::write(&cut, &whole[..n]).unwrap();
            assert!(!check(&cut), "{n} of {} bytes of {}", whole.len(), path.display());
        }
        // What a file system leaves of a file after a power failure: its length, and zeros.
        std::fs::write(&cut, vec![0; whole.len()]).unwrap();
        assert!(!check(&cut));
    }

    #[test]
    fn every_cut_of_every_output_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let labels: Vec<u16> = (0..60).map(|i| [0, 3, 7][i % 3]).collect();
        for name in ["a.nii", "a.nii.gz"] {
            let path = dir.path().join(name);
            write_labels(&path, &labels, &header()).unwrap();
            cuts(&path, &|p| survey(p, None).is_ok());
            assert_eq!(survey(&path, None).unwrap().voxels, Voxels::Labels([0, 3, 7].into()));
        }
        let path = dir.path().join("a.npz");
        write_npz(&path, "softmax", Element::F16, &[2, 3, 4, 5], &mut |_| Ok(vec![0.25; 60])).unwrap();
        cuts(&path, &|p| whole_npz(p, "softmax", Element::F16, 2, Some(120)).is_ok());
        let path = dir.path().join("a.pkl");
        write_pickle(&path, &Item::Dict(vec![("a".into(), Item::ints(&[1, 2]))])).unwrap();
        cuts(&path, &|p| whole_pickle(p).is_ok());
        let path = dir.path().join("a.png");
        std::fs::write(&path, b"\x89PNG\r\n\x1a\n....IEND\xaeB`\x82").unwrap();
        cuts(&path, &|p| whole_png(p).is_ok());
    }

    #[test]
    fn kinds_of_voxels_and_arrays_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.nii.gz");
        write_labels(&path, &[300; 60], &header()).unwrap();
        assert_eq!(survey(&path, None).unwrap().voxels, Voxels::Labels([300].into()));
        write_f32(&path, &[0.5; 120], 2, &header()).unwrap();
        let two = survey(&path, None).unwrap();
        assert_eq!((two.voxels, two.header.channels(), two.header.shape()), (Voxels::Float32, 2, [3, 4, 5]));
        let plain = dir.path().join("a.nii");
        write_labels(&plain, &[1; 60], &header()).unwrap();
        let mut bytes = std::fs::read(&plain).unwrap();
        bytes.push(0);
        std::fs::write(&plain, bytes).unwrap();
        assert!(survey(&plain, None).unwrap_err().to_string().contains("bytes follow the voxels"));
        let path = dir.path().join("a.npz");
        write_npz(&path, "softmax", Element::F16, &[2, 60], &mut |_| Ok(vec![0.25; 60])).unwrap();
        let why = |name: &str, element, classes, values| whole_npz(&path, name, element, classes, values).unwrap_err();
        assert!(why("probabilities", Element::F16, 2, None).contains("no array \"probabilities\""));
        assert!(why("softmax", Element::F32, 2, None).contains("not of type '<f4'"));
        assert!(why("softmax", Element::F16, 3, None).contains("is 2x60, 3 classes expected"));
        assert!(why("softmax", Element::F16, 2, Some(60)).contains("is 2x60, 2 classes, 60 values expected"));
    }
}
