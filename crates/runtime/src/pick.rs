//! Which of a bundle's GPU programs runs on a GPU, and in which form: a function of the programs and of what is known about the GPU, nothing else.

use mnx_artifact::{GpuNeeds, Program};
use serde::Serialize;

use crate::error::RuntimeError;

/// What is known about one GPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GpuFacts {
    /// The driver's number for it: N of `cuda:N`.
    pub index: usize,
    /// For example `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute: [u32; 2],
    /// Highest CUDA version that the driver serves, major and minor.
    pub driver: [u32; 2],
    /// Highest PTX version that the driver is known to compile, major and minor.
    pub ptx: [u32; 2],
    /// Memory in bytes.
    pub total_bytes: u64,
    /// What nobody uses of it at present.
    pub free_bytes: u64,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Highest clock in Hz.
    pub clock_hz: f64,
    /// Bytes of shared memory that one block may have.
    pub shared_block_bytes: u64,
    /// Bytes of its second-level cache.
    pub l2_bytes: u64,
}

impl GpuFacts {
    /// `9.0`.
    pub fn capability(&self) -> String {
        version(self.compute)
    }
}

fn version([major, minor]: [u32; 2]) -> String {
    format!("{major}.{minor}")
}

/// Which code of a program is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeForm {
    /// The section `code`: a shared object, or PTX that the driver compiles.
    Code,
    /// The section `cubin`.
    Cubin,
}

/// A choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// The program.
    pub index: usize,
    /// Form of the code.
    pub form: CodeForm,
}

/// CUDA versions and the PTX version that came with each, from the release history in NVIDIA's "PTX ISA" manual, section "Release Notes". A driver compiles
/// the PTX of its own CUDA version and all older ones; cuDriverGetVersion tells which that is.
const PTX_OF_CUDA: &[([u32; 2], [u32; 2])] = &[
    ([11, 0], [7, 0]),
    ([11, 1], [7, 1]),
    ([11, 2], [7, 2]),
    ([11, 3], [7, 3]),
    ([11, 4], [7, 4]),
    ([11, 5], [7, 5]),
    ([11, 6], [7, 6]),
    ([11, 7], [7, 7]),
    ([11, 8], [7, 8]),
    ([12, 0], [8, 0]),
    ([12, 1], [8, 1]),
    ([12, 2], [8, 2]),
    ([12, 3], [8, 3]),
    ([12, 4], [8, 4]),
    ([12, 5], [8, 5]),
    ([12, 7], [8, 6]),
    ([12, 8], [8, 7]),
    ([12, 9], [8, 8]),
    ([13, 0], [9, 0]),
];

/// The highest PTX version that a driver of this CUDA version compiles; of a driver newer than our table, the newest that we know of.
pub fn highest_ptx(driver: [u32; 2]) -> [u32; 2] {
    PTX_OF_CUDA.iter().rev().find(|(cuda, _)| *cuda <= driver).map_or([0, 0], |(_, ptx)| *ptx)
}

/// The oldest CUDA version whose drivers compile this PTX version.
fn cuda_for(ptx: [u32; 2]) -> Option<[u32; 2]> {
    PTX_OF_CUDA.iter().find(|(_, knows)| *knows >= ptx).map(|(cuda, _)| *cuda)
}

/// How well a program suits a GPU: the larger, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// A cubin for an older chip of the same major version; machine code runs there, but was scheduled for another chip.
    OlderCubin,
    Ptx,
    ExactCubin,
}

/// Programs in order of preference: how they suit, for which capability they are, whether for it alone.
type Rank = (Fit, [u32; 2], bool);

fn fit(needs: &GpuNeeds, cubin: bool, facts: &GpuFacts) -> Result<Fit, String> {
    if cubin && needs.compute == facts.compute {
        return Ok(Fit::ExactCubin);
    }
    if needs.exact && needs.compute != facts.compute {
        return Err(format!("runs on compute capability {} alone, this GPU has {}", version(needs.compute), facts.capability()));
    }
    if needs.compute > facts.compute {
        return Err(format!("needs compute capability {}, this GPU has {}", version(needs.compute), facts.capability()));
    }
    if needs.ptx <= facts.ptx {
        return Ok(Fit::Ptx);
    }
    if cubin && needs.compute[0] == facts.compute[0] {
        return Ok(Fit::OlderCubin);
    }
    let since = cuda_for(needs.ptx).map_or_else(String::new, |cuda| format!("; a driver for CUDA {} or newer does", version(cuda)));
    Err(format!("is PTX {}, which the driver (CUDA {}) does not compile{since}", version(needs.ptx), version(facts.driver)))
}

/// Whether any program is a GPU's.
pub fn any_gpu_program(programs: &[Program]) -> bool {
    programs.iter().any(|p| p.gpu.is_some())
}

/// The best program for a GPU: a cubin for exactly its compute capability, else the PTX for the highest one that it has, else a cubin for an older chip of its
/// kind. `cubin` says which programs have one, `beside` how many bytes a run needs besides the program's arena (weights, port buffers). With `wanted` only
/// that target counts.
///
/// # Errors
/// `NoProgram` with the reason for every GPU program: architecture, driver, or memory with the figures.
pub fn pick(
    programs: &[Program],
    cubin: &dyn Fn(usize) -> bool,
    beside: u64,
    facts: &GpuFacts,
    wanted: Option<&str>,
) -> Result<Pick, RuntimeError> {
    if let Some(target) = wanted
        && !programs.iter().any(|p| p.target == target)
    {
        let offered: Vec<&str> = programs.iter().map(|p| p.target.as_str()).collect();
        return Err(RuntimeError::NoProgram(format!("the bundle has no code for {target}; it has {}", offered.join(", "))));
    }
    let mut best: Option<(Rank, Pick)> = None;
    let mut reasons = Vec::new();
    for (index, program) in programs.iter().enumerate().filter(|(_, p)| wanted.is_none_or(|w| p.target == w)) {
        let mut refuse = |reason: String| {
            tracing::debug!("code not taken: {} {reason}", program.target);
            reasons.push(format!("code for {} {reason}", program.target));
        };
        let Some(needs) = &program.gpu else {
            refuse("is for another kind of device".to_owned());
            continue;
        };
        let fit = match fit(needs, cubin(index), facts) {
            Ok(fit) => fit,
            Err(reason) => {
                refuse(reason);
                continue;
            }
        };
        let bytes = program.arena_bytes.saturating_add(beside);
        if bytes > facts.free_bytes {
            refuse(format!(
                "needs {} of GPU memory, {} of {} are free; take a smaller patch or batch, or end what else uses the GPU",
                mebibytes(bytes),
                mebibytes(facts.free_bytes),
                mebibytes(facts.total_bytes)
            ));
            continue;
        }
        let rank = (fit, needs.compute, needs.exact);
        if best.is_none_or(|(had, _)| rank > had) {
            let form = if fit == Fit::Ptx { CodeForm::Code } else { CodeForm::Cubin };
            best = Some((rank, Pick { index, form }));
        }
    }
    match best {
        Some((_, pick)) => Ok(pick),
        None => Err(RuntimeError::NoProgram(format!(
            "nothing of the bundle runs on {} (cuda:{}): {}",
            facts.name,
            facts.index,
            reasons.join("; ")
        ))),
    }
}

/// Bytes in MiB, rounded up.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn program(target: &str, gpu: Option<([u32; 2], bool, [u32; 2])>) -> Program {
        Program {
            target: target.into(),
            requires: vec![],
            arena_bytes: 100 << 20,
            scratch_bytes: 0,
            inputs: vec![],
            outputs: vec![],
            commands: vec![],
            precision: "bf16".into(),
            gpu: gpu.map(|(compute, exact, ptx)| GpuNeeds { compute, exact, ptx }),
        }
    }

    /// A fat bundle, in an order that says nothing.
    fn offered() -> Vec<Program> {
        vec![
            program("x86-64-v3", None),
            program("sm_80", Some(([8, 0], false, [7, 0]))),
            program("sm_120", Some(([12, 0], false, [8, 7]))),
            program("sm_90a", Some(([9, 0], true, [8, 0]))),
            program("sm_86", Some(([8, 6], false, [7, 1]))),
            program("sm_100a", Some(([10, 0], true, [8, 6]))),
        ]
    }

    fn gpu(compute: [u32; 2], driver: [u32; 2]) -> GpuFacts {
        GpuFacts {
            index: 1,
            name: "Test GPU".into(),
            compute,
            driver,
            ptx: highest_ptx(driver),
            total_bytes: 8 << 30,
            free_bytes: 4 << 30,
            multiprocessors: 100,
            clock_hz: 1e9,
            shared_block_bytes: 99 << 10,
            l2_bytes: 1 << 20,
        }
    }

    #[test]
    fn every_gpu_gets_the_highest_code_that_it_runs() {
        let p = offered();
        for (compute, driver, want) in [
            ([8, 0], [12, 2], Some("sm_80")),
            ([8, 6], [12, 2], Some("sm_86")),
            ([8, 9], [12, 2], Some("sm_86")),
            ([9, 0], [12, 2], Some("sm_90a")),
            // Too old a driver for PTX 8.0: the next best.
            ([9, 0], [11, 8], Some("sm_86")),
            ([10, 0], [12, 9], Some("sm_100a")),
            ([10, 0], [12, 6], Some("sm_86")),
            // sm_100a is for 10.0 alone.
            ([10, 3], [13, 0], Some("sm_86")),
            ([12, 0], [12, 9], Some("sm_120")),
            ([12, 1], [14, 5], Some("sm_120")),
            ([7, 5], [13, 0], None),
            ([8, 0], [10, 2], None),
        ] {
            let got = pick(&p, &|_| false, 0, &gpu(compute, driver), None);
            match want {
                Some(target) => {
                    let got = got.unwrap();
                    assert_eq!((p[got.index].target.as_str(), got.form), (target, CodeForm::Code), "{compute:?} {driver:?}");
                }
                None => assert!(got.is_err(), "{compute:?} {driver:?}"),
            }
        }
    }

    #[test]
    fn an_exact_cubin_comes_first_and_needs_no_ptx_compiler() {
        let p = offered();
        let all = |_| true;
        let target = |facts: &GpuFacts, cubin: &dyn Fn(usize) -> bool| {
            let got = pick(&p, cubin, 0, facts, None).unwrap();
            (p[got.index].target.clone(), got.form)
        };
        assert_eq!(target(&gpu([9, 0], [11, 8]), &all), ("sm_90a".into(), CodeForm::Cubin));
        assert_eq!(target(&gpu([8, 0], [12, 0]), &all), ("sm_80".into(), CodeForm::Cubin));
        // No exact cubin for 8.9: PTX before the cubin of 8.6, unless the driver cannot compile it.
        assert_eq!(target(&gpu([8, 9], [12, 0]), &all), ("sm_86".into(), CodeForm::Code));
        assert_eq!(target(&gpu([8, 9], [10, 2]), &all), ("sm_86".into(), CodeForm::Cubin));
        // Only the PTX of 8.6 and a cubin of 8.0: the cubin is exact for 8.0 alone.
        let only_80 = |i: usize| i == 1;
        assert_eq!(target(&gpu([8, 6], [12, 0]), &only_80), ("sm_86".into(), CodeForm::Code));
        assert_eq!(target(&gpu([8, 0], [10, 0]), &only_80), ("sm_80".into(), CodeForm::Cubin));
    }

    #[test]
    fn refusals_name_architecture_driver_and_memory() {
        let p = offered();
        let say = |facts: &GpuFacts, wanted: Option<&str>| pick(&p, &|_| false, 50 << 20, facts, wanted).unwrap_err().to_string();
        let old = say(&gpu([7, 5], [13, 0]), None);
        for words in [
            "Test GPU (cuda:1)",
            "sm_80 needs compute capability 8.0, this GPU has 7.5",
            "sm_90a runs on compute capability 9.0 alone",
            "x86-64-v3 is for another kind",
        ] {
            assert!(old.contains(words), "{words}: {old}");
        }
        let driver = say(&gpu([9, 0], [11, 8]), Some("sm_90a"));
        assert!(
            driver.contains("is PTX 8.0, which the driver (CUDA 11.8) does not compile; a driver for CUDA 12.0 or newer does"),
            "{driver}"
        );
        let mut small = gpu([9, 0], [13, 0]);
        small.free_bytes = 149 << 20;
        let memory = say(&small, None);
        assert!(memory.contains("sm_90a needs 150 MiB of GPU memory, 149 MiB of 8192 MiB are free"), "{memory}");
        small.free_bytes = 150 << 20;
        assert!(pick(&p, &|_| false, 50 << 20, &small, None).is_ok());
        assert!(say(&small, Some("sm_70")).contains("no code for sm_70; it has x86-64-v3, sm_80"));
        assert!(say(&small, Some("x86-64-v3")).contains("another kind of device"));
        assert!(pick(&p, &|_| false, u64::MAX, &small, None).is_err());
        assert!(pick(&[], &|_| true, 0, &small, None).is_err());
    }

    #[test]
    fn a_wanted_target_is_taken_where_it_runs() {
        let p = offered();
        let got = pick(&p, &|_| false, 0, &gpu([9, 0], [13, 0]), Some("sm_80")).unwrap();
        assert_eq!(p[got.index].target, "sm_80");
    }

    #[test]
    fn ptx_versions_rise_with_the_driver() {
        assert_eq!((highest_ptx([12, 6]), highest_ptx([12, 7]), highest_ptx([99, 0])), ([8, 5], [8, 6], [9, 0]));
        assert_eq!((cuda_for([7, 8]), cuda_for([8, 6]), cuda_for([9, 1])), (Some([11, 8]), Some([12, 7]), None));
        assert!(PTX_OF_CUDA.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 < w[1].1));
    }
}
