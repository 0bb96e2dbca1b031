//! Where a kernel is run: compiled to PTX, launched on memory that knows what was written, in two orders of the warps.

use half::{bf16, f16};
use mnx_plan::Kernel;
use mnx_plan::slot::{Arg, Element, Slot};
use mnx_plan::target::{GPU_TARGETS, Target};
use mnx_plan::vocabulary::{Extent, Storage};
use mnx_plan::work::Residual;
use mnx_ptx_sim::{Launch, Memory, Module, Options, launch};

/// A seeded generator (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
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
}

/// A value as the element type holds it, and its bytes.
fn encode(element: Element, value: f64) -> (f64, Vec<u8>) {
    match element {
        Element::Bf16 => (bf16::from_f64(value).to_f64(), bf16::from_f64(value).to_le_bytes().to_vec()),
        Element::F16 => (f16::from_f64(value).to_f64(), f16::from_f64(value).to_le_bytes().to_vec()),
        Element::F32 => (f64::from(value as f32), (value as f32).to_le_bytes().to_vec()),
        Element::F64 | Element::I32 => unreachable!("no matrix kernel reads it"),
    }
}

fn decode(element: Element, bytes: &[u8]) -> Vec<f64> {
    match element {
        Element::Bf16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f64()).collect(),
        Element::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f64()).collect(),
        Element::F32 => bytes.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect(),
        Element::F64 | Element::I32 => unreachable!("no matrix kernel writes it"),
    }
}

/// Buffers by slot: what a kernel is given, and what it leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Buffers(Vec<(Arg, Vec<f64>)>);

impl Buffers {
    /// Random contents for whatever is read, as its element type holds them. Weights are small, so that sums stay near 1.
    pub fn random(kernel: &Kernel, rng: &mut Random) -> Self {
        let one = |arg: Arg| {
            let scale = if matches!(arg.slot, Slot::W | Slot::W2 | Slot::W3 | Slot::ResW) { 0.3 } else { 1.0 };
            let len = if arg.access.reads() { arg.len } else { 0 };
            let values = (0..len).map(|_| encode(arg.element, scale * rng.float()).0).collect();
            (arg, values)
        };
        Self(kernel.args().into_iter().map(one).collect())
    }

    /// The buffer that serves a slot.
    pub fn get(&self, slot: Slot) -> &[f64] {
        self.0.iter().find(|(a, _)| a.serves(slot)).map_or_else(|| panic!("no {slot}"), |(_, v)| v)
    }
}

/// Runs a kernel on the targets, in two orders of the warps, and hands back the buffers that it wrote; anything found is a failure.
pub fn run(kernel: &Kernel, given: &Buffers, target: &'static Target) -> Buffers {
    kernel.legal(target).unwrap_or_else(|e| panic!("{e}: {kernel:?}"));
    let ptx = mnx_codegen::compile(&[("kernel".into(), kernel.clone())], target, &mut |_, _, _| {}).unwrap();
    let module = Module::parse(std::str::from_utf8(&ptx).unwrap()).unwrap_or_else(|e| panic!("{e}: {kernel:?}"));
    let once = |seed: u64| {
        let mut memory = Memory::new();
        let args = kernel.args();
        let mut params = Vec::new();
        for (arg, (own, values)) in args.iter().zip(&given.0) {
            assert_eq!(arg.slot, own.slot);
            let at = memory.alloc((arg.len * arg.element.bytes()) as u64, 256);
            if arg.access.reads() {
                let bytes: Vec<u8> = values.iter().flat_map(|&v| encode(arg.element, v).1).collect();
                memory.write(at, &bytes).unwrap();
            }
            if !arg.access.writes() {
                memory.protect(at).unwrap();
            }
            params.push(at);
        }
        let g = kernel.geometry().expect("a GPU kernel");
        let what = Launch { kernel: "kernel", grid: g.grid, block: g.block, dynamic_shared: g.shared_bytes, params: params.clone() };
        let report = launch(&module, &mut memory, &what, &Options { seed, ..Options::default() }).unwrap();
        assert!(report.is_clean(), "{:#?}\n{kernel:?}", report.findings);
        let left = args.iter().zip(params).filter(|(a, _)| a.access.writes()).map(|(arg, at)| {
            let mut bytes = vec![0; arg.len * arg.element.bytes()];
            memory.read(at, &mut bytes).unwrap();
            (*arg, decode(arg.element, &bytes))
        });
        Buffers(left.collect())
    };
    let (first, second) = (once(1), once(2));
    for ((arg, a), (_, b)) in first.0.iter().zip(&second.0) {
        assert!(a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits()), "{} depends on the order of warps: {kernel:?}", arg.slot);
    }
    first
}

/// What a block's end may store beside factors of this type.
pub fn stream(rng: &mut Random, storage: Storage) -> Storage {
    match storage {
        Storage::F16 => rng.pick(&[Storage::Bf16, Storage::F16]),
        Storage::F32 | Storage::Bf16 => storage,
    }
}

/// The residual of a down block whose result has this grid.
pub fn strided(rng: &mut Random, grid: Extent) -> Residual {
    let stride = rng.pick(&[[2, 2, 2], [1, 2, 2], [2, 1, 1]]);
    let from = [0, 1, 2].map(|a| (grid[a] - 1) * stride[a] + rng.between(1, stride[a]));
    Residual::Strided { from, channels: rng.pick(&[16, 32, 48, 80, 160]), stride }
}

/// A target for a round of a test, each in turn.
pub fn target(round: usize) -> &'static Target {
    &GPU_TARGETS[round % GPU_TARGETS.len()]
}

/// Rounds of a test: more of the storage that networks have.
pub fn rounds(storage: Storage) -> usize {
    if storage == Storage::Bf16 { 6 } else { 3 }
}

/// Greatest error allowed, as a part of the greatest value.
pub fn tolerance(storage: Storage) -> f64 {
    match storage {
        Storage::F32 => 1e-5,
        Storage::Bf16 => 2e-2,
        Storage::F16 => 4e-3,
    }
}

/// Holds values against what they should be.
pub fn close(what: &str, got: &[f64], want: &[f64], part: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let largest = want.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let near = (g - w).abs() <= part * largest;
        assert!(near, "{what}: element {i} is {g}, {w} expected (greatest {largest})");
    }
}
