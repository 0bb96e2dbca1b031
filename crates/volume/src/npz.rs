//! NumPy's archive of one array, as nnU-Net saves probabilities, and the pickle of plain data that lies beside it.

use std::io::{BufWriter, Write};
use std::path::Path;

use half::f16;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::error::VolumeError;
use crate::write::temporary_beside;

/// Number format of a saved array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// float32.
    F32,
    /// float16, rounded to nearest.
    F16,
}

/// Writes `NAME.npy` of `shape` (slowest axis first) into a compressed archive; `part(i)` gives the `i`-th slice along the first axis.
///
/// # Errors
/// When a slice has another length or cannot be had, or the disk refuses. The file appears complete or not at all.
pub fn write_npz(
    path: &Path,
    name: &str,
    element: Element,
    shape: &[usize],
    part: &mut dyn FnMut(usize) -> Result<Vec<f32>, VolumeError>,
) -> Result<(), VolumeError> {
    let temporary = temporary_beside(path)?;
    let failed = |e: std::io::Error| VolumeError::io(path, e);
    let (width, descr) = match element {
        Element::F32 => (4, "<f4"),
        Element::F16 => (2, "<f2"),
    };
    let slice: usize = shape.iter().skip(1).product();
    let bytes = slice.saturating_mul(shape.first().copied().unwrap_or(0)).saturating_mul(width);
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(3))
        .large_file(bytes as u64 >= u64::from(u32::MAX) - 4096);
    let mut archive = ZipWriter::new(BufWriter::new(temporary.as_file()));
    archive.start_file(format!("{name}.npy"), options).map_err(|e| failed(e.into()))?;
    archive.write_all(&npy_header(descr, shape)).map_err(failed)?;
    let mut encoded = Vec::new();
    for i in 0..shape.first().copied().unwrap_or(0) {
        let values = part(i)?;
        if values.len() != slice {
            return Err(VolumeError::Setting(format!("{}: {} values in a slice of {slice}", path.display(), values.len())));
        }
        for chunk in values.chunks(1 << 16) {
            encoded.clear();
            match element {
                Element::F32 => chunk.iter().for_each(|v| encoded.extend_from_slice(&v.to_le_bytes())),
                Element::F16 => chunk.iter().for_each(|v| encoded.extend_from_slice(&f16::from_f32(*v).to_le_bytes())),
            }
            archive.write_all(&encoded).map_err(failed)?;
        }
    }
    let mut out = archive.finish().map_err(|e| failed(e.into()))?;
    out.flush().map_err(failed)?;
    drop(out);
    temporary.persist(path).map_err(|e| VolumeError::io(path, e.error))?;
    Ok(())
}

/// Version 1.0 of the format: magic, length, a Python dictionary, padded so that the data begins at a multiple of 64.
fn npy_header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let extents: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", extents.join(", "));
    while !(10 + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

/// Plain data as Python has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// `None`.
    None,
    /// `int`.
    Int(i64),
    /// `float`.
    Float(f64),
    /// `str`.
    Text(String),
    /// `list`.
    List(Vec<Item>),
    /// `tuple`.
    Tuple(Vec<Item>),
    /// `dict` with string keys.
    Dict(Vec<(String, Item)>),
}

impl Item {
    /// A tuple of integers.
    pub fn ints(values: &[usize]) -> Item {
        Item::Tuple(values.iter().map(|v| Item::Int(*v as i64)).collect())
    }

    /// A tuple of floats.
    pub fn floats(values: &[f64]) -> Item {
        Item::Tuple(values.iter().map(|v| Item::Float(*v)).collect())
    }

    /// Pickle protocol 2; it names no class, so whoever loads it executes nothing.
    fn pickle(&self, out: &mut Vec<u8>) {
        match self {
            Item::None => out.push(b'N'),
            Item::Int(v) => match i32::try_from(*v) {
                Ok(small) => {
                    out.push(b'J');
                    out.extend_from_slice(&small.to_le_bytes());
                }
                Err(_) => {
                    out.extend_from_slice(&[0x8a, 8]);
                    out.extend_from_slice(&v.to_le_bytes());
                }
            },
            Item::Float(v) => {
                out.push(b'G');
                out.extend_from_slice(&v.to_be_bytes());
            }
            Item::Text(text) => text_opcode(text, out),
            Item::List(items) => {
                out.extend_from_slice(b"](");
                items.iter().for_each(|i| i.pickle(out));
                out.push(b'e');
            }
            Item::Tuple(items) => {
                out.push(b'(');
                items.iter().for_each(|i| i.pickle(out));
                out.push(b't');
            }
            Item::Dict(items) => {
                out.extend_from_slice(b"}(");
                for (key, value) in items {
                    text_opcode(key, out);
                    value.pickle(out);
                }
                out.push(b'u');
            }
        }
    }
}

fn text_opcode(text: &str, out: &mut Vec<u8>) {
    out.push(b'X');
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Writes one item as a pickle file.
///
/// # Errors
/// When the disk refuses. The file appears complete or not at all.
pub fn write_pickle(path: &Path, item: &Item) -> Result<(), VolumeError> {
    let mut bytes = vec![0x80, 2];
    item.pickle(&mut bytes);
    bytes.push(b'.');
    let mut temporary = temporary_beside(path)?;
    temporary.write_all(&bytes).map_err(|e| VolumeError::io(path, e))?;
    temporary.persist(path).map_err(|e| VolumeError::io(path, e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read;

    use super::*;

    #[test]
    fn an_archive_holds_the_array() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.npz");
        for (element, width) in [(Element::F32, 4), (Element::F16, 2)] {
            write_npz(&path, "softmax", element, &[2, 1, 2, 3], &mut |i| Ok((0..6).map(|v| (i * 6 + v) as f32 / 8.0).collect())).unwrap();
            let mut archive = zip::ZipArchive::new(std::fs::File::open(&path).unwrap()).unwrap();
            assert_eq!(archive.len(), 1);
            let mut bytes = Vec::new();
            archive.by_name("softmax.npy").unwrap().read_to_end(&mut bytes).unwrap();
            let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
            assert!(header.is_multiple_of(64) && bytes.len() == header + 12 * width);
            let text = std::str::from_utf8(&bytes[10..header]).unwrap();
            assert!(text.contains("'shape': (2, 1, 2, 3)") && text.ends_with('\n'), "{text}");
            for (i, b) in bytes[header..].chunks_exact(width).enumerate() {
                let v = if width == 4 { f32::from_le_bytes(b.try_into().unwrap()) } else { f16::from_le_bytes([b[0], b[1]]).to_f32() };
                assert_eq!(v, i as f32 / 8.0);
            }
        }
        // Half written, the file is hidden and ends like nobody's: what a killed process leaves is no case's.
        let mut seen = Vec::new();
        let mut list = |_| {
            seen = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            Ok(vec![0.0; 3])
        };
        write_npz(&dir.path().join("q.npz"), "softmax", Element::F32, &[1, 3], &mut list).unwrap();
        seen.retain(|name| name != "p.npz");
        assert!(seen.len() == 1 && seen[0].starts_with(".mnx-") && !seen[0][1..].contains('.'), "{seen:?}");
        std::fs::remove_file(dir.path().join("q.npz")).unwrap();
        // A slice of another length leaves the old file as it was.
        let before = std::fs::read(&path).unwrap();
        assert!(write_npz(&path, "softmax", Element::F32, &[2, 3], &mut |_| Ok(vec![0.0; 2])).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_pickle_is_plain_data() {
        let item = Item::Dict(vec![
            ("a".into(), Item::List(vec![Item::Int(-1), Item::Int(1 << 40), Item::None])),
            ("b".into(), Item::Tuple(vec![Item::Float(0.5), Item::Text("é".into())])),
        ]);
        let mut bytes = Vec::new();
        item.pickle(&mut bytes);
        // As pickletools shows it: } ( X a ] ( J -1 LONG1 2^40 N e X b ( G 0.5 X e-acute t u.
        let mut want = b"}(X\x01\0\0\0a](J\xff\xff\xff\xff\x8a\x08\0\0\0\0\0\x01\0\0Ne".to_vec();
        want.extend_from_slice(b"X\x01\0\0\0b(G\x3f\xe0\0\0\0\0\0\0X\x02\0\0\0\xc3\xa9tu");
        assert_eq!(bytes, want);
    }
}
