//! nnU-Net v1's plans (what the official MedNeXt uses): pickles made of NumPy values.

use mnx_artifact::{
    Activation, Average, Deviation, Gaussian, Inference, Normalization, Preprocess, ProbabilityFile, Reader, Resampling, SeparateZ,
    Sequence, Windows,
};
use serde_json::Value as Json;

use crate::fields::{Field, Wrong};
use crate::nnunet_v2::preprocessor;
use crate::rules::{Rules, channel_names, ct};

/// What plans and trainer tell. `stage` is the plans' stage that the network was trained at; none takes the last.
pub(crate) fn rules(plans: &Json, trainer: &str, stage: Option<u64>, ignore_preprocessor: bool) -> Result<Rules, Wrong> {
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
    let names =
        plans.find("modalities").map(|f| channel_names(&f, &mut notes)).transpose()?.map(|c| c.names).filter(|n| n.len() == channels);
    let classes = plans.get("num_classes")?.count()? as usize;
    if let Some(name) = plans.find("preprocessor_name").map(|f| f.text()).transpose()?
        && !["GenericPreprocessor", "PreprocessorFor2D"].contains(&name)
    {
        notes.push(preprocessor(name, "GenericPreprocessor", ignore_preprocessor)?);
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
        channels: names.unwrap_or_default(),
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
