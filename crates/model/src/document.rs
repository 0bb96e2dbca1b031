//! A TOML document read with places: every complaint names file, line, key, value and expectation.

use std::cell::RefCell;
use std::ops::Range;

use mnx_ir::Diagnostic;
use toml::de::{DeTable, DeValue};

/// A document being read; complaints gather here.
pub(crate) struct Document<'t> {
    file: &'t str,
    text: &'t str,
    problems: RefCell<Vec<Diagnostic>>,
}

/// One table of it; `path` is empty at the root, else `preprocess.`.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a, 't> {
    pub doc: &'a Document<'t>,
    pub path: &'a str,
    pub entries: &'a DeTable<'t>,
}

impl<'t> Document<'t> {
    pub fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, problems: RefCell::default() }
    }

    /// Parses the text; a syntax error is a complaint.
    pub fn parse(&self) -> Option<DeTable<'t>> {
        match DeTable::parse(self.text) {
            Ok(table) => Some(table.into_inner()),
            Err(e) => {
                let first = e.message().lines().next().unwrap_or("invalid TOML");
                self.complain("model-0100", e.span(), format!("not valid TOML: {first}"));
                None
            }
        }
    }

    /// Adds a complaint at a place in the text.
    pub fn complain(&self, code: &'static str, span: Option<Range<usize>>, message: String) {
        let place = match span.and_then(|s| self.text.get(..s.start)) {
            Some(before) => {
                let line = before.matches('\n').count() + 1;
                let column = before.rsplit('\n').next().map_or(0, |s| s.chars().count()) + 1;
                format!("{}:{line}:{column}", self.file)
            }
            None => self.file.to_string(),
        };
        self.problems.borrow_mut().push(Diagnostic::new(code, place, message));
    }

    /// All complaints so far.
    pub fn into_problems(self) -> Vec<Diagnostic> {
        self.problems.into_inner()
    }

    /// The text of a value, shortened.
    fn quote(&self, span: Range<usize>) -> String {
        let source = self.text.get(span).unwrap_or("").trim();
        let mut short: String = source.split_whitespace().collect::<Vec<_>>().join(" ");
        if short.chars().count() > 60 {
            short = short.chars().take(57).collect::<String>() + "...";
        }
        short
    }
}

impl<'a, 't> Table<'a, 't> {
    /// Complains of keys that are not in `known`, suggesting the nearest.
    pub fn only(&self, known: &[&str]) {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let hint = nearest(name, known)
                    .map_or_else(|| format!("expected one of {}", known.join(", ")), |k| format!("did you mean `{k}`?"));
                self.doc.complain("model-0101", Some(key.span()), format!("unknown key `{}{name}`: {hint}", self.path));
            }
        }
    }

    /// The place of a key's value.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        self.entries.get(key).map(|v| v.span())
    }

    /// A value through `read`, which answers what was expected when it cannot.
    pub fn get<T>(&self, key: &str, read: impl FnOnce(&DeValue<'t>) -> Result<T, String>) -> Option<T> {
        let value = self.entries.get(key)?;
        match read(value.get_ref()) {
            Ok(v) => Some(v),
            Err(expected) => {
                let table = matches!(value.get_ref(), DeValue::Table(_));
                let got = if table { "a table".into() } else { format!("`{}`", self.doc.quote(value.span())) };
                self.doc.complain("model-0102", Some(value.span()), format!("key `{}{key}` is {got}, expected {expected}", self.path));
                None
            }
        }
    }

    /// Complains of a conflict at a key.
    pub fn conflict(&self, key: &str, message: String) {
        self.doc.complain("model-0104", self.span(key), message);
    }

    /// Complains that a key is missing.
    pub fn missing(&self, key: &str, expected: &str) {
        self.doc.complain("model-0103", None, format!("key `{}{key}` is missing, expected {expected}", self.path));
    }
}

/// The known word nearest to a given one, if near enough to be a slip.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&word.to_lowercase(), &k.to_lowercase()), *k))
        .min()
        .filter(|(d, k)| *d <= 2.max(k.len() / 3))
        .map(|(_, k)| k)
}

/// An integer in a range.
pub(crate) fn integer(v: &DeValue<'_>, range: &Range<usize>) -> Option<usize> {
    let i = v.as_integer()?;
    let n = i64::from_str_radix(i.as_str(), i.radix()).ok()?;
    usize::try_from(n).ok().filter(|n| range.contains(n))
}

/// A finite number; integers count.
pub(crate) fn number(v: &DeValue<'_>) -> Option<f64> {
    let x = match v {
        DeValue::Float(f) => f.as_str().parse().ok()?,
        DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok()? as f64,
        DeValue::String(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => return None,
    };
    Some(x).filter(|x: &f64| x.is_finite())
}

/// One of a few words.
pub(crate) fn word<T: Copy>(v: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, String> {
    let names: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
    let expected = names.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
    let Some(given) = v.as_str() else {
        return Err(format!("one of {expected}"));
    };
    words.iter().find(|(w, _)| *w == given).map(|(_, t)| *t).ok_or_else(|| match nearest(given, &names) {
        Some(near) => format!("one of {expected} (did you mean \"{near}\"?)"),
        None => format!("one of {expected}"),
    })
}

/// `true` or `false`.
pub(crate) fn boolean(v: &DeValue<'_>) -> Result<bool, String> {
    v.as_bool().ok_or_else(|| "true or false".into())
}
