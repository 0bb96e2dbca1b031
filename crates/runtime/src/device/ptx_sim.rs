//! GPU programs on the CPU: every launch runs in the PTX interpreter, which watches each access.
//!
//! Every argument of a launch gets an allocation of its own with gaps around it, read-only unless the launch writes it, so that a kernel that leaves
//! its buffers, or writes one it should not, is seen at once. What no command has written stays uninitialised.

use std::collections::HashMap;
use std::ops::Range;

use mnx_artifact::{BufferRef, Command, Space};
use mnx_ptx_sim::{Counters, Launch, Memory, Module, Options, launch};

use crate::device::{Binary, Buffer, Device, KernelSet, check, range};
use crate::error::RuntimeError;

/// The name in `--device` and in errors.
pub const NAME: &str = "ptx-sim";

/// The simulator as a device.
#[derive(Debug)]
pub struct PtxSim {
    options: Options,
    buffers: Vec<Bytes>,
    sets: Vec<Set>,
    failure: Option<RuntimeError>,
    counters: Vec<(String, Counters)>,
}

/// A device buffer, and which of its bytes have been written.
#[derive(Debug)]
struct Bytes {
    data: Vec<u8>,
    written: Vec<bool>,
}

/// Loaded code, bound.
#[derive(Debug)]
struct Set {
    module: Module,
    commands: Vec<Command>,
    outputs: Vec<BufferRef>,
    arena: usize,
    weights: usize,
}

impl PtxSim {
    /// A simulator with this many threads. Findings of the simulator are errors of the run.
    pub fn new(threads: usize) -> Self {
        Self::with(Options { threads, ..Options::default() })
    }

    /// A device with other options (seed of the warp order, tensor-core rounding, checks).
    pub fn with(options: Options) -> Self {
        Self { options, buffers: Vec::new(), sets: Vec::new(), failure: None, counters: Vec::new() }
    }

    /// What every launch since the last call did, in order: kernel and counters.
    pub fn take_counters(&mut self) -> Vec<(String, Counters)> {
        std::mem::take(&mut self.counters)
    }

    fn buffer(&mut self, buffer: Buffer) -> Result<&mut Bytes, RuntimeError> {
        let unknown = RuntimeError::Range { offset: 0, bytes: buffer.bytes, limit: 0 };
        self.buffers.get_mut(buffer.id).ok_or(unknown)
    }

    fn run(&mut self, set: usize, index: usize) -> Result<(), RuntimeError> {
        let Some(command) = self.sets.get(set).and_then(|s| s.commands.get(index)).cloned() else {
            return Err(RuntimeError::Range { offset: index as u64, bytes: 1, limit: 0 });
        };
        let (arena, weights) = (self.sets[set].arena, self.sets[set].weights);
        let of = |space: Space| if space == Space::Arena { arena } else { weights };
        match command {
            Command::Fill { dst, value } => {
                let b = &mut self.buffers[of(dst.space)];
                let at = range(dst.offset, dst.bytes, b.data.len() as u64)?;
                b.data[at.clone()].fill(value);
                b.written[at].fill(true);
                Ok(())
            }
            Command::Copy { src, dst } => {
                let from = &self.buffers[of(src.space)];
                let at = range(src.offset, src.bytes, from.data.len() as u64)?;
                let (data, written) = (from.data[at.clone()].to_vec(), from.written[at].to_vec());
                let to = &mut self.buffers[of(dst.space)];
                let at = range(dst.offset, dst.bytes, to.data.len() as u64)?;
                to.data[at.clone()].copy_from_slice(&data);
                to.written[at].copy_from_slice(&written);
                Ok(())
            }
            Command::Launch { kernel, args, geometry, writes, dispatch, .. } => {
                let geometry = geometry.ok_or_else(|| failure(format!("kernel {kernel} has no grid and block")))?;
                let mut memory = Memory::new();
                let mut params = Vec::with_capacity(args.len());
                for (i, arg) in args.iter().enumerate() {
                    let from = &self.buffers[of(arg.space)];
                    let at = range(arg.offset, arg.bytes, from.data.len() as u64)?;
                    let address = memory.alloc(arg.bytes, mnx_artifact::ALIGNMENT);
                    put(&mut memory, address, &from.data[at.clone()], &from.written[at])?;
                    if !writes.iter().any(|w| w.arg == i) {
                        memory.protect(address).map_err(|e| failure(e.to_string()))?;
                    }
                    params.push(address);
                }
                let dynamic_shared = geometry.shared_bytes;
                let what = Launch { kernel: &kernel, grid: geometry.grid, block: geometry.block, dynamic_shared, params };
                self.launch(set, &dispatch, &what, &mut memory)?;
                for w in &writes {
                    let (arg, address) = (&args[w.arg], what.params[w.arg]);
                    let to = &mut self.buffers[of(arg.space)];
                    let at = range(arg.offset, arg.bytes, to.data.len() as u64)?;
                    memory.read(address, &mut to.data[at.clone()]).map_err(|e| failure(e.to_string()))?;
                    memory.written(address, &mut to.written[at]).map_err(|e| failure(e.to_string()))?;
                }
                Ok(())
            }
        }
    }

    /// After the last command every byte of every output must have been written.
    fn outputs_written(&self, set: usize) -> Result<(), RuntimeError> {
        let s = &self.sets[set];
        for (i, b) in s.outputs.iter().enumerate() {
            let of = &self.buffers[if b.space == Space::Arena { s.arena } else { s.weights }];
            let at = range(b.offset, b.bytes, of.data.len() as u64)?;
            if let Some(first) = of.written[at].iter().position(|w| !w) {
                return Err(failure(format!("byte {first} of {} of output {i} was never written", b.bytes)));
            }
        }
        Ok(())
    }

    fn launch(&mut self, set: usize, dispatch: &str, what: &Launch<'_>, memory: &mut Memory) -> Result<(), RuntimeError> {
        let report = launch(&self.sets[set].module, memory, what, &self.options).map_err(|e| failure(e.to_string()))?;
        if let Some(first) = report.findings.first() {
            let text = format!(
                "dispatch {dispatch}, kernel {}: {}, the first: {first}",
                what.kernel,
                mnx_words::count(report.total_findings as u64, "finding")
            );
            return Err(failure(text));
        }
        self.counters.push((what.kernel.to_owned(), report.counters));
        Ok(())
    }
}

fn failure(reason: String) -> RuntimeError {
    RuntimeError::Device { device: NAME, reason }
}

/// Writes the written stretches of a buffer.
fn put(memory: &mut Memory, address: u64, data: &[u8], written: &[bool]) -> Result<(), RuntimeError> {
    let mut at = 0;
    while at < data.len() {
        let known = written[at];
        let end = written[at..].iter().position(|&w| w != known).map_or(data.len(), |n| at + n);
        if known {
            memory.write(address + at as u64, &data[at..end]).map_err(|e| failure(e.to_string()))?;
        }
        at = end;
    }
    Ok(())
}

impl Device for PtxSim {
    fn name(&self) -> &'static str {
        NAME
    }

    fn threads(&self) -> usize {
        self.options.threads
    }

    fn runs(&self, target: &str) -> bool {
        target.starts_with("sm_")
    }

    fn has(&self, _feature: &str) -> bool {
        true
    }

    fn alloc(&mut self, bytes: u64) -> Result<Buffer, RuntimeError> {
        let n = usize::try_from(bytes).map_err(|_| failure(format!("{bytes} bytes are more than this machine can address")))?;
        self.buffers.push(Bytes { data: vec![0; n], written: vec![false; n] });
        Ok(Buffer { id: self.buffers.len() - 1, bytes })
    }

    fn upload(&mut self, src: &[u8], dst: Buffer, offset: u64) -> Result<(), RuntimeError> {
        let at = range(offset, src.len() as u64, dst.bytes)?;
        let b = self.buffer(dst)?;
        b.data[at.clone()].copy_from_slice(src);
        b.written[at].fill(true);
        Ok(())
    }

    fn download(&mut self, src: Buffer, offset: u64, dst: &mut [u8]) -> Result<(), RuntimeError> {
        let at = range(offset, dst.len() as u64, src.bytes)?;
        let b = self.buffer(src)?;
        dst.copy_from_slice(&b.data[at]);
        Ok(())
    }

    fn load(&mut self, binary: &Binary<'_>) -> Result<KernelSet, RuntimeError> {
        check(binary)?;
        let text = std::str::from_utf8(binary.code).map_err(|e| failure(format!("the code is not PTX text: {e}")))?;
        let module = Module::parse(text).map_err(|e| failure(e.to_string()))?;
        let known: HashMap<String, usize> = module.kernels().map(|k| (k.name.clone(), k.params.len())).collect();
        for command in &binary.program.commands {
            let Command::Launch { kernel, args, .. } = command else { continue };
            match known.get(kernel) {
                Some(&n) if n == args.len() => {}
                Some(n) => {
                    return Err(failure(format!(
                        "kernel {kernel} takes {}, the program passes {}",
                        mnx_words::many(*n, "parameter"),
                        args.len()
                    )));
                }
                None => return Err(failure(format!("the PTX has no kernel {kernel}"))),
            }
        }
        self.sets.push(Set {
            module,
            commands: binary.program.commands.clone(),
            outputs: binary.program.outputs.clone(),
            arena: binary.arena.id,
            weights: binary.weights.id,
        });
        Ok(KernelSet { id: self.sets.len() - 1 })
    }

    fn submit(&mut self, kernels: KernelSet, commands: Range<usize>) -> Result<(), RuntimeError> {
        for index in commands {
            if self.failure.is_some() {
                break;
            }
            let last = self.sets.get(kernels.id).is_some_and(|s| index + 1 == s.commands.len());
            let done = self.run(kernels.id, index).and_then(|()| if last { self.outputs_written(kernels.id) } else { Ok(()) });
            if let Err(e) = done {
                self.failure = Some(e);
            }
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), RuntimeError> {
        match self.failure.take() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }
}
