//! An explanation as text and as JSON.

use mnx_words::many;
use serde_json::{Value, json};

use super::{Explanation, Row};

/// A number of bytes in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Seconds as milliseconds: to the microsecond, or three digits of what is shorter than a tenth of a millisecond.
pub fn ms(seconds: f64) -> String {
    let v = seconds * 1e3;
    let digits = if v >= 0.1 || v <= 0.0 || !v.is_finite() { 3 } else { (2 - v.log10().floor() as i32).clamp(3, 9) as usize };
    format!("{v:.digits$}")
}

/// A table for people.
pub fn text(e: &Explanation) -> String {
    let mut out = format!("{} at patch {} for {}", e.model, e.patch, e.target);
    if let (Some(threads), Some(runs)) = (e.threads, e.runs) {
        out.push_str(&format!(", {}, median of {}", many(threads, "thread"), many(runs, "run")));
    }
    out.push_str(&format!("\n{}\n\n", machine(e)));
    let header =
        ["dispatch", "strategy", "MFLOP", "M GELU", "MiB", "bound", "floor ms", "predicted ms", "measured ms", "% of floor", "% of time"];
    let measured: f64 = e.rows.iter().filter_map(|r| r.measured_s).sum();
    let mut rows: Vec<Vec<String>> = e.rows.iter().map(|r| cells(r, measured)).collect();
    rows.push(cells(&e.total, e.total.measured_s.unwrap_or(0.0)));
    out.push_str(&columns(&header, &rows));
    out.push('\n');
    for line in summary(e) {
        out.push_str(&format!("{line}\n"));
    }
    out
}

/// The machine that floors are drawn with, in one line.
pub fn machine(e: &Explanation) -> String {
    if let Some(gpu) = e.machine.gpu {
        return format!(
            "floor by the data sheet of {}: {:.0} TFLOP/s of float32 multiply-adds, {:.0} by tensor cores, {:.2} TB/s; a GELU is {:.0} instructions; nothing here is measured",
            gpu.chip,
            e.machine.flops_per_s / 1e12,
            gpu.tensor_rate / 1e12,
            gpu.memory_rate / 1e12,
            e.gelu_instructions
        );
    }
    let what =
        if e.machine.measured { "this machine, measured now" } else { "a nominal machine (--gflops, --gbs; --measure for this one)" };
    format!(
        "floor by {what}: {:.0} GFLOP/s of multiply-adds, {:.1} GB/s copied; a GELU is {:.0} vector instructions",
        e.machine.flops_per_s / 1e9,
        e.machine.bytes_per_s / 1e9,
        e.gelu_instructions
    )
}

/// What it comes to.
pub fn summary(e: &Explanation) -> Vec<String> {
    let t = &e.total;
    let mut lines = vec![format!(
        "floor {} ms ({} of it compute bound, {} memory bound); predicted {} ms with {:.0} us for each of {}",
        ms(t.floor_s),
        ms(t.compute_s),
        ms(t.memory_s),
        ms(t.predicted_s),
        e.launch_s() * 1e6,
        many(t.launches, "launch")
    )];
    if let Some(s) = t.measured_s.filter(|_| t.floor_s > 0.0) {
        let fastest = e.fastest_s.map_or(String::new(), |f| format!("; the fastest run {} ms, {:.2} times", ms(f), f / t.floor_s));
        lines.push(format!("measured {} ms: {:.2} times the floor{fastest}", ms(s), s / t.floor_s));
    }
    let m = &e.memory;
    let threads = e.threads.map_or(String::new(), |n| format!(" x {}", many(n, "thread")));
    let scratch = if e.machine.gpu.is_some() { String::new() } else { format!("scratch {:.2} MiB{threads}, ", mib(m.scratch)) };
    let mut line = format!("memory by the plan: arena {:.1} MiB, {scratch}weights {:.1} MiB", mib(m.arena), mib(m.weights));
    if let (Some(peak), Some(n)) = (m.peak, e.threads) {
        let planned = m.arena + m.scratch * n as u64 + m.weights;
        line.push_str(&format!("; together {:.1} MiB; measured peak {:.1} MiB resident", mib(planned), mib(peak)));
    }
    lines.push(line);
    lines
}

fn cells(r: &Row, measured: f64) -> Vec<String> {
    let or_dash = |v: Option<f64>, digits: usize| v.map_or("-".to_string(), |v| format!("{v:.digits$}"));
    vec![
        r.name.clone(),
        r.strategy.clone(),
        format!("{:.1}", r.cost.flops as f64 / 1e6),
        format!("{:.2}", r.cost.gelus as f64 / 1e6),
        format!("{:.2}", mib(r.cost.bytes)),
        r.bound().word().to_string(),
        ms(r.floor_s),
        ms(r.predicted_s),
        r.measured_s.map_or("-".to_string(), ms),
        or_dash(r.percent(), 0),
        or_dash(r.measured_s.filter(|_| measured > 0.0).map(|s| 100.0 * s / measured), 1),
    ]
}

/// Rows under a header, the first two columns left aligned.
pub fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        widths.iter_mut().zip(row).for_each(|(w, cell)| *w = (*w).max(cell.chars().count()));
    }
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).enumerate().map(|(i, (c, &w))| if i < 2 { format!("{c:<w$}") } else { format!("{c:>w$}") });
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let header: Vec<String> = header.iter().map(ToString::to_string).collect();
    std::iter::once(&header).chain(rows).map(|r| line(r)).collect()
}

/// Everything, for programs.
pub fn json(e: &Explanation) -> Value {
    let row = |r: &Row| {
        json!({
            "dispatch": r.name, "strategy": r.strategy, "launches": r.launches,
            "flops": r.cost.flops, "gelus": r.cost.gelus, "bytes": r.cost.bytes,
            "bound": r.bound().word(), "compute_s": r.compute_s, "memory_s": r.memory_s,
            "floor_s": r.floor_s, "predicted_s": r.predicted_s, "measured_s": r.measured_s, "percent_of_floor": r.percent(),
        })
    };
    let of_dispatch = |r: &Row| {
        let mut all = row(r);
        all["kernels"] = json!(r.kernels);
        all
    };
    json!({
        "model": e.model, "patch": e.patch, "target": e.target, "threads": e.threads, "runs": e.runs,
        "machine": {
            "measured": e.machine.measured, "flops_per_s": e.machine.flops_per_s, "bytes_per_s": e.machine.bytes_per_s,
            "gelu_instructions": e.gelu_instructions, "launch_s": e.launch_s(),
        },
        "memory": {
            "arena_bytes": e.memory.arena, "scratch_bytes_per_thread": e.memory.scratch, "weights_bytes": e.memory.weights,
            "peak_bytes": e.memory.peak,
        },
        "total": row(&e.total),
        "fastest_s": e.fastest_s,
        "times_the_floor": e.total.measured_s.filter(|_| e.total.floor_s > 0.0).map(|s| s / e.total.floor_s),
        "dispatches": e.rows.iter().map(of_dispatch).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_rounded_to_nothing() {
        assert_eq!([1.5, 1.234e-3, 1e-4].map(ms), ["1500.000", "1.234", "0.100"]);
        assert_eq!([9.96e-5, 4.321e-7, 1.2e-9].map(ms), ["0.0996", "0.000432", "0.00000120"]);
        assert_eq!([0.0, f64::INFINITY].map(ms), ["0.000", "inf"]);
    }
}
