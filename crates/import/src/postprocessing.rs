//! Postprocessing files of nnU-Net's: v1's `postprocessing.json`, v2's `postprocessing.json` and `postprocessing.pkl`.

use mnx_artifact::{Connectivity, Postprocess};
use serde_json::Value as Json;

use crate::fields::{Field, Wrong};
use crate::wording::{count, list, quoted};

/// The one function that nnU-Net v2 determines.
const LARGEST: &str = "remove_all_but_largest_component_from_segmentation";

/// The module that it lies in, as the pickle names it.
const MODULE: &str = "nnunetv2.postprocessing.remove_connected_components.";

/// A JSON file of either version, told by its keys.
pub(crate) fn of_json(json: &Json) -> Result<Vec<Postprocess>, Wrong> {
    let root = Field::root(json);
    match (root.find("postprocessing_fns"), root.find("for_which_classes")) {
        (Some(functions), _) => steps(&functions, &root.get("postprocessing_kwargs")?),
        (None, Some(_)) => of_v1(json),
        (None, None) => {
            Err("is not a postprocessing file of nnU-Net: neither postprocessing_fns (v2) nor for_which_classes (v1) is in it".to_owned())
        }
    }
}

/// `postprocessing.pkl` of v2: functions by name, and their arguments.
pub(crate) fn of_pickle(json: &Json) -> Result<Vec<Postprocess>, Wrong> {
    let parts = Field::root(json)
        .items()
        .map_err(|_| "is not a postprocessing file of nnU-Net: two lists, functions and their arguments, expected".to_owned())?;
    let [functions, arguments] = parts.as_slice() else {
        return Err(format!("{} parts; functions and their arguments expected", parts.len()));
    };
    steps(functions, arguments)
}

fn steps(functions: &Field<'_>, arguments: &Field<'_>) -> Result<Vec<Postprocess>, Wrong> {
    let (functions, arguments) = (functions.items()?, arguments.items()?);
    if functions.len() != arguments.len() {
        return Err(format!("{} with {} of arguments", count(functions.len(), "function"), count(arguments.len(), "set")));
    }
    let mut out = Vec::new();
    for (function, args) in functions.iter().zip(&arguments) {
        let name = function.text()?;
        if name.strip_prefix(MODULE).unwrap_or(name) != LARGEST {
            return Err(format!("the function {} is not known; {LARGEST} expected", quoted(name)));
        }
        for (key, f) in args.entries()? {
            match key {
                "labels_or_regions" => {}
                "background_label" if f.count()? == 0 => {}
                _ => return Err(format!("{LARGEST} with the argument {} is not known", quoted(key))),
            }
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

/// `postprocessing.json` of v1: the largest component of these classes, one after another.
pub(crate) fn of_v1(json: &Json) -> Result<Vec<Postprocess>, Wrong> {
    let root = Field::root(json);
    let classes = root.get("for_which_classes")?;
    let sizes = match root.find("min_valid_object_sizes") {
        None => Vec::new(),
        Some(f) if f.json().is_string() => sizes(f.text()?)?,
        Some(f) => f.entries()?.into_iter().map(|(k, v)| Ok((class_key(k)?, v.number()?))).collect::<Result<_, Wrong>>()?,
    };
    if let Some((class, size)) = sizes.iter().find(|(_, s)| !s.is_finite() || *s < 0.0) {
        return Err(format!("min_valid_object_sizes has {size} for class {}, expected a size in mm3 from 0", list(class)));
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
    keys.map_err(|_| format!("min_valid_object_sizes has the class {}, expected a label or several in parentheses", quoted(text)))
}

/// A Python dictionary as text, `{1: 100.0, (1, 2): 250.0}`, or `None`.
fn sizes(text: &str) -> Result<Vec<(Vec<u32>, f64)>, Wrong> {
    let wrong = || format!("min_valid_object_sizes is {}, expected a dictionary of sizes", quoted(text));
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
