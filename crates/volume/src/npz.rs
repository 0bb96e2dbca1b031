//! NumPy's archive of one array, as nnU-Net saves probabilities, and the pickle of plain data that lies beside it.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use half::f16;
use mnx_files::WholeFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::error::VolumeError;

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
    let file = WholeFile::create(path).map_err(|e| VolumeError::io(path, e))?;
    let failure = RefCell::new(None);
    let sink = Sink { out: BufWriter::new(file.file()), at: 0, end: 0, failure: &failure };
    let filled = fill(ZipWriter::new(sink), path, &Array { name, element, shape }, part, &failure);
    // What the disk said comes before what follows from it.
    if let Some(e) = failure.take() {
        return Err(VolumeError::io(path, e));
    }
    filled?;
    file.commit().map_err(|e| VolumeError::io(path, e))
}

/// An archive's file that takes everything after its first failure and keeps the failure: the zip crate finishes an archive that is
/// dropped, and prints on standard error what goes wrong then.
struct Sink<'a> {
    out: BufWriter<&'a File>,
    at: u64,
    end: u64,
    failure: &'a RefCell<Option<io::Error>>,
}

impl<'a> Sink<'a> {
    fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Does something to the file; the first failure is kept, and no other is tried.
    fn attempt<T>(&mut self, act: impl FnOnce(&mut BufWriter<&'a File>) -> io::Result<T>) -> Option<T> {
        if self.has_failed() {
            return None;
        }
        act(&mut self.out).map_err(|e| self.failure.replace(Some(e))).ok()
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(|out| out.write_all(bytes));
        self.at += bytes.len() as u64;
        self.end = self.end.max(self.at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt(|out| out.flush());
        Ok(())
    }
}

impl Seek for Sink<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::Current(by) => (self.at, by),
            SeekFrom::End(by) => (self.end, by),
        };
        self.at = from.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        let at = self.at;
        self.attempt(|out| out.seek(SeekFrom::Start(at)));
        Ok(at)
    }
}

/// What an archive holds.
struct Array<'a> {
    name: &'a str,
    element: Element,
    shape: &'a [usize],
}

/// Fills and finishes the archive; stops early when the file has failed.
fn fill(
    mut archive: ZipWriter<Sink<'_>>,
    path: &Path,
    array: &Array<'_>,
    part: &mut dyn FnMut(usize) -> Result<Vec<f32>, VolumeError>,
    failure: &RefCell<Option<io::Error>>,
) -> Result<(), VolumeError> {
    let Array { name, element, shape } = *array;
    let failed = |e: io::Error| VolumeError::io(path, e);
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
            if failure.borrow().is_some() {
                return Ok(());
            }
        }
    }
    archive.finish().map_err(|e| failed(e.into()))?.flush().map_err(failed)
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
    mnx_files::write(path, &bytes).map_err(|e| VolumeError::io(path, e))
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
            let mut archive = zip::ZipArchive::new(File::open(&path).unwrap()).unwrap();
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
        // A slice of another length leaves the old file as it was.
        let before = std::fs::read(&path).unwrap();
        assert!(write_npz(&path, "softmax", Element::F32, &[2, 3], &mut |_| Ok(vec![0.0; 2])).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_full_disk_is_told_once_and_in_our_words() {
        // In a process of its own, whose standard error the harness does not catch.
        const NAME: &str = "npz::tests::a_full_disk_is_told_once_and_in_our_words";
        if std::env::var_os("MNX_TEST_FULL").is_none() {
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            let out = again.args(["--exact", NAME, "--nocapture"]).env("MNX_TEST_FULL", "1").output().unwrap();
            let text = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success() && !text.contains("ipWriter") && !text.contains("anicked"), "{text}");
            return;
        }
        let full = Path::new("/dev/full");
        let disk = File::options().write(true).open(full).unwrap();
        // Noise does not pack, so the disk fails in the middle.
        let noise = |i: usize| (0..1 << 16).map(|v| ((v * 2_654_435_761 + i) % 1_000_003) as f32).collect::<Vec<f32>>();
        let mut parts = 0;
        let failure = RefCell::new(None);
        let sink = Sink { out: BufWriter::new(&disk), at: 0, end: 0, failure: &failure };
        let mut part = |i| {
            parts += 1;
            Ok(noise(i))
        };
        fill(ZipWriter::new(sink), full, &Array { name: "p", element: Element::F32, shape: &[50, 1 << 16] }, &mut part, &failure).unwrap();
        assert_eq!(failure.take().unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(parts < 5, "{parts} parts after the disk was full");
        // At the very end, and through the whole writer.
        let e = write_npz(full, "p", Element::F32, &[1, 4], &mut |_| Ok(vec![0.0; 4])).unwrap_err().to_string();
        assert!(e.starts_with("/dev/full: ") && e.contains("o space left"), "{e}");
        // An archive that is given up half way says nothing either.
        let e = write_npz(full, "p", Element::F32, &[2, 4], &mut |i| Ok(vec![0.0; 4 - i])).unwrap_err().to_string();
        assert!(e.contains("3 values in a slice of 4"), "{e}");
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
