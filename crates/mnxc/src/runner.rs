//! The runtime binary `mnx` as a subprocess: the compiler measures nothing itself and never links the runtime.

use std::path::{Path, PathBuf};
use std::process::Command;

use mnx_ir::Diagnostic;
use serde::Deserialize;

use crate::children;
use crate::report::{Failure, Outcome, system_reason};

/// `mnx`, found.
#[derive(Debug, Clone)]
pub struct Runner {
    path: PathBuf,
}

/// What `mnx bench --json` says, as far as the compiler reads it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Report {
    /// Code target that ran.
    pub isa: String,
    /// Threads.
    pub threads: usize,
    /// Timed runs.
    pub runs: usize,
    /// Median seconds of a run.
    pub median_s: f64,
    /// Least seconds of a run.
    pub min_s: f64,
    /// Peak resident memory of the process.
    pub peak_bytes: Option<u64>,
    /// The machine's ceilings with these threads.
    pub roofline: Option<Ceilings>,
    /// Per dispatch, in order.
    pub dispatches: Vec<Timing>,
}

/// Ceilings of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Ceilings {
    /// Floating-point operations per second of multiply-adds.
    pub flops_per_s: f64,
    /// Bytes read plus written per second by copies beyond the caches.
    pub bytes_per_s: f64,
}

/// Time of one dispatch.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Timing {
    /// Name in the graph.
    pub dispatch: String,
    /// Median seconds.
    pub median_s: f64,
    /// Least seconds.
    pub min_s: f64,
}

impl Runner {
    /// The binary the user names, or the one beside our own.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(named: Option<&Path>) -> Outcome<Self> {
        let beside = || {
            let own = std::env::current_exe().ok()?;
            Some(own.parent()?.join(format!("mnx{}", std::env::consts::EXE_SUFFIX)))
        };
        let path = match named {
            Some(p) => p.to_path_buf(),
            None => beside().unwrap_or_else(|| PathBuf::from("mnx")),
        };
        if path.is_file() {
            return Ok(Self { path });
        }
        let d = Diagnostic::new("mnxc-0501", path.display(), "the runtime binary `mnx`, which measures, is not there")
            .note("build it: cargo build --release -p mnx")
            .note("or name it: --runner PATH");
        Err(d.into())
    }

    /// Runs `mnx bench` on a bundle.
    ///
    /// # Errors
    /// What `mnx` says, or that it does not speak as expected.
    pub fn bench(&self, bundle: &Path, runs: usize, threads: Option<usize>, isa: Option<&str>) -> Outcome<Report> {
        let mut command = Command::new(&self.path);
        command.arg("bench").arg(bundle).args(["--per-dispatch", "--json", "-", "--runs", &runs.to_string()]);
        if let Some(n) = threads {
            command.args(["--threads", &n.to_string()]);
        }
        if let Some(isa) = isa {
            command.args(["--isa", isa]);
        }
        let place = self.path.display();
        tracing::info!(runs, "{place} bench {}", bundle.display());
        let out = children::output(&mut command).map_err(|e| Failure::user("mnxc-0501", &place, system_reason(&e.to_string())))?;
        if !out.status.success() {
            let mut d = Diagnostic::new("mnxc-0502", place, format!("`mnx bench {}` failed ({})", bundle.display(), out.status));
            d.notes = String::from_utf8_lossy(&out.stderr).lines().map(str::to_string).collect();
            return Err(d.into());
        }
        let text = String::from_utf8_lossy(&out.stdout);
        let report: Report = serde_json::from_str(&text).map_err(|e| {
            let message = format!("`mnx bench` did not print the JSON that this mnxc reads: {e}");
            Failure::from(Diagnostic::new("mnxc-0503", self.path.display(), message).note("mnx and mnxc must be of one version"))
        })?;
        let times = report.dispatches.iter().flat_map(|d| [d.median_s, d.min_s]).chain([report.median_s, report.min_s]);
        if let Some(t) = times.into_iter().find(|t| !t.is_finite() || *t < 0.0) {
            return Err(Failure::user("mnxc-0503", self.path.display(), format!("`mnx bench` printed a time of {t} s")));
        }
        Ok(report)
    }
}
