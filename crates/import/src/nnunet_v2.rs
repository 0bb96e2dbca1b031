//! nnU-Net v2's plans and data set descriptions.

use mnx_artifact::{
    Activation, Average, Connectivity, Deviation, Gaussian, Inference, Normalization, Postprocess, Preprocess, ProbabilityFile, Reader,
    Resampling, SeparateZ, Sequence, Windows,
};
use mnx_model::NormType;
use serde_json::{Map, Value as Json};

use crate::fields::{Field, Wrong};
use crate::rules::{Rules, ct};

/// Deepest chain of `inherits_from`.
const INHERITANCE: usize = 16;

/// A checkpoint's key for the axes that prediction may mirror.
pub(crate) const MIRRORING: &str = "inference_allowed_mirroring_axes";

/// What plans, data set and checkpoint tell of a configuration. `mirror` is the checkpoint's `inference_allowed_mirroring_axes`.
pub(crate) fn rules(plans: &Json, dataset: &Json, configuration: &str, trainer: &str, mirror: Option<&Json>) -> Result<Rules, Wrong> {
    let mut notes = Vec::new();
    let merged = Json::Object(inherit(plans, configuration)?);
    let (plans, c) = (Field::root(plans), Field::root(&merged));
    let named = |e: Wrong| format!("configurations.{configuration}: {e}");
    let patch = c.get("patch_size").and_then(|f| f.patch()).map_err(named)?;
    let dims = patch.len();
    let schemes = c.get("normalization_schemes").and_then(|f| f.items()).map_err(named)?;
    let masks = c.find("use_mask_for_norm").map(|f| f.items()).transpose().map_err(named)?.unwrap_or_default();
    let normalization = (0..schemes.len()).map(|i| {
        let masked = masks.get(i).map(Field::truth).transpose()?.unwrap_or(false);
        normalization(&plans, schemes[i].text()?, i, masked)
    });
    let resampling = |which: &str, default: Resampling| resampling(&c, which, default);
    let preprocess = Preprocess {
        reader: Some(Reader::Simpleitk),
        spacing: Some(c.get("spacing").and_then(|f| f.spacing(dims)).map_err(named)?),
        orientation: None,
        transpose: plans.get("transpose_forward")?.transpose()?,
        normalization: normalization.collect::<Result<_, Wrong>>().map_err(named)?,
        crop_to_nonzero: true,
        sequence: Sequence::NormalizeResample,
        deviation: Deviation::AtLeast,
        resampling: resampling("data", Resampling::DATA).map_err(named)?,
    };
    if let Some(name) = c.find("preprocessor_name").map(|f| f.text()).transpose().map_err(named)?
        && name != "DefaultPreprocessor"
    {
        notes.push(format!("warning: preprocessor {name} is not known; volumes are prepared as DefaultPreprocessor does"));
    }
    if c.find("previous_stage").is_some() {
        return Err(format!("configurations.{configuration} is the second stage of a cascade, which takes another network's segmentation"));
    }
    // No entry, or None: nnU-Net then does not mirror.
    let mirror_axes = match mirror.filter(|m| !m.is_null()) {
        None => Vec::new(),
        Some(m) => {
            let field = Field::named(m, MIRRORING);
            let axes = field.counts().ok().filter(|l| l.iter().enumerate().all(|(i, a)| *a < dims && !l[..i].contains(a)));
            axes.ok_or_else(|| field.wrong(&format!("different axes from 0 to {}", dims - 1)))?
        }
    };
    let l = labels(dataset).map_err(|e| format!("dataset.json: {e}"))?;
    let inference = Inference {
        windows: Windows::Nnunet,
        step: 0.5,
        gaussian: Gaussian::NnunetV2,
        mirror_axes: Some(mirror_axes),
        average: Average::Logits,
        activation: if l.class_order.is_empty() { Activation::Softmax } else { Activation::Sigmoid },
        regions: l.regions,
        class_order: l.class_order,
        ignore: l.ignore,
        export: resampling("probabilities", Resampling::EXPORT).map_err(named)?,
        probabilities: ProbabilityFile::NnunetV2,
        postprocess: Vec::new(),
    };
    let channels = Field::root(dataset).find("channel_names").or_else(|| Field::root(dataset).find("modality"));
    let in_channels = channels.map(|f| f.entries()).transpose().map_err(|e| format!("dataset.json: {e}"))?.map(|e| e.len());
    if dims == 2 {
        notes.push("a 2-D configuration: slices are segmented one by one".to_owned());
    }
    let (do_res, norm) = architecture(&c);
    let title = plans.find("dataset_name").and_then(|f| f.text().ok());
    Ok(Rules {
        title: title.map(|t| format!("{t} {configuration}")),
        trainer: Some(trainer.to_owned()),
        patch: Some(patch),
        preprocess: Some(preprocess),
        inference: Some(inference),
        labels: l.labels,
        in_channels,
        n_classes: Some(l.outputs),
        do_res,
        norm,
        notes,
        ..Rules::default()
    })
}

/// A configuration with what it inherits; its own values win.
fn inherit(plans: &Json, name: &str) -> Result<Map<String, Json>, Wrong> {
    let all = Field::root(plans).get("configurations")?;
    let mut chain = Vec::new();
    let mut next = Some(name.to_owned());
    while let Some(name) = next {
        if chain.len() >= INHERITANCE {
            return Err(format!("configurations.{name}: inherits_from goes in a circle"));
        }
        let names = || all.entries().map(|e| e.iter().map(|(k, _)| *k).collect::<Vec<_>>().join(", ")).unwrap_or_default();
        let c = all.find(&name).ok_or_else(|| format!("there is no configuration \"{name}\"; the plans have {}", names()))?;
        next = c.find("inherits_from").map(|f| f.text().map(str::to_owned)).transpose()?;
        chain.push(c.json().as_object().ok_or_else(|| format!("configurations.{name} is not a dictionary"))?);
    }
    let mut out = Map::new();
    for c in chain.into_iter().rev() {
        out.extend(c.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    Ok(out)
}

fn normalization(plans: &Field<'_>, scheme: &str, channel: usize, masked: bool) -> Result<Normalization, Wrong> {
    Ok(match scheme {
        "CTNormalization" => {
            // The first releases of v2 named it otherwise.
            let all = plans.find("foreground_intensity_properties_by_modality");
            let p = plans.get("foreground_intensity_properties_per_channel").or_else(|e| all.ok_or(e))?.get(&channel.to_string())?;
            ct(&p, "std", false)?
        }
        "ZScoreNormalization" if masked => Normalization::ZScoreMasked,
        "ZScoreNormalization" => Normalization::ZScore,
        "NoNormalization" => Normalization::None,
        "RescaleTo01Normalization" => Normalization::Rescale01,
        "RGBTo01Normalization" => Normalization::Rgb01,
        other => {
            return Err(format!(
                "normalization_schemes[{channel}] is {other:?}; CTNormalization, ZScoreNormalization, NoNormalization, RescaleTo01Normalization or \
                 RGBTo01Normalization expected"
            ));
        }
    })
}

/// `resampling_fn_data` or `resampling_fn_probabilities`, with its arguments.
fn resampling(c: &Field<'_>, which: &str, default: Resampling) -> Result<Resampling, Wrong> {
    let name = format!("resampling_fn_{which}");
    if let Some(function) = c.find(&name) {
        let function = function.text()?;
        if function != "resample_data_or_seg_to_shape" {
            return Err(format!("{name} is {function:?}; resample_data_or_seg_to_shape expected"));
        }
    }
    let mut out = default;
    let Some(args) = c.find(&format!("{name}_kwargs")) else { return Ok(out) };
    for (key, f) in args.entries()? {
        let order = || match f.count()? {
            n @ (0 | 1 | 3) => Ok(n as u8),
            n => Err(format!("{name}_kwargs.{key} is {n}; 0, 1 or 3 expected")),
        };
        match key {
            "order" => out.order = order()?,
            "order_z" => out.order_z = order()?,
            "force_separate_z" if f.json().is_null() => out.separate_z = SeparateZ::Auto,
            "force_separate_z" => out.separate_z = if f.truth()? { SeparateZ::Always } else { SeparateZ::Never },
            "separate_z_anisotropy_threshold" => {
                out.anisotropy = f.number()?;
                if out.anisotropy < 1.0 {
                    return Err(f.wrong("a number from 1"));
                }
            }
            "is_seg" => {}
            other => return Err(format!("{name}_kwargs.{other} is not known")),
        }
    }
    Ok(out)
}

/// What the labels of a data set come to.
struct Labels {
    labels: Vec<(String, u32)>,
    regions: Vec<Vec<u32>>,
    class_order: Vec<u32>,
    ignore: Option<u32>,
    outputs: usize,
}

fn labels(dataset: &Json) -> Result<Labels, Wrong> {
    let root = Field::root(dataset);
    let entries = root.get("labels")?.entries()?;
    let mut all: Vec<(&str, Vec<u32>)> = Vec::new();
    let mut ignore = None;
    for (name, f) in entries {
        let values = f.labels()?;
        match values.as_slice() {
            [] => return Err(format!("labels.{name} is empty")),
            [one] if name == "ignore" => ignore = Some(*one),
            _ if name == "ignore" => return Err("labels.ignore is not one label".to_owned()),
            _ => all.push((name, values)),
        }
    }
    let has_regions = all.iter().any(|(_, v)| v.len() > 1);
    if !has_regions {
        let mut labels: Vec<(String, u32)> = all.into_iter().map(|(name, v)| (name.to_owned(), v[0])).collect();
        labels.sort_by_key(|(_, v)| *v);
        if let Some((i, (name, v))) = labels.iter().enumerate().find(|(i, (_, v))| *v as usize != *i) {
            return Err(format!("labels.{name} is {v}, expected {i}: labels count up from 0 (ignore last)"));
        }
        let outputs = labels.len();
        return Ok(Labels { labels, regions: Vec::new(), class_order: Vec::new(), ignore, outputs });
    }
    // Regions: everything but the background, in the order of the file.
    let regions: Vec<(&str, Vec<u32>)> = all.into_iter().filter(|(_, v)| v.iter().any(|l| *l != 0)).collect();
    let class_order = root.get("regions_class_order")?.labels()?;
    if class_order.len() != regions.len() {
        return Err(format!("regions_class_order has {} entries for {} regions", class_order.len(), regions.len()));
    }
    let mut labels = vec![("background".to_owned(), 0)];
    for ((name, _), label) in regions.iter().zip(&class_order) {
        // Two regions may paint one label; the first gives it its name.
        if labels.iter().all(|(n, l)| l != label && n != name) {
            labels.push(((*name).to_owned(), *label));
        }
    }
    labels.sort_by_key(|(_, v)| *v);
    let outputs = regions.len();
    Ok(Labels { labels, regions: regions.into_iter().map(|(_, v)| v).collect(), class_order, ignore, outputs })
}

/// What a MedNeXt's constructor is given, where the plans name one.
fn architecture(c: &Field<'_>) -> (Option<bool>, Option<NormType>) {
    let Some(a) = c.find("architecture") else { return (None, None) };
    let name = a.find("network_class_name").and_then(|f| f.text().ok()).unwrap_or("");
    let args = a.find("arch_kwargs").filter(|_| name.to_lowercase().contains("mednext"));
    let Some(args) = args else { return (None, None) };
    let norm = match args.find("norm_type").and_then(|f| f.text().ok()) {
        Some("group") => Some(NormType::Group),
        Some("layer") => Some(NormType::Layer),
        _ => None,
    };
    (args.find("do_res").and_then(|f| f.truth().ok()), norm)
}

/// `postprocessing.pkl`: functions by name, and their arguments.
pub(crate) fn postprocessing(json: &Json) -> Result<Vec<Postprocess>, Wrong> {
    const LARGEST: &str = "nnunetv2.postprocessing.remove_connected_components.remove_all_but_largest_component_from_segmentation";
    let parts = Field::root(json).items()?;
    let [functions, arguments] = parts.as_slice() else {
        return Err(format!("{} parts; functions and their arguments expected", parts.len()));
    };
    let (functions, arguments) = (functions.items()?, arguments.items()?);
    if functions.len() != arguments.len() {
        return Err(format!("{} functions with {} sets of arguments", functions.len(), arguments.len()));
    }
    let mut out = Vec::new();
    for (function, args) in functions.iter().zip(&arguments) {
        if function.text()? != LARGEST {
            return Err(format!("the function {:?} is not known", function.text()?));
        }
        let what = args.get("labels_or_regions")?;
        let mut labels = Vec::new();
        // One label, a list of labels, or of regions: all count as one object.
        for item in if what.json().is_array() { what.items()? } else { vec![what] } {
            labels.extend(item.labels()?);
        }
        labels.retain(|l| *l != 0);
        labels.sort_unstable();
        labels.dedup();
        if labels.is_empty() {
            return Err(args.get("labels_or_regions")?.wrong("a label from 1"));
        }
        out.push(Postprocess { labels, connectivity: Connectivity::Corners, min_size: None });
    }
    Ok(out)
}
