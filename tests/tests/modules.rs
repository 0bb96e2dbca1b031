//! No circle between the modules of a crate: who may import whom within it, read from their paths.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;

/// Crates whose modules form no circle.
const NO_CIRCLES: [&str; 3] = ["crates/mnxc", "crates/mnx", "crates/plan"];

/// A source file: the path of its module from the crate's root, and its text without comments and tests.
struct Source {
    module: Vec<String>,
    text: String,
}

impl Source {
    /// `file` is relative to the crate's `src`.
    fn new(file: &Path, text: &str) -> Self {
        let mut module: Vec<String> = file.with_extension("").iter().map(|p| p.to_string_lossy().into_owned()).collect();
        module.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let text = text.lines().map(|l| l.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
        Self { module, text }
    }

    /// The names of a crate that paths with `crate::` and `super::` lead to, the first behind the root of each; [`Self::module`] itself if
    /// a path stays within it.
    fn names(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut rest = self.text.as_str();
        while let Some(at) = rest.find("::") {
            let (before, behind) = (&rest[..at], &rest[at + 2..]);
            rest = behind;
            let word = before.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap();
            let mut up = match word {
                "crate" => self.module.len(),
                "super" => 1,
                _ => continue,
            };
            while let Some(more) = rest.strip_prefix("super::") {
                (rest, up) = (more, up + 1);
            }
            match self.module.len().checked_sub(up) {
                Some(0) => found.extend(heads(rest)),
                Some(_) => found.extend(self.module.first().cloned()),
                None => panic!("a path of {} leads above its crate", self.module.join("::")),
            }
        }
        found
    }
}

/// The first names of a use tree: `a` of `a::b`, `a` and `c` of `{a::{b, d}, c as e}`.
fn heads(tree: &str) -> Vec<String> {
    let name = |t: &str| t.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(list) = tree.strip_prefix('{') else { return vec![name(tree)] };
    let (mut depth, mut start, mut out) = (0, 0, Vec::new());
    for (i, c) in list.char_indices() {
        match c {
            ',' | '}' if depth == 0 => {
                out.push(name(&list[start..i]));
                start = i + 1;
                if c == '}' {
                    break;
                }
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    out.retain(|n| !n.is_empty() && n != "self");
    out
}

/// Which module of a crate, with all that lies in its folder, names which others. A name that the root re-exports counts as its module's.
fn arrows(sources: &[Source]) -> BTreeSet<(String, String)> {
    let modules: BTreeSet<&String> = sources.iter().filter_map(|s| s.module.first()).collect();
    let mut exported: BTreeMap<String, String> = BTreeMap::new();
    for root in sources.iter().filter(|s| s.module.is_empty()) {
        for (module, tree) in root.text.split("pub use ").skip(1).filter_map(|rest| rest.split_once("::")) {
            let tree = tree.split(';').next().unwrap();
            // `a as b` gives b, `a::b` gives b.
            let names = tree.split([',', '{', '}']).map(|n| n.trim().rsplit([':', ' ']).next().unwrap());
            exported.extend(names.filter(|n| !n.is_empty()).map(|n| (n.to_string(), module.to_string())));
        }
    }
    let mut out = BTreeSet::new();
    for source in sources {
        let Some(from) = source.module.first() else { continue };
        let names = source.names().into_iter().map(|n| if modules.contains(&n) { Some(n) } else { exported.get(&n).cloned() });
        out.extend(names.flatten().filter(|to| to != from && modules.contains(to)).map(|to| (from.clone(), to)));
    }
    out
}

/// The circles among arrows, each as the arrows that make it.
fn circles(arrows: &BTreeSet<(String, String)>) -> Vec<String> {
    let graph: DiGraphMap<&str, ()> = arrows.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let rings = tarjan_scc(&graph).into_iter().filter(|ring| ring.len() > 1);
    let within = |ring: &[&str]| {
        let inner = arrows.iter().filter(|(a, b)| ring.contains(&a.as_str()) && ring.contains(&b.as_str()));
        inner.map(|(a, b)| format!("{a} -> {b}")).collect::<Vec<_>>().join(", ")
    };
    rings.map(|ring| within(&ring)).collect()
}

fn read_sources(dir: &Path, root: &Path, out: &mut Vec<Source>) {
    for path in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
        if path.is_dir() {
            read_sources(&path, root, out);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            out.push(Source::new(path.strip_prefix(root).unwrap(), &std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn modules_form_no_circles() {
    // The finder itself, on what it must and must not find.
    let source = |file: &str, text: &str| Source::new(Path::new(file), text);
    let sample = |last: &str| {
        let all = [
            source("lib.rs", "pub use c::{deep::Thing, other as Way};\nmod a;"),
            source("a.rs", "use crate::{b::{c, d}, Way};\n// crate::d::x\n"),
            source("b/mod.rs", "mod inner;\nuse super::d::X;"),
            source("b/inner.rs", "use super::super::d;\nuse super::Thing;\n#[cfg(test)]\nmod tests { use crate::a; }"),
            source("c.rs", "fn f() -> b::X { crate::d::f() }"),
            source("d.rs", last),
        ];
        arrows(&all)
    };
    let pairs = |all: &[(&str, &str)]| all.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<BTreeSet<_>>();
    let straight = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")];
    assert_eq!(sample("fn f() {}"), pairs(&straight));
    assert_eq!(circles(&sample("use std::b;")), Vec::<String>::new());
    assert_eq!(circles(&sample("use crate::Thing;")), ["c -> d, d -> c"]);
    assert_eq!(circles(&sample("use super::a;")), ["a -> b, a -> c, b -> d, c -> d, d -> a"]);

    let mut found = Vec::new();
    for room in NO_CIRCLES {
        let src: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", room, "src"].iter().collect();
        let mut sources = Vec::new();
        read_sources(&src, &src, &mut sources);
        let arrows = arrows(&sources);
        assert!(!arrows.is_empty(), "{room}: no module names another");
        found.extend(circles(&arrows).iter().map(|c| format!("{room}: {c}")));
    }
    assert!(found.is_empty(), "modules in a circle; move what both need to where it belongs:\n{}", found.join("\n"));
}
