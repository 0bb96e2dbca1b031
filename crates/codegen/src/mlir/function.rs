//! One MLIR module per kernel: a function over its buffers, the workgroup number and the scratch.

use super::builder::extend;
use super::{Buffer, Builder, Scalar, Ty, Val};
use crate::CodegenError;
use melior::Context;
use melior::dialect::DialectRegistry;
use melior::ir::attribute::{StringAttribute, TypeAttribute};
use melior::ir::operation::{Operation, OperationBuilder, OperationLike};
use melior::ir::r#type::FunctionType;
use melior::ir::{Attribute, Block, BlockLike, Identifier, Location, Module, Region, RegionLike, Type, Value};
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
        let draft = Draft::new(&self.context, name, buffers, |b| vec![b.ty(Ty::INDEX), b.memref_type(Scalar::I8, scratch_bytes.max(1))]);
        let builder = draft.builder();
        let workgroup = builder.val(draft.argument(buffers.len()), Ty::INDEX);
        let scratch = Buffer::whole(draft.argument(buffers.len() + 1), Scalar::I8, scratch_bytes);
        body(&builder, &draft.views(buffers), workgroup, scratch);
        builder.append("func.return", &[], &[], &[]);
        let (module, function) = draft.close("func.func", &[]);
        module.body().append_operation(function);
        Unit { context: &self.context, module, gpu: false }
    }
}

/// A kernel's function while its body is written, and the module it will stand in.
struct Draft<'c> {
    context: &'c Context,
    name: Attribute<'c>,
    location: Location<'c>,
    module: Module<'c>,
    parameters: Vec<Type<'c>>,
    block: Block<'c>,
}

impl<'c> Draft<'c> {
    /// A function whose parameters are flat buffers, and behind them those of the types that `more` gives.
    fn new(context: &'c Context, name: &str, buffers: &[(Scalar, usize)], more: impl FnOnce(&Builder<'c>) -> Vec<Type<'c>>) -> Self {
        let location = Location::name(context, name, Location::unknown(context));
        let module = Module::new(location);
        let outer = module.body();
        // SAFETY of lifetimes is the builder's: `outer` belongs to `module`, which outlives `probe`.
        let probe = Builder::new(context, &outer, location);
        let mut parameters: Vec<_> = buffers.iter().map(|&(scalar, len)| probe.memref_type(scalar, len.max(1))).collect();
        parameters.extend(more(&probe));
        let block = Block::new(&parameters.iter().map(|&t| (t, location)).collect::<Vec<_>>());
        Self { context, name: StringAttribute::new(context, name).into(), location, module, parameters, block }
    }

    /// A builder whose operations go into the body.
    fn builder(&self) -> Builder<'c> {
        Builder::new(self.context, &self.block, self.location)
    }

    fn argument(&self, i: usize) -> Value<'c, 'c> {
        match self.block.argument(i) {
            Ok(a) => extend(a.into()),
            Err(e) => unreachable!("argument {i} of a kernel: {e}"),
        }
    }

    /// The first parameters as buffers.
    fn views(&self, buffers: &[(Scalar, usize)]) -> Vec<Buffer<'c>> {
        buffers.iter().enumerate().map(|(i, &(scalar, len))| Buffer::whole(self.argument(i), scalar, len)).collect()
    }

    /// The module, still empty, and the finished function as an operation `kind` with more attributes.
    fn close(self, kind: &str, more: &[(&str, Attribute<'c>)]) -> (Module<'c>, Operation<'c>) {
        let Self { context, name, location, module, parameters, block } = self;
        let signature = TypeAttribute::new(FunctionType::new(context, &parameters, &[]).into()).into();
        let attributes = [&[("sym_name", name), ("function_type", signature)], more].concat();
        (module, around(context, (kind, location), &attributes, block))
    }
}

/// An operation around one block.
fn around<'c>(
    context: &'c Context,
    (kind, location): (&str, Location<'c>),
    attributes: &[(&str, Attribute<'c>)],
    block: Block<'c>,
) -> Operation<'c> {
    let attributes: Vec<_> = attributes.iter().map(|&(name, value)| (Identifier::new(context, name), value)).collect();
    let region = Region::new();
    region.append_block(block);
    OperationBuilder::new(kind, location)
        .add_attributes(&attributes)
        .add_regions_vec(vec![region])
        .build()
        .unwrap_or_else(|e| unreachable!("{kind}: {e}"))
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
        let draft = Draft::new(&self.context, name, buffers, |_| vec![]);
        let builder = draft.builder().on_gpu();
        body(&builder, &draft.views(buffers));
        builder.append("gpu.return", &[], &[], &[]);
        let [x, y, z] = threads;
        let more = [
            ("known_block_size", builder.parsed_attribute(&format!("array<i32: {x}, {y}, {z}>"))),
            ("gpu.kernel", builder.parsed_attribute("unit")),
            ("workgroup_attributions", builder.parsed_attribute("0 : i64")),
        ];
        let location = draft.location;
        let (module, kernel) = draft.close("gpu.func", &more);
        let inside = Block::new(&[]);
        inside.append_operation(kernel);
        let kernels = StringAttribute::new(&self.context, "kernels").into();
        module.body().append_operation(around(&self.context, ("gpu.module", location), &[("sym_name", kernels)], inside));
        Unit { context: &self.context, module, gpu: true }
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
