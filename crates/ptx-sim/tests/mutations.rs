//! Mutated PTX: parsing never panics and always ends; what it refuses, it refuses with a line of the text.
//!
//! `crates/ptx-sim/fuzz` runs the same under cargo-fuzz, without bound.
#![allow(clippy::unwrap_used)]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::catch_unwind;

use mnx_ptx_sim::Module;

/// Every PTX file under `tests`.
fn fixtures() -> Vec<String> {
    let folders = ["ptx", "clang_kernels"].map(|f| format!("{}/tests/{f}", env!("CARGO_MANIFEST_DIR")));
    let files = folders.iter().flat_map(|f| std::fs::read_dir(f).unwrap()).map(|e| e.unwrap().path());
    let texts: Vec<String> =
        files.filter(|p| p.extension().is_some_and(|e| e == "ptx")).map(|p| std::fs::read_to_string(p).unwrap()).collect();
    assert!(texts.len() >= 3);
    texts
}

/// SplitMix64.
struct Draw(u64);

impl Draw {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Words that mean something at some place of the grammar, and numbers at the ends of their ranges.
const WORDS: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ";",
    ":",
    ",",
    "|",
    "@",
    "!",
    "+",
    "-",
    "<",
    ">",
    ".",
    "//",
    "/*",
    "*/",
    "\"",
    "%",
    "%r1",
    "%rd1",
    "%p1",
    "%f",
    "%tid.x",
    "_",
    ".reg",
    ".shared",
    ".param",
    ".local",
    ".global",
    ".const",
    ".entry",
    ".func",
    ".visible",
    ".extern",
    ".align",
    ".b8",
    ".b32",
    ".u64",
    ".pred",
    ".f32",
    ".bf16x2",
    ".v4",
    ".version",
    ".target",
    ".loc",
    ".file",
    ".section",
    ".pragma",
    ".branchtargets",
    "mov.u32",
    "add.f32",
    "ld.global.v4.b32",
    "st.shared.b32",
    "bra",
    "ret",
    "call.uni",
    "cvt.rn.bf16x2.f32",
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
    "0",
    "1",
    "-1",
    "0f3F800000",
    "0f",
    "0d0000000000000000",
    "0x",
    "0xffffffffffffffff",
    "18446744073709551616",
    "-9223372036854775808",
    "4294967296",
    "1e400",
    "0b12",
    "99999999999999999999999",
];

fn mutate(text: &str, other: &str, draw: &mut Draw) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..1 + draw.below(6) {
        let at = draw.below(bytes.len());
        let end = (at + draw.below(40)).min(bytes.len());
        match draw.below(9) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let part = bytes[at..end].to_vec();
                let to = draw.below(bytes.len());
                bytes.splice(to..to, part);
            }
            3 => bytes.splice(at..at, format!(" {} ", draw.pick(WORDS)).into_bytes()).for_each(drop),
            4 => bytes.splice(at..end, draw.pick(WORDS).bytes()).for_each(drop),
            5 => {
                if let Some(b) = bytes.get_mut(at) {
                    *b = draw.bits() as u8;
                }
            }
            // A line from somewhere else.
            6 => {
                let lines: Vec<&str> = other.lines().collect();
                let line = lines[draw.below(lines.len())];
                bytes.splice(at..at, format!("\n{line}\n").into_bytes()).for_each(drop);
            }
            // The same thing many times, or nested.
            7 => {
                let word = draw.pick(WORDS).repeat(1 + draw.below(3000));
                bytes.splice(at..at, word.into_bytes()).for_each(drop);
            }
            // One token in place of another of its kind.
            _ => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let numbers: Vec<(usize, usize)> =
                    text.match_indices(|c: char| c.is_ascii_digit()).map(|(i, s)| (i, i + s.len())).take(4000).collect();
                if let Some(&(from, to)) = numbers.get(draw.below(numbers.len())) {
                    bytes.splice(from..to, draw.pick(&["0", "9", "31", "4294967295", "70000", "-3"]).bytes()).for_each(drop);
                }
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn mutated_texts_are_refused_or_taken_never_worse() {
    let given = std::env::var("MNX_TEST_SEED").ok().and_then(|s| s.parse().ok());
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let texts = fixtures();
    let mut draw = Draw(seed);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..3000 {
        let (a, b) = (draw.below(texts.len()), draw.below(texts.len()));
        let text = mutate(&texts[a], &texts[b], &mut draw);
        let outcome = catch_unwind(|| Module::parse(&text));
        match outcome {
            Ok(Ok(_)) => taken += 1,
            Ok(Err(error)) => {
                refused += 1;
                let lines = text.lines().count().max(1) as u32 + 1;
                assert!((1..=lines).contains(&error.line), "round {round}, MNX_TEST_SEED={seed}: {error} in a text of {lines} lines");
                assert!(!error.message.is_empty());
            }
            Err(_) => {
                let file = std::env::temp_dir().join("mnx-ptx-panic.ptx");
                std::fs::write(&file, &text).unwrap();
                panic!("parsing panicked in round {round} (MNX_TEST_SEED={seed}); the text is in {}", file.display());
            }
        }
    }
    // Mutations that only ever break everything, or nothing, test nothing.
    assert!(taken > 30 && refused > 1000, "{taken} taken, {refused} refused");
}

#[test]
fn deep_and_long_texts_end() {
    let head = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n";
    for text in [
        format!("{head}{}", "{".repeat(200_000)),
        format!("{head}{{ {} ret; }}", ".reg .b32 %r<4294967295>;".repeat(50)),
        format!("{head}{{ .shared .b8 a[{}]; ret; }}", u64::MAX),
        format!("{head}{{ mov.b32 %r1, {}; }}", "(".repeat(100_000)),
        format!("{head}{{ {} }}", "{{{ }}}".repeat(50_000)),
        format!("{head}{{ ld.param.b32 %r1, [{}]; }}", "x+".repeat(100_000)),
        "/*".repeat(100_000),
        "\"".into(),
        String::new(),
        "\u{feff}.version 8.0".into(),
        format!("{head}{{ {} }}", "L: bra L;\n".repeat(20_000)),
        format!("{head}{{ mov.b32 {{{}}}, %r1; }}", "{".repeat(100_000)),
        format!("{head}{{ mov.u32 %r{}, 1; }}", "9".repeat(5000)),
    ] {
        let short: String = text.chars().take(120).collect();
        assert!(catch_unwind(|| drop(Module::parse(&text))).is_ok(), "parsing panicked on a text that starts {short:?}");
    }
}
