//! What the executor asks of hardware.

pub mod host;
pub mod null;
pub mod ptx_sim;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use mnx_artifact::{BufferRef, Bundle, Command, Program, Space};

use crate::error::RuntimeError;

/// Memory that a device owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// The device's number for it.
    pub(crate) id: usize,
    /// Its size.
    pub bytes: u64,
}

/// Loaded code, bound to the memory it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelSet {
    pub(crate) id: usize,
}

/// One program with its code and the memory that its commands refer to.
#[derive(Debug, Clone, Copy)]
pub struct Binary<'a> {
    /// The code section: a shared object for the host.
    pub code: &'a [u8],
    /// Its launch list.
    pub program: &'a Program,
    /// At least `program.arena_bytes`.
    pub arena: Buffer,
    /// The bundle's weights.
    pub weights: Buffer,
}

/// Hardware, or something that behaves like it. The executor knows nothing else about a device.
///
/// Commands of one `submit` run in order; `submit` may return before they ended, `wait` does not.
pub trait Device: Send + fmt::Debug {
    /// `host`, `null`, ...
    fn name(&self) -> &'static str;

    /// Threads (or an equivalent) that run workgroups; 1 if that means nothing here.
    fn threads(&self) -> usize {
        1
    }

    /// Whether programs for this target could run here, CPU features aside.
    fn runs(&self, target: &str) -> bool;

    /// Whether the device has a feature that a program requires.
    fn has(&self, feature: &str) -> bool;

    /// Memory of this size, contents undefined, aligned for every kernel.
    ///
    /// # Errors
    /// `Device` if there is not that much.
    fn alloc(&mut self, bytes: u64) -> Result<Buffer, RuntimeError>;

    /// The bundle's weights, digest-checked. Devices that can map the file do so; others upload.
    ///
    /// # Errors
    /// `Bundle` if the file was damaged or changed, and those of `alloc`.
    fn weights(&mut self, bundle: &Bundle) -> Result<Buffer, RuntimeError> {
        let bytes = bundle.read_weights()?;
        let buffer = self.alloc(bytes.len() as u64)?;
        self.upload(&bytes, buffer, 0)?;
        Ok(buffer)
    }

    /// Copies bytes into a buffer.
    ///
    /// # Errors
    /// `Range`.
    fn upload(&mut self, src: &[u8], dst: Buffer, offset: u64) -> Result<(), RuntimeError>;

    /// Copies bytes out of a buffer.
    ///
    /// # Errors
    /// `Range`.
    fn download(&mut self, src: Buffer, offset: u64, dst: &mut [u8]) -> Result<(), RuntimeError>;

    /// Loads code, finds every kernel and binds every command's buffers, so that `submit` needs no look-up and no allocation.
    ///
    /// # Errors
    /// `Device` if the code does not load or lacks a kernel, `Range` if a command leaves its buffers.
    fn load(&mut self, binary: &Binary<'_>) -> Result<KernelSet, RuntimeError>;

    /// Starts a range of the bound launch list.
    ///
    /// # Errors
    /// `Range` for commands that do not exist, `Worker` if a launch failed.
    fn submit(&mut self, kernels: KernelSet, commands: Range<usize>) -> Result<(), RuntimeError>;

    /// Returns when everything submitted has ended.
    ///
    /// # Errors
    /// Whatever went wrong since the last call.
    fn wait(&mut self) -> Result<(), RuntimeError>;
}

/// Which device to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The best there is; today the host.
    #[default]
    Auto,
    /// This machine's CPU.
    Host,
    /// Accepts everything, computes nothing.
    Null,
    /// GPU code in the PTX interpreter.
    PtxSim,
}

impl DeviceChoice {
    /// Every name that `--device` takes.
    pub const NAMES: [&'static str; 4] = ["auto", "host", "null", "ptx-sim"];

    /// Opens the device with this many threads.
    ///
    /// # Errors
    /// `Device` if threads cannot be started.
    pub fn open(self, threads: usize) -> Result<Box<dyn Device>, RuntimeError> {
        match self {
            Self::Auto | Self::Host => Ok(Box::new(host::Host::new(threads)?)),
            Self::Null => Ok(Box::new(null::Null::default())),
            Self::PtxSim => Ok(Box::new(ptx_sim::PtxSim::new(threads))),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(Self::Auto),
            "host" => Ok(Self::Host),
            "null" => Ok(Self::Null),
            "ptx-sim" => Ok(Self::PtxSim),
            _ => Err(format!("unknown device \"{s}\", expected one of {}", Self::NAMES.join(", "))),
        }
    }
}

/// Checks a range against a size and gives it as `usize`.
pub(crate) fn range(offset: u64, bytes: u64, limit: u64) -> Result<Range<usize>, RuntimeError> {
    let end = offset.checked_add(bytes).filter(|&end| end <= limit);
    let end = end.ok_or(RuntimeError::Range { offset, bytes, limit })?;
    let too_far = |_| RuntimeError::Range { offset, bytes, limit };
    Ok(usize::try_from(offset).map_err(too_far)?..usize::try_from(end).map_err(too_far)?)
}

/// Checks every buffer of a binary's commands and ports against its memory, and that nothing writes to the weights on purpose.
pub(crate) fn check(binary: &Binary<'_>) -> Result<(), RuntimeError> {
    let one = |b: &BufferRef| {
        let memory = match b.space {
            Space::Arena => binary.arena,
            Space::Weights => binary.weights,
        };
        range(b.offset, b.bytes, memory.bytes).map(|_| ())
    };
    let written = |b: &BufferRef| match b.space {
        Space::Arena => one(b),
        Space::Weights => Err(RuntimeError::Range { offset: b.offset, bytes: b.bytes, limit: 0 }),
    };
    let program = binary.program;
    range(0, program.arena_bytes, binary.arena.bytes)?;
    program.inputs.iter().chain(&program.outputs).try_for_each(one)?;
    for command in &program.commands {
        match command {
            Command::Launch { args, .. } => args.iter().try_for_each(one)?,
            Command::Fill { dst, .. } => written(dst)?,
            Command::Copy { src, dst } => {
                one(src)?;
                written(dst)?;
                if src.bytes != dst.bytes {
                    return Err(RuntimeError::Range { offset: dst.offset, bytes: src.bytes, limit: dst.bytes });
                }
            }
        }
    }
    Ok(())
}
