//! Who may import whom: the walls of ARCHITECTURE.md, from `cargo metadata`. Modules of one crate are judged in `modules.rs`.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Our crates and what each may import of ours.
const ALLOWED: &[(&str, &[&str])] = &[
    ("mnx-words", &[]),
    ("mnx-ir", &[]),
    ("mnx-console", &[]),
    ("mnx-files", &[]),
    ("mnx-artifact", &["mnx-files"]),
    ("mnx-weights", &["mnx-files"]),
    ("mnx-volume", &["mnx-artifact", "mnx-files"]),
    ("mnx-ptx-sim", &[]),
    ("mnx-passes", &["mnx-ir", "mnx-weights"]),
    ("mnx-model", &["mnx-ir", "mnx-artifact", "mnx-weights"]),
    ("mnx-interp", &["mnx-ir", "mnx-weights"]),
    ("mnx-import", &["mnx-model", "mnx-artifact", "mnx-weights", "mnx-files"]),
    ("mnx-plan", &["mnx-ir", "mnx-artifact", "mnx-weights"]),
    ("mnx-codegen", &["mnx-plan", "mnx-artifact", "mnx-files"]),
    (
        "mnxc",
        &[
            "mnx-ir",
            "mnx-passes",
            "mnx-artifact",
            "mnx-weights",
            "mnx-model",
            "mnx-import",
            "mnx-interp",
            "mnx-plan",
            "mnx-codegen",
            "mnx-console",
            "mnx-files",
        ],
    ),
    ("mnx-runtime", &["mnx-artifact", "mnx-weights", "mnx-ptx-sim"]),
    ("mnx", &["mnx-artifact", "mnx-weights", "mnx-runtime", "mnx-volume", "mnx-console", "mnx-files"]),
];

/// Crates that only the LLVM room may reach.
const LLVM: &[&str] = &["melior", "mlir-sys", "inkwell", "llvm-sys"];

/// The platform that this build is for.
fn host() -> String {
    let out = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines().find_map(|l| l.strip_prefix("host: ")).unwrap().to_string()
}

struct Metadata {
    /// Package id to name.
    names: BTreeMap<String, String>,
    /// Resolved normal and build dependencies, by id.
    edges: BTreeMap<String, Vec<String>>,
    members: BTreeSet<String>,
}

impl Metadata {
    fn read() -> Self {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        // Crates of other platforms need not be here: a build downloads none of them, and nothing has to be downloaded for a test.
        let out = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--all-features", "--manifest-path", manifest])
            .args(["--filter-platform", &host()])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let v: Value = serde_json::from_slice(&out.stdout).unwrap();
        let text = |v: &Value| v.as_str().unwrap().to_string();
        let names = v["packages"].as_array().unwrap().iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
        let mut edges = BTreeMap::new();
        for node in v["resolve"]["nodes"].as_array().unwrap() {
            let deps = node["deps"].as_array().unwrap().iter().filter(|d| {
                // A dependency for tests alone crosses no wall.
                d["dep_kinds"].as_array().unwrap().iter().any(|k| k["kind"].as_str() != Some("dev"))
            });
            edges.insert(text(&node["id"]), deps.map(|d| text(&d["pkg"])).collect());
        }
        let members = v["workspace_members"].as_array().unwrap().iter().map(text).collect();
        Self { names, edges, members }
    }

    fn closure(&self, id: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut stack = vec![id.to_string()];
        while let Some(id) = stack.pop() {
            if seen.insert(id.clone()) {
                stack.extend(self.edges[&id].iter().cloned());
            }
        }
        seen.iter().map(|id| self.names[id].clone()).collect()
    }
}

#[test]
fn every_crate_imports_only_what_it_may() {
    let m = Metadata::read();
    let ours: BTreeSet<&String> = m.members.iter().map(|id| &m.names[id]).collect();
    for id in &m.members {
        let name = &m.names[id];
        if ["mnx-tests", "mnx-benches"].contains(&name.as_str()) {
            continue;
        }
        let (_, allowed) = ALLOWED.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name} has no row in ALLOWED"));
        for dep in &m.edges[id] {
            let dep = &m.names[dep];
            // Every room writes its messages with the same words.
            if dep == "mnx-words" {
                continue;
            }
            assert!(!ours.contains(dep) || allowed.contains(&dep.as_str()), "{name} must not import {dep}");
        }
    }
}

#[test]
fn llvm_stays_behind_one_door() {
    let m = Metadata::read();
    for id in &m.members {
        let name = m.names[id].as_str();
        let direct: Vec<&String> = m.edges[id].iter().map(|d| &m.names[d]).collect();
        if name != "mnx-codegen" {
            assert!(direct.iter().all(|d| !LLVM.contains(&d.as_str())), "{name} names LLVM itself");
        }
        if ["mnx", "mnx-runtime", "mnx-volume", "mnx-artifact", "mnx-weights", "mnx-ir", "mnx-passes", "mnx-plan", "mnx-import"]
            .contains(&name)
        {
            let closure = m.closure(id);
            for llvm in LLVM {
                assert!(!closure.contains(*llvm), "{name}'s closure contains {llvm}");
            }
        }
    }
}

#[test]
fn the_compiler_never_sees_the_runtime() {
    let m = Metadata::read();
    for id in &m.members {
        let name = m.names[id].as_str();
        if ["mnxc", "mnx-codegen", "mnx-plan", "mnx-passes", "mnx-model", "mnx-interp", "mnx-import"].contains(&name) {
            let closure = m.closure(id);
            for far in ["mnx-runtime", "mnx-volume", "cudarc"] {
                assert!(!closure.contains(far), "{name}'s closure contains {far}");
            }
        }
    }
}
