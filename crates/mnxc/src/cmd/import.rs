//! `mnxc import`: other people's checkpoints as a config and weights of ours.

use std::path::PathBuf;

use clap::ValueEnum;
use mnx_import::{Heads, Import, ImportError, Options, Which};
use mnx_ir::Diagnostic;
use mnx_model::NormType;
use mnx_words::many;

use crate::report::{Failure, Outcome, Voice, system_reason};

/// Import a checkpoint of nnU-Net, PyTorch or MONAI
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mnxc import nnUNet/3d_fullres/Task017_BTCV/nnUNetTrainerV2_MedNeXt_B_kernel5__nnUNetPlansv2.1_trgSp_1x1x1 -o btcv
  mnxc import nnUNet_results/Dataset101_Liver/nnUNetTrainerMedNeXt__nnUNetPlans__3d_fullres -o liver --folds 0,1
  mnxc import fold_0/model_final_checkpoint.model -o btcv      one v1 checkpoint beside its .model.pkl
  mnxc import liver.zip -o liver                               a model that nnUNetv2_export_model_to_zip wrote
  mnxc import spleen_bundle -o spleen                          a MONAI bundle: its configs and models/model.pt
  mnxc import weights.pth -o net                               a state dict (MONAI's names too; .pt, .safetensors)
  mnxc import last.ckpt -o net --key state_dict_ema --prefix net. --ignore 'criterion.*'
Then:
  mnxc compile btcv --target host -o btcv.mnxa                 the folder whole: patch, preparation, labels, all folds

The folder gets config.toml and weights.safetensors, or weights_fold_N.safetensors for several folds. Size, channels, kernels, ratios,
classes, GRN and dimensions are read off the tensors; what these do not tell comes from plans and trainer, else from an option, else
from a default that is announced. Tensors that are missing, misshapen or surplus are listed and nothing is written; deep-supervision
heads are kept if every fold has all of them. Pickles are read as data: nothing in them is run, nor is Python in a bundle's configs.

MONAI's arrays run x, y, z: its networks get transpose = [2, 1, 0], orientation RAS, MONAI's window places and weights. A state dict
says nothing of its pipeline: the config takes MONAI's defaults and says in comments how to change each.")]
pub struct Args {
    /// An nnU-Net result folder (v1: plans.pkl, v2: plans.json) or a MONAI bundle, each as a .zip, too; a .model, .pth, .pt, .ckpt or
    /// .safetensors file
    path: PathBuf,
    /// The folder to make
    #[arg(long, short = 'o', value_name = "DIR")]
    out: PathBuf,
    /// Folds by name: 0,1 takes two of them; all is not every fold but nnU-Net's fold_all, whose network trained on every case
    /// [default: every numbered fold there is, fold_all where there is no other]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    folds: Option<Vec<String>>,
    /// Which of a fold's checkpoints
    #[arg(long, value_name = "WHICH", default_value = "final")]
    checkpoint: Checkpoint,
    /// Configuration of nnU-Net v2's plans [default: the checkpoint's, or the folder's name's]
    #[arg(long, value_name = "NAME")]
    configuration: Option<String>,
    /// Deep-supervision heads: all keeps a complete set (to train on), main drops them
    #[arg(long, value_name = "WHICH", default_value = "all")]
    heads: HeadsArg,
    /// Norm of the network, if it is not plain group norm (no checkpoint tells)
    #[arg(long, value_name = "KIND")]
    norm: Option<Norm>,
    /// Whether plain blocks have residuals (no checkpoint tells) [default: true]
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    do_res: Option<bool>,
    /// The model's name [default: the task's or file's, and the size]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A postprocessing file of nnU-Net to apply, .json or .pkl (v1's in the folder is taken by itself, as its predictor does)
    #[arg(long, value_name = "FILE")]
    postprocessing: Option<PathBuf>,
    /// Where the file keeps the network's tensors, if several places could be meant: a key, or keys with dots between them
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// What stands before every name of the network; it is taken off, and tensors without it are left out
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Leave out tensors of these names, such as 'criterion.*' or n_averaged; may be repeated
    #[arg(long, value_name = "GLOB")]
    ignore: Vec<String>,
    /// Go on without these transforms of a MONAI bundle, which mnx cannot follow: the segmentation will be another
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    ignore_transforms: Vec<String>,
    /// Read plans with a preprocessor that mnx does not know as if they named nnU-Net's own
    #[arg(long)]
    ignore_preprocessor: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Checkpoint {
    /// The last one, as nnU-Net predicts with
    Final,
    /// The best on the validation cases
    Best,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HeadsArg {
    All,
    Main,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Norm {
    Group,
    Layer,
}

/// Imports.
///
/// # Errors
/// Whatever is wrong with the files; no folder is left then.
pub fn run(args: &Args, voice: Voice) -> Outcome {
    let options = Options {
        folds: args.folds.clone(),
        checkpoint: match args.checkpoint {
            Checkpoint::Final => Which::Final,
            Checkpoint::Best => Which::Best,
        },
        configuration: args.configuration.clone(),
        heads: match args.heads {
            HeadsArg::All => Heads::All,
            HeadsArg::Main => Heads::Main,
        },
        norm: args.norm.map(|n| match n {
            Norm::Group => NormType::Group,
            Norm::Layer => NormType::Layer,
        }),
        do_res: args.do_res,
        name: args.name.clone(),
        postprocessing: args.postprocessing.clone(),
        key: args.key.clone(),
        prefix: args.prefix.clone(),
        ignore: args.ignore.clone(),
        ignore_transforms: args.ignore_transforms.clone(),
        ignore_preprocessor: args.ignore_preprocessor,
    };
    let import = Import::open(&args.path, &options).map_err(failure)?;
    // What is worth knowing of a network is worth it once there is one: an error stands alone.
    let mut written = Vec::new();
    import.write(&args.out, &mut |line| written.push(format!("{}/{line}", args.out.display()))).map_err(failure)?;
    voice.note(&format!("{}: {}", args.path.display(), import.what));
    for note in &import.notes {
        match note.strip_prefix("warning: ") {
            Some(warning) => voice.warn(warning),
            None => voice.note(&format!("note: {note}")),
        }
    }
    written.iter().for_each(|line| voice.note(line));
    let parameters = mnx_model::signature(&import.config).parameters();
    let patch = import.config.patch.as_ref().map(|p| p.iter().map(usize::to_string).collect::<Vec<_>>().join("x"));
    voice.note(&format!(
        "{}: {}, {} in, {}, {parameters} parameters{}{}",
        args.out.display(),
        import.config.name,
        many(import.config.in_channels, "channel"),
        many(import.config.n_classes, "class"),
        patch.map_or_else(String::new, |p| format!(", patch {p}")),
        if import.folds.len() > 1 { format!(", {} folds", import.folds.len()) } else { String::new() },
    ));
    Ok(())
}

fn failure(error: ImportError) -> Failure {
    match error {
        ImportError::Io { path, source } => Failure::user("import-0100", path, system_reason(&source.to_string())),
        ImportError::Format { path, reason } => Failure::user("import-0101", path, reason),
        ImportError::Several { path, what, problems } => {
            let mut d = Diagnostic::new("import-0102", path, what);
            d.notes = problems;
            d.into()
        }
        ImportError::Ambiguous { path, reason } => Failure::user("import-0104", path, reason),
        ImportError::Unsupported { path, reason } => Failure::user("import-0105", path, reason),
        ImportError::Option(message) => Failure::user("import-0103", "options", message),
    }
}
