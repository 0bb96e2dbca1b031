//! The binaries under test, as cargo built them beside the tests.

use std::path::PathBuf;

/// The folder of `mnxc` and `mnx`.
///
/// # Panics
/// If they are not built: `cargo test --workspace` builds them, a test of this crate alone does not.
pub fn folder() -> PathBuf {
    let exe = std::env::current_exe().expect("the test's own path");
    let folder = exe.parent().and_then(|deps| deps.parent()).expect("tests run in target/PROFILE/deps").to_path_buf();
    for name in ["mnxc", "mnx"] {
        assert!(folder.join(name).is_file(), "{} is not built: run `make release` first", folder.join(name).display());
    }
    folder
}
