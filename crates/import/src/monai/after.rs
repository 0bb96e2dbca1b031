//! A bundle's inferer and postprocessing as `[inference]`.

use mnx_artifact::{Activation, Connectivity, Gaussian, Inference, Postprocess};
use serde_json::Value as Json;

use super::before::Problem;
use super::inference;
use super::settings::Component;
use crate::fields::Wrong;
use crate::wording::{list, quoted};

/// Transforms after which a segmentation is the same, or that mnx does in its own way.
const NO_EFFECT: [&str; 14] = [
    "Invertd",
    "SaveImaged",
    "EnsureTyped",
    "ToTensord",
    "ToDeviced",
    "ToNumpyd",
    "CastToTyped",
    "DeleteItemsd",
    "SelectItemsd",
    "CopyItemsd",
    "Identityd",
    "EnsureChannelFirstd",
    "DataStatsd",
    "SqueezeDimd",
];

/// The sliding window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Window {
    pub patch: Vec<usize>,
    pub step: f64,
    pub gaussian: Gaussian,
    /// MONAI's axis across which a 2-D network sees slices.
    pub slices: Option<usize>,
}

/// Arguments of an inferer that say where and how fast it computes, not what.
const HOW: [&str; 9] =
    ["sw_batch_size", "sw_device", "device", "progress", "cache_roi_weight_map", "cpu_thresh", "buffer_steps", "buffer_dim", "with_coord"];

/// Reads the inferer.
pub(super) fn window(inferer: &Component<'_>) -> Result<Window, Wrong> {
    let slicer = inferer.name == "SliceInferer";
    if !slicer && !["SlidingWindowInferer", "SlidingWindowInfererAdapt"].contains(&inferer.name.as_str()) {
        return Err("SlidingWindowInferer, SlidingWindowInfererAdapt or SliceInferer expected".to_owned());
    }
    let known = ["roi_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval", "spatial_dim"];
    let all: Vec<&str> = known.iter().chain(&HOW).copied().collect();
    if let Some(other) = inferer.others(&all).first() {
        return Err(format!("{other} is not known"));
    }
    if inferer.flag("with_coord", false)? {
        return Err("with_coord is true: the network takes the windows' places".to_owned());
    }
    let slices = match (slicer, inferer.number("spatial_dim")?) {
        (false, _) => None,
        (true, None) => Some(0),
        (true, Some(d)) if [0.0, 1.0, 2.0].contains(&d) => Some(d as usize),
        (true, Some(d)) => return Err(format!("spatial_dim is {d}; 0, 1 or 2 expected")),
    };
    let roi = inferer.numbers("roi_size")?.ok_or("roi_size is missing")?;
    // Two extents without a slicer: pictures, whose one slice lies across z.
    let axes = if slicer || roi.len() == 2 { 2 } else { 3 };
    let slices = if axes == 2 { slices.or(Some(2)) } else { None };
    let roi = if roi.len() == 1 { vec![roi[0]; axes] } else { roi };
    if roi.len() != axes || roi.iter().any(|n| n.fract() != 0.0 || !(1.0..1_048_576.0).contains(n)) {
        return Err(format!("roi_size is {}; {axes} extents from 1 expected (a network is compiled for one patch)", list(&roi)));
    }
    let overlap = inferer.numbers("overlap")?.unwrap_or_else(|| vec![super::OVERLAP]);
    let one = overlap.first().copied().filter(|o| overlap.iter().all(|x| x == o) && (0.0..1.0).contains(o));
    let overlap = one.ok_or_else(|| format!("overlap is {}; one fraction from 0 to below 1 expected", list(&overlap)))?;
    let gaussian = match inferer.text("mode")?.as_deref() {
        None | Some("constant") => Gaussian::None,
        Some("gaussian") => {
            if inferer.numbers("sigma_scale")?.is_some_and(|s| s.iter().any(|x| *x != 0.125)) {
                return Err("sigma_scale is not its default, 0.125".to_owned());
            }
            Gaussian::Monai
        }
        Some(other) => return Err(format!("mode is {}; \"constant\" or \"gaussian\" expected", quoted(other))),
    };
    if inferer.text("padding_mode")?.is_some_and(|m| m != "constant") || inferer.number("cval")?.is_some_and(|v| v != 0.0) {
        return Err("padding_mode or cval is not its default; mnx pads with 0".to_owned());
    }
    Ok(Window { patch: roi.into_iter().map(|n| n as usize).collect(), step: 1.0 - overlap, gaussian, slices })
}

/// What follows the network.
#[derive(Debug)]
pub(super) struct After {
    pub inference: Inference,
    pub problems: Vec<Problem>,
    pub notes: Vec<String>,
}

/// Where the scores have got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scores {
    Raw,
    Softmax,
    Sigmoid,
    /// One label per voxel.
    Labels,
    /// A mask for every channel.
    Masks,
}

/// Follows the transforms of the prediction. `classes` are the outputs as far as the metadata name them; with `background` the first of
/// them is the background.
pub(super) fn after(transforms: &[Component<'_>], item: &str, classes: Option<usize>, background: bool) -> After {
    let (mut scores, mut problems, mut notes) = (Scores::Raw, Vec::new(), Vec::new());
    let mut out = inference();
    for t in transforms {
        let done = match t.concerns(item) {
            Ok(false) => Ok(()),
            Ok(true) => step(t, &mut scores, &mut out, classes),
            Err(e) => Err(e),
        };
        if let Err(reason) = done {
            problems.push((t.name.clone(), reason));
        }
    }
    // Another key than the metadata's would make every transform pass by in silence.
    if !transforms.is_empty() && !transforms.iter().any(|t| t.concerns(item).unwrap_or(true)) {
        problems.push(("postprocessing".to_owned(), format!("no transform concerns {}, the output that the metadata name", quoted(item))));
    }
    if matches!(scores, Scores::Sigmoid | Scores::Masks) {
        out.activation = Activation::Sigmoid;
        match classes {
            None => problems.push(("Activationsd".to_owned(), "sigmoid, and the metadata do not name the outputs".to_owned())),
            Some(n) => {
                let first = u32::from(!background);
                out.class_order = (0..n as u32).map(|i| i + first).collect();
                out.regions = out.class_order.iter().map(|l| vec![*l]).collect();
                notes.push(
                    "warning: sigmoid outputs: MONAI keeps a mask for each, mnx paints one label per voxel, later outputs over earlier \
                     ones (class_order in config.toml)"
                        .to_owned(),
                );
            }
        }
    }
    After { inference: out, problems, notes }
}

fn step(t: &Component<'_>, scores: &mut Scores, out: &mut Inference, classes: Option<usize>) -> Result<(), Wrong> {
    let late = |what: &str| Err(format!("it follows {what}"));
    match t.name.as_str() {
        "Activationsd" => {
            if t.arg("other")?.is_some() {
                return Err("other is given; softmax or sigmoid expected".to_owned());
            }
            match (t.flag("softmax", false)?, t.flag("sigmoid", false)?, *scores) {
                (false, false, _) => {}
                (true, false, Scores::Raw) => *scores = Scores::Softmax,
                (false, true, Scores::Raw) => *scores = Scores::Sigmoid,
                (true, true, _) => return Err("softmax and sigmoid, one of them expected".to_owned()),
                _ => return late("another activation or AsDiscreted"),
            }
            Ok(())
        }
        "AsDiscreted" => {
            if t.arg("rounding")?.is_some() {
                return Err("rounding is given".to_owned());
            }
            if matches!(scores, Scores::Labels | Scores::Masks) {
                return late("another AsDiscreted");
            }
            match (t.flag("argmax", false)?, t.number("threshold")?, *scores) {
                (true, None, _) => *scores = Scores::Labels,
                (false, Some(0.5), Scores::Sigmoid) => *scores = Scores::Masks,
                (false, None, _) => return Err("neither argmax nor a threshold".to_owned()),
                (_, Some(x), _) => return Err(format!("threshold is {x}; 0.5 after a sigmoid, or argmax, expected")),
            }
            Ok(())
        }
        "KeepLargestConnectedComponentd" => {
            if *scores != Scores::Labels {
                return Err("it does not follow AsDiscreted(argmax=True)".to_owned());
            }
            if t.number("num_components")?.is_some_and(|n| n != 1.0) {
                return Err("num_components is not 1".to_owned());
            }
            let connectivity = match t.number("connectivity")? {
                None => Connectivity::Corners,
                Some(3.0) => Connectivity::Corners,
                Some(1.0) => Connectivity::Faces,
                Some(n) => return Err(format!("connectivity is {n}; 1, 3 or None expected")),
            };
            let labels = match (t.arg("applied_labels")?, classes) {
                (None, None) => return Err("applied_labels is missing, and the metadata do not name the outputs".to_owned()),
                (None, Some(n)) => (1..n as u32).collect(),
                (Some(Json::Number(n)), _) => vec![label(&Json::Number(n))?],
                (Some(Json::Array(all)), _) => all.iter().map(label).collect::<Result<Vec<_>, _>>()?,
                (Some(other), _) => return Err(format!("applied_labels is {other}, labels expected")),
            };
            let whole = |labels: Vec<u32>| Postprocess { labels, connectivity, min_size: None };
            match t.flag("independent", true)? {
                true => out.postprocess.extend(labels.into_iter().map(|l| whole(vec![l]))),
                false => out.postprocess.push(whole(labels)),
            }
            Ok(())
        }
        name if NO_EFFECT.contains(&name) => Ok(()),
        _ => Err("mnx has no such step".to_owned()),
    }
}

fn label(v: &Json) -> Result<u32, Wrong> {
    v.as_u64()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| (1..=65_535).contains(n))
        .ok_or_else(|| format!("applied_labels has {v}; labels from 1 expected"))
}
