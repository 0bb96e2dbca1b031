//! nnU-Net v2's plans and data set descriptions.

use mnx_artifact::{
    Activation, Average, Deviation, Gaussian, Inference, Normalization, Preprocess, ProbabilityFile, Reader, Resampling, SeparateZ,
    Sequence, Windows,
};
use mnx_model::NormType;
use serde_json::{Map, Value as Json};

use crate::fields::{Field, Wrong};
use crate::rules::{Rules, channel_names, ct};
use crate::wording::quoted;

/// Deepest chain of `inherits_from`.
const INHERITANCE: usize = 16;

/// A checkpoint's key for the axes that prediction may mirror.
pub(crate) const MIRRORING: &str = "inference_allowed_mirroring_axes";

/// What a result folder or a checkpoint says of a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'j> {
    pub plans: &'j Json,
    pub dataset: &'j Json,
    pub configuration: &'j str,
    pub trainer: &'j str,
    /// The checkpoint's `inference_allowed_mirroring_axes`.
    pub mirror: Option<&'j Json>,
    /// Whether an unknown preprocessor is taken for nnU-Net's own.
    pub ignore_preprocessor: bool,
}

/// What plans, data set and checkpoint tell of a configuration.
pub(crate) fn rules(told: Told<'_>) -> Result<Rules, Wrong> {
    let Told { plans, dataset, configuration, trainer, mirror, ignore_preprocessor } = told;
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
    let (reader, orientation) = reader(&plans, dataset)?;
    file_ending(dataset)?;
    if let Some(manager) = plans.find("label_manager").map(|f| f.text()).transpose()?.filter(|m| *m != "LabelManager") {
        return Err(format!(
            "label_manager is {}; LabelManager, nnU-Net's own, expected: mnx does not know how another turns scores into labels",
            quoted(manager)
        ));
    }
    let preprocess = Preprocess {
        reader: Some(reader),
        spacing: Some(c.get("spacing").and_then(|f| f.spacing(dims)).map_err(named)?),
        orientation,
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
        let warning = preprocessor(name, "DefaultPreprocessor", ignore_preprocessor);
        notes.push(warning.map_err(|e| format!("configurations.{configuration}: {e}"))?);
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
    let channels = channels.map(|f| channel_names(&f, &mut notes)).transpose().map_err(|e| format!("dataset.json: {e}"))?;
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
        in_channels: channels.as_ref().map(|c| c.count),
        channels: channels.map(|c| c.names).unwrap_or_default(),
        n_classes: Some(l.outputs),
        do_res,
        norm,
        notes,
        ..Rules::default()
    })
}

/// What is said of a preprocessor that is not nnU-Net's own: an error, or a warning if the user goes without it.
pub(crate) fn preprocessor(name: &str, own: &str, ignored: bool) -> Result<String, Wrong> {
    match ignored {
        true => {
            Ok(format!("warning: preprocessor {} is not known; volumes are prepared as {own} does (--ignore-preprocessor)", quoted(name)))
        }
        false => Err(format!(
            "preprocessor_name is {}; {own} expected: others are not known (--ignore-preprocessor prepares volumes as {own} does)",
            quoted(name)
        )),
    }
}

/// Who read the training images, and the orientation that this reader brings them to. nnU-Net predicts with the reader that the plans name.
fn reader(plans: &Field<'_>, dataset: &Json) -> Result<(Reader, Option<String>), Wrong> {
    let dataset = Field::root(dataset);
    let (name, place) = match plans.find("image_reader_writer") {
        Some(f) => (f.text()?, "image_reader_writer"),
        // Plans of the first releases have none; the data set decided then, and SimpleITK was asked first.
        None => match dataset.find("overwrite_image_reader_writer").map(|f| f.text()).transpose()?.filter(|n| *n != "None") {
            Some(name) => (name, "dataset.json: overwrite_image_reader_writer"),
            None => return Ok((Reader::Simpleitk, None)),
        },
    };
    match name {
        "SimpleITKIO" => Ok((Reader::Simpleitk, None)),
        "NibabelIO" => Ok((Reader::Nibabel, None)),
        "NibabelIOWithReorient" => Ok((Reader::NibabelReorient, Some("RAS".to_owned()))),
        "NaturalImage2DIO" | "Tiff3DIO" => Err(format!(
            "{place} is \"{name}\", for pictures (PNG, TIFF); mnx reads NIfTI as SimpleITKIO, NibabelIO and NibabelIOWithReorient do"
        )),
        other => Err(format!("{place} is {}; SimpleITKIO, NibabelIO or NibabelIOWithReorient expected", quoted(other))),
    }
}

/// Refuses files that mnx does not read.
fn file_ending(dataset: &Json) -> Result<(), Wrong> {
    match Field::root(dataset).find("file_ending").map(|f| f.text()).transpose().map_err(|e| format!("dataset.json: {e}"))? {
        None | Some(".nii.gz" | ".nii") => Ok(()),
        Some(other) => Err(format!(
            "dataset.json: file_ending is {}; mnx reads .nii.gz and .nii. Convert the images \
             (SimpleITK.WriteImage(SimpleITK.ReadImage(\"case{}\"), \"case.nii.gz\")) and write \".nii.gz\" into dataset.json",
            quoted(other),
            other.escape_debug()
        )),
    }
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
                "normalization_schemes[{channel}] is {}; CTNormalization, ZScoreNormalization, NoNormalization, \
                 RescaleTo01Normalization or RGBTo01Normalization expected",
                quoted(other)
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
            return Err(format!("{name} is {}; resample_data_or_seg_to_shape expected", quoted(function)));
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
