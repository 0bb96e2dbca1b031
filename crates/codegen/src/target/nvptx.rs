//! NVIDIA GPUs: one kernel to PTX, and the PTX of many kernels to one module.

use super::steps::{self, Steps};
use super::{Product, Stage, host::scalar};
use crate::CodegenError;
use crate::args::Args;
use crate::gpu;
use crate::mlir::Session;
use inkwell::OptimizationLevel;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::context::Context;
use inkwell::module::{Linkage, Module};
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target as LlvmTarget, TargetMachine, TargetTriple};
use mnx_plan::gpu::GpuKernel;
use mnx_plan::slot::Arg;
use mnx_plan::target::{Gpu, Target};

const TRIPLE: &str = "nvptx64-nvidia-cuda";

pub(super) fn compile(
    session: &Session,
    symbol: &str,
    kernel: &GpuKernel,
    (target, chip): (&Target, &Gpu),
    stages: &[Stage],
) -> Result<Product, CodegenError> {
    let args = kernel.family().args();
    let types: Vec<_> = args.iter().map(|a| (scalar(a.element), a.len)).collect();
    let mut steps = Steps::new(symbol, stages);
    let context = Context::create();
    let module = steps.module(&context, || {
        session.build_gpu(symbol, &types, kernel.geometry().block, |builder, buffers| {
            gpu::emit(kernel, builder, &Args::new(&args, buffers));
        })
    })?;
    let machine = machine(target)?;
    steps.optimise(&module, &machine, PassBuilderOptions::create(), || finish(&module, symbol, &args, kernel.side_by_side(chip)))?;
    steps.finish(|steps| {
        let text = assembly(&machine, &module).map_err(|e| steps.llvm(&e))?;
        steps.show(Stage::Asm, || Ok::<_, CodegenError>(text.clone()))?;
        if let Some(call) = String::from_utf8_lossy(&text).lines().find(|l| l.trim_start().starts_with("call")) {
            return Err(CodegenError::Callee { symbol: symbol.into(), callee: call.trim().into() });
        }
        Ok(text)
    })
}

/// Tells LLVM what holds of the kernel's buffers and blocks, and makes its shared memory the launch's.
fn finish(module: &Module<'_>, symbol: &str, args: &[Arg], blocks: Option<usize>) -> Result<(), CodegenError> {
    let context = module.get_context();
    let function = module.get_function(symbol).ok_or_else(|| CodegenError::Llvm(format!("kernel {symbol}: the kernel is missing")))?;
    for (i, arg) in args.iter().enumerate() {
        let at = AttributeLoc::Param(i as u32);
        let put = |name: &str| function.add_attribute(at, context.create_enum_attribute(Attribute::get_named_enum_kind_id(name), 0));
        // No alignment: told of it, LLVM widens neighbouring loads beyond a buffer's end. Loads of whole pieces say theirs.
        put("noalias");
        if !arg.access.writes() {
            put("readonly");
        }
    }
    if let Some(blocks) = blocks {
        function.add_attribute(AttributeLoc::Function, context.create_string_attribute("nvvm.minctasm", &blocks.to_string()));
    }
    // The size of dynamic shared memory is the launch's: `.extern .shared`, under a name of the kernel's own.
    if let Some(shared) = module.get_globals().find(|g| g.get_name().to_string_lossy().contains("dynamic_shmem")) {
        shared.set_linkage(Linkage::External);
        // SAFETY: a null initialiser turns a definition into a declaration.
        unsafe { llvm_declare(&shared) };
        shared.set_name(&format!("{symbol}_shared"));
    }
    Ok(())
}

/// Takes a global's initialiser away.
///
/// # Safety
/// The global is not used by anything that reads its initialiser.
unsafe fn llvm_declare(global: &inkwell::values::GlobalValue<'_>) {
    use inkwell::values::AsValueRef;
    // SAFETY: LLVM documents a null value as "no initializer".
    unsafe { inkwell::llvm_sys::core::LLVMSetInitializer(global.as_value_ref(), std::ptr::null_mut()) }
}

fn assembly(machine: &TargetMachine, module: &Module<'_>) -> Result<Vec<u8>, String> {
    let buffer = machine.write_to_memory_buffer(module, FileType::Assembly).map_err(|e| e.to_string())?;
    Ok(steps::text(buffer.as_slice().to_vec()))
}

fn machine(target: &Target) -> Result<TargetMachine, CodegenError> {
    LlvmTarget::initialize_nvptx(&InitializationConfig::default());
    let triple = TargetTriple::create(TRIPLE);
    LlvmTarget::from_triple(&triple)
        .map_err(|e| CodegenError::Llvm(e.to_string()))?
        .create_target_machine(&triple, target.cpu, target.features, OptimizationLevel::Aggressive, RelocMode::Default, CodeModel::Default)
        .ok_or_else(|| CodegenError::Llvm(format!("no code generator for {}", target.cpu)))
}

/// One PTX module of several: the header of the first, the bodies of all.
pub(super) fn join(parts: &[Vec<u8>]) -> Result<Vec<u8>, CodegenError> {
    let mut out = String::new();
    let mut header: Option<Vec<String>> = None;
    for part in parts {
        let text = std::str::from_utf8(part).map_err(|e| CodegenError::Llvm(format!("PTX is not text: {e}")))?;
        let mut own = Vec::new();
        let mut body = String::new();
        for line in text.lines() {
            if [".version", ".target", ".address_size"].iter().any(|d| line.starts_with(d)) {
                own.push(line.to_string());
            } else if !(own.len() < 3 && (line.trim().is_empty() || line.starts_with("//"))) {
                body.push_str(line);
                body.push('\n');
            }
        }
        match &header {
            None => {
                for line in &own {
                    out.push_str(line);
                    out.push('\n');
                }
                header = Some(own);
            }
            Some(first) if *first == own => {}
            Some(first) => {
                let (first, own) = (mnx_words::commas(first), mnx_words::commas(&own));
                return Err(CodegenError::Llvm(format!("PTX headers differ: {first} and {own}")));
            }
        }
        out.push_str(&body);
    }
    Ok(out.into_bytes())
}
