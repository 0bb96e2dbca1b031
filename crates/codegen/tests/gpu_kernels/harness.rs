//! A GPU kernel on the virtual GPU: compiled, parsed back from its PTX, run with every buffer in an allocation of its own, and nothing may be found wrong.

use half::{bf16, f16};
use mnx_plan::Kernel;
use mnx_plan::slot::{Element, Slot};
use mnx_plan::target::{GPU_TARGETS, Target};
use mnx_plan::vocabulary::Storage;
use mnx_ptx_sim::{Counters, Launch, Memory, Module, Options, launch};

/// A seeded stream of numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Uniform in -1..1.
    pub fn value(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }

    /// Values as the element type holds them, `n` of them.
    pub fn values(&mut self, n: usize, element: Element) -> Vec<f32> {
        (0..n).map(|_| rounded(self.value(), element)).collect()
    }
}

/// A value as an element type holds it.
pub fn rounded(value: f32, element: Element) -> f32 {
    match element {
        Element::Bf16 => bf16::from_f32(value).to_f32(),
        Element::F16 => f16::from_f32(value).to_f32(),
        Element::I32 => value.round(),
        Element::F32 | Element::F64 => value,
    }
}

/// A GPU target by name.
pub fn target(name: &str) -> &'static Target {
    GPU_TARGETS.iter().find(|t| t.name == name).unwrap()
}

/// Largest error relative to the largest reference value that a storage type allows for results rounded to it.
pub fn tolerance(storage: Storage) -> f64 {
    match storage {
        Storage::F32 => 1e-5,
        Storage::Bf16 => 1e-2,
        Storage::F16 => 2e-3,
    }
}

fn encode(values: &[f32], element: Element) -> Vec<u8> {
    match element {
        Element::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Element::F64 => values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect(),
        Element::I32 => values.iter().flat_map(|&v| (v as i32).to_le_bytes()).collect(),
        Element::Bf16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        Element::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
    }
}

fn decode(bytes: &[u8], element: Element) -> Vec<f32> {
    let each = bytes.chunks_exact(element.bytes());
    match element {
        Element::F32 => each.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
        Element::F64 => each.map(|b| f64::from_le_bytes(b.try_into().unwrap()) as f32).collect(),
        Element::I32 => each.map(|b| i32::from_le_bytes(b.try_into().unwrap()) as f32).collect(),
        Element::Bf16 => each.map(|b| bf16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect(),
        Element::F16 => each.map(|b| f16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect(),
    }
}

/// A kernel compiled for a target.
pub struct Compiled {
    kernel: Kernel,
    module: Module,
}

/// Values of every buffer by slot, after a run, and what the run did.
pub struct Outcome {
    pub buffers: Vec<(Slot, Vec<f32>)>,
    pub counters: Counters,
}

impl Outcome {
    pub fn get(&self, slot: Slot) -> &[f32] {
        &self.buffers.iter().find(|(s, _)| *s == slot).unwrap_or_else(|| panic!("no buffer {slot}")).1
    }
}

pub fn compile(kernel: &Kernel, target: &Target) -> Compiled {
    let named = [("kernel_under_test".to_string(), kernel.clone())];
    let ptx = mnx_codegen::compile(&named, target, &mut |_, _, _| {}).unwrap_or_else(|e| panic!("{e}"));
    let text = String::from_utf8(ptx).unwrap();
    Compiled { kernel: kernel.clone(), module: Module::parse(&text).unwrap_or_else(|e| panic!("{e}")) }
}

impl Compiled {
    /// Runs with the given inputs; buffers that are only written start as junk, and every element of them must have been written.
    pub fn run(&self, inputs: &[(Slot, &[f32])], seed: u64) -> Outcome {
        let mut memory = Memory::new();
        let args = self.kernel.args();
        let mut addresses = Vec::new();
        for arg in &args {
            let at = memory.alloc(arg.bytes() as u64, 256);
            addresses.push(at);
            if arg.access.reads() {
                let (_, values) = inputs.iter().find(|(s, _)| *s == arg.slot).unwrap_or_else(|| panic!("no input {}", arg.slot));
                assert_eq!(values.len(), arg.len, "{}", arg.slot);
                memory.write(at, &encode(values, arg.element)).unwrap();
            }
            if !arg.access.writes() {
                memory.protect(at).unwrap();
            }
        }
        let geometry = self.kernel.geometry().expect("a GPU kernel");
        let what = Launch {
            kernel: "kernel_under_test",
            grid: geometry.grid,
            block: geometry.block,
            dynamic_shared: geometry.shared_bytes,
            params: addresses.clone(),
        };
        let report = launch(&self.module, &mut memory, &what, &Options { seed, ..Options::default() }).unwrap_or_else(|e| panic!("{e}"));
        assert!(report.is_clean(), "{:?}\n{} findings, the first: {:#?}", self.kernel, report.total_findings, report.findings.first());
        let buffers = args
            .iter()
            .zip(addresses)
            .map(|(arg, at)| {
                let mut bytes = vec![0; arg.bytes()];
                memory.read(at, &mut bytes).unwrap();
                (arg.slot, decode(&bytes, arg.element))
            })
            .collect();
        Outcome { buffers, counters: report.counters }
    }
}

/// Largest difference over the largest reference value; NaN anywhere is infinite.
pub fn apart(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    got.iter().zip(want).fold(0.0, |worst: f64, (&g, &w)| {
        let d = (f64::from(g) - w).abs() / scale;
        if d.is_nan() { f64::INFINITY } else { worst.max(d) }
    })
}
