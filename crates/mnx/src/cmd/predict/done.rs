//! `--continue`: whether an earlier run's outputs are what this model writes for a case.

use mnx_artifact::ProbabilityFile;
use mnx_volume::npz::Element;
use mnx_volume::survey::{Voxels, survey, whole_npz, whole_pickle, whole_png};
use mnx_volume::{Header, VolumeError, peek};

use crate::cmd::predict::job::Job;
use crate::cmd::predict::model::Model;
use crate::text;

/// What there is of a case.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// No segmentation.
    New,
    /// All outputs, whole.
    Done,
    /// A segmentation that does not count, or lacks what belongs to it, and why.
    Again(String),
}

/// Looks at all outputs of a case. A segmentation is written last, so a case without one is new, whatever else lies there.
pub fn state(model: &Model, job: &Job) -> State {
    if !job.segmentation.exists() {
        return State::New;
    }
    match wrong(model, job) {
        None => State::Done,
        Some(why) => State::Again(why),
    }
}

/// The first thing that is wrong with an output.
fn wrong(model: &Model, job: &Job) -> Option<String> {
    let reader = model.preprocess.reader;
    for path in job.outputs() {
        if !path.is_file() {
            return Some(format!("{}: is not there", path.display()));
        }
    }
    let input = match job.inputs.first().map(|path| peek(path, reader)) {
        Some(Ok(input)) => input,
        // Trying the case tells what is wrong with its input.
        Some(Err(e)) => return Some(e.to_string()),
        None => return Some("no input".to_owned()),
    };
    let told = |e: VolumeError| Some(e.to_string());
    match survey(&job.segmentation, reader) {
        Err(e) => return told(e),
        Ok(file) => {
            let at = |what: String| Some(format!("{}: {what}", job.segmentation.display()));
            if let Some(what) = other_grid(&file.header, &input, 1) {
                return at(what);
            }
            let Voxels::Labels(labels) = file.voxels else {
                return at("no label map: 8-bit or 16-bit unsigned voxels expected".to_owned());
            };
            if let Some(label) = labels.iter().find(|l| **l != 0 && !model.rules.values.contains(l)) {
                return at(format!("label {label} is none of this model's"));
            }
        }
    }
    if let Some(path) = &job.probabilities {
        match survey(path, reader) {
            Err(e) => return told(e),
            Ok(file) => {
                let kind = (file.voxels != Voxels::Float32).then(|| "float32 voxels expected".to_owned());
                if let Some(what) = kind.or_else(|| other_grid(&file.header, &input, model.classes())) {
                    return Some(format!("{}: {what}", path.display()));
                }
            }
        }
    }
    if let Some(saved) = &job.saved {
        let (name, element, values) = match model.file {
            ProbabilityFile::NnunetV2 => ("probabilities", Element::F32, Some(model.classes() * input.shape().iter().product::<usize>())),
            // Over a crop, whose size no header tells.
            ProbabilityFile::NnunetV1 => ("softmax", Element::F16, None),
        };
        let archive = whole_npz(&saved.npz, name, element, model.classes(), values);
        if let Err(what) = archive {
            return Some(format!("{}: {what}", saved.npz.display()));
        }
        if let Err(what) = whole_pickle(&saved.properties) {
            return Some(format!("{}: {what}", saved.properties.display()));
        }
    }
    let picture = job.picture.as_ref()?;
    whole_png(picture).err().map(|what| format!("{}: {what}", picture.display()))
}

/// How the grid of an output differs from its input's, whose header it repeats.
fn other_grid(output: &Header, input: &Header, channels: usize) -> Option<String> {
    if output.channels() != channels {
        let found = mnx_words::many(output.channels(), "channel");
        return Some(format!("{found}, {channels} expected"));
    }
    if output.shape() != input.shape() {
        return Some(format!("{} voxels, its input has {}", text::shape(&output.shape()), text::shape(&input.shape())));
    }
    let voxel = input.spacing().iter().copied().fold(f64::INFINITY, f64::min);
    let same = output.affine().iter().flatten().zip(input.affine().iter().flatten()).all(|(a, b)| (a - b).abs() <= 1e-4 * voxel);
    (!same).then(|| "it lies elsewhere than its input (another affine)".to_owned())
}
