//! The command line on GPUs, over a driver without one (see `fake_cuda`), and without a driver.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used)]

#[path = "../../runtime/tests/fake_cuda/mod.rs"]
mod fake_cuda;
#[path = "../../runtime/tests/sample/mod.rs"]
mod sample;

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use mnx_weights::{Checkpoint, Tensor};
use sample::{PATCH, expected, input};
use serde_json::Value;

const W: [f32; 2] = [1.5, -0.75];
const B: [f32; 2] = [0.125, 0.25];

/// `mnx` with the fake driver and these settings.
fn mnx(args: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut process = Process::new(env!("CARGO_BIN_EXE_mnx"));
    process
        .args(args)
        .env_remove("MNX_DEVICE")
        .env("LD_LIBRARY_PATH", fake_cuda::install())
        .envs(settings.iter().copied())
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", err(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap()
}

/// A bundle for GPUs of capability 8.0 (PTX) and 9.0 (cubin), and for the host.
fn fat(dir: &Path) -> PathBuf {
    let manifest = sample::manifest(vec![
        fake_cuda::program("sm_80", [8, 0], false, [7, 0]),
        fake_cuda::program("sm_90a", [9, 0], true, [8, 0]),
        sample::program("x86-64-v3", &[]),
    ]);
    let codes = [
        (fake_cuda::ptx(dir, "7.0", "sm_80"), None),
        (fake_cuda::ptx(dir, "8.0", "sm_90a"), Some(fake_cuda::cubin(dir, 90))),
        (sample::host_code(dir), None),
    ];
    fake_cuda::bundle(dir, &manifest, &codes, W, B)
}

fn save(path: &Path, data: Vec<f32>) {
    let tensor = Tensor::new([&[1, 1][..], &PATCH].concat(), data);
    let ckpt: Checkpoint = [("input".to_owned(), tensor)].into_iter().collect();
    ckpt.save(path).unwrap();
}

#[test]
fn devices_lists_gpus_or_says_why_there_are_none() {
    let said = out(&mnx(&["devices"], &[("FAKE_CUDA_DEVICES", "2")]));
    assert!(said.contains("host") && said.contains("cuda:0  Fake GPU 0, compute capability 9.0") && said.contains("cuda:1"), "{said}");
    assert!(said.contains("driver for CUDA 12.8, PTX up to 8.7"), "{said}");
    let listed = json(&mnx(&["devices", "--json"], &[("FAKE_CUDA_DEVICES", "2"), ("FAKE_CUDA_CC", "86")]));
    assert_eq!(listed["gpus"].as_array().unwrap().len(), 2);
    let gpu = &listed["gpus"][1];
    assert_eq!((gpu["device"].as_str(), gpu["compute_capability"].as_str()), (Some("cuda:1"), Some("8.6")));
    assert_eq!((gpu["highest_ptx"].as_str(), gpu["free_bytes"].as_u64()), (Some("8.7"), Some(1 << 30)));
    assert!(listed["no_gpu"].is_null() && listed["host"]["threads"].as_u64().unwrap() > 0);
    let none = json(&mnx(&["devices", "--json"], &[("FAKE_CUDA_INIT", "100")]));
    assert!(none["gpus"].as_array().unwrap().is_empty());
    assert!(none["no_gpu"].as_str().unwrap().contains("finds no GPU"));

    // Whatever this machine has, without the fake driver: an answer, no panic.
    let real = Process::new(env!("CARGO_BIN_EXE_mnx")).arg("devices").output().unwrap();
    assert!(out(&real).contains("host"));
}

#[test]
fn auto_takes_the_gpu_where_there_is_one_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (m, x, y) = (fat(dir.path()), dir.path().join("x.safetensors"), dir.path().join("y.safetensors"));
    save(&x, input("gpu"));
    let [m, x, y] = [m, x, y].map(|p| p.to_str().unwrap().to_owned());
    let run = |more: &[&str], settings: &[(&str, &str)]| {
        let _ = std::fs::remove_file(&y);
        let output = mnx(&[&["run", &m, "-i", &x, "-o", &y], more].concat(), settings);
        if output.status.success() {
            let file = std::fs::read(&y).unwrap();
            let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
            assert_eq!(tensors.tensor("out_0").unwrap().data(), bytemuck::cast_slice::<f32, u8>(&expected(&input("gpu"), W, B).0));
        }
        output
    };
    let auto = run(&[], &[]);
    assert!(out(&auto).contains("(cuda:0 Fake GPU 0, sm_90a cubin)"), "{}", out(&auto));
    assert_eq!(err(&auto), "note: picked sm_90a cubin on Fake GPU 0 (cuda:0, compute capability 9.0)\n");
    assert_eq!(err(&run(&["--quiet"], &[])), "");
    assert!(out(&run(&[], &[("FAKE_CUDA_CC", "86")])).contains("sm_80 PTX"));
    assert!(out(&run(&["--isa", "sm_80"], &[])).contains("sm_80 PTX"));
    assert!(out(&run(&["--device", "host"], &[])).contains("(host, x86-64-v3"));
    assert!(out(&run(&[], &[("MNX_DEVICE", "host")])).contains("(host, x86-64-v3"));
    assert!(out(&run(&["--check"], &[])).contains("cuda:0"));

    let none = run(&[], &[("FAKE_CUDA_INIT", "100")]);
    assert!(out(&none).contains("(host, x86-64-v3"));
    assert_eq!(err(&none), "note: running on the host: cuda: the NVIDIA driver finds no GPU\n");
    for (more, settings, reason) in [
        (vec!["--device", "cuda"], vec![("FAKE_CUDA_INIT", "100")], "finds no GPU"),
        (vec!["--device", "cuda:3"], vec![], "there is no GPU 3"),
        (vec!["--device", "cuda"], vec![("FAKE_CUDA_CC", "75")], "needs compute capability 8.0, this GPU has 7.5"),
        (vec!["--device", "cuda"], vec![("FAKE_CUDA_FREE", "0")], "0 MiB of 0 MiB are free"),
        (vec!["--device", "cuda:all"], vec![("FAKE_CUDA_DEVICES", "2")], "name one"),
        (vec!["--device", "cuda", "--isa", "x86-64-v3"], vec![], "another kind of device"),
    ] {
        let output = run(&more, &settings);
        assert_eq!(output.status.code(), Some(1), "{more:?}");
        assert!(err(&output).contains(reason) && err(&output).contains("gpu.mnxa"), "{reason}: {}", err(&output));
        assert!(!Path::new(&y).exists());
    }
    assert_eq!(mnx(&["run", &m, "-i", &x, "-o", &y], &[("MNX_DEVICE", "abacus")]).status.code(), Some(2));
}

#[test]
fn bench_times_launches_by_the_gpus_clock_and_writes_a_chrome_trace() {
    let dir = tempfile::tempdir().unwrap();
    let (m, t) = (fat(dir.path()), dir.path().join("trace.json"));
    let (m, t) = (m.to_str().unwrap(), t.to_str().unwrap());
    for device in ["cuda", "host"] {
        let report = json(&mnx(&["bench", m, "--device", device, "--runs", "3", "--json", "-", "--trace-json", t], &[]));
        for key in ["median_s", "gflops", "gbytes_per_s", "percent_of_roofline"] {
            assert!(report[key].as_f64().unwrap() > 0.0, "{device} {key}: {report}");
        }
        assert_eq!(report["compute_s"].is_null(), device == "host");
        assert!(device == "host" || report["compute_s"]["median"].as_f64().unwrap() > 0.0);
        assert_eq!(report["device"], device);
        assert!(report["roofline"]["about"].as_str().unwrap().contains("measured now"));
        let names: Vec<&str> = report["dispatches"].as_array().unwrap().iter().map(|d| d["dispatch"].as_str().unwrap()).collect();
        assert_eq!(names, ["(fill)", "block", "(copy)", "head"]);

        let trace: Value = serde_json::from_slice(&std::fs::read(t).unwrap()).unwrap();
        let events = trace["traceEvents"].as_array().unwrap();
        let spans: Vec<&Value> = events.iter().filter(|e| e["ph"] == "X").collect();
        assert_eq!(spans.len(), 5);
        let mut end = 0.0;
        for span in &spans {
            assert!((span["ts"].as_f64().unwrap() - end).abs() < 1e-6);
            end = span["ts"].as_f64().unwrap() + span["dur"].as_f64().unwrap();
        }
        assert_eq!((spans[1]["name"].as_str(), spans[1]["args"]["kernel"].as_str()), (Some("block"), Some("affine")));
        assert!(events.iter().any(|e| e["name"] == "process_name" && e["args"]["name"].as_str().unwrap().contains(device)));
    }
    let said = out(&mnx(&["bench", m, "--device", "cuda", "--runs", "2", "--per-dispatch", "--check"], &[]));
    for words in
        ["cuda:0 Fake GPU 0, sm_90a cubin", "by the device's clock", "TFLOP/s", "GB/s", "device copy, measured now", "not measured"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(mnx(&["bench", m, "--json", t, "--trace-json", t], &[]).status.code(), Some(1));
}

#[test]
fn predictions_are_the_hosts_to_the_last_bit_on_any_number_of_gpus() {
    use mnx_volume::{Header, write_f32};
    let dir = tempfile::tempdir().unwrap();
    let (m, image) = (fat(dir.path()), dir.path().join("image.nii.gz"));
    let shape = [7, 9, 17];
    let voxels: Vec<f32> = mnx_weights::det("gpu predict", shape.iter().product()).map(|v| (100.0 + 30.0 * v) as f32).collect();
    let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    write_f32(&image, &voxels, 1, &Header::new(shape, affine).unwrap()).unwrap();
    let mut results = Vec::new();
    for (device, settings) in [
        ("host", vec![]),
        ("cuda", vec![("FAKE_CUDA_SEED", "4")]),
        ("cuda:all", vec![("FAKE_CUDA_DEVICES", "3"), ("FAKE_CUDA_SEED", "5")]),
        ("cuda:all", vec![("FAKE_CUDA_DEVICES", "2"), ("FAKE_CUDA_SEED", "6")]),
    ] {
        let (seg, p) = (dir.path().join("seg.nii"), dir.path().join("p.nii"));
        let [m, i, s, q] = [&m, &image, &seg, &p].map(|p| p.to_str().unwrap());
        let args = ["predict", m, "-i", i, "-o", s, "--probabilities", q, "--tta", "--threads", "1", "--device", device, "--json"];
        let report = json(&mnx(&args, &settings));
        let gpus = settings.iter().find(|(k, _)| *k == "FAKE_CUDA_DEVICES").map_or(1, |(_, n)| n.parse().unwrap());
        assert_eq!(report["devices"].as_array().unwrap().len(), gpus, "{report}");
        assert_eq!(report["device"], if device == "host" { "host" } else { "cuda" });
        results.push((std::fs::read(&seg).unwrap(), std::fs::read(&p).unwrap()));
        std::fs::remove_file(&seg).unwrap();
    }
    assert!(results.iter().all(|r| *r == results[0]));

    // A folder in which the second case is bad: the others come out, on the same GPUs.
    let (cases, out_dir) = (dir.path().join("cases"), dir.path().join("out"));
    std::fs::create_dir(&cases).unwrap();
    for (name, odd) in [("a", false), ("b", true), ("c", false)] {
        let mut v = voxels.clone();
        if odd {
            v.truncate(10);
        }
        let path = cases.join(format!("{name}_0000.nii.gz"));
        if odd {
            std::fs::write(&path, b"no image").unwrap()
        } else {
            write_f32(&path, &v, 1, &Header::new(shape, affine).unwrap()).unwrap()
        }
    }
    let args =
        ["predict", m.to_str().unwrap(), "-i", cases.to_str().unwrap(), "-o", out_dir.to_str().unwrap(), "--device", "cuda:all", "--check"];
    let output = mnx(&args, &[("FAKE_CUDA_DEVICES", "2")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("1 of 3 cases failed"), "{}", err(&output));
    assert!(out_dir.join("a.nii.gz").exists() && out_dir.join("c.nii.gz").exists() && !out_dir.join("b.nii.gz").exists());
}

#[test]
fn records_hold_what_each_kernel_read_and_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let (m, f) = (fat(dir.path()), dir.path().join("k.safetensors"));
    let [m, f] = [m, f].map(|p| p.to_str().unwrap().to_owned());
    let said = out(&mnx(&["record", &m, "-o", &f, "--device", "cuda"], &[]));
    assert!(said.contains("2 launches on cuda:0 Fake GPU 0, sm_90a cubin"), "{said}");
    let file = std::fs::read(&f).unwrap();
    assert!(file.len() < 1_000_000);
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let read = |name: &str| -> Vec<f32> {
        tensors.tensor(name).unwrap().data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let (y, counts) = expected(&read("1.affine.before.0"), W, B);
    assert_eq!((read("1.affine.before.1"), read("1.affine.before.2")), (W.to_vec(), B.to_vec()));
    assert!(read("1.affine.before.3").iter().all(|v| v.is_nan()), "the fill before the launch");
    assert_eq!((read("1.affine.after.3"), read("4.count.before.0")), (y.clone(), y));
    let counted: Vec<u8> = counts.iter().flat_map(|n| n.to_le_bytes()).collect();
    assert_eq!(tensors.tensor("4.count.after.1").unwrap().data(), counted);
    let (_, header) = safetensors::SafeTensors::read_metadata(&file).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert!(metadata["launch 1"].contains("\"grid\":[15,2,1]") && metadata["target"] == "sm_90a", "{metadata:?}");

    let said = out(&mnx(&["record", &m, "-o", &f, "--device", "cuda", "--limit", "6000"], &[]));
    assert!(said.contains("1 launch on") && said.contains("1 kernel too large for --limit left out"), "{said}");
    let none = mnx(&["record", &m, "-o", &f, "--device", "cuda", "--limit", "10"], &[]);
    assert!(none.status.code() == Some(1) && err(&none).contains("--limit"), "{}", err(&none));
    // The host's program of this bundle does not say what it writes.
    let host = mnx(&["record", &m, "-o", &f, "--device", "host"], &[]);
    assert!(host.status.code() == Some(1) && err(&host).contains("compile it anew"), "{}", err(&host));
}

#[test]
fn checks_stop_at_the_first_bad_dispatch() {
    let dir = tempfile::tempdir().unwrap();
    let (x, y) = (dir.path().join("x.safetensors"), dir.path().join("y.safetensors"));
    save(&x, vec![3.0; 105]);
    let manifest = sample::manifest(vec![fake_cuda::program("sm_90a", [9, 0], true, [8, 0])]);
    let codes = [(fake_cuda::ptx(dir.path(), "8.0", "sm_90a"), None)];
    let m = fake_cuda::bundle(dir.path(), &manifest, &codes, [1.0, f32::MAX], [0.0, 0.0]);
    let [m, x, y] = [m, x, y].map(|p| p.to_str().unwrap().to_owned());
    let output = mnx(&["run", &m, "-i", &x, "-o", &y, "--check"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("dispatch block (kernel affine, argument 3): 0 NaN and 105 infinite of 210 values"), "{}", err(&output));
    assert!(!Path::new(&y).exists());
    // The host has no code in it: the reason is the GPU's.
    let output = mnx(&["run", &m, "-i", &x, "-o", &y], &[("FAKE_CUDA_CC", "80")]);
    assert!(
        err(&output).contains("code for GPUs alone") && err(&output).contains("runs on compute capability 9.0 alone"),
        "{}",
        err(&output)
    );
}

#[test]
fn bench_says_that_the_check_passed_and_where_the_trace_is() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = sample::manifest(vec![fake_cuda::program("sm_90a", [9, 0], true, [8, 0])]);
    let codes = [(fake_cuda::ptx(dir.path(), "8.0", "sm_90a"), None)];
    let m = fake_cuda::bundle(dir.path(), &manifest, &codes, [1.0, 0.5], [0.0, 0.0]);
    let [m, trace] = [m, dir.path().join("t.json")].map(|p| p.to_str().unwrap().to_owned());
    let line = ["bench", &m, "--runs", "1", "--check", "--trace-json", &trace];
    let output = mnx(&line, &[]);
    let said = err(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(&format!("note: {m}: every dispatch gave finite numbers\n")), "{said}");
    assert!(said.contains(&format!("note: {trace}: the trace of the last run\n")) && Path::new(&trace).is_file(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(", 1 run after one to warm up"));
    assert_eq!(err(&mnx(&[&["-q"], &line[..]].concat(), &[])), "");
}
