//! Whole kernels as LLVM compiles them (`tests/ptx/kernels.cu`), run with every check on and compared with plain loops.
#![allow(clippy::unwrap_used)]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use mnx_ptx_sim::tensor::MmaModel;
use mnx_ptx_sim::{Launch, Memory, Module, Options, launch};

const TEXT: &str = include_str!("ptx/kernels.sm_80.ptx");

/// Device memory, a source of random numbers and the launch of one kernel after the other.
struct Bench {
    module: Module,
    memory: Memory,
    seed: u64,
    state: u64,
}

impl Bench {
    fn new() -> Self {
        let given = std::env::var("MNX_TEST_SEED").ok().and_then(|s| s.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        Self { module: Module::parse(TEXT).unwrap(), memory: Memory::new(), seed, state: seed | 1 }
    }

    /// In [-1, 1).
    fn number(&mut self) -> f32 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 40) as f32 / 8_388_608.0 - 1.0
    }

    fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }

    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.memory.alloc(bytes.len() as u64, 256);
        self.memory.write(at, bytes).unwrap();
        at
    }

    fn put_f32(&mut self, values: &[f32]) -> u64 {
        self.put(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// Memory that nobody has written.
    fn room(&mut self, words: usize) -> u64 {
        self.memory.alloc(4 * words as u64, 256)
    }

    fn words(&self, at: u64, n: usize) -> Vec<u32> {
        let mut bytes = vec![0; 4 * n];
        self.memory.read(at, &mut bytes).unwrap();
        bytes.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect()
    }

    fn floats(&self, at: u64, n: usize) -> Vec<f32> {
        self.words(at, n).into_iter().map(f32::from_bits).collect()
    }

    fn launch(&mut self, kernel: &str, grid: [u32; 3], block: u32, params: Vec<u64>) {
        let what = Launch { kernel, grid, block: [block, 1, 1], dynamic_shared: 0, params };
        let options = Options { seed: self.seed, model: MmaModel::Exact, ..Options::default() };
        let report = launch(&self.module, &mut self.memory, &what, &options).unwrap();
        assert!(report.is_clean(), "{kernel} (MNX_TEST_SEED={}): {:#?}", self.seed, report.findings);
    }
}

fn close(got: &[f32], want: &[f64], bound: f64, what: &str) {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0f64, |m, w| m.max(w.abs()));
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(g) - w).abs() <= bound * largest, "{what}: element {i} is {g}, expected {w}");
    }
}

#[test]
fn depthwise_convolution() {
    for (n, channels) in [(5usize, 3usize), (8, 2), (16, 1), (1, 4)] {
        let mut bench = Bench::new();
        let (x, k, b) = (bench.numbers(channels * n * n * n), bench.numbers(27 * channels), bench.numbers(channels));
        let (px, pk, pb, out) = (bench.put_f32(&x), bench.put_f32(&k), bench.put_f32(&b), bench.room(x.len()));
        bench.launch("dwconv3", [channels as u32, 1, 1], 256, vec![px, pk, pb, out, n as u64]);
        let at = |c: usize, z: i64, y: i64, x_: i64| {
            let inside = [z, y, x_].iter().all(|&i| (0..n as i64).contains(&i));
            if inside { f64::from(x[((c * n + z as usize) * n + y as usize) * n + x_ as usize]) } else { 0.0 }
        };
        let mut want = Vec::new();
        for c in 0..channels {
            for p in 0..(n * n * n) as i64 {
                let (z, y, x_) = (p / (n * n) as i64, p / n as i64 % n as i64, p % n as i64);
                let taps =
                    (0..27).map(|t: i64| at(c, z + t / 9 - 1, y + t / 3 % 3 - 1, x_ + t % 3 - 1) * f64::from(k[27 * c + t as usize]));
                want.push(f64::from(b[c]) + taps.sum::<f64>());
            }
        }
        close(&bench.floats(out, want.len()), &want, 1e-6, "dwconv3");
    }
}

#[test]
fn normalisation() {
    for (rows, length) in [(3usize, 100usize), (1, 7), (2, 1000)] {
        let mut bench = Bench::new();
        let x = bench.numbers(rows * length);
        let (px, out) = (bench.put_f32(&x), bench.room(x.len()));
        bench.launch("normalise", [rows as u32, 1, 1], 128, vec![px, out, length as u64]);
        let want: Vec<f64> = x
            .chunks(length)
            .flat_map(|row| {
                let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / length as f64;
                let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / length as f64;
                row.iter().map(move |&v| (f64::from(v) - mean) / (variance + 1e-5).sqrt()).collect::<Vec<f64>>()
            })
            .collect();
        close(&bench.floats(out, want.len()), &want, 2e-5, "normalise");
    }
}

#[test]
fn softmax_and_best_class() {
    for classes in [1usize, 5, 32] {
        let mut bench = Bench::new();
        let voxels = 12;
        let mut x: Vec<f32> = bench.numbers(voxels * classes).iter().map(|v| 5.0 * v).collect();
        if classes > 2 {
            // Equal best classes: the lower one wins.
            x[1] = 9.0;
            x[2] = 9.0;
        }
        let (px, out, best) = (bench.put_f32(&x), bench.room(x.len()), bench.room(voxels));
        bench.launch("softmax", [voxels as u32 / 4, 1, 1], 128, vec![px, out, best, classes as u64]);
        let mut want = Vec::new();
        for (v, row) in x.chunks(classes).enumerate() {
            let top = row.iter().fold(f32::NEG_INFINITY, |m, &v| m.max(v));
            let sum: f64 = row.iter().map(|&v| f64::from(v - top).exp()).sum();
            want.extend(row.iter().map(|&v| f64::from(v - top).exp() / sum));
            assert_eq!(bench.words(best, voxels)[v] as usize, row.iter().position(|&v| v == top).unwrap());
        }
        close(&bench.floats(out, want.len()), &want, 1e-6, "softmax");
    }
}

#[test]
fn histogram_by_atomics() {
    for n in [1usize, 1000, 5000] {
        let mut bench = Bench::new();
        let bytes: Vec<u8> = bench.numbers(n).iter().map(|v| ((v + 1.0) * 20.0) as u8).collect();
        let (input, bins) = (bench.put(&bytes), bench.put(&[0; 1024]));
        bench.launch("histogram", [3, 1, 1], 256, vec![input, bins, n as u64]);
        let mut want = vec![0; 256];
        bytes.iter().for_each(|&b| want[b as usize] += 1);
        assert_eq!(bench.words(bins, 256), want);
    }
}

#[test]
fn matrix_product_on_tensor_cores() {
    for (m, n, k) in [(64usize, 64usize, 32usize), (128, 64, 96), (64, 192, 64)] {
        let mut bench = Bench::new();
        let mut rounded = |count| {
            let bits: Vec<u16> = bench.numbers(count).iter().map(|&v| half::bf16::from_f32(v).to_bits()).collect();
            let values: Vec<f64> = bits.iter().map(|&b| half::bf16::from_bits(b).to_f64()).collect();
            (bits.iter().flat_map(|b| b.to_le_bytes()).collect::<Vec<u8>>(), values)
        };
        let ((ba, a), (bb, b)) = (rounded(m * k), rounded(n * k));
        let (pa, pb, out) = (bench.put(&ba), bench.put(&bb), bench.room(m * n));
        bench.launch("gemm_bf16", [n as u32 / 64, m as u32 / 64, 1], 128, vec![pa, pb, out, n as u64, k as u64]);
        let want: Vec<f64> = (0..m * n).map(|p| (0..k).map(|l| a[p / n * k + l] * b[p % n * k + l]).sum()).collect();
        close(&bench.floats(out, m * n), &want, 1e-6, "gemm_bf16");
    }
}
