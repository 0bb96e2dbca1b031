//! A launch list bound once: module, function handles, parameter arrays, and the whole list as one CUDA graph.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ops::Range;
use std::sync::Arc;

use cudarc::driver::sys::{CUdeviceptr, CUfunction, CUfunction_attribute, CUgraphExec, CUjit_option, CUmodule};
use mnx_artifact::{BufferRef, Command, Geometry, Program, Space};

use super::api::{Fault, failed};
use super::resource::{Context, Stream};
use crate::device::Binary;
use crate::error::RuntimeError;
use crate::pick::GpuFacts;

/// Dynamic shared memory that a block may have without being asked for.
const SHARED_BYTES: u32 = 48 << 10;

/// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`: other threads of the process may go on using the driver.
const THREAD_LOCAL: u32 = 1;

/// Bytes kept of what the driver's PTX compiler says.
const LOG_BYTES: usize = 16 << 10;

/// A loaded module.
#[derive(Debug)]
struct Module {
    context: Arc<Context>,
    raw: CUmodule,
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: loaded in `load`; the device waits for its streams first.
        let _ = self.context.bind().and_then(|()| unsafe { self.context.api.module_unload(self.raw) });
    }
}

impl Module {
    /// Loads a cubin, or PTX (text, zero at its end), which the driver compiles or finds in its own cache.
    fn load(context: &Arc<Context>, image: &[u8]) -> Result<Self, String> {
        context.bind().map_err(|e| e.to_string())?;
        let mut log = vec![0u8; LOG_BYTES];
        let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER as u32, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES as u32];
        // The driver takes the size as a number in the pointer's place.
        let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), std::ptr::without_provenance_mut(LOG_BYTES - 1)];
        let mut raw = std::ptr::null_mut();
        // SAFETY: the image is an ELF file or ends in a zero; options and values are two each; the log has the size that they say.
        let outcome = unsafe { context.api.module_load(&raw mut raw, image.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr()) };
        match outcome {
            Ok(()) => Ok(Self { context: Arc::clone(context), raw }),
            Err(fault) => {
                let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
                let said = String::from_utf8_lossy(&log[..end]);
                let said = said.trim();
                Err(if said.is_empty() { fault.to_string() } else { format!("{fault}; the driver says:\n{said}") })
            }
        }
    }

    fn function(&self, name: &str) -> Result<CUfunction, String> {
        let name = CString::new(name).map_err(|_| "a name with a zero in it".to_owned())?;
        let mut function = std::ptr::null_mut();
        // SAFETY: the module lives; the name ends in a zero.
        unsafe { self.context.api.module_function(&raw mut function, self.raw, name.as_ptr()) }.map_err(|e| e.to_string())?;
        Ok(function)
    }
}

/// One command with its handles and addresses.
#[derive(Debug)]
enum Step {
    Launch { function: CUfunction, params: Range<usize>, geometry: Geometry },
    Fill { dst: CUdeviceptr, bytes: usize, value: u8 },
    Copy { src: CUdeviceptr, dst: CUdeviceptr, bytes: usize },
}

/// The whole list, ready to be started by one call.
#[derive(Debug)]
struct Graph {
    context: Arc<Context>,
    exec: CUgraphExec,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated in `capture`; the device waits for its streams first.
        let _ = self.context.bind().and_then(|()| unsafe { self.context.api.graph_exec_destroy(self.exec) });
    }
}

/// A program on a GPU.
#[derive(Debug)]
pub(super) struct Bound {
    context: Arc<Context>,
    steps: Vec<Step>,
    /// For error messages.
    pub names: Vec<String>,
    /// The driver reads a launch's parameters through these, each of which points into `values`.
    params: Vec<*mut c_void>,
    /// Addresses of buffers; never changed, so that `params` stay valid.
    _values: Box<[CUdeviceptr]>,
    graph: Option<Graph>,
    _module: Module,
    /// What the user should know of how the code was loaded.
    pub note: Option<String>,
}

// SAFETY: handles of the driver (see `Context`), and pointers into memory that the value owns and nobody writes.
unsafe impl Send for Bound {}

impl Bound {
    /// Loads the code, resolves every command, runs the list once (so that every kernel is loaded and every launch has been accepted) and captures it.
    pub(super) fn new(
        context: &Arc<Context>,
        stream: &Stream,
        facts: &GpuFacts,
        binary: &Binary<'_>,
        bases: [CUdeviceptr; 2],
    ) -> Result<Self, RuntimeError> {
        let program = binary.program;
        let (module, note) = load(context, facts, binary)?;
        let address = |b: &BufferRef| match b.space {
            Space::Arena => bases[0] + b.offset,
            Space::Weights => bases[1] + b.offset,
        };
        let mut functions: HashMap<&str, (CUfunction, u32)> = HashMap::new();
        let mut steps = Vec::with_capacity(program.commands.len());
        let mut names = Vec::with_capacity(program.commands.len());
        let mut values = Vec::new();
        for command in &program.commands {
            let (step, name) = match command {
                Command::Launch { kernel, args, geometry, .. } => {
                    let geometry = (*geometry).ok_or_else(|| failed(format!("kernel {kernel} has no grid")))?;
                    if u64::from(geometry.shared_bytes) > facts.shared_block_bytes {
                        return Err(failed(format!(
                            "kernel {kernel} needs {} bytes of shared memory, a block of {} has at most {}",
                            geometry.shared_bytes, facts.name, facts.shared_block_bytes
                        )));
                    }
                    let wrong = |e: String| failed(format!("code for {}: kernel {kernel}: {e}", program.target));
                    let (function, shared) = match functions.get(kernel.as_str()) {
                        Some(&known) => known,
                        None => (module.function(kernel).map_err(wrong)?, SHARED_BYTES),
                    };
                    if geometry.shared_bytes > shared {
                        let bytes = i32::try_from(geometry.shared_bytes).unwrap_or(i32::MAX);
                        let which = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as u32;
                        // SAFETY: the function is the module's.
                        unsafe { context.api.function_set(function, which, bytes) }.map_err(|e| wrong(e.to_string()))?;
                    }
                    functions.insert(kernel, (function, shared.max(geometry.shared_bytes)));
                    let first = values.len();
                    values.extend(args.iter().map(address));
                    (Step::Launch { function, params: first..values.len(), geometry }, kernel.clone())
                }
                Command::Fill { dst, value } => (Step::Fill { dst: address(dst), bytes: size(dst)?, value: *value }, "a fill".to_owned()),
                Command::Copy { src, dst } => (Step::Copy { src: address(src), dst: address(dst), bytes: size(src)? }, "a copy".to_owned()),
            };
            steps.push(step);
            names.push(name);
        }
        let values = values.into_boxed_slice();
        let params = values.iter().map(|v| std::ptr::from_ref(v).cast_mut().cast::<c_void>()).collect();
        let mut bound = Self { context: Arc::clone(context), steps, names, params, _values: values, graph: None, _module: module, note };
        bound.rehearse(stream, program)?;
        bound.graph = bound.capture(stream)?;
        Ok(bound)
    }

    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Puts one command into the stream.
    pub(super) fn issue(&self, index: usize, stream: &Stream) -> Result<(), Fault> {
        let api = self.context.api;
        match &self.steps[index] {
            Step::Launch { function, params, geometry: Geometry { grid, block, shared_bytes } } => {
                let params = self.params[params.clone()].as_ptr().cast_mut();
                // SAFETY: the function is the module's and takes as many 64-bit pointers as the command has arguments (the kernel ABI); the driver
                // copies them before it returns. `device::check` has seen that every buffer lies in its memory.
                unsafe {
                    api.launch(
                        *function,
                        grid[0],
                        grid[1],
                        grid[2],
                        block[0],
                        block[1],
                        block[2],
                        *shared_bytes,
                        stream.raw,
                        params,
                        std::ptr::null_mut(),
                    )
                }
            }
            // The driver refuses empty nodes in graphs.
            Step::Fill { bytes: 0, .. } | Step::Copy { bytes: 0, .. } => Ok(()),
            // SAFETY: the range lies in the arena, which lives as long as the device.
            Step::Fill { dst, bytes, value } => unsafe { api.fill(*dst, *value, *bytes, stream.raw) },
            // SAFETY: both ranges lie in the device's memory.
            Step::Copy { src, dst, bytes } => unsafe { api.copy_within(*dst, *src, *bytes, stream.raw) },
        }
    }

    /// Puts a range of commands into the stream: all of them as the graph, fewer one by one.
    pub(super) fn submit(&self, commands: Range<usize>, stream: &Stream) -> Result<(), RuntimeError> {
        if commands == (0..self.steps.len()) {
            if let Some(graph) = &self.graph {
                // SAFETY: the graph lives, and one launch of it follows another in the one stream.
                unsafe { self.context.api.graph_launch(graph.exec, stream.raw) }?;
            }
            return Ok(());
        }
        for index in commands {
            self.issue(index, stream).map_err(|fault| failed(format!("{}: {fault}", self.names[index])))?;
        }
        Ok(())
    }

    fn rehearse(&self, stream: &Stream, program: &Program) -> Result<(), RuntimeError> {
        self.context.bind()?;
        for index in 0..self.steps.len() {
            if let Err(fault) = self.issue(index, stream) {
                // The module may go only when nothing of it runs; that wait's own outcome no longer matters.
                let _ = stream.wait();
                return Err(failed(format!("code for {}: {}: {fault}", program.target, self.names[index])));
            }
        }
        stream.wait().map_err(|fault| failed(format!("code for {} fails: {fault}", program.target)))
    }

    fn capture(&self, stream: &Stream) -> Result<Option<Graph>, RuntimeError> {
        if self.steps.is_empty() {
            return Ok(None);
        }
        let api = self.context.api;
        // SAFETY: the stream lives and nothing else captures on it.
        unsafe { api.capture_begin(stream.raw, THREAD_LOCAL) }?;
        let issued = (0..self.steps.len()).try_for_each(|index| self.issue(index, stream));
        let mut graph = std::ptr::null_mut();
        // SAFETY: ends the capture begun above, also after an error.
        let ended = unsafe { api.capture_end(stream.raw, &raw mut graph) };
        let mut exec = std::ptr::null_mut();
        let made = issued.and(ended).and_then(|()| {
            // SAFETY: the graph was just captured.
            unsafe { api.graph_instantiate(&raw mut exec, graph, 0) }
        });
        if !graph.is_null() {
            // SAFETY: the executable graph does not need it any more; whatever happens, it is destroyed once.
            let _ = unsafe { api.graph_destroy(graph) };
        }
        made.map_err(|fault| failed(format!("the launch list cannot be captured as a graph: {fault}")))?;
        Ok(Some(Graph { context: Arc::clone(&self.context), exec }))
    }
}

fn size(b: &BufferRef) -> Result<usize, RuntimeError> {
    usize::try_from(b.bytes).map_err(|_| failed(format!("{} bytes are more than an address space", b.bytes)))
}

/// Loads the cubin if one was picked, else the PTX. A cubin that the driver refuses (it may be of a newer toolkit) gives way to the PTX where the driver
/// compiles that, and the note says so.
fn load(context: &Arc<Context>, facts: &GpuFacts, binary: &Binary<'_>) -> Result<(Module, Option<String>), RuntimeError> {
    let target = &binary.program.target;
    let compiles =
        binary.program.gpu.as_ref().is_some_and(|needs| {
            needs.ptx <= facts.ptx && (needs.compute == facts.compute || (!needs.exact && needs.compute < facts.compute))
        });
    let mut note = None;
    if let Some(cubin) = binary.cubin {
        match Module::load(context, cubin) {
            Ok(module) => return Ok((module, None)),
            Err(reason) if !compiles => return Err(failed(format!("cubin for {target}: {reason}"))),
            Err(reason) => note = Some(format!("the cubin for {target} does not load ({reason}); the driver compiles the PTX instead")),
        }
    }
    let mut text = binary.code.to_vec();
    if text.contains(&0) || std::str::from_utf8(&text).is_err() {
        return Err(failed(format!("code for {target}: not PTX text")));
    }
    text.push(0);
    let module = Module::load(context, &text).map_err(|reason| failed(format!("PTX for {target}: {reason}")))?;
    Ok((module, note))
}
