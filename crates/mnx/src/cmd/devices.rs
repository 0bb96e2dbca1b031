//! `mnx devices`: what bundles can run on here.

use mnx_runtime::device::cuda;
use mnx_runtime::{GpuFacts, isa, memory, session::default_threads};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::text;

/// List what bundles can run on here.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mnx devices
  mnx devices --json

The host with its instruction sets, and every NVIDIA GPU that the driver shows (CUDA_VISIBLE_DEVICES chooses), or why there is none.")]
pub struct Args {
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// The CPU features that programs ask for.
const FEATURES: [&str; 9] = ["avx2", "fma", "bmi2", "f16c", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"];

/// Lists the host and the GPUs.
pub fn run(args: &Args) -> Result<(), Failure> {
    let features: Vec<&str> = FEATURES.into_iter().filter(|f| isa::cpu_has(f)).collect();
    let gpus = cuda::survey();
    if args.json {
        let report = json!({
            "host": {"threads": default_threads(), "features": features, "memory_bytes": memory::physical_bytes()},
            "gpus": gpus.as_ref().map_or_else(|_| json!([]), |gpus| gpus.iter().map(gpu_json).collect()),
            "no_gpu": gpus.as_ref().err().map(ToString::to_string),
        });
        return text::print(&format!("{report:#}\n"));
    }
    let memory = memory::physical_bytes().map_or(String::new(), |b| format!(", {} of memory", text::bytes(b)));
    let mut out = format!("host    {}{memory}; {}\n", text::threads(default_threads()), features.join(" "));
    match gpus {
        Ok(gpus) => gpus.iter().for_each(|gpu| out.push_str(&gpu_line(gpu))),
        Err(reason) => out.push_str(&format!("no GPU: {reason}\n")),
    }
    text::print(&out)
}

fn gpu_line(g: &GpuFacts) -> String {
    format!(
        "cuda:{}  {}, compute capability {}, {} free of {}, {} multiprocessors; driver for CUDA {}.{}, PTX up to {}.{}\n",
        g.index,
        g.name,
        g.capability(),
        text::bytes(g.free_bytes),
        text::bytes(g.total_bytes),
        g.multiprocessors,
        g.driver[0],
        g.driver[1],
        g.ptx[0],
        g.ptx[1]
    )
}

fn gpu_json(g: &GpuFacts) -> Value {
    let version = |[major, minor]: [u32; 2]| format!("{major}.{minor}");
    json!({
        "device": format!("cuda:{}", g.index), "name": g.name, "compute_capability": g.capability(),
        "total_bytes": g.total_bytes, "free_bytes": g.free_bytes, "multiprocessors": g.multiprocessors, "clock_hz": g.clock_hz,
        "shared_block_bytes": g.shared_block_bytes, "l2_bytes": g.l2_bytes,
        "driver_cuda": version(g.driver), "highest_ptx": version(g.ptx),
    })
}
