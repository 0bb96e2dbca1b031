//! Prints what one warp instruction costs: a loop of FMAs, a loop that also loads from shared memory, two compiled kernels; time on the cores.
// A tool for people who work on mnx; a closed stream may end it.
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use mnx_ptx_sim::{Checks, Launch, Memory, Module, Options, launch};

fn kernel(body: &str, init: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u32 n) {{\n\
         .reg .pred %p<2>; .reg .b32 %r<20>; .reg .b64 %rd<4>; .shared .align 16 .b8 s[4096];\n\
         ld.param.u64 %rd1, [p]; ld.param.u32 %r1, [n]; mov.u32 %r2, %tid.x; cvt.rn.f32.u32 %r3, %r2;\n\
         mov.b32 %r4, 0f3F800000; mov.b32 %r5, 0f3F000000; mov.b32 %r6, %r3; mov.b32 %r7, %r3; mov.b32 %r8, %r3; mov.b32 %r9, %r3;\n\
         mov.u32 %r11, s; shl.b32 %r12, %r2, 2; add.u32 %r13, %r11, %r12;\n{init}\n\
         L:\n{body}\nadd.s32 %r1, %r1, -1; setp.ne.s32 %p1, %r1, 0; @%p1 bra L;\n\
         add.f32 %r6, %r6, %r7; add.f32 %r8, %r8, %r9; add.f32 %r6, %r6, %r8; mul.wide.u32 %rd2, %r2, 4; add.s64 %rd3, %rd1, %rd2;\n\
         st.global.f32 [%rd3], %r6; ret;\n}}\n"
    )
}

/// Nanoseconds this process has spent on a core, where the system tells; else since `start`. Other processes do not count.
fn spent(start: Instant) -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").map(|d| d.flatten().map(|t| t.path().join("schedstat")).collect::<Vec<_>>());
    let on_core = |p: &std::path::PathBuf| std::fs::read_to_string(p).ok()?.split(' ').next()?.parse::<f64>().ok();
    match tasks {
        Ok(tasks) if !tasks.is_empty() => tasks.iter().filter_map(on_core).sum(),
        _ => start.elapsed().as_secs_f64() * 1e9,
    }
}

/// How a kernel is run: the checks, in words and as they are, and when the process began.
#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    checks: Checks,
    zero: Instant,
}

fn report(Mode { name, checks, zero }: Mode, ptx: &str, what: &Launch<'_>, memory: &mut Memory) {
    let module = Module::parse(ptx).unwrap();
    let start = spent(zero);
    let report = launch(&module, memory, what, &Options { checks, ..Options::default() }).unwrap();
    let ns = spent(zero) - start;
    assert!(report.is_clean(), "{:?}", report.findings);
    let c = &report.counters;
    let n = c.warp_instructions as f64;
    println!(
        "{} compiled by clang, {name}: {:.1} ns per warp instruction, {:.2} s, {:.2} GFLOP/s",
        what.kernel,
        ns / n,
        ns / 1e9,
        c.flops as f64 / ns
    );
}

fn gemm(mode: Mode) {
    let mut memory = Memory::new();
    let n = 512u64;
    let [a, b] = [0; 2].map(|_| {
        let address = memory.alloc(2 * n * n, 256);
        memory.write(address, &vec![0x3c; 2 * (n * n) as usize]).unwrap();
        address
    });
    let d = memory.alloc(4 * n * n, 256);
    let what = Launch { kernel: "gemm", grid: [8, 8, 1], block: [128, 1, 1], dynamic_shared: 0, params: vec![a, b, d, n, n, n] };
    report(mode, include_str!("../tests/clang_kernels/tensor.ptx"), &what, &mut memory);
}

fn depthwise(mode: Mode) {
    let mut memory = Memory::new();
    let n = 1024u64;
    let [x, w, y] = [n * n, 25, n * n].map(|words| {
        let address = memory.alloc(4 * words, 256);
        memory.write(address, &vec![0x3c; 4 * words as usize]).unwrap();
        address
    });
    let what = Launch { kernel: "depthwise", grid: [32, 128, 1], block: [32, 8, 1], dynamic_shared: 0, params: vec![x, w, y, n, n] };
    report(mode, include_str!("../tests/clang_kernels/scalar.ptx"), &what, &mut memory);
}

fn main() {
    let zero = Instant::now();
    let fma: String = (0..32).map(|i| format!("fma.rn.f32 %r{0}, %r{0}, %r5, %r4;\n", 6 + i % 4)).collect();
    let shared: String = (0..8).map(|i| format!("ld.shared.f32 %r10, [%r13];\nfma.rn.f32 %r{0}, %r10, %r5, %r{0};\n", 6 + i % 4)).collect();
    for (name, body, init, checks) in [
        ("FMA loop, all checks", &fma, "", Checks::default()),
        ("FMA loop, no checks", &fma, "", Checks::none()),
        ("shared load + FMA loop, all checks", &shared, "st.shared.f32 [%r13], %r3;", Checks::default()),
        ("shared load + FMA loop, no checks", &shared, "st.shared.f32 [%r13], %r3;", Checks::none()),
    ] {
        let module = Module::parse(&kernel(body, init)).unwrap();
        let mut memory = Memory::new();
        let out = memory.alloc(4 * 256, 256);
        let what = Launch { kernel: "k", grid: [1; 3], block: [256, 1, 1], dynamic_shared: 0, params: vec![out, 10_000] };
        let options = Options { checks, ..Options::default() };
        let best = (0..3)
            .map(|_| {
                let start = spent(zero);
                let report = launch(&module, &mut memory, &what, &options).unwrap();
                assert!(report.is_clean(), "{:?}", report.findings);
                (spent(zero) - start) / report.counters.warp_instructions as f64
            })
            .fold(f64::INFINITY, f64::min);
        println!("{name}: {best:.1} ns per warp instruction");
    }
    for (name, checks) in [("all checks", Checks::default()), ("no checks", Checks::none())] {
        let mode = Mode { name, checks, zero };
        gemm(mode);
        depthwise(mode);
    }
}
