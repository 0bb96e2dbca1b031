//! What the driver hands out, each owned by one value that gives it back.

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{CUcontext, CUdevice, CUdeviceptr, CUevent, CUstream};

use super::api::{Api, Fault, failed};
use crate::error::RuntimeError;
use crate::pick::mebibytes;

/// `CU_STREAM_NON_BLOCKING`: no order against the default stream.
const NON_BLOCKING: u32 = 1;

/// `CU_EVENT_DISABLE_TIMING`.
const NO_TIMING: u32 = 2;

/// `CUDA_ERROR_OUT_OF_MEMORY`.
const OUT_OF_MEMORY: u32 = 2;

/// A GPU's primary context, held for as long as anything in it lives.
#[derive(Debug)]
pub(super) struct Context {
    pub api: &'static Api,
    device: CUdevice,
    context: CUcontext,
}

// SAFETY: the driver's handles belong to the process; any thread may use them after `bind`.
unsafe impl Send for Context {}
// SAFETY: the driver locks its own state.
unsafe impl Sync for Context {}

impl Context {
    pub(super) fn new(api: &'static Api, device: CUdevice) -> Result<Arc<Self>, Fault> {
        let mut context = std::ptr::null_mut();
        // SAFETY: `device` is the driver's; the place for the result is ours.
        unsafe { api.context_retain(&raw mut context, device) }?;
        let this = Arc::new(Self { api, device, context });
        this.bind()?;
        Ok(this)
    }

    /// Makes it the calling thread's; every use of the driver on behalf of a device begins with this.
    pub(super) fn bind(&self) -> Result<(), Fault> {
        // SAFETY: the context lives until `self` is dropped.
        unsafe { self.api.context_bind(self.context) }
    }

    /// Free and total bytes of the GPU's memory.
    pub(super) fn memory(&self) -> Result<(u64, u64), Fault> {
        let (mut free, mut total) = (0usize, 0usize);
        self.bind()?;
        // SAFETY: both places are ours.
        unsafe { self.api.memory_info(&raw mut free, &raw mut total) }?;
        Ok((free as u64, total as u64))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once in `new`. An error (the driver is shutting down) leaves nothing to do.
        let _ = unsafe { self.api.context_release(self.device) };
    }
}

/// Memory of the GPU.
#[derive(Debug)]
pub(super) struct DeviceMemory {
    context: Arc<Context>,
    pub at: CUdeviceptr,
    pub bytes: u64,
}

impl DeviceMemory {
    pub(super) fn new(context: &Arc<Context>, bytes: u64) -> Result<Self, RuntimeError> {
        context.bind()?;
        let mut at = 0;
        let size = usize::try_from(bytes).map_err(|_| failed(format!("{bytes} bytes are more than an address space")))?;
        // SAFETY: the place is ours. The driver refuses to allocate nothing.
        match unsafe { context.api.memory_alloc(&raw mut at, size.max(1)) } {
            Ok(()) => Ok(Self { context: Arc::clone(context), at, bytes }),
            Err(fault) if fault.code == OUT_OF_MEMORY => {
                let (free, total) = context.memory().unwrap_or((0, 0));
                Err(failed(format!(
                    "{} of GPU memory needed, {} of {} are free; take a smaller patch or batch, or end what else uses the GPU ({fault})",
                    mebibytes(bytes),
                    mebibytes(free),
                    mebibytes(total)
                )))
            }
            Err(fault) => Err(fault.into()),
        }
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; the device waits for its streams before it drops its memory.
        let _ = self.context.bind().and_then(|()| unsafe { self.context.api.memory_free(self.at) });
    }
}

/// Host memory that the GPU copies from and to by itself.
#[derive(Debug)]
pub(super) struct Pinned {
    context: Arc<Context>,
    at: *mut u8,
    bytes: usize,
}

// SAFETY: it is plain memory; `Pipeline` decides who touches it when.
unsafe impl Send for Pinned {}

impl Pinned {
    pub(super) fn new(context: &Arc<Context>, bytes: u64) -> Result<Self, RuntimeError> {
        context.bind()?;
        let size = usize::try_from(bytes).map_err(|_| failed(format!("{bytes} bytes are more than an address space")))?;
        let mut at: *mut c_void = std::ptr::null_mut();
        // SAFETY: the place is ours.
        unsafe { context.api.pinned_alloc(&raw mut at, size.max(1)) }?;
        let at = at.cast::<u8>();
        // So that no slice of it is ever uninitialised.
        // SAFETY: the driver gave this many bytes.
        unsafe { at.write_bytes(0, size.max(1)) };
        Ok(Self { context: Arc::clone(context), at, bytes: size })
    }

    pub(super) fn address(&self) -> *mut c_void {
        self.at.cast()
    }

    /// # Safety
    /// No copy by the GPU from or to it may be under way.
    pub(super) unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: initialised in `new`, alive until `drop`; no one else writes, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`; the device waits for its streams first.
        let _ = self.context.bind().and_then(|()| unsafe { self.context.api.pinned_free(self.at.cast()) });
    }
}

/// A queue of work on the GPU.
#[derive(Debug)]
pub(super) struct Stream {
    context: Arc<Context>,
    pub raw: CUstream,
}

// SAFETY: as `Context`.
unsafe impl Send for Stream {}

impl Stream {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self, Fault> {
        context.bind()?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the place is ours.
        unsafe { context.api.stream_create(&raw mut raw, NON_BLOCKING) }?;
        Ok(Self { context: Arc::clone(context), raw })
    }

    /// Returns when everything in it has ended.
    pub(super) fn wait(&self) -> Result<(), Fault> {
        // SAFETY: the stream lives.
        unsafe { self.context.api.stream_wait(self.raw) }
    }

    /// What is put in from now on starts after the event's last record.
    pub(super) fn after(&self, event: &Event) -> Result<(), Fault> {
        // SAFETY: both live.
        unsafe { self.context.api.stream_after(self.raw, event.raw, 0) }
    }

    /// Marks this place in the queue.
    pub(super) fn record(&self, event: &Event) -> Result<(), Fault> {
        // SAFETY: both live.
        unsafe { self.context.api.event_record(event.raw, self.raw) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: created in `new`.
        let _ = self.context.bind().and_then(|()| unsafe { self.context.api.stream_destroy(self.raw) });
    }
}

/// A place in a queue, to wait for or to take the time at.
#[derive(Debug)]
pub(super) struct Event {
    context: Arc<Context>,
    raw: CUevent,
}

// SAFETY: as `Context`.
unsafe impl Send for Event {}

impl Event {
    pub(super) fn new(context: &Arc<Context>, timed: bool) -> Result<Self, Fault> {
        context.bind()?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the place is ours.
        unsafe { context.api.event_create(&raw mut raw, if timed { 0 } else { NO_TIMING }) }?;
        Ok(Self { context: Arc::clone(context), raw })
    }

    pub(super) fn wait(&self) -> Result<(), Fault> {
        // SAFETY: the event lives.
        unsafe { self.context.api.event_wait(self.raw) }
    }

    /// Seconds from this event to a later one; both were made timed and have passed.
    pub(super) fn seconds_until(&self, end: &Self) -> Result<f64, Fault> {
        let mut milliseconds = 0f32;
        // SAFETY: both live; the place is ours.
        unsafe { self.context.api.event_elapsed(&raw mut milliseconds, self.raw, end.raw) }?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created in `new`.
        let _ = self.context.bind().and_then(|()| unsafe { self.context.api.event_destroy(self.raw) });
    }
}
