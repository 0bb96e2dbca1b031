//! `torch.save` before 1.6 (and with `_use_new_zipfile_serialization=False`): pickles of a magic number, a protocol version, the system's
//! byte order, the object and the storages' keys; then per key an element count (8 bytes) and the storage's bytes.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use crate::pickle::{self, Loaded, Node, Source, Storage, Value};

/// `torch.serialization.MAGIC_NUMBER`.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
const PROTOCOL: i64 = 1001;

/// The parts of a legacy file.
pub(super) struct Legacy {
    pub loaded: Loaded,
    pub file: File,
    pub places: HashMap<String, (u64, u64)>,
    pub big_endian: bool,
}

/// Whether a file's first pickle is the magic number.
pub(super) fn is_magic(first: &Loaded) -> bool {
    matches!(first.heap.of(first.root), Some(Node::Big(MAGIC)))
}

/// Reads on behind the magic number.
pub(super) fn read(mut source: Source<BufReader<File>>, size: u64) -> Result<Legacy, String> {
    let mut next = || pickle::load(&mut source).map_err(|e| e.to_string());
    let version = next()?;
    if version.root != Value::Int(PROTOCOL) {
        return Err(format!("a legacy PyTorch file of another protocol than {PROTOCOL}"));
    }
    let system = next()?;
    let big_endian = system.heap.get(system.root, "little_endian") == Some(Value::Bool(false));
    let loaded = next()?;
    let keys = next()?;
    let list = keys.heap.sequence(keys.root).ok_or("the list of storages is missing")?;

    // Element sizes: the file says how many elements each storage has, the objects say of which type.
    let mut widths: HashMap<&str, u64> = HashMap::new();
    for storage in loaded.heap.storages() {
        let width = storage.element.bytes();
        if *widths.entry(&storage.key).or_insert(width) != width {
            return Err(format!("storage \"{}\" is of two types", storage.key));
        }
    }
    let mut at = source.position();
    let mut reader = source.into_inner();
    let mut places = HashMap::new();
    for key in list {
        let key = keys.heap.str(*key).ok_or("a storage's key is not text")?;
        let width = *widths.get(key).ok_or_else(|| format!("a storage \"{}\" that nothing uses", key.escape_debug()))?;
        let mut count = [0u8; 8];
        reader.read_exact(&mut count).map_err(|_| format!("the file ends before storage \"{}\"", key.escape_debug()))?;
        let count = if big_endian { u64::from_be_bytes(count) } else { u64::from_le_bytes(count) };
        at += 8;
        let bytes = count.checked_mul(width).filter(|b| at.checked_add(*b).is_some_and(|end| end <= size));
        let bytes = bytes.ok_or_else(|| format!("storage \"{key}\" of {count} elements ends beyond the file of {size} bytes"))?;
        let skip = i64::try_from(bytes).map_err(|_| "a storage too large".to_owned())?;
        reader.seek_relative(skip).map_err(|e| e.to_string())?;
        if places.insert(key.to_owned(), (at, count)).is_some() {
            return Err(format!("two storages \"{}\"", key.escape_debug()));
        }
        at += bytes;
    }
    Ok(Legacy { loaded, file: reader.into_inner(), places, big_endian })
}

/// A storage's bytes.
pub(super) fn storage(file: &mut File, places: &HashMap<String, (u64, u64)>, storage: &Storage) -> Result<Vec<u8>, String> {
    let (at, count) = *places.get(&storage.key).ok_or_else(|| format!("its storage \"{}\" is not in the file", storage.key))?;
    let end = storage.view_offset.checked_add(storage.elements);
    if end.is_none_or(|end| end > count) {
        return Err(format!("its storage \"{}\" has {count} elements, {} expected", storage.key, storage.elements));
    }
    let bytes = count.checked_mul(storage.element.bytes()).ok_or("a storage too large")?;
    file.seek(SeekFrom::Start(at)).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    file.take(bytes).read_to_end(&mut out).map_err(|e| e.to_string())?;
    if out.len() as u64 != bytes {
        return Err(format!("its storage \"{}\" is cut off", storage.key));
    }
    Ok(out)
}
