//! What the executor asks of hardware.

mod choice;
pub mod cuda;
pub mod host;
pub mod null;
pub mod ptx_sim;

use std::fmt;
use std::ops::Range;

use mnx_artifact::{BufferRef, Bundle, Command, Program, Space};

use crate::error::RuntimeError;
use crate::isa;
use crate::pick::CodeForm;
use crate::roofline::Roofline;
pub use choice::DeviceChoice;

/// Memory that a device owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// The device's number for it.
    pub(crate) id: usize,
    /// Size in bytes.
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
    /// The code section: a shared object for the host, PTX text for GPUs.
    pub code: &'a [u8],
    /// The cubin, where `pick` chose it.
    pub cubin: Option<&'a [u8]>,
    /// Launch list of the code.
    pub program: &'a Program,
    /// At least `program.arena_bytes`.
    pub arena: Buffer,
    /// The bundle's weights.
    pub weights: Buffer,
}

/// The program that a device chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picked {
    /// Which of the manifest's programs.
    pub index: usize,
    /// Which of its sections.
    pub form: CodeForm,
    /// What the user should know of the choice, if there was one to make.
    pub note: Option<String>,
}

/// A device that works on several runs at once, copying for one while it computes another.
///
/// Every run has a slot, one of `Device::slots`; slots are started and finished in turn. A slot that was started must be finished before it is started again.
pub trait Pipeline {
    /// Starts a whole run. The inputs, one per port, may go when this returns.
    ///
    /// # Errors
    /// `Range` for a busy slot or inputs of the wrong size, `Device`.
    fn start(&mut self, kernels: KernelSet, slot: usize, inputs: &[&[u8]]) -> Result<(), RuntimeError>;

    /// Waits for a slot's run and hands over its outputs.
    ///
    /// # Errors
    /// `Range` for a slot that was not started, `Device` if the run failed.
    fn finish(&mut self, kernels: KernelSet, slot: usize, outputs: &mut [&mut [u8]]) -> Result<(), RuntimeError>;

    /// Seconds of the device's own clock for one whole run over the inputs of slot 0's last run, which are there already. Nothing may be in flight.
    ///
    /// # Errors
    /// `Device` if the run failed.
    fn replay(&mut self, kernels: KernelSet) -> Result<f64, RuntimeError>;

    /// One run, with the seconds that the device took for each command. Nothing may be in flight.
    ///
    /// # Errors
    /// As the two above.
    fn time(&mut self, kernels: KernelSet, inputs: &[&[u8]], outputs: &mut [&mut [u8]], seconds: &mut [f64]) -> Result<(), RuntimeError>;
}

/// Hardware, or something that behaves like it. The executor knows nothing else about a device.
///
/// Commands of one `submit` run in order; `submit` may return before they ended, `wait` does not.
pub trait Device: Send + fmt::Debug {
    /// `host`, `cuda`, `null`, ...
    fn name(&self) -> &'static str;

    /// The name with what tells this device from others of its kind: `cuda:0 NVIDIA H100`.
    fn describe(&self) -> String {
        self.name().to_owned()
    }

    /// Threads (or an equivalent) that run workgroups; 1 if that means nothing here.
    fn threads(&self) -> usize {
        1
    }

    /// Whether programs for this target could run here, CPU features aside.
    fn runs(&self, target: &str) -> bool;

    /// Whether the device has a feature that a program requires.
    fn has(&self, feature: &str) -> bool;

    /// The best of a bundle's programs for this device, or the one of target `wanted`.
    ///
    /// # Errors
    /// `NoProgram` with the reasons.
    fn pick(&self, bundle: &Bundle, wanted: Option<&str>) -> Result<Picked, RuntimeError> {
        let index = isa::pick(&bundle.manifest().programs, wanted, &|t| self.runs(t), &|f| self.has(f))?;
        Ok(Picked { index, form: CodeForm::Code, note: None })
    }

    /// What the user should know since the device was opened.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Memory of this size, contents undefined, aligned for every kernel.
    ///
    /// # Errors
    /// `Device` if there is not that much.
    fn alloc(&mut self, bytes: u64) -> Result<Buffer, RuntimeError>;

    /// The weights of one of the bundle's folds, digest-checked. Devices that can map the file do so; others upload.
    ///
    /// # Errors
    /// `Bundle` if the file was damaged or changed or has no such fold, and those of `alloc`.
    fn weights(&mut self, bundle: &Bundle, fold: usize) -> Result<Buffer, RuntimeError> {
        let bytes = bundle.read_weights(fold)?;
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

    /// Binds a program that was loaded before to other weights of the same size; arena and code stay. A device that shares nothing between
    /// two bindings loads the code anew, which is what this does unless told better.
    ///
    /// # Errors
    /// As [`Self::load`].
    fn rebind(&mut self, loaded: KernelSet, binary: &Binary<'_>) -> Result<KernelSet, RuntimeError> {
        let _ = loaded;
        self.load(binary)
    }

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

    /// Runs that may be in flight.
    fn slots(&self) -> usize {
        1
    }

    /// This device's way to have several runs in flight, if it has one.
    fn pipeline(&mut self) -> Option<&mut dyn Pipeline> {
        None
    }

    /// What the device can do at most for programs of this precision; none where that means nothing.
    ///
    /// # Errors
    /// `Device` if it cannot be measured.
    fn roofline(&mut self, _precision: &str) -> Result<Option<Roofline>, RuntimeError> {
        Ok(None)
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
