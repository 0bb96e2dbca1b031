//! An explanation as text and as JSON.

use serde_json::{Value, json};

use super::{Explanation, Row};

/// A number of bytes in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A table for people.
pub fn text(e: &Explanation) -> String {
    let mut out = format!("{} at patch {} for {}", e.model, e.patch, e.target);
    if let (Some(threads), Some(runs)) = (e.threads, e.runs) {
        out.push_str(&format!(", {threads} threads, median of {runs} runs"));
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
        "floor {:.3} ms ({:.3} of it compute bound, {:.3} memory bound); predicted {:.3} ms with {:.0} us for each of {} launches",
        t.floor_s * 1e3,
        t.compute_s * 1e3,
        t.memory_s * 1e3,
        t.predicted_s * 1e3,
        e.launch_s() * 1e6,
        t.launches
    )];
    if let Some(s) = t.measured_s.filter(|_| t.floor_s > 0.0) {
        let fastest = e.fastest_s.map_or(String::new(), |f| format!("; the fastest run {:.3} ms, {:.2} times", f * 1e3, f / t.floor_s));
        lines.push(format!("measured {:.3} ms: {:.2} times the floor{fastest}", s * 1e3, s / t.floor_s));
    }
    let m = &e.memory;
    let threads = e.threads.map_or(String::new(), |n| format!(" x {n} threads"));
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
        format!("{:.3}", r.floor_s * 1e3),
        format!("{:.3}", r.predicted_s * 1e3),
        or_dash(r.measured_s.map(|s| s * 1e3), 3),
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
