//! A state dict, wherever it lies in a file: tensors by the network's own names.

use std::path::Path;

use indexmap::IndexMap;
use mnx_model::to_official;
use mnx_weights::{Checkpoint, Tensor, WeightsError};

use crate::error::ImportError;
use crate::picking::Picking;
use crate::pickle::{Element, Value};
use crate::torch::TorchFile;
use crate::wording::extents;

/// Where tensors are read from.
#[derive(Debug)]
enum Place {
    Torch(Box<TorchFile>),
    Safetensors(Checkpoint),
}

/// A tensor, not yet read.
#[derive(Debug, Clone)]
struct Entry {
    shape: Vec<usize>,
    /// Name of the tensor in the file.
    key: String,
    value: Value,
    element: Element,
}

/// Tensors by official names.
#[derive(Debug)]
pub(crate) struct StateDict {
    place: Place,
    path: String,
    entries: IndexMap<String, Entry>,
    /// Whether names were MONAI's.
    pub monai: bool,
    /// What was done to the names, for people.
    pub notes: Vec<String>,
}

/// Tells a safetensors file by its first bytes: a header's length, then an opening brace.
pub(crate) fn is_safetensors(path: &Path) -> bool {
    use std::io::Read;
    let mut head = [0u8; 9];
    std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut head)).is_ok() && head[8] == b'{' && head[6..8] == [0, 0]
}

impl StateDict {
    /// The state dict of an open file.
    pub fn of_torch(file: TorchFile, picking: &Picking) -> Result<Self, ImportError> {
        let path = file.path().display().to_string();
        let heap = file.heap();
        let dict = picking.dictionary(heap, file.root(), &path)?;
        let mut found = IndexMap::new();
        let mut problems = Vec::new();
        for (key, value) in heap.dict(dict).unwrap_or_default() {
            let Some(key) = heap.str(*key) else {
                problems.push(format!("a key that is {}", heap.kind(*key)));
                continue;
            };
            match heap.tensor(*value) {
                None if picking.ignores(key) => {}
                Some(t) => {
                    let shape: Result<Vec<usize>, _> = t.shape.iter().map(|n| usize::try_from(*n)).collect();
                    let Ok(shape) = shape else {
                        problems.push(format!("\"{}\" has shape {}", key.escape_debug(), extents(&t.shape)));
                        continue;
                    };
                    found.insert(key.to_owned(), Entry { shape, key: key.to_owned(), value: *value, element: t.element });
                }
                None => problems.push(format!("\"{}\" is {}", key.escape_debug(), heap.kind(*value))),
            }
        }
        if !problems.is_empty() {
            problems.truncate(50);
            return Err(ImportError::Several { path, what: "the state dict holds more than tensors".to_owned(), problems });
        }
        Self::named(Place::Torch(Box::new(file)), path, found, picking)
    }

    /// The tensors of a safetensors file.
    pub fn of_safetensors(path: &Path, picking: &Picking) -> Result<Self, ImportError> {
        let shown = path.display().to_string();
        picking.flat(&shown)?;
        let checkpoint = Checkpoint::load(path).map_err(|e| match e {
            WeightsError::Io { path, source } => ImportError::Io { path, source },
            other => ImportError::format(&shown, other.to_string().trim_start_matches(&format!("{shown}: "))),
        })?;
        let entry = |(k, t): (&str, &Tensor)| {
            (k.to_owned(), Entry { shape: t.shape.clone(), key: k.to_owned(), value: Value::None, element: Element::F32 })
        };
        let found = checkpoint.iter().map(entry).collect();
        Self::named(Place::Safetensors(checkpoint), shown, found, picking)
    }

    fn named(place: Place, path: String, found: IndexMap<String, Entry>, picking: &Picking) -> Result<Self, ImportError> {
        let mut notes = Vec::new();
        let entries = picking.names(&path, found, &mut notes)?;
        let monai = entries.keys().any(|k| k.starts_with("enc_stages.") || k.starts_with("down_blocks."));
        if monai {
            stages(&entries).map_err(|reason| ImportError::format(&path, reason))?;
        }
        let mut out = IndexMap::new();
        for (key, entry) in entries {
            let name = if monai { to_official(&key).unwrap_or(key) } else { key };
            if let Some(other) = out.insert(name.clone(), entry) {
                let reason = format!(
                    "two tensors are called \"{}\" once prefixes are gone, one of them \"{}\"",
                    name.escape_debug(),
                    other.key.escape_debug()
                );
                return Err(ImportError::format(&path, reason));
            }
        }
        let mut types: Vec<Element> = out.values().map(|e| e.element).filter(|e| *e != Element::F32).collect();
        types.sort_unstable_by_key(|e| e.as_str());
        types.dedup();
        if !types.is_empty() {
            let names: Vec<&str> = types.iter().map(|e| e.as_str()).collect();
            notes.push(format!("tensors of type {} become float32", names.join(", ")));
        }
        Ok(Self { place, path, entries: out, monai, notes })
    }

    /// The file.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Shape of a tensor, by its official name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|e| e.shape.as_slice())
    }

    /// Names and shapes, in the file's order.
    pub fn shapes(&self) -> impl ExactSizeIterator<Item = (&str, &[usize])> {
        self.entries.iter().map(|(k, e)| (k.as_str(), e.shape.as_slice()))
    }

    /// The name that a tensor has in the file.
    pub fn original<'a>(&'a self, name: &'a str) -> &'a str {
        self.entries.get(name).map_or(name, |e| e.key.as_str())
    }

    /// Reads a tensor.
    pub fn take(&mut self, name: &str) -> Result<Tensor, ImportError> {
        let missing = || ImportError::format(&self.path, format!("tensor \"{name}\" is missing"));
        let entry = self.entries.get(name).cloned().ok_or_else(missing)?;
        match &mut self.place {
            Place::Torch(file) => file.tensor(&entry.key, entry.value),
            Place::Safetensors(checkpoint) => {
                checkpoint.remove(&entry.key).ok_or_else(|| ImportError::format(&self.path, format!("tensor \"{name}\" is missing")))
            }
        }
    }
}

/// MONAI builds as many stages as it is told; official names, configs and kernels are those of four.
fn stages(entries: &IndexMap<String, Entry>) -> Result<(), String> {
    let number = |name: &str| name.strip_prefix("down_blocks.")?.split('.').next()?.parse::<usize>().ok();
    match entries.keys().filter_map(|k| number(k)).max().map_or(0, |n| n.saturating_add(1)) {
        4 => Ok(()),
        n => Err(format!("a MedNeXt of {n} stages (entries of blocks_down); mnx knows those of 4")),
    }
}
