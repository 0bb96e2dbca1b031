//! Golden tests of the IR's text, of the verifier and of passes.
//!
//! ```text
//! // test: opt --pipeline=decompose-norm,dce
//! // same: interp seed=7 tol=1e-9        (input and result must compute the same; may stand more than once)
//! ```
//!
//! `// test: roundtrip` expects the very text that stands in the case, or the expected part. `// test: verify` expects the errors
//! that `// error: text` lines list (each matched within one message; behind an op it must be that line's), and no others; without
//! such lines it expects none.

use mnx_ir::parse::parse;
use mnx_ir::print::print;
use mnx_ir::verify::verify;
use mnx_ir::{Diagnostic, Graph};
use mnx_passes::{Changed, Manager, PassError, Pipeline};

use super::difference::difference;
use super::split::Case;
use super::{Outcome, join, refused};
use crate::same;

/// Runs a case of the tests `opt`, `roundtrip` and `verify`.
///
/// # Errors
/// A case that says something else or that is wrong itself, and what the test found.
pub fn test(case: &Case<'_>) -> Result<Outcome, String> {
    match case.test()? {
        ("opt", arguments) => {
            let pipeline = arguments.strip_prefix("--pipeline=").ok_or_else(|| format!("expected --pipeline=..., found `{arguments}`"))?;
            optimised(case, pipeline)
        }
        ("roundtrip", "") => roundtrip(case),
        ("verify", "") => verified(case).map(|()| Outcome::Passed),
        (test, arguments) => Err(format!("unknown test `{test} {arguments}`: expected opt --pipeline=..., roundtrip or verify")),
    }
}

fn optimised(case: &Case<'_>, pipeline: &str) -> Result<Outcome, String> {
    let before = case.graph()?;
    let pipeline = match Pipeline::parse(pipeline) {
        Ok(pipeline) => pipeline,
        Err(e) => return Ok(Outcome::Refused(vec![e.to_string()])),
    };
    let mut graph = before.clone();
    match run_checked(&pipeline, &mut graph) {
        Ok(()) => {}
        Err(PassError::Graph(e)) => return Ok(refused(&[e])),
        Err(e @ (PassError::Pipeline { .. } | PassError::Option { .. } | PassError::WrongStage { .. })) => {
            return Ok(Outcome::Refused(vec![e.to_string()]));
        }
        // An invalid graph is the case's own fault, the others are ours: nobody's expectations.
        Err(e) => return Err(e.to_string()),
    }
    for line in case.values("same") {
        let (seed, tol) = read_same(line)?;
        same::compare(&same::outputs(&before, seed)?, &same::outputs(&graph, seed)?, tol)?;
    }
    Ok(Outcome::Text(print(&graph)))
}

fn roundtrip(case: &Case<'_>) -> Result<Outcome, String> {
    let text = print(&case.graph()?);
    let again = print(&parse(&text, case.file()).map_err(|e| join(&e))?);
    if text != again {
        return Err(format!("printed text does not print itself again\n{}", difference(&text, &again)));
    }
    if case.expected().is_some() {
        return Ok(Outcome::Text(text));
    }
    let body: String = case.given().lines().skip_while(|l| l.starts_with("//") || l.is_empty()).map(|l| format!("{l}\n")).collect();
    if body == text { Ok(Outcome::Passed) } else { Err(format!("does not print as it was written\n{}", difference(&body, &text))) }
}

fn verified(case: &Case<'_>) -> Result<(), String> {
    let mut found: Vec<Diagnostic> = match case.parsed() {
        Ok(graph) => verify(&graph).err().unwrap_or_default(),
        Err(errors) => errors,
    };
    for (i, line) in case.given().lines().enumerate() {
        let Some((op, want)) = line.split_once("// error: ") else { continue };
        let want = want.trim();
        let place = format!("{}:{}:", case.file(), case.line() + i);
        let hit = found.iter().position(|d| d.message.contains(want) && (op.trim().is_empty() || d.place.starts_with(&place)));
        match hit {
            Some(hit) => drop(found.remove(hit)),
            None => return Err(format!("line {}: no error says `{want}`; left are:\n{}", case.line() + i, join(&found))),
        }
    }
    if found.is_empty() { Ok(()) } else { Err(format!("errors that no `// error:` expects:\n{}", join(&found))) }
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
