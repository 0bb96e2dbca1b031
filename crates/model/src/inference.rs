//! The table `[inference]`: how tiles are weighted and averaged, and how scores become a segmentation.

use mnx_artifact::{Activation, Average, Connectivity, Gaussian, Inference, Postprocess, ProbabilityFile, Resampling, Windows};
use toml::de::DeValue;

use crate::document::{Table, integer, number, word};
use crate::prepare::resampling;

const KEYS: &[&str] = &[
    "step",
    "windows",
    "gaussian",
    "mirror_axes",
    "average",
    "activation",
    "regions",
    "class_order",
    "ignore",
    "export",
    "probabilities",
    "postprocess",
];

fn label(v: &DeValue<'_>) -> Option<u32> {
    integer(v, &(0..1 << 16)).and_then(|n| u32::try_from(n).ok())
}

fn labels(v: &DeValue<'_>) -> Option<Vec<u32>> {
    v.as_array()?.iter().map(|x| label(x.get_ref())).collect()
}

fn postprocess(v: &DeValue<'_>) -> Result<Postprocess, String> {
    const FORM: &str = "{ labels = [labels from 1], connectivity = \"faces\" or \"corners\", min_size = mm3, if any }";
    let table = v.as_table().ok_or(FORM)?;
    let mut out = Postprocess { labels: Vec::new(), connectivity: Connectivity::default(), min_size: None };
    for (key, v) in table.iter() {
        let (key, v): (&str, _) = (key.get_ref(), v.get_ref());
        match key {
            "labels" => out.labels = labels(v).filter(|l| !l.contains(&0)).ok_or(FORM)?,
            "connectivity" => {
                out.connectivity = word(v, &[("faces", Connectivity::Faces), ("corners", Connectivity::Corners)])
                    .map_err(|e| format!("connectivity = {e}"))?;
            }
            "min_size" => out.min_size = Some(number(v).filter(|n| *n >= 0.0).ok_or("min_size = a size in mm3")?),
            other => return Err(format!("{FORM}, without `{other}`")),
        }
    }
    if out.labels.is_empty() { Err(FORM.into()) } else { Ok(out) }
}

/// Reads `[inference]`; `axes` is the number of the patch's.
pub(crate) fn inference(t: &Table<'_, '_>, n_classes: Option<usize>, axes: usize) -> Inference {
    t.only(KEYS);
    let default = Inference::default();
    let step =
        t.get("step", |v| number(v).filter(|s| *s > 0.0 && *s <= 1.0).ok_or_else(|| "a fraction of the patch above 0, at most 1".into()));
    let gaussian = t.get("gaussian", |v| {
        let words = [
            ("peak10", Gaussian::Peak10),
            ("nnunet-v1", Gaussian::NnunetV1),
            ("nnunet-v2", Gaussian::NnunetV2),
            ("monai", Gaussian::Monai),
            ("none", Gaussian::None),
        ];
        word(v, &words)
    });
    let mirror_axes = t.get("mirror_axes", |v| {
        let list: Option<Vec<usize>> = v.as_array().and_then(|a| a.iter().map(|x| integer(x.get_ref(), &(0..axes))).collect());
        list.filter(|l| l.iter().enumerate().all(|(i, a)| !l[..i].contains(a)))
            .ok_or_else(|| format!("a list of different axes from 0 to {}", axes - 1))
    });
    let average = t.get("average", |v| word(v, &[("logits", Average::Logits), ("probabilities", Average::Probabilities)]));
    let activation =
        t.get("activation", |v| word(v, &[("softmax", Activation::Softmax), ("sigmoid", Activation::Sigmoid)])).unwrap_or_default();
    let sigmoid = activation == Activation::Sigmoid;
    let regions = t.get("regions", |v| {
        let list: Option<Vec<Vec<u32>>> = v.as_array().and_then(|a| a.iter().map(|r| labels(r.get_ref())).collect());
        list.filter(|l| l.iter().all(|r| !r.is_empty())).ok_or_else(|| "a list of labels for each output, such as [[1, 2], [2]]".into())
    });
    let class_order = t.get("class_order", |v| {
        labels(v).filter(|l| !l.is_empty() && n_classes.is_none_or(|n| n == l.len())).ok_or_else(|| match n_classes {
            Some(n) => format!("the label that each of the {n} outputs paints"),
            None => "the label that each output paints".into(),
        })
    });
    for (key, given) in [("regions", regions.is_some()), ("class_order", class_order.is_some())] {
        if given && !sigmoid {
            t.conflict(key, format!("{key} is for activation = \"sigmoid\"; with \"softmax\" the largest score wins"));
        }
    }
    if sigmoid && !t.entries.contains_key("class_order") {
        t.missing("class_order", "the label that each output paints (activation = \"sigmoid\")");
    }
    if let (Some(regions), Some(order)) = (&regions, &class_order)
        && regions.len() != order.len()
    {
        t.conflict(
            "regions",
            format!("{} and {} of class_order", mnx_words::many(regions.len(), "region"), mnx_words::many(order.len(), "entry")),
        );
    }
    Inference {
        step: step.unwrap_or(default.step),
        windows: t.get("windows", |v| word(v, &[("nnunet", Windows::Nnunet), ("monai", Windows::Monai)])).unwrap_or_default(),
        gaussian: gaussian.unwrap_or_default(),
        mirror_axes,
        average: average.unwrap_or_default(),
        activation,
        regions: regions.unwrap_or_default(),
        class_order: class_order.unwrap_or_default(),
        ignore: t.get("ignore", |v| label(v).ok_or_else(|| "a label from 0 to 65535".into())),
        export: t.get("export", |v| resampling(v, Resampling::EXPORT)).unwrap_or(Resampling::EXPORT),
        probabilities: t
            .get("probabilities", |v| word(v, &[("nnunet-v2", ProbabilityFile::NnunetV2), ("nnunet-v1", ProbabilityFile::NnunetV1)]))
            .unwrap_or_default(),
        postprocess: t
            .get("postprocess", |v| {
                let list = v.as_array().ok_or("a list of { labels = [..] }")?;
                list.iter().map(|p| postprocess(p.get_ref())).collect::<Result<_, _>>()
            })
            .unwrap_or_default(),
    }
}
