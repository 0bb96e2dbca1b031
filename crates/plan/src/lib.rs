//! Schedules: which kernels a dispatch becomes, with what tiles, and where every buffer lives.
//!
//! Room: kernel descriptions (algorithm and tile, no code), strategies that choose them, the memory plan, the `.plan` text.
//! May import: `mnx-ir`, `mnx-artifact`, `mnx-weights`.
//! Never: LLVM, melior, a device, files.
//! Invariant: a plan changes speed and the order of a reduction, never the meaning of a dispatch.
//! Start reading at: `kernel.rs`, then `strategy.rs`.
#![forbid(unsafe_code)]

pub mod args;
pub mod axis;
pub mod cost;
pub mod gpu;
mod in_place;
pub mod kernel;
pub mod knobs;
pub mod memory;
pub mod plan;
pub mod scratch;
pub mod space;
pub mod strategy;
pub mod target;
pub mod text;
pub mod tile;

pub use plan::{DispatchPlan, Launch, LaunchArg, MemoryPlan, ModulePlan, plan, plan_as};
pub use text::PlanText;
