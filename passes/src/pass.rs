//! What a pass is.

use std::ops::RangeInclusive;

use mnx_ir::{Graph, Patch, Stage};

use crate::error::PassError;

/// Whether a pass changed the graph. `No` promises that the printed graph is byte-identical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Pass that changed the graph.
    Yes,
    /// Pass that left the graph as it was.
    No,
}

impl Changed {
    /// `Yes` if true.
    pub fn when(changed: bool) -> Self {
        if changed { Self::Yes } else { Self::No }
    }

    /// `Yes` if either is.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self == Self::Yes { self } else { other }
    }
}

/// The stage a pass promises. The manager sets it and verifies the graph against it; passes never touch `graph.stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The stage it found.
    Same,
    /// Stage `graph` as soon as no sugar op is left.
    GraphIfNoSugar,
    /// This stage.
    Exactly(Stage),
}

/// A graph-to-graph transformation. Holds options, never state.
pub trait Pass: std::fmt::Debug {
    /// Kebab-case; the stem of its file, its dump and its golden file.
    fn name(&self) -> &'static str;
    /// Stages it takes, and what it promises. A stage that comes in between widens a range: the test in `registry.rs` lists the
    /// stages of every pass one by one.
    fn stages(&self) -> (RangeInclusive<Stage>, Promise);
    /// Transforms the graph.
    ///
    /// # Errors
    /// If the graph or the options do not suit it; the graph is then unspecified.
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError>;
}

/// One change that was made, for bisection and statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Pass that asked for it.
    pub pass: &'static str,
    /// Rule that made it.
    pub rule: &'static str,
    /// Location of the op it was made for.
    pub at: String,
}

/// What a pass run shares with the manager: the patches made so far and the limit on them.
#[derive(Debug, Default)]
pub struct PassCx {
    pass: &'static str,
    limit: Option<usize>,
    applied: Vec<Applied>,
    stopped: bool,
}

impl PassCx {
    /// A context that stops after `limit` changes.
    pub fn new(limit: Option<usize>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Names the pass that runs now.
    pub(crate) fn enter(&mut self, pass: &'static str) {
        self.pass = pass;
    }

    /// The pass that runs now.
    pub fn pass(&self) -> &'static str {
        self.pass
    }

    /// Asks for leave to make one change, at a place; false once the limit is reached, and then the pass must stop.
    #[must_use]
    pub fn admit(&mut self, rule: &'static str, at: impl std::fmt::Display) -> bool {
        if self.limit.is_some_and(|n| self.applied.len() >= n) {
            self.stopped = true;
            return false;
        }
        self.applied.push(Applied { pass: self.pass, rule, at: at.to_string() });
        true
    }

    /// Applies a patch if the limit allows it.
    #[must_use]
    pub fn apply(&mut self, graph: &mut Graph, patch: Patch) -> bool {
        let admitted = self.admit(patch.rule, &graph.node(patch.root).loc);
        if admitted {
            graph.apply(patch);
        }
        admitted
    }

    /// Whether a change was refused.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Changes so far.
    pub fn applied(&self) -> &[Applied] {
        &self.applied
    }
}
