//! What the tests of the whole house share: the golden runner.
//!
//! Room: machinery for tests; the tests themselves stand in `tests/`.
//! May import: everything of ours but `mnx` and `mnx-codegen`.
//! Never: anything a product would use.
//! Start reading at: `golden.rs`.
#![forbid(unsafe_code)]

pub mod binaries;
pub mod cases;
pub mod dispatches;
pub mod golden;
pub mod host;
pub mod networks;
pub mod nnunet;
pub mod pytorch;
pub mod rounded;
pub mod same;
pub mod stored;
