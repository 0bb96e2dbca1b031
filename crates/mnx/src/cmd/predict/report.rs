//! What is said at the end.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Args;
use crate::cmd::Place;
use crate::cmd::predict::case::Stored;
use crate::cmd::predict::cases::Refused;
use crate::cmd::predict::job::Job;
use crate::cmd::predict::model::Model;
use crate::failure::Failure;
use crate::text;

/// The values to report, in order.
fn values(model: &Model) -> Vec<u16> {
    let mut values = model.rules.values.clone();
    values.push(0);
    values.sort_unstable();
    values.dedup();
    values
}

/// Everything about a case, as JSON.
pub fn case_json(model: &Model, job: &Job, stored: &Stored) -> Value {
    let millilitres = stored.voxel_mm3 / 1000.0;
    let each: Vec<Value> = values(model)
        .iter()
        .map(|&v| {
            let n = stored.counts[usize::from(v)];
            json!({"value": v, "name": model.names[usize::from(v)], "voxels": n, "ml": n as f64 * millilitres})
        })
        .collect();
    let seconds: Map<String, Value> = stored.times.0.iter().map(|(name, s)| ((*name).to_owned(), json!(s))).collect();
    let shown = |p: &Path| p.display().to_string();
    json!({
        "output": shown(&job.segmentation),
        "probabilities": job.probabilities.as_deref().or(job.saved.as_ref().map(|s| s.npz.as_path())).map(shown),
        "picture": job.picture.as_deref().map(shown),
        "labels": each,
        "patches": stored.tiles, "mirrorings": 1usize << model.mirrors.len(), "folds": model.folds,
        "seconds": seconds,
    })
}

/// Runs of the network per patch, where there are several: ` x 8 mirrorings x 2 folds`.
fn runs(model: &Model) -> String {
    let mirrorings = 1usize << model.mirrors.len();
    let times = |n: usize, what: &str| if n > 1 { format!(" x {n} {what}") } else { String::new() };
    format!("{}{}", times(mirrorings, "mirrorings"), times(model.folds, "folds"))
}

/// What every report tells of.
#[derive(Clone, Copy)]
pub struct Report<'a> {
    /// The command line.
    pub args: &'a Args,
    /// Nothing but results.
    pub quiet: bool,
    /// The network.
    pub model: &'a Model,
    /// Where it ran.
    pub place: &'a Place,
}

/// What became of a folder's cases.
pub struct Outcome<'a> {
    /// Cases that were done.
    pub done: Vec<(&'a Job, Stored)>,
    /// Cases that failed, and why.
    pub failed: Refused,
    /// How many were left as they were.
    pub there: usize,
}

impl Report<'_> {
    /// One case.
    pub fn single(self, job: &Job, stored: &Stored) -> Result<(), Failure> {
        let Self { args, quiet, model, place } = self;
        if args.json {
            let mut report = case_json(model, job, stored);
            report["device"] = json!(place.device);
            report["isa"] = json!(place.target);
            report["threads"] = json!(place.threads);
            report["devices"] = json!(place.machines);
            return text::print(&format!("{report:#}\n"));
        }
        if quiet {
            return Ok(());
        }
        let millilitres = stored.voxel_mm3 / 1000.0;
        let rows: Vec<Vec<String>> = values(model)
            .iter()
            .map(|&v| {
                let n = stored.counts[usize::from(v)];
                vec![format!("{v} {}", model.names[usize::from(v)]), n.to_string(), format!("{:.1}", n as f64 * millilitres)]
            })
            .collect();
        let mut report = text::table(&["label", "voxels", "ml"], &rows);
        // What takes less than a millisecond says nothing.
        let told = stored.times.0.iter().filter(|(_, s)| *s >= 1e-3);
        let steps: Vec<String> = told.map(|(name, s)| format!("{name} {}", text::step(*s))).collect();
        let patches = mnx_words::many(stored.tiles, "patch");
        let line = format!("{patches}{} on {}: {}", runs(model), place.machines.join(" and "), steps.join(", "));
        report.push_str(line.trim_end_matches(": "));
        report.push('\n');
        report.push_str(&format!("segmentation   {}\n", job.segmentation.display()));
        for path in job.probabilities.iter().chain(job.saved.iter().map(|s| &s.npz)) {
            report.push_str(&format!("probabilities  {}\n", path.display()));
        }
        if let Some(path) = &job.picture {
            report.push_str(&format!("picture        {}\n", path.display()));
        }
        text::print(&report)
    }

    /// A folder's cases.
    pub fn folder(self, outcome: &Outcome<'_>) -> Result<(), Failure> {
        let Self { args, quiet, model, place } = self;
        let Outcome { done, failed, there } = outcome;
        if args.json {
            let cases: Vec<Value> = done
                .iter()
                .map(|(job, stored)| {
                    let mut case = case_json(model, job, stored);
                    case["case"] = json!(job.name);
                    case
                })
                .collect();
            let failures: Vec<Value> = failed.iter().map(|(case, error)| json!({"case": case, "error": error})).collect();
            let report = json!({
                "cases": cases, "failed": failures, "there_already": there,
                "device": place.device, "isa": place.target, "threads": place.threads, "devices": place.machines,
            });
            return text::print(&format!("{report:#}\n"));
        }
        if quiet {
            return Ok(());
        }
        let steps = ["read", "prepare", "network", "restore", "postprocess", "write"];
        let rows: Vec<Vec<String>> = done
            .iter()
            .map(|(job, stored)| {
                let spent = |step: &str| stored.times.0.iter().filter(|(name, _)| *name == step).map(|(_, s)| s).sum::<f64>();
                let mut row = vec![job.name.clone(), stored.tiles.to_string()];
                row.extend(steps.iter().map(|step| text::step(spent(step))));
                row
            })
            .collect();
        let mut header = vec!["case", "patches"];
        header.extend(steps);
        let mut report = if rows.is_empty() { String::new() } else { text::table(&header, &rows) };
        if !done.is_empty() {
            let cases = mnx_words::many(done.len(), "case");
            report.push_str(&format!("{cases}{} on {}", runs(model), place.machines.join(" and ")));
        }
        if *there > 0 {
            let comma = if done.is_empty() { "" } else { ", " };
            report.push_str(&format!("{comma}{there} there already"));
        }
        report.push_str(&format!("\nsegmentations  {}\n", args.output.display()));
        text::print(&report)
    }
}
