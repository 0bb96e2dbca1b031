//! `mnxc explain`: floors from a stated machine, measurements from whatever speaks like `mnx bench`.
#![cfg(feature = "llvm")]
#![allow(clippy::unwrap_used)]

mod scratch;
use std::path::PathBuf;

use mnx_artifact::{Bundle, Command};
use scratch::{Scratch, TINY};
use serde_json::{Value, json};

fn tiny() -> Scratch {
    let s = Scratch::new();
    s.file("tiny.toml", TINY);
    s.good("compile tiny.toml --seed 1 --patch 32,16,16 --vectors none -o t.mnxa");
    s
}

/// A stand-in for `mnx`: prints a file, whatever it is asked.
#[cfg(unix)]
fn runner(s: &Scratch, says: &str) {
    use std::os::unix::fs::PermissionsExt;
    s.file("said.json", says);
    s.file("fake", "#!/bin/sh\necho \"$@\" > asked\ncat said.json\n");
    std::fs::set_permissions(s.path("fake"), std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Seconds that the stand-in claims for a dispatch.
fn claimed(i: usize) -> f64 {
    1e-4 * (1 + i) as f64
}

fn report(bundle: PathBuf) -> Value {
    let bundle = Bundle::open(bundle).unwrap();
    let mut names: Vec<String> = Vec::new();
    for c in &bundle.manifest().programs[1].commands {
        if let Command::Launch { dispatch, .. } = c
            && !names.contains(dispatch)
        {
            names.push(dispatch.clone());
        }
    }
    let dispatches: Vec<Value> =
        names.iter().enumerate().map(|(i, n)| json!({"dispatch": n, "median_s": claimed(i), "min_s": claimed(i), "kernel": "k"})).collect();
    json!({
        "isa": "x86-64-v3", "threads": 3, "runs": 4, "median_s": 0.5, "min_s": 0.25, "peak_bytes": 12345678,
        "roofline": {"flops_per_s": 2e9, "bytes_per_s": 1e9}, "dispatches": dispatches,
    })
}

#[test]
fn floors_follow_from_the_bundles_costs_and_the_stated_rates() {
    let s = tiny();
    let v: Value = serde_json::from_str(&s.good("explain t.mnxa --gflops 4 --gbs 2 --json - --isa x86-64-v3").out).unwrap();
    assert_eq!((v["target"].as_str(), v["machine"]["measured"].as_bool()), (Some("x86-64-v3"), Some(false)));
    let bundle = Bundle::open(s.path("t.mnxa")).unwrap();
    let (mut flops, mut bytes, mut gelus) = (0.0, 0.0, 0.0);
    for c in &bundle.manifest().programs[1].commands {
        let Command::Launch { cost, .. } = c else { continue };
        flops += cost.flops as f64;
        bytes += cost.bytes as f64;
        gelus += cost.gelus as f64;
    }
    let f = |v: &Value| v.as_f64().unwrap();
    assert_eq!((f(&v["total"]["flops"]), f(&v["total"]["bytes"]), f(&v["total"]["gelus"])), (flops, bytes, gelus));
    assert!(gelus > 0.0);
    let rows = v["dispatches"].as_array().unwrap();
    let mut sum = 0.0;
    for r in rows {
        let compute = (f(&r["flops"]) + 28.0 * f(&r["gelus"])) / 4e9;
        let memory = f(&r["bytes"]) / 2e9;
        let floor = f(&r["floor_s"]);
        assert!((floor - compute.max(memory)).abs() < 1e-12, "{r}");
        assert_eq!(r["bound"], if memory > compute { "memory" } else { "compute" });
        assert!(f(&r["predicted_s"]) > floor && r["measured_s"].is_null());
        assert!(r["strategy"].as_str().unwrap().contains('.'), "{r}");
        sum += floor;
    }
    assert!((f(&v["total"]["floor_s"]) - sum).abs() < 1e-9);
    assert_eq!(f(&v["machine"]["gelu_instructions"]), 14.0);
    s.good("compile tiny.toml --seed 1 --patch 32,16,16 --vectors none --target x86-64-v3 --gelu fast -o f.mnxa");
    let fast: Value = serde_json::from_str(&s.good("explain f.mnxa --gflops 4 --gbs 2 --json -").out).unwrap();
    assert_eq!(f(&fast["machine"]["gelu_instructions"]), 10.0);
    assert!(f(&fast["total"]["floor_s"]) < f(&v["total"]["floor_s"]), "a fast GELU has a lower floor");

    let text = s.good("explain t.mnxa").out;
    for word in ["nominal machine", "350 GFLOP/s", "depthwise.ring + merge.stats", "mlp.tile", "network", "x86-64-v4", "arena"] {
        assert!(text.contains(word), "no {word} in\n{text}");
    }
}

#[cfg(unix)]
#[test]
fn measurements_are_the_runners() {
    let s = tiny();
    let said = report(s.path("t.mnxa"));
    runner(&s, &said.to_string());
    let out = s.good("explain t.mnxa --measure --runner ./fake --threads 3 --runs 4 --json e.json --html e.html").out;
    assert!(
        out.contains("2 GFLOP/s")
            && out.contains("1.0 GB/s")
            && out.contains("measured 500.000 ms")
            && out.contains("fastest run 250.000 ms"),
        "{out}"
    );
    assert_eq!(s.text("asked").trim(), "bench t.mnxa --per-dispatch --json - --runs 4 --threads 3");
    let v: Value = serde_json::from_str(&s.text("e.json")).unwrap();
    assert_eq!(
        (v["target"].as_str(), v["threads"].as_u64(), v["memory"]["peak_bytes"].as_u64()),
        (Some("x86-64-v3"), Some(3), Some(12_345_678))
    );
    for (i, r) in v["dispatches"].as_array().unwrap().iter().enumerate() {
        assert_eq!(r["measured_s"].as_f64(), Some(claimed(i)));
        let percent = r["percent_of_floor"].as_f64().unwrap();
        assert!((percent - 100.0 * r["floor_s"].as_f64().unwrap() / claimed(i)).abs() < 1e-9);
    }
    let times = v["times_the_floor"].as_f64().unwrap();
    assert!((times - 0.5 / v["total"]["floor_s"].as_f64().unwrap()).abs() < 1e-9);

    let page = s.text("e.html");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for outside in ["http:", "https:", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(outside), "the page reaches outside: {outside}");
    }
    let rows = v["dispatches"].as_array().unwrap();
    assert_eq!(page.matches("class=\"bar\"").count(), rows.len());
    assert_eq!(page.matches("<tr>").count(), rows.len() + 2, "a header, the dispatches, the network");
    assert!(rows.iter().all(|r| page.contains(r["dispatch"].as_str().unwrap())));
}

#[cfg(unix)]
#[test]
fn bad_bundles_and_bad_runners_are_named() {
    let s = tiny();
    s.file("junk.mnxa", "not a bundle");
    s.bad("explain none.mnxa", 1, &["none.mnxa", "no such file"]);
    s.bad("explain junk.mnxa", 1, &["junk.mnxa"]);
    s.bad("explain t.mnxa --isa sm_90a", 1, &["no code for sm_90a", "x86-64-v3"]);
    s.bad("explain t.mnxa --html no/where.html", 1, &["directory no does not exist"]);
    s.bad("explain t.mnxa --measure --runner ./none", 1, &["./none", "runtime binary", "--runner"]);
    for (says, text) in [
        ("hello", "JSON"),
        ("{\"isa\": \"x86-64-v3\"}", "missing field"),
        (&*report(s.path("t.mnxa")).to_string().replace("x86-64-v3", "riscv"), "no code for riscv"),
        (&*report(s.path("t.mnxa")).to_string().replace("\"median_s\":0.5", "\"median_s\":-0.5"), "a time of -0.5"),
        (&*report(s.path("t.mnxa")).to_string().replace("2000000000.0", "0.0"), "no roofline"),
    ] {
        runner(&s, says);
        s.file("asked", "");
        s.bad("explain t.mnxa --measure --runner ./fake --quiet", 1, &[text]);
    }
    s.file("fake", "#!/bin/sh\necho broken machine >&2\nexit 3\n");
    s.bad("explain t.mnxa --measure --runner ./fake", 1, &["failed", "broken machine"]);
}

/// A stand-in for ptxas: of every entry the same figures, and no cubin to speak of.
#[cfg(unix)]
const PTXAS: &str = r#"#!/bin/sh
: > kernels.cubin
grep -o '\.entry [A-Za-z0-9_]*' kernels.ptx | while read -r _ name; do
  echo "ptxas info    : Compiling entry function '$name' for 'sm_90a'"
  echo "ptxas info    : Function properties for $name"
  echo "    8 bytes stack frame, 16 bytes spill stores, 20 bytes spill loads"
  echo "ptxas info    : Used 77 registers, used 1 barriers"
done
"#;

#[cfg(unix)]
#[test]
fn kernels_and_dispatches_name_each_other() {
    use std::os::unix::fs::PermissionsExt;
    let s = Scratch::new();
    s.file("tiny.toml", TINY);
    s.good("compile tiny.toml --seed 1 --patch 32,16,16 --vectors none --target x86-64-v3,sm_90a -o g.mnxa");
    s.file("ptxas", PTXAS);
    std::fs::set_permissions(s.path("ptxas"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let explain = |rest: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mnxc"));
        command.args(["explain", "g.mnxa"]).args(rest.split_whitespace()).current_dir(s.path(".")).env("MNX_PTXAS", s.path("ptxas"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = explain("--isa sm_90a --json g.json --html g.html");
    let (v, page): (Value, String) = (serde_json::from_str(&s.text("g.json")).unwrap(), s.text("g.html"));
    let (kernels, rows) = (v["kernels"].as_array().unwrap(), v["dispatches"].as_array().unwrap());
    // Both directions are what the launch list says.
    let bundle = Bundle::open(s.path("g.mnxa")).unwrap();
    let mut launches = 0;
    for c in &bundle.manifest().programs[1].commands {
        let Command::Launch { dispatch, kernel, .. } = c else { continue };
        launches += 1;
        let row = rows.iter().find(|r| r["dispatch"] == **dispatch).unwrap();
        assert!(row["kernels"].as_array().unwrap().contains(&json!(kernel)), "{row} lacks {kernel}");
        let taken = kernels.iter().find(|k| k["kernel"] == **kernel).unwrap();
        assert!(taken["dispatches"].as_array().unwrap().contains(&json!(dispatch)), "{taken} lacks {dispatch}");
        assert_eq!((taken["registers"].as_u64(), taken["spilled_bytes"].as_u64()), (Some(77), Some(36)));
    }
    let named = |list: &[Value], key: &str| list.iter().map(|r| r[key].as_array().unwrap().len()).sum::<usize>();
    assert!(launches > 0 && named(rows, "kernels") == named(kernels, "dispatches") && named(rows, "kernels") <= launches);

    let table = text.split("kernels, as ptxas assembles them for sm_90a:\n").nth(1).unwrap();
    assert!(table.lines().next().unwrap().split_whitespace().take(2).eq(["kernel", "dispatch"]), "{table}");
    let occupied = page.split("<h2>Kernels, as ptxas assembles them for sm_90a</h2>").nth(1).unwrap();
    for word in ["registers", "spilled B", "shared B", "occupancy %"] {
        assert!(occupied.contains(&format!(">{word}</button>")), "no {word} in {occupied}");
    }
    assert_eq!(page.matches("<tr>").count(), rows.len() + 2 + kernels.len() + 1);
    for (k, line) in kernels.iter().zip(table.lines().skip(1)) {
        let dispatches = k["dispatches"].as_array().unwrap();
        let (kernel, first) = (k["kernel"].as_str().unwrap(), dispatches[0].as_str().unwrap());
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..2], [kernel, first], "{line}");
        assert_eq!(line.contains(&format!("and {} more", dispatches.len() - 1)), dispatches.len() > 1, "{line}");
        let row = occupied.lines().find(|l| l.contains(&format!("<tr><td data-v=\"{kernel}\""))).unwrap();
        let cell = |value: String| row.contains(&format!(">{value}</td>"));
        assert!(cell("77".into()) && cell("36".into()) && cell(k["threads"].to_string()) && cell(k["shared_bytes"].to_string()), "{row}");
        assert!(dispatches.iter().all(|d| row.contains(d.as_str().unwrap())), "{row}");
    }
    // A CPU's kernels are named too, and have no such table.
    let host: Value = serde_json::from_str(&explain("--isa x86-64-v3 --html h.html --json -")).unwrap();
    assert!(host["dispatches"].as_array().unwrap().iter().all(|r| !r["kernels"].as_array().unwrap().is_empty()), "{host}");
    assert!(host["kernels"].is_null() && !s.text("h.html").contains("ptxas"));
}
