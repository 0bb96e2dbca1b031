//! A session: one bundle's program on one device, ready to run any number of times.

use std::time::Instant;

use mnx_artifact::{Bundle, Port, Program};

use crate::device::{Binary, Buffer, Device, DeviceChoice, KernelSet};
use crate::error::RuntimeError;
use crate::isa;
use crate::trace::Trace;

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
}

/// Threads that a session uses unless told otherwise: the cores that this process may run on.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl Session {
    /// Picks the program, maps the weights of the first fold, allocates the arena, loads the code.
    ///
    /// `threads` none means [`default_threads`]; `isa` none means the best that the CPU can run.
    ///
    /// # Errors
    /// `NoProgram` with what the CPU lacks, `Bundle` for damaged weights, `Device` if memory, threads or code cannot be had.
    pub fn open(bundle: &Bundle, device: DeviceChoice, threads: Option<usize>, isa: Option<&str>) -> Result<Self, RuntimeError> {
        Self::on(device.open(threads.unwrap_or_else(default_threads))?, bundle, isa)
    }

    /// The same on a device of the caller's.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn on(mut device: Box<dyn Device>, bundle: &Bundle, isa: Option<&str>) -> Result<Self, RuntimeError> {
        let manifest = bundle.manifest();
        let index = isa::pick(&manifest.programs, isa, &|t| device.runs(t), &|f| device.has(f))?;
        let program = manifest.programs[index].clone();
        let weights = device.weights(bundle, 0)?;
        let arena = device.alloc(program.arena_bytes)?;
        let kernels = device.load(&Binary { code: bundle.code(index), program: &program, arena, weights })?;
        let mut folds = vec![None; bundle.folds()];
        if let Some(first) = folds.first_mut() {
            *first = Some((weights, kernels));
        }
        Ok(Self {
            device,
            program,
            inputs: manifest.inputs.clone(),
            outputs: manifest.outputs.clone(),
            arena,
            bundle: bundle.clone(),
            program_index: index,
            folds,
            fold: 0,
            weights,
            kernels,
        })
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
                let binary = Binary { code: self.bundle.code(self.program_index), program: &self.program, arena: self.arena, weights };
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
    /// As [`Self::run`], and `Port` if outputs do not fit.
    pub fn run_into(&mut self, inputs: &[&[f32]], outputs: &mut [PortData]) -> Result<(), RuntimeError> {
        self.check(inputs, outputs)?;
        self.upload(inputs)?;
        self.device.submit(self.kernels, 0..self.program.commands.len())?;
        self.device.wait()?;
        self.download(outputs)
    }

    /// Runs once and records each command's wall time. Commands are awaited one by one, which costs little on the host.
    ///
    /// # Errors
    /// As [`Self::run_into`], and `Port` if the trace is another session's.
    pub fn run_timed(&mut self, inputs: &[&[f32]], outputs: &mut [PortData], trace: &mut Trace) -> Result<(), RuntimeError> {
        self.check(inputs, outputs)?;
        if trace.seconds.len() != self.program.commands.len() {
            return Err(RuntimeError::Port(format!(
                "trace of {} commands for a program of {}",
                trace.seconds.len(),
                self.program.commands.len()
            )));
        }
        let start = Instant::now();
        self.upload(inputs)?;
        for (index, seconds) in trace.seconds.iter_mut().enumerate() {
            let start = Instant::now();
            self.device.submit(self.kernels, index..index + 1)?;
            self.device.wait()?;
            *seconds = start.elapsed().as_secs_f64();
        }
        self.download(outputs)?;
        trace.total_s = start.elapsed().as_secs_f64();
        Ok(())
    }

    fn check(&self, inputs: &[&[f32]], outputs: &[PortData]) -> Result<(), RuntimeError> {
        if inputs.len() != self.inputs.len() || outputs.len() != self.outputs.len() {
            return Err(RuntimeError::Port(format!(
                "{} inputs and {} outputs given, the network has {} and {}",
                inputs.len(),
                outputs.len(),
                self.inputs.len(),
                self.outputs.len()
            )));
        }
        for (port, data) in self.inputs.iter().zip(inputs) {
            let want: usize = port.shape.iter().product();
            if data.len() != want {
                return Err(RuntimeError::Port(format!(
                    "input \"{}\" has {} values, shape {:?} needs {want}",
                    port.name,
                    data.len(),
                    port.shape
                )));
            }
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
