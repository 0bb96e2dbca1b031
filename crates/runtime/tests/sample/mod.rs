//! A hand-written bundle: a two-channel affine map with a clamp, in C, for two targets.
#![allow(clippy::unwrap_used, dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command as Process;

use mnx_artifact::{BufferRef, BundleWriter, Command, Cost, Manifest, ModelCard, Port, Program, Space, WeightEntry};
use mnx_weights::det;

/// Odd sizes on purpose.
pub const PATCH: [usize; 3] = [3, 5, 7];
pub const VOXELS: usize = 3 * 5 * 7;
pub const CHANNELS: usize = 2;

/// `out_0[c] = max(0, w[c] * input + b[c])`, staged through scratch one row at a time; `out_1` counts channels above 0.5 as i32.
/// Each row goes through the thread's scratch, so sharing scratch between threads would show.
/// The kernels in C.
pub const SOURCE: &str = r#"
#include <stdint.h>
#define ROW 7
#define ROWS 15
#define VOXELS 105
void affine(const void *const *buffers, uint64_t workgroup, void *scratch) {
    const float *x = buffers[0], *w = buffers[1], *b = buffers[2];
    float *out = (float *)buffers[3];
    float *row = scratch;
    uint64_t c = workgroup / ROWS, r = workgroup % ROWS;
    if ((uintptr_t)scratch % 64) return;
    for (int i = 0; i < ROW; ++i) row[i] = w[c] * x[r * ROW + i] + b[c];
    for (volatile int spin = 0; spin < 2000; ++spin) {}
    for (int i = 0; i < ROW; ++i) out[c * VOXELS + r * ROW + i] = row[i] > 0 ? row[i] : 0;
}
void count(const void *const *buffers, uint64_t workgroup, void *scratch) {
    const float *y = buffers[0];
    int32_t *out = (int32_t *)buffers[1];
    (void)scratch;
    for (int i = 0; i < ROW; ++i) {
        uint64_t v = workgroup * ROW + i;
        out[v] += (y[v] > 0.5f) + (y[VOXELS + v] > 0.5f);
    }
}
"#;

pub fn arena(offset: u64, bytes: u64) -> BufferRef {
    BufferRef { space: Space::Arena, offset, bytes }
}

fn weights(offset: u64, bytes: u64) -> BufferRef {
    BufferRef { space: Space::Weights, offset, bytes }
}

pub fn program(target: &str, requires: &[&str]) -> Program {
    let f = (VOXELS * 4) as u64;
    let launch = |dispatch: &str, kernel: &str, args: Vec<BufferRef>, workgroups: u64| Command::Launch {
        dispatch: dispatch.into(),
        kernel: kernel.into(),
        args,
        workgroups,
        cost: Cost { flops: 2 * workgroups * 7, bytes: 8 * workgroups * 7, gelus: 0 },
        geometry: None,
        writes: vec![],
    };
    Program {
        target: target.into(),
        requires: requires.iter().map(|&r| r.into()).collect(),
        arena_bytes: 4096,
        scratch_bytes: 28,
        inputs: vec![arena(0, f)],
        outputs: vec![arena(2048, 2 * f), arena(3072, f)],
        commands: vec![
            Command::Fill { dst: arena(0x200, 2 * f), value: 0xff },
            launch("block", "affine", vec![arena(0, f), weights(0, 8), weights(64, 8), arena(0x200, 2 * f)], 30),
            Command::Copy { src: arena(0x200, 2 * f), dst: arena(2048, 2 * f) },
            Command::Fill { dst: arena(3072, f), value: 0 },
            launch("head", "count", vec![arena(2048, 2 * f), arena(3072, f)], 15),
        ],
        precision: "f32".into(),
        gpu: None,
    }
}

pub fn manifest(programs: Vec<Program>) -> Manifest {
    let port = |name: &str, channels: usize, dtype: &str| Port {
        name: name.into(),
        shape: [&[1, channels][..], &PATCH].concat(),
        dtype: dtype.into(),
    };
    let entry = |name: &str, offset| WeightEntry {
        name: name.into(),
        offset,
        bytes: 8,
        recipe: serde_json::json!({"op": "source", "key": name, "shape": [2]}),
    };
    Manifest {
        compiler: "by hand".into(),
        model: ModelCard {
            name: "affine".into(),
            flavour: "official".into(),
            spatial_dims: 3,
            in_channels: 1,
            n_classes: CHANNELS,
            parameters: 4,
            macs: 210,
            output: "logits".into(),
            config: serde_json::Value::Null,
        },
        batch: 1,
        patch: PATCH.to_vec(),
        precision: "f32".into(),
        gelu: "accurate".into(),
        inputs: vec![port("input", 1, "f32")],
        outputs: vec![port("out_0", CHANNELS, "f32"), port("out_1", 1, "i32")],
        weights: vec![entry("w", 0), entry("b", 64)],
        folds: mnx_artifact::Fold::only(),
        programs,
        preprocess: None,
        inference: None,
        channels: Vec::new(),
        labels: vec![],
        vectors: None,
        formula: None,
        source_digest: String::new(),
        notes: vec![],
    }
}

/// The weights section: `w` at 0, `b` at 64.
pub fn weight_bytes(w: [f32; 2], b: [f32; 2]) -> Vec<u8> {
    let mut bytes = vec![0; 72];
    bytes[..8].copy_from_slice(bytemuck::cast_slice(&w));
    bytes[64..].copy_from_slice(bytemuck::cast_slice(&b));
    bytes
}

/// Compiles C to a shared object.
pub fn compile(dir: &Path, source: &str) -> Vec<u8> {
    let (c, so) = (dir.join("kernels.c"), dir.join("kernels.so"));
    std::fs::write(&c, source).unwrap();
    let status = Process::new("cc")
        .args(["-O1", "-ffp-contract=off", "-shared", "-fPIC", "-o"])
        .arg(&so)
        .arg(&c)
        .status()
        .expect("cc is needed for this test");
    assert!(status.success());
    std::fs::read(&so).unwrap()
}

/// The sample's kernels for the host.
pub fn host_code(dir: &Path) -> Vec<u8> {
    compile(dir, SOURCE)
}

/// Writes the bundle of a manifest, one code for all programs.
pub fn bundle(dir: &Path, manifest: &Manifest, w: [f32; 2], b: [f32; 2]) -> PathBuf {
    let code = compile(dir, SOURCE);
    let weights = weight_bytes(w, b);
    let mut writer = BundleWriter::new(manifest).weights(&weights);
    for _ in &manifest.programs {
        writer = writer.code(&code);
    }
    let path = dir.join("affine.mnxa");
    writer.write(&path).unwrap();
    path
}

pub fn input(name: &str) -> Vec<f32> {
    det(name, VOXELS).map(|v| v as f32).collect()
}

/// What the kernels should compute.
pub fn expected(x: &[f32], w: [f32; 2], b: [f32; 2]) -> (Vec<f32>, Vec<i32>) {
    let mut y = Vec::new();
    for c in 0..CHANNELS {
        y.extend(x.iter().map(|v| (w[c] * v + b[c]).max(0.0)));
    }
    let counts = (0..VOXELS).map(|v| i32::from(y[v] > 0.5) + i32::from(y[VOXELS + v] > 0.5)).collect();
    (y, counts)
}
