//! What is said, and how: one face of errors in both programs, a code for each, doubts told before the work.
#![allow(clippy::unwrap_used)]

mod scratch;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mnx_console::{Problem, codes};
use mnx_ir::Diagnostic;
use scratch::{Scratch, TINY};

fn tiny() -> Scratch {
    let s = Scratch::new();
    s.file("tiny.toml", TINY);
    s
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The compiler's problems and the console's, whose room the IR does not know, have one text.
#[test]
fn both_kinds_of_problem_print_alike() {
    for (place, message, notes) in [
        ("a.mnx:3:14", "unknown op `gelo`, did you mean `gelu`?", vec![]),
        ("w.safetensors", "2 tensors do not fit the network", vec!["\"a\" is missing", "\"b\" has shape [3]"]),
    ] {
        let ours = notes.iter().fold(Diagnostic::new("ir-0101", place, message), |d, n| d.note(*n));
        let theirs = notes.iter().fold(Problem::new("ir-0101", format!("{place}: {message}")), |p, n| p.note(*n));
        assert_eq!(ours.to_string(), theirs.to_string());
    }
    assert_eq!(Diagnostic::new("ir-0102", "", "no graph").to_string(), Problem::new("ir-0102", "no graph").to_string());
}

#[test]
fn an_error_is_its_code_its_file_and_what_is_wrong() {
    let s = tiny();
    assert_eq!(s.bad("model none.toml", 1, &[]).err, "error[mnxc-0001]: none.toml: no such file or directory\n");
    s.file("bad.toml", "in_chanels = 1\nn_classes = 2\n");
    let said = s.bad("model bad.toml", 1, &[]).err;
    assert!(said.starts_with("error[model-0101]: bad.toml:1:1: unknown key `in_chanels`: did you mean `in_channels`?\n"), "{said}");
    s.file("cut.mnx", "graph @g(%x: f32[1,1,16,16]) -> () stage=model {\n  %0 = gelo %x\n");
    for line in s.bad("view cut.mnx", 1, &[]).err.lines() {
        assert!(
            line.starts_with("error[ir-0") && line.contains("]: cut.mnx") || line.starts_with("  note: in `") || line.ends_with("errors"),
            "{line}"
        );
    }
}

/// Our own complaints about the command line have the shape of clap's.
#[test]
fn wrong_usage_looks_like_claps() {
    let s = tiny();
    let claps = s.bad("bisect tiny.toml --pipeline=dce --seed x", 2, &[]).err;
    let ours = s.bad("bisect tiny.toml --pipeline=dce --tol nan", 2, &[]).err;
    assert!(ours.starts_with("error: --tol NaN: expected a number that is not negative\n"), "{ours}");
    assert!(claps.starts_with("error: ") && claps.ends_with("\n\nFor more information, try '--help'.\n"), "{claps}");
    assert!(ours.contains("\n\nUsage: mnxc bisect ") && ours.ends_with("\n\nFor more information, try '--help'.\n"), "{ours}");
}

#[test]
fn a_code_is_explained_and_a_wrong_one_has_a_neighbour() {
    let s = Scratch::new();
    let code = codes::find("plan-0201").unwrap();
    for asked in ["plan-0201", "PLAN-0201", "error[plan-0201]:"] {
        assert_eq!(s.good(&format!("explain-error {asked}")).out, codes::text(code));
    }
    let all = s.good("explain-error").out;
    assert_eq!(all.lines().count(), codes::CODES.len());
    assert!(codes::CODES.iter().all(|c| all.contains(c.code) && all.contains(c.title)));
    let said = s.bad("explain-error plan-0299", 1, &[]).err;
    assert!(said.starts_with("error[mnxc-0004]: explain-error: plan-0299: there is no such code; did you mean plan-02"), "{said}");
    s.bad("explain-error plan-0201 --markdown", 2, &["cannot be used with"]);
}

#[test]
fn the_page_of_errors_is_the_table() {
    let page = std::fs::read_to_string(root().join("docs/errors.md")).unwrap();
    assert_eq!(page, Scratch::new().good("explain-error --markdown").out, "mnxc explain-error --markdown > docs/errors.md");
    assert_eq!(page, codes::markdown());
}

/// Every `"room-0123"` of a text.
fn codes_in(text: &str, found: &mut BTreeSet<String>) {
    for word in text.split('"').skip(1) {
        let Some((room, number)) = word.split_once('-') else { continue };
        let room = !room.is_empty() && room.bytes().all(|b| b.is_ascii_lowercase());
        if room && number.len() == 4 && number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit()) {
            found.insert(word.to_string());
        }
    }
}

#[test]
fn every_code_of_the_sources_is_in_the_table_and_every_code_of_the_table_in_the_sources() {
    let mut found = BTreeSet::new();
    let mut files = 0;
    let mut stack = vec![root().join("ir/src"), root().join("passes/src")];
    stack.extend(
        std::fs::read_dir(root().join("crates"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| !p.ends_with("console"))
            .map(|p| p.join("src")),
    );
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files += 1;
                codes_in(&std::fs::read_to_string(&path).unwrap(), &mut found);
            }
        }
    }
    assert!(files > 150 && found.len() > 60, "{files} files, {} codes", found.len());
    let table: BTreeSet<String> = codes::CODES.iter().map(|c| c.code.to_string()).collect();
    let missing: Vec<_> = found.difference(&table).collect();
    assert!(missing.is_empty(), "in the sources, but not in crates/console/src/codes.rs: {missing:?}");
    let dead: Vec<_> = table.difference(&found).collect();
    assert!(dead.is_empty(), "in crates/console/src/codes.rs, but not in the sources: {dead:?}");
}

#[test]
fn a_class_without_a_name_is_announced_where_others_have_one() {
    let s = tiny();
    let warning = |config: &str| {
        s.file("c.toml", config);
        s.good("compile c.toml --patch 16,16,32 --to plan --target x86-64-v3").err
    };
    assert_eq!(warning(TINY), "");
    let four = TINY.replace("n_classes = 3", "n_classes = 4");
    assert_eq!(warning(&four), "warning: c.toml: class 3 has no name in [labels]\n");
    let gap = four.replace("white = 2", "white = 3");
    assert_eq!(warning(&gap), "warning: c.toml: class 2 has no name in [labels]\n");
    let two = gap.replace("grey = 1\n", "");
    assert_eq!(warning(&two), "warning: c.toml: classes 1 and 2 have no name in [labels]\n");
    // None named is nothing forgotten.
    assert_eq!(warning(four.split("[labels]").next().unwrap()), "");
    assert_eq!(s.good("-q compile c.toml --patch 16,16,32 --to plan").err, "");
}

#[test]
fn an_arena_beyond_this_machines_memory_is_announced() {
    let s = tiny();
    let said = s.good("compile tiny.toml --patch 32,32,32 --batch 10000000 --to plan --target x86-64-v3 -o p.plan").err;
    let (before, after) = said.split_once(", this machine has ").unwrap();
    assert!(before.starts_with("warning: a run with input 10000000x2x32x32x32 takes an arena of ") && before.ends_with(" TiB"), "{said}");
    assert!(after.ends_with("iB of memory; a smaller --patch takes less\n"), "{said}");
    assert_eq!(s.good("compile tiny.toml --patch 32,32,32 --to plan --target x86-64-v3 -o p.plan").err, "");
    // A GPU has a memory of its own.
    assert_eq!(s.good("compile tiny.toml --patch 32,32,32 --to plan --target sm_90a -o p.plan").err, "");
}

#[test]
fn a_pytorch_file_is_called_one() {
    let s = tiny();
    // How torch.save begins, today and before 1.6.
    for start in [&b"PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00"[..], b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."] {
        std::fs::write(s.path("w.pth"), [start, &[0; 64]].concat()).unwrap();
        let texts = ["error[weights-0101]: w.pth: a PyTorch file: `mnxc import` reads it; a safetensors file expected\n"];
        s.bad("export-onnx tiny.toml --weights w.pth -o a.onnx", 1, &texts);
        s.bad("upkern --from tiny.toml --weights w.pth --to tiny.toml -o a.safetensors", 1, &texts);
        if cfg!(feature = "llvm") {
            s.bad("compile tiny.toml --weights w.pth --patch 32,32,32 -o a.mnxa", 1, &texts);
        }
    }
}
