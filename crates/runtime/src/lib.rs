//! Runs a bundle's programs: devices, the executor, memory, traces.
//!
//! Room: the `Device` trait and its implementations, the thread pool, the choice of code for this CPU or GPU, sessions, rooflines.
//! May import: mnx-artifact, mnx-weights, mnx-ptx-sim.
//! Never: the IR, passes, plans, LLVM; no mathematics of the network.
//! Start reading at: `session.rs`, then `device/mod.rs`, `device/host.rs`, `device/cuda/mod.rs`.
#![deny(unsafe_code)]

pub mod device;
mod error;
mod finite;
pub mod isa;
pub mod memory;
pub mod patches;
pub mod pick;
pub mod pool;
pub mod roofline;
pub mod session;
pub mod trace;

pub use device::{Buffer, Device, DeviceChoice};
pub use error::RuntimeError;
pub use finite::NotFinite;
pub use patches::Patches;
pub use pick::{CodeForm, GpuFacts};
pub use roofline::Roofline;
pub use session::{LaunchRecord, PortData, Session};
pub use trace::{DispatchTime, Trace};
