//! Findings: what a GPU run would not have told.

pub(crate) mod global;
pub(crate) mod shared;

use std::collections::HashSet;
use std::fmt;

/// Which checks run. All by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Accesses outside any allocation, window or frame; stores to read-only memory.
    pub bounds: bool,
    /// Addresses that are no multiple of the access.
    pub alignment: bool,
    /// Reads of registers and of bytes that nobody has written.
    pub uninitialised: bool,
    /// Accesses to shared memory that no barrier orders.
    pub shared_races: bool,
    /// Two CTAs of one launch on one byte of global memory, at least one writing, neither by an atomic or a strong access.
    pub global_races: bool,
    /// Shared bytes touched while a `cp.async` to them is under way.
    pub async_copies: bool,
    /// `.aligned` and `.sync` instructions that not all lanes reach together.
    pub divergence: bool,
    /// Warp instructions that one CTA may issue before it counts as an endless loop.
    pub instruction_budget: u64,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            bounds: true,
            alignment: true,
            uninitialised: true,
            shared_races: true,
            global_races: true,
            async_copies: true,
            divergence: true,
            instruction_budget: 1 << 30,
        }
    }
}

impl Checks {
    /// Nothing but deadlocks and endless loops, which no run survives; faulting accesses read zero and store nothing.
    pub fn none() -> Self {
        Self {
            bounds: false,
            alignment: false,
            uninitialised: false,
            shared_races: false,
            global_races: false,
            async_copies: false,
            divergence: false,
            ..Self::default()
        }
    }
}

/// Kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// An access outside everything it may touch.
    OutOfBounds,
    /// A store to protected memory.
    ReadOnly,
    /// An access to freed memory.
    UseAfterFree,
    /// An address that is no multiple of the access.
    Misaligned,
    /// A register read before it is written.
    UninitialisedRegister,
    /// Memory read before it is written.
    UninitialisedMemory,
    /// Shared memory accessed by two threads without a barrier between.
    SharedRace,
    /// Global memory accessed by two CTAs.
    GlobalRace,
    /// Shared memory touched before `cp.async.wait_*`.
    MissingAsyncWait,
    /// Lanes that an instruction needs are elsewhere or gone.
    Divergence,
    /// Nobody can go on.
    Deadlock,
    /// The instruction budget is spent.
    EndlessLoop,
    /// The kernel executed `trap`.
    Trap,
    /// An operand that the instruction does not allow (barrier number, branch table index, copy size).
    BadOperand,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfBounds => "out of bounds",
            Self::ReadOnly => "store to read-only memory",
            Self::UseAfterFree => "use after free",
            Self::Misaligned => "misaligned access",
            Self::UninitialisedRegister => "uninitialised register",
            Self::UninitialisedMemory => "uninitialised memory",
            Self::SharedRace => "shared-memory race",
            Self::GlobalRace => "global-memory race",
            Self::MissingAsyncWait => "missing wait for cp.async",
            Self::Divergence => "divergence",
            Self::Deadlock => "deadlock",
            Self::EndlessLoop => "endless loop",
            Self::Trap => "trap",
            Self::BadOperand => "bad operand",
        })
    }
}

/// One thing wrong, at its first occurrence in a CTA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// One-based PTX line.
    pub line: u32,
    /// Text of the line.
    pub source_text: String,
    /// `%ctaid`.
    pub cta: [u32; 3],
    /// `%tid`.
    pub thread: [u32; 3],
    /// Addresses and partners.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, line, source_text, cta, thread, message } = self;
        write!(
            f,
            "{kind} at PTX line {line} (`{source_text}`), CTA {cta}, thread {thread}: {message}",
            cta = mnx_words::list(cta),
            thread = mnx_words::list(thread)
        )
    }
}

/// Findings of the CTAs of one worker.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    pub kept: Vec<Finding>,
    pub total: u64,
    /// Places already reported in this CTA.
    seen: HashSet<(FindingKind, u32)>,
}

/// Findings kept per worker's share of the grid and per launch.
pub(crate) const MOST_FINDINGS: usize = 200;

impl Reporter {
    pub(crate) fn new_cta(&mut self) {
        self.seen.clear();
    }

    /// Counts; true if this one is to be described and pushed.
    pub(crate) fn wanted(&mut self, kind: FindingKind, line: u32) -> bool {
        self.total += 1;
        self.kept.len() < MOST_FINDINGS && self.seen.insert((kind, line))
    }
}
