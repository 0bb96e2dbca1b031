//! Files as PyTorch writes them: pickles of protocol 2, `torch.save`'s zip archive byte for byte, and its older stream of pickles.

use std::collections::HashMap;
use std::rc::Rc;

/// A Python value. Containers are shared by their `Rc`, text by its content, as Python's interned strings are.
#[derive(Debug, Clone)]
pub enum Py {
    /// `None`.
    None,
    /// `True`, `False`.
    Bool(bool),
    /// An integer of at most 32 bits.
    Int(i32),
    /// The integer of 80 bits that legacy files begin with.
    Magic,
    /// A float.
    Float(f64),
    /// Text; equal text is one object.
    Str(String),
    /// Text that is an object of its own.
    Fresh(String),
    /// A list.
    List(Rc<Vec<Py>>),
    /// A tuple.
    Tuple(Rc<Vec<Py>>),
    /// A `dict`.
    Dict(Rc<Vec<(Py, Py)>>),
    /// An `OrderedDict`.
    Ordered(Rc<Vec<(Py, Py)>>),
    /// A name: module, name.
    Global(&'static str, &'static str),
    /// The result of a call, with a state if any.
    Call(Rc<(Py, Py, Option<Py>)>),
    /// A NumPy float64 scalar, in the module given.
    Scalar(&'static str, f64),
    /// A tensor over a storage.
    Tensor(Rc<TensorOf>),
}

/// A view of a storage.
#[derive(Debug, Clone)]
pub struct TensorOf {
    /// `FloatStorage`, `HalfStorage`, ...
    pub class: &'static str,
    /// The storage's key.
    pub key: String,
    /// Elements of the storage.
    pub elements: usize,
    /// First element.
    pub offset: usize,
    /// Extents.
    pub shape: Vec<usize>,
    /// Steps.
    pub strides: Vec<usize>,
}

impl TensorOf {
    /// A whole storage, row-major.
    pub fn dense(class: &'static str, key: &str, shape: &[usize]) -> Self {
        let mut strides = vec![1; shape.len()];
        for i in (1..shape.len()).rev() {
            strides[i - 1] = strides[i] * shape[i].max(1);
        }
        Self { class, key: key.into(), elements: shape.iter().product(), offset: 0, shape: shape.to_vec(), strides }
    }
}

impl Py {
    /// Text.
    pub fn str(text: &str) -> Self {
        Self::Str(text.into())
    }

    /// A list.
    pub fn list(items: Vec<Py>) -> Self {
        Self::List(Rc::new(items))
    }

    /// A tuple.
    pub fn tuple(items: Vec<Py>) -> Self {
        Self::Tuple(Rc::new(items))
    }

    /// A `dict` with text keys.
    pub fn dict(entries: Vec<(&str, Py)>) -> Self {
        Self::Dict(Rc::new(entries.into_iter().map(|(k, v)| (Self::str(k), v)).collect()))
    }

    /// An `OrderedDict` with text keys.
    pub fn ordered(entries: Vec<(String, Py)>) -> Self {
        Self::Ordered(Rc::new(entries.into_iter().map(|(k, v)| (Self::Str(k), v)).collect()))
    }

    /// JSON as `json.load` gives it.
    ///
    /// # Panics
    /// If a number is no float and no 32-bit integer.
    pub fn json(v: &serde_json::Value) -> Self {
        use serde_json::Value as J;
        match v {
            J::Null => Self::None,
            J::Bool(b) => Self::Bool(*b),
            J::Number(n) => match n.as_i64() {
                Some(i) => Self::Int(i32::try_from(i).expect("a small integer")),
                None => Self::Float(n.as_f64().expect("a float")),
            },
            J::String(s) => Self::str(s),
            J::Array(a) => Self::list(a.iter().map(Self::json).collect()),
            J::Object(m) => Self::Dict(Rc::new(m.iter().map(|(k, v)| (Self::str(k), Self::json(v))).collect())),
        }
    }
}

/// What a memo entry stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Identity {
    Text(String),
    Address(usize),
    Name(&'static str, &'static str),
    /// `dtype("f8")`.
    Double,
}

/// A pickler of protocol 2 that memoises what CPython's does.
#[derive(Debug, Default)]
struct Pickler {
    out: Vec<u8>,
    memo: HashMap<Identity, u32>,
    next: u32,
}

/// Pickles a value with protocol 2.
pub fn pickle(value: &Py) -> Vec<u8> {
    let mut p = Pickler::default();
    p.out.extend([0x80, 2]);
    p.value(value);
    p.out.push(b'.');
    p.out
}

impl Pickler {
    fn put(&mut self, id: Option<Identity>) {
        let n = self.next;
        self.next += 1;
        match u8::try_from(n) {
            Ok(b) => self.out.extend([b'q', b]),
            Err(_) => {
                self.out.push(b'r');
                self.out.extend(n.to_le_bytes());
            }
        }
        if let Some(id) = id {
            self.memo.insert(id, n);
        }
    }

    /// Writes a reference if the object was written before.
    fn seen(&mut self, id: &Identity) -> bool {
        let Some(&n) = self.memo.get(id) else { return false };
        match u8::try_from(n) {
            Ok(b) => self.out.extend([b'h', b]),
            Err(_) => {
                self.out.push(b'j');
                self.out.extend(n.to_le_bytes());
            }
        }
        true
    }

    fn text(&mut self, text: &str, id: Option<Identity>) {
        self.out.push(b'X');
        self.out.extend((text.len() as u32).to_le_bytes());
        self.out.extend(text.as_bytes());
        self.put(id);
    }

    fn name(&mut self, module: &'static str, name: &'static str) {
        let id = Identity::Name(module, name);
        if !self.seen(&id) {
            self.out.extend(format!("c{module}\n{name}\n").bytes());
            self.put(Some(id));
        }
    }

    fn int(&mut self, n: i32) {
        match n {
            0..=0xff => self.out.extend([b'K', n as u8]),
            0x100..=0xffff => {
                self.out.push(b'M');
                self.out.extend((n as u16).to_le_bytes());
            }
            _ => {
                self.out.push(b'J');
                self.out.extend(n.to_le_bytes());
            }
        }
    }

    fn tuple(&mut self, items: &[Py], id: Option<Identity>) {
        if items.is_empty() {
            self.out.push(b')');
            return;
        }
        if items.len() > 3 {
            self.out.push(b'(');
        }
        items.iter().for_each(|i| self.value(i));
        self.out.push(match items.len() {
            n @ 1..=3 => 0x84 + n as u8,
            _ => b't',
        });
        self.put(id);
    }

    fn items(&mut self, entries: &[(Py, Py)]) {
        for batch in entries.chunks(1000) {
            if batch.len() > 1 {
                self.out.push(b'(');
            }
            for (k, v) in batch {
                self.value(k);
                self.value(v);
            }
            self.out.push(if batch.len() > 1 { b'u' } else { b's' });
        }
    }

    fn value(&mut self, v: &Py) {
        match v {
            Py::None => self.out.push(b'N'),
            Py::Bool(b) => self.out.push(if *b { 0x88 } else { 0x89 }),
            Py::Int(n) => self.int(*n),
            Py::Magic => {
                self.out.extend([0x8a, 10]);
                self.out.extend(&0x1950_a86a_20f9_469c_fc6c_u128.to_le_bytes()[..10]);
            }
            Py::Float(x) => {
                self.out.push(b'G');
                self.out.extend(x.to_be_bytes());
            }
            Py::Str(s) => {
                let id = Identity::Text(s.clone());
                if !self.seen(&id) {
                    self.text(s, Some(id));
                }
            }
            Py::Fresh(s) => self.text(s, None),
            Py::Global(module, name) => self.name(module, name),
            Py::List(l) => {
                let id = Identity::Address(Rc::as_ptr(l) as usize);
                if self.seen(&id) {
                    return;
                }
                self.out.push(b']');
                self.put(Some(id));
                for batch in l.chunks(1000) {
                    if batch.len() > 1 {
                        self.out.push(b'(');
                    }
                    batch.iter().for_each(|i| self.value(i));
                    self.out.push(if batch.len() > 1 { b'e' } else { b'a' });
                }
            }
            Py::Tuple(t) => {
                let id = Identity::Address(Rc::as_ptr(t) as usize);
                if !self.seen(&id) {
                    self.tuple(t, Some(id));
                }
            }
            Py::Dict(d) => {
                let id = Identity::Address(Rc::as_ptr(d) as usize);
                if !self.seen(&id) {
                    self.out.push(b'}');
                    self.put(Some(id));
                    self.items(d);
                }
            }
            Py::Ordered(d) => {
                let id = Identity::Address(Rc::as_ptr(d) as usize);
                if !self.seen(&id) {
                    self.name("collections", "OrderedDict");
                    self.out.extend(b")R");
                    self.put(Some(id));
                    self.items(d);
                }
            }
            Py::Call(c) => {
                let id = Identity::Address(Rc::as_ptr(c) as usize);
                if self.seen(&id) {
                    return;
                }
                self.value(&c.0);
                self.value(&c.1);
                self.out.push(b'R');
                self.put(Some(id));
                if let Some(state) = &c.2 {
                    self.value(state);
                    self.out.push(b'b');
                }
            }
            Py::Scalar(module, x) => self.scalar(module, *x),
            Py::Tensor(t) => self.tensor(t),
        }
    }

    /// `numpy.core.multiarray.scalar(dtype("f8"), bytes)`; protocol 2 writes bytes as latin1 text to be encoded.
    fn scalar(&mut self, module: &'static str, x: f64) {
        self.name(module, "scalar");
        if !self.seen(&Identity::Double) {
            self.name("numpy", "dtype");
            self.tuple(&[Py::Fresh("f8".into()), Py::Bool(false), Py::Bool(true)], None);
            self.out.push(b'R');
            self.put(Some(Identity::Double));
            let state = [Py::Int(3), Py::Fresh("<".into()), Py::None, Py::None, Py::None, Py::Int(-1), Py::Int(-1), Py::Int(0)];
            self.tuple(&state, None);
            self.out.push(b'b');
        }
        self.name("_codecs", "encode");
        let latin1: String = x.to_le_bytes().iter().map(|b| char::from(*b)).collect();
        self.tuple(&[Py::Fresh(latin1), Py::str("latin1")], None);
        self.out.push(b'R');
        self.put(None);
        self.out.push(0x86);
        self.put(None);
        self.out.push(b'R');
        self.put(None);
    }

    fn tensor(&mut self, t: &TensorOf) {
        let naturals = |list: &[usize]| Py::tuple(list.iter().map(|n| Py::Int(*n as i32)).collect());
        self.name("torch._utils", "_rebuild_tensor_v2");
        self.out.push(b'(');
        self.out.push(b'(');
        self.value(&Py::str("storage"));
        self.name("torch", t.class);
        self.text(&t.key, None);
        self.value(&Py::str("cpu"));
        self.int(t.elements as i32);
        self.out.push(b't');
        self.put(None);
        self.out.push(b'Q');
        self.int(t.offset as i32);
        // Fresh tuples: their addresses must not come back while the memo lives.
        for list in [&t.shape, &t.strides] {
            let Py::Tuple(items) = naturals(list) else { continue };
            self.tuple(&items, None);
        }
        self.out.push(0x89);
        self.name("collections", "OrderedDict");
        self.out.extend(b")R");
        self.put(None);
        self.out.push(b't');
        self.put(None);
        self.out.push(b'R');
        self.put(None);
    }
}

/// What `torch.save` is given: an object and the storages of its tensors.
#[derive(Debug, Clone)]
pub struct Saved {
    /// The object.
    pub root: Py,
    /// Keys and bytes.
    pub storages: Vec<(String, Vec<u8>)>,
}

impl Saved {
    /// The zip archive that PyTorch 2 writes for a file of this stem; `id` is the 40 digits of its serialisation id.
    pub fn zip(&self, stem: &str, id: &str) -> Vec<u8> {
        let mut entries: Vec<(String, Vec<u8>)> = vec![
            ("data.pkl".into(), pickle(&self.root)),
            (".format_version".into(), b"1".to_vec()),
            (".storage_alignment".into(), b"64".to_vec()),
            ("byteorder".into(), b"little".to_vec()),
        ];
        entries.extend(self.storages.iter().map(|(k, b)| (format!("data/{k}"), b.clone())));
        entries.push(("version".into(), b"3\n".to_vec()));
        entries.push((".data/serialization_id".into(), id.as_bytes().to_vec()));
        let named: Vec<(String, Vec<u8>)> = entries.into_iter().map(|(n, b)| (format!("{stem}/{n}"), b)).collect();
        zip(&named)
    }

    /// The stream of pickles that PyTorch wrote before 1.6. `widths` are bytes of an element, by storage.
    pub fn legacy(&self, widths: &[usize]) -> Vec<u8> {
        let sizes = Py::dict(vec![("short", Py::Int(2)), ("int", Py::Int(4)), ("long", Py::Int(4))]);
        let system = Py::dict(vec![("protocol_version", Py::Int(1001)), ("little_endian", Py::Bool(true)), ("type_sizes", sizes)]);
        let keys = Py::list(self.storages.iter().map(|(k, _)| Py::str(k)).collect());
        let mut out = Vec::new();
        for part in [&Py::Magic, &Py::Int(1001), &system, &self.root, &keys] {
            out.extend(pickle(part));
        }
        for ((_, bytes), width) in self.storages.iter().zip(widths) {
            out.extend(((bytes.len() / width) as u64).to_le_bytes());
            out.extend(bytes);
        }
        out
    }
}

/// Stored entries, data aligned to 64 bytes, data descriptors, a zip64 end: as PyTorch's writer lays them out.
pub fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut central = Vec::new();
    let short = |out: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    let long = |out: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|v| out.extend(v.to_le_bytes()));
    for (name, bytes) in entries {
        let at = out.len();
        let crc = crc32fast::hash(bytes);
        let padding = (at + 30 + name.len() + 4).wrapping_neg() % 64;
        out.extend(b"PK\x03\x04");
        short(&mut out, &[0, 0x0808, 0, 0, 0]);
        long(&mut out, &[0, 0, 0]);
        short(&mut out, &[name.len() as u16, (padding + 4) as u16]);
        out.extend(name.bytes());
        out.extend(b"FB");
        short(&mut out, &[padding as u16]);
        out.extend(std::iter::repeat_n(b'Z', padding));
        out.extend(bytes);
        out.extend(b"PK\x07\x08");
        long(&mut out, &[crc, bytes.len() as u32, bytes.len() as u32]);

        central.extend(b"PK\x01\x02");
        short(&mut central, &[0, 0, 0x0808, 0, 0, 0]);
        long(&mut central, &[crc, bytes.len() as u32, bytes.len() as u32]);
        short(&mut central, &[name.len() as u16, 0, 0, 0, 0]);
        long(&mut central, &[0, at as u32]);
        central.extend(name.bytes());
    }
    let (start, size, count) = (out.len() as u64, central.len() as u64, entries.len() as u64);
    out.extend(central);
    let end = out.len() as u64;
    out.extend(b"PK\x06\x06");
    out.extend(44u64.to_le_bytes());
    short(&mut out, &[0x031e, 0x2d]);
    long(&mut out, &[0, 0]);
    [count, count, size, start].iter().for_each(|v| out.extend(v.to_le_bytes()));
    out.extend(b"PK\x06\x07");
    long(&mut out, &[0]);
    out.extend(end.to_le_bytes());
    long(&mut out, &[1]);
    out.extend(b"PK\x05\x06");
    short(&mut out, &[0, 0, count as u16, count as u16]);
    long(&mut out, &[size as u32, start as u32]);
    short(&mut out, &[0]);
    out
}
