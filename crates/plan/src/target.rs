//! THE TARGET TABLE: what code can be made for, and the figures plans are drawn up with.

/// One instruction set that code is generated for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// Name in bundles and on the command line.
    pub name: &'static str,
    /// LLVM's `-mcpu`.
    pub cpu: &'static str,
    /// LLVM's target features beyond the cpu's.
    pub features: &'static str,
    /// One line for `mnxc list targets`.
    pub about: &'static str,
    /// What kind of machine it is, with what plans must know of it.
    pub machine: Machine,
}

/// The kinds of machines. Whatever differs between them is a `match`, so that rustc leads to every place that a further kind must be thought of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Machine {
    /// A CPU: kernels are functions, run by a pool of threads.
    Cpu(Cpu),
    /// An NVIDIA GPU: kernels are PTX.
    Nvptx(Gpu),
}

/// What plans must know of a CPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cpu {
    /// What the loader checks, by the names `is_x86_feature_detected!` knows.
    pub requires: &'static [&'static str],
    /// float32 lanes of a vector register.
    pub lanes: usize,
    /// Vector registers.
    pub registers: usize,
    /// Bytes of first-level data cache that a tile may count on.
    pub l1: usize,
    /// Bytes of second-level cache per core that a tile may count on.
    pub l2: usize,
}

impl Target {
    /// The CPU, if it is one.
    pub fn cpu(&self) -> Option<&Cpu> {
        match &self.machine {
            Machine::Cpu(cpu) => Some(cpu),
            Machine::Nvptx(_) => None,
        }
    }

    /// The NVIDIA GPU, if it is one.
    pub fn nvptx(&self) -> Option<&Gpu> {
        match &self.machine {
            Machine::Cpu(_) => None,
            Machine::Nvptx(gpu) => Some(gpu),
        }
    }

    /// Element type in which the target stores activations where nobody says otherwise.
    pub fn storage(&self) -> crate::vocabulary::Storage {
        match self.machine {
            Machine::Cpu(_) => crate::vocabulary::Storage::F32,
            Machine::Nvptx(_) => crate::vocabulary::Storage::Bf16,
        }
    }
}

/// A GPU architecture's limits, and the figures of the chip that predictions are made for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpu {
    /// Compute capability, major and minor.
    pub compute: [u32; 2],
    /// Code runs on this compute capability alone.
    pub exact: bool,
    /// Lowest PTX version that the architecture and our instructions need, major and minor.
    pub ptx: [u32; 2],
    /// Bytes of shared memory that one block may have.
    pub shared_block: usize,
    /// Bytes of shared memory of a multiprocessor.
    pub shared_sm: usize,
    /// Resident threads of a multiprocessor.
    pub threads_sm: usize,
    /// Resident blocks of a multiprocessor (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
    pub blocks_sm: usize,
    /// The chip predicted for.
    pub chip: &'static str,
    /// Multiprocessors of the chip.
    pub sms: usize,
    /// Bytes per second of its memory that a copy reaches.
    pub memory_rate: f64,
    /// Bytes of its second-level cache.
    pub l2: usize,
    /// bf16 floating-point operations per second that mma.sync reaches.
    pub tensor_rate: f64,
    /// float32 instruction lanes per second (a fused multiply-add is one).
    pub lane_rate: f64,
}

impl Gpu {
    /// What a bundle says about it.
    pub fn needs(&self) -> mnx_artifact::GpuNeeds {
        mnx_artifact::GpuNeeds { compute: self.compute, exact: self.exact, ptx: self.ptx }
    }
}

/// Every CPU target, best first.
pub const TARGETS: &[Target] = &[
    Target {
        name: "x86-64-v4",
        cpu: "x86-64-v4",
        features: "-prefer-256-bit",
        about: "x86-64 with AVX-512 (F, BW, CD, DQ, VL)",
        machine: Machine::Cpu(Cpu {
            requires: &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma", "bmi2", "f16c"],
            lanes: 16,
            registers: 32,
            l1: 32 << 10,
            l2: 1 << 20,
        }),
    },
    Target {
        name: "x86-64-v3",
        cpu: "x86-64-v3",
        features: "",
        about: "x86-64 with AVX2 and FMA",
        machine: Machine::Cpu(Cpu { requires: &["avx2", "fma", "bmi2", "f16c"], lanes: 8, registers: 16, l1: 32 << 10, l2: 256 << 10 }),
    },
];

/// Every GPU target. Memory rates are the data sheets' times 0.9, tensor rates their dense bf16 figures times 0.5 (0.62 before Hopper, where
/// mma.sync is the chip's own instruction), lane rates from the boost clock.
pub const GPU_TARGETS: &[Target] = &[
    gpu(
        "sm_80",
        "sm_80",
        "+ptx70",
        "NVIDIA Ampere, A100",
        Gpu {
            compute: [8, 0],
            exact: false,
            ptx: [7, 0],
            shared_block: 163 << 10,
            shared_sm: 164 << 10,
            threads_sm: 2048,
            blocks_sm: 32,
            chip: "A100 40 GB",
            sms: 108,
            memory_rate: 1.4e12,
            l2: 40 << 20,
            tensor_rate: 195e12,
            lane_rate: 9.7e12,
        },
    ),
    gpu(
        "sm_86",
        "sm_86",
        "+ptx71",
        "NVIDIA Ampere, RTX 30 and A40",
        Gpu {
            compute: [8, 6],
            exact: false,
            ptx: [7, 1],
            shared_block: 99 << 10,
            shared_sm: 100 << 10,
            threads_sm: 1536,
            blocks_sm: 16,
            chip: "RTX 3090",
            sms: 82,
            memory_rate: 0.84e12,
            l2: 6 << 20,
            tensor_rate: 44e12,
            lane_rate: 17.8e12,
        },
    ),
    gpu(
        "sm_89",
        "sm_89",
        "+ptx78",
        "NVIDIA Ada, RTX 40 and L40",
        Gpu {
            compute: [8, 9],
            exact: false,
            ptx: [7, 8],
            shared_block: 99 << 10,
            shared_sm: 100 << 10,
            threads_sm: 1536,
            blocks_sm: 24,
            chip: "RTX 4090",
            sms: 128,
            memory_rate: 0.9e12,
            l2: 72 << 20,
            tensor_rate: 102e12,
            lane_rate: 41e12,
        },
    ),
    gpu(
        "sm_90a",
        "sm_90a",
        "+ptx80",
        "NVIDIA Hopper, H100 and H200",
        Gpu {
            compute: [9, 0],
            exact: true,
            ptx: [8, 0],
            shared_block: 227 << 10,
            shared_sm: 228 << 10,
            threads_sm: 2048,
            blocks_sm: 32,
            chip: "H100 SXM",
            sms: 132,
            memory_rate: 3.0e12,
            l2: 50 << 20,
            tensor_rate: 500e12,
            lane_rate: 33.5e12,
        },
    ),
    gpu(
        "sm_100a",
        "sm_100a",
        "+ptx86",
        "NVIDIA Blackwell, B200",
        Gpu {
            compute: [10, 0],
            exact: true,
            ptx: [8, 6],
            shared_block: 227 << 10,
            shared_sm: 228 << 10,
            threads_sm: 2048,
            blocks_sm: 32,
            chip: "B200",
            sms: 148,
            memory_rate: 7.2e12,
            l2: 126 << 20,
            tensor_rate: 500e12,
            lane_rate: 35e12,
        },
    ),
    gpu(
        "sm_120",
        "sm_120",
        "+ptx87",
        "NVIDIA Blackwell, RTX 50",
        Gpu {
            compute: [12, 0],
            exact: false,
            ptx: [8, 7],
            shared_block: 99 << 10,
            shared_sm: 100 << 10,
            threads_sm: 1536,
            blocks_sm: 24,
            chip: "RTX 5090",
            sms: 170,
            memory_rate: 1.6e12,
            l2: 96 << 20,
            tensor_rate: 130e12,
            lane_rate: 52e12,
        },
    ),
];

const fn gpu(name: &'static str, cpu: &'static str, features: &'static str, about: &'static str, gpu: Gpu) -> Target {
    Target { name, cpu, features, about, machine: Machine::Nvptx(gpu) }
}

/// Every CPU of the table.
pub fn cpus() -> impl Iterator<Item = &'static Cpu> {
    TARGETS.iter().filter_map(Target::cpu)
}

/// Every NVIDIA GPU of the table, with its target.
pub fn gpus() -> impl Iterator<Item = (&'static Target, &'static Gpu)> {
    GPU_TARGETS.iter().filter_map(|t| t.nvptx().map(|g| (t, g)))
}

/// The target of a name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().chain(GPU_TARGETS).find(|t| t.name == name)
}

/// The targets that a `--target` word stands for: `host` is every x86-64 level, else one by name; several words are joined by commas.
pub fn resolve(words: &str) -> Option<Vec<&'static Target>> {
    let mut found: Vec<&'static Target> = Vec::new();
    for word in words.split(',') {
        if word == "host" {
            found.extend(TARGETS.iter());
        } else {
            found.push(named(word)?);
        }
    }
    let mut names: Vec<&str> = found.iter().map(|t| t.name).collect();
    names.sort_unstable();
    names.windows(2).all(|w| w[0] != w[1]).then_some(found)
}
