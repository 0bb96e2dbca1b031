//! x86-64: one kernel to one object file.

use super::steps::{Steps, text};
use super::{Product, Stage, symbols};
use crate::CodegenError;
use crate::args::Args;
use crate::kernels::{self, Site};
use crate::mlir::{Scalar, Session};
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::context::{Context, ContextRef};
use inkwell::module::{Linkage, Module};
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target as LlvmTarget, TargetMachine, TargetTriple};
use inkwell::values::FunctionValue;
use inkwell::{AddressSpace, OptimizationLevel};
use mnx_plan::host::HostKernel;
use mnx_plan::slot::{Arg, Element};
use mnx_plan::target::{Cpu, Target};

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

pub(super) fn compile(
    session: &Session,
    symbol: &str,
    kernel: &HostKernel,
    target: &Target,
    stages: &[Stage],
) -> Result<Product, CodegenError> {
    let family = kernel.family();
    let signature = Signature { symbol, args: &family.args(), scratch_bytes: family.scratch_bytes() };
    compile_body(session, &signature, target, stages, |site| kernels::emit(kernel, site))
}

/// What the caller of a kernel sees.
pub(crate) struct Signature<'a> {
    /// Exported name.
    pub(crate) symbol: &'a str,
    /// Buffers.
    pub(crate) args: &'a [Arg],
    /// Scratch it may use.
    pub(crate) scratch_bytes: usize,
}

/// Compiles whatever `emit` emits.
pub(crate) fn compile_body(
    session: &Session,
    signature: &Signature,
    target: &Target,
    stages: &[Stage],
    emit: impl for<'c> FnOnce(&Site<'_, 'c>),
) -> Result<Product, CodegenError> {
    let &Signature { symbol, args, .. } = signature;
    let Some(cpu) = target.cpu() else {
        return Err(CodegenError::Illegal { symbol: symbol.into(), reason: format!("{} is no CPU", target.name) });
    };
    let body = format!("{symbol}.body");
    let types: Vec<_> = args.iter().map(|a| (scalar(a.element), a.len)).collect();
    let mut steps = Steps::new(symbol, stages);
    let context = Context::create();
    let module = steps.module(&context, || {
        session.build(&body, &types, signature.scratch_bytes, |b, buffers, workgroup, scratch| {
            emit(&Site { b, cpu, args: &Args::new(args, buffers), workgroup, scratch });
        })
    })?;
    let machine = machine(target)?;
    let passes = PassBuilderOptions::create();
    // The emitters unroll by themselves.
    passes.set_loop_unrolling(false);
    steps.optimise(&module, &machine, passes, || wrap(&module, signature, &body, (target, cpu)))?;
    let product = steps.finish(|steps| {
        let llvm = |e: &dyn std::fmt::Display| CodegenError::Llvm(format!("kernel {symbol}: {e}"));
        let write =
            |module: &Module, kind| machine.write_to_memory_buffer(module, kind).map(|b| b.as_slice().to_vec()).map_err(|e| llvm(&e));
        // Emission changes a module, so the text is made from a copy.
        steps.show(Stage::Asm, || write(&module.clone(), FileType::Assembly).map(text))?;
        write(&module, FileType::Object)
    })?;
    symbols::only_memory_calls(symbol, &product.object)?;
    Ok(product)
}

pub(super) fn scalar(element: Element) -> Scalar {
    match element {
        Element::Bf16 => Scalar::Bf16,
        Element::F16 => Scalar::F16,
        Element::F32 => Scalar::F32,
        Element::F64 => Scalar::F64,
        Element::I32 => Scalar::I32,
    }
}

fn machine(target: &Target) -> Result<TargetMachine, CodegenError> {
    LlvmTarget::initialize_x86(&InitializationConfig::default());
    let triple = TargetTriple::create(TRIPLE);
    LlvmTarget::from_triple(&triple)
        .map_err(|e| CodegenError::Llvm(e.to_string()))?
        .create_target_machine(&triple, target.cpu, target.features, OptimizationLevel::Aggressive, RelocMode::PIC, CodeModel::Small)
        .ok_or_else(|| CodegenError::Llvm(format!("no code generator for {}", target.cpu)))
}

/// Adds the exported entry of the kernel ABI, which unpacks the buffers and calls the body.
///
/// The body stays a function of its own, so that its buffers keep their `noalias`.
fn wrap(module: &Module<'_>, signature: &Signature, body: &str, (target, cpu): (&Target, &Cpu)) -> Result<(), CodegenError> {
    let context = module.get_context();
    let &Signature { symbol, args, .. } = signature;
    let llvm = |e: &dyn std::fmt::Display| CodegenError::Llvm(format!("kernel {symbol}: {e}"));
    let body = module.get_function(body).ok_or_else(|| llvm(&"the body is missing"))?;
    body.set_linkage(Linkage::Internal);
    set_target(context, body, target, cpu);
    body.add_attribute(AttributeLoc::Function, flag(context, "noinline"));
    for (i, arg) in args.iter().enumerate() {
        let at = AttributeLoc::Param(i as u32);
        body.add_attribute(at, flag(context, "noalias"));
        if !arg.access.writes() {
            body.add_attribute(at, flag(context, "readonly"));
        }
    }
    let scratch = AttributeLoc::Param(args.len() as u32 + 1);
    body.add_attribute(scratch, flag(context, "noalias"));

    let pointer = context.ptr_type(AddressSpace::default());
    let word = context.i64_type();
    let signature = context.void_type().fn_type(&[pointer.into(), word.into(), pointer.into()], false);
    let entry = module.add_function(symbol, signature, None);
    set_target(context, entry, target, cpu);
    let builder = context.create_builder();
    builder.position_at_end(context.append_basic_block(entry, "entry"));
    let parameter = |i: u32| entry.get_nth_param(i).ok_or_else(|| llvm(&"the entry lacks a parameter"));
    let list = parameter(0)?.into_pointer_value();
    let mut values = Vec::with_capacity(args.len() + 2);
    for (i, arg) in args.iter().enumerate() {
        let index = word.const_int(i as u64, false);
        // SAFETY: the ABI promises one pointer per buffer.
        let slot = unsafe { builder.build_in_bounds_gep(pointer, list, &[index], arg.slot.name()) }.map_err(|e| llvm(&e))?;
        let value = builder.build_load(pointer, slot, arg.slot.name()).map_err(|e| llvm(&e))?;
        values.push(value.into());
    }
    values.push(parameter(1)?.into());
    values.push(parameter(2)?.into());
    builder.build_call(body, &values, "").map_err(|e| llvm(&e))?;
    builder.build_return(None).map_err(|e| llvm(&e))?;
    Ok(())
}

fn flag(context: ContextRef<'_>, name: &str) -> Attribute {
    context.create_enum_attribute(Attribute::get_named_enum_kind_id(name), 0)
}

fn set_target(context: ContextRef<'_>, function: FunctionValue, target: &Target, cpu: &Cpu) {
    let width = (cpu.lanes * 32).to_string();
    for (key, value) in [("target-cpu", target.cpu), ("target-features", target.features), ("prefer-vector-width", &width)] {
        if !value.is_empty() {
            let attribute = context.create_string_attribute(key, value);
            function.add_attribute(AttributeLoc::Function, attribute);
        }
    }
    function.add_attribute(AttributeLoc::Function, flag(context, "nounwind"));
}
