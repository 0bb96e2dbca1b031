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
