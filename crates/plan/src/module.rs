//! A plan as data: what is launched, in order, and where every buffer lies.

use mnx_artifact::{BufferRef, Cost};
use mnx_weights::Recipe;

use crate::kernel::Kernel;
use crate::target::Target;
use crate::vocabulary::Storage;

/// Where a launch finds one of its buffers.
#[derive(Debug, Clone, PartialEq)]
pub enum LaunchArg {
    /// In the arena.
    Arena(BufferRef),
    /// In the weights section, made by this recipe.
    Weight(Recipe),
}

/// One launch.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// What runs.
    pub kernel: Kernel,
    /// Buffers, in the order of [`Kernel::args`].
    pub args: Vec<LaunchArg>,
    /// Predicted cost.
    pub cost: Cost,
}

/// The launches of one dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchPlan {
    /// The dispatch's name in the graph.
    pub name: String,
    /// Launches, in order.
    pub launches: Vec<Launch>,
}

/// How much memory a run takes beside the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Bytes of scratch per thread.
    pub scratch_bytes: u64,
    /// Most bytes that live buffers hold at any one launch: the arena can be no smaller.
    pub live_bytes: u64,
}

/// A network's plan for one target.
#[derive(Debug, Clone, PartialEq)]
pub struct ModulePlan {
    /// The graph's name.
    pub name: String,
    /// The target.
    pub target: &'static Target,
    /// Element type of what flows from block to block, as the graph says it.
    pub precision: Storage,
    /// Dispatches, in order.
    pub dispatches: Vec<DispatchPlan>,
    /// Memory.
    pub memory: MemoryPlan,
    /// Where inputs are read from.
    pub inputs: Vec<BufferRef>,
    /// Where outputs stand at the end.
    pub outputs: Vec<BufferRef>,
}
