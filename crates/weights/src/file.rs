//! The safetensors container: header checks on reading, one stable byte order on writing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use half::{bf16, f16};
use mnx_files::WholeFile;
/// Element types of the format.
pub use safetensors::Dtype;
use serde_json::Value;

use crate::tensor::{Tensor, WeightsError};

/// Longest header that safetensors readers accept, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// One tensor to be written.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// Name.
    pub name: &'a str,
    /// Element type.
    pub dtype: Dtype,
    /// Extents, outermost first.
    pub shape: &'a [usize],
    /// Little-endian elements.
    pub bytes: &'a [u8],
}

/// What a header says of one tensor.
struct Described {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    begin: u64,
    end: u64,
}

/// Tensors in file order, and the string metadata.
pub(crate) type Contents = (Vec<(String, Tensor)>, BTreeMap<String, String>);

/// Reads a safetensors stream of `size` bytes; `path` is for messages. Every length is checked against `size` before
/// anything is allocated.
pub(crate) fn read(path: &str, size: u64, reader: &mut impl Read) -> Result<Contents, WeightsError> {
    let bad = |reason: String| WeightsError::Format { path: path.to_owned(), reason };
    let io = |source| WeightsError::Io { path: path.to_owned(), source };
    if size < 8 {
        return Err(bad(format!("not a safetensors file: {size} bytes, at least 8 expected")));
    }
    let mut length = [0u8; 8];
    reader.read_exact(&mut length).map_err(io)?;
    let start = length;
    let length = u64::from_le_bytes(length);
    if length > size - 8 && pytorch(start) {
        return Err(bad("a PyTorch file: `mnxc import` reads it; a safetensors file expected".to_owned()));
    }
    if length > size - 8 {
        return Err(bad(format!(
            "not a safetensors file, or truncated: the header should have {length} bytes, the file has {} after its length",
            size - 8
        )));
    }
    if length > MAX_HEADER {
        return Err(bad(format!("header of {length} bytes, at most {MAX_HEADER} allowed")));
    }
    let mut header = vec![0u8; length as usize];
    reader.read_exact(&mut header).map_err(io)?;
    let header = std::str::from_utf8(&header).map_err(|e| bad(format!("the header is not UTF-8 (byte {})", e.valid_up_to())))?;
    let json: Value = serde_json::from_str(header).map_err(|e| bad(format!("the header is not JSON: {e}")))?;
    let Value::Object(map) = json else {
        return Err(bad("the header is not a JSON object".to_owned()));
    };

    let mut metadata = BTreeMap::new();
    let mut entries = Vec::new();
    for (name, value) in map {
        if name == "__metadata__" {
            metadata = serde_json::from_value(value).map_err(|e| bad(format!("__metadata__ must map strings to strings: {e}")))?;
        } else {
            entries.push(describe(name, &value).map_err(bad)?);
        }
    }
    entries.sort_by_key(|e| (e.begin, e.end));
    let data_bytes = size - 8 - header.len() as u64;
    check_layout(&entries, data_bytes).map_err(bad)?;

    let mut tensors = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut bytes = vec![0u8; (entry.end - entry.begin) as usize];
        reader.read_exact(&mut bytes).map_err(io)?;
        let data = convert(entry.dtype, &bytes).map_err(|reason| bad(format!("tensor \"{}\": {reason}", entry.name)))?;
        tensors.push((entry.name, Tensor::new(entry.shape, data)));
    }
    Ok((tensors, metadata))
}

/// Whether a file begins as `torch.save` writes it: a zip archive, or (before PyTorch 1.6) a pickle of protocol 2 to 5.
fn pytorch(start: [u8; 8]) -> bool {
    start.starts_with(b"PK\x03\x04") || (start[0] == 0x80 && (2..=5).contains(&start[1]))
}

/// One header entry, its byte count checked against dtype and shape.
fn describe(name: String, value: &Value) -> Result<Described, String> {
    let of = |what: &str| format!("tensor \"{name}\": {what}");
    let Some(dtype_value) = value.get("dtype") else {
        return Err(of("no dtype in the header"));
    };
    let dtype: Dtype = serde_json::from_value(dtype_value.clone()).map_err(|_| of(&format!("unknown dtype {dtype_value}")))?;
    let shape: Vec<usize> =
        value.get("shape").and_then(|s| serde_json::from_value(s.clone()).ok()).ok_or_else(|| of("shape must be a list of extents"))?;
    let [begin, end]: [u64; 2] = value
        .get("data_offsets")
        .and_then(|s| serde_json::from_value(s.clone()).ok())
        .ok_or_else(|| of("data_offsets must be two numbers"))?;
    let width = element_bytes(dtype).ok_or_else(|| of(&format!("dtype {dtype} is not read; F32, F64, F16 or BF16 expected")))?;
    let want = shape.iter().try_fold(width, |n, &extent| n.checked_mul(extent as u64));
    if begin > end || want != Some(end - begin) {
        return Err(of(&format!("shape {shape} of {dtype} does not fill data_offsets [{begin}, {end}]", shape = mnx_words::list(&shape))));
    }
    Ok(Described { name, dtype, shape, begin, end })
}

/// Entries sorted by offset must tile the data exactly: no overlap, no hole, nothing missing or left over.
fn check_layout(entries: &[Described], data_bytes: u64) -> Result<(), String> {
    let mut at = 0;
    for entry in entries {
        if entry.end > data_bytes {
            return Err(format!(
                "truncated: tensor \"{}\" ends at byte {} of the data, the file holds {data_bytes}",
                entry.name, entry.end
            ));
        }
        if entry.begin != at {
            let what = if entry.begin < at { "overlaps the one before" } else { "leaves a hole before it" };
            return Err(format!("tensor \"{}\" {what}: it begins at {}, expected {at}", entry.name, entry.begin));
        }
        at = entry.end;
    }
    if at != data_bytes {
        return Err(format!("{} bytes after the last tensor", data_bytes - at));
    }
    Ok(())
}

fn element_bytes(dtype: Dtype) -> Option<u64> {
    match dtype {
        Dtype::F64 => Some(8),
        Dtype::F32 => Some(4),
        Dtype::F16 | Dtype::BF16 => Some(2),
        _ => None,
    }
}

fn convert(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, String> {
    fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|&b| f(b)).collect()
    }
    match dtype {
        Dtype::F64 => Ok(each(bytes, |b| f64::from_le_bytes(b) as f32)),
        Dtype::F32 => Ok(each(bytes, f32::from_le_bytes)),
        Dtype::F16 => Ok(each(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Ok(each(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        other => Err(format!("dtype {other} is not read; F32, F64, F16 or BF16 expected")),
    }
}

/// Writes tensors in the given order under a temporary name in the same directory, then renames.
/// The same arguments give the same bytes.
///
/// # Errors
/// `Io` with the file's name, `Format` for a name given twice.
pub fn write_file(path: &Path, entries: &[Entry<'_>], metadata: &BTreeMap<String, String>) -> Result<(), WeightsError> {
    let shown = path.display().to_string();
    let io = |source| WeightsError::Io { path: shown.clone(), source };
    let header = header(entries, metadata).map_err(|reason| WeightsError::Format { path: shown.clone(), reason })?;
    let file = WholeFile::create(path).map_err(io)?;
    {
        let mut out = BufWriter::new(file.file());
        out.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
        out.write_all(header.as_bytes()).map_err(io)?;
        for entry in entries {
            out.write_all(entry.bytes).map_err(io)?;
        }
        out.flush().map_err(io)?;
    }
    file.commit().map_err(io)
}

fn header(entries: &[Entry<'_>], metadata: &BTreeMap<String, String>) -> Result<String, String> {
    let mut map = serde_json::Map::new();
    if !metadata.is_empty() {
        let strings = metadata.iter().map(|(k, v)| (k.clone(), Value::from(v.clone())));
        map.insert("__metadata__".to_owned(), Value::Object(strings.collect()));
    }
    let mut at = 0;
    for entry in entries {
        let end = at + entry.bytes.len();
        let value = serde_json::json!({
            "dtype": entry.dtype, "shape": entry.shape, "data_offsets": [at, end],
        });
        if map.insert(entry.name.to_owned(), value).is_some() {
            return Err(format!("tensor \"{}\" is given twice", entry.name));
        }
        at = end;
    }
    let mut text = Value::Object(map).to_string();
    // Readers want the data 8-byte aligned; spaces are the padding the format allows.
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    Ok(text)
}

/// Opens a file and its size, for [`read`].
pub(crate) fn open(path: &Path) -> Result<(File, u64), WeightsError> {
    let io = |source| WeightsError::Io { path: path.display().to_string(), source };
    let file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if meta.is_dir() {
        return Err(WeightsError::Format {
            path: path.display().to_string(),
            reason: "is a directory, a safetensors file expected".to_owned(),
        });
    }
    Ok((file, meta.len()))
}
