//! What can go wrong with a pipeline or a pass.

use mnx_ir::{Diagnostic, Stage};

/// An error of this room. All but [`PassError::Broken`] and [`PassError::Endless`] are the user's to mend.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The text of a pipeline cannot be read.
    #[error("pipeline `{text}`: {reason}")]
    Pipeline {
        /// The text.
        text: String,
        /// What was found, what was expected, the nearest name.
        reason: String,
    },
    /// A pass has no such option, or the option no such value.
    #[error("pass `{pass}`: {reason}")]
    Option {
        /// The pass.
        pass: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A pass stands where the graph has not come far enough, or too far.
    #[error("pass `{pass}` takes a graph of stage {wants}, this one is of stage {got}{hint}")]
    WrongStage {
        /// The pass.
        pass: String,
        /// Stages it takes.
        wants: String,
        /// Stage of the graph.
        got: Stage,
        /// What to run first.
        hint: &'static str,
    },
    /// The graph does not suit the pass: the user's graph or options are at fault.
    #[error("{0}")]
    Graph(Diagnostic),
    /// The graph given to the manager is not valid.
    #[error("the graph is not valid before the first pass:\n{}", list(.0))]
    Invalid(Vec<Diagnostic>),
    /// A pass left an invalid graph behind: our fault.
    #[error("pass `{pass}` left an invalid graph behind (this is a bug in mnx):\n{}", list(.errors))]
    Broken {
        /// The pass.
        pass: String,
        /// What the verifier says.
        errors: Vec<Diagnostic>,
    },
    /// A rule undoes what another did: our fault.
    #[error("pass `{pass}`: rule `{rule}` still applies after {patches} patches (this is a bug in mnx)")]
    Endless {
        /// The pass.
        pass: String,
        /// The rule applied last.
        rule: String,
        /// Patches so far.
        patches: usize,
    },
    /// The caller's observer or oracle failed: an unwritable dump, an interpreter error.
    #[error("{0}")]
    Caller(String),
}

fn list(errors: &[Diagnostic]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

impl From<Diagnostic> for PassError {
    fn from(d: Diagnostic) -> Self {
        Self::Graph(d)
    }
}

/// `; did you mean \`x\`?` if one of the names is near.
pub(crate) fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    names
        .into_iter()
        .map(|n| (strsim::jaro_winkler(given, n), n))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, n)| format!("; did you mean `{n}`?"))
}
