//! README.md is true: every command in its `sh` blocks is run, in order, in a folder where the examples and the binaries are at hand.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Lines of all blocks fenced as `sh`.
fn commands(readme: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line.trim_end() {
            "```sh" => inside = true,
            "```" => inside = false,
            l if inside && !l.is_empty() && !l.starts_with('#') => out.push(l.to_string()),
            _ => {}
        }
    }
    out
}

#[test]
fn every_command_of_the_readme_works() {
    let bin = mnx_tests::binaries::folder();
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("examples"), dir.path().join("examples")).unwrap();
    // What the section on nnU-Net has at hand.
    mnx_tests::nnunet::Case::named("v2_ct_iso").rebuild(&dir.path().join("nnUNet_results"));
    let ct = root().join("tests/data/torso_ct/ct.nii.gz");
    std::fs::create_dir(dir.path().join("imagesTs")).unwrap();
    for name in ["ct.nii.gz", "imagesTs/torso_0000.nii.gz"] {
        std::os::unix::fs::symlink(&ct, dir.path().join(name)).unwrap();
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands = commands(&readme);
    assert!(commands.len() >= 15, "{commands:?}");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for command in commands {
        let out =
            Command::new("bash").args(["-euo", "pipefail", "-c", &command]).current_dir(dir.path()).env("PATH", &path).output().unwrap();
        assert!(out.status.success(), "{command}\n{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn every_config_of_the_readme_is_one() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks: Vec<&str> = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        mnx_model::Config::from_toml(block, "README.md").unwrap_or_else(|problems| panic!("{block}\n{problems:?}"));
        // What stands behind a `#` as another value is one, too.
        for line in block.lines().filter_map(|l| l.strip_prefix("# ")).filter(|l| l.contains(" = \"")) {
            let key = line.split(" = ").next().unwrap();
            if !key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                continue;
            }
            let table = if ["flavour"].contains(&key) { "" } else { "[preprocess]\n" };
            let text = format!("variant = \"S\"\nin_channels = 1\nn_classes = 2\n{table}{line}");
            mnx_model::Config::from_toml(&text, "README.md").unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
        }
    }
}

#[test]
fn both_commands_and_both_documents_are_named() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let first = readme.lines().take(4).find(|l| l.starts_with("!["));
    let picture = first.and_then(|l| l.split_once("](")).map(|(_, rest)| rest.trim_end_matches(')'));
    assert!(root().join(picture.unwrap_or("no picture on top of README.md")).is_file(), "{picture:?}");
    for name in ["make demo", "make test", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        assert!(readme.contains(name), "README.md does not show `{name}`");
    }
}
