//! Runs in flight: while one computes, the next one's input goes up and the last one's output comes down.
//!
//! The arena's port ranges are reused by other tensors during a run, so each slot has port buffers of its own on the GPU; copying between them and the arena costs
//! microseconds at the memory's rate. On the host each slot has pinned buffers, which the GPU reads and writes by itself.

use std::sync::Arc;

use cudarc::driver::sys::CUdeviceptr;
use mnx_artifact::Program;

use super::api::{Fault, failed};
use super::resource::{Context, DeviceMemory, Event, Pinned, Stream};
use super::{Cuda, Set};
use crate::device::{KernelSet, Pipeline};
use crate::error::RuntimeError;

/// Runs that may be in flight: one computes, one waits with its input there or has its output on the way.
pub(super) const SLOTS: usize = 2;

/// One port: its place in the arena and its size.
#[derive(Debug)]
struct Port {
    arena: CUdeviceptr,
    bytes: usize,
}

/// One port of one slot.
#[derive(Debug)]
struct Lane {
    host: Pinned,
    device: DeviceMemory,
}

#[derive(Debug)]
struct Slot {
    inputs: Vec<Lane>,
    outputs: Vec<Lane>,
    uploaded: Event,
    computed: Event,
    downloaded: Event,
    /// Started and not finished.
    busy: bool,
}

/// Every port of a program, in all slots.
#[derive(Debug)]
pub(super) struct Ports {
    context: Arc<Context>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    slots: Vec<Slot>,
}

impl Ports {
    pub(super) fn new(context: &Arc<Context>, program: &Program, arena: CUdeviceptr) -> Result<Self, RuntimeError> {
        let ports = |list: &[mnx_artifact::BufferRef]| -> Result<Vec<Port>, RuntimeError> {
            list.iter()
                .map(|b| {
                    let bytes = usize::try_from(b.bytes).map_err(|_| failed(format!("a port of {} bytes", b.bytes)))?;
                    Ok(Port { arena: arena + b.offset, bytes })
                })
                .collect()
        };
        let (inputs, outputs) = (ports(&program.inputs)?, ports(&program.outputs)?);
        let lanes = |ports: &[Port]| -> Result<Vec<Lane>, RuntimeError> {
            ports
                .iter()
                .map(|p| Ok(Lane { host: Pinned::new(context, p.bytes as u64)?, device: DeviceMemory::new(context, p.bytes as u64)? }))
                .collect()
        };
        let slots = (0..SLOTS)
            .map(|_| {
                Ok(Slot {
                    inputs: lanes(&inputs)?,
                    outputs: lanes(&outputs)?,
                    uploaded: Event::new(context, false)?,
                    computed: Event::new(context, false)?,
                    downloaded: Event::new(context, false)?,
                    busy: false,
                })
            })
            .collect::<Result<_, RuntimeError>>()?;
        Ok(Self { context: Arc::clone(context), inputs, outputs, slots })
    }

    /// Whether these are a program's ports in this arena.
    pub(super) fn serve(&self, program: &Program, arena: CUdeviceptr) -> bool {
        let same = |ports: &[Port], list: &[mnx_artifact::BufferRef]| {
            ports.len() == list.len() && ports.iter().zip(list).all(|(p, b)| p.arena == arena + b.offset && p.bytes as u64 == b.bytes)
        };
        same(&self.inputs, &program.inputs) && same(&self.outputs, &program.outputs)
    }

    fn slot(&mut self, slot: usize, busy: bool) -> Result<&mut Slot, RuntimeError> {
        let limit = self.slots.len() as u64;
        let found = self.slots.get_mut(slot).filter(|s| s.busy == busy);
        found.ok_or(RuntimeError::Range { offset: slot as u64, bytes: 1, limit })
    }

    /// Copies the caller's inputs where the GPU fetches them.
    fn stage(&mut self, slot: usize, inputs: &[&[u8]]) -> Result<(), RuntimeError> {
        let slot = self.slot(slot, false)?;
        if inputs.len() != slot.inputs.len() {
            return Err(RuntimeError::Range { offset: 0, bytes: inputs.len() as u64, limit: slot.inputs.len() as u64 });
        }
        for (lane, data) in slot.inputs.iter_mut().zip(inputs) {
            // SAFETY: the slot is not busy, so nothing is copied from it.
            let place = unsafe { lane.host.bytes_mut() };
            if place.len() != data.len() {
                return Err(RuntimeError::Range { offset: 0, bytes: data.len() as u64, limit: place.len() as u64 });
            }
            place.copy_from_slice(data);
        }
        Ok(())
    }

    fn up(&self, slot: usize, stream: &Stream) -> Result<(), Fault> {
        for (lane, port) in self.slots[slot].inputs.iter().zip(&self.inputs) {
            // SAFETY: both have the port's size, and live until the device has waited for its streams.
            unsafe { self.context.api.copy_up(lane.device.at, lane.host.address(), port.bytes, stream.raw) }?;
        }
        Ok(())
    }

    fn fill_arena(&self, slot: usize, stream: &Stream) -> Result<(), Fault> {
        for (lane, port) in self.slots[slot].inputs.iter().zip(&self.inputs) {
            // SAFETY: both have the port's size.
            unsafe { self.context.api.copy_within(port.arena, lane.device.at, port.bytes, stream.raw) }?;
        }
        Ok(())
    }

    fn read_arena(&self, slot: usize, stream: &Stream) -> Result<(), Fault> {
        for (lane, port) in self.slots[slot].outputs.iter().zip(&self.outputs) {
            // SAFETY: both have the port's size.
            unsafe { self.context.api.copy_within(lane.device.at, port.arena, port.bytes, stream.raw) }?;
        }
        Ok(())
    }

    fn down(&self, slot: usize, stream: &Stream) -> Result<(), Fault> {
        for (lane, port) in self.slots[slot].outputs.iter().zip(&self.outputs) {
            // SAFETY: both have the port's size, and live until the device has waited for its streams.
            unsafe { self.context.api.copy_down(lane.host.address(), lane.device.at, port.bytes, stream.raw) }?;
        }
        Ok(())
    }

    /// Hands the caller what the GPU has left. The slot's last copy must have ended.
    fn unstage(&mut self, slot: usize, outputs: &mut [&mut [u8]]) -> Result<(), RuntimeError> {
        let slot = self.slot(slot, true)?;
        slot.busy = false;
        for (lane, data) in slot.outputs.iter_mut().zip(outputs) {
            // SAFETY: the caller has awaited the copy into it.
            let place = unsafe { lane.host.bytes_mut() };
            if place.len() != data.len() {
                return Err(RuntimeError::Range { offset: 0, bytes: data.len() as u64, limit: place.len() as u64 });
            }
            data.copy_from_slice(place);
        }
        Ok(())
    }
}

impl Cuda {
    fn set_mut(&mut self, kernels: KernelSet) -> Result<&mut Set, RuntimeError> {
        let limit = self.sets.len() as u64;
        self.sets.get_mut(kernels.id).ok_or(RuntimeError::Range { offset: kernels.id as u64, bytes: 1, limit })
    }

    fn ports_mut(&mut self, kernels: KernelSet) -> Result<&mut Ports, RuntimeError> {
        let ports = self.set(kernels)?.ports;
        // A set's ports are never taken away.
        Ok(&mut self.ports[ports])
    }

    /// Makes sure that a set has this many marks.
    fn marks(&mut self, kernels: KernelSet, count: usize) -> Result<(), RuntimeError> {
        while self.set(kernels)?.marks.len() < count {
            let mark = Event::new(&self.context, true)?;
            self.set_mut(kernels)?.marks.push(mark);
        }
        Ok(())
    }
}

impl Pipeline for Cuda {
    fn start(&mut self, kernels: KernelSet, slot: usize, inputs: &[&[u8]]) -> Result<(), RuntimeError> {
        self.context.bind()?;
        self.ports_mut(kernels)?.stage(slot, inputs)?;
        // From here on the slot may be in use by the GPU, whatever goes wrong: it stays busy until `finish` has waited.
        self.ports_mut(kernels)?.slot(slot, false)?.busy = true;
        let Set { bound, ports, .. } = self.set(kernels)?;
        let ports = &self.ports[*ports];
        let s = &ports.slots[slot];
        ports.up(slot, &self.up)?;
        self.up.record(&s.uploaded)?;
        self.compute.after(&s.uploaded)?;
        ports.fill_arena(slot, &self.compute)?;
        bound.submit(0..bound.len(), &self.compute)?;
        ports.read_arena(slot, &self.compute)?;
        self.compute.record(&s.computed)?;
        self.down.after(&s.computed)?;
        ports.down(slot, &self.down)?;
        self.down.record(&s.downloaded)?;
        Ok(())
    }

    fn finish(&mut self, kernels: KernelSet, slot: usize, outputs: &mut [&mut [u8]]) -> Result<(), RuntimeError> {
        self.context.bind()?;
        self.ports_mut(kernels)?.slot(slot, true)?;
        let s = &self.ports[self.set(kernels)?.ports].slots[slot];
        s.downloaded.wait().map_err(|fault| self.late(&fault))?;
        self.ports_mut(kernels)?.unstage(slot, outputs)
    }

    fn replay(&mut self, kernels: KernelSet) -> Result<f64, RuntimeError> {
        self.context.bind()?;
        self.marks(kernels, 2)?;
        let Set { bound, ports, marks } = self.set(kernels)?;
        let ports = &self.ports[*ports];
        let stream = &self.compute;
        // Before the first mark: a run may have overwritten its inputs in the arena.
        ports.fill_arena(0, stream)?;
        stream.record(&marks[0])?;
        bound.submit(0..bound.len(), stream)?;
        stream.record(&marks[1])?;
        stream.wait().map_err(|fault| self.late(&fault))?;
        Ok(marks[0].seconds_until(&marks[1])?)
    }

    fn time(&mut self, kernels: KernelSet, inputs: &[&[u8]], outputs: &mut [&mut [u8]], seconds: &mut [f64]) -> Result<(), RuntimeError> {
        self.context.bind()?;
        self.ports_mut(kernels)?.stage(0, inputs)?;
        let want = self.set(kernels)?.bound.len() + 1;
        if seconds.len() + 1 != want {
            return Err(RuntimeError::Range { offset: 0, bytes: seconds.len() as u64, limit: want as u64 - 1 });
        }
        self.marks(kernels, want)?;
        self.ports_mut(kernels)?.slot(0, false)?.busy = true;
        let Set { bound, ports, marks } = self.set(kernels)?;
        let ports = &self.ports[*ports];
        let stream = &self.compute;
        ports.up(0, stream)?;
        // A whole run goes first: while the GPU is busy with it, the host queues everything below, so that no mark waits for the host.
        ports.fill_arena(0, stream)?;
        bound.submit(0..bound.len(), stream)?;
        ports.fill_arena(0, stream)?;
        let marks = &marks[..want];
        for (index, mark) in marks.iter().enumerate() {
            stream.record(mark)?;
            if index < bound.len() {
                bound.issue(index, stream).map_err(|fault| failed(format!("{}: {fault}", bound.names[index])))?;
            }
        }
        ports.read_arena(0, stream)?;
        ports.down(0, stream)?;
        stream.wait().map_err(|fault| self.late(&fault))?;
        for (pair, seconds) in marks.windows(2).zip(seconds) {
            *seconds = pair[0].seconds_until(&pair[1])?;
        }
        self.ports_mut(kernels)?.unstage(0, outputs)
    }
}
