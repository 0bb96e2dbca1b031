//! `mnxc upkern`: initialises a network from a trained one with other kernel sizes.

use std::path::PathBuf;

use mnx_passes::{UpkernOptions, upkern};
use mnx_weights::Checkpoint;
use mnx_words::many;

use crate::files::check_output;
use crate::imported::Input;
use crate::report::{Failure, Outcome, Voice, weights_failure};
use crate::source::config;

/// Initialise a network from a trained one with other kernel sizes (UpKern)
///
/// Spatial kernels are resized trilinearly (2-D: bilinear), everything else is copied. What does not fit is listed by
/// name and shape, and nothing is written.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mnxc upkern --from k3.toml --weights k3.safetensors --to k5.toml -o k5.safetensors
  mnxc upkern --from a.toml --weights a.safetensors --to b.toml -o b.safetensors --allow-mismatch
  mnxc upkern --from liver --fold 0 --to k5.toml -o k5.safetensors     a folder that mnxc import made")]
pub struct Args {
    /// Config of the trained network, or a folder that `mnxc import` made
    #[arg(long, value_name = "CONFIG|DIR")]
    from: PathBuf,
    /// Weights of the trained network, a safetensors file [default for a folder: its first fold]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The fold of a folder
    #[arg(long, value_name = "NAME", conflicts_with = "weights")]
    fold: Option<String>,
    /// Config of the new network, or a folder
    #[arg(long, value_name = "CONFIG|DIR")]
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
    let trained = Input::find(&args.from)?;
    let fold = trained.fold(args.fold.as_deref())?.map(|w| &w.path);
    let weights =
        args.weights.as_ref().or(fold).ok_or_else(|| {
            Failure::Usage("--from names a config, which has no weights: give them with --weights W.safetensors".to_string())
        })?;
    let (from, to) = (config(&trained.file)?, config(&args.to)?);
    let place = weights.display().to_string();
    let source = Checkpoint::load(weights).map_err(|e| weights_failure(&place, e))?;
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
        "{}: {} copied, {} resized, {} freshly initialised",
        args.out.display(),
        many(copied, "tensor"),
        many(made.resized.len(), "kernel"),
        made.fresh.len()
    ));
    Ok(())
}
