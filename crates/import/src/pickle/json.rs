//! A pickled structure as JSON: what plans and properties are read from, whichever way they were written.

use serde_json::{Map, Number, Value as Json};

use super::heap::{Heap, Node, Value};
use super::numpy::{Array, Element};
use crate::limits;

/// Turns a value into JSON. Tuples, sets and arrays become lists, keys become text (`(1, 2)` for a tuple), NaN and infinity become null.
///
/// # Errors
/// Structures that are circular, too deep or too large; tensors.
pub fn to_json(heap: &Heap, value: Value) -> Result<Json, String> {
    Writer { heap, left: limits::JSON_VALUES }.value(value, 0)
}

struct Writer<'h> {
    heap: &'h Heap,
    left: usize,
}

impl Writer<'_> {
    fn charge(&mut self, n: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(n).ok_or_else(|| format!("a structure of more than {} values", limits::JSON_VALUES))?;
        Ok(())
    }

    fn value(&mut self, value: Value, depth: usize) -> Result<Json, String> {
        if depth > limits::DEPTH {
            return Err(format!("a structure that is circular or nested deeper than {}", limits::DEPTH));
        }
        self.charge(1)?;
        let id = match value {
            Value::None => return Ok(Json::Null),
            Value::Bool(b) => return Ok(Json::Bool(b)),
            Value::Int(n) => return Ok(Json::from(n)),
            Value::Float(x) => return Ok(Number::from_f64(x).map_or(Json::Null, Json::Number)),
            Value::Node(id) => id,
        };
        let heap = self.heap;
        match heap.node(id) {
            Node::Str(s) => {
                self.charge(s.len() / 64)?;
                Ok(Json::from(&**s))
            }
            Node::Bytes(b) => {
                self.charge(b.len() / 64)?;
                Ok(Json::from(b.iter().map(|c| char::from(*c)).collect::<String>()))
            }
            Node::Big(n) => Ok(Json::from(*n as f64)),
            Node::List(l) | Node::Set(l) => self.list(l, depth),
            Node::Tuple(t) => self.list(t, depth),
            Node::Dict(d) => {
                let mut map = Map::new();
                for (k, v) in d {
                    map.insert(self.key(*k)?, self.value(*v, depth + 1)?);
                }
                Ok(Json::Object(map))
            }
            Node::Global(g) => Ok(Json::from(format!("{}.{}", g.module, g.name))),
            Node::Array(a) => {
                self.charge(a.len())?;
                let mut at = 0;
                self.array(a, 0, &mut at, depth)
            }
            other @ (Node::Storage(_) | Node::Tensor(_) | Node::Dtype(_)) => {
                Err(format!("{} where plain values are expected", other.kind()))
            }
        }
    }

    fn list(&mut self, items: &[Value], depth: usize) -> Result<Json, String> {
        items.iter().map(|v| self.value(*v, depth + 1)).collect::<Result<Vec<_>, _>>().map(Json::Array)
    }

    fn array(&mut self, a: &Array, axis: usize, at: &mut usize, depth: usize) -> Result<Json, String> {
        if axis == a.shape.len() {
            let element = a.at(self.heap, *at);
            *at += 1;
            return match element {
                Element::Value(v) => self.value(v, depth + 1),
                Element::Big(n) => Ok(Json::from(n as f64)),
                Element::Text(t) => {
                    self.charge(t.len() / 64)?;
                    Ok(Json::from(t))
                }
            };
        }
        // An extent of zero further in would make empty lists without end.
        if a.is_empty() {
            return Ok(Json::Array(Vec::new()));
        }
        (0..a.shape[axis]).map(|_| self.array(a, axis + 1, at, depth)).collect::<Result<Vec<_>, _>>().map(Json::Array)
    }

    fn key(&mut self, key: Value) -> Result<String, String> {
        self.charge(1)?;
        match key {
            Value::None => Ok("None".to_owned()),
            Value::Bool(b) => Ok(if b { "True" } else { "False" }.to_owned()),
            Value::Int(n) => Ok(n.to_string()),
            Value::Float(x) => Ok(x.to_string()),
            Value::Node(id) => match self.heap.node(id) {
                Node::Str(s) => {
                    self.charge(s.len() / 64)?;
                    Ok(s.to_string())
                }
                Node::Tuple(t) => {
                    let simple = |v: &Value| match v {
                        Value::Int(n) => Ok(n.to_string()),
                        other => Err(format!("a dictionary's key holds {}", self.heap.kind(*other))),
                    };
                    let parts: Vec<String> = t.iter().map(simple).collect::<Result<_, _>>()?;
                    self.charge(parts.len())?;
                    Ok(format!("({})", parts.join(", ")))
                }
                other => Err(format!("a dictionary's key is {}", other.kind())),
            },
        }
    }
}
