//! nnU-Net v1's plans (what the official MedNeXt uses): pickles made of NumPy values.

use mnx_artifact::{
    Activation, Average, Connectivity, Deviation, Gaussian, Inference, Normalization, Postprocess, Preprocess, ProbabilityFile, Reader,
    Resampling, SeparateZ, Sequence, Windows,
};
use serde_json::Value as Json;

use crate::fields::{Field, Wrong};
use crate::rules::{Rules, ct};

/// What plans and trainer tell. `stage` is the plans' stage that the network was trained at; none takes the last.
pub(crate) fn rules(plans: &Json, trainer: &str, stage: Option<u64>) -> Result<Rules, Wrong> {
    let plans = Field::root(plans);
    let mut notes = Vec::new();
    let stages = plans.get("plans_per_stage")?.entries()?;
    let number = |(key, _): &&(&str, Field<'_>)| key.parse::<u64>().ok();
    let chosen = match stage {
        Some(n) => stages.iter().find(|e| number(e) == Some(n)),
        None => stages.iter().max_by_key(number),
    };
    let (_, stage) = chosen.ok_or_else(|| format!("plans_per_stage has no stage {}", stage.map_or_else(String::new, |n| n.to_string())))?;
    let patch = stage.get("patch_size")?.patch()?;
    let dims = patch.len();
    let mut spacing = stage.get("current_spacing")?.spacing(dims)?;
    if dims == 2 && spacing.len() == 3 {
        // Slices keep their distance.
        spacing.remove(0);
    }
    let channels = plans.get("num_modalities")?.count()? as usize;
    let classes = plans.get("num_classes")?.count()? as usize;
    if let Some(name) = plans.find("preprocessor_name").map(|f| f.text()).transpose()?
        && !["GenericPreprocessor", "PreprocessorFor2D"].contains(&name)
    {
        notes.push(format!("warning: preprocessor {name} is not known; volumes are prepared as GenericPreprocessor does"));
    }

    let masked = |i: usize| plans.get("use_mask_for_norm")?.get(&i.to_string())?.truth();
    let scheme = |i: usize| -> Result<Normalization, Wrong> {
        let field = plans.get("normalization_schemes")?.get(&i.to_string())?;
        match field.text()? {
            "CT" => {
                let p = plans.get("dataset_properties")?.get("intensityproperties")?.get(&i.to_string())?;
                ct(&p, "sd", masked(i)?)
            }
            "noNorm" => Ok(Normalization::None),
            "CT2" => Err("normalization scheme CT2 is not known here; CT, nonCT and noNorm are".to_owned()),
            _ => Ok(if masked(i)? { Normalization::ZScoreMasked } else { Normalization::ZScore }),
        }
    };
    let preprocess = Preprocess {
        reader: Some(Reader::Simpleitk),
        spacing: Some(spacing),
        orientation: None,
        transpose: plans.get("transpose_forward")?.transpose()?,
        normalization: (0..channels).map(scheme).collect::<Result<_, _>>()?,
        crop_to_nonzero: true,
        sequence: Sequence::ResampleNormalize,
        deviation: Deviation::Plus,
        resampling: Resampling::DATA,
    };

    // Mirroring is the trainer's default, which its checkpoints do not hold.
    let mirror_axes = if trainer.to_lowercase().contains("nomirror") { Vec::new() } else { (0..dims).collect() };
    let (activation, class_order, regions) = if trainer.contains("BraTSRegions") {
        // nnUNetTrainerV2BraTSRegions: whole tumour, core, enhancing part.
        (Activation::Sigmoid, vec![1, 2, 3], vec![vec![1, 2, 3], vec![2, 3], vec![3]])
    } else {
        (Activation::Softmax, Vec::new(), Vec::new())
    };
    let outputs = if activation == Activation::Sigmoid { class_order.len() } else { classes + 1 };
    let inference = Inference {
        windows: Windows::Nnunet,
        step: 0.5,
        gaussian: Gaussian::NnunetV1,
        mirror_axes: Some(mirror_axes),
        average: Average::Probabilities,
        activation,
        regions,
        class_order,
        ignore: None,
        export: export(&plans)?,
        probabilities: ProbabilityFile::NnunetV1,
        postprocess: Vec::new(),
    };
    let mut labels = vec![("background".to_owned(), 0)];
    labels.extend((1..=classes as u32).map(|n| (format!("class_{n}"), n)));
    notes.push("class names are not in nnU-Net v1's plans; [labels] of config.toml takes better ones".to_owned());
    Ok(Rules {
        trainer: Some(trainer.to_owned()),
        patch: Some(patch),
        preprocess: Some(preprocess),
        inference: Some(inference),
        labels,
        in_channels: Some(channels),
        n_classes: Some(outputs),
        notes,
        ..Rules::default()
    })
}

/// `segmentation_export_params`, an optional part of plans.
fn export(plans: &Field<'_>) -> Result<Resampling, Wrong> {
    let mut out = Resampling::EXPORT;
    let Some(params) = plans.find("segmentation_export_params") else { return Ok(out) };
    if let Some(force) = params.find("force_separate_z") {
        out.separate_z = if force.truth()? { SeparateZ::Always } else { SeparateZ::Never };
    }
    let order = |key: &str, default: u8| match params.find(key) {
        None => Ok(default),
        Some(f) => match f.count()? {
            n @ (0 | 1 | 3) => Ok(n as u8),
            n => Err(format!("segmentation_export_params.{key} is {n}; 0, 1 or 3 expected")),
        },
    };
    out.order = order("interpolation_order", out.order)?;
    out.order_z = order("interpolation_order_z", out.order_z)?;
    Ok(out)
}

/// `postprocessing.json`: the largest component of these classes, one after another.
pub(crate) fn postprocessing(json: &Json) -> Result<Vec<Postprocess>, Wrong> {
    let root = Field::root(json);
    let Some(classes) = root.find("for_which_classes") else { return Ok(Vec::new()) };
    let sizes = match root.find("min_valid_object_sizes") {
        None => Vec::new(),
        Some(f) if f.json().is_string() => sizes(f.text()?)?,
        Some(f) => f.entries()?.into_iter().map(|(k, v)| Ok((class_key(k)?, v.number()?))).collect::<Result<_, Wrong>>()?,
    };
    if let Some((class, size)) = sizes.iter().find(|(_, s)| !s.is_finite() || *s < 0.0) {
        return Err(format!("min_valid_object_sizes has {size} for {class:?}, expected a size in mm3 from 0"));
    }
    let one = |f: &Field<'_>| {
        let labels = f.labels()?;
        if labels.is_empty() || labels.contains(&0) {
            return Err(f.wrong("classes from 1"));
        }
        let min_size = sizes.iter().find(|(k, _)| *k == labels).map(|(_, s)| *s);
        Ok(Postprocess { labels, connectivity: Connectivity::Faces, min_size })
    };
    classes.items()?.iter().map(one).collect()
}

/// A class, or a tuple of them, as Python prints it.
fn class_key(text: &str) -> Result<Vec<u32>, Wrong> {
    let parts = text.trim().trim_matches(['(', ')', '[', ']']).split(',').map(str::trim).filter(|p| !p.is_empty());
    let keys: Result<Vec<u32>, _> = parts.map(str::parse).collect();
    keys.map_err(|_| format!("min_valid_object_sizes has the class {text:?}"))
}

/// A Python dictionary as text, `{1: 100.0, (1, 2): 250.0}`, or `None`.
fn sizes(text: &str) -> Result<Vec<(Vec<u32>, f64)>, Wrong> {
    let shown: String = text.chars().take(80).collect();
    let wrong = || format!("min_valid_object_sizes is {shown:?}, expected a dictionary of sizes");
    let inner = match text.trim() {
        "None" | "" => return Ok(Vec::new()),
        t => t.strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(wrong)?,
    };
    let mut out = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, tail) = rest.split_once(':').ok_or_else(wrong)?;
        let (value, tail) = tail.split_once(',').unwrap_or((tail, ""));
        let size: f64 = value.trim().parse().map_err(|_| wrong())?;
        out.push((class_key(key)?, size));
        rest = tail.trim();
    }
    Ok(out)
}
