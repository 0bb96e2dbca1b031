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
    /// What plans must know of a GPU; none for CPUs.
    pub gpu: Option<Gpu>,
    /// One line for `mnxc list targets`.
    pub about: &'static str,
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
    /// Its multiprocessors.
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
        requires: &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma", "bmi2", "f16c"],
        lanes: 16,
        registers: 32,
        l1: 32 << 10,
        l2: 1 << 20,
        gpu: None,
        about: "x86-64 with AVX-512 (F, BW, CD, DQ, VL)",
    },
    Target {
        name: "x86-64-v3",
        cpu: "x86-64-v3",
        features: "",
        requires: &["avx2", "fma", "bmi2", "f16c"],
        lanes: 8,
        registers: 16,
        l1: 32 << 10,
        l2: 256 << 10,
        gpu: None,
        about: "x86-64 with AVX2 and FMA",
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
    Target { name, cpu, features, requires: &[], lanes: 1, registers: 255, l1: 0, l2: gpu.l2, gpu: Some(gpu), about }
}

/// The targets that a `--target` word stands for: `host` is every x86-64 level, else one by name; several words are joined by commas.
pub fn resolve(words: &str) -> Option<Vec<&'static Target>> {
    let mut found: Vec<&'static Target> = Vec::new();
    for word in words.split(',') {
        if word == "host" {
            found.extend(TARGETS.iter());
        } else {
            found.push(TARGETS.iter().chain(GPU_TARGETS).find(|t| t.name == word)?);
        }
    }
    let mut names: Vec<&str> = found.iter().map(|t| t.name).collect();
    names.sort_unstable();
    names.windows(2).all(|w| w[0] != w[1]).then_some(found)
}
