//! `mnxc upkern`: initialises a network from a trained one with other kernel sizes.

use std::path::{Path, PathBuf};

use mnx_model::Config;
use mnx_passes::{UpkernOptions, upkern};
use mnx_weights::Checkpoint;

use crate::files::{check_output, read_text};
use crate::report::{Failure, Outcome, Voice, weights_failure};

/// Initialise a network from a trained one with other kernel sizes (UpKern)
///
/// Spatial kernels are resized trilinearly (2-D: bilinear), everything else is copied. What does not fit is listed by
/// name and shape, and nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc upkern --from k3.toml --weights k3.safetensors --to k5.toml -o k5.safetensors
  mnxc upkern --from a.toml --weights a.safetensors --to b.toml -o b.safetensors --allow-mismatch")]
pub struct Args {
    /// Config of the trained network
    #[arg(long, value_name = "CONFIG")]
    from: PathBuf,
    /// Its weights, a safetensors file
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Config of the new network
    #[arg(long, value_name = "CONFIG")]
    to: PathBuf,
    /// Where to write the new network's weights
    #[arg(long = "out", short = 'o', value_name = "FILE")]
    out: PathBuf,
    /// Keep freshly initialised values for tensors that do not fit, and list them
    #[arg(long)]
    allow_mismatch: bool,
    /// Seed of those fresh values
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Writes the new network's checkpoint.
///
/// # Errors
/// Wrong configs, a checkpoint that is not the trained network's, tensors that do not fit.
pub fn run(args: &Args, voice: Voice) -> Outcome {
    check_output(&args.out)?;
    let (from, to) = (config(&args.from)?, config(&args.to)?);
    let place = args.weights.display().to_string();
    let source = Checkpoint::load(&args.weights).map_err(|e| weights_failure(&place, e))?;
    let init = |role: &mnx_weights::TensorRole| mnx_passes::weights::fresh::fresh(role, args.seed);
    let options = UpkernOptions { allow_mismatch: args.allow_mismatch, init: &init };
    let made = upkern(&mnx_model::signature(&from), &mnx_model::signature(&to), &source, &options).map_err(|e| {
        let Failure::User(mut problems) = weights_failure(&place, e) else { return Failure::User(Vec::new()) };
        if let (Some(last), false) = (problems.last_mut(), args.allow_mismatch) {
            last.notes.push("--allow-mismatch gives the new network fresh values for tensors that do not fit".to_string());
        }
        Failure::User(problems)
    })?;
    for note in &made.notes {
        voice.warn(&note.message);
    }
    made.checkpoint.save(&args.out).map_err(|e| weights_failure(&args.out.display().to_string(), e))?;
    let copied = made.checkpoint.len() - made.resized.len() - made.fresh.len();
    voice.note(&format!(
        "{}: {copied} tensors copied, {} kernels resized, {} freshly initialised",
        args.out.display(),
        made.resized.len(),
        made.fresh.len()
    ));
    Ok(())
}

fn config(path: &Path) -> Outcome<Config> {
    Ok(Config::from_toml(&read_text(path)?, &path.display().to_string())?)
}
