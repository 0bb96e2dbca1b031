//! A bundle's `source_digest` names its code: bundles with different code never share one, and the same compilation always gives the same.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used)]

mod scratch;

use mnx_artifact::Bundle;
use scratch::{Scratch, TINY};

/// Options of which each alone changes code; some pairs of them did not show in the digest once (bf16 and f16, the forms of GELU).
const OPTIONS: [&str; 12] = [
    "--target x86-64-v3",
    "--target x86-64-v3 --gelu fast",
    "--target x86-64-v4",
    "--target x86-64-v3 --batch 2",
    "--target x86-64-v3 --heads main",
    "--target x86-64-v3 --output softmax",
    "--target sm_80",
    "--target sm_80 --precision f16",
    "--target sm_80 --precision f32",
    "--target sm_80 --gelu fast",
    "--target sm_90a",
    "--target sm_90a --gelu fast --precision f16",
];

#[test]
fn different_code_has_different_digests() {
    let s = Scratch::new();
    s.file("tiny.toml", TINY);
    let compile = |options: &str| {
        s.good(&format!("-q compile tiny.toml --seed 1 --patch 16,32,16 --vectors none {options} -o m.mnxa"));
        let bundle = Bundle::open(s.path("m.mnxa")).unwrap();
        (bundle.manifest().source_digest.clone(), bundle.code(0).to_vec())
    };
    let made: Vec<(String, Vec<u8>)> = OPTIONS.iter().map(|o| compile(o)).collect();
    for (i, (digest, code)) in made.iter().enumerate() {
        assert_eq!(digest.len(), 64);
        for (j, (other, others)) in made.iter().enumerate().take(i) {
            assert_ne!(code, others, "{} and {} were to give different code", OPTIONS[i], OPTIONS[j]);
            assert_ne!(digest, other, "{} and {}", OPTIONS[i], OPTIONS[j]);
        }
    }
    // The same options, the same name; other weights change neither code nor name.
    let again = compile(OPTIONS[7]);
    assert!(again == made[7]);
    s.good(&format!("-q compile tiny.toml --seed 2 --patch 16,32,16 --vectors none {} -o n.mnxa", OPTIONS[7]));
    assert_eq!(Bundle::open(s.path("n.mnxa")).unwrap().manifest().source_digest, made[7].0);
}
