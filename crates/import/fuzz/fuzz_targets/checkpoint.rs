//! Any bytes as a checkpoint file, through everything that `mnxc import` does with one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mnx_import::{Import, Options};

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = tempfile::NamedTempFile::new() else { return };
    if std::fs::write(file.path(), bytes).is_err() {
        return;
    }
    if let Ok(import) = Import::open(file.path(), &Options::default()) {
        for fold in &import.folds {
            let _ = import.read(fold);
        }
    }
});
