//! A bundle's config: components by id, references (`@id`) resolved, Python (`$...`) refused unless it is a literal.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use crate::fields::Wrong;
use crate::wording::quoted;

/// Longest chain of references, and deepest nesting of what is read.
const DEPTH: usize = 32;

/// A config file.
#[derive(Debug)]
pub(super) struct Settings {
    root: Json,
    /// Ids at the root that something referred to.
    used: RefCell<BTreeSet<String>>,
}

/// A thing that the config builds: a transform, an inferer.
#[derive(Debug, Clone)]
pub(super) struct Component<'s> {
    settings: &'s Settings,
    /// The class without its module, dictionary transforms as `...d`.
    pub name: String,
    args: Map<String, Json>,
}

impl Settings {
    pub fn new(root: Json) -> Self {
        Self { root, used: RefCell::default() }
    }

    /// Ids at the root that nothing read or referred to.
    pub fn unread(&self, known: &[&str]) -> Vec<String> {
        let used = self.used.borrow();
        let Some(all) = self.root.as_object() else { return Vec::new() };
        all.keys().filter(|k| !k.starts_with('_') && !known.contains(&k.as_str()) && !used.contains(*k)).cloned().collect()
    }

    /// The entry of an id, parts of which `#` or `::` separate.
    fn entry(&self, id: &str) -> Option<&Json> {
        let id = id.replace("::", "#");
        let mut parts = id.split('#');
        let first = parts.next()?;
        self.used.borrow_mut().insert(first.to_owned());
        parts.try_fold(self.root.get(first)?, |v, part| match v {
            Json::Array(items) => items.get(part.parse::<usize>().ok()?),
            other => other.get(part),
        })
    }

    /// The value of an id, if it is there.
    pub fn get(&self, id: &str) -> Result<Option<Json>, Wrong> {
        self.entry(id).filter(|v| !v.is_null()).map(|v| self.resolve(v, 0)).transpose()
    }

    /// A value with references and literals resolved, at the top and in lists.
    fn resolve(&self, value: &Json, depth: usize) -> Result<Json, Wrong> {
        if depth > DEPTH {
            return Err("references that go in a circle, or lists nested too deeply".to_owned());
        }
        match value {
            Json::String(text) => match text.trim().chars().next() {
                Some('@' | '%') => {
                    let id = &text.trim()[1..];
                    let target = self.entry(id).ok_or_else(|| format!("the reference {} leads nowhere in this file", quoted(text)))?;
                    self.resolve(target, depth + 1)
                }
                Some('$') => self.expression(text.trim()[1..].trim(), depth),
                _ => Ok(value.clone()),
            },
            Json::Array(items) => items.iter().map(|v| self.resolve(v, depth + 1)).collect::<Result<Vec<_>, _>>().map(Json::Array),
            other => Ok(other.clone()),
        }
    }

    /// A literal, a reference, or lists of references added up; nothing else is evaluated.
    fn expression(&self, text: &str, depth: usize) -> Result<Json, Wrong> {
        let simple = |t: &str| t.strip_prefix('@').is_some_and(|id| id.chars().all(|c| c.is_alphanumeric() || "_#:".contains(c)));
        let parts: Vec<&str> = text.split('+').map(str::trim).collect();
        if parts.iter().all(|p| simple(p)) {
            let mut values = parts.iter().map(|p| self.resolve(&Json::from(*p), depth + 1)).collect::<Result<Vec<_>, _>>()?;
            if values.len() == 1 {
                return Ok(values.remove(0));
            }
            let lists: Option<Vec<Json>> = values
                .into_iter()
                .map(|v| if let Json::Array(l) = v { Some(l) } else { None })
                .collect::<Option<Vec<_>>>()
                .map(|l| l.concat());
            if let Some(list) = lists {
                return Ok(Json::Array(list));
            }
        }
        literal(text).ok_or_else(|| format!("{} is a Python expression, which mnx does not evaluate", quoted(&format!("${text}"))))
    }

    /// A component at an id.
    pub fn component(&self, id: &str) -> Result<Option<Component<'_>>, Wrong> {
        match self.get(id)? {
            None => Ok(None),
            Some(v) => self.made(&v),
        }
    }

    fn made(&self, value: &Json) -> Result<Option<Component<'_>>, Wrong> {
        let map = value.as_object().ok_or_else(|| format!("{} is no component with a _target_", quoted(&value.to_string())))?;
        let target = map.get("_target_").and_then(Json::as_str).ok_or("a component without _target_")?;
        match map.get("_disabled_").map(|d| self.resolve(d, 0)).transpose()? {
            None | Some(Json::Bool(false) | Json::Null) => {}
            Some(Json::Bool(true)) => return Ok(None),
            Some(other) => return Err(format!("_disabled_ is {other}, true or false expected")),
        }
        Ok(Some(Component { settings: self, name: class(target), args: map.clone() }))
    }

    /// The transforms of a `Compose` (or a list) at an id, inner ones flattened; none where there is no such id.
    pub fn transforms(&self, id: &str) -> Result<Option<Vec<Component<'_>>>, Wrong> {
        let Some(value) = self.get(id)? else { return Ok(None) };
        let mut out = Vec::new();
        self.flatten(&value, &mut out, 0).map_err(|e| format!("{id}: {e}"))?;
        Ok(Some(out))
    }

    fn flatten<'s>(&'s self, value: &Json, out: &mut Vec<Component<'s>>, depth: usize) -> Result<(), Wrong> {
        if depth > DEPTH {
            return Err("transforms nested too deeply".to_owned());
        }
        let value = match (self.resolve(value, 0), value) {
            // Python in the place of a transform: known by its text, so that it can be named.
            (Err(_), Json::String(text)) if depth > 0 => {
                out.push(Component { settings: self, name: text.clone(), args: Map::new() });
                return Ok(());
            }
            (resolved, _) => resolved?,
        };
        if let Json::Array(items) = &value {
            return items.iter().try_for_each(|v| self.flatten(v, out, depth + 1));
        }
        match self.made(&value)? {
            None => Ok(()),
            Some(c) if c.name == "Compose" => match c.args.get("transforms") {
                Some(inner) => self.flatten(inner, out, depth + 1),
                None => Ok(()),
            },
            Some(c) => {
                out.push(c);
                Ok(())
            }
        }
    }
}

/// `monai.transforms.LoadImageD` as `LoadImaged`.
fn class(target: &str) -> String {
    let last = target.rsplit('.').next().unwrap_or(target);
    let stem = last.strip_suffix("Dict").or_else(|| last.strip_suffix('D'));
    stem.filter(|s| s.len() > 2).map_or_else(|| last.to_owned(), |s| format!("{s}d"))
}

impl Component<'_> {
    /// An argument, if it is given and not None.
    pub fn arg(&self, key: &str) -> Result<Option<Json>, Wrong> {
        let value = self.args.get(key).map(|v| self.settings.resolve(v, 0)).transpose().map_err(|e| format!("{key}: {e}"))?;
        Ok(value.filter(|v| !v.is_null()))
    }

    /// Names of the arguments that are not among the known ones.
    pub fn others(&self, known: &[&str]) -> Vec<String> {
        self.args.keys().filter(|k| !k.starts_with('_') && !known.contains(&k.as_str())).cloned().collect()
    }

    /// A truth value, or the default.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, Wrong> {
        self.of_key(key)?.map_or(Ok(default), |v| v.as_bool().ok_or_else(|| format!("{key} is {v}, true or false expected")))
    }

    /// A number, or none.
    pub fn number(&self, key: &str) -> Result<Option<f64>, Wrong> {
        self.of_key(key)?
            .map(|v| v.as_f64().filter(|x| x.is_finite()).ok_or_else(|| format!("{key} is {v}, a number expected")))
            .transpose()
    }

    /// Text, or none.
    pub fn text(&self, key: &str) -> Result<Option<String>, Wrong> {
        self.of_key(key)?.map(|v| v.as_str().map(str::to_owned).ok_or_else(|| format!("{key} is {v}, text expected"))).transpose()
    }

    /// Numbers, one number as a list of one.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, Wrong> {
        let Some(v) = self.arg(key)? else { return Ok(None) };
        let all: Option<Vec<f64>> = match &v {
            Json::Array(items) => items.iter().map(Json::as_f64).collect(),
            other => other.as_f64().map(|x| vec![x]),
        };
        all.map(Some).ok_or_else(|| format!("{key} is {v}, numbers expected"))
    }

    /// An argument that may be a list with one entry for each of the keys, all alike.
    fn of_key(&self, key: &str) -> Result<Option<Json>, Wrong> {
        match self.arg(key)? {
            Some(Json::Array(items)) => match items.split_first() {
                Some((first, rest)) if rest.iter().all(|v| v == first) => Ok(Some(first.clone()).filter(|v| !v.is_null())),
                _ => Err(format!("{key} is {}, one value for all keys expected", Json::Array(items))),
            },
            other => Ok(other),
        }
    }

    /// Whether the transform has something to do with an item; transforms without keys have to do with all.
    pub fn concerns(&self, item: &str) -> Result<bool, Wrong> {
        Ok(match self.arg("keys")? {
            None => true,
            Some(Json::String(one)) => one == item,
            Some(Json::Array(all)) => all.iter().any(|k| k == item),
            Some(other) => return Err(format!("keys is {other}, names expected")),
        })
    }
}

/// A Python literal: None, truth values, numbers, text, tuples and lists of them.
fn literal(text: &str) -> Option<Json> {
    let (value, rest) = item(text.trim(), 0)?;
    rest.trim().is_empty().then_some(value)
}

fn item(text: &str, depth: usize) -> Option<(Json, &str)> {
    let text = text.trim_start();
    let first = text.chars().next().filter(|_| depth < 8)?;
    match first {
        '(' | '[' => {
            let end = if first == '(' { ')' } else { ']' };
            let (mut rest, mut items, mut commas) = (text[1..].trim_start(), Vec::new(), 0);
            loop {
                if let Some(after) = rest.strip_prefix(end) {
                    // `(3)` is a number, `(3,)` a tuple.
                    let single = first == '(' && items.len() == 1 && commas == 0;
                    return Some((if single { items.pop()? } else { Json::Array(items) }, after));
                }
                if items.len() > commas {
                    return None;
                }
                let (value, after) = item(rest, depth + 1)?;
                items.push(value);
                rest = after.trim_start();
                if let Some(after) = rest.strip_prefix(',') {
                    (rest, commas) = (after.trim_start(), commas + 1);
                }
            }
        }
        '\'' | '"' => {
            let end = text[1..].find(first)?;
            let inner = &text[1..=end];
            (!inner.contains('\\')).then(|| (Json::from(inner), &text[end + 2..]))
        }
        _ => {
            let end = text.find([',', ')', ']']).unwrap_or(text.len());
            let word = text[..end].trim_end();
            let value = match word {
                "None" => Json::Null,
                "True" => Json::from(true),
                "False" => Json::from(false),
                number => match number.parse::<i64>() {
                    Ok(n) => Json::from(n),
                    Err(_) if number.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
                        serde_json::Number::from_f64(number.parse().ok()?).map(Json::Number)?
                    }
                    Err(_) => return None,
                },
            };
            Some((value, &text[end..]))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn literals_are_read_and_nothing_is_evaluated() {
        for (text, want) in [
            ("(96, 96, 64)", json!([96, 96, 64])),
            ("[1.5, -2, 3e0]", json!([1.5, -2, 3.0])),
            ("'RAS'", json!("RAS")),
            ("None", json!(null)),
            ("(3)", json!(3)),
            ("(3,)", json!([3])),
            ("[(1, 'a'), True]", json!([[1, "a"], true])),
            ("[]", json!([])),
        ] {
            assert_eq!(literal(text), Some(want), "{text}");
        }
        for text in ["(96,) * 3", "1 + 1", "os.system('x')", "[1 2]", "(1, 2", "inf", "nan", "'a' 'b'", "", "__import__('os')", "[1, [2]"] {
            assert_eq!(literal(text), None, "{text}");
        }
    }

    #[test]
    fn references_are_followed_and_circles_end() {
        let s = Settings::new(json!({
            "roi": [96, 96, 64], "same": "@roi", "part": "@roi#2", "colons": "@net::roi", "net": {"roi": "$(1, 2)"},
            "a": "@b", "b": "@a", "lost": "@nowhere", "python": "$[1] * 3", "sum": "$@first + @second", "first": [1], "second": [2, 3]
        }));
        let get = |id: &str| s.get(id);
        assert_eq!(get("same").unwrap(), Some(json!([96, 96, 64])));
        assert_eq!(get("part").unwrap(), Some(json!(64)));
        assert_eq!(get("colons").unwrap(), Some(json!([1, 2])));
        assert_eq!(get("sum").unwrap(), Some(json!([1, 2, 3])));
        assert_eq!(get("absent").unwrap(), None);
        assert!(get("a").unwrap_err().contains("circle"));
        assert!(get("lost").unwrap_err().contains("\"@nowhere\" leads nowhere"));
        assert!(get("python").unwrap_err().contains("\"$[1] * 3\" is a Python expression"));
        assert_eq!(
            ["monai.transforms.LoadImageD", "LoadImageDict", "LoadImaged", "Compose", "ID"].map(class),
            ["LoadImaged", "LoadImaged", "LoadImaged", "Compose", "ID"]
        );
    }
}
