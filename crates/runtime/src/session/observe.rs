//! Runs that look at what happens inside: times, finite results, the buffers of every launch.

use std::time::Instant;

use mnx_artifact::{BufferRef, Command, Element, Space};

use crate::error::RuntimeError;
use crate::finite::{self, NotFinite};
use crate::session::{PortData, Session};
use crate::trace::Trace;

/// One launch with the bytes of its buffers.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchRecord<'a> {
    /// Which command of the program.
    pub index: usize,
    /// The command, a launch.
    pub command: &'a Command,
    /// Every argument before the launch. What no launch had written yet is arbitrary.
    pub before: Vec<Vec<u8>>,
    /// The arguments that it writes, by number, after it.
    pub after: Vec<(usize, Vec<u8>)>,
}

impl Session {
    /// Runs once and records each command's time: on the host wall time, commands being awaited one by one, which costs little; on a GPU by its own clock, from the
    /// end of one command to the end of the next.
    ///
    /// # Errors
    /// As [`Self::run_into`], and `Port` if the trace is another session's.
    pub fn run_timed(&mut self, inputs: &[&[f32]], outputs: &mut [PortData], trace: &mut Trace) -> Result<(), RuntimeError> {
        self.idle()?;
        self.check_inputs(inputs)?;
        self.check_outputs(outputs)?;
        if trace.seconds.len() != self.program.commands.len() {
            return Err(RuntimeError::Port(format!(
                "trace of {} commands for a program of {}",
                trace.seconds.len(),
                self.program.commands.len()
            )));
        }
        let start = Instant::now();
        if let Some(pipeline) = self.device.pipeline() {
            let bytes: Vec<&[u8]> = inputs.iter().map(|data| bytemuck::cast_slice(data)).collect();
            let mut room: Vec<&mut [u8]> = outputs.iter_mut().map(PortData::bytes_mut).collect();
            pipeline.time(self.kernels, &bytes, &mut room, &mut trace.seconds)?;
        } else {
            self.upload(inputs)?;
            for (index, seconds) in trace.seconds.iter_mut().enumerate() {
                let start = Instant::now();
                self.device.submit(self.kernels, index..index + 1)?;
                self.device.wait()?;
                *seconds = start.elapsed().as_secs_f64();
            }
            self.download(outputs)?;
        }
        trace.total_s = start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Seconds by the device's own clock for one more run over the inputs of the last, without copies to or from the host; none where the device has no clock
    /// of its own.
    ///
    /// # Errors
    /// As [`Self::run_into`].
    pub fn replay(&mut self) -> Result<Option<f64>, RuntimeError> {
        self.idle()?;
        self.device.pipeline().map(|pipeline| pipeline.replay(self.kernels)).transpose()
    }

    /// Runs once, command by command, and looks for NaN and infinities in the inputs and in everything that each launch writes. Stops at the first buffer that
    /// has any and says which; the outputs are those of the run only if there is none.
    ///
    /// # Errors
    /// As [`Self::run_into`], and `Port` if the bundle does not say what its kernels write.
    pub fn run_checked(&mut self, inputs: &[&[f32]], outputs: &mut [PortData]) -> Result<Option<NotFinite>, RuntimeError> {
        self.idle()?;
        self.check_inputs(inputs)?;
        self.check_outputs(outputs)?;
        if !finite::says_what_it_writes(&self.program) {
            return Err(RuntimeError::Port("the bundle does not say what its kernels write; compile it anew to check it".to_owned()));
        }
        for (port, data) in self.inputs.iter().zip(inputs) {
            if let Some((nan, infinite, first)) = finite::count(bytemuck::cast_slice(data), Element::F32) {
                let place = port.name.clone();
                return Ok(Some(NotFinite { place, kernel: None, elements: data.len(), nan, infinite, first }));
            }
        }
        self.upload(inputs)?;
        let mut bytes = Vec::new();
        for (index, command) in self.program.commands.iter().enumerate() {
            self.device.submit(self.kernels, index..index + 1)?;
            self.device.wait().map_err(|error| match command {
                Command::Launch { dispatch, kernel, .. } => error.within(&format!("dispatch {dispatch}, kernel {kernel}")),
                _ => error,
            })?;
            for w in finite::watched(command) {
                bytes.clear();
                bytes.resize(usize::try_from(w.buffer.bytes).unwrap_or(0), 0);
                self.device.download(self.arena, w.buffer.offset, &mut bytes)?;
                if let Some((nan, infinite, first)) = finite::count(&bytes, w.element) {
                    let kernel = Some((w.kernel.to_owned(), w.arg));
                    let elements = bytes.len() / w.element.bytes();
                    return Ok(Some(NotFinite { place: w.dispatch.to_owned(), kernel, elements, nan, infinite, first }));
                }
            }
        }
        self.download(outputs)?;
        Ok(None)
    }

    /// Runs once, command by command, and hands over the buffers of the launches that `wanted` names by their command's index.
    ///
    /// # Errors
    /// As [`Self::run_checked`]; what `take` returns.
    pub fn run_recorded<E: From<RuntimeError>>(
        &mut self,
        inputs: &[&[f32]],
        wanted: &dyn Fn(usize) -> bool,
        take: &mut dyn FnMut(LaunchRecord<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.idle()?;
        self.check_inputs(inputs)?;
        if !finite::says_what_it_writes(&self.program) {
            return Err(
                RuntimeError::Port("the bundle does not say what its kernels write; compile it anew to record it".to_owned()).into()
            );
        }
        self.upload(inputs)?;
        let commands = self.program.commands.clone();
        for (index, command) in commands.iter().enumerate() {
            let watched = match command {
                Command::Launch { args, writes, .. } if wanted(index) => Some((args, writes)),
                _ => None,
            };
            let mut before = Vec::new();
            for arg in watched.iter().flat_map(|(args, _)| *args) {
                before.push(self.bytes_of(arg)?);
            }
            self.device.submit(self.kernels, index..index + 1)?;
            self.device.wait()?;
            if let Some((args, writes)) = watched {
                let mut after = Vec::new();
                for write in writes {
                    after.push((write.arg, self.bytes_of(&args[write.arg])?));
                }
                take(LaunchRecord { index, command, before, after })?;
            }
        }
        Ok(())
    }

    fn bytes_of(&mut self, buffer: &BufferRef) -> Result<Vec<u8>, RuntimeError> {
        let memory = if buffer.space == Space::Arena { self.arena } else { self.weights };
        let mut bytes = vec![0; usize::try_from(buffer.bytes).unwrap_or(0)];
        self.device.download(memory, buffer.offset, &mut bytes)?;
        Ok(bytes)
    }
}
