//! A family of one-instruction kernels: text, operands, launch, comparison.
//!
//! Lane inputs are three 64-bit words; they stand in `%x0..2` whole, in `%w0..2` (low 32 bits) and in `%h0..2` (low 16 bits). The result is
//! taken from `%x9`, `%w9`, `%h9` or `%p9`.
#![allow(clippy::print_stderr)]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::process::Command;

use mnx_ptx_sim::{Launch, Memory, MmaModel, Module, Options, launch};

pub const THREADS: usize = 128;

/// What the operands of an instruction are drawn from.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any bits, often near zero, the ends of the ranges, or few bits set.
    Bits,
    /// 0 to 90.
    Small,
    /// f32 with all classes of numbers.
    F32,
    /// f32 in [-8, 8].
    Near,
    /// f64 with all classes of numbers.
    F64,
    /// Two f16, two bf16.
    F16,
    Bf16,
}

/// Which register holds the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Out {
    W,
    X,
    H,
    P,
}

type Expect = Box<dyn Fn([u64; 3]) -> u64>;

pub struct Case {
    text: String,
    kinds: [Kind; 3],
    out: Out,
    expect: Expect,
    /// Whether a result is right; equal bits if absent.
    near: Option<fn(u64, u64) -> bool>,
}

impl Case {
    pub fn new(text: &str, kinds: [Kind; 3], out: Out, expect: impl Fn([u64; 3]) -> u64 + 'static) -> Self {
        Self { text: text.into(), kinds, out, expect: Box::new(expect), near: None }
    }

    pub fn within(self, near: fn(u64, u64) -> bool) -> Self {
        Self { near: Some(near), ..self }
    }
}

/// 32-bit operands and result.
pub fn w(text: &str, kinds: [Kind; 3], f: impl Fn(u32, u32, u32) -> u32 + 'static) -> Case {
    Case::new(text, kinds, Out::W, move |[a, b, c]| f(a as u32, b as u32, c as u32).into())
}

/// 64-bit operands and result.
pub fn x(text: &str, kinds: [Kind; 3], f: impl Fn(u64, u64, u64) -> u64 + 'static) -> Case {
    Case::new(text, kinds, Out::X, move |[a, b, c]| f(a, b, c))
}

/// 16-bit operands and result.
pub fn h(text: &str, kinds: [Kind; 3], f: impl Fn(u16, u16, u16) -> u16 + 'static) -> Case {
    Case::new(text, kinds, Out::H, move |[a, b, c]| f(a as u16, b as u16, c as u16).into())
}

/// f32 operands and result; NaN results are compared as the canonical one.
pub fn f(text: &str, kinds: [Kind; 3], f: impl Fn(f32, f32, f32) -> f32 + 'static) -> Case {
    w(text, kinds, move |a, b, c| {
        let r = f(f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
        if r.is_nan() { 0x7fff_ffff } else { r.to_bits() }
    })
}

/// Random words; the seed is new in every run and stands in every failure.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    pub fn of(&mut self, kind: Kind) -> u64 {
        let any = self.bits();
        match (kind, self.below(8)) {
            (Kind::Small, _) => any % 91,
            (Kind::Near, _) => ((any as u32 as f32 / u32::MAX as f32 - 0.5) * 16.0).to_bits().into(),
            (Kind::Bits, 0) => [0, 1, u64::MAX, 1 << 63, 1 << 31, 0x7fff_ffff, u64::MAX >> 1, 0x8000, 0x7fff][any as usize % 9],
            (Kind::Bits, 1) => any % 16,
            (Kind::Bits, 2) => 1 << (any % 64),
            (Kind::Bits, 3) => any | 0xffff_ff00,
            (Kind::F32, 0) => [0, 1 << 31, 1, 0x807f_ffff, 0x7f7f_ffff, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xff80_0001, 0x3f80_0000]
                [any as usize % 10],
            (Kind::F32, 1..=4) => (any & 0x807f_ffff) | (118 + self.below(20)) << 23,
            (Kind::F64, 0) => [0.0, -0.0, f64::from_bits(1), f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1.0, -2.5, 1e300]
                [any as usize % 10]
                .to_bits(),
            (Kind::F64, 1..=4) => (any & !(0x7ff << 52)) | (1000 + self.below(60)) << 52,
            (Kind::F16, 0..=2) => (any & 0x83ff_83ff) | (12 + self.below(6)) << 10 | (12 + self.below(6)) << 26,
            (Kind::F16, 3) => [0x7c00, 0xfc00_7e01, 0x8000_0001, 0x03ff_8400, 0x3c00_bc00, 0x7bff][any as usize % 6],
            (Kind::Bf16, 0..=2) => (any & 0x807f_807f) | (120 + self.below(14)) << 7 | (120 + self.below(14)) << 23,
            (Kind::Bf16, 3) => [0x7f80, 0xff80_7fc1, 0x8000_0001, 0x007f_8080, 0x3f80_bf80, 0x7f7f][any as usize % 6],
            _ => any,
        }
    }
}

/// A seed for this run, or `MNX_TEST_SEED`.
pub fn seed() -> u64 {
    let given = std::env::var("MNX_TEST_SEED").ok().and_then(|s| s.parse().ok());
    given.unwrap_or_else(|| RandomState::new().build_hasher().finish())
}

fn kernel(index: usize, case: &Case) -> String {
    let take = match case.out {
        Out::W => "cvt.u64.u32 %x9, %w9;",
        Out::X => "",
        Out::H => "mov.b32 %w9, {%h9, %h8};\n cvt.u64.u32 %x9, %w9;",
        Out::P => "selp.b64 %x9, 1, 0, %p9;",
    };
    format!(
        ".visible .entry k{index}(.param .u64 input, .param .u64 output)
{{
 .reg .b64 %x<20>; .reg .b32 %w<20>; .reg .b16 %h<20>; .reg .pred %p<20>;
 ld.param.u64 %x10, [input];
 ld.param.u64 %x11, [output];
 cvta.to.global.u64 %x10, %x10;
 cvta.to.global.u64 %x11, %x11;
 mov.u32 %w10, %tid.x;
 mul.wide.u32 %x12, %w10, 24;
 add.s64 %x10, %x10, %x12;
 mul.wide.u32 %x12, %w10, 8;
 add.s64 %x11, %x11, %x12;
 ld.global.b64 %x0, [%x10];
 ld.global.b64 %x1, [%x10+8];
 ld.global.b64 %x2, [%x10+16];
 cvt.u32.u64 %w0, %x0; cvt.u32.u64 %w1, %x1; cvt.u32.u64 %w2, %x2;
 cvt.u16.u32 %h0, %w0; cvt.u16.u32 %h1, %w1; cvt.u16.u32 %h2, %w2;
 mov.b16 %h8, 0;
 {}
 {take}
 st.global.b64 [%x11], %x9;
 ret;
}}
",
        case.text
    )
}

/// Header and kernels of a module for `sm_90`, PTX 8.0 unless an instruction is newer.
pub fn module(version: &str, kernels: &str) -> String {
    // What came with a later version came for later chips.
    let target = if version < "8.6" { "sm_90" } else { "sm_100a" };
    format!(".version {version}\n.target {target}\n.address_size 64\n{kernels}")
}

/// Runs every case on random lanes and compares; then shows the text to ptxas.
pub fn check(family: &str, version: &str, cases: &[Case]) {
    let text = module(version, &cases.iter().enumerate().map(|(i, c)| kernel(i, c)).collect::<String>());
    let seed = seed();
    let mut draw = Draw::new(seed);
    let mut sim = Sim::new(&text);
    for (i, case) in cases.iter().enumerate() {
        for _ in 0..4 {
            let inputs: Vec<u64> = (0..3 * THREADS).map(|j| draw.of(case.kinds[j % 3])).collect();
            let output = sim.run(&format!("k{i}"), &inputs, THREADS);
            for (lane, &got) in output.iter().enumerate() {
                let operands = [inputs[3 * lane], inputs[3 * lane + 1], inputs[3 * lane + 2]];
                let want = (case.expect)(operands);
                let right = got == want || case.near.is_some_and(|near| near(got, want));
                assert!(right, "{family}: `{}` on {operands:x?}: got {got:#x}, want {want:#x} (MNX_TEST_SEED={seed})", case.text);
            }
        }
    }
    accepted_by_ptxas(family, &text);
}

/// A module on the simulated device, with every check on.
pub struct Sim {
    module: Module,
    seed: u64,
    /// Rounding of the tensor cores.
    pub model: MmaModel,
}

impl Sim {
    pub fn new(text: &str) -> Self {
        let module = Module::parse(text).unwrap_or_else(|e| panic!("{e}: {}", text.lines().nth(e.line as usize - 1).unwrap_or("")));
        Self { module, seed: seed(), model: MmaModel::Exact }
    }

    /// One CTA of `threads`, from input words to one output word per thread.
    pub fn run(&mut self, kernel: &str, input: &[u64], threads: usize) -> Vec<u64> {
        self.run_sized(kernel, input, threads, threads)
    }

    /// A run with `words` words of output.
    pub fn run_sized(&mut self, kernel: &str, input: &[u64], threads: usize, words: usize) -> Vec<u64> {
        let mut memory = Memory::new();
        let bytes: Vec<u8> = input.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (from, to) = (memory.alloc(bytes.len() as u64, 256), memory.alloc(8 * words as u64, 256));
        memory.write(from, &bytes).unwrap();
        let what = Launch { kernel, grid: [1; 3], block: [threads as u32, 1, 1], dynamic_shared: 0, params: vec![from, to] };
        let report =
            launch(&self.module, &mut memory, &what, &Options { seed: self.seed, model: self.model, ..Options::default() }).unwrap();
        assert!(report.is_clean(), "{kernel}: {:#?}", report.findings);
        let mut out = vec![0; 8 * words];
        memory.read(to, &mut out).unwrap();
        out.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())).collect()
    }
}

fn ptxas() -> Option<PathBuf> {
    let is_file = |p: &PathBuf| p.is_file();
    if let Some(named) = std::env::var_os("MNX_PTXAS") {
        return Some(PathBuf::from(named)).filter(is_file);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")));
    let cached = cache.map(|c| c.join("mnx/ptxas-13.0.88/ptxas"));
    std::env::split_paths(&path).map(|f| f.join("ptxas")).find(is_file).or_else(|| cached.filter(is_file))
}

/// Fails if ptxas refuses the text: what the simulator runs must be PTX.
pub fn accepted_by_ptxas(family: &str, text: &str) {
    let Some(program) = ptxas() else {
        eprintln!("\n*** NO PTXAS: the PTX of `{family}` was not checked by it. scripts/get-ptxas.sh fetches it. ***\n");
        return;
    };
    let folder = std::env::temp_dir().join(format!("mnx-isa-{}-{family}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("kernels.ptx"), text).unwrap();
    let target = text.lines().find_map(|l| l.strip_prefix(".target ")).unwrap().split(',').next().unwrap().trim();
    let run =
        Command::new(program).current_dir(&folder).args(["-arch", target, "-O0", "-o", "kernels.cubin", "kernels.ptx"]).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    let lines: Vec<&str> = text.lines().collect();
    let quoted = said.lines().take(12).map(|l| {
        let number = l.split("line ").nth(1).and_then(|r| r.split(';').next()).and_then(|n| n.parse::<usize>().ok());
        format!("{l}\n    {}", number.and_then(|n| lines.get(n - 1)).unwrap_or(&""))
    });
    assert!(run.status.success(), "{family}: ptxas refuses the text:\n{}", quoted.collect::<Vec<_>>().join("\n"));
}
