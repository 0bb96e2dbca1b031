//! The golden runner: text files of small cases, each with its point, an input, what to do with it, and what must come out.
//!
//! ```text
//! // test: opt --pipeline=decompose-norm,dce
//! // same: interp seed=7 tol=1e-9
//!
//! // -----
//!
//! // Group norm becomes statistics and their application.
//! graph @g(...) ...
//! // === expected (MNX_BLESS=1 rewrites from here on)
//! graph @g(...) ...
//!
//! // -----
//!
//! // Layer norm stays as it is.
//! ...
//! ```
//!
//! A line `// -----` ends a case. The first line of every case is a comment that says its point. Comment lines `// key: value` behind it say what is
//! done; a first part without a graph, as above, says it for every case that does not name the key itself. A case that must be refused has lines
//! `// error: text` as its expected part: blessing writes their texts, but turns no result into a refusal, nor a refusal into a result.
//!
//! What the keys mean is the test's own affair: see [`graphs`] and [`plans`].

use std::io::Write;
use std::path::Path;

pub mod difference;
pub mod graphs;
pub mod plans;
pub mod split;

use difference::difference;
pub use graphs::run_checked;
use split::{Case, File};

/// First word of an expected part that is a refusal.
const REFUSED: &str = "// error: ";

/// What a case's test came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A text for the expected part.
    Text(String),
    /// Code that one version of LLVM makes; another may make other code of the same input, so versions that differ are not compared.
    Code {
        /// The version of LLVM, such as `22.1.8`.
        llvm: String,
        /// The code.
        text: String,
    },
    /// A refusal: each error in words, its notes behind it on lines of their own.
    Refused(Vec<String>),
    /// A test that was passed and stores nothing.
    Passed,
}

/// A test: from a case to its outcome.
///
/// # Errors
/// What is wrong with the case itself or was found wrong by the test.
pub type Test<'a> = &'a dyn Fn(&Case<'_>) -> Result<Outcome, String>;

/// A file after its cases ran.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The text that the file should have: its own unless it was blessed.
    pub text: String,
    /// Each case that fails and why.
    pub failures: Vec<String>,
    /// Each case that was not compared and why.
    pub skipped: Vec<String>,
}

/// Runs the cases of one file; `bless` writes what they come to into their expected parts.
///
/// # Errors
/// What is wrong with the file's form.
pub fn run_text(name: &str, text: &str, bless: bool, test: Test<'_>) -> Result<Report, String> {
    let mut file = File::read(name, text)?;
    let mut report = Report::default();
    let mut settled = Vec::new();
    for case in file.cases() {
        let fate = test(&case).and_then(|outcome| settle(&case, outcome, bless));
        settled.push(match fate {
            Ok(Fate::Stands) => None,
            Ok(Fate::Skipped(why)) => {
                report.skipped.push(format!("{case}: {why}"));
                None
            }
            Ok(Fate::Blessed(text)) => Some(text),
            Err(why) => {
                report.failures.push(format!("{case}: {why}"));
                None
            }
        });
    }
    for (i, expected) in settled.into_iter().enumerate() {
        if let Some(expected) = expected {
            file.bless(i, expected);
        }
    }
    report.text = if bless { file.to_string() } else { text.to_string() };
    Ok(report)
}

/// What becomes of a case's expected part.
enum Fate {
    Stands,
    Skipped(String),
    Blessed(String),
}

fn settle(case: &Case<'_>, outcome: Outcome, bless: bool) -> Result<Fate, String> {
    let refusal = case.expected().is_some_and(|e| e.starts_with(REFUSED.trim_end()));
    let (got, llvm) = match outcome {
        Outcome::Passed => {
            return if case.expected().is_none() {
                Ok(Fate::Stands)
            } else {
                Err("its test compares nothing with an expected part".into())
            };
        }
        Outcome::Refused(errors) => {
            let text: Vec<String> = errors.iter().map(|e| format!("{REFUSED}{}", e.replace('\n', "\n// "))).collect();
            if !refusal {
                return Err(format!("is refused; where that is right, `// error:` in the expected part says so\n{}", text.join("\n")));
            }
            (text.join("\n"), None)
        }
        Outcome::Text(text) => (text, None),
        Outcome::Code { llvm, text } => (format!("// llvm {llvm}\n{}", text.trim_matches('\n')), Some(llvm)),
    };
    if refusal && !got.starts_with(REFUSED) {
        return Err(format!("is to be refused, and gives\n{got}"));
    }
    let got = got.trim_matches('\n');
    if bless {
        split::storable(got)?;
        return Ok(Fate::Blessed(got.to_string()));
    }
    let want = case.expected().ok_or("has no expected part; MNX_BLESS=1 writes it")?;
    if let Some(llvm) = llvm {
        let stored = want
            .lines()
            .next()
            .and_then(|l| l.strip_prefix("// llvm "))
            .ok_or("its expected part does not start with `// llvm VERSION`")?;
        if stored != llvm {
            return Ok(Fate::Skipped(format!("made with LLVM {stored}, here is LLVM {llvm}: CODE NOT COMPARED")));
        }
    }
    if want == got { Ok(Fate::Stands) } else { Err(format!("differs\n{}", difference(want, got))) }
}

/// Runs every file of a folder; with `MNX_BLESS=1` in the environment rewrites the expected parts.
///
/// # Panics
/// Listing every case that fails, or if the folder holds no golden file or something else.
pub fn run_folder(folder: &Path, test: Test<'_>) {
    let bless = std::env::var("MNX_BLESS").is_ok_and(|v| v == "1");
    let failures = settle_folder(folder, bless, test);
    assert!(failures.is_empty(), "golden cases of {} that fail: {}\n\n{}", folder.display(), failures.len(), failures.join("\n\n"));
}

/// Runs every file of a folder and, with `bless`, writes those whose text changes; says what fails, and on standard error what was not compared.
///
/// # Panics
/// If the folder or a file cannot be read or written.
fn settle_folder(folder: &Path, bless: bool, test: Test<'_>) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap_or_else(|e| panic!("{}: {e}", folder.display())).path())
        .collect();
    files.sort();
    if files.is_empty() {
        return vec!["no golden file".into()];
    }
    let mut failures = Vec::new();
    for path in files {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.ends_with(".mnx") {
            failures.push(format!("{name}: a file that no test reads, expected NAME.mnx"));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        match run_text(&name, &text, bless, test) {
            Ok(report) => {
                if report.text != text {
                    std::fs::write(&path, &report.text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                }
                for skipped in report.skipped {
                    say_loudly(&skipped);
                }
                failures.extend(report.failures);
            }
            Err(why) => failures.push(why),
        }
    }
    failures
}

/// A line on standard error that shows where the test passes, too: what macros print there, the test harness keeps to itself.
pub fn say_loudly(what: &str) {
    // Nobody may listen, and the test goes on.
    let _ = std::io::stderr().write_all(format!("*** {what} ***\n").as_bytes());
}

/// Diagnostics as lines.
fn join(errors: &[mnx_ir::Diagnostic]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Diagnostics as refusals.
fn refused(errors: &[mnx_ir::Diagnostic]) -> Outcome {
    let text = |e: &mnx_ir::Diagnostic| {
        let place = if e.place.is_empty() { String::new() } else { format!("{}: ", e.place) };
        let notes: String = e.notes.iter().map(|n| format!("\nnote: {n}")).collect();
        format!("{}: {place}{}{notes}", e.code, e.message)
    };
    Outcome::Refused(errors.iter().map(text).collect())
}

#[cfg(test)]
#[path = "golden/runner_test.rs"]
mod tests;
