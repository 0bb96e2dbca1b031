//! What the volume side of a manifest must satisfy: settings that no file or user may bend.

use crate::inference::{Activation, Inference, Preprocess, Reader, Resampling};
use crate::manifest::Manifest;
use crate::normalization::Normalization;

/// Problems of `[preprocess]`.
pub(crate) fn preprocess(manifest: &Manifest, p: &Preprocess, found: &mut Vec<String>) {
    let dims = manifest.model.spatial_dims;
    if let Some(spacing) = &p.spacing
        && (!(spacing.len() == dims || spacing.len() == 3) || !spacing.iter().all(|s| s.is_finite() && *s >= 0.0))
    {
        found.push(format!("preprocess: spacing {spacing} for {dims} spatial dimensions, in mm", spacing = mnx_words::list(spacing)));
    }
    let n = p.normalization.len();
    if n > 1 && n != manifest.model.in_channels {
        found.push(format!("preprocess: {n} normalisations for {}", mnx_words::many(manifest.model.in_channels, "channel")));
    }
    found.extend(p.normalization.iter().filter_map(scheme).map(|why| format!("preprocess: {why}")));
    let mut axes = p.transpose;
    axes.sort_unstable();
    if axes != [0, 1, 2] {
        found.push(format!("preprocess: transpose {} is not an arrangement of 0, 1, 2", mnx_words::list(&p.transpose)));
    }
    if let (Some(Reader::NibabelReorient), Some(code)) = (p.reader, p.orientation.as_deref())
        && code != "RAS"
    {
        found.push(format!(
            "preprocess: reader \"nibabel-reorient\" with orientation \"{code}\", expected \"RAS\", to which that reader turns"
        ));
    }
    resampling("preprocess: resampling", &p.resampling, found);
}

/// What is wrong with the numbers of a normalisation.
fn scheme(n: &Normalization) -> Option<String> {
    let finite = |values: &[f64]| values.iter().all(|v| v.is_finite());
    match *n {
        Normalization::ZScore
        | Normalization::ZScoreMasked
        | Normalization::ZScoreNonzero
        | Normalization::Rescale01
        | Normalization::Rgb01
        | Normalization::None => None,
        Normalization::Ct { low, high, mean, std, .. } => (!(finite(&[low, high, mean, std]) && low <= high)).then(|| {
            format!("CT normalisation from {low} to {high}, mean {mean}, deviation {std}: a range with finite statistics expected")
        }),
        Normalization::Range { low, high, to_low, to_high, .. } => {
            (!(finite(&[low, high, to_low, to_high]) && low < high && to_low < to_high))
                .then(|| format!("intensity range {low} to {high} becoming {to_low} to {to_high}: two ascending finite ranges expected"))
        }
        Normalization::Percentiles { lower, upper, to_low, to_high, .. } => {
            (!(0.0 <= lower && lower < upper && upper <= 100.0 && finite(&[to_low, to_high]) && to_low < to_high)).then(|| {
                format!(
                    "percentiles {lower} to {upper} becoming {to_low} to {to_high}: ascending ranges, percentiles from 0 to 100, expected"
                )
            })
        }
    }
}

/// Problems of `[inference]`.
pub(crate) fn inference(manifest: &Manifest, i: &Inference, found: &mut Vec<String>) {
    let (dims, classes) = (manifest.model.spatial_dims, manifest.model.n_classes);
    if !(i.step > 0.0 && i.step <= 1.0) {
        found.push(format!("inference: step {} is not above 0 and at most 1", i.step));
    }
    if let Some(axes) = &i.mirror_axes
        && axes.iter().enumerate().any(|(n, a)| *a >= dims || axes[..n].contains(a))
    {
        found.push(format!("inference: mirror axes {axes} of a patch of {dims} dimensions", axes = mnx_words::list(axes)));
    }
    match i.activation {
        Activation::Sigmoid if i.class_order.len() != classes => {
            found.push(format!(
                "inference: class_order names {} for {}",
                mnx_words::many(i.class_order.len(), "label"),
                mnx_words::many(classes, "output")
            ));
        }
        Activation::Softmax if !i.class_order.is_empty() || !i.regions.is_empty() => {
            found.push("inference: regions and class_order belong to a sigmoid".to_owned());
        }
        Activation::Sigmoid | Activation::Softmax => {}
    }
    if !i.regions.is_empty() && i.regions.len() != i.class_order.len() {
        found.push(format!(
            "inference: {} and {} of class_order",
            mnx_words::many(i.regions.len(), "region"),
            mnx_words::many(i.class_order.len(), "entry")
        ));
    }
    let labels = i.class_order.iter().chain(i.regions.iter().flatten()).chain(i.postprocess.iter().flat_map(|p| &p.labels));
    if let Some(label) = labels.chain(&i.ignore).find(|l| **l > 65_535) {
        found.push(format!("inference: label {label}, at most 65535 is written"));
    }
    for p in &i.postprocess {
        if p.labels.is_empty() || p.labels.contains(&0) || p.min_size.is_some_and(|s| !(s.is_finite() && s >= 0.0)) {
            found.push(format!(
                "inference: postprocess of labels {}{}: labels other than 0 and a size in mm3 expected",
                mnx_words::list(&p.labels),
                p.min_size.map_or_else(String::new, |s| format!(", min_size {s}"))
            ));
        }
    }
    resampling("inference: export", &i.export, found);
}

fn resampling(what: &str, r: &Resampling, found: &mut Vec<String>) {
    if [r.order, r.order_z].iter().any(|o| ![0, 1, 3].contains(o)) || !(r.anisotropy.is_finite() && r.anisotropy >= 1.0) {
        found.push(format!("{what}: orders {} and {} (0, 1 or 3), anisotropy {} (1 or more)", r.order, r.order_z, r.anisotropy));
    }
}
