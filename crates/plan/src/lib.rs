//! Schedules: which kernels a dispatch becomes, with what tiles, and where every buffer lives.
//!
//! Room: what boxes compute (`work`), families of kernels for hosts (`host`) and NVIDIA GPUs (`gpu`) with their tiles and slots, the memory plan, its verifier, the `.plan` text.
//! May import: `mnx-ir`, `mnx-artifact`, `mnx-weights`.
//! Never: LLVM, melior, a device, files.
//! Invariant: a plan changes speed and the order of a reduction, never the meaning of a dispatch.
//! Start reading at: `work/mod.rs`, then `family.rs`, then `host/merge_stats.rs`.
#![forbid(unsafe_code)]
#![warn(clippy::wildcard_enum_match_arm)]

pub mod axis;
mod bind;
pub mod family;
pub mod gpu;
pub mod host;
mod in_place;
pub mod kernel;
mod lowering;
pub mod machine;
pub mod memory;
pub mod module;
pub mod plan;
pub mod slot;
pub mod space;
pub mod target;
pub mod text;
pub mod verify;
pub mod vocabulary;
pub mod work;

pub use kernel::Kernel;
pub use module::{DispatchPlan, Launch, LaunchArg, MemoryPlan, ModulePlan};
pub use plan::{PlanOptions, plan};
pub use text::PlanText;
