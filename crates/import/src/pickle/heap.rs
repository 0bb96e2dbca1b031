//! Objects of a pickle. They refer to one another by number, so that shared and circular structures need no care to be freed.

use super::globals::{Element, Global};
use super::numpy::{Array, Dtype};
use crate::limits;

/// An object's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub(super) u32);

/// A value on the stack or in a container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// An object.
    Node(NodeId),
}

/// A tensor's storage: a typed block of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Key of the storage in the file.
    pub key: String,
    /// Element type; bytes for an untyped storage.
    pub element: Element,
    /// Number of elements.
    pub elements: u64,
    /// First element within the stored block, for a storage that is a view of another (legacy files).
    pub view_offset: u64,
}

/// A tensor: a strided view of a storage, in elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorView {
    /// The storage.
    pub storage: NodeId,
    /// Element type.
    pub element: Element,
    /// First element.
    pub offset: u64,
    /// Extents.
    pub shape: Vec<u64>,
    /// Steps.
    pub strides: Vec<u64>,
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Text.
    Str(Box<str>),
    /// Bytes.
    Bytes(Box<[u8]>),
    /// An integer beyond 64 bits.
    Big(i128),
    /// A list.
    List(Vec<Value>),
    /// A tuple.
    Tuple(Box<[Value]>),
    /// A set.
    Set(Vec<Value>),
    /// A dictionary, in order of insertion; a later entry of the same key wins.
    Dict(Vec<(Value, Value)>),
    /// A name of the allow-list.
    Global(&'static Global),
    /// A storage.
    Storage(Box<Storage>),
    /// A tensor.
    Tensor(Box<TensorView>),
    /// A NumPy dtype.
    Dtype(Dtype),
    /// A NumPy array.
    Array(Box<Array>),
}

impl Node {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Str(_) => "a string",
            Self::Bytes(_) => "bytes",
            Self::Big(_) => "an integer",
            Self::List(_) => "a list",
            Self::Tuple(_) => "a tuple",
            Self::Set(_) => "a set",
            Self::Dict(_) => "a dictionary",
            Self::Global(_) => "a name",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Dtype(_) => "a NumPy dtype",
            Self::Array(_) => "a NumPy array",
        }
    }
}

/// All objects of a pickle.
#[derive(Debug, Default)]
pub struct Heap {
    pub(super) nodes: Vec<Node>,
    /// Bytes that conversions made.
    pub(super) converted: u64,
}

impl Heap {
    /// An object.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    pub(super) fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// The object behind a value.
    pub fn of(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(id) => Some(self.node(id)),
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => None,
        }
    }

    /// What a value is, for messages.
    pub fn kind(&self, value: Value) -> &'static str {
        match value {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Node(id) => self.node(id).kind(),
        }
    }

    /// Text of a value.
    pub fn str(&self, value: Value) -> Option<&str> {
        match self.of(value)? {
            Node::Str(s) => Some(s),
            _ => None,
        }
    }

    /// Entries of a dictionary.
    pub fn dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.of(value)? {
            Node::Dict(d) => Some(d),
            _ => None,
        }
    }

    /// Elements of a list or a tuple.
    pub fn sequence(&self, value: Value) -> Option<&[Value]> {
        match self.of(value)? {
            Node::List(l) => Some(l),
            Node::Tuple(t) => Some(t),
            _ => None,
        }
    }

    /// A dictionary's value of a text key; the last one, as in Python.
    pub fn get(&self, dict: Value, key: &str) -> Option<Value> {
        self.dict(dict)?.iter().rev().find(|(k, _)| self.str(*k) == Some(key)).map(|(_, v)| *v)
    }

    /// A tensor.
    pub fn tensor(&self, value: Value) -> Option<&TensorView> {
        match self.of(value)? {
            Node::Tensor(t) => Some(t),
            _ => None,
        }
    }

    /// Counts bytes that a constructor copies or converts.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), String> {
        self.converted = self.converted.saturating_add(bytes);
        if self.converted > limits::PICKLE_CONVERTED {
            return Err(format!("more than {} bytes are copied inside the pickle", limits::PICKLE_CONVERTED));
        }
        Ok(())
    }

    /// A storage.
    pub fn storage(&self, id: NodeId) -> Option<&Storage> {
        match self.node(id) {
            Node::Storage(s) => Some(s),
            _ => None,
        }
    }

    /// All storages.
    pub fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|n| match n {
            Node::Storage(s) => Some(&**s),
            _ => None,
        })
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}
