//! What a change costs: CONTRIBUTING.md says how many files a new op, kernel or pass touches and where rustc leads. Each of `tests/patches` is such a change, small but whole,
//! with its tests; it is applied to a copy of the sources, its files are counted, and the copy is checked by cargo, offline, in a target directory that later runs find warm.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files and folders that cargo needs to check the crates below.
const SOURCES: [&str; 10] = [".cargo", "Cargo.toml", "Cargo.lock", "clippy.toml", "ir", "passes", "crates", "tests", "benches", "docs"];

/// Every crate that the patches touch, with all that depend on them but the tests; always all of them, so that cargo chooses the same features of their dependencies.
const CRATES: [&str; 4] = ["mnx-passes", "mnx-interp", "mnxc", "mnx-codegen"];

/// A change and its price, counted outside tests and golden files.
struct Change {
    /// Name of the patch.
    name: &'static str,
    /// New files at most.
    new: usize,
    /// Old files that it touches, at most.
    touched: usize,
    /// Rooms at most.
    rooms: usize,
    /// Lines that a touched file gains, at most.
    lines: usize,
    /// Source files that no compiler misses: without a table's row the rest is not used. Every other file rustc asks for.
    unmissed: &'static [&'static str],
}

/// CONTRIBUTING.md names the same figures.
const CHANGES: [Change; 4] = [
    // The promise is 7 files in 5 rooms. An op that a box computes besides has its part's row (ir/src/pattern.rs), its drawing (passes) and its reading (plan/src/work).
    Change { name: "op", new: 0, touched: 5, rooms: 3, lines: 6, unmissed: &[] },
    // One line of documentation and one of the row.
    Change { name: "host_kernel", new: 2, touched: 1, rooms: 2, lines: 2, unmissed: &["crates/plan/src/host/mod.rs"] },
    Change { name: "gpu_kernel", new: 2, touched: 1, rooms: 2, lines: 2, unmissed: &["crates/plan/src/gpu/mod.rs"] },
    // With the golden file that is 5 files in 2 rooms. Rows of the registry and the pipeline are missed by tests, not by rustc.
    Change {
        name: "graph_pass",
        new: 1,
        touched: 3,
        rooms: 1,
        lines: 10,
        unmissed: &["passes/src/registry.rs", "passes/src/pipelines.rs"],
    },
];

/// What a patch does to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileEdit {
    path: String,
    new: bool,
    /// Lines that must stand there, and those that take their place.
    hunks: Vec<(String, String)>,
}

impl FileEdit {
    /// Whether the file is neither a test nor a golden file.
    fn is_source(&self) -> bool {
        !self.path.starts_with("tests/") && !self.path.contains("/tests/")
    }

    /// The folder of the crate that a source file belongs to.
    fn room(&self) -> &str {
        self.path.split("/src/").next().unwrap()
    }

    fn lines_gained(&self) -> usize {
        let lines = |text: &str| text.lines().count();
        self.hunks.iter().map(|(old, new)| lines(new).saturating_sub(lines(old))).sum()
    }

    /// The file's text with the edit; hunks are found by their lines, not by their numbers, which drift.
    fn apply(&self, text: Option<&str>) -> Result<String, String> {
        let mut text = match (text, self.new) {
            (None, true) => return Ok(self.hunks.iter().map(|(_, new)| new.as_str()).collect()),
            (Some(_), true) => return Err(format!("{} is there already", self.path)),
            (None, false) => return Err(format!("{} is gone", self.path)),
            (Some(text), false) => text.to_string(),
        };
        for (old, new) in &self.hunks {
            // Whole lines: a hunk starts where a line does.
            let starts = text.match_indices(old.as_str()).map(|(at, _)| at).filter(|&at| at == 0 || text.as_bytes()[at - 1] == b'\n');
            let &[at] = &starts.collect::<Vec<_>>()[..] else {
                return Err(format!("{}: these lines stand there not once, or more than once:\n{old}", self.path));
            };
            text.replace_range(at..at + old.len(), new);
        }
        Ok(text)
    }
}

/// Reads a unified diff as `git diff` writes it.
fn parse(patch: &str) -> Vec<FileEdit> {
    let mut edits: Vec<FileEdit> = Vec::new();
    let mut new = false;
    for line in patch.lines() {
        if line.starts_with("diff ") || line.starts_with("index ") || line.starts_with("new file mode ") {
        } else if let Some(from) = line.strip_prefix("--- ") {
            new = from == "/dev/null";
        } else if let Some(path) = line.strip_prefix("+++ b/") {
            edits.push(FileEdit { path: path.to_string(), new, hunks: Vec::new() });
        } else if line.starts_with("@@ ") {
            edits.last_mut().unwrap().hunks.push(<(String, String)>::default());
        } else {
            let (old, new) = edits.last_mut().unwrap().hunks.last_mut().unwrap();
            let put = |to: &mut [&mut String]| to.iter_mut().for_each(|text| text.extend([&line[1..], "\n"]));
            match line.as_bytes().first() {
                Some(b' ') => put(&mut [old, new]),
                Some(b'-') => put(&mut [old]),
                Some(b'+') => put(&mut [new]),
                _ => panic!("a line that no diff has: {line}"),
            }
        }
    }
    edits
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// A copy of the sources, kept from run to run: a file is written only if it differs, so that cargo finds what it has checked already.
struct Copy {
    folder: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("costs_of_change");
        let copy = Self { folder: place.join("sources"), target: place.join("target") };
        let (ours, theirs) = (root(), copy.folder.clone());
        let names: BTreeSet<PathBuf> = SOURCES.iter().flat_map(|name| files(&ours, Path::new(name))).collect();
        for gone in SOURCES.iter().flat_map(|name| files(&theirs, Path::new(name))).filter(|name| !names.contains(name)) {
            std::fs::remove_file(theirs.join(gone)).unwrap();
        }
        for name in names {
            copy.write(&name, &std::fs::read(ours.join(&name)).unwrap());
        }
        copy
    }

    fn write(&self, name: &Path, bytes: &[u8]) {
        let path = self.folder.join(name);
        if std::fs::read(&path).is_ok_and(|there| there == bytes) {
            return;
        }
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Gives a file the text that it has with an edit, or without it.
    fn set(&self, edit: &FileEdit, text: Option<&str>) {
        match text {
            Some(text) => self.write(Path::new(&edit.path), text.as_bytes()),
            None => std::fs::remove_file(self.folder.join(&edit.path)).unwrap(),
        }
    }

    /// What cargo says of the copy, as an error if it finds one.
    fn check(&self) -> Result<(), String> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["check", "--release", "--offline", "--quiet", "--color=never"]).args(CRATES.iter().flat_map(|c| ["-p", c]));
        let out = cargo.arg("--target-dir").arg(&self.target).current_dir(&self.folder).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        // A warning would mean that something is not used.
        if out.status.success() && !said.contains("warning") { Ok(()) } else { Err(said) }
    }
}

/// Files at or below a path, relative to `root`.
fn files(root: &Path, name: &Path) -> Vec<PathBuf> {
    let path = root.join(name);
    if path.is_dir() {
        let inside = std::fs::read_dir(&path).unwrap().map(|e| name.join(e.unwrap().file_name()));
        // Fuzzers are workspaces of their own, with target directories of their own.
        inside.filter(|inner| !inner.ends_with("fuzz/target")).flat_map(|inner| files(root, &inner)).collect()
    } else {
        path.exists().then(|| name.to_path_buf()).into_iter().collect()
    }
}

/// How to have a patch that fits again, behind what is wrong with it.
fn renew(name: &str, wrong: &str) -> String {
    format!(
        "tests/patches/{name}.patch: {wrong}\nTo renew it, make the change in a clean working tree (`git apply --reject tests/patches/{name}.patch` does what still fits), run its tests, \
         then `git add -AN && git diff -U2 > {name}.patch`, take the change back, and move that file to tests/patches. If the change has got dearer, mend that first."
    )
}

impl Change {
    fn edits(&self) -> Vec<FileEdit> {
        let path = root().join("tests/patches").join(format!("{}.patch", self.name));
        parse(&std::fs::read_to_string(path).unwrap())
    }

    /// Compares with the promised price.
    fn count(&self, edits: &[FileEdit]) {
        let sources: Vec<&FileEdit> = edits.iter().filter(|e| e.is_source()).collect();
        let paths: Vec<&str> = sources.iter().map(|e| e.path.as_str()).collect();
        let rooms: BTreeSet<&str> = sources.iter().map(|e| e.room()).collect();
        let new = sources.iter().filter(|e| e.new).count();
        let dearer = |what: &str, got: usize, most: usize| {
            assert!(got <= most, "{}", renew(self.name, &format!("{got} {what}, {most} were promised: {}", mnx_words::list(&paths))));
        };
        dearer("new files", new, self.new);
        dearer("touched files", sources.len() - new, self.touched);
        dearer("rooms", rooms.len(), self.rooms);
        for e in sources.iter().filter(|e| !e.new) {
            dearer(&format!("more lines of {}", e.path), e.lines_gained(), self.lines);
        }
        assert!(edits.len() > sources.len(), "{} has no test", self.name);
        for unmissed in self.unmissed {
            assert!(paths.contains(unmissed), "{} does not touch {unmissed}", self.name);
        }
    }

    /// Applies the patch, has cargo check it whole, and without each file in turn that rustc is said to ask for; then takes it back.
    fn try_on(&self, copy: &Copy) {
        let edits = self.edits();
        self.count(&edits);
        let texts: Vec<(Option<String>, String)> = edits
            .iter()
            .map(|e| {
                let before = std::fs::read_to_string(copy.folder.join(&e.path)).ok();
                let after = e.apply(before.as_deref()).unwrap_or_else(|wrong| panic!("{}", renew(self.name, &wrong)));
                (before, after)
            })
            .collect();
        for (e, (_, after)) in edits.iter().zip(&texts) {
            copy.set(e, Some(after));
        }
        copy.check().unwrap_or_else(|said| panic!("{}", renew(self.name, &format!("it does not compile:\n{said}"))));
        for (e, (before, after)) in edits.iter().zip(&texts).filter(|(e, _)| e.is_source() && !self.unmissed.contains(&e.path.as_str())) {
            copy.set(e, before.as_deref());
            let said = copy.check().expect_err(&format!("{}: nobody misses the change of {}", self.name, e.path));
            assert!(said.contains("error"), "{}: without the change of {}: {said}", self.name, e.path);
            copy.set(e, Some(after));
        }
        for (e, (before, _)) in edits.iter().zip(&texts) {
            copy.set(e, before.as_deref());
        }
    }
}

/// One test for all four: they share the copy.
#[test]
fn changes_cost_what_contributing_says() {
    let copy = Copy::new();
    for change in &CHANGES {
        change.try_on(&copy);
    }
}

/// Every patch is tried, and the text for people has the figures.
#[test]
fn contributing_names_the_figures() {
    let there: BTreeSet<String> = files(&root(), Path::new("tests/patches")).iter().map(|p| p.display().to_string()).collect();
    assert_eq!(there, CHANGES.iter().map(|c| format!("tests/patches/{}.patch", c.name)).collect());
    let text = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    for change in &CHANGES {
        let line = text.lines().find(|l| l.contains(&format!("tests/patches/{}.patch", change.name)));
        let line = line.unwrap_or_else(|| panic!("CONTRIBUTING.md does not name tests/patches/{}.patch", change.name));
        for figure in [mnx_words::many(change.new + change.touched, "file"), mnx_words::many(change.rooms, "room")] {
            assert!(line.contains(&figure), "CONTRIBUTING.md does not say that {} costs {figure}: {line}", change.name);
        }
    }
}

#[test]
fn patches_apply_where_their_lines_stand_once() {
    let patch = "diff --git a/f b/f\nindex 1..2 100644\n--- a/f\n+++ b/f\n@@ -1,2 +1,3 @@ fn\n a\n-b\n+c\n+d\ndiff --git a/tests/g b/tests/g\nnew file mode 100644\n--- /dev/null\n+++ b/tests/g\n@@ -0,0 +1 @@\n+x\n";
    let edits = parse(patch);
    let [f, g] = &edits[..] else { panic!("{edits:?}") };
    assert_eq!((f.new, g.new, f.is_source(), g.is_source(), f.lines_gained()), (false, true, true, false, 1));
    assert_eq!(f.apply(Some("z\na\nb\ny\n")).unwrap(), "z\na\nc\nd\ny\n");
    assert!(f.apply(Some("a\nz\nb\n")).unwrap_err().contains("f: these lines"));
    assert!(f.apply(Some("a\nb\na\nb\n")).is_err());
    assert!(f.apply(Some("za\nb\n")).is_err());
    assert!(f.apply(None).unwrap_err().contains("gone"));
    assert_eq!(g.apply(None).unwrap(), "x\n");
    assert!(g.apply(Some("")).is_err());
}
