//! What the tests of the whole house share.
//!
//! Room: tests that cross crates.
//! May import: everything.
//! Never: anything that ships.
//! Start reading at: `tests/`.
#![forbid(unsafe_code)]
