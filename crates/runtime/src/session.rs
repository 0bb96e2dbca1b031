//! A session: one bundle's program on one device, ready to run any number of times.

mod observe;

use std::collections::VecDeque;

use mnx_artifact::{Bundle, Port, Program};
use smallvec::SmallVec;

use crate::device::{Binary, Buffer, Device, DeviceChoice, KernelSet};
use crate::error::RuntimeError;
use crate::pick::CodeForm;
use crate::roofline::Roofline;
use crate::trace::Trace;
pub use observe::LaunchRecord;

/// Values of one output port.
#[derive(Debug, Clone, PartialEq)]
pub enum PortData {
    /// Logits or probabilities.
    F32(Vec<f32>),
    /// Labels.
    I32(Vec<i32>),
}

impl PortData {
    /// Zeros for a port.
    fn zeros(port: &Port) -> Self {
        let n = port.shape.iter().product();
        if port.dtype == "i32" { Self::I32(vec![0; n]) } else { Self::F32(vec![0.0; n]) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::I32(v) => v.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `f32` or `i32`.
    pub fn dtype(&self) -> &'static str {
        match self {
            Self::F32(_) => "f32",
            Self::I32(_) => "i32",
        }
    }

    /// Element `index` as a number.
    pub fn value(&self, index: usize) -> Option<f64> {
        match self {
            Self::F32(v) => v.get(index).map(|&x| f64::from(x)),
            Self::I32(v) => v.get(index).map(|&x| f64::from(x)),
        }
    }

    /// The elements as they lie in memory.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::F32(v) => bytemuck::cast_slice(v),
            Self::I32(v) => bytemuck::cast_slice(v),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::F32(v) => bytemuck::cast_slice_mut(v),
            Self::I32(v) => bytemuck::cast_slice_mut(v),
        }
    }
}

/// An opened program. Memory is allocated here and never again.
#[derive(Debug)]
pub struct Session {
    device: Box<dyn Device>,
    program: Program,
    form: CodeForm,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    arena: Buffer,
    /// For the folds that are not open yet.
    bundle: Bundle,
    program_index: usize,
    /// Each fold's weights and the launch list bound to them, once it was selected.
    folds: Vec<Option<(Buffer, KernelSet)>>,
    fold: usize,
    weights: Buffer,
    kernels: KernelSet,
    notes: Vec<String>,
    /// Runs started and not collected, oldest first, by the launch list (the fold) of each.
    flying: VecDeque<KernelSet>,
    /// Runs collected so far; run `n` has slot `n % depth`.
    collected: usize,
}

/// Threads that a session uses unless told otherwise: the cores that this process may run on.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The most threads that a host takes: four times the cores that this process may run on. More only wait for each other, and so many
/// more are a slip of the finger that would take minutes to start.
pub fn most_threads() -> usize {
    default_threads().saturating_mul(4)
}

impl Session {
    /// Picks device and program, loads the weights of the first fold, allocates the arena, loads the code.
    ///
    /// `threads` none means [`default_threads`]; `isa` none means the best that the device can run.
    ///
    /// # Errors
    /// `NoProgram` with what the device lacks, `Bundle` for damaged weights, `Device` if memory, threads or code cannot be had, or if there are several
    /// devices (`cuda:all`).
    pub fn open(bundle: &Bundle, device: DeviceChoice, threads: Option<usize>, isa: Option<&str>) -> Result<Self, RuntimeError> {
        let mut sessions = Self::open_all(bundle, device, threads, isa)?;
        match (sessions.pop(), sessions.len()) {
            (Some(session), 0) => Ok(session),
            (_, more) => Err(RuntimeError::Port(format!("{device} means {} devices; name one, for example cuda:0", more + 1))),
        }
    }

    /// One session per device: all GPUs for `cuda:all`, else one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_all(bundle: &Bundle, device: DeviceChoice, threads: Option<usize>, isa: Option<&str>) -> Result<Vec<Self>, RuntimeError> {
        let (devices, note) = device.open(bundle, threads.unwrap_or_else(default_threads), isa)?;
        let mut sessions: Vec<Self> = devices.into_iter().map(|device| Self::on(device, bundle, isa)).collect::<Result<_, _>>()?;
        if let (Some(first), Some(note)) = (sessions.first_mut(), note) {
            first.notes.insert(0, note);
        }
        Ok(sessions)
    }

    /// A session on a device of the caller's.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn on(mut device: Box<dyn Device>, bundle: &Bundle, isa: Option<&str>) -> Result<Self, RuntimeError> {
        let manifest = bundle.manifest();
        let picked = device.pick(bundle, isa)?;
        let index = picked.index;
        let program = manifest.programs[index].clone();
        let weights = device.weights(bundle, 0)?;
        let arena = device.alloc(program.arena_bytes)?;
        let cubin = bundle.cubin(index).filter(|_| picked.form == CodeForm::Cubin);
        let kernels = device.load(&Binary { code: bundle.code(index), cubin, program: &program, arena, weights })?;
        let notes = picked.note.into_iter().chain(device.notes()).collect();
        let form = if picked.form == CodeForm::Cubin { "cubin" } else { "code" };
        let (on, threads, arena_bytes) = (device.describe(), device.threads(), program.arena_bytes);
        let weights_bytes = weights.bytes;
        tracing::info!(device = %on, target = %program.target, %form, threads, arena_bytes, weights_bytes, "program chosen");
        let mut folds = vec![None; bundle.folds()];
        if let Some(first) = folds.first_mut() {
            *first = Some((weights, kernels));
        }
        Ok(Self {
            device,
            program,
            form: picked.form,
            inputs: manifest.inputs.clone(),
            outputs: manifest.outputs.clone(),
            arena,
            bundle: bundle.clone(),
            program_index: index,
            folds,
            fold: 0,
            weights,
            kernels,
            notes,
            flying: VecDeque::new(),
            collected: 0,
        })
    }

    /// What the user should know of how device and code were chosen.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Which of the program's sections was picked.
    pub fn form(&self) -> CodeForm {
        self.form
    }

    /// The device's name with what tells it from others of its kind.
    pub fn device(&self) -> String {
        self.device.describe()
    }

    /// What the device can do at most; none where that means nothing.
    ///
    /// # Errors
    /// `Device` if it cannot be measured.
    pub fn roofline(&mut self) -> Result<Option<Roofline>, RuntimeError> {
        self.device.roofline(&self.program.precision)
    }

    /// Number of folds: sets of weights that the same code runs with.
    pub fn folds(&self) -> usize {
        self.folds.len()
    }

    /// The fold that runs use.
    pub fn fold(&self) -> usize {
        self.fold
    }

    /// Lets further runs use another fold's weights; arena and code stay. The first time a fold is selected its weights are mapped and
    /// their digest is checked.
    ///
    /// # Errors
    /// `Bundle` if there is no such fold or its weights are damaged, `Device` if they cannot be mapped. The session stays as it was then.
    pub fn select_fold(&mut self, fold: usize) -> Result<(), RuntimeError> {
        let (weights, kernels) = match self.folds.get(fold).copied().flatten() {
            Some(known) => known,
            None => {
                let weights = self.device.weights(&self.bundle, fold)?;
                let index = self.program_index;
                let cubin = self.bundle.cubin(index).filter(|_| self.form == CodeForm::Cubin);
                let binary = Binary { code: self.bundle.code(index), cubin, program: &self.program, arena: self.arena, weights };
                let kernels = self.device.rebind(self.kernels, &binary)?;
                if let Some(slot) = self.folds.get_mut(fold) {
                    *slot = Some((weights, kernels));
                }
                (weights, kernels)
            }
        };
        (self.fold, self.weights, self.kernels) = (fold, weights, kernels);
        Ok(())
    }

    /// The input ports.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// The output ports.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// The program that was picked.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The device's name.
    pub fn device_name(&self) -> &'static str {
        self.device.name()
    }

    /// Threads that run workgroups.
    pub fn threads(&self) -> usize {
        self.device.threads()
    }

    /// Bytes of the mapped weights.
    pub fn weights_bytes(&self) -> u64 {
        self.weights.bytes
    }

    /// Zeroed outputs of the right sizes and types, for [`Self::run_into`].
    pub fn new_outputs(&self) -> Vec<PortData> {
        self.outputs.iter().map(PortData::zeros).collect()
    }

    /// An empty trace of the right size, for [`Self::run_timed`].
    pub fn new_trace(&self) -> Trace {
        Trace { seconds: vec![0.0; self.program.commands.len()], total_s: 0.0 }
    }

    /// Runs once and returns the outputs. One slice per input port, in port order, channels first and dense.
    ///
    /// # Errors
    /// `Port` if inputs do not fit, `Worker` if a launch failed.
    pub fn run(&mut self, inputs: &[&[f32]]) -> Result<Vec<PortData>, RuntimeError> {
        let mut outputs = self.new_outputs();
        self.run_into(inputs, &mut outputs)?;
        Ok(outputs)
    }

    /// Runs once into the caller's outputs; allocates nothing.
    ///
    /// # Errors
    /// As [`Self::run`], and `Port` if outputs do not fit or runs are in flight.
    pub fn run_into(&mut self, inputs: &[&[f32]], outputs: &mut [PortData]) -> Result<(), RuntimeError> {
        self.idle()?;
        self.check_outputs(outputs)?;
        // Single runs keep to slot 0, which `replay` goes back to.
        self.collected = 0;
        self.enqueue(inputs)?;
        self.collect(outputs)
    }

    /// How many runs may be in flight: 1 on the host, which computes in [`Self::enqueue`].
    pub fn depth(&self) -> usize {
        self.device.slots()
    }

    /// Starts a run; the inputs may go when this returns. On a GPU it returns before the run has ended.
    ///
    /// # Errors
    /// `Port` if inputs do not fit or [`Self::depth`] runs are in flight, `Device`, `Worker`.
    pub fn enqueue(&mut self, inputs: &[&[f32]]) -> Result<(), RuntimeError> {
        self.check_inputs(inputs)?;
        if self.flying.len() >= self.depth() {
            return Err(RuntimeError::Port(format!("{} runs are in flight, which is all that the device holds", self.flying.len())));
        }
        let slot = (self.collected + self.flying.len()) % self.depth();
        match self.device.pipeline() {
            Some(pipeline) => {
                let bytes: SmallVec<[&[u8]; 8]> = inputs.iter().map(|data| bytemuck::cast_slice(data)).collect();
                pipeline.start(self.kernels, slot, &bytes)?;
            }
            None => {
                self.upload(inputs)?;
                self.device.submit(self.kernels, 0..self.program.commands.len())?;
            }
        }
        self.flying.push_back(self.kernels);
        Ok(())
    }

    /// Waits for the oldest run in flight and takes its outputs.
    ///
    /// # Errors
    /// `Port` if outputs do not fit or nothing is in flight; what the run failed with.
    pub fn collect(&mut self, outputs: &mut [PortData]) -> Result<(), RuntimeError> {
        self.check_outputs(outputs)?;
        let Some(&kernels) = self.flying.front() else {
            return Err(RuntimeError::Port("no run is in flight".to_owned()));
        };
        let slot = self.collected % self.depth();
        match self.device.pipeline() {
            Some(pipeline) => {
                let mut bytes: SmallVec<[&mut [u8]; 8]> = outputs.iter_mut().map(PortData::bytes_mut).collect();
                pipeline.finish(kernels, slot, &mut bytes)?;
            }
            None => {
                self.device.wait()?;
                self.download(outputs)?;
            }
        }
        self.flying.pop_front();
        self.collected = self.collected.wrapping_add(1) % self.depth();
        Ok(())
    }

    /// Runs as often as `next` fills the inputs (one vector per port; `false` ends it), with as many runs in flight as the device holds; `done` gets the outputs,
    /// in order.
    ///
    /// # Errors
    /// As [`Self::run_into`]; whatever `next` and `done` return.
    pub fn run_many<E: From<RuntimeError>>(
        &mut self,
        mut next: impl FnMut(&mut [Vec<f32>]) -> Result<bool, E>,
        mut done: impl FnMut(&[PortData]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.idle()?;
        let mut inputs: Vec<Vec<f32>> = self.inputs.iter().map(|p| vec![0.0; p.shape.iter().product()]).collect();
        let mut outputs = self.new_outputs();
        let mut more = true;
        while more || !self.flying.is_empty() {
            while more && self.flying.len() < self.depth() {
                more = next(&mut inputs)?;
                if more {
                    let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
                    self.enqueue(&slices)?;
                }
            }
            if !self.flying.is_empty() {
                self.collect(&mut outputs)?;
                done(&outputs)?;
            }
        }
        Ok(())
    }

    fn idle(&self) -> Result<(), RuntimeError> {
        if self.flying.is_empty() {
            return Ok(());
        }
        let (runs, them) = match self.flying.len() {
            1 => ("1 run is".to_owned(), "it"),
            n => (format!("{n} runs are"), "them"),
        };
        Err(RuntimeError::Port(format!("{runs} in flight; collect {them} first")))
    }

    fn check_inputs(&self, inputs: &[&[f32]]) -> Result<(), RuntimeError> {
        if inputs.len() != self.inputs.len() {
            return Err(RuntimeError::Port(format!("{} inputs given, the network has {}", inputs.len(), self.inputs.len())));
        }
        for (port, data) in self.inputs.iter().zip(inputs) {
            let want: usize = port.shape.iter().product();
            if data.len() != want {
                return Err(RuntimeError::Port(format!(
                    "input \"{}\" has {} values, shape {} needs {want}",
                    port.name,
                    data.len(),
                    mnx_words::list(&port.shape)
                )));
            }
        }
        Ok(())
    }

    fn check_outputs(&self, outputs: &[PortData]) -> Result<(), RuntimeError> {
        if outputs.len() != self.outputs.len() {
            return Err(RuntimeError::Port(format!("{} outputs given, the network has {}", outputs.len(), self.outputs.len())));
        }
        for (port, data) in self.outputs.iter().zip(outputs) {
            let want: usize = port.shape.iter().product();
            if data.len() != want || data.dtype() != port.dtype {
                return Err(RuntimeError::Port(format!(
                    "output \"{}\" given {} {} values, {want} {} needed",
                    port.name,
                    data.len(),
                    data.dtype(),
                    port.dtype
                )));
            }
        }
        Ok(())
    }

    fn upload(&mut self, inputs: &[&[f32]]) -> Result<(), RuntimeError> {
        for (data, place) in inputs.iter().zip(&self.program.inputs) {
            self.device.upload(bytemuck::cast_slice(data), self.arena, place.offset)?;
        }
        Ok(())
    }

    fn download(&mut self, outputs: &mut [PortData]) -> Result<(), RuntimeError> {
        for (data, place) in outputs.iter_mut().zip(&self.program.outputs) {
            self.device.download(self.arena, place.offset, data.bytes_mut())?;
        }
        Ok(())
    }
}
