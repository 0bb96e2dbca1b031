//! A launch: checks of its shape, CTAs in parallel, findings and counters in an order that does not depend on threads.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use crate::check::global::{GlobalWatch, MOST_CTAS};
use crate::check::{Checks, Finding, MOST_FINDINGS};
use crate::counters::{Counters, Tally};
use crate::cta::{Cta, Shared};
use crate::error::LaunchError;
use crate::exec::Simd;
use crate::memory::Memory;
use crate::module::{Kernel, Module};
use crate::tensor::MmaModel;
use crate::warp::{Place, Warp};

/// Shared memory of the largest device.
const MOST_SHARED: u64 = 227 * 1024;
/// Pieces of the grid that workers take; fixed, so that the kept findings do not depend on their number.
const PIECES: u64 = 256;

/// What to run.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// Entry name.
    pub kernel: &'a str,
    /// CTAs in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a CTA in x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// Parameters in order, each in as many 64-bit words as it needs (one for scalars and pointers), low bytes first.
    pub params: Vec<u64>,
}

/// How to run it.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Seed of the warps' order.
    pub seed: u64,
    /// Rounding of the tensor cores.
    pub model: MmaModel,
    /// Workers; 0 uses the caller's rayon pool.
    pub threads: usize,
    /// Which checks run.
    pub checks: Checks,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, model: MmaModel::Exact, threads: 0, checks: Checks::default() }
    }
}

/// What happened.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The first findings, by CTA. Each kind is kept once per CTA and line.
    pub findings: Vec<Finding>,
    /// All findings, kept or not.
    pub total_findings: u64,
    /// Totals.
    pub counters: Counters,
}

impl Report {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.total_findings == 0
    }
}

/// Runs a kernel to its end.
///
/// # Errors
/// If there is no such kernel, or the shape, shared memory or parameters are not legal for it. What goes wrong inside the kernel is a finding,
/// not an error.
pub fn launch(module: &Module, memory: &mut Memory, what: &Launch<'_>, options: &Options) -> Result<Report, LaunchError> {
    let refuse = |message: String| LaunchError { kernel: what.kernel.to_string(), message };
    let Some(kernel) = module.kernel(what.kernel) else {
        let names: Vec<&str> = module.kernels().map(|k| k.name.as_str()).collect();
        return Err(refuse(format!("the module has no such kernel, only {}", names.join(", "))));
    };
    check_shape(kernel, what).map_err(refuse)?;
    let params = pack(kernel, &what.params).map_err(refuse)?;
    let module_globals =
        if module.globals.is_empty() { 0 } else { memory.module(module.id, &module.globals).map_err(|e| refuse(e.to_string()))? };
    let memory: &Memory = memory;
    let ctas = what.grid.iter().map(|&n| u64::from(n)).product::<u64>();
    let races = options.checks.global_races.then(|| GlobalWatch::new(memory.sizes()));
    let wide_atomics = Mutex::new(());
    let given_up = AtomicBool::new(false);
    let shared = Shared {
        program: &kernel.program,
        memory,
        params: &params,
        constants: &module.constants,
        races: races.as_ref(),
        wide_atomics: &wide_atomics,
        given_up: &given_up,
        lines: &module.lines,
        checks: options.checks,
        model: options.model,
        place: Place {
            block: what.block,
            grid: what.grid,
            cta: [0; 3],
            static_shared: kernel.static_shared,
            dynamic_shared: what.dynamic_shared,
            module_globals,
        },
        seed: options.seed,
        simd: Simd::detect(),
    };
    let piece = ctas.div_ceil(PIECES).max(1);
    let pieces = ctas.div_ceil(piece);
    let work = || -> (Tally, Vec<(u64, Vec<Finding>)>, u64) {
        (0..pieces)
            .into_par_iter()
            .fold(
                || None,
                |worker: Option<Worker<'_>>, p| {
                    let mut worker = worker.unwrap_or_else(|| Worker { cta: Cta::new(shared), warps: Vec::new(), findings: Vec::new() });
                    worker.run(p, piece, ctas);
                    Some(worker)
                },
            )
            .map(|w| match w {
                Some(w) => (w.cta.tally, w.findings, w.cta.reporter.total),
                None => (Tally::new(kernel.program.code.len()), Vec::new(), 0),
            })
            .reduce(
                || (Tally::new(kernel.program.code.len()), Vec::new(), 0),
                |mut a, b| {
                    a.0.merge(&b.0);
                    a.1.extend(b.1);
                    (a.0, a.1, a.2 + b.2)
                },
            )
    };
    let (tally, mut found, total_findings) = match options.threads {
        0 => work(),
        n => rayon::ThreadPoolBuilder::new().num_threads(n).build().map_err(|e| refuse(format!("no {n} threads: {e}")))?.install(work),
    };
    found.sort_by_key(|(p, _)| *p);
    let findings = found.into_iter().flat_map(|(_, f)| f).take(MOST_FINDINGS).collect();
    Ok(Report { findings, total_findings, counters: tally.finish(&kernel.program) })
}

/// A worker's machine, used for one CTA after the other.
struct Worker<'a> {
    cta: Cta<'a>,
    warps: Vec<Warp>,
    findings: Vec<(u64, Vec<Finding>)>,
}

impl Worker<'_> {
    fn run(&mut self, index: u64, piece: u64, ctas: u64) {
        let [x, y, _] = self.cta.place.grid.map(u64::from);
        for linear in index * piece..((index + 1) * piece).min(ctas) {
            let cta = [linear % x, linear / x % y, linear / (x * y)].map(|v| v as u32);
            self.cta.run(&mut self.warps, cta, linear);
        }
        let kept = std::mem::take(&mut self.cta.reporter.kept);
        if !kept.is_empty() {
            self.findings.push((index, kept));
        }
    }
}

fn check_shape(kernel: &Kernel, what: &Launch<'_>) -> Result<(), String> {
    let threads = what.block.iter().map(|&n| u64::from(n)).product::<u64>();
    if what.grid.contains(&0) || what.block.contains(&0) {
        return Err(format!(
            "grid {} and block {} must be at least 1 everywhere",
            mnx_words::list(&what.grid),
            mnx_words::list(&what.block)
        ));
    }
    if threads > 1024 || what.block[2] > 64 {
        return Err(format!("block {} has {threads} threads; at most 1024, and 64 in z", mnx_words::list(&what.block)));
    }
    let ctas = what.grid.iter().map(|&n| u64::from(n)).try_fold(1u64, u64::checked_mul);
    if what.grid[1] > 65535 || what.grid[2] > 65535 || ctas.is_none_or(|n| n > MOST_CTAS) {
        return Err(format!("grid {} is beyond 65535 in y or z, or has more than {MOST_CTAS} CTAs", mnx_words::list(&what.grid)));
    }
    if let Some(r) = kernel.reqntid
        && r != what.block
    {
        return Err(format!("block {}, but the kernel has `.reqntid` {r}", mnx_words::list(&what.block), r = mnx_words::list(&r)));
    }
    if let Some(m) = kernel.maxntid
        && threads > m.iter().map(|&n| u64::from(n)).product()
    {
        return Err(format!("block {} exceeds the kernel's `.maxntid` {m}", mnx_words::list(&what.block), m = mnx_words::list(&m)));
    }
    let bytes = u64::from(kernel.static_shared) + u64::from(what.dynamic_shared);
    if bytes > MOST_SHARED {
        return Err(format!("{bytes} bytes of shared memory; at most {MOST_SHARED}"));
    }
    Ok(())
}

fn pack(kernel: &Kernel, params: &[u64]) -> Result<Vec<u8>, String> {
    let words: usize = kernel.params.iter().map(|p| p.size.div_ceil(8) as usize).sum();
    if params.len() != words {
        let sizes: Vec<u64> = kernel.params.iter().map(|p| p.size).collect();
        return Err(format!(
            "{} parameter words, but the parameters of {sizes} bytes need {words}",
            params.len(),
            sizes = mnx_words::list(&sizes)
        ));
    }
    let mut bytes = vec![0; kernel.params.last().map_or(0, |p| (p.offset + p.size) as usize)];
    let mut rest = params.iter();
    for p in &kernel.params {
        let data: Vec<u8> = rest.by_ref().take(p.size.div_ceil(8) as usize).flat_map(|w| w.to_le_bytes()).collect();
        if data[p.size as usize..].iter().any(|&b| b != 0) && p.size < 8 {
            let high = &data[p.size as usize..];
            // Negative values of a narrow parameter come sign-extended.
            if high.iter().any(|&b| b != 0xff) {
                return Err(format!(
                    "a parameter of {} bytes does not hold {:#x}",
                    p.size,
                    u64::from_le_bytes(std::array::from_fn(|i| data[i]))
                ));
            }
        }
        bytes[p.offset as usize..(p.offset + p.size) as usize].copy_from_slice(&data[..p.size as usize]);
    }
    Ok(bytes)
}
