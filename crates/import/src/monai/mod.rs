//! MONAI's networks: what its pipelines do where a checkpoint says nothing, and bundles, whose configs say it.
//!
//! MONAI's arrays run x, y, z where files (and nnU-Net) run z, y, x: a network that MONAI trained sees volumes transposed.

mod after;
mod before;
mod bundle;
mod settings;

use mnx_artifact::{Activation, Average, Gaussian, Inference, Normalization, Preprocess, Reader, Resampling, SeparateZ, Sequence, Windows};

use crate::rules::Rules;
pub(crate) use bundle::{bundle, is_bundle};

/// `sliding_window_inference(overlap=0.25)`.
const OVERLAP: f64 = 0.25;

/// Our axes of MONAI's: model axis i is file axis `transpose[i]` (0 = z, 1 = y, 2 = x). A 2-D network sees slices across MONAI's axis
/// `slices` (0 = x, 1 = y, 2 = z), which ours have first.
fn transpose(slices: Option<usize>) -> [usize; 3] {
    order(slices).map(|axis| 2 - axis)
}

/// MONAI's axes (0 = x) in the order of the model's.
fn order(slices: Option<usize>) -> [usize; 3] {
    match slices {
        None | Some(0) => [0, 1, 2],
        Some(1) => [1, 0, 2],
        Some(_) => [2, 0, 1],
    }
}

/// The resampling of `Spacingd(mode="bilinear")`, the same on every axis.
fn resampling(order: u8) -> Resampling {
    Resampling { order, order_z: order, separate_z: SeparateZ::Never, ..Resampling::DATA }
}

/// A pipeline of `LoadImaged`, `NormalizeIntensityd(channel_wise=True)` and nothing else.
fn preprocess(slices: Option<usize>) -> Preprocess {
    Preprocess {
        reader: Some(Reader::Nibabel),
        orientation: None,
        transpose: transpose(slices),
        normalization: vec![Normalization::ZScore],
        sequence: Sequence::ResampleNormalize,
        resampling: resampling(1),
        ..Preprocess::default()
    }
}

/// `sliding_window_inference` with its defaults, then the largest score.
fn inference() -> Inference {
    Inference {
        windows: Windows::Monai,
        step: 1.0 - OVERLAP,
        gaussian: Gaussian::None,
        average: Average::Logits,
        activation: Activation::Softmax,
        export: resampling(1),
        ..Inference::default()
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// What a state dict with MONAI's names is taken to come from, as nothing in it tells: written out, with how to change each part.
pub(crate) fn assume(rules: &mut Rules, two_d: bool, channels: usize, classes: usize) {
    let slices = two_d.then_some(2);
    rules.preprocess = Some(Preprocess { orientation: Some("RAS".to_owned()), ..preprocess(slices) });
    rules.inference = Some(inference());
    rules.remarks.before = vec![
        (
            "preprocess.reader",
            lines("The tensors say nothing of the pipeline. This is LoadImaged with nibabel; reader = \"simpleitk\" for ITKReader."),
        ),
        ("preprocess.orientation", lines("Orientationd(axcodes=\"RAS\"). Without Orientationd in the pipeline: take this line out.")),
        ("preprocess.transpose", lines(if two_d { AXES_2D } else { AXES })),
        ("preprocess.normalization", lines(NORMALIZATION)),
        (
            "preprocess.sequence",
            lines("Spacingd(pixdim=(1.5, 1.5, 2.0)) in the pipeline: spacing = [1.5, 1.5, 2.0], in the order of the model's axes."),
        ),
        (
            "inference.step",
            lines("sliding_window_inference's default overlap, 0.25: step = 1 - overlap. Another overlap in the pipeline: change it here."),
        ),
        (
            "inference.gaussian",
            lines("sliding_window_inference's default mode, \"constant\". With mode=\"gaussian\": gaussian = \"monai\"."),
        ),
    ];
    let names = (1..classes).map(|n| format!("class_{n} = {n}")).collect::<Vec<_>>();
    let mut last = lines("The image channels in order, and the classes; with names of your own:\n[channels]");
    last.extend((0..channels).map(|n| format!("channel_{n} = {n}")));
    last.extend(["[labels]".to_owned(), "background = 0".to_owned()]);
    last.extend(names);
    rules.remarks.last = last;
    let axes = rules.preprocess.as_ref().map_or([0; 3], |p| p.transpose);
    rules.notes.push(format!(
        "warning: MONAI's names, and nothing that tells of the pipeline: config.toml takes axes x, y, z (transpose = [{}, {}, {}]), \
         orientation RAS, the z-score of every channel, and sliding_window_inference with overlap 0.25 and mode \"constant\"; compare it \
         with your transforms, comments in it say what to change (a network that nnU-Net trained: import its result folder)",
        axes[0], axes[1], axes[2]
    ));
}

const AXES: &str = "\
MONAI's arrays run x, y, z, files run z, y, x. The patch and the spacing of this config are x, y, z, too, as roi_size and pixdim are.
For a network that was trained on z, y, x (nnU-Net's readers): transpose = [0, 1, 2].";

const AXES_2D: &str = "\
MONAI's arrays run x, y, z, files run z, y, x.
The network sees the slices across z (SliceInferer(spatial_dim=2)), its patch is x, y, as roi_size is.
Slices across y: transpose = [1, 2, 0]. Slices across x: [2, 1, 0]. Trained on z, y, x (nnU-Net's readers): [0, 1, 2].";

const NORMALIZATION: &str = "\
NormalizeIntensityd(channel_wise=True). Others, one for all channels or one for each:
  NormalizeIntensityd(nonzero=True, channel_wise=True): normalization = [\"zscore-nonzero\"]
  ScaleIntensityRanged(a_min=-175, a_max=250, b_min=0, b_max=1, clip=True):
    normalization = [{ scheme = \"range\", low = -175, high = 250, to_low = 0, to_high = 1, clip = true }]
  ScaleIntensityRangePercentilesd(lower=1, upper=99, b_min=0, b_max=1, clip=True, channel_wise=True):
    normalization = [{ scheme = \"percentiles\", lower = 1, upper = 99, to_low = 0, to_high = 1, clip = true }]
  ScaleIntensityd(channel_wise=True): normalization = [\"rescale-0-1\"]; no intensity transform: [\"none\"]";
