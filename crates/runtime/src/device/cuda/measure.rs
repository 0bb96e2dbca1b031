//! What a GPU can do at most: its memory's copy rate, measured; its arithmetic, from its attributes and NVIDIA's data sheets.

use std::sync::Arc;

use super::api::failed;
use super::resource::{Context, DeviceMemory, Event, Stream};
use crate::error::RuntimeError;
use crate::pick::GpuFacts;
use crate::roofline::Roofline;

/// Bytes that one copy reads: beyond every second-level cache.
const COPY_BYTES: u64 = 256 << 20;

/// Copies timed; the best counts.
const COPIES: usize = 8;

/// float32 fused multiply-adds per multiprocessor and clock (CUDA C programming guide, "Arithmetic Instructions").
fn fma_lanes(compute: [u32; 2]) -> u32 {
    match compute {
        [8, 0] | [7, _] => 64,
        _ => 128,
    }
}

/// Dense 16-bit tensor-core operations with float32 accumulation per multiprocessor and clock, a multiply-add being two: the data sheets' rates over
/// multiprocessors and boost clock (A100 312 TFLOP/s, A40 150, L40S 362, H100 SXM 989, B200 2250; GeForce cards run at half the rate of their chip's others).
fn tensor_ops(compute: [u32; 2], name: &str) -> u32 {
    let full = match compute {
        [8, 0] => 2048,
        [9, _] => 4096,
        [10, _] => 8192,
        _ => 1024,
    };
    if name.contains("GeForce") { full / 2 } else { full }
}

/// Operations per second that the attributes promise, and the words for it.
fn arithmetic(facts: &GpuFacts, precision: &str) -> (f64, String) {
    let tensor = precision != "f32";
    let per_clock = if tensor { tensor_ops(facts.compute, &facts.name) } else { 2 * fma_lanes(facts.compute) };
    let rate = f64::from(facts.multiprocessors) * facts.clock_hz * f64::from(per_clock);
    let unit = if tensor { "16-bit tensor cores" } else { "float32 FMA" };
    (rate, format!("{unit}: {} SMs x {:.2} GHz x {per_clock} operations, not measured", facts.multiprocessors, facts.clock_hz / 1e9))
}

pub(super) fn roofline(context: &Arc<Context>, stream: &Stream, facts: &GpuFacts, precision: &str) -> Result<Roofline, RuntimeError> {
    let (free, _) = context.memory()?;
    let bytes = COPY_BYTES.min(free / 4) / 4096 * 4096;
    if bytes == 0 {
        return Err(failed("no GPU memory left to measure its rate with".to_owned()));
    }
    let (from, to) = (DeviceMemory::new(context, bytes)?, DeviceMemory::new(context, bytes)?);
    let (start, end) = (Event::new(context, true)?, Event::new(context, true)?);
    let size = usize::try_from(bytes).map_err(|_| failed(format!("{bytes} bytes")))?;
    let mut best = f64::INFINITY;
    // The first warms up.
    for round in 0..=COPIES {
        stream.record(&start)?;
        // SAFETY: both are this long, and live until the stream has been awaited below.
        unsafe { context.api.copy_within(to.at, from.at, size, stream.raw) }?;
        stream.record(&end)?;
        stream.wait()?;
        if round > 0 {
            best = best.min(start.seconds_until(&end)?);
        }
    }
    let (flops_per_s, words) = arithmetic(facts, precision);
    Ok(Roofline {
        flops_per_s,
        bytes_per_s: 2.0 * bytes as f64 / best.max(1e-9),
        about: format!("memory: device copy, measured now; {words}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_sheets_are_met_within_three_per_cent() {
        // Name, capability, SMs, boost clock in GHz, dense bf16 TFLOP/s, float32 TFLOP/s; NVIDIA's data sheets.
        for (name, compute, multiprocessors, ghz, bf16, f32) in [
            ("NVIDIA A100-SXM4-40GB", [8, 0], 108, 1.41, 312.0, 19.5),
            ("NVIDIA A40", [8, 6], 84, 1.74, 149.7, 37.4),
            ("NVIDIA GeForce RTX 4090", [8, 9], 128, 2.52, 165.2, 82.6),
            ("NVIDIA H100 80GB HBM3", [9, 0], 132, 1.83, 989.4, 61.9),
        ] {
            let facts = GpuFacts {
                index: 0,
                name: name.into(),
                compute,
                driver: [13, 0],
                ptx: [9, 0],
                total_bytes: 0,
                free_bytes: 0,
                multiprocessors,
                clock_hz: ghz * 1e9,
                shared_block_bytes: 0,
                l2_bytes: 0,
            };
            for (precision, want) in [("bf16", bf16), ("f16", bf16), ("f32", f32)] {
                let (rate, words) = arithmetic(&facts, precision);
                assert!((rate / 1e12 / want - 1.0).abs() < 0.03, "{name} {precision}: {rate:e}, {want}");
                assert!(words.contains("not measured"), "{words}");
            }
        }
    }
}
