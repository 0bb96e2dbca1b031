//! Tidiness: what every file of the house keeps to.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut out = Vec::new();
    let mut stack: Vec<PathBuf> = ["ir", "passes", "crates", "tests", "benches"].iter().map(|d| root.join(d)).collect();
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                stack.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                out.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(out.len() > 50, "the house has more files than {}", out.len());
    out
}

#[test]
fn files_stay_small() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 800, "{name} has {lines} lines; split it by idea");
    }
}

#[test]
fn no_room_is_called_utils() {
    for (name, _) in sources() {
        let stem = Path::new(&name).file_stem().unwrap().to_string_lossy().into_owned();
        let banned = ["utils", "util", "helpers", "helper", "common", "base", "misc"];
        assert!(!banned.contains(&stem.as_str()), "{name}: name a file by its idea");
    }
}

#[test]
fn every_crate_opens_with_a_room_card() {
    for (name, text) in sources() {
        if name.ends_with("src/lib.rs") {
            for line in ["//! Room:", "//! May import:", "//! Never:", "//! Start reading at:"] {
                assert!(text.contains(line), "{name} lacks `{line}`");
            }
        }
    }
}

#[test]
fn nothing_unfinished_is_left_behind() {
    // Spelled in halves so that this file does not find itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["todo", "!("], ["unimplemented", "!("], ["dbg", "!("], ["#[ign", "ore"]];
    for (name, text) in sources() {
        for [a, b] in marks {
            assert!(!text.contains(&format!("{a}{b}")), "{name} holds {a}{b}");
        }
    }
}

#[test]
fn unsafe_code_stays_in_two_rooms() {
    for (name, text) in sources() {
        let free = name.starts_with("crates/runtime/src/device/") || name.starts_with("crates/codegen/");
        if name.ends_with("src/lib.rs") && !name.starts_with("crates/codegen/") && !name.starts_with("crates/runtime/") {
            assert!(text.contains("#![forbid(unsafe_code)]"), "{name} does not forbid unsafe code");
        }
        let block = ["unsafe", " {"].concat();
        assert!(free || !text.contains(&block) || name.ends_with("tidy.rs"), "{name} holds an unsafe block");
    }
}

/// Files that may write a value as Rust's `Debug` does, and why.
const DEBUG_TEXT: [(&str, &str); 4] = [
    ("crates/words/src/lib.rs", "the one place that quotes texts and writes exact numbers, both of which Debug does by definition"),
    ("crates/plan/src/space.rs", "the key of a kernel shape in the file of tuned tiles; nobody reads it"),
    ("crates/codegen/examples/", "developers' measurements"),
    ("benches/", "developers' measurements"),
];

/// Lines whose string literal has a `{:?}` outside of an assertion or a panic; tests stand behind `#[cfg(test)]`.
fn debug_text(text: &str) -> Vec<usize> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let bytes = text.as_bytes();
    // The names before the parentheses that are open, `format!` for example.
    let mut open: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    let line = |at: usize| 1 + text[..at].matches('\n').count();
    let mut i = 0;
    while i < bytes.len() {
        let rest = &text[i..];
        if rest.starts_with("//") {
            i += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        // Character literals; a lifetime has no second quote.
        if bytes[i] == b'\'' {
            let escaped = rest.starts_with("'\\");
            let body = &rest[1 + usize::from(escaped)..];
            let width = body.chars().next().map_or(0, char::len_utf8);
            i += if escaped {
                2 + width + body[width..].find('\'').unwrap_or(0) + 1
            } else if body[width..].starts_with('\'') {
                width + 2
            } else {
                1
            };
            continue;
        }
        let raw = rest.strip_prefix('r').map(|r| r.len() - r.trim_start_matches('#').len()).filter(|n| rest[1 + n..].starts_with('"'));
        let literal = match (bytes[i], raw) {
            (_, Some(hashes)) => {
                let end = format!("\"{}", "#".repeat(hashes));
                Some(2 + hashes + rest[2 + hashes..].find(&end).unwrap() + end.len())
            }
            (b'"', None) => {
                let mut at = 1;
                while rest.as_bytes()[at] != b'"' {
                    at += if rest.as_bytes()[at] == b'\\' { 2 } else { 1 };
                }
                Some(at + 1)
            }
            _ => None,
        };
        if let Some(length) = literal {
            let may = |name: &&str| name.contains("assert") || ["panic!", "unreachable!"].contains(name);
            let placeholder = |p: &str| p.split_once(':').is_some_and(|(_, spec)| spec.ends_with('?'));
            let debug = rest[..length].split('{').skip(1).filter_map(|p| p.split('}').next()).any(placeholder);
            if debug && !open.iter().any(may) {
                found.push(line(i));
            }
            i += length;
            continue;
        }
        match bytes[i] {
            b'(' => {
                let before = text[..i].trim_end_matches('!');
                let start = before.rfind(|c: char| !(c.is_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
                open.push(&text[start..i]);
            }
            b')' => {
                open.pop();
            }
            _ => {}
        }
        i += rest.chars().next().map_or(1, char::len_utf8);
    }
    found
}

#[test]
fn no_output_holds_rusts_debug_text() {
    // The finder itself, on what it must and must not find.
    let sample = [
        r##"fn f(c: char, s: &'static str) {"##,
        r##"    // {:?}"##,
        r##"    let a = ['"', '\'', '\u{e9}'];"##,
        r##"    format!("{c:?}");"##,
        r##"    assert!(a, "{c:?}");"##,
        r##"    write!(f, r#"{:#?}"#, s);"##,
        r##"    panic!("{}", format!("{:?}", 1));"##,
        r##"    say("##,
        r##"        &format!("##,
        r##"            "{:5.1?}","##,
        r##"        ));"##,
        r##"    text("{a}: ?");"##,
        r##"}"##,
        r##"#[cfg(test)]"##,
        r##"mod tests { format!("{:?}") }"##,
    ]
    .join("\n");
    assert_eq!(debug_text(&sample), [4, 6, 10]);
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let tests = name.contains("/tests/") || name.starts_with("tests/") || name.ends_with("_test.rs") || name.ends_with("/tests.rs");
        let may = DEBUG_TEXT.iter().map(|(file, _)| *file).any(|file| name.starts_with(file));
        if !tests && !may {
            wrong.extend(debug_text(&text).iter().map(|line| format!("{name}:{line}")));
        }
    }
    assert!(wrong.is_empty(), "write it with mnx_words, or give the type a Display:\n{}", wrong.join("\n"));
}

/// A test that follows a link out of its own folder may overwrite what it finds there, and tests run as root, too.
#[test]
fn tests_make_no_links_out_of_their_folders() {
    let mark = ["symlink(", "\"/"].concat();
    for (name, text) in sources() {
        assert!(!text.contains(&mark), "{name} makes a link to an absolute path of the system");
    }
}

/// Functions in the whole house that may have more parameters than clippy.toml says.
const MOST_LONG_LISTS: usize = 3;

/// The attributes of a file that name clippy's lints of sizes, as `(lint, attribute)`.
fn size_attributes(text: &str) -> Vec<(&str, &str)> {
    // Spelled in halves so that this file does not find itself.
    let mark = ["clippy::too", "_many_"].concat();
    let attribute = |at: usize| {
        let start = text[..at].rfind("#[").or_else(|| text[..at].rfind("#![")).unwrap_or(at);
        let end = text[at..].find(")]").map_or(text.len(), |n| at + n);
        &text[start..end]
    };
    let lint = |at: usize| text[at + mark.len()..].split(|c: char| !c.is_alphanumeric()).next().unwrap();
    text.match_indices(&mark).map(|(at, _)| (lint(at), attribute(at))).collect()
}

/// What is wrong with the exceptions of a file: an allowance instead of an expectation, or a reason that is none.
fn size_problems(name: &str, text: &str) -> Vec<String> {
    let problem = |(lint, attribute): (&str, &str)| {
        let reason = attribute.split_once("reason = \"").map_or("", |(_, reason)| reason);
        let wrong = match lint {
            _ if !attribute.starts_with("#[expect(") => "is no #[expect(..)]",
            "lines" if !reason.starts_with("a table") => "has no reason that begins with \"a table\"",
            _ if reason.trim_end_matches('"').trim().is_empty() => "has no reason",
            _ => return None,
        };
        Some(format!("{name}: too many {lint}: {attribute} {wrong}"))
    };
    size_attributes(text).into_iter().filter_map(problem).collect()
}

#[test]
fn exceptions_from_sizes_are_few_and_reasoned() {
    // The finder itself, on what it must and must not find.
    let lint = |name: &str| ["clippy::too", "_many_", name].concat();
    let problems = |attribute: String| size_problems("x.rs", &format!("use a;\n#[inline]\n{attribute}\nfn f() {{}}\n")).len();
    assert_eq!(problems(format!("#[expect({}, reason = \"a table: one row per op\")]", lint("lines"))), 0);
    assert_eq!(problems(format!("#[expect(\n    {},\n    reason = \"foreign\"\n)]", lint("arguments"))), 0);
    assert_eq!(problems(format!("#[expect({}, reason = \"it is long\")]", lint("lines"))), 1);
    assert_eq!(problems(format!("#[expect({})]", lint("arguments"))), 1);
    assert_eq!(problems(format!("#[expect({}, reason = \"\")]", lint("arguments"))), 1);
    assert_eq!(problems(format!("#[allow({}, reason = \"a table\")]", lint("lines"))), 1);
    assert_eq!(problems(format!("#![allow(dead_code, {})]", lint("arguments"))), 1);

    let (mut wrong, mut lists) = (Vec::new(), Vec::new());
    for (name, text) in sources() {
        wrong.extend(size_problems(&name, &text));
        lists.extend(size_attributes(&text).iter().filter(|(lint, _)| *lint == "arguments").map(|_| name.clone()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(lists.len() <= MOST_LONG_LISTS, "more than {MOST_LONG_LISTS} functions with long lists of arguments:\n{}", lists.join("\n"));
}

#[test]
fn clippy_judges_the_sizes_of_functions() {
    let read = |file: &str| std::fs::read_to_string(root().join(file)).unwrap();
    let (manifest, settings) = (read("Cargo.toml"), read("clippy.toml"));
    for (lint, most) in [("lines", 100), ("arguments", 5)] {
        let (lint_line, setting) = (format!("too_many_{lint} = \"warn\""), format!("too-many-{lint}-threshold = {most}"));
        assert!(manifest.lines().any(|l| l == lint_line), "Cargo.toml lacks `{lint_line}`");
        assert!(settings.lines().any(|l| l == setting), "clippy.toml lacks `{setting}`");
    }
}

/// Words at the head of a comment that lean on the comment before it.
const LEANING: [&str; 11] = ["It ", "Its ", "So ", "For so ", "The same", "As above", "Those ", "They ", "Their ", "Likewise", "And "];

/// Lines at which a documentation comment opens with one of them.
fn leaning(text: &str) -> Vec<usize> {
    let doc = |line: &str| line.trim_start().strip_prefix("///").or_else(|| line.trim_start().strip_prefix("//!")).map(str::to_string);
    let lines: Vec<Option<String>> = text.lines().map(doc).collect();
    let opens = |i: &usize| *i == 0 || lines[i - 1].is_none();
    let leans = |i: &usize| lines[*i].as_ref().is_some_and(|l| LEANING.iter().any(|word| l.trim_start().starts_with(word)));
    (0..lines.len()).filter(opens).filter(leans).map(|i| i + 1).collect()
}

#[test]
fn documentation_comments_stand_alone() {
    // The finder itself, on what it must and must not find.
    let marks = ["Sums.", "It does.", "", "The same of it.", "-", "Item.", "Its name."];
    let sample: Vec<String> = marks.iter().map(|m| if *m == "-" { "x".to_string() } else { ["//", "/ ", m].concat() }).collect();
    assert_eq!(leaning(&sample.join("\n")), Vec::<usize>::new());
    assert_eq!(leaning(&sample[3..].join("\n")), [1]);
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        wrong.extend(leaning(&text).iter().map(|line| format!("{name}:{line}")));
    }
    assert!(wrong.is_empty(), "name what the comment is about, it is read alone:\n{}", wrong.join("\n"));
}
