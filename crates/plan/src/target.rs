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
    /// One line for `mnxc list targets`.
    pub about: &'static str,
}

/// Every target, best first.
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
        about: "x86-64 with AVX2 and FMA",
    },
];

/// The targets that a `--target` word stands for: `host` is every x86-64 level, else one by name.
pub fn resolve(word: &str) -> Option<Vec<&'static Target>> {
    if word == "host" {
        return Some(TARGETS.iter().collect());
    }
    TARGETS.iter().find(|t| t.name == word).map(|t| vec![t])
}
