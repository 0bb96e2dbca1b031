//! From kernels to a shared object: kernels are compiled one module each, by a few threads, and linked in the order given.

pub(crate) mod host;
pub(crate) mod link;
mod nvptx;
pub mod ptxas;
mod steps;
mod symbols;

use crate::CodegenError;
use crate::mlir::Session;
use mnx_plan::kernel::Kernel;
use mnx_plan::target::{Machine, Target};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What an observer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The MLIR module as built, text.
    Mlir,
    /// LLVM IR after optimisation, text.
    Llvm,
    /// Assembly, text.
    Asm,
    /// The object file.
    Object,
}

impl Stage {
    /// File extension of a dump.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mlir => "mlir",
            Self::Llvm => "ll",
            Self::Asm => "s",
            Self::Object => "o",
        }
    }
}

/// Stack of a compiling thread: LLVM recurses over large blocks, and a thread's usual 2 MiB is not much for that.
const STACK: usize = 32 << 20;

/// How to compile.
#[derive(Debug, Clone)]
pub struct Options {
    /// Stages that the observer is shown.
    pub stages: Vec<Stage>,
    /// Threads that compile; the result does not depend on it.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self { stages: Vec::new(), threads }
    }
}

/// Processor time per stage, summed over kernels (and threads).
#[derive(Debug, Clone, Copy, Default)]
pub struct CompileTimes {
    /// Building MLIR.
    pub emit: Duration,
    /// Lowering to the LLVM dialect and translating.
    pub lower: Duration,
    /// LLVM's optimiser.
    pub optimise: Duration,
    /// Object emission.
    pub object: Duration,
    /// Linking.
    pub link: Duration,
}

/// A compiled target.
#[derive(Debug)]
pub struct Compiled {
    /// The shared object, or a GPU's PTX text.
    pub library: Vec<u8>,
    /// What it took.
    pub times: CompileTimes,
}

/// One compiled kernel.
pub(crate) struct Product {
    pub(crate) object: Vec<u8>,
    shown: Vec<(Stage, Vec<u8>)>,
    times: CompileTimes,
}

pub(crate) fn compile(
    kernels: &[(String, Kernel)],
    target: &Target,
    options: &Options,
    observer: &mut dyn FnMut(Stage, &str, &[u8]),
) -> Result<Compiled, CodegenError> {
    let mut symbols = BTreeSet::new();
    for (symbol, _) in kernels {
        if !symbols.insert(symbol) {
            return Err(CodegenError::Illegal { symbol: symbol.clone(), reason: "two kernels have this symbol".into() });
        }
    }
    let products = compile_each(kernels, target, options)?;
    let mut times = CompileTimes::default();
    let mut objects = Vec::with_capacity(products.len());
    for ((symbol, _), product) in kernels.iter().zip(products) {
        for (stage, bytes) in &product.shown {
            observer(*stage, symbol, bytes);
        }
        if options.stages.contains(&Stage::Object) {
            observer(Stage::Object, symbol, &product.object);
        }
        times.emit += product.times.emit;
        times.lower += product.times.lower;
        times.optimise += product.times.optimise;
        times.object += product.times.object;
        objects.push(product.object);
    }
    let start = Instant::now();
    let library = match target.machine {
        Machine::Cpu(_) => link::shared_object(&objects)?,
        Machine::Nvptx(_) => nvptx::join(&objects)?,
    };
    times.link = start.elapsed();
    Ok(Compiled { library, times })
}

fn compile_one(session: &Session, symbol: &str, kernel: &Kernel, target: &Target, stages: &[Stage]) -> Result<Product, CodegenError> {
    kernel.legal(target).map_err(|reason| CodegenError::Illegal { symbol: symbol.into(), reason })?;
    match (kernel, &target.machine) {
        (Kernel::Host(kernel), Machine::Cpu(_)) => host::compile(session, symbol, kernel, target, stages),
        (Kernel::Gpu(kernel), Machine::Nvptx(gpu)) => nvptx::compile(session, symbol, kernel, (target, gpu), stages),
        (Kernel::Host(_) | Kernel::Gpu(_), _) => unreachable!("a legal kernel is of the target's kind"),
    }
}

fn compile_each(kernels: &[(String, Kernel)], target: &Target, options: &Options) -> Result<Vec<Product>, CodegenError> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<Product, CodegenError>>>> = Mutex::new(kernels.iter().map(|_| None).collect());
    let work = || {
        let session = Session::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some((symbol, kernel)) = kernels.get(i) else {
                return;
            };
            let product = compile_one(&session, symbol, kernel, target, &options.stages);
            let mut results = results.lock().unwrap_or_else(|e| e.into_inner());
            results[i] = Some(product);
        }
    };
    let threads = options.threads.clamp(1, kernels.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)?;
        }
        Ok(())
    })
    .map_err(|e: std::io::Error| CodegenError::Llvm(format!("no thread to compile on: {e}")))?;
    results
        .into_inner()
        .unwrap_or_else(|e| e.into_inner())
        .into_iter()
        .map(|r| r.unwrap_or_else(|| Err(CodegenError::Llvm("a kernel was not compiled".into()))))
        .collect()
}
