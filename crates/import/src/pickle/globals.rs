//! The allow-list: every name a pickle may mention, and what calling it means here. Nothing else is looked up, imported or run.

use super::heap::{Heap, Node, NodeId, Storage, TensorView, Value};
use super::numpy::{self, Array, Dtype};
use crate::limits;
use crate::wording::list;

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Element {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// 16-bit float.
    F16,
    /// bfloat16.
    Bf16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit unsigned integer.
    U16,
    /// Byte.
    U8,
    /// Truth value.
    Bool,
    /// Complex, two 32-bit floats.
    C64,
    /// Complex, two 64-bit floats.
    C128,
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 | Self::C64 => 8,
            Self::C128 => 16,
        }
    }
}

impl Element {
    /// Name of the type as NumPy has it, for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I16 => "int16",
            Self::I8 => "int8",
            Self::U64 => "uint64",
            Self::U32 => "uint32",
            Self::U16 => "uint16",
            Self::U8 => "uint8",
            Self::Bool => "bool",
            Self::C64 => "complex64",
            Self::C128 => "complex128",
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    OrderedDict,
    Set,
    Encode,
    Rebuild,
    RebuildV2,
    RebuildV3,
    Parameter,
    Size,
    Device,
    Storage(Element),
    Dtype(Element),
    NumpyScalar,
    NumpyReconstruct,
    NumpyFromBuffer,
    NumpyArray,
    NumpyDtype,
    /// Mentioned, never called.
    Inert,
}

/// A name of the allow-list.
#[derive(Debug, PartialEq, Eq)]
pub struct Global {
    /// Module that the name is in.
    pub module: &'static str,
    /// Name within the module.
    pub name: &'static str,
    pub(super) meaning: Meaning,
}

const fn row(module: &'static str, name: &'static str, meaning: Meaning) -> Global {
    Global { module, name, meaning }
}

/// Names by module. Old and new module paths of NumPy stand side by side.
pub(super) const GLOBALS: &[Global] = &[
    row("collections", "OrderedDict", Meaning::OrderedDict),
    row("builtins", "set", Meaning::Set),
    row("builtins", "frozenset", Meaning::Set),
    row("__builtin__", "set", Meaning::Set),
    row("__builtin__", "frozenset", Meaning::Set),
    row("_codecs", "encode", Meaning::Encode),
    row("torch._utils", "_rebuild_tensor", Meaning::Rebuild),
    row("torch._utils", "_rebuild_tensor_v2", Meaning::RebuildV2),
    row("torch._utils", "_rebuild_tensor_v3", Meaning::RebuildV3),
    row("torch._utils", "_rebuild_parameter", Meaning::Parameter),
    row("torch._utils", "_rebuild_parameter_with_state", Meaning::Parameter),
    row("torch", "Size", Meaning::Size),
    row("torch", "device", Meaning::Device),
    row("torch", "FloatStorage", Meaning::Storage(Element::F32)),
    row("torch", "DoubleStorage", Meaning::Storage(Element::F64)),
    row("torch", "HalfStorage", Meaning::Storage(Element::F16)),
    row("torch", "BFloat16Storage", Meaning::Storage(Element::Bf16)),
    row("torch", "LongStorage", Meaning::Storage(Element::I64)),
    row("torch", "IntStorage", Meaning::Storage(Element::I32)),
    row("torch", "ShortStorage", Meaning::Storage(Element::I16)),
    row("torch", "CharStorage", Meaning::Storage(Element::I8)),
    row("torch", "ByteStorage", Meaning::Storage(Element::U8)),
    row("torch", "BoolStorage", Meaning::Storage(Element::Bool)),
    row("torch", "ComplexFloatStorage", Meaning::Storage(Element::C64)),
    row("torch", "ComplexDoubleStorage", Meaning::Storage(Element::C128)),
    row("torch.storage", "UntypedStorage", Meaning::Storage(Element::U8)),
    row("torch.storage", "_UntypedStorage", Meaning::Storage(Element::U8)),
    row("torch", "UntypedStorage", Meaning::Storage(Element::U8)),
    row("torch", "float32", Meaning::Dtype(Element::F32)),
    row("torch", "float64", Meaning::Dtype(Element::F64)),
    row("torch", "float16", Meaning::Dtype(Element::F16)),
    row("torch", "bfloat16", Meaning::Dtype(Element::Bf16)),
    row("torch", "int64", Meaning::Dtype(Element::I64)),
    row("torch", "int32", Meaning::Dtype(Element::I32)),
    row("torch", "int16", Meaning::Dtype(Element::I16)),
    row("torch", "int8", Meaning::Dtype(Element::I8)),
    row("torch", "uint64", Meaning::Dtype(Element::U64)),
    row("torch", "uint32", Meaning::Dtype(Element::U32)),
    row("torch", "uint16", Meaning::Dtype(Element::U16)),
    row("torch", "uint8", Meaning::Dtype(Element::U8)),
    row("torch", "bool", Meaning::Dtype(Element::Bool)),
    row("torch", "complex64", Meaning::Dtype(Element::C64)),
    row("torch", "complex128", Meaning::Dtype(Element::C128)),
    row("numpy.core.multiarray", "scalar", Meaning::NumpyScalar),
    row("numpy._core.multiarray", "scalar", Meaning::NumpyScalar),
    row("numpy.core.multiarray", "_reconstruct", Meaning::NumpyReconstruct),
    row("numpy._core.multiarray", "_reconstruct", Meaning::NumpyReconstruct),
    row("numpy.core.numeric", "_frombuffer", Meaning::NumpyFromBuffer),
    row("numpy._core.numeric", "_frombuffer", Meaning::NumpyFromBuffer),
    row("numpy", "ndarray", Meaning::NumpyArray),
    row("numpy", "dtype", Meaning::NumpyDtype),
    row("nnunetv2.postprocessing.remove_connected_components", "remove_all_but_largest_component_from_segmentation", Meaning::Inert),
];

/// Looks a name up.
pub(super) fn find(module: &str, name: &str) -> Option<&'static Global> {
    GLOBALS.iter().find(|g| g.module == module && g.name == name)
}

/// What calling a name gives: an object, or a value that was there before.
pub(super) enum Made {
    Node(Node),
    Value(Value),
}

/// Calls `global` with `args`.
pub(super) fn call(heap: &mut Heap, global: &'static Global, args: &[Value]) -> Result<Made, String> {
    let wrong = |what: &str| Err(format!("{}.{} called with {} arguments; {what} expected", global.module, global.name, args.len()));
    match global.meaning {
        Meaning::OrderedDict => match args {
            [] => Ok(Made::Node(Node::Dict(Vec::new()))),
            [list] => pairs(heap, *list).map(Made::Node),
            _ => wrong("nothing or a list of pairs"),
        },
        Meaning::Set => match args {
            [] => Ok(Made::Node(Node::Set(Vec::new()))),
            [list] => copy(heap, *list).map(|items| Made::Node(Node::Set(items))),
            _ => wrong("a list"),
        },
        Meaning::Encode => encode(heap, args).map(|b| Made::Node(Node::Bytes(b))),
        Meaning::Rebuild => match args {
            [storage, offset, size, stride] => tensor(heap, *storage, None, [*offset, *size, *stride]),
            _ => wrong("storage, offset, size and stride"),
        },
        Meaning::RebuildV2 => match args {
            [storage, offset, size, stride, _, _] | [storage, offset, size, stride, _, _, _] => {
                tensor(heap, *storage, None, [*offset, *size, *stride])
            }
            _ => wrong("storage, offset, size, stride, requires_grad and hooks"),
        },
        Meaning::RebuildV3 => match args {
            [storage, offset, size, stride, _, _, dtype] | [storage, offset, size, stride, _, _, dtype, _] => {
                let element = match heap.of(*dtype) {
                    Some(Node::Global(Global { meaning: Meaning::Dtype(e), .. })) => *e,
                    _ => return Err(format!("a tensor's dtype is {}, a torch dtype expected", heap.kind(*dtype))),
                };
                tensor(heap, *storage, Some(element), [*offset, *size, *stride])
            }
            _ => wrong("storage, offset, size, stride, requires_grad, hooks and dtype"),
        },
        Meaning::Parameter => match args.first() {
            Some(&data) if heap.tensor(data).is_some() => Ok(Made::Value(data)),
            _ => wrong("a tensor first"),
        },
        Meaning::Size => match args {
            [t] => copy(heap, *t).map(|items| Made::Node(Node::Tuple(items.into()))),
            _ => wrong("a tuple"),
        },
        // A device means nothing here: its name stands for it.
        Meaning::Device => match args.first() {
            Some(&name) if heap.str(name).is_some() => Ok(Made::Value(name)),
            _ => wrong("a device's name"),
        },
        Meaning::NumpyScalar => match args {
            [dtype, data] => numpy::scalar(heap, *dtype, *data),
            _ => wrong("a dtype and bytes"),
        },
        Meaning::NumpyReconstruct => Ok(Made::Node(Node::Array(Box::default()))),
        Meaning::NumpyFromBuffer => match args {
            [data, dtype, shape, order] => {
                let fortran = heap.str(*order) == Some("F");
                let array = Array::new(heap, *shape, *dtype, fortran, *data)?;
                Ok(Made::Node(Node::Array(Box::new(array))))
            }
            _ => wrong("a buffer, a dtype, a shape and an order"),
        },
        Meaning::NumpyDtype => match args.first().and_then(|v| heap.str(*v)) {
            Some(code) => Dtype::parse(code).map(|d| Made::Node(Node::Dtype(d))),
            None => wrong("a type code"),
        },
        Meaning::Storage(_) | Meaning::Dtype(_) | Meaning::NumpyArray | Meaning::Inert => {
            Err(format!("{}.{} is a name only, and is not called", global.module, global.name))
        }
    }
}

/// The elements of a list, copied; copies are counted, so that a few instructions cannot make many.
fn copy(heap: &mut Heap, list: Value) -> Result<Vec<Value>, String> {
    let n = heap.sequence(list).ok_or_else(|| format!("{} where a list is expected", heap.kind(list)))?.len();
    heap.charge(16 * n as u64)?;
    Ok(heap.sequence(list).unwrap_or_default().to_vec())
}

fn pairs(heap: &mut Heap, list: Value) -> Result<Node, String> {
    let n = heap.sequence(list).map_or(0, <[Value]>::len);
    heap.charge(32 * n as u64)?;
    let items = heap.sequence(list).ok_or_else(|| format!("an OrderedDict of {}, a list of pairs expected", heap.kind(list)))?;
    let pair = |v: &Value| match heap.sequence(*v) {
        Some([k, x]) => Ok((*k, *x)),
        _ => Err("an OrderedDict's list holds something else than pairs".to_owned()),
    };
    Ok(Node::Dict(items.iter().map(pair).collect::<Result<_, _>>()?))
}

/// `_codecs.encode(text, "latin1")`: how protocol 2 writes bytes.
fn encode(heap: &mut Heap, args: &[Value]) -> Result<Box<[u8]>, String> {
    let (Some(text), coding) = (args.first().and_then(|v| heap.str(*v)), args.get(1).and_then(|v| heap.str(*v))) else {
        return Err("_codecs.encode of something else than text".to_owned());
    };
    let n = text.len() as u64;
    let coding = coding.map(str::to_owned);
    heap.charge(n)?;
    let text = args.first().and_then(|v| heap.str(*v)).unwrap_or("");
    let bytes = match coding.as_deref() {
        Some("latin1" | "latin-1" | "iso-8859-1") => numpy::latin1(text).ok_or("_codecs.encode: a character beyond latin1")?,
        Some("ascii" | "utf-8" | "utf8") | None => text.as_bytes().to_vec(),
        Some(other) => return Err(format!("_codecs.encode with coding \"{}\"; latin1 expected", other.escape_debug())),
    };
    Ok(bytes.into())
}

/// A whole number from 0.
fn natural(heap: &Heap, value: Value, what: &str) -> Result<u64, String> {
    let found = match (value, heap.of(value)) {
        (Value::Int(n), _) if n >= 0 => return Ok(n.unsigned_abs()),
        (Value::Int(n), _) => n.to_string(),
        (_, Some(Node::Big(n))) => n.to_string(),
        (other, _) => heap.kind(other).to_owned(),
    };
    Err(format!("{what} is {found}, a whole number from 0 below 2^63 expected"))
}

fn naturals(heap: &Heap, value: Value, what: &str) -> Result<Vec<u64>, String> {
    let list = heap.sequence(value).ok_or_else(|| format!("a tensor's {what} is {}, a tuple expected", heap.kind(value)))?;
    if list.len() > limits::AXES {
        return Err(format!("a tensor of {} axes, at most {} expected", list.len(), limits::AXES));
    }
    list.iter().enumerate().map(|(i, v)| natural(heap, *v, &format!("a tensor's {what}[{i}]"))).collect()
}

/// A tensor of an offset, a size and strides, all of whose elements must lie in its storage.
fn tensor(heap: &Heap, storage: Value, element: Option<Element>, [offset, size, stride]: [Value; 3]) -> Result<Made, String> {
    let (id, block) = match storage {
        Value::Node(id) if heap.storage(id).is_some() => (id, heap.storage(id)),
        _ => return Err(format!("a tensor over {}, a storage expected", heap.kind(storage))),
    };
    let Some(block) = block else { return Err("a tensor without a storage".to_owned()) };
    let (shape, strides) = (naturals(heap, size, "size")?, naturals(heap, stride, "stride")?);
    if shape.len() != strides.len() {
        return Err(format!("a tensor with {} extents and {} strides", shape.len(), strides.len()));
    }
    let offset = natural(heap, offset, "a tensor's offset")?;
    let element = element.unwrap_or(block.element);
    let there = block.elements.saturating_mul(block.element.bytes()) / element.bytes();
    let count = shape.iter().try_fold(1u64, |n, &e| n.checked_mul(e));
    let last = shape.iter().zip(&strides).try_fold(offset, |at, (&n, &s)| at.checked_add(n.saturating_sub(1).checked_mul(s)?));
    match (count, last) {
        (Some(0), _) => {}
        (Some(_), Some(last)) if last < there => {}
        _ => {
            return Err(format!(
                "a tensor of size ({}), stride ({}) at {offset} leaves its storage of {there} elements",
                list(&shape),
                list(&strides)
            ));
        }
    }
    Ok(Made::Node(Node::Tensor(Box::new(TensorView { storage: id, element, offset, shape, strides }))))
}

/// What a persistent id stands for: `("storage", type, key, location, elements[, view])`.
pub(super) fn persistent(heap: &Heap, pid: Value) -> Result<Node, String> {
    let parts = heap.sequence(pid).ok_or_else(|| format!("a persistent id that is {}; a storage's tuple expected", heap.kind(pid)))?;
    let name = parts.first().and_then(|v| heap.str(*v)).unwrap_or("");
    if name != "storage" {
        return Err(format!("a persistent id of kind \"{}\"; a storage expected", name.escape_debug()));
    }
    let (Some(&kind), Some(&key), Some(&count)) = (parts.get(1), parts.get(2), parts.get(4)) else {
        return Err(format!("a storage of {} parts; type, key, location and size expected", parts.len()));
    };
    let element = match heap.of(kind) {
        Some(Node::Global(Global { meaning: Meaning::Storage(e), .. })) => *e,
        _ => return Err(format!("a storage whose type is {}", heap.kind(kind))),
    };
    let elements = natural(heap, count, "a storage's size")?;
    let key = heap.str(key).ok_or_else(|| format!("a storage whose key is {}", heap.kind(key)))?;
    // The key becomes part of an entry's name: letters and digits, nothing that could be a path.
    let plain = !key.is_empty() && key.len() <= 64 && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if !plain {
        let shown: String = key.chars().take(80).collect();
        return Err(format!("a storage's key is \"{}\"; letters and digits expected", shown.escape_debug()));
    }
    // The size before is the whole block's then.
    let (view_offset, elements) = match parts.get(5).map(|v| (v, heap.sequence(*v))) {
        None | Some((Value::None, _)) => (0, elements),
        Some((_, Some([_, Value::Int(offset), Value::Int(size)]))) if *offset >= 0 && *size >= 0 => {
            (offset.unsigned_abs(), size.unsigned_abs())
        }
        Some(_) => return Err("a storage's view is not a key, an offset and a size".to_owned()),
    };
    Ok(Node::Storage(Box::new(Storage { key: key.to_owned(), element, elements, view_offset })))
}

/// A state's parts; those of NumPy's objects are few.
fn state_of(heap: &Heap, state: Value) -> Result<Vec<Value>, String> {
    match heap.sequence(state) {
        Some(parts) if parts.len() <= 16 => Ok(parts.to_vec()),
        _ => Err(format!("a NumPy object's state is {}, a short tuple expected", heap.kind(state))),
    }
}

/// Whether an object of this kind takes a state: `BUILD`.
pub(super) fn build(heap: &mut Heap, target: NodeId, state: Value) -> Result<(), String> {
    match heap.node(target) {
        // Attributes of a state dict (`_metadata`): nothing that we need.
        Node::Dict(_) | Node::Tensor(_) => Ok(()),
        Node::Dtype(dtype) => {
            let mut dtype = *dtype;
            let parts = state_of(heap, state)?;
            dtype.set_state(heap, &parts)?;
            *heap.node_mut(target) = Node::Dtype(dtype);
            Ok(())
        }
        Node::Array(_) => {
            let parts = state_of(heap, state)?;
            let array = match parts.as_slice() {
                [_, shape, dtype, fortran, data] | [shape, dtype, fortran, data] => {
                    Array::new(heap, *shape, *dtype, *fortran == Value::Bool(true) || *fortran == Value::Int(1), *data)?
                }
                _ => return Err(format!("a NumPy array's state of {} parts; shape, dtype, order and data expected", parts.len())),
            };
            *heap.node_mut(target) = Node::Array(Box::new(array));
            Ok(())
        }
        other => Err(format!("a state for {}, which takes none", other.kind())),
    }
}
