//! The functions of the CUDA driver library, looked up by name, and what their result codes mean.
//!
//! cudarc finds the library and brings the types. Its own bindings are not called: they panic where the library or a function is missing, and they read result
//! codes as a closed Rust enum, which a newer driver may leave.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUgraph, CUgraphExec, CUmodule, CUstream};
use libloading::Library;

use crate::error::RuntimeError;

/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: u32 = 100;

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The function.
    pub call: &'static str,
    /// Result code of the call.
    pub code: u32,
    /// The code's name and meaning, by the driver.
    pub meaning: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} failed with code {}, {}", self.call, self.code, self.meaning)
    }
}

impl From<Fault> for RuntimeError {
    fn from(fault: Fault) -> Self {
        failed(fault.to_string())
    }
}

pub(super) fn failed(reason: String) -> RuntimeError {
    RuntimeError::Device { device: "cuda", reason }
}

macro_rules! driver_functions {
    ($($name:ident = $symbol:literal ($($arg:ident: $ty:ty),*);)*) => {
        /// The driver's functions that we call.
        #[derive(Debug)]
        #[allow(clippy::struct_field_names)]
        pub(super) struct Api {
            error_name: unsafe extern "C" fn(u32, *mut *const c_char) -> u32,
            error_string: unsafe extern "C" fn(u32, *mut *const c_char) -> u32,
            $($name: unsafe extern "C" fn($($ty),*) -> u32,)*
        }

        #[expect(clippy::too_many_arguments, reason = "the functions have the parameters of NVIDIA's cuda.h")]
        impl Api {
            /// Finds every function.
            ///
            /// # Safety
            /// The library must be a CUDA driver: its functions have the types of NVIDIA's `cuda.h`.
            unsafe fn find(library: &Library) -> Result<Self, String> {
                Ok(Self {
                    // SAFETY: the type is that of cuda.h, `CUresult` being a 32-bit enum of C.
                    error_name: *unsafe { library.get(b"cuGetErrorName") }.map_err(|_| lacks("cuGetErrorName"))?,
                    // SAFETY: as above.
                    error_string: *unsafe { library.get(b"cuGetErrorString") }.map_err(|_| lacks("cuGetErrorString"))?,
                    // SAFETY: as above.
                    $($name: *unsafe { library.get($symbol.as_bytes()).or_else(|_| library.get(newer($symbol).as_bytes())) }.map_err(|_| lacks($symbol))?,)*
                })
            }

            $(
                /// # Safety
                /// As the driver's documentation of the function says: live handles, and pointers to as much memory as it reads or writes.
                pub(super) unsafe fn $name(&self, $($arg: $ty),*) -> Result<(), Fault> {
                    // SAFETY: the caller's promise.
                    let code = unsafe { (self.$name)($($arg),*) };
                    self.judge($symbol, code)
                }
            )*
        }
    };
}

driver_functions! {
    init = "cuInit"(flags: c_uint);
    driver_version = "cuDriverGetVersion"(version: *mut c_int);
    device_count = "cuDeviceGetCount"(count: *mut c_int);
    device_get = "cuDeviceGet"(device: *mut CUdevice, ordinal: c_int);
    device_name = "cuDeviceGetName"(name: *mut c_char, len: c_int, device: CUdevice);
    device_attribute = "cuDeviceGetAttribute"(value: *mut c_int, attribute: c_uint, device: CUdevice);
    device_memory = "cuDeviceTotalMem_v2"(bytes: *mut usize, device: CUdevice);
    context_retain = "cuDevicePrimaryCtxRetain"(context: *mut CUcontext, device: CUdevice);
    context_release = "cuDevicePrimaryCtxRelease_v2"(device: CUdevice);
    context_bind = "cuCtxSetCurrent"(context: CUcontext);
    memory_info = "cuMemGetInfo_v2"(free: *mut usize, total: *mut usize);
    memory_alloc = "cuMemAlloc_v2"(at: *mut CUdeviceptr, bytes: usize);
    memory_free = "cuMemFree_v2"(at: CUdeviceptr);
    pinned_alloc = "cuMemAllocHost_v2"(at: *mut *mut c_void, bytes: usize);
    pinned_free = "cuMemFreeHost"(at: *mut c_void);
    copy_up = "cuMemcpyHtoDAsync_v2"(dst: CUdeviceptr, src: *const c_void, bytes: usize, stream: CUstream);
    copy_down = "cuMemcpyDtoHAsync_v2"(dst: *mut c_void, src: CUdeviceptr, bytes: usize, stream: CUstream);
    copy_within = "cuMemcpyDtoDAsync_v2"(dst: CUdeviceptr, src: CUdeviceptr, bytes: usize, stream: CUstream);
    fill = "cuMemsetD8Async"(dst: CUdeviceptr, value: u8, bytes: usize, stream: CUstream);
    stream_create = "cuStreamCreate"(stream: *mut CUstream, flags: c_uint);
    stream_destroy = "cuStreamDestroy_v2"(stream: CUstream);
    stream_wait = "cuStreamSynchronize"(stream: CUstream);
    stream_after = "cuStreamWaitEvent"(stream: CUstream, event: CUevent, flags: c_uint);
    capture_begin = "cuStreamBeginCapture_v2"(stream: CUstream, mode: c_uint);
    capture_end = "cuStreamEndCapture"(stream: CUstream, graph: *mut CUgraph);
    graph_instantiate = "cuGraphInstantiateWithFlags"(exec: *mut CUgraphExec, graph: CUgraph, flags: c_ulonglong);
    graph_launch = "cuGraphLaunch"(exec: CUgraphExec, stream: CUstream);
    graph_destroy = "cuGraphDestroy"(graph: CUgraph);
    graph_exec_destroy = "cuGraphExecDestroy"(exec: CUgraphExec);
    event_create = "cuEventCreate"(event: *mut CUevent, flags: c_uint);
    event_destroy = "cuEventDestroy_v2"(event: CUevent);
    event_record = "cuEventRecord"(event: CUevent, stream: CUstream);
    event_wait = "cuEventSynchronize"(event: CUevent);
    event_elapsed = "cuEventElapsedTime"(milliseconds: *mut f32, start: CUevent, end: CUevent);
    module_load = "cuModuleLoadDataEx"(module: *mut CUmodule, image: *const c_void, n: c_uint, options: *mut c_uint, values: *mut *mut c_void);
    module_unload = "cuModuleUnload"(module: CUmodule);
    module_function = "cuModuleGetFunction"(function: *mut CUfunction, module: CUmodule, name: *const c_char);
    function_set = "cuFuncSetAttribute"(function: CUfunction, attribute: c_uint, value: c_int);
    launch = "cuLaunchKernel"(
        function: CUfunction, grid_x: c_uint, grid_y: c_uint, grid_z: c_uint, block_x: c_uint, block_y: c_uint, block_z: c_uint,
        shared: c_uint, stream: CUstream, params: *mut *mut c_void, extra: *mut *mut c_void
    );
}

/// The name of a function of the same type in drivers that may no longer have the first.
fn newer(symbol: &'static str) -> &'static str {
    if symbol == "cuEventElapsedTime" { "cuEventElapsedTime_v2" } else { symbol }
}

fn lacks(symbol: &str) -> String {
    format!("the NVIDIA driver is too old: it has no {symbol} (a driver for CUDA 11.4 or newer has)")
}

impl Api {
    fn judge(&self, call: &'static str, code: u32) -> Result<(), Fault> {
        if code == 0 {
            return Ok(());
        }
        let text = |ask: unsafe extern "C" fn(u32, *mut *const c_char) -> u32| -> Option<String> {
            let mut at = std::ptr::null();
            // SAFETY: the driver stores a pointer to a constant string of its own, or null.
            let found = unsafe { ask(code, &raw mut at) } == 0 && !at.is_null();
            // SAFETY: as above.
            found.then(|| unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned())
        };
        let meaning = match (text(self.error_name), text(self.error_string)) {
            (Some(name), Some(words)) => format!("{name}: {words}"),
            (Some(name), None) => name,
            _ => "which the driver does not explain".to_owned(),
        };
        Err(Fault { call, code, meaning })
    }
}

/// The driver, started; found once per process.
///
/// # Errors
/// Why there is none: no library, too old a one, or its refusal to start.
pub(super) fn driver() -> Result<&'static Api, RuntimeError> {
    static DRIVER: OnceLock<Result<Api, String>> = OnceLock::new();
    DRIVER.get_or_init(open).as_ref().map_err(|reason| failed(reason.clone()))
}

fn open() -> Result<Api, String> {
    // SAFETY: loads the driver library, as every CUDA program does.
    if !unsafe { sys::is_culib_present() } {
        return Err("no NVIDIA driver (libcuda.so.1) found".to_owned());
    }
    // SAFETY: it is present, so that cudarc does not panic.
    let library = unsafe { sys::culib() };
    // SAFETY: libcuda is NVIDIA's driver.
    let api = unsafe { Api::find(library) }?;
    // SAFETY: flags must be 0.
    match unsafe { api.init(0) } {
        Ok(()) => Ok(api),
        Err(fault) if fault.code == NO_DEVICE => Err("the NVIDIA driver finds no GPU".to_owned()),
        Err(fault) => Err(format!("the NVIDIA driver does not start: {fault}")),
    }
}
