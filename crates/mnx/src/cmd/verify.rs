//! `mnx verify`: the bundle's test vectors, run on this device.

use std::path::PathBuf;

use mnx_artifact::{Bundle, storage_tolerance};
use mnx_runtime::DeviceChoice;
use mnx_weights::det_input;
use serde_json::json;

use crate::cmd::place::Where;
use crate::cmd::{machine, open_session};
use crate::failure::Failure;
use crate::text;

/// Re-run the bundle's test vectors on this device.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mnx verify m.mnxa
  mnx verify m.mnxa --isa x86-64-v3 --threads 1")]
pub struct Args {
    /// The bundle.
    bundle: PathBuf,
    /// Print the errors as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// Runs the stored input and compares the sampled outputs.
pub fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    let bundle = Bundle::open(&args.bundle)?;
    let shown = args.bundle.display();
    let Some(vectors) = &bundle.manifest().vectors else {
        return Err(Failure::user(
            "mnx-0104",
            format!(
                "{shown}: the bundle has no test vectors, so there is nothing to compare with; mnxc compile stores them where the \
             reference interpreter can keep up (take a smaller --patch), and mnx refit drops them"
            ),
        ));
    };
    if args.place.device == DeviceChoice::Null {
        return Err(Failure::user("mnx-0104", "the null device computes nothing that could be verified; use --device host"));
    }
    let mut session = open_session(&bundle, &args.place)?;
    let inputs: Vec<_> = session.inputs().iter().map(|port| det_input(&vectors.input_name, &port.shape)).collect();
    let slices: Vec<&[f32]> = inputs.iter().map(|t| t.data.as_slice()).collect();
    let outputs = session.run(&slices)?;

    let mut rows = Vec::new();
    let mut results = Vec::new();
    let mut failed = Vec::new();
    for (((port, data), samples), maximum) in session.outputs().iter().zip(&outputs).zip(&vectors.outputs).zip(&vectors.maxima) {
        let allowed = vectors.tolerance.max(storage_tolerance(&session.program().precision)) * (1.0 + maximum);
        let mut worst = 0f64;
        let mut odd = 0usize;
        for &(index, want) in samples {
            let got = usize::try_from(index).ok().and_then(|i| data.value(i)).unwrap_or(f64::NAN);
            let error = (got - want).abs();
            if error.is_finite() {
                worst = worst.max(error);
            } else {
                odd += 1;
            }
        }
        let pass = odd == 0 && worst <= allowed && !samples.is_empty();
        if !pass {
            failed.push(if odd > 0 {
                format!("{}: {odd} of {} values are not finite", port.name, samples.len())
            } else {
                format!("{}: error {worst:.3e}, {allowed:.3e} allowed", port.name)
            });
        }
        let verdict = if pass { "ok" } else { "FAILED" };
        rows.push(vec![
            port.name.clone(),
            samples.len().to_string(),
            if odd > 0 { "NaN".to_owned() } else { format!("{worst:.3e}") },
            format!("{allowed:.3e}"),
            format!("{maximum:.4}"),
            verdict.to_owned(),
        ]);
        results.push(json!({
            "name": port.name, "values": samples.len(), "max_error": (odd == 0).then_some(worst), "not_finite": odd,
            "allowed": allowed, "maximum": maximum, "pass": pass,
        }));
    }
    let target = &session.program().target;
    let printed = if args.json {
        let report = json!({
            "device": session.device_name(), "device_name": session.device(), "isa": target, "threads": session.threads(),
            "pass": failed.is_empty(), "outputs": results,
        });
        text::print(&format!("{report:#}\n"))
    } else if quiet {
        Ok(())
    } else {
        let header = ["output", "values", "max error", "allowed", "max |value|", ""];
        text::print(&format!("{}{}\n", text::table(&header, &rows), machine(&session)))
    };
    // The verdict is told whether or not the table can be.
    if failed.is_empty() {
        return printed;
    }
    Err(Failure::user("mnx-0105", format!("{shown}: this device disagrees with the reference: {}", failed.join("; "))))
}
