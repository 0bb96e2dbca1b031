//! What each step of a compilation took.

use std::time::{Duration, Instant};

/// Durations of steps, in order.
#[derive(Debug, Default)]
pub struct Times(Vec<(String, Duration)>);

impl Times {
    /// Adds a step; one that begins with two blanks is part of the step before.
    pub fn add(&mut self, step: impl Into<String>, time: Duration) {
        let step = step.into();
        tracing::info!(seconds = %format_args!("{:.4}", time.as_secs_f64()), "{}", step.trim());
        self.0.push((step, time));
    }

    /// Does the work of a step and adds it.
    pub fn measure<T>(&mut self, step: impl Into<String>, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(step, start.elapsed());
        result
    }

    /// One line per step, and the total.
    pub fn table(&self) -> String {
        let width = self.0.iter().map(|(n, _)| n.len()).max().unwrap_or(0).max(5);
        let mut out = format!("{:width$}  {:>10}\n", "step", "ms");
        for (name, time) in &self.0 {
            out.push_str(&format!("{name:width$}  {:>10.3}\n", time.as_secs_f64() * 1e3));
        }
        let total: Duration = self.0.iter().filter(|(n, _)| !n.starts_with("  ")).map(|(_, t)| *t).sum();
        out.push_str(&format!("{:width$}  {:>10.3}\n", "total", total.as_secs_f64() * 1e3));
        out
    }
}
