//! Compiles a kernel, loads it, runs its workgroups in random order on poisoned memory, and hands back what it wrote.

use mnx_plan::Kernel;
use mnx_plan::slot::{Arg, Element};
use mnx_plan::target::{Cpu, TARGETS, Target};
use std::ffi::c_void;
use std::io::Write;

/// A seeded generator (xorshift64*), so that a failure can be replayed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() >> 33) as usize % (high - low + 1)
    }

    pub fn flip(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.between(0, of.len() - 1)]
    }

    /// Uniform in -1..1.
    pub fn float(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn f32s(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float() as f32).collect()
    }
}

/// A buffer's contents.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
}

impl Data {
    pub fn f32(&self) -> &[f32] {
        match self {
            Self::F32(v) => v,
            Self::F64(_) | Self::I32(_) => panic!("not float32"),
        }
    }

    pub fn f64(&self) -> &[f64] {
        match self {
            Self::F64(v) => v,
            Self::F32(_) | Self::I32(_) => panic!("not float64"),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(v) => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
            Self::F64(v) => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
            Self::I32(v) => v.iter().flat_map(|x| x.to_ne_bytes()).collect(),
        }
    }

    fn from_bytes(element: Element, bytes: &[u8]) -> Self {
        match element {
            Element::F32 => Self::F32(bytes.chunks_exact(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap())).collect()),
            Element::F64 => Self::F64(bytes.chunks_exact(8).map(|b| f64::from_ne_bytes(b.try_into().unwrap())).collect()),
            Element::Bf16 | Element::F16 => unreachable!("a CPU stores float32"),
            Element::I32 => Self::I32(bytes.chunks_exact(4).map(|b| i32::from_ne_bytes(b.try_into().unwrap())).collect()),
        }
    }
}

/// Random contents for an argument that is read.
pub fn random(arg: &Arg, random: &mut Random) -> Data {
    match arg.element {
        Element::F32 => Data::F32(random.f32s(arg.len)),
        Element::F64 => Data::F64((0..arg.len).map(|_| random.float()).collect()),
        Element::Bf16 | Element::F16 => unreachable!("a CPU stores float32"),
        Element::I32 => Data::I32((0..arg.len).map(|_| random.next() as i32).collect()),
    }
}

/// The CPU of a target.
pub fn cpu(target: &'static Target) -> &'static Cpu {
    target.cpu().expect("a CPU")
}

/// Targets that this machine can run.
pub fn targets() -> Vec<&'static Target> {
    let here = |t: &&'static Target| {
        cpu(t).requires.iter().all(|name| match *name {
            "avx512f" => is_x86_feature_detected!("avx512f"),
            "avx512bw" => is_x86_feature_detected!("avx512bw"),
            "avx512cd" => is_x86_feature_detected!("avx512cd"),
            "avx512dq" => is_x86_feature_detected!("avx512dq"),
            "avx512vl" => is_x86_feature_detected!("avx512vl"),
            "avx2" => is_x86_feature_detected!("avx2"),
            "fma" => is_x86_feature_detected!("fma"),
            "bmi2" => is_x86_feature_detected!("bmi2"),
            "f16c" => is_x86_feature_detected!("f16c"),
            other => panic!("unknown feature {other}"),
        })
    };
    let found: Vec<_> = TARGETS.iter().filter(here).collect();
    assert!(!found.is_empty(), "no target runs on this machine");
    found
}

/// 64-byte aligned memory with a guard zone behind it; everything starts as 0xff (NaN in every format).
struct Memory {
    words: Vec<[u64; 8]>,
    bytes: usize,
}

const GUARD: usize = 256;

impl Memory {
    fn poisoned(bytes: usize) -> Self {
        let words = vec![[u64::MAX; 8]; (bytes + GUARD).div_ceil(64) + 1];
        Self { words, bytes }
    }

    fn start(&mut self) -> *mut u8 {
        let at = self.words.as_mut_ptr().cast::<u8>();
        // SAFETY: one block of 64 bytes more than needed was allocated.
        unsafe { at.add(at.align_offset(64)) }
    }

    fn all(&mut self) -> &mut [u8] {
        let len = self.bytes + GUARD;
        // SAFETY: as in `start`; every byte is initialised.
        unsafe { std::slice::from_raw_parts_mut(self.start(), len) }
    }

    fn check_guard(&mut self, name: &str) {
        let bytes = self.bytes;
        let intact = self.all()[bytes..].iter().all(|&b| b == 0xff);
        assert!(intact, "{name} was written beyond its {bytes} bytes");
    }
}

type Entry = unsafe extern "C" fn(*const *const c_void, u64, *mut c_void);

/// A compiled and loaded kernel.
pub struct Loaded {
    kernel: Kernel,
    library: libloading::Library,
    _file: tempfile::NamedTempFile,
}

/// Compiles and loads one kernel.
pub fn load(kernel: &Kernel, target: &Target) -> Loaded {
    let list = [("kernel".to_owned(), kernel.clone())];
    let bytes = mnx_codegen::compile(&list, target, &mut |_, _, _| {}).unwrap_or_else(|e| panic!("{}: {e}\n{kernel:?}", target.name));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    // SAFETY: the object has no initialisers.
    let library = unsafe { libloading::Library::new(file.path()) }.unwrap();
    Loaded { kernel: kernel.clone(), library, _file: file }
}

impl Loaded {
    /// Runs all workgroups in an order drawn from `order`; `inputs` are the read arguments in order. Returns the written ones.
    pub fn run(&self, inputs: &[Data], order: &mut Random) -> Vec<Data> {
        let args = self.kernel.args();
        let mut given = inputs.iter();
        let mut memory: Vec<Memory> = Vec::new();
        for arg in &args {
            let mut m = Memory::poisoned(arg.bytes());
            if arg.access.reads() {
                let data = given.next().expect("an input per read argument").bytes();
                assert_eq!(data.len(), arg.bytes(), "{}", arg.slot);
                m.all()[..data.len()].copy_from_slice(&data);
            }
            memory.push(m);
        }
        assert!(given.next().is_none(), "too many inputs");
        let mut scratch = Memory::poisoned(self.kernel.scratch_bytes());
        let pointers: Vec<*const c_void> = memory.iter_mut().map(|m| m.start().cast_const().cast()).collect();
        let count = self.kernel.workgroups();
        let mut groups: Vec<usize> = (0..count).collect();
        for i in (1..count).rev() {
            groups.swap(i, order.between(0, i));
        }
        // SAFETY: the signature is the kernel ABI's.
        let entry = unsafe { self.library.get::<Entry>(b"kernel") }.unwrap();
        for group in groups {
            // SAFETY: the buffers have the sizes of `Kernel::args`, the scratch that of `scratch_bytes`.
            unsafe { entry(pointers.as_ptr(), group as u64, scratch.start().cast()) };
        }
        scratch.check_guard("scratch");
        let mut given = inputs.iter();
        let mut written = Vec::new();
        for (arg, m) in args.iter().zip(&mut memory) {
            m.check_guard(arg.slot.name());
            let bytes = m.all()[..arg.bytes()].to_vec();
            let before = arg.access.reads().then(|| given.next().unwrap().bytes());
            if arg.access.writes() {
                written.push(Data::from_bytes(arg.element, &bytes));
            } else {
                assert!(Some(bytes) == before, "{} was overwritten", arg.slot);
            }
        }
        written
    }
}

/// Compiles for every target, runs twice in different orders, requires equal bits, and hands the results to `check`.
pub fn on_every_target(kernel: &Kernel, inputs: &[Data], seed: u64, check: impl FnMut(&Target, &[Data])) {
    on_targets(&targets(), kernel, inputs, seed, check);
}

/// As [`on_every_target`], on some targets only.
pub fn on_targets(targets: &[&'static Target], kernel: &Kernel, inputs: &[Data], seed: u64, mut check: impl FnMut(&Target, &[Data])) {
    for target in targets {
        let loaded = load(kernel, target);
        let first = loaded.run(inputs, &mut Random::new(seed));
        let second = loaded.run(inputs, &mut Random::new(seed + 1));
        for (a, b) in first.iter().zip(&second) {
            assert_eq!(a.bytes(), b.bytes(), "{}: order matters", target.name);
        }
        check(target, &first);
    }
}

/// Requires `|got - want| <= tolerance * (scale + |want|)` everywhere; NaN never passes.
pub fn close(what: &str, got: &[f32], want: &[f64], scale: f64, tolerance: f64) {
    close64(what, &got.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), want, scale, tolerance);
}

/// As [`close`], of float64.
pub fn close64(what: &str, got: &[f64], want: &[f64], scale: f64, tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let error = (g - w).abs();
        assert!(error <= tolerance * (scale + w.abs()), "{what}[{i}]: got {g}, want {w}");
    }
}
