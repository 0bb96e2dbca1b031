//! A program: the straight list of commands that one run of the network is, for one code target.
//!
//! Kernel ABI (host): every kernel is exported as
//! `void symbol(const void *const *buffers, uint64_t workgroup, void *scratch)`.
//! `buffers` holds one pointer per entry of `Command::Launch::args`, in that order; `scratch` points to
//! `Program::scratch_bytes` private to the calling thread, 64-byte aligned, contents undefined. Sizes are constants in the code.
//!
//! Kernel ABI (GPU): every kernel is an entry of the module, one 64-bit pointer parameter per entry of `Command::Launch::args`, in that order; it is launched
//! with `Command::Launch::geometry`, of which `workgroups` is the number of blocks. There is no scratch. The code section is PTX text; a section `cubin`
//! of the same index may hold the same kernels assembled for exactly the program's compute capability.
//!
//! Workgroups of one launch are independent and may run in any order on any thread; a launch starts when all earlier ones ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One target's launch list with its memory plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// `x86-64-v4`, `x86-64-v3`, `sm_90a`, ...
    pub target: String,
    /// CPU features that the code needs, by the names `is_x86_feature_detected!` knows.
    pub requires: Vec<String>,
    /// Bytes of the arena: every activation, partial and port of a run.
    pub arena_bytes: u64,
    /// Bytes of scratch that each thread needs.
    pub scratch_bytes: u64,
    /// Where each input port is read from in the arena.
    pub inputs: Vec<BufferRef>,
    /// Where each output port stands in the arena after the last command.
    pub outputs: Vec<BufferRef>,
    /// The commands, in order.
    pub commands: Vec<Command>,
    /// Element type of stored activations and GEMM weights: `f32`, `bf16` or `f16`.
    #[serde(default = "single")]
    pub precision: String,
    /// What a GPU must have; none for programs of CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuNeeds>,
}

fn single() -> String {
    "f32".to_owned()
}

/// What outputs may differ by from the exact ones because of the storage type alone, relative to 1 plus the largest: rounding steps of the type
/// (2^-8, 2^-11) through the depth of a network.
pub fn storage_tolerance(precision: &str) -> f64 {
    match precision {
        "bf16" => 2e-2,
        "f16" => 4e-3,
        _ => 0.0,
    }
}

/// What the code of a GPU program needs. The code section is PTX text; a cubin for exactly this architecture may stand beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuNeeds {
    /// Least compute capability, major and minor.
    pub compute: [u32; 2],
    /// Whether the code runs on that compute capability alone (`sm_90a`), else on all later ones too.
    pub exact: bool,
    /// PTX version, major and minor: the driver must know it where it compiles the PTX.
    pub ptx: [u32; 2],
}

/// How a GPU kernel is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Geometry {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
}

impl Geometry {
    /// Blocks of the launch.
    pub fn workgroups(&self) -> u64 {
        self.grid.iter().map(|&n| u64::from(n)).product()
    }
}

/// Which memory a buffer lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Space {
    /// The run's arena.
    Arena,
    /// The bundle's weights section (read only).
    Weights,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arena => "arena",
            Self::Weights => "weights",
        })
    }
}

/// A range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferRef {
    /// Which memory.
    pub space: Space,
    /// First byte; a multiple of [`crate::ALIGNMENT`].
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl fmt::Display for BufferRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes at {} of the {}", self.bytes, self.offset, self.space)
    }
}

/// Element type of a buffer, where something must look into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Element {
    /// float32.
    F32,
    /// float64.
    F64,
    /// bfloat16.
    Bf16,
    /// float16.
    F16,
    /// int32.
    I32,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::I32 => "i32",
        })
    }
}

impl Element {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// One buffer that a launch writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Write {
    /// Which of the launch's `args`.
    pub arg: usize,
    /// What it holds.
    pub element: Element,
}

/// What one launch costs, by the model of the plan; for reports only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Floating-point operations (a multiply-add is two).
    pub flops: u64,
    /// Bytes that must move between the launch and memory at least once.
    pub bytes: u64,
    /// GELUs evaluated, which `flops` leaves out as the published figures do.
    #[serde(default)]
    pub gelus: u64,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub enum Command {
    /// Run `workgroups` workgroups of a kernel.
    Launch {
        /// The dispatch it belongs to, by its name in the graph; several launches may share one.
        dispatch: String,
        /// Exported symbol in the target's code.
        kernel: String,
        /// Buffers, in the kernel's declared order.
        args: Vec<BufferRef>,
        /// How many workgroups.
        workgroups: u64,
        /// Predicted cost.
        cost: Cost,
        /// Grid and block, where the program is a GPU's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        geometry: Option<Geometry>,
        /// The arguments that it writes, in order; for checks of the results. Empty where the compiler did not say.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        writes: Vec<Write>,
    },
    /// Set bytes.
    Fill {
        /// Where.
        dst: BufferRef,
        /// The byte.
        value: u8,
    },
    /// Copy bytes between buffers of equal length that do not overlap.
    Copy {
        /// From.
        src: BufferRef,
        /// To.
        dst: BufferRef,
    },
}
