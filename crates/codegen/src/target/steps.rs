//! The steps from a kernel's MLIR to its optimised LLVM module, which all targets share.

use super::{CompileTimes, Product, Stage};
use crate::CodegenError;
use crate::mlir::Unit;
use inkwell::context::Context;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::TargetMachine;
use std::time::Instant;

/// One kernel on its way: the stages that were asked for, and what each step took.
pub(super) struct Steps<'a> {
    symbol: &'a str,
    stages: &'a [Stage],
    shown: Vec<(Stage, Vec<u8>)>,
    times: CompileTimes,
}

impl<'a> Steps<'a> {
    /// Nothing done yet; `stages` are to be shown.
    pub(super) fn new(symbol: &'a str, stages: &'a [Stage]) -> Self {
        Self { symbol, stages, shown: Vec::new(), times: CompileTimes::default() }
    }

    /// What LLVM says of this kernel, as an error.
    pub(super) fn llvm(&self, e: &dyn std::fmt::Display) -> CodegenError {
        CodegenError::Llvm(format!("kernel {}: {e}", self.symbol))
    }

    /// Keeps the text of a stage if it was asked for.
    pub(super) fn show<E>(&mut self, stage: Stage, text: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<(), E> {
        if self.stages.contains(&stage) {
            self.shown.push((stage, text()?));
        }
        Ok(())
    }

    /// Emits MLIR by `build`, lowers it and translates it into `context`.
    pub(super) fn module<'s, 'l>(&mut self, context: &'l Context, build: impl FnOnce() -> Unit<'s>) -> Result<Module<'l>, CodegenError> {
        let start = Instant::now();
        let mut unit = build();
        self.times.emit = start.elapsed();
        self.show(Stage::Mlir, || Ok::<_, CodegenError>(unit.text().into_bytes()))?;
        let start = Instant::now();
        unit.lower().map_err(|e| CodegenError::Mlir(format!("kernel {}: {e}", self.symbol)))?;
        let module = unit.translate(context)?;
        self.times.lower = start.elapsed();
        Ok(module)
    }

    /// Makes the module one of `machine`'s, lets `finish` add what only this target has, verifies and optimises.
    pub(super) fn optimise(
        &mut self,
        module: &Module<'_>,
        machine: &TargetMachine,
        passes: PassBuilderOptions,
        finish: impl FnOnce() -> Result<(), CodegenError>,
    ) -> Result<(), CodegenError> {
        let start = Instant::now();
        module.set_triple(&machine.get_triple());
        module.set_data_layout(&machine.get_target_data().get_data_layout());
        module.set_source_file_name(self.symbol);
        finish()?;
        module.verify().map_err(|e| self.llvm(&e))?;
        // Emitters vectorise by themselves; LLVM's own choice would only multiply the tails.
        passes.set_loop_vectorization(false);
        passes.set_loop_slp_vectorization(false);
        module.run_passes("default<O3>", machine, passes).map_err(|e| self.llvm(&e))?;
        self.times.optimise = start.elapsed();
        self.show(Stage::Llvm, || Ok(module.print_to_string().to_bytes().to_vec()))
    }

    /// The product whose object `write` makes; it may show stages of its own.
    pub(super) fn finish(mut self, write: impl FnOnce(&mut Self) -> Result<Vec<u8>, CodegenError>) -> Result<Product, CodegenError> {
        let start = Instant::now();
        let object = write(&mut self)?;
        self.times.object = start.elapsed();
        Ok(Product { object, shown: self.shown, times: self.times })
    }
}

/// Assembly text without the zero behind it.
pub(super) fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}
