//! NumPy's scalars and arrays, as pickles hold them.

use super::globals::Made;
use super::heap::{Heap, Node, Value};
use crate::wording::list;

/// Kind of a NumPy type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Truth value.
    Bool,
    /// Signed integer.
    Int,
    /// Unsigned integer.
    Uint,
    /// Float.
    Float,
    /// Bytes of a fixed length.
    Bytes,
    /// UCS-4 text of a fixed length.
    Text,
    /// Python objects.
    Object,
}

/// A NumPy type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtype {
    /// Kind of number.
    pub kind: Kind,
    /// Bytes of one element.
    pub size: usize,
    /// Whether bytes stand the other way round.
    pub big_endian: bool,
}

impl Default for Dtype {
    fn default() -> Self {
        Self { kind: Kind::Uint, size: 1, big_endian: false }
    }
}

impl Dtype {
    /// From a code such as `f8`, `<i4`, `U12`, `O8`.
    ///
    /// # Errors
    /// A type that is not read, by its code.
    pub fn parse(code: &str) -> Result<Self, String> {
        let refuse =
            || format!("NumPy type \"{}\"; numbers, text or objects expected", code.chars().take(40).collect::<String>().escape_debug());
        let big_endian = code.starts_with('>');
        let bare = code.strip_prefix(['<', '>', '=', '|']).unwrap_or(code);
        let mut letters = bare.chars();
        let kind = match letters.next() {
            Some('b') => Kind::Bool,
            Some('i') => Kind::Int,
            Some('u') => Kind::Uint,
            Some('f') => Kind::Float,
            Some('S' | 'a') => Kind::Bytes,
            Some('U') => Kind::Text,
            Some('O') => Kind::Object,
            _ => return Err(refuse()),
        };
        let number: usize = match letters.as_str() {
            "" if kind == Kind::Object => 8,
            digits => digits.parse().map_err(|_| refuse())?,
        };
        let size = if kind == Kind::Text { number.saturating_mul(4) } else { number };
        let sound = match kind {
            Kind::Bool => size == 1,
            Kind::Int | Kind::Uint => matches!(size, 1 | 2 | 4 | 8),
            Kind::Float => matches!(size, 2 | 4 | 8),
            Kind::Bytes | Kind::Text => size <= 1 << 20,
            Kind::Object => true,
        };
        if sound { Ok(Self { kind, size, big_endian }) } else { Err(refuse()) }
    }

    /// Takes the state of `numpy.dtype.__setstate__`: version, byte order, subtype, names, fields, size, ...
    pub(super) fn set_state(&mut self, heap: &Heap, parts: &[Value]) -> Result<(), String> {
        let [_, order, sub, names, fields, rest @ ..] = parts else {
            return Err(format!("a NumPy dtype's state of {} parts", parts.len()));
        };
        if [sub, names, fields].iter().any(|v| **v != Value::None) {
            return Err("a structured NumPy dtype; plain numbers expected".to_owned());
        }
        self.big_endian = match heap.str(*order) {
            Some(">") => true,
            Some("<" | "=" | "|") => false,
            _ => return Err(format!("a NumPy dtype whose byte order is {}", heap.kind(*order))),
        };
        // Text carries its length here and "U" or "S" alone before, in old files.
        if let (Kind::Bytes | Kind::Text, Some(Value::Int(n))) = (self.kind, rest.first())
            && (0..=1 << 20).contains(n)
        {
            self.size = n.unsigned_abs() as usize;
        }
        Ok(())
    }

    /// One element.
    fn read(self, bytes: &[u8]) -> Element {
        let mut raw = [0u8; 8];
        let n = bytes.len().min(8);
        if self.big_endian {
            for (to, from) in raw.iter_mut().zip(bytes[..n].iter().rev()) {
                *to = *from;
            }
        } else {
            raw[..n].copy_from_slice(&bytes[..n]);
        }
        let bits = u64::from_le_bytes(raw);
        match (self.kind, self.size) {
            (Kind::Bool, _) => Element::Value(Value::Bool(bits & 0xff != 0)),
            (Kind::Int, 1) => Element::Value(Value::Int(i64::from(bits as u8 as i8))),
            (Kind::Int, 2) => Element::Value(Value::Int(i64::from(bits as u16 as i16))),
            (Kind::Int, 4) => Element::Value(Value::Int(i64::from(bits as u32 as i32))),
            (Kind::Int, _) => Element::Value(Value::Int(bits as i64)),
            (Kind::Uint, _) => match i64::try_from(bits) {
                Ok(v) => Element::Value(Value::Int(v)),
                Err(_) => Element::Big(i128::from(bits)),
            },
            (Kind::Float, 2) => Element::Value(Value::Float(half::f16::from_bits(bits as u16).to_f64())),
            (Kind::Float, 4) => Element::Value(Value::Float(f64::from(f32::from_bits(bits as u32)))),
            (Kind::Float, _) => Element::Value(Value::Float(f64::from_bits(bits))),
            (Kind::Bytes, _) => Element::Text(bytes.iter().map(|b| char::from(*b)).collect::<String>().trim_end_matches('\0').to_owned()),
            (Kind::Text, _) => {
                let word = |w: &[u8]| {
                    let b = [w[0], w[1], w[2], w[3]];
                    char::from_u32(if self.big_endian { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }).unwrap_or('\u{fffd}')
                };
                Element::Text(bytes.chunks_exact(4).map(word).collect::<String>().trim_end_matches('\0').to_owned())
            }
            (Kind::Object, _) => Element::Value(Value::None),
        }
    }
}

/// One element of an array, read.
pub(super) enum Element {
    Value(Value),
    Big(i128),
    Text(String),
}

/// An array.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Element type.
    pub dtype: Dtype,
    /// Extents.
    pub shape: Vec<usize>,
    /// Whether the first axis runs fastest.
    pub fortran: bool,
    /// Bytes, or a list of objects.
    data: Value,
}

impl Default for Array {
    fn default() -> Self {
        Self { dtype: Dtype::default(), shape: vec![0], fortran: false, data: Value::None }
    }
}

impl Array {
    /// An array whose data must fill its shape.
    pub(super) fn new(heap: &mut Heap, shape: Value, dtype: Value, fortran: bool, data: Value) -> Result<Self, String> {
        let Some(Node::Dtype(dtype)) = heap.of(dtype) else {
            return Err(format!("a NumPy array whose type is {}", heap.kind(dtype)));
        };
        let dtype = *dtype;
        let extents = heap.sequence(shape).ok_or_else(|| format!("a NumPy array whose shape is {}", heap.kind(shape)))?;
        if extents.len() > crate::limits::AXES {
            return Err(format!("a NumPy array of {} axes", extents.len()));
        }
        let extent = |v: &Value| match v {
            Value::Int(n) => usize::try_from(*n).map_err(|_| format!("a NumPy array with extent {n}")),
            other => Err(format!("a NumPy array whose extent is {}", heap.kind(*other))),
        };
        let shape: Vec<usize> = extents.iter().map(extent).collect::<Result<_, _>>()?;
        let count = shape.iter().try_fold(1usize, |n, &e| n.checked_mul(e));
        let there = match heap.of(data) {
            Some(Node::Bytes(b)) if dtype.kind != Kind::Object => {
                (dtype.size > 0 && b.len().is_multiple_of(dtype.size)).then(|| b.len() / dtype.size)
            }
            Some(Node::List(l)) if dtype.kind == Kind::Object => Some(l.len()),
            // Python 2 wrote bytes as text.
            Some(Node::Str(s)) if dtype.kind != Kind::Object => {
                let bytes = latin1(s).ok_or("a NumPy array's data is text beyond latin1")?;
                let n = (dtype.size > 0 && bytes.len().is_multiple_of(dtype.size)).then(|| bytes.len() / dtype.size);
                heap.charge(bytes.len() as u64)?;
                let Value::Node(id) = data else { return Err("a NumPy array without data".to_owned()) };
                *heap.node_mut(id) = Node::Bytes(bytes.into());
                n
            }
            _ => return Err(format!("a NumPy array whose data is {}", heap.kind(data))),
        };
        if count.is_none() || count != there {
            return Err(format!("a NumPy array of shape ({}) whose data does not fill it", list(&shape)));
        }
        Ok(Self { dtype, shape, fortran, data })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element at a row-major position.
    pub(super) fn at(&self, heap: &Heap, index: usize) -> Element {
        let place = if self.fortran { self.transposed(index) } else { index };
        match heap.of(self.data) {
            Some(Node::Bytes(b)) => match b.get(place * self.dtype.size..(place + 1) * self.dtype.size) {
                Some(raw) => self.dtype.read(raw),
                None => Element::Value(Value::None),
            },
            Some(Node::List(l)) => Element::Value(l.get(place).copied().unwrap_or(Value::None)),
            _ => Element::Value(Value::None),
        }
    }

    /// Where a row-major position stands when the first axis runs fastest.
    fn transposed(&self, mut index: usize) -> usize {
        let mut step: usize = self.shape.iter().product();
        let mut place = 0;
        for &n in self.shape.iter().rev() {
            step /= n.max(1);
            place += index % n.max(1) * step;
            index /= n.max(1);
        }
        place
    }
}

/// `numpy.core.multiarray.scalar(dtype, bytes)`.
pub(super) fn scalar(heap: &mut Heap, dtype: Value, data: Value) -> Result<Made, String> {
    let Some(Node::Dtype(dtype)) = heap.of(dtype) else {
        return Err(format!("a NumPy scalar whose type is {}", heap.kind(dtype)));
    };
    let dtype = *dtype;
    heap.charge(dtype.size as u64)?;
    let bytes: Vec<u8> = match heap.of(data) {
        Some(Node::Bytes(b)) if b.len() == dtype.size => b.to_vec(),
        Some(Node::Bytes(b)) => return Err(format!("a NumPy scalar of {} bytes, its type has {}", b.len(), dtype.size)),
        Some(Node::Str(s)) if s.len() <= 2 * dtype.size => latin1(s).ok_or("a NumPy scalar's data is text beyond latin1")?,
        _ if dtype.kind == Kind::Object => return Ok(Made::Value(data)),
        _ => return Err(format!("a NumPy scalar whose data is {}", heap.kind(data))),
    };
    if bytes.len() != dtype.size {
        return Err(format!("a NumPy scalar of {} bytes, its type has {}", bytes.len(), dtype.size));
    }
    Ok(match dtype.read(&bytes) {
        Element::Value(v) => Made::Value(v),
        Element::Big(n) => Made::Node(Node::Big(n)),
        Element::Text(t) => Made::Node(Node::Str(t.into())),
    })
}

/// Text as latin1 bytes.
pub(super) fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}
