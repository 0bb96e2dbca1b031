//! A checkpoint: named float32 tensors in order, with string metadata; a safetensors file on disk.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;

use indexmap::IndexMap;
use safetensors::Dtype;

use crate::file::{self, Entry};
use crate::tensor::{Tensor, WeightsError};

#[cfg(target_endian = "big")]
compile_error!("checkpoints are written as the little-endian bytes that lie in memory");

/// Named tensors in insertion order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checkpoint {
    tensors: IndexMap<String, Tensor>,
    /// Free strings that travel with the file.
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// An empty checkpoint.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a safetensors file; F32, F64, F16 and BF16 become f32. Tensors stand in the file's order.
    ///
    /// # Errors
    /// `Io`, or `Format` with what is wrong: truncated, overlapping, unknown dtype, not a safetensors file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let (handle, size) = file::open(path)?;
        Self::from_contents(file::read(&path.display().to_string(), size, &mut BufReader::new(handle))?)
    }

    /// A checkpoint from bytes; `label` names them in errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_bytes(label: &str, mut bytes: &[u8]) -> Result<Self, WeightsError> {
        let size = bytes.len() as u64;
        Self::from_contents(file::read(label, size, &mut bytes)?)
    }

    fn from_contents((tensors, metadata): file::Contents) -> Result<Self, WeightsError> {
        Ok(Self { tensors: tensors.into_iter().collect(), metadata })
    }

    /// Writes a safetensors file (F32, insertion order) under a temporary name, then renames. Equal checkpoints give equal bytes.
    ///
    /// # Errors
    /// `Io` with the file's name.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), WeightsError> {
        let entries: Vec<Entry<'_>> = self
            .tensors
            .iter()
            .map(|(name, t)| Entry { name, dtype: Dtype::F32, shape: &t.shape, bytes: bytemuck::cast_slice(&t.data) })
            .collect();
        file::write_file(path.as_ref(), &entries, &self.metadata)
    }

    /// Puts a tensor under a name, replacing (in place) one of the same name, which is returned.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        self.tensors.insert(name.into(), tensor)
    }

    /// Takes a tensor out; the order of the others stays.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.shift_remove(name)
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The tensor of a name, which must have this shape.
    ///
    /// # Errors
    /// `Missing` or `Shape`, with the name.
    pub fn require(&self, name: &str, shape: &[usize]) -> Result<&Tensor, WeightsError> {
        let tensor = self.get(name).ok_or_else(|| WeightsError::Missing(name.to_owned()))?;
        if tensor.shape != shape {
            return Err(WeightsError::Shape { name: name.to_owned(), got: tensor.shape.clone(), want: shape.to_vec() });
        }
        Ok(tensor)
    }

    /// Whether the name is there.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names and tensors, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Names, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

impl FromIterator<(String, Tensor)> for Checkpoint {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(iter: I) -> Self {
        Self { tensors: iter.into_iter().collect(), metadata: BTreeMap::new() }
    }
}
