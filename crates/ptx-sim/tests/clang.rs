//! Kernels that clang and LLVM's NVPTX back end have compiled, against plain Rust.
#![allow(clippy::unwrap_used)]

mod rig;

use mnx_ptx_sim::{Launch, Report, launch};
use rig::{Random, Rig};

const SCALAR: &str = include_str!("clang_kernels/scalar.ptx");
const TENSOR: &str = include_str!("clang_kernels/tensor.ptx");

fn run(rig: &mut Rig, kernel: &str, grid: [u32; 3], block: [u32; 3], params: &[u64]) -> Report {
    let what = Launch { kernel, grid, block, dynamic_shared: 0, params: params.to_vec() };
    let report = launch(&rig.module, &mut rig.memory, &what, &rig.options).unwrap();
    assert!(report.is_clean(), "{kernel}: {} findings, first: {}", report.total_findings, report.findings[0]);
    report
}

fn bf16(x: f32) -> u16 {
    mnx_ptx_sim::numeric::f32_to_bf16_rn(x)
}

fn halves(data: &[u16]) -> Vec<u32> {
    data.chunks(2).map(|c| u32::from(c[0]) | u32::from(c.get(1).copied().unwrap_or(0)) << 16).collect()
}

#[test]
fn depthwise_convolution() {
    let mut random = Random(11);
    for (h, w) in [(1, 1), (8, 32), (13, 45), (40, 33)] {
        let mut rig = Rig::new(SCALAR);
        let x: Vec<f32> = (0..h * w).map(|_| random.unit()).collect();
        let k: Vec<f32> = (0..25).map(|_| random.unit()).collect();
        let (a, b, c) = (rig.floats(&x), rig.floats(&k), rig.empty(h * w));
        run(&mut rig, "depthwise", [w.div_ceil(32) as u32, h.div_ceil(8) as u32, 1], [32, 8, 1], &[a, b, c, h as u64, w as u64]);
        let y = rig.read_floats(c, h * w);
        for r in 0..h {
            for q in 0..w {
                let mut s = 0f32;
                for i in 0..5 {
                    for j in 0..5 {
                        let at = |v: usize, n: usize, o: usize| (v + o).checked_sub(2).filter(|v| *v < n);
                        let v = at(r, h, i).zip(at(q, w, j)).map_or(0.0, |(r, q)| x[r * w + q]);
                        s = v.mul_add(k[5 * i + j], s);
                    }
                }
                assert_eq!(y[r * w + q], s, "{h}x{w} at {r},{q}");
            }
        }
    }
}

#[test]
fn row_norm_with_shuffles_and_bf16() {
    let mut random = Random(12);
    for (rows, n, threads) in [(1usize, 7usize, 32u32), (5, 100, 64), (3, 1000, 256)] {
        let mut rig = Rig::new(SCALAR);
        let x: Vec<f32> = (0..rows * n).map(|_| random.unit() * 3.0 + 1.0).collect();
        let a = rig.floats(&x);
        let y = rig.memory.alloc(2 * (rows * n) as u64, 16);
        run(&mut rig, "rownorm", [rows as u32, 1, 1], [threads, 1, 1], &[a, y, n as u64]);
        let mut out = vec![0; 2 * rows * n];
        rig.memory.read(y, &mut out).unwrap();
        for (row, out) in x.chunks(n).zip(out.chunks(2 * n)) {
            let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
            let var = row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n as f64;
            for (v, o) in row.iter().zip(out.chunks(2)) {
                let got = f64::from(mnx_ptx_sim::numeric::bf16_to_f32(u16::from_le_bytes([o[0], o[1]])));
                let want = (f64::from(*v) - mean) / (var + 1e-5).sqrt();
                assert!((got - want).abs() <= 0.005 * want.abs() + 1e-3, "{got} for {want}");
            }
        }
    }
}

#[test]
fn arg_max_with_bytes_and_switch() {
    let mut random = Random(13);
    for (n, classes) in [(1usize, 2usize), (333, 5), (1024, 14)] {
        let mut rig = Rig::new(SCALAR);
        let x: Vec<u16> = (0..n * classes).map(|_| bf16(random.unit())).collect();
        let a = rig.words(&halves(&x));
        let y = rig.memory.alloc(n as u64, 16);
        run(&mut rig, "argmax", [n.div_ceil(96) as u32, 1, 1], [96, 1, 1], &[a, y, n as u64, classes as u64]);
        let mut out = vec![0; n];
        rig.memory.read(y, &mut out).unwrap();
        for (i, got) in out.iter().enumerate() {
            let value = |c: usize| mnx_ptx_sim::numeric::bf16_to_f32(x[c * n + i]);
            let best = (1..classes).fold(0, |b, c| if value(c) > value(b) { c } else { b }) as i32;
            let want = match i % 7 {
                0 => best + 10,
                1 => best ^ 3,
                2 => best * 5 + 1,
                3 => best - 1,
                4 => best << 2,
                5 => best | 8,
                _ => best / 3,
            };
            assert_eq!(*got, want as u8, "{i}");
        }
    }
}

#[test]
fn histogram_with_atomics() {
    let mut rig = Rig::new(SCALAR);
    rig.options.threads = 3;
    let mut random = Random(14);
    let x: Vec<u32> = (0..1000).map(|_| random.next() % 500).collect();
    let (a, bins, total) = (rig.words(&x), rig.words(&[0; 64]), rig.floats(&[0.0]));
    run(&mut rig, "histogram", [8, 1, 1], [128, 1, 1], &[a, bins, total, 1000]);
    let mut want = vec![0; 64];
    x.iter().for_each(|v| want[*v as usize % 64] += 1);
    assert_eq!(rig.read(bins, 64), want);
    assert_eq!(rig.read_floats(total, 1), [x.iter().map(|v| (v & 3) as f32).sum::<f32>()]);
}

#[test]
fn doubles_wide_integers_and_local_arrays() {
    let mut rig = Rig::new(SCALAR);
    let mut random = Random(15);
    let n = 64;
    let x: Vec<i32> = (0..n).map(|_| random.next() as i32 >> 8).collect();
    let words: Vec<u32> = x.iter().map(|v| *v as u32).collect();
    let (a, y) = (rig.words(&words), rig.empty(2 * n));
    run(&mut rig, "mixed", [2, 1, 1], [32, 1, 1], &[a, y, n as u64]);
    let got: Vec<f64> = rig.read(y, 2 * n).chunks(2).map(|w| f64::from_bits(u64::from(w[1]) << 32 | u64::from(w[0]))).collect();
    for (i, got) in got.iter().enumerate() {
        let mut acc: [f64; 8] = std::array::from_fn(|k| f64::from(x[(i + k) % n]) * 0.25);
        for k in 0..20 {
            acc[(x[(i + k) % n] & 7) as usize] += acc[(k * 3) & 7] / (k as f64 + 1.5);
        }
        let mut h = 1_469_598_103_934_665_603i64;
        for k in 0..5 {
            h ^= i64::from(x[(i * 7 + k) % n]);
            h = h.wrapping_mul(1_099_511_628_211);
            h = (h >> 7) | h.wrapping_mul(1 << 57);
        }
        let want = acc.iter().sum::<f64>() + (h % 1000) as f64 + h as u64 as f64 / 1e18;
        assert!((got - want).abs() <= 1e-12 * want.abs(), "{i}: {got} for {want}");
    }
}

#[test]
fn gemm_on_tensor_cores() {
    let mut random = Random(16);
    for (m, n, k) in [(64usize, 64usize, 32usize), (8, 8, 8), (72, 136, 104)] {
        let mut rig = Rig::new(TENSOR);
        let a: Vec<u16> = (0..m * k).map(|_| bf16(random.unit())).collect();
        let b: Vec<u16> = (0..k * n).map(|_| bf16(random.unit())).collect();
        let (pa, pb, pd) = (rig.words(&halves(&a)), rig.words(&halves(&b)), rig.empty(m * n));
        let params = [pa, pb, pd, m as u64, n as u64, k as u64];
        let report = run(&mut rig, "gemm", [n.div_ceil(64) as u32, m.div_ceil(64) as u32, 1], [128, 1, 1], &params);
        let wide = |v: &[u16]| -> Vec<f64> { v.iter().map(|h| f64::from(mnx_ptx_sim::numeric::bf16_to_f32(*h))).collect() };
        let (a, b) = (wide(&a), wide(&b));
        for (i, got) in rig.read_floats(pd, m * n).into_iter().enumerate() {
            let want: f64 = (0..k).map(|q| a[i / n * k + q] * b[q * n + i % n]).sum();
            let size: f64 = (0..k).map(|q| (a[i / n * k + q] * b[q * n + i % n]).abs()).sum();
            assert!((f64::from(got) - want).abs() <= 1e-6 * size, "{m}x{n}x{k} at {i}: {got} for {want}");
        }
        let tiles = (n.div_ceil(64) * m.div_ceil(64) * k.div_ceil(32)) as u64;
        assert_eq!(report.counters.mma, tiles * 4 * 2 * 8);
        assert_eq!(report.counters.bank_conflicts, 0, "the swizzle avoids all conflicts");
    }
}

#[test]
fn the_inventory_of_llvm_decodes_for_every_target() {
    for (target, ptx) in [
        ("sm_80", include_str!("llvm_inventory/sm_80.ptx")),
        ("sm_90a", include_str!("llvm_inventory/sm_90a.ptx")),
        ("sm_100a", include_str!("llvm_inventory/sm_100a.ptx")),
        ("sm_120", include_str!("llvm_inventory/sm_120.ptx")),
    ] {
        let module = mnx_ptx_sim::Module::parse(ptx).unwrap_or_else(|e| panic!("{target}: {e}"));
        assert_eq!(module.target, target);
        let kernel = module.kernel("k").unwrap();
        assert_eq!(kernel.params.iter().map(|p| (p.offset, p.size)).collect::<Vec<_>>(), [(0, 8), (8, 8), (16, 4)]);
        assert!(kernel.uses_dynamic_shared && kernel.static_shared == 0);
    }
}
