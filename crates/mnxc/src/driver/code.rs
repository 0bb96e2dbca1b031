//! From plans to code for every target.

use std::time::Duration;

use mnx_plan::ModulePlan;
use mnx_plan::target::{Machine, Target};

use super::Compilation;
use crate::bundle;
use crate::emit::{self, Code};
use crate::phase::Phase;
use crate::report::Outcome;

impl Compilation<'_> {
    /// Compiles the kernels of every plan.
    ///
    /// # Errors
    /// As code generation; dumps that cannot be written.
    pub fn generate(&mut self, plans: &[ModulePlan]) -> Outcome<Vec<Code>> {
        let stages: Vec<Phase> = match (self.dump.wanted(), self.request.to) {
            (true, _) => vec![Phase::Mlir, Phase::Llvm, Phase::Asm],
            (false, to @ (Phase::Mlir | Phase::Llvm | Phase::Asm)) => vec![to],
            (false, _) => Vec::new(),
        };
        let mut codes = Vec::new();
        for plan in plans {
            let code = self.generate_one(plan, &stages)?;
            self.dump_code(&code, plan.target)?;
            codes.push(code);
        }
        Ok(codes)
    }

    fn generate_one(&mut self, plan: &ModulePlan, stages: &[Phase]) -> Outcome<Code> {
        let kernels = bundle::symbols(plan);
        let name = plan.target.name;
        let line = format!("compiling {} for {name}", mnx_words::many(kernels.len(), "kernel"));
        let bar = self.voice.animated().then(|| {
            let bar = indicatif::ProgressBar::new_spinner().with_message(line.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if bar.is_none() {
            self.voice.note(&line);
        }
        let code = self.times.measure(format!("codegen {name}"), || emit::compile(&kernels, plan.target, stages));
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let code = code?;
        for (step, time) in &code.times {
            self.times.add(format!("  {step} (cpu)"), *time);
        }
        Ok(code)
    }

    fn dump_code(&mut self, code: &Code, target: &Target) -> Outcome {
        let name = target.name;
        let (asm, binary) = match target.machine {
            Machine::Cpu(_) => ("s", "so"),
            Machine::Nvptx(_) => ("kernels.ptx", "ptx"),
        };
        for (phase, extension) in [(Phase::Mlir, "mlir"), (Phase::Llvm, "ll"), (Phase::Asm, asm)] {
            if let Some((_, text)) = code.texts.iter().find(|(p, _)| *p == phase) {
                self.dump.stage(&format!("{name}.{extension}"), || text.clone())?;
            }
        }
        self.dump.stage(&format!("{name}.{binary}"), || code.library.clone())
    }

    /// Assembles the cubins of GPU targets, if they are wanted.
    ///
    /// # Errors
    /// No ptxas, or what it says.
    pub fn cubins(&mut self, plans: &[ModulePlan], codes: &[Code]) -> Outcome<Vec<Option<Vec<u8>>>> {
        let mut cubins = Vec::new();
        for (plan, code) in plans.iter().zip(codes) {
            if !self.request.cubin || plan.target.nvptx().is_none() {
                cubins.push(None);
                continue;
            }
            let name = plan.target.name;
            let (cubin, resources) = self.times.measure(format!("ptxas {name}"), || emit::assemble(&code.library, name))?;
            for k in resources.iter().filter(|k| k.spilled > 0) {
                let spilled = mnx_words::count(k.spilled, "byte");
                self.voice.warn(&format!("{name}: kernel {} spills {spilled} of registers per thread", k.kernel));
            }
            cubins.push(Some(cubin));
        }
        Ok(cubins)
    }
}

/// The texts of one phase, or the objects, of every target one after the other; several texts stand under their targets' names.
pub fn joined(phase: Phase, plans: &[ModulePlan], codes: &[Code]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (plan, code) in plans.iter().zip(codes) {
        if phase == Phase::Binary {
            bytes.extend_from_slice(&code.library);
        }
        for (_, text) in code.texts.iter().filter(|(p, _)| *p == phase) {
            if plans.len() > 1 {
                bytes.extend_from_slice(format!("{} target {}\n", comment(phase, plan.target), plan.target.name).as_bytes());
            }
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// How a comment begins in the text of a phase.
fn comment(phase: Phase, target: &Target) -> &'static str {
    match (phase, target.machine) {
        (Phase::Llvm, _) => ";",
        (Phase::Mlir, _) | (_, Machine::Nvptx(_)) => "//",
        (_, Machine::Cpu(_)) => "#",
    }
}
