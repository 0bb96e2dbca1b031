//! The commands around cargo: `make demo`, `make test`, `make lint` and `.ci/run` build where they are told to, and depend on nothing that an earlier run has left.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// What a command prints, run at the project's root, with or without a target directory of its own.
fn said(program: &str, args: &[&str], target: Option<&str>) -> String {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).env_remove("CARGO_TARGET_DIR").env_remove("MAKEFLAGS");
    if let Some(dir) = target {
        command.env("CARGO_TARGET_DIR", dir);
    }
    let out = command.output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn every_script_builds_where_cargo_builds() {
    assert_eq!(said("scripts/target-dir.sh", &[], Some("else/where")), "else/where\n");
    let usual = said("scripts/target-dir.sh", &[], None);
    assert!(Path::new(usual.trim()).is_absolute(), "{usual}");
    for goal in ["release", "build-tests", "run-tests", "lint", "doc"] {
        let plan = said("make", &["-n", goal], Some("else/where"));
        assert!(plan.contains(". \"else/where/mnx-env.sh\""), "make {goal}: {plan}");
    }
    // A path written out would be a second opinion.
    for file in ["Makefile", "scripts/setup.sh", "scripts/demo.sh", "scripts/test.sh", "scripts/bench_peers.sh", "scripts/gpu-check.sh"] {
        let source = text(file);
        let code = source.lines().filter(|l| !l.trim_start().starts_with('#'));
        let wrong: Vec<&str> = code.filter(|l| l.replace("$target/", "").contains("target/")).collect();
        assert!(wrong.is_empty(), "{file}: {wrong:?}");
    }
}

#[test]
fn lint_checks_the_format_and_rewrites_nothing() {
    let plan = said("make", &["-n", "lint"], None);
    let fmt: Vec<&str> = plan.lines().filter(|l| l.contains("fmt")).collect();
    assert!(!fmt.is_empty() && fmt.iter().all(|l| l.contains("--check")), "{plan}");
    // By name: rustfmt does not find the modules that a macro declares.
    assert!(fmt.iter().all(|l| l.contains("git ls-files '*.rs'") && l.contains("rustfmt --edition 2024")), "{plan}");
    // The whole of it: a file that is out of shape is refused and stays as it is.
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.rs");
    std::fs::write(&file, "fn  main( ) { }\n").unwrap();
    let out = Command::new("rustfmt").args(["--check", "--edition", "2024"]).arg(&file).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "fn  main( ) { }\n");
}

#[test]
fn ci_starts_from_nothing() {
    // Run for real it would build everything twice; here `make` only says what it was given.
    let dir = tempfile::tempdir().unwrap();
    let (bin, scratch) = (dir.path().join("bin"), dir.path().join("scratch"));
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::create_dir_all(&scratch).unwrap();
    let make = bin.join("make");
    let script = "#!/bin/sh\necho make \"$@\"\nfor d in \"$CARGO_HOME\" \"$XDG_CACHE_HOME\" \"$CARGO_TARGET_DIR\"; do\n\
                  [ -d \"$d\" ] || exit 3\necho \"$d\" $(find \"$d\" -type f ! -name config.toml ! -name credentials.toml | wc -l)\ndone\nexit 7\n";
    std::fs::write(&make, script).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&make, <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let out = Command::new("bash")
        .args([".ci/run"])
        .current_dir(root())
        .env("PATH", path)
        .env("MNX_CI_SCRATCH", &scratch)
        .env("CARGO_TARGET_DIR", "warm")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(7), "the verdict is make's: {said}{}", String::from_utf8_lossy(&out.stderr));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "make test"), "{said}");
    for line in &lines[1..] {
        assert!(line.starts_with(&scratch.display().to_string()) && line.ends_with(" 0"), "not new and empty: {line}");
    }
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0, "everything is removed again");
}

#[test]
fn tests_print_the_time_of_each_part_even_when_one_fails() {
    let dir = tempfile::tempdir().unwrap();
    let make = dir.path().join("make");
    std::fs::write(&make, "#!/bin/sh\ncase \"$*\" in *lint*) exit 5;; esac\n").unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&make, <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755)).unwrap();
    let out = Command::new("scripts/test.sh").current_dir(root()).env("MAKE", &make).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(5), "{said}");
    let times = said.split("=== times\n").nth(1).unwrap();
    for part in ["set up", "ptxas", "format and lints", "all"] {
        assert!(times.lines().any(|l| l.starts_with(part) && l.contains(" s")), "{part}: {times}");
    }
    assert!(times.contains("FAILED (5)") && !times.contains("the demo"), "{times}");
}

#[test]
fn checkouts_may_share_a_target_directory() {
    // Cargo compiles a build script once for all of them, so it must ask where it is when it runs.
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("build-script");
    let source = root().join("crates/mnxc/build.rs");
    let out = Command::new("rustc")
        .args(["--edition", "2024", "-o"])
        .args([&program, &source])
        .env("CARGO_MANIFEST_DIR", dir.path().join("a checkout that is gone"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let out = Command::new(&program).env("CARGO_MANIFEST_DIR", root().join("crates/mnxc")).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("MNXC_SCHEDULE_DIGEST=") && text.contains(&root().join("crates/mnxc").display().to_string()), "{text}");
}
