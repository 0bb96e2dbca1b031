//! Any text: `Module::parse` refuses it with a line, or takes it; it never panics.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = mnx_ptx_sim::Module::parse(text);
});
