//! Golden files cut into cases, and put together again.

use std::fmt;

use mnx_ir::Graph;
use mnx_ir::parse::parse;

use super::join;

/// The line between two cases.
const SEPARATOR: &str = "// -----";

/// The line in front of a case's expected part.
const EXPECTED: &str = "// === expected (MNX_BLESS=1 rewrites from here on)";

/// Keys of header lines: a point starts with none of them.
const KEYS: [&str; 4] = ["test: ", "same: ", "edit: ", "error: "];

/// A golden file, cut into its cases.
#[derive(Debug, Clone)]
pub struct File {
    name: String,
    /// The first part, if it holds header lines alone.
    head: Option<Part>,
    parts: Vec<Part>,
}

/// A file's text between two separators, without the blank lines at its ends.
#[derive(Debug, Clone)]
struct Part {
    /// The line of the file that it starts on, from 1.
    line: usize,
    given: String,
    expected: Option<String>,
}

/// One case of a golden file.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    file: &'a str,
    /// From 1.
    number: usize,
    head: Option<&'a Part>,
    part: &'a Part,
}

impl File {
    /// Reads a file's text; `name` stands for it in messages.
    ///
    /// # Errors
    /// The first part that is no case, and why: empty, without a point, without a graph, or with two expected parts.
    pub fn read(name: &str, text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut open: Vec<&str> = Vec::new();
        let mut start = 1;
        for (i, line) in text.lines().enumerate() {
            if line == SEPARATOR {
                parts.push(Part::read(&open, start).map_err(|e| format!("{name}:{e}"))?);
                (open, start) = (Vec::new(), i + 2);
                continue;
            }
            // It would give its case's expected part the next case, and blessing would drop that.
            if line.strip_prefix("//").is_some_and(|l| l.contains('-') && l.chars().all(|c| c == '-' || c.is_whitespace())) {
                return Err(format!("{name}:{}: `{line}` looks like the separator `{SEPARATOR}`", i + 1));
            }
            open.push(line);
        }
        parts.push(Part::read(&open, start).map_err(|e| format!("{name}:{e}"))?);
        let has_head = parts.len() > 1 && parts[0].is_head();
        let head = has_head.then(|| parts.remove(0));
        for part in &parts {
            part.check().map_err(|e| format!("{name}:{}: {e}", part.line))?;
        }
        Ok(Self { name: name.to_string(), head, parts })
    }

    /// Cases of the file, in order.
    pub fn cases(&self) -> Vec<Case<'_>> {
        let case = |(i, part)| Case { file: &self.name, number: i + 1, head: self.head.as_ref(), part };
        self.parts.iter().enumerate().map(case).collect()
    }

    /// Replaces the expected part of the case at `index`, from 0.
    pub fn bless(&mut self, index: usize, expected: String) {
        self.parts[index].expected = Some(expected);
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, part) in self.head.iter().chain(&self.parts).enumerate() {
            if i > 0 {
                write!(f, "\n{SEPARATOR}\n\n")?;
            }
            writeln!(f, "{}", part.given)?;
            if let Some(expected) = &part.expected {
                writeln!(f, "{EXPECTED}\n{expected}")?;
            }
        }
        Ok(())
    }
}

/// Whether a text can stand in an expected part and be read back.
///
/// # Errors
/// The line that a reader would take for the file's own.
pub fn storable(expected: &str) -> Result<(), String> {
    match expected.lines().find(|l| [SEPARATOR, EXPECTED].contains(l)) {
        None => Ok(()),
        Some(line) => Err(format!("gives a text with the line `{line}`, which golden files keep for themselves")),
    }
}

impl Part {
    fn read(lines: &[&str], start: usize) -> Result<Self, String> {
        let blank = |l: &&str| l.trim().is_empty();
        let skipped = lines.iter().copied().take_while(blank).count();
        let end = lines.len() - lines[skipped..].iter().rev().copied().take_while(blank).count();
        let (line, lines) = (start + skipped, &lines[skipped..end]);
        if lines.is_empty() {
            return Err(format!("{start}: an empty case"));
        }
        let mut texts = lines.split(|l| *l == EXPECTED);
        let given = texts.next().unwrap_or_default().join("\n");
        let expected = texts.next().map(|l| l.join("\n").trim_matches('\n').to_string());
        if texts.next().is_some() {
            return Err(format!("{line}: a case with two expected parts"));
        }
        Ok(Self { line, given, expected })
    }

    /// Leading comments, without their slashes.
    fn header(&self) -> impl Iterator<Item = &str> {
        self.given.lines().map_while(|l| l.strip_prefix("//")).map(str::trim_start)
    }

    fn point(&self) -> Option<&str> {
        self.header().next().filter(|l| !l.is_empty() && !KEYS.iter().any(|k| l.starts_with(k)))
    }

    fn is_head(&self) -> bool {
        let says = self.header().next().is_some_and(|l| KEYS.iter().any(|k| l.starts_with(k)));
        says && self.expected.is_none() && self.given.lines().all(|l| l.starts_with("//") || l.trim().is_empty())
    }

    fn check(&self) -> Result<(), String> {
        if self.point().is_none() {
            return Err("a case without a point: expected a comment that says it in the first line".into());
        }
        if self.given.lines().all(|l| l.trim().is_empty() || l.starts_with("//")) {
            return Err("a case without a graph".into());
        }
        Ok(())
    }
}

impl<'a> Case<'a> {
    /// The file's name.
    pub fn file(&self) -> &'a str {
        self.file
    }

    /// Everything before the expected part.
    pub fn given(&self) -> &'a str {
        &self.part.given
    }

    /// The expected part, without blank lines at its ends.
    pub fn expected(&self) -> Option<&'a str> {
        self.part.expected.as_deref()
    }

    /// The line of the file that the case starts on, from 1.
    pub fn line(&self) -> usize {
        self.part.line
    }

    /// Values of the header lines `// key: value`: the case's own, or the file's where it has none.
    pub fn values(&self, key: &str) -> Vec<&'a str> {
        let of = |part: &'a Part| part.header().filter_map(|l| l.strip_prefix(key)?.strip_prefix(": ")).collect::<Vec<_>>();
        let own = of(self.part);
        if own.is_empty() { self.head.map(of).unwrap_or_default() } else { own }
    }

    /// The one value of `// test:`, cut at its first blank: what is done, and its arguments.
    ///
    /// # Errors
    /// If there is none, or more than one.
    pub fn test(&self) -> Result<(&'a str, &'a str), String> {
        match self.values("test")[..] {
            [test] => Ok(test.split_once(' ').unwrap_or((test, ""))),
            [] => Err("no `// test: ...` says what is done".into()),
            _ => Err("more than one `// test: ...`".into()),
        }
    }

    /// The graph; places in diagnostics are the file's lines.
    ///
    /// # Errors
    /// As [`parse`].
    pub fn parsed(&self) -> Result<Graph, Vec<mnx_ir::Diagnostic>> {
        parse(&format!("{}{}", "\n".repeat(self.part.line - 1), self.part.given), self.file)
    }

    /// The graph of a case whose graph must be right.
    ///
    /// # Errors
    /// Every diagnostic of [`Case::parsed`], in lines.
    pub fn graph(&self) -> Result<Graph, String> {
        self.parsed().map_err(|e| join(&e))
    }
}

/// `file:line: case number (point)`.
impl fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: case {} ({})", self.file, self.part.line, self.number, self.part.point().unwrap_or_default())
    }
}
