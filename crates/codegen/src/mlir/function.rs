//! One MLIR module per kernel: a function over its buffers, the workgroup number and the scratch.

use super::builder::extend;
use super::{Buffer, Builder, Scalar, Ty, Val};
use crate::CodegenError;
use melior::Context;
use melior::dialect::DialectRegistry;
use melior::ir::attribute::{StringAttribute, TypeAttribute};
use melior::ir::operation::{OperationBuilder, OperationLike};
use melior::ir::r#type::FunctionType;
use melior::ir::{Block, BlockLike, Identifier, Location, Module, Region, RegionLike};
use melior::pass::PassManager;
use melior::utility::{parse_pass_pipeline, register_all_dialects, register_all_llvm_translations, register_all_passes};
use std::sync::Mutex;

/// From structured loops over flat memrefs to the LLVM dialect.
const PIPELINE: &str = "builtin.module(canonicalize,cse,convert-scf-to-cf,convert-vector-to-llvm,\
convert-math-to-llvm,finalize-memref-to-llvm,convert-arith-to-llvm,\
convert-func-to-llvm{use-bare-ptr-memref-call-conv=true},convert-cf-to-llvm,\
canonicalize,cse,reconcile-unrealized-casts)";

/// An MLIR context with every dialect that kernels and their lowering use.
pub struct Session {
    context: Context,
}

impl Session {
    /// Loads the dialects.
    pub fn new() -> Self {
        // The registries behind these calls are process-wide.
        static REGISTRATION: Mutex<()> = Mutex::new(());
        let _one_at_a_time = REGISTRATION.lock().unwrap_or_else(|e| e.into_inner());
        register_all_passes();
        let registry = DialectRegistry::new();
        register_all_dialects(&registry);
        let context = Context::new_with_registry(&registry, false);
        register_all_llvm_translations(&context);
        for dialect in ["func", "arith", "math", "memref", "vector", "scf", "llvm", "gpu", "nvvm", "cf"] {
            context.get_or_load_dialect(dialect);
        }
        Self { context }
    }

    /// Builds a function `name` over flat buffers; `body` gets them, the workgroup number and the scratch bytes.
    pub fn build(
        &self,
        name: &str,
        buffers: &[(Scalar, usize)],
        scratch_bytes: usize,
        body: impl for<'c> FnOnce(&Builder<'c>, &[Buffer<'c>], Val<'c>, Buffer<'c>),
    ) -> Unit<'_> {
        let context = &self.context;
        let location = Location::name(context, name, Location::unknown(context));
        let module = Module::new(location);
        let outer = module.body();
        // SAFETY of lifetimes is the builder's: `outer` belongs to `module`, which outlives `builder`.
        let probe = Builder::new(context, &outer, location);
        let mut types: Vec<_> = buffers.iter().map(|&(scalar, len)| probe.memref_type(scalar, len.max(1))).collect();
        types.push(probe.ty(Ty::INDEX));
        types.push(probe.memref_type(Scalar::I8, scratch_bytes.max(1)));
        let block = Block::new(&types.iter().map(|&t| (t, location)).collect::<Vec<_>>());
        let argument = |i: usize| match block.argument(i) {
            Ok(a) => extend(a.into()),
            Err(e) => unreachable!("function argument {i}: {e}"),
        };
        let views: Vec<_> = buffers.iter().enumerate().map(|(i, &(scalar, len))| Buffer::whole(argument(i), scalar, len)).collect();
        let builder = Builder::new(context, &block, location);
        let workgroup = builder.val(argument(buffers.len()), Ty::INDEX);
        let scratch = Buffer::whole(argument(buffers.len() + 1), Scalar::I8, scratch_bytes);
        body(&builder, &views, workgroup, scratch);
        builder.append("func.return", &[], &[], &[]);
        let region = Region::new();
        region.append_block(block);
        let function = OperationBuilder::new("func.func", location)
            .add_attributes(&[
                (Identifier::new(context, "sym_name"), StringAttribute::new(context, name).into()),
                (Identifier::new(context, "function_type"), TypeAttribute::new(FunctionType::new(context, &types, &[]).into()).into()),
            ])
            .add_regions_vec(vec![region])
            .build()
            .unwrap_or_else(|e| unreachable!("func.func: {e}"));
        module.body().append_operation(function);
        Unit { context, module, gpu: false }
    }
}

/// From structured loops in a GPU module to the NVVM dialect. Elementary functions go first: later they would become calls of a library that is absent.
const GPU_PIPELINE: &str = "builtin.module(canonicalize,cse,convert-scf-to-cf,convert-math-to-llvm,\
gpu.module(convert-gpu-to-nvvm{use-bare-ptr-memref-call-conv=true}),convert-vector-to-llvm,convert-cf-to-llvm,\
convert-arith-to-llvm,finalize-memref-to-llvm,canonicalize,cse,reconcile-unrealized-casts)";

impl Session {
    /// Builds a GPU kernel `name` over flat buffers in global memory, for blocks of `threads` threads.
    pub fn build_gpu(
        &self,
        name: &str,
        buffers: &[(Scalar, usize)],
        threads: [u32; 3],
        body: impl for<'c> FnOnce(&Builder<'c>, &[Buffer<'c>]),
    ) -> Unit<'_> {
        let context = &self.context;
        let location = Location::name(context, name, Location::unknown(context));
        let module = Module::new(location);
        let outer = module.body();
        let probe = Builder::new(context, &outer, location);
        let types: Vec<_> = buffers.iter().map(|&(scalar, len)| probe.memref_type(scalar, len.max(1))).collect();
        let block = Block::new(&types.iter().map(|&t| (t, location)).collect::<Vec<_>>());
        let argument = |i: usize| match block.argument(i) {
            Ok(a) => extend(a.into()),
            Err(e) => unreachable!("kernel argument {i}: {e}"),
        };
        let views: Vec<_> = buffers.iter().enumerate().map(|(i, &(scalar, len))| Buffer::whole(argument(i), scalar, len)).collect();
        let builder = Builder::new(context, &block, location).on_gpu();
        body(&builder, &views);
        builder.append("gpu.return", &[], &[], &[]);
        let region = Region::new();
        region.append_block(block);
        let id = |name| Identifier::new(context, name);
        let [x, y, z] = threads;
        let kernel = OperationBuilder::new("gpu.func", location)
            .add_attributes(&[
                (id("sym_name"), StringAttribute::new(context, name).into()),
                (id("function_type"), TypeAttribute::new(FunctionType::new(context, &types, &[]).into()).into()),
                (id("known_block_size"), probe.parsed_attribute(&format!("array<i32: {x}, {y}, {z}>"))),
                (id("gpu.kernel"), probe.parsed_attribute("unit")),
                (id("workgroup_attributions"), probe.parsed_attribute("0 : i64")),
            ])
            .add_regions_vec(vec![region])
            .build()
            .unwrap_or_else(|e| unreachable!("gpu.func: {e}"));
        let inside = Block::new(&[]);
        inside.append_operation(kernel);
        let region = Region::new();
        region.append_block(inside);
        let gpu = OperationBuilder::new("gpu.module", location)
            .add_attributes(&[(id("sym_name"), StringAttribute::new(context, "kernels").into())])
            .add_regions_vec(vec![region])
            .build()
            .unwrap_or_else(|e| unreachable!("gpu.module: {e}"));
        module.body().append_operation(gpu);
        Unit { context, module, gpu: true }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

/// The module of one kernel.
pub struct Unit<'s> {
    context: &'s Context,
    module: Module<'s>,
    gpu: bool,
}

impl Unit<'_> {
    /// The module as MLIR text.
    pub fn text(&self) -> String {
        self.module.as_operation().to_string()
    }

    /// Lowers to the LLVM dialect, in place.
    ///
    /// # Errors
    /// The verifier's or a pass's complaint, which is always a defect of an emitter.
    pub fn lower(&mut self) -> Result<(), CodegenError> {
        let mut messages = Vec::new();
        let sink = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let filled = sink.clone();
        let handler = self.context.attach_diagnostic_handler(move |d| {
            filled.borrow_mut().push(d.to_string());
            true
        });
        let outcome = if self.module.as_operation().verify() {
            let manager = PassManager::new(self.context);
            manager.enable_verifier(cfg!(debug_assertions));
            parse_pass_pipeline(manager.as_operation_pass_manager(), if self.gpu { GPU_PIPELINE } else { PIPELINE })
                .and_then(|()| manager.run(&mut self.module))
                .map_err(|e| e.to_string())
        } else {
            Err("the module does not verify".into())
        };
        self.context.detach_diagnostic_handler(handler);
        messages.append(&mut sink.borrow_mut());
        outcome.map_err(|e| CodegenError::Mlir(format!("{e}: {}", messages.join("; "))))
    }

    /// The lowered module translated into `llvm`.
    ///
    /// # Errors
    /// If a construct has no translation, which is a defect of an emitter.
    pub fn translate<'l>(&self, llvm: &'l inkwell::context::Context) -> Result<inkwell::module::Module<'l>, CodegenError> {
        // SAFETY: both sides are the same libLLVM; the context outlives the module by its lifetime, the module is owned by the caller.
        unsafe {
            // A GPU's code stands in a module within the module.
            let inner = if self.gpu { self.module.body().first_operation().map(|o| o.to_raw()) } else { None };
            let from = inner.unwrap_or_else(|| self.module.as_operation().to_raw());
            let module = mlir_sys::mlirTranslateModuleToLLVMIR(from, llvm.raw().cast());
            if module.is_null() {
                return Err(CodegenError::Mlir("the module could not be translated to LLVM IR".into()));
            }
            Ok(inkwell::module::Module::new(module.cast()))
        }
    }
}
