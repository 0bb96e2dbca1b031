//! Any bytes as a pickle: a value or an error, within the limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mnx_import::pickle::{Source, load, to_json};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(loaded) = load(&mut Source::new(bytes)) {
        let _ = to_json(&loaded.heap, loaded.root);
    }
});
