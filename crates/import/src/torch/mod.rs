//! PyTorch's files: `torch.save` as a zip archive (since 1.6) and the older stream of pickles.
//!
//! A file's structure is read at once, its tensors one by one when asked for.

mod archive;
mod legacy;
mod storage;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use mnx_weights::Tensor;

use crate::error::ImportError;
use crate::limits;
use crate::pickle::{self, Heap, PickleError, Source, Value};
use archive::Archive;
pub(crate) use archive::open_zip;
use storage::{Gather, gather};

/// Where storages lie.
#[derive(Debug)]
enum Blocks {
    Zip(Box<Archive>),
    /// First byte and number of elements of each storage.
    Legacy {
        file: File,
        places: HashMap<String, (u64, u64)>,
    },
    /// A pickle without tensors.
    None,
}

/// An open file.
#[derive(Debug)]
pub struct TorchFile {
    path: PathBuf,
    heap: Heap,
    root: Value,
    blocks: Blocks,
    big_endian: bool,
    /// Bytes of tensors that may still be read.
    left: u64,
    /// The storage read last: flat parameters share one.
    last: Option<(String, Vec<u8>)>,
}

impl TorchFile {
    /// Opens a zip archive, a legacy file or a plain pickle, and reads its structure.
    ///
    /// # Errors
    /// Whatever is wrong with the file; nothing in it is run.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let io = |e| ImportError::io(path.display(), e);
        let bad = |reason: String| ImportError::format(path.display(), reason);
        let mut file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(bad("is not a file".to_owned()));
        }
        let mut head = [0u8; 4];
        let n = file.read(&mut head).map_err(io)?;
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        let left = limits::tensor_bytes(meta.len());
        let path = path.to_owned();
        if head[..n].starts_with(b"PK") {
            let mut archive = Archive::open(file, meta.len()).map_err(bad)?;
            let (loaded, big_endian) = archive.structure().map_err(bad)?;
            return Ok(Self {
                path,
                heap: loaded.heap,
                root: loaded.root,
                blocks: Blocks::Zip(Box::new(archive)),
                big_endian,
                left,
                last: None,
            });
        }
        let pickled = |e: PickleError| match head.first() {
            Some(0x80) if n > 0 => bad(e.to_string()),
            _ => bad(format!("neither a PyTorch file nor a pickle nor safetensors ({e})")),
        };
        let mut source = Source::new(BufReader::new(file));
        let first = pickle::load(&mut source).map_err(pickled)?;
        if !legacy::is_magic(&first) {
            return Ok(Self { path, heap: first.heap, root: first.root, blocks: Blocks::None, big_endian: false, left, last: None });
        }
        let legacy = legacy::read(source, meta.len()).map_err(bad)?;
        Ok(Self {
            path,
            heap: legacy.loaded.heap,
            root: legacy.loaded.root,
            blocks: Blocks::Legacy { file: legacy.file, places: legacy.places },
            big_endian: legacy.big_endian,
            left,
            last: None,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Objects of the file's pickle.
    pub fn heap(&self) -> &Heap {
        &self.heap
    }

    /// What was saved.
    pub fn root(&self) -> Value {
        self.root
    }

    /// Reads a tensor as dense float32, whatever its type, strides and storage.
    ///
    /// # Errors
    /// A value that is no tensor, a type that has no float32 form, a storage that is missing or shorter than it says, more bytes than
    /// [`limits::tensor_bytes`].
    pub fn tensor(&mut self, name: &str, value: Value) -> Result<Tensor, ImportError> {
        self.read(value).map_err(|reason| {
            let shown: String = name.chars().take(200).collect();
            ImportError::format(self.path.display(), format!("tensor \"{}\": {reason}", shown.escape_debug()))
        })
    }

    fn read(&mut self, value: Value) -> Result<Tensor, String> {
        let view = self.heap.tensor(value).ok_or_else(|| format!("is {}", self.heap.kind(value)))?;
        let storage = self.heap.storage(view.storage).ok_or("has no storage")?;
        let count = view.shape.iter().try_fold(1u64, |n, &e| n.checked_mul(e)).ok_or("has too many elements")?;
        let spend = |left: u64, bytes: Option<u64>| -> Result<u64, String> {
            bytes.and_then(|b| left.checked_sub(b)).ok_or_else(|| "the file's tensors are far larger than the file".to_owned())
        };
        let mut left = spend(self.left, count.checked_mul(4))?;
        if self.last.as_ref().is_none_or(|(key, _)| *key != storage.key) {
            let bytes = storage.elements.checked_mul(storage.element.bytes()).ok_or("has a storage of too many bytes")?;
            left = spend(left, Some(bytes))?;
            let raw = match &mut self.blocks {
                Blocks::Zip(archive) => archive.storage(&storage.key, bytes)?,
                Blocks::Legacy { file, places } => legacy::storage(file, places, storage)?,
                Blocks::None => return Err("its storage is not in the file".to_owned()),
            };
            self.last = Some((storage.key.clone(), raw));
        }
        self.left = left;
        let raw = self.last.as_ref().map_or(&[][..], |(_, raw)| raw);
        let shape: Vec<usize> = view.shape.iter().map(|&n| n as usize).collect();
        // A view's first element counts from its own storage, which may itself be a part of the stored block.
        let skipped = storage.view_offset.checked_mul(storage.element.bytes()).map(|b| b / view.element.bytes());
        let from = skipped.and_then(|s| s.checked_add(view.offset)).ok_or("leaves its storage")?;
        let data =
            gather(&Gather { raw, element: view.element, big_endian: self.big_endian, from, shape: &shape, strides: &view.strides })?;
        Ok(Tensor::new(shape, data))
    }
}
