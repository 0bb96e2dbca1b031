//! The CUDA device: one arena, one stream of launches replayed as a graph, copies on two streams of their own.
//!
//! All `unsafe` that concerns CUDA is in this folder. Without a driver every way in gives an error, never a panic. PTX is compiled by the driver when a bundle
//! is opened; the driver keeps what it compiled in its own cache (`~/.nv/ComputeCache`, see CUDA_CACHE_PATH, CUDA_CACHE_MAXSIZE and CUDA_CACHE_DISABLE in NVIDIA's
//! programming guide), and mnx keeps none.
#![allow(unsafe_code)]

mod api;
mod bound;
mod measure;
mod pipeline;
mod resource;
mod survey;

use std::ops::Range;
use std::sync::Arc;

use mnx_artifact::Bundle;

use crate::device::{Binary, Buffer, Device, KernelSet, Picked, Pipeline, check, range};
use crate::error::RuntimeError;
use crate::pick::{self, CodeForm, GpuFacts};
use crate::roofline::Roofline;
use api::failed;
use bound::Bound;
use pipeline::{Ports, SLOTS};
use resource::{Context, DeviceMemory, Event, Stream};
pub use survey::{count, facts, survey};

/// One NVIDIA GPU.
#[derive(Debug)]
pub struct Cuda {
    facts: GpuFacts,
    /// Before the memory, so that nothing runs when memory is given back.
    sets: Vec<Set>,
    /// Shared by the folds of a bundle.
    ports: Vec<Ports>,
    compute: Stream,
    up: Stream,
    down: Stream,
    memory: Vec<DeviceMemory>,
    context: Arc<Context>,
}

/// A program with what it needs beside its arena.
#[derive(Debug)]
struct Set {
    bound: Bound,
    /// Which of `Cuda::ports`.
    ports: usize,
    /// Marks between commands; made when first asked for.
    marks: Vec<Event>,
}

impl Cuda {
    /// GPU `index` of those that the driver shows (CUDA_VISIBLE_DEVICES chooses which it shows).
    ///
    /// # Errors
    /// `Device` if there is no driver, no such GPU, or the driver refuses.
    pub fn new(index: usize) -> Result<Self, RuntimeError> {
        let (api, device) = survey::device(index)?;
        let context = Context::new(api, device)?;
        let facts = survey::describe(&context, api, device, index)?;
        let (compute, up, down) = (Stream::new(&context)?, Stream::new(&context)?, Stream::new(&context)?);
        Ok(Self { facts, sets: Vec::new(), ports: Vec::new(), compute, up, down, memory: Vec::new(), context })
    }

    /// What is known about it.
    pub fn facts(&self) -> &GpuFacts {
        &self.facts
    }

    fn memory(&self, buffer: Buffer) -> Result<&DeviceMemory, RuntimeError> {
        let found = self.memory.get(buffer.id).filter(|m| m.bytes == buffer.bytes);
        found.ok_or(RuntimeError::Range { offset: 0, bytes: buffer.bytes, limit: 0 })
    }

    fn set(&self, kernels: KernelSet) -> Result<&Set, RuntimeError> {
        self.sets.get(kernels.id).ok_or(RuntimeError::Range { offset: kernels.id as u64, bytes: 1, limit: self.sets.len() as u64 })
    }

    /// Loads the code and binds its commands to their memory. Runs in flight go on; what the arena holds between runs is lost.
    fn bind(&self, binary: &Binary<'_>) -> Result<Bound, RuntimeError> {
        check(binary)?;
        let bases = [self.memory(binary.arena)?.at, self.memory(binary.weights)?.at];
        self.context.bind()?;
        // The rehearsal in `Bound::new` computes with zeros rather than with what was left in the memory.
        let bytes = usize::try_from(binary.arena.bytes).map_err(|_| failed("an arena beyond the address space".to_owned()))?;
        if bytes > 0 {
            // SAFETY: the arena is the device's.
            unsafe { self.context.api.fill(bases[0], 0, bytes, self.compute.raw) }?;
            self.compute.wait().map_err(|fault| self.late(&fault))?;
        }
        Bound::new(&self.context, &self.compute, &self.facts, binary, bases)
    }

    /// An error that shows up when the work is awaited belongs to some kernel of it.
    fn late(&self, fault: &api::Fault) -> RuntimeError {
        failed(format!("a run on {} failed: {fault}; with --check it stops at the dispatch that fails", self.facts.name))
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // Nothing may run while memory, modules and graphs go. An error here has been reported by whoever waited.
        if self.context.bind().is_ok() {
            for stream in [&self.up, &self.compute, &self.down] {
                let _ = stream.wait();
            }
        }
    }
}

impl Device for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn describe(&self) -> String {
        format!("cuda:{} {}", self.facts.index, self.facts.name)
    }

    fn runs(&self, target: &str) -> bool {
        target.starts_with("sm_")
    }

    fn has(&self, _feature: &str) -> bool {
        false
    }

    fn pick(&self, bundle: &Bundle, wanted: Option<&str>) -> Result<Picked, RuntimeError> {
        let manifest = bundle.manifest();
        let ports: u64 = manifest.programs.first().map_or(0, |p| p.inputs.iter().chain(&p.outputs).map(|b| b.bytes).sum());
        let weights = bundle.weights_bytes().saturating_mul(bundle.folds() as u64);
        let beside = weights.saturating_add(ports.saturating_mul(SLOTS as u64));
        let pick = pick::pick(&manifest.programs, &|i| bundle.cubin(i).is_some(), beside, &self.facts, wanted)?;
        let form = match pick.form {
            CodeForm::Cubin => "cubin",
            CodeForm::Code => "PTX",
        };
        let target = &manifest.programs[pick.index].target;
        let note = format!(
            "picked {target} {form} on {} (cuda:{}, compute capability {})",
            self.facts.name,
            self.facts.index,
            self.facts.capability()
        );
        Ok(Picked { index: pick.index, form: pick.form, note: Some(note) })
    }

    fn notes(&self) -> Vec<String> {
        self.sets.iter().filter_map(|s| s.bound.note.clone()).collect()
    }

    fn alloc(&mut self, bytes: u64) -> Result<Buffer, RuntimeError> {
        self.memory.push(DeviceMemory::new(&self.context, bytes)?);
        Ok(Buffer { id: self.memory.len() - 1, bytes })
    }

    fn upload(&mut self, src: &[u8], dst: Buffer, offset: u64) -> Result<(), RuntimeError> {
        let memory = self.memory(dst)?;
        range(offset, src.len() as u64, memory.bytes)?;
        self.context.bind()?;
        if src.is_empty() {
            return Ok(());
        }
        // SAFETY: both ranges exist; the source is awaited before it may go.
        unsafe { self.context.api.copy_up(memory.at + offset, src.as_ptr().cast(), src.len(), self.compute.raw) }?;
        self.compute.wait().map_err(|fault| self.late(&fault))
    }

    fn download(&mut self, src: Buffer, offset: u64, dst: &mut [u8]) -> Result<(), RuntimeError> {
        let memory = self.memory(src)?;
        range(offset, dst.len() as u64, memory.bytes)?;
        self.context.bind()?;
        if dst.is_empty() {
            return Ok(());
        }
        // SAFETY: both ranges exist; the copy has ended when we return.
        unsafe { self.context.api.copy_down(dst.as_mut_ptr().cast(), memory.at + offset, dst.len(), self.compute.raw) }?;
        self.compute.wait().map_err(|fault| self.late(&fault))
    }

    fn load(&mut self, binary: &Binary<'_>) -> Result<KernelSet, RuntimeError> {
        let bound = self.bind(binary)?;
        self.ports.push(Ports::new(&self.context, binary.program, self.memory(binary.arena)?.at)?);
        self.sets.push(Set { bound, ports: self.ports.len() - 1, marks: Vec::new() });
        Ok(KernelSet { id: self.sets.len() - 1 })
    }

    fn rebind(&mut self, loaded: KernelSet, binary: &Binary<'_>) -> Result<KernelSet, RuntimeError> {
        let ports = self.set(loaded)?.ports;
        let bound = self.bind(binary)?;
        if !self.ports[ports].serve(binary.program, self.memory(binary.arena)?.at) {
            return Err(failed("a program with other ports".to_owned()));
        }
        self.sets.push(Set { bound, ports, marks: Vec::new() });
        Ok(KernelSet { id: self.sets.len() - 1 })
    }

    fn submit(&mut self, kernels: KernelSet, commands: Range<usize>) -> Result<(), RuntimeError> {
        let set = self.set(kernels)?;
        range(commands.start as u64, commands.len() as u64, set.bound.len() as u64)?;
        self.context.bind()?;
        set.bound.submit(commands, &self.compute)
    }

    fn wait(&mut self) -> Result<(), RuntimeError> {
        self.context.bind()?;
        self.compute.wait().map_err(|fault| self.late(&fault))
    }

    fn slots(&self) -> usize {
        SLOTS
    }

    fn pipeline(&mut self) -> Option<&mut dyn Pipeline> {
        Some(self)
    }

    fn roofline(&mut self, precision: &str) -> Result<Option<Roofline>, RuntimeError> {
        measure::roofline(&self.context, &self.compute, &self.facts, precision).map(Some)
    }
}
