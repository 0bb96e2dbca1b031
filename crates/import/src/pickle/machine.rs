//! The machine: one loop over instructions, a stack, a memo. It calls nothing and recurses nowhere.

use std::collections::HashMap;
use std::io::BufRead;

use super::globals::{self, Made};
use super::heap::{Heap, Node, NodeId, Value};
use super::source::{PickleError, Source};
use super::text;
use crate::limits;

/// A pickle, read.
#[derive(Debug)]
pub struct Loaded {
    /// Objects that the pickle made.
    pub heap: Heap,
    /// What it holds.
    pub root: Value,
}

/// Reads one pickle; the source stands behind its last byte then.
///
/// # Errors
/// Whatever is wrong, with its place: unknown instructions and names, values of the wrong kind, sizes beyond the limits.
pub fn load<R: BufRead>(source: &mut Source<R>) -> Result<Loaded, PickleError> {
    source.begin();
    let mut machine = Machine { heap: Heap::default(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), next_memo: 0 };
    for _ in 0..limits::PICKLE_INSTRUCTIONS {
        let at = source.position();
        let code = source.byte()?;
        match machine.step(code, source) {
            Ok(None) => {}
            Ok(Some(root)) => return Ok(Loaded { heap: machine.heap, root }),
            Err(Stop::Said(e)) => return Err(e),
            Err(Stop::Why(reason)) => return Err(PickleError { offset: at, reason }),
        }
    }
    source.fail(format!("more than {} instructions", limits::PICKLE_INSTRUCTIONS))
}

/// Why an instruction could not be done.
enum Stop {
    /// The source said where.
    Said(PickleError),
    /// At this instruction.
    Why(String),
}

impl From<PickleError> for Stop {
    fn from(e: PickleError) -> Self {
        Self::Said(e)
    }
}

impl From<String> for Stop {
    fn from(reason: String) -> Self {
        Self::Why(reason)
    }
}

impl From<&str> for Stop {
    fn from(reason: &str) -> Self {
        Self::Why(reason.to_owned())
    }
}

struct Machine {
    heap: Heap,
    stack: Vec<Value>,
    /// Lengths of the stack at which marks stand.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    next_memo: u64,
}

const EMPTY: &str = "the stack is empty";

impl Machine {
    #[expect(clippy::too_many_lines, reason = "a table: one arm per instruction of the pickle machine")]
    fn step<R: BufRead>(&mut self, code: u8, s: &mut Source<R>) -> Result<Option<Value>, Stop> {
        match code {
            // Frames and the protocol's number: layout, no meaning.
            0x80 => {
                let protocol = s.byte()?;
                if protocol > 5 {
                    return Err(format!("pickle protocol {protocol}; 0 to 5 are read").into());
                }
            }
            0x95 => drop(s.array::<8>()?),
            b'.' => return self.pop().map(Some),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => {
                // Python lets POP take a mark as well.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.above_mark()?),
            b'2' => {
                let top = *self.stack.last().filter(|_| self.marks.last() != Some(&self.stack.len())).ok_or(EMPTY)?;
                self.stack.push(top);
            }
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => {
                let n = s.byte()?;
                self.stack.push(Value::Int(i64::from(n)));
            }
            b'M' => {
                let n = u16::from_le_bytes(s.array()?);
                self.stack.push(Value::Int(i64::from(n)));
            }
            b'J' => {
                let n = i32::from_le_bytes(s.array()?);
                self.stack.push(Value::Int(i64::from(n)));
            }
            b'G' => {
                let x = f64::from_be_bytes(s.array()?);
                self.stack.push(Value::Float(x));
            }
            b'I' => self.integer_line(s)?,
            b'L' => {
                let line = text_line(s)?;
                let digits = line.strip_suffix('L').unwrap_or(&line);
                let n: i128 = digits.parse().map_err(|_| format!("integer \"{}\"", short(&line)))?;
                self.int(n)?;
            }
            b'F' => {
                let line = text_line(s)?;
                let x: f64 = line.trim().parse().map_err(|_| format!("float \"{}\"", short(&line)))?;
                self.stack.push(Value::Float(x));
            }
            0x8a => {
                let n = u64::from(s.byte()?);
                self.long(n, s)?;
            }
            0x8b => {
                let n = u64::from(u32::from_le_bytes(s.array()?));
                self.long(n, s)?;
            }
            b'X' | 0x8c | 0x8d => {
                let n = length(code, s)?;
                self.utf8(n, s)?;
            }
            b'B' | b'C' | 0x8e | 0x96 => {
                let n = length(code, s)?;
                let bytes = s.bytes(n)?;
                self.push(Node::Bytes(bytes.into()))?;
            }
            // Python 2's str: text where it is text.
            b'T' | b'U' => {
                let n = length(code, s)?;
                let bytes = s.bytes(n)?;
                self.python2(bytes)?;
            }
            b'V' => {
                let text = text::raw_unicode_escape(&s.line()?)?;
                self.push(Node::Str(text.into()))?;
            }
            b'S' => {
                let line = s.line()?;
                let inner = match line.trim_ascii_end() {
                    [q @ (b'\'' | b'"'), inner @ .., end] if q == end => text::string_escape(inner)?,
                    _ => return Err(format!("string {} without quotes", short(&String::from_utf8_lossy(&line))).into()),
                };
                self.python2(inner)?;
            }
            b'c' => {
                let (module, name) = (text_line(s)?, text_line(s)?);
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.heap.str(module), self.heap.str(name)) {
                    (Some(module), Some(name)) => {
                        let (module, name) = (module.to_owned(), name.to_owned());
                        self.global(&module, &name)?;
                    }
                    _ => return Err("a name that is not text".into()),
                }
            }
            b'P' => {
                let line = text_line(s)?;
                return Err(format!("persistent id \"{}\"; a storage's tuple expected", short(&line)).into());
            }
            b'Q' => {
                let pid = self.pop()?;
                let node = globals::persistent(&self.heap, pid)?;
                self.push(node)?;
            }
            b'R' => {
                let (args, callee) = (self.pop()?, self.pop()?);
                self.call(callee, args)?;
            }
            // cls.__new__(cls, *args): the same constructors.
            0x81 => {
                let (args, class) = (self.pop()?, self.pop()?);
                self.call(class, args)?;
            }
            0x92 => {
                let (kwargs, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                if self.heap.dict(kwargs).is_none_or(|d| !d.is_empty()) {
                    return Err("a constructor with keyword arguments".into());
                }
                self.call(class, args)?;
            }
            b'b' => {
                let state = self.pop()?;
                match self.top()? {
                    Value::Node(id) => globals::build(&mut self.heap, id, state)?,
                    other => return Err(format!("a state for {}", self.heap.kind(other)).into()),
                }
            }
            b')' => self.push(Node::Tuple([].into()))?,
            b']' => self.push(Node::List(Vec::new()))?,
            b'}' => self.push(Node::Dict(Vec::new()))?,
            0x8f => self.push(Node::Set(Vec::new()))?,
            b't' => {
                let items = self.above_mark()?;
                self.push(Node::Tuple(items.into()))?;
            }
            b'l' => {
                let items = self.above_mark()?;
                self.push(Node::List(items))?;
            }
            0x91 => {
                let items = self.above_mark()?;
                self.push(Node::Set(items))?;
            }
            b'd' => {
                let items = self.above_mark()?;
                let pairs = pairs(&items)?;
                self.push(Node::Dict(pairs))?;
            }
            0x85..=0x87 => {
                let n = usize::from(code - 0x84);
                let mut items = Vec::with_capacity(n);
                for _ in 0..n {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push(Node::Tuple(items.into()))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item], "list")?;
            }
            b'e' => {
                let items = self.above_mark()?;
                self.extend(items, "list")?;
            }
            0x90 => {
                let items = self.above_mark()?;
                self.extend(items, "set")?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.extend(vec![key, value], "dictionary")?;
            }
            b'u' => {
                let items = self.above_mark()?;
                self.extend(items, "dictionary")?;
            }
            b'p' | b'q' | b'r' => {
                let index = memo_index(code, b'p', b'q', s)?;
                let top = self.top()?;
                self.next_memo = self.next_memo.max(index + 1);
                self.memo.insert(index, top);
            }
            0x94 => {
                let top = self.top()?;
                self.memo.insert(self.next_memo, top);
                self.next_memo += 1;
            }
            b'g' | b'h' | b'j' => {
                let index = memo_index(code, b'g', b'h', s)?;
                let value = *self.memo.get(&index).ok_or_else(|| format!("memo {index} was never set"))?;
                self.stack.push(value);
            }
            b'i' => {
                let (module, name) = (text_line(s)?, text_line(s)?);
                return Err(format!("an instance of {}.{}; such objects are not made", short(&module), short(&name)).into());
            }
            b'o' => return Err("an instance made by OBJ; such objects are not made".into()),
            0x82..=0x84 => return Err("a name of the extension registry; none is known".into()),
            0x97 | 0x98 => return Err("an out-of-band buffer; none comes with a file".into()),
            other => return Err(format!("unknown pickle instruction 0x{other:02x}").into()),
        }
        Ok(None)
    }

    fn push(&mut self, node: Node) -> Result<(), Stop> {
        if self.heap.nodes.len() >= limits::PICKLE_OBJECTS {
            return Err(format!("more than {} objects", limits::PICKLE_OBJECTS).into());
        }
        let id = NodeId(self.heap.nodes.len() as u32);
        self.heap.nodes.push(node);
        self.stack.push(Value::Node(id));
        Ok(())
    }

    /// The top value, not beyond the last mark.
    fn top(&self) -> Result<Value, Stop> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(EMPTY.into());
        }
        self.stack.last().copied().ok_or_else(|| EMPTY.into())
    }

    fn pop(&mut self) -> Result<Value, Stop> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn above_mark(&mut self) -> Result<Vec<Value>, Stop> {
        let mark = self.marks.pop().ok_or("no mark on the stack")?;
        Ok(self.stack.split_off(mark))
    }

    fn int(&mut self, n: i128) -> Result<(), Stop> {
        match i64::try_from(n) {
            Ok(n) => {
                self.stack.push(Value::Int(n));
                Ok(())
            }
            Err(_) => self.push(Node::Big(n)),
        }
    }

    /// A little-endian two's complement integer of `n` bytes.
    fn long<R: BufRead>(&mut self, n: u64, s: &mut Source<R>) -> Result<(), Stop> {
        if n > 16 {
            return Err(format!("an integer of {n} bytes; at most 16 are read").into());
        }
        let bytes = s.bytes(n)?;
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut raw = [fill; 16];
        raw[..bytes.len()].copy_from_slice(&bytes);
        self.int(i128::from_le_bytes(raw))
    }

    fn integer_line<R: BufRead>(&mut self, s: &mut Source<R>) -> Result<(), Stop> {
        let line = text_line(s)?;
        match line.as_str() {
            "00" => self.stack.push(Value::Bool(false)),
            "01" => self.stack.push(Value::Bool(true)),
            digits => {
                let n: i128 = digits.trim().parse().map_err(|_| format!("integer \"{}\"", short(&line)))?;
                self.int(n)?;
            }
        }
        Ok(())
    }

    fn utf8<R: BufRead>(&mut self, n: u64, s: &mut Source<R>) -> Result<(), Stop> {
        let bytes = s.bytes(n)?;
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            // Python writes lone surrogates; the rest of the text is still of use.
            Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
        };
        self.push(Node::Str(text.into()))
    }

    fn python2(&mut self, bytes: Vec<u8>) -> Result<(), Stop> {
        match String::from_utf8(bytes) {
            Ok(text) => self.push(Node::Str(text.into())),
            Err(e) => self.push(Node::Bytes(e.into_bytes().into())),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Stop> {
        match globals::find(module, name) {
            Some(global) => self.push(Node::Global(global)),
            None => Err(format!(
                "the name {}.{} is not on the list of what checkpoints hold; nothing of the file is run{}",
                short(module),
                short(name),
                // A class, as of `torch.save(model)`: what is wanted is inside and can be saved by itself.
                match name.starts_with(|c: char| c.is_ascii_uppercase()) {
                    true => "; of a whole model save the state dict: torch.save(model.state_dict(), \"weights.pth\")",
                    false => "",
                }
            )
            .into()),
        }
    }

    fn call(&mut self, callee: Value, args: Value) -> Result<(), Stop> {
        let global = match self.heap.of(callee) {
            Some(Node::Global(g)) => *g,
            _ => return Err(format!("a call of {}", self.heap.kind(callee)).into()),
        };
        let args = match self.heap.of(args) {
            Some(Node::Tuple(t)) if t.len() <= 16 => t.to_vec(),
            Some(Node::Tuple(t)) => return Err(format!("a call with {} arguments", t.len()).into()),
            _ => return Err(format!("a call whose arguments are {}", self.heap.kind(args)).into()),
        };
        match globals::call(&mut self.heap, global, &args)? {
            Made::Node(node) => self.push(node),
            Made::Value(value) => {
                self.stack.push(value);
                Ok(())
            }
        }
    }

    /// Adds to the container on top of the stack.
    fn extend(&mut self, items: Vec<Value>, expected: &str) -> Result<(), Stop> {
        let top = self.top()?;
        let Value::Node(id) = top else {
            return Err(format!("items for {}, a {expected} expected", self.heap.kind(top)).into());
        };
        match (self.heap.node_mut(id), expected) {
            (Node::List(l), "list") | (Node::Set(l), "set") => l.extend(items),
            (Node::Dict(d), "dictionary") => d.extend(pairs(&items)?),
            (other, _) => return Err(format!("items for {}, a {expected} expected", other.kind()).into()),
        }
        Ok(())
    }
}

fn pairs(items: &[Value]) -> Result<Vec<(Value, Value)>, Stop> {
    if !items.len().is_multiple_of(2) {
        return Err("a dictionary's key without a value".into());
    }
    Ok(items.chunks_exact(2).map(|p| (p[0], p[1])).collect())
}

fn memo_index<R: BufRead>(code: u8, as_line: u8, as_byte: u8, s: &mut Source<R>) -> Result<u64, Stop> {
    if code == as_line {
        let line = text_line(s)?;
        let n: u32 = line.trim().parse().map_err(|_| format!("memo \"{}\"", short(&line)))?;
        return Ok(u64::from(n));
    }
    if code == as_byte {
        return Ok(u64::from(s.byte()?));
    }
    Ok(u64::from(u32::from_le_bytes(s.array()?)))
}

/// Length prefix of text or bytes.
fn length<R: BufRead>(code: u8, s: &mut Source<R>) -> Result<u64, Stop> {
    Ok(match code {
        b'U' | b'C' | 0x8c => u64::from(s.byte()?),
        0x8d | 0x8e | 0x96 => u64::from_le_bytes(s.array()?),
        _ => u64::from(u32::from_le_bytes(s.array()?)),
    })
}

fn text_line<R: BufRead>(s: &mut Source<R>) -> Result<String, Stop> {
    let mut line = s.line()?;
    // A stream that went through a text mode.
    line.pop_if(|b| *b == b'\r');
    String::from_utf8(line).map_err(|_| "text that is not UTF-8".into())
}

/// Text for a message: escaped, not long.
fn short(text: &str) -> String {
    let head: String = text.chars().take(80).collect();
    let dots = if head.len() < text.len() { "..." } else { "" };
    format!("{}{dots}", head.escape_debug())
}
