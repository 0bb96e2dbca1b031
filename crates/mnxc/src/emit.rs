//! The door to code generation. Without the cargo feature `llvm` it is locked, and says so.

use std::time::Duration;

use mnx_plan::kernel::Kernel;
use mnx_plan::target::Target;

use crate::phase::Phase;
use crate::report::{Failure, Outcome};

/// What code generation makes for one target.
#[derive(Debug, Default)]
pub struct Code {
    /// The shared object, or a GPU's PTX.
    pub library: Vec<u8>,
    /// MLIR, LLVM IR and assembly as far as they were asked for: the kernels' modules one after another.
    pub texts: Vec<(Phase, Vec<u8>)>,
    /// What it took, by step.
    pub times: Vec<(&'static str, Duration)>,
}

/// Refuses a stage that this binary cannot reach.
///
/// # Errors
/// If it was built without LLVM.
pub fn check_available(to: Phase) -> Outcome {
    if to.needs_llvm() && !cfg!(feature = "llvm") {
        let message = format!("this mnxc was built without LLVM: it cannot compile to {}", to.name());
        let d = mnx_ir::Diagnostic::new("mnxc-0301", "mnxc", message)
            .note("model, graph, dispatch and plan work without LLVM (--to)")
            .note("build with LLVM/MLIR 22: cargo build --release -p mnxc --features llvm");
        return Err(d.into());
    }
    Ok(())
}

/// Compiles kernels for a target, keeping the texts of `stages`.
///
/// # Errors
/// A tile that the target cannot have, a missing linker, a full disk; or no LLVM in this binary.
///
/// # Panics
/// If MLIR or LLVM refuse what our emitters made: our bug.
#[cfg(feature = "llvm")]
pub fn compile(kernels: &[(String, Kernel)], target: &Target, stages: &[Phase]) -> Outcome<Code> {
    use mnx_codegen::{CodegenError, Options, Stage};
    use mnx_plan::target::Machine;

    let wanted: Vec<Stage> = stages
        .iter()
        .filter_map(|p| match p {
            Phase::Mlir => Some(Stage::Mlir),
            Phase::Llvm => Some(Stage::Llvm),
            Phase::Asm => Some(Stage::Asm),
            Phase::Model | Phase::Graph | Phase::Dispatch | Phase::Plan | Phase::Binary | Phase::Bundle => None,
        })
        .collect();
    let mut texts: Vec<(Phase, Vec<u8>)> = Vec::new();
    let mut observe = |stage: Stage, symbol: &str, bytes: &[u8]| {
        let (phase, comment) = match stage {
            Stage::Mlir => (Phase::Mlir, "// -----"),
            Stage::Llvm => (Phase::Llvm, "; -----"),
            Stage::Asm => (Phase::Asm, "# -----"),
            Stage::Object => return,
        };
        let i = texts.iter().position(|(p, _)| *p == phase).unwrap_or_else(|| {
            texts.push((phase, Vec::new()));
            texts.len() - 1
        });
        let text = &mut texts[i].1;
        text.extend_from_slice(format!("{comment} {symbol}\n").as_bytes());
        text.extend_from_slice(bytes);
        if !bytes.ends_with(b"\n") {
            text.push(b'\n');
        }
    };
    let options = Options { stages: wanted, ..Options::default() };
    let done = match mnx_codegen::compile_with(kernels, target, &options, &mut observe) {
        Ok(done) => done,
        Err(e @ (CodegenError::Mlir(_) | CodegenError::Llvm(_) | CodegenError::Callee { .. })) => {
            panic!("code generation for {}: {e}", target.name)
        }
        Err(e) => return Err(Failure::user("codegen-0400", target.name, e.to_string())),
    };
    match target.machine {
        Machine::Cpu(_) => {}
        Machine::Nvptx(_) => {
            // One module of all kernels, which assembles as it stands.
            texts.retain(|(p, _)| *p != Phase::Asm);
            if stages.contains(&Phase::Asm) {
                texts.push((Phase::Asm, done.library.clone()));
            }
        }
    }
    let t = done.times;
    let times =
        vec![("emit MLIR", t.emit), ("lower to LLVM", t.lower), ("optimise", t.optimise), ("emit object", t.object), ("link", t.link)];
    Ok(Code { library: done.library, texts, times })
}

/// The refusal of a binary without LLVM.
///
/// # Errors
/// Always.
#[cfg(not(feature = "llvm"))]
pub fn compile(_kernels: &[(String, Kernel)], target: &Target, _stages: &[Phase]) -> Outcome<Code> {
    check_available(Phase::Binary)?;
    Err(Failure::user("mnxc-0301", target.name, "this mnxc was built without LLVM"))
}

/// What an assembled kernel takes of a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// The kernel's symbol.
    pub kernel: String,
    /// 32-bit registers per thread.
    pub registers: u32,
    /// Bytes per thread that registers were spilled to and from.
    pub spilled: u32,
    /// Bytes of static shared memory per block.
    pub shared: u32,
}

/// Whether NVIDIA's assembler is at hand.
pub fn has_ptxas() -> bool {
    #[cfg(feature = "llvm")]
    return mnx_codegen::ptxas::find().is_some();
    #[cfg(not(feature = "llvm"))]
    false
}

/// PTX to a cubin for one architecture, by NVIDIA's ptxas.
///
/// # Errors
/// There is no ptxas, or it refuses the text; or no LLVM in this binary.
pub fn assemble(ptx: &[u8], target: &str) -> Outcome<(Vec<u8>, Vec<Resources>)> {
    #[cfg(feature = "llvm")]
    {
        let failure = |e: String| Failure::user("codegen-0401", target, e);
        let text = std::str::from_utf8(ptx).map_err(|e| failure(format!("the PTX is not text: {e}")))?;
        let (cubin, kernels) = mnx_codegen::ptxas::assemble(text, target, false).map_err(|e| failure(e.to_string()))?;
        let resources = kernels.into_iter().map(|k| Resources {
            kernel: k.name,
            registers: k.registers,
            spilled: k.spill_loads + k.spill_stores,
            shared: k.shared,
        });
        Ok((cubin, resources.collect()))
    }
    #[cfg(not(feature = "llvm"))]
    {
        let _ = ptx;
        check_available(Phase::Binary)?;
        Err(Failure::user("mnxc-0301", target, "this mnxc was built without LLVM"))
    }
}
