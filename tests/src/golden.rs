//! The golden runner: text files that hold a graph, what to do with it, and what must come out.
//!
//! ```text
//! // test: opt --pipeline=decompose-norm,dce
//! // same: interp seed=7 tol=1e-9        (input and result must compute the same; may stand more than once)
//! graph @g(...) ...
//! // === expected (MNX_BLESS=1 rewrites from here on)
//! graph @g(...) ...
//! ```
//!
//! `// test: roundtrip` expects the very text that stands in the file, or the expected part. `// test: verify` expects the errors
//! that `// error: text` lines list (each matched within one message; behind an op it must be that line's), and no others; without
//! such lines it expects none.

use std::path::Path;

use mnx_ir::Graph;
use mnx_ir::parse::parse;
use mnx_ir::print::print;
use mnx_ir::verify::verify;
use mnx_passes::{Changed, Manager, PassError, Pipeline};

use crate::same;

const EXPECTED: &str = "// === expected (MNX_BLESS=1 rewrites from here on)\n";

/// A golden file, read.
#[derive(Debug)]
struct Golden<'a> {
    file: &'a str,
    header: Vec<&'a str>,
    /// Everything before the expected part.
    given: &'a str,
    expected: Option<&'a str>,
}

/// Runs one file. With `bless`, returns the whole text that the file should have.
///
/// # Errors
/// What differs, in words.
pub fn run_text(file: &str, text: &str, bless: bool) -> Result<Option<String>, String> {
    let (given, expected) = match text.split_once(EXPECTED) {
        Some((given, expected)) => (given, Some(expected)),
        None => (text, None),
    };
    let header = given.lines().map_while(|l| l.strip_prefix("// ")).collect();
    let golden = Golden { file, header, given, expected };
    let test = golden.line("test: ").ok_or("the first lines hold no `// test: ...`")?;
    match test.split_once(' ').unwrap_or((test, "")) {
        ("opt", arguments) => {
            let pipeline = arguments.strip_prefix("--pipeline=").ok_or_else(|| format!("expected --pipeline=..., found `{arguments}`"))?;
            golden.settle(&golden.optimised(pipeline)?, bless)
        }
        ("roundtrip", "") => golden.roundtrip(bless),
        ("verify", "") => golden.verified().map(|()| None),
        _ => Err(format!("unknown test `{test}`: expected opt --pipeline=..., roundtrip or verify")),
    }
}

impl Golden<'_> {
    fn line(&self, start: &str) -> Option<&str> {
        self.header.iter().find_map(|l| l.strip_prefix(start))
    }

    fn graph(&self) -> Result<Graph, String> {
        parse(self.given, self.file).map_err(|e| join(&e))
    }

    /// Compares with the expected part, or rewrites it.
    fn settle(&self, got: &str, bless: bool) -> Result<Option<String>, String> {
        if bless {
            return Ok(Some(format!("{}{EXPECTED}{got}", self.given)));
        }
        match self.expected {
            None => Err("there is no expected part; MNX_BLESS=1 writes it".into()),
            Some(want) if want == got => Ok(None),
            Some(want) => Err(difference(want, got)),
        }
    }

    fn optimised(&self, pipeline: &str) -> Result<String, String> {
        let before = self.graph()?;
        let pipeline = Pipeline::parse(pipeline).map_err(|e| e.to_string())?;
        let mut graph = before.clone();
        run_checked(&pipeline, &mut graph).map_err(|e| e.to_string())?;
        for line in self.header.iter().filter_map(|l| l.strip_prefix("same: ")) {
            let (seed, tol) = read_same(line)?;
            same::compare(&same::outputs(&before, seed)?, &same::outputs(&graph, seed)?, tol)?;
        }
        Ok(print(&graph))
    }

    fn roundtrip(&self, bless: bool) -> Result<Option<String>, String> {
        let text = print(&self.graph()?);
        let again = print(&parse(&text, self.file).map_err(|e| join(&e))?);
        if text != again {
            return Err(format!("printed text does not print itself again: {}", difference(&text, &again)));
        }
        if self.expected.is_some() {
            return self.settle(&text, bless);
        }
        let body: String = self.given.lines().skip_while(|l| l.starts_with("//") || l.is_empty()).map(|l| format!("{l}\n")).collect();
        if body == text { Ok(None) } else { Err(difference(&body, &text)) }
    }

    fn verified(&self) -> Result<(), String> {
        let mut found = match parse(self.given, self.file) {
            Ok(graph) => verify(&graph).err().unwrap_or_default(),
            Err(errors) => errors,
        };
        for (i, line) in self.given.lines().enumerate() {
            let Some((op, want)) = line.split_once("// error: ") else { continue };
            let want = want.trim();
            let place = format!("{}:{}:", self.file, i + 1);
            let hit = found.iter().position(|d| d.message.contains(want) && (op.trim().is_empty() || d.place.starts_with(&place)));
            match hit {
                Some(hit) => drop(found.remove(hit)),
                None => return Err(format!("line {}: no error says `{want}`; left are:\n{}", i + 1, join(&found))),
            }
        }
        if found.is_empty() { Ok(()) } else { Err(format!("errors that no `// error:` expects:\n{}", join(&found))) }
    }
}

/// Runs a pipeline and checks what every pass promises: `Changed::No` left the printed graph as it was, `Changed::Yes` did not,
/// and the graph's text reads back.
///
/// # Errors
/// As the manager's; broken promises as `Caller`.
pub fn run_checked(pipeline: &Pipeline, graph: &mut Graph) -> Result<(), PassError> {
    let mut text = print(graph);
    Manager::default().run(pipeline, graph, &mut |step| {
        let now = print(step.graph);
        if (now == text) != (step.changed == Changed::No) {
            return Err(PassError::Caller(format!("{} says Changed::{:?}: {}", step.pass, step.changed, difference(&text, &now))));
        }
        match parse(&now, step.pass) {
            Ok(again) if print(&again) == now => {}
            Ok(again) => return Err(PassError::Caller(format!("{}: text changes: {}", step.pass, difference(&now, &print(&again))))),
            Err(e) => return Err(PassError::Caller(format!("{}: text does not read back: {}", step.pass, join(&e)))),
        }
        text = now;
        Ok(())
    })?;
    Ok(())
}

/// Runs every `.mnx` file of a folder; with `MNX_BLESS=1` in the environment rewrites the expected parts.
///
/// # Panics
/// Listing every file that fails, or if there is none.
pub fn run_folder(folder: &Path) {
    let bless = std::env::var("MNX_BLESS").is_ok_and(|v| v == "1");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "mnx"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds no .mnx file", folder.display());
    let mut failures = Vec::new();
    for path in files {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let outcome = std::fs::read_to_string(&path).map_err(|e| e.to_string()).and_then(|text| run_text(&name, &text, bless));
        match outcome {
            Ok(None) => {}
            Ok(Some(text)) => std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
            Err(why) => failures.push(format!("{name}: {why}")),
        }
    }
    assert!(failures.is_empty(), "{} golden files fail:\n\n{}", failures.len(), failures.join("\n\n"));
}

fn read_same(line: &str) -> Result<(u64, f64), String> {
    let wrong = || format!("expected `same: interp seed=N tol=T`, found `same: {line}`");
    let mut words = line.split_whitespace();
    let (Some("interp"), Some(seed), Some(tol), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(wrong());
    };
    let seed = seed.strip_prefix("seed=").and_then(|s| s.parse().ok()).ok_or_else(wrong)?;
    let tol = tol.strip_prefix("tol=").and_then(|s| s.parse().ok()).ok_or_else(wrong)?;
    Ok((seed, tol))
}

fn join(errors: &[mnx_ir::Diagnostic]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The first line in which two texts differ.
fn difference(want: &str, got: &str) -> String {
    let (mut w, mut g) = (want.lines(), got.lines());
    for line in 1.. {
        match (w.next(), g.next()) {
            (None, None) => break,
            (a, b) if a != b => {
                return format!("line {line} differs\n  expected: {}\n  got:      {}", a.unwrap_or("(end)"), b.unwrap_or("(end)"));
            }
            _ => {}
        }
    }
    "only line ends differ".into()
}
