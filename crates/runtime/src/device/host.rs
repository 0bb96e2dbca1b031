//! The host device: shared objects loaded from memory, kernels called on the thread pool.
//!
//! All `unsafe` of the runtime is in this file and its children: raw memory, foreign code, intrinsics.
#![allow(unsafe_code)]

mod fault;
mod library;
mod memory;
pub(crate) mod peak;

use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;

use mnx_artifact::{BufferRef, Bundle, Command, Space};

use crate::device::{Binary, Buffer, Device, KernelSet, check, range};
use crate::error::RuntimeError;
use crate::isa;
use crate::pool::{Pool, Work};
use crate::roofline::Roofline;
use crate::session::most_threads;
pub use fault::report_crashes;
use library::Library;
use memory::Memory;

/// Bytes that one workgroup of a fill or a copy moves.
const BLOCK: usize = 1 << 20;

/// `void symbol(const void *const *buffers, uint64_t workgroup, void *scratch)`, see `mnx_artifact::program`.
type Kernel = unsafe extern "C" fn(*const *const c_void, u64, *mut c_void);

/// This machine's CPU.
#[derive(Debug)]
pub struct Host {
    pool: Pool,
    sets: Vec<Arc<Bound>>,
    /// The set that the pool has installed.
    installed: Option<usize>,
    memory: Vec<Arc<Memory>>,
}

impl Host {
    /// The CPU with this many threads, the caller's included.
    ///
    /// # Errors
    /// `Device` if there are more than [`most_threads`] or they cannot be started.
    pub fn new(threads: usize) -> Result<Self, RuntimeError> {
        if threads == 0 || threads > most_threads() {
            return Err(failed(format!("{threads} threads asked for, 1 to {} expected", most_threads())));
        }
        let pool = Pool::new(threads).map_err(|e| failed(format!("cannot start {threads} threads: {e}")))?;
        Ok(Self { pool, sets: Vec::new(), installed: None, memory: Vec::new() })
    }

    fn keep(&mut self, memory: Memory) -> Buffer {
        let bytes = memory.len() as u64;
        self.memory.push(Arc::new(memory));
        Buffer { id: self.memory.len() - 1, bytes }
    }

    fn memory(&self, buffer: Buffer) -> Result<&Arc<Memory>, RuntimeError> {
        self.memory.get(buffer.id).ok_or(RuntimeError::Range { offset: 0, bytes: buffer.bytes, limit: 0 })
    }

    /// Resolves every address of a checked binary.
    fn bind(&mut self, binary: &Binary<'_>, library: Arc<Library>, scratch: Arc<Memory>, stride: usize) -> Result<KernelSet, RuntimeError> {
        let program = binary.program;
        let arena = Arc::clone(self.memory(binary.arena)?);
        let weights = Arc::clone(self.memory(binary.weights)?);
        // `check` compared with the handles' sizes, which a caller of another device could have brought along.
        if arena.len() as u64 != binary.arena.bytes || weights.len() as u64 != binary.weights.bytes || !arena.writable() {
            return Err(failed("buffers of another device".to_owned()));
        }

        let address = |b: &BufferRef| {
            let base = match b.space {
                Space::Arena => arena.base(),
                Space::Weights => weights.base(),
            };
            base.wrapping_add(b.offset as usize)
        };
        let mut steps = Vec::with_capacity(program.commands.len());
        let mut args = Vec::new();
        let mut names = Vec::with_capacity(program.commands.len());
        for command in &program.commands {
            let (step, name) = match command {
                Command::Launch { kernel, args: buffers, workgroups, .. } => {
                    let first = args.len();
                    args.extend(buffers.iter().map(|b| address(b).cast_const().cast::<c_void>()));
                    // SAFETY: the ABI of exported kernels is fixed by the bundle format's version.
                    let symbol: Kernel = unsafe { library.symbol(kernel) }
                        .map_err(|e| failed(format!("code for {}: kernel {kernel}: {e}", program.target)))?;
                    let step = Step::Launch { kernel: symbol, args: first..args.len(), workgroups: *workgroups };
                    (step, kernel.clone())
                }
                Command::Fill { dst, value } => {
                    let step = Step::Fill { dst: address(dst), bytes: dst.bytes as usize, value: *value };
                    (step, "a fill".to_owned())
                }
                Command::Copy { src, dst } => {
                    let apart = src.space != dst.space || src.offset + src.bytes <= dst.offset || dst.offset + dst.bytes <= src.offset;
                    if !apart {
                        return Err(failed(format!("copy between overlapping {src} and {dst}")));
                    }
                    let step = Step::Copy { src: address(src), dst: address(dst), bytes: src.bytes as usize };
                    (step, "a copy".to_owned())
                }
            };
            steps.push(step);
            names.push(name);
        }
        let bound = Bound { steps, args, names, scratch, stride, _arena: arena, _weights: weights, library };
        self.sets.push(Arc::new(bound));
        Ok(KernelSet { id: self.sets.len() - 1 })
    }
}

fn failed(reason: String) -> RuntimeError {
    RuntimeError::Device { device: "host", reason }
}

/// One command with its addresses.
#[derive(Debug)]
enum Step {
    Launch { kernel: Kernel, args: Range<usize>, workgroups: u64 },
    Fill { dst: *mut u8, bytes: usize, value: u8 },
    Copy { src: *const u8, dst: *mut u8, bytes: usize },
}

impl Step {
    fn workgroups(&self) -> u64 {
        match self {
            Self::Launch { workgroups, .. } => *workgroups,
            Self::Fill { bytes, .. } | Self::Copy { bytes, .. } => bytes.div_ceil(BLOCK) as u64,
        }
    }
}

/// A launch list with every address resolved.
#[derive(Debug)]
struct Bound {
    steps: Vec<Step>,
    /// The argument lists of all launches, one after another.
    args: Vec<*const c_void>,
    /// Names for error messages.
    names: Vec<String>,
    scratch: Arc<Memory>,
    /// Bytes between the scratch areas of two threads.
    stride: usize,
    _arena: Arc<Memory>,
    _weights: Arc<Memory>,
    /// Keeps the kernels' code mapped.
    library: Arc<Library>,
}

// SAFETY: the pointers lead into `_arena`, `_weights`, `scratch` and `library`, which live as long as `Bound` does. Nothing in `Bound`
// itself changes after `load`. Writes through the pointers happen only inside `Pool::run`, by workgroups that the bundle format declares
// independent, and `Host` hands out `&mut self` methods only, so no copy from or to the host runs beside them.
unsafe impl Send for Bound {}
// SAFETY: as above.
unsafe impl Sync for Bound {}

impl Work for Bound {
    fn run(&self, job: usize, workgroup: u64, thread: usize) {
        match &self.steps[job] {
            Step::Launch { kernel, args, .. } => {
                let buffers = self.args[args.clone()].as_ptr();
                // SAFETY: `load` found the symbol and checked every buffer; the stride times the number of threads is the scratch's
                // size. That the code keeps to its buffers is the compiler's promise, which the bundle's digests carry.
                unsafe {
                    let scratch = self.scratch.base().add(thread * self.stride);
                    kernel(buffers, workgroup, scratch.cast());
                }
            }
            Step::Fill { dst, bytes, value } => {
                let at = workgroup as usize * BLOCK;
                // SAFETY: `load` checked the range; blocks of one fill do not overlap.
                unsafe { dst.add(at).write_bytes(*value, BLOCK.min(bytes - at)) };
            }
            Step::Copy { src, dst, bytes } => {
                let at = workgroup as usize * BLOCK;
                // SAFETY: `load` checked both ranges and that they do not overlap; blocks of one copy do not either.
                unsafe { src.add(at).copy_to_nonoverlapping(dst.add(at), BLOCK.min(bytes - at)) };
            }
        }
    }
}

impl Device for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    fn threads(&self) -> usize {
        self.pool.threads()
    }

    fn runs(&self, target: &str) -> bool {
        cfg!(all(unix, target_arch = "x86_64")) && target.starts_with("x86-64")
    }

    fn has(&self, feature: &str) -> bool {
        isa::cpu_has(feature)
    }

    fn alloc(&mut self, bytes: u64) -> Result<Buffer, RuntimeError> {
        let memory = Memory::alloc(bytes).map_err(failed)?;
        Ok(self.keep(memory))
    }

    fn weights(&mut self, bundle: &Bundle, fold: usize) -> Result<Buffer, RuntimeError> {
        let section = bundle.weights_section(fold)?;
        let memory = Memory::map(bundle.path(), section.offset, section.bytes, bundle.size()).map_err(failed)?;
        bundle.check_weights(fold, memory.bytes())?;
        Ok(self.keep(memory))
    }

    fn upload(&mut self, src: &[u8], dst: Buffer, offset: u64) -> Result<(), RuntimeError> {
        let memory = self.memory(dst)?;
        let range = range(offset, src.len() as u64, memory.len() as u64)?;
        if !memory.writable() {
            return Err(failed("upload into mapped weights".to_owned()));
        }
        // SAFETY: the range is inside the memory, which is writable and not in use: launches run only inside `submit(&mut self)`.
        unsafe { memory.base().add(range.start).copy_from_nonoverlapping(src.as_ptr(), src.len()) };
        Ok(())
    }

    fn download(&mut self, src: Buffer, offset: u64, dst: &mut [u8]) -> Result<(), RuntimeError> {
        let memory = self.memory(src)?;
        let range = range(offset, dst.len() as u64, memory.len() as u64)?;
        // SAFETY: the range is inside the memory, and no launch runs beside us (`&mut self`).
        unsafe { memory.base().add(range.start).copy_to_nonoverlapping(dst.as_mut_ptr(), dst.len()) };
        Ok(())
    }

    fn load(&mut self, binary: &Binary<'_>) -> Result<KernelSet, RuntimeError> {
        let program = binary.program;
        if !self.runs(&program.target) {
            return Err(failed(format!("code for {} does not run here", program.target)));
        }
        check(binary)?;
        let library = Library::load(binary.code).map_err(|e| failed(format!("code for {}: {e}", program.target)))?;
        // One page apart, so that two threads never share a line or a prefetched neighbour.
        let stride = usize::try_from(program.scratch_bytes)
            .ok()
            .and_then(|b| b.checked_next_multiple_of(4096)?.checked_add(4096))
            .ok_or_else(|| failed(format!("{} bytes of scratch per thread", program.scratch_bytes)))?;
        let scratch = stride
            .checked_mul(self.threads())
            .ok_or_else(|| format!("{} threads with {stride} bytes of scratch each", self.threads()))
            .and_then(|bytes| Memory::alloc(bytes as u64))
            .map_err(failed)?;
        self.bind(binary, Arc::new(library), Arc::new(scratch), stride)
    }

    fn rebind(&mut self, loaded: KernelSet, binary: &Binary<'_>) -> Result<KernelSet, RuntimeError> {
        let none = RuntimeError::Range { offset: loaded.id as u64, bytes: 1, limit: self.sets.len() as u64 };
        let set = self.sets.get(loaded.id).ok_or(none)?;
        let (library, scratch, stride) = (Arc::clone(&set.library), Arc::clone(&set.scratch), set.stride);
        // The scratch is that of the program that was loaded: another one could need more.
        if binary.program.scratch_bytes as usize > stride {
            return Err(failed("a program of another size".to_owned()));
        }
        check(binary)?;
        self.bind(binary, library, scratch, stride)
    }

    fn submit(&mut self, kernels: KernelSet, commands: Range<usize>) -> Result<(), RuntimeError> {
        let none = RuntimeError::Range { offset: kernels.id as u64, bytes: 1, limit: self.sets.len() as u64 };
        let set = self.sets.get(kernels.id).ok_or(none)?;
        range(commands.start as u64, commands.len() as u64, set.steps.len() as u64)?;
        if self.installed != Some(kernels.id) {
            self.pool.install(Arc::clone(set) as Arc<dyn Work>);
            self.installed = Some(kernels.id);
        }
        for index in commands {
            fault::running(Some(&set.names[index]));
            let sound = self.pool.run(index, set.steps[index].workgroups());
            fault::running(None);
            if !sound {
                return Err(RuntimeError::Worker(set.names[index].clone()));
            }
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), RuntimeError> {
        // `submit` returns when its commands have ended.
        Ok(())
    }

    fn roofline(&mut self, _precision: &str) -> Result<Option<Roofline>, RuntimeError> {
        Ok(Some(Roofline::measure(self.threads())))
    }
}
