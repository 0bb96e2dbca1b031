//! Bisection: which pass, and which patch of it, first makes a graph compute something else.

use std::fmt;

use mnx_ir::Graph;

use crate::error::PassError;
use crate::manager::Manager;
use crate::pass::{Applied, Changed, Pass};
use crate::pipelines::Pipeline;

/// What an oracle thinks of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Graph that computes what it should.
    Good,
    /// Graph that does not, in words: the first bad value and its error, for example.
    Bad(String),
}

/// The outcome of a bisection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bisection {
    /// Every pass keeps the graph good.
    Clean {
        /// Passes that ran.
        passes: usize,
        /// Graphs that the oracle judged.
        judged: usize,
    },
    /// A pass breaks it.
    Found {
        /// Position of the first bad pass, from 0.
        index: usize,
        /// Name of the pass.
        pass: &'static str,
        /// Number of its first bad patch, from 1; none if its patches are innocent and only the whole is bad.
        patch: Option<(usize, Applied)>,
        /// What the oracle says of the graph right after that patch (or pass).
        detail: String,
        /// Graphs that the oracle judged.
        judged: usize,
    },
}

impl fmt::Display for Bisection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean { passes, judged } => {
                write!(f, "all {} keep the results ({} judged)", mnx_words::many(*passes, "pass"), mnx_words::many(*judged, "graph"))
            }
            Self::Found { index, pass, patch, detail, judged } => {
                writeln!(f, "first bad pass:  {pass} (number {})", index + 1)?;
                match patch {
                    Some((n, p)) => {
                        writeln!(f, "first bad patch: number {n} of it, rule {} at {}", p.rule, p.at)?;
                    }
                    None => writeln!(f, "first bad patch: none alone; the pass as a whole")?,
                }
                write!(f, "{detail} ({} judged)", mnx_words::many(*judged, "graph"))
            }
        }
    }
}

/// Judges the graph after every pass that changed it, then halves the patches of the first bad pass.
///
/// The oracle is the caller's: typically it interprets the graph and compares with the graph before all passes.
///
/// # Errors
/// If the oracle rejects the graph before any pass, or fails; and as [`Manager::run`].
pub fn bisect(
    graph: &Graph,
    pipeline: &Pipeline,
    oracle: &mut dyn FnMut(&Graph) -> Result<Verdict, PassError>,
) -> Result<Bisection, PassError> {
    bisect_passes(graph, &pipeline.passes(), oracle)
}

/// Bisection over passes at hand.
///
/// # Errors
/// As [`bisect`].
pub fn bisect_passes(
    graph: &Graph,
    passes: &[&dyn Pass],
    oracle: &mut dyn FnMut(&Graph) -> Result<Verdict, PassError>,
) -> Result<Bisection, PassError> {
    let mut judged = 0;
    let mut judge = |g: &Graph| {
        judged += 1;
        oracle(g)
    };
    if let Verdict::Bad(why) = judge(graph)? {
        return Err(PassError::Caller(format!("the graph is bad before any pass: {why}")));
    }
    let mut good = graph.clone();
    for (index, &pass) in passes.iter().enumerate() {
        let mut after = good.clone();
        let mut changed = Changed::No;
        let report = Manager::default().run_passes(&[pass], &mut after, &mut |step| {
            changed = step.changed;
            Ok(())
        })?;
        if changed == Changed::Yes
            && let Verdict::Bad(whole) = judge(&after)?
        {
            let patch = first_bad_patch(&good, pass, report.applied.len(), &mut judge)?;
            let detail = patch.as_ref().map_or(whole, |(_, d)| d.clone());
            return Ok(Bisection::Found {
                index,
                pass: pass.name(),
                patch: patch.map(|(n, _)| (n, report.applied[n - 1].clone())),
                detail,
                judged,
            });
        }
        good = after;
    }
    Ok(Bisection::Clean { passes: passes.len(), judged })
}

/// Halves between no patch (good) and all of them (bad): the number, from 1, of a patch whose predecessor is good, and the verdict on it.
fn first_bad_patch(
    before: &Graph,
    pass: &dyn Pass,
    patches: usize,
    judge: &mut dyn FnMut(&Graph) -> Result<Verdict, PassError>,
) -> Result<Option<(usize, String)>, PassError> {
    let mut up_to = |n: usize| -> Result<Verdict, PassError> {
        let mut graph = before.clone();
        Manager { patch_limit: Some(n) }.run_passes(&[pass], &mut graph, &mut |_| Ok(()))?;
        judge(&graph)
    };
    let Verdict::Bad(mut why) = up_to(patches)? else {
        return Ok(None);
    };
    let (mut good, mut bad) = (0, patches);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match up_to(middle)? {
            Verdict::Good => good = middle,
            Verdict::Bad(w) => (bad, why) = (middle, w),
        }
    }
    Ok((bad > 0).then_some((bad, why)))
}
