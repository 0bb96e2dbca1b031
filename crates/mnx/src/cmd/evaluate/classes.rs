//! Which classes are compared: from the command line, from a bundle, or whatever labels there are.

use std::collections::BTreeSet;

use mnx_artifact::{Bundle, Manifest};

use super::Args;
use crate::failure::Failure;

/// A class: one label, or several that count as one (a region).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// For people.
    pub name: String,
    /// Ascending, none twice, never empty.
    pub labels: Vec<u16>,
}

impl Class {
    fn new(name: impl Into<String>, labels: impl IntoIterator<Item = u16>) -> Self {
        let labels: BTreeSet<u16> = labels.into_iter().collect();
        Self { name: name.into(), labels: labels.into_iter().collect() }
    }

    /// Whether this is label 0 alone, which means over classes leave out.
    pub fn is_background(&self) -> bool {
        self.labels == [0]
    }

    /// `1`, or `1+2` for a region.
    pub fn sum(&self) -> String {
        self.labels.iter().map(u16::to_string).collect::<Vec<_>>().join("+")
    }

    /// nnU-Net's key of a class in `summary.json`: `1`, or `(1, 2)` for a region.
    pub fn key(&self) -> String {
        match self.labels.as_slice() {
            [one] => one.to_string(),
            several => format!("({})", several.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Reads `3`, `liver=3` or `whole=1+2+3`.
///
/// # Errors
/// What was expected instead.
pub fn parse(text: &str) -> Result<Class, String> {
    let expected = || "a label from 0 to 65535, NAME=LABEL or NAME=LABEL+LABEL.. expected, such as 3, liver=3 or whole=1+2".to_owned();
    let (name, sum) = match text.split_once('=') {
        Some((name, sum)) => (name.trim(), sum),
        None => (text.trim(), text),
    };
    let labels: Vec<u16> = sum.split('+').map(|l| l.trim().parse().map_err(|_| expected())).collect::<Result<_, _>>()?;
    if name.is_empty() {
        return Err(expected());
    }
    Ok(Class::new(name, labels))
}

/// What the command line or the bundle says.
pub struct Asked {
    /// None: every label found, but 0.
    pub classes: Option<Vec<Class>>,
    /// Reference label whose voxels count for nothing.
    pub ignore: Option<u16>,
}

/// Takes classes from `--labels` or `--bundle`.
///
/// # Errors
/// Two classes of one name or of the same labels; a class that holds the ignored label; a bundle that names no labels.
pub fn asked(args: &Args) -> Result<Asked, Failure> {
    let (classes, ignore) = match &args.bundle {
        None => (args.labels.clone(), args.ignore_label),
        Some(path) => {
            let bundle = Bundle::open(path)?;
            let (classes, ignore) =
                of_bundle(bundle.manifest()).map_err(|e| Failure::user("mnx-0302", format!("{}: {e}", path.display())))?;
            (classes, args.ignore_label.or(ignore))
        }
    };
    if classes.is_empty() {
        return Ok(Asked { classes: None, ignore });
    }
    for (i, class) in classes.iter().enumerate() {
        if let Some(label) = ignore.filter(|l| class.labels.contains(l)) {
            return Err(Failure::user("mnx-0302", format!("class {} holds label {label}, which is left out (--ignore-label)", class.name)));
        }
        for other in &classes[..i] {
            if other.name == class.name {
                return Err(Failure::user("mnx-0302", format!("two classes are called {}", class.name)));
            }
            if other.labels == class.labels {
                return Err(Failure::user("mnx-0302", format!("classes {} and {} are both {}", other.name, class.name, class.sum())));
            }
        }
    }
    Ok(Asked { classes: Some(classes), ignore })
}

/// A bundle's classes or regions, other than background, and the label it leaves out.
fn of_bundle(manifest: &Manifest) -> Result<(Vec<Class>, Option<u16>), String> {
    let inference = manifest.inference.as_ref();
    let ignore = inference.and_then(|i| i.ignore);
    let labels: Vec<(&str, u32)> = manifest.labels.iter().filter(|l| Some(l.value) != ignore).map(|l| (l.name.as_str(), l.value)).collect();
    let (regions, painted) = inference.map_or((&[][..], &[][..]), |i| (&i.regions[..], &i.class_order[..]));
    let ignore = ignore.map(|l| u16::try_from(l).map_err(|_| format!("label {l} is above 65535"))).transpose()?;
    Ok((named(&labels, regions, painted)?, ignore))
}

/// Classes from label names, or from regions: region `k` holds `regions[k]` and is named as the label `painted[k]` that it paints.
fn named(labels: &[(&str, u32)], regions: &[Vec<u32>], painted: &[u32]) -> Result<Vec<Class>, String> {
    let narrow = |value: u32| u16::try_from(value).map_err(|_| format!("label {value} is above 65535"));
    let classes: Vec<Class> = if regions.is_empty() {
        let foreground = labels.iter().filter(|(_, value)| *value != 0);
        foreground.map(|(name, value)| Ok(Class::new(*name, [narrow(*value)?]))).collect::<Result<_, String>>()?
    } else {
        let region = |(k, values): (usize, &Vec<u32>)| {
            let values: Vec<u16> = values.iter().map(|v| narrow(*v)).collect::<Result<_, _>>()?;
            let name = painted.get(k).and_then(|p| labels.iter().find(|(_, value)| value == p)).map(|(name, _)| (*name).to_owned());
            let class = Class::new("", values);
            Ok(Class { name: name.unwrap_or_else(|| class.sum()), ..class })
        };
        regions.iter().enumerate().map(region).collect::<Result<_, String>>()?
    };
    if classes.is_empty() {
        return Err("the bundle names no labels besides the background; name classes with --labels".to_owned());
    }
    Ok(classes)
}

/// Every class that some case was found to have, named by its label.
pub fn found<'a>(cases: impl Iterator<Item = &'a Vec<u16>>) -> Vec<Class> {
    let all: BTreeSet<&Vec<u16>> = cases.collect();
    all.into_iter().map(|labels| Class::new("", labels.iter().copied())).map(|c| Class { name: c.sum(), ..c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn classes_are_read_from_the_command_line() {
        assert_eq!(parse("3").unwrap(), Class { name: "3".into(), labels: vec![3] });
        assert_eq!(parse(" liver = 3 ").unwrap(), Class { name: "liver".into(), labels: vec![3] });
        let whole = parse("whole=2+1+2").unwrap();
        assert_eq!((whole.sum(), whole.key()), ("1+2".into(), "(1, 2)".into()));
        assert!(parse("0").unwrap().is_background() && !whole.is_background());
        for bad in ["", "a", "a=", "=1", "1,5", "-1", "65536", "a=1+", "a=b=1", "1.5"] {
            assert!(parse(bad).unwrap_err().contains("expected"), "{bad}");
        }
    }

    #[test]
    fn regions_take_the_name_of_the_label_they_paint() {
        let labels = [("background", 0), ("whole", 1), ("core", 2), ("enhancing", 3)];
        let plain = named(&labels, &[], &[]).unwrap();
        assert_eq!(plain.iter().map(Class::key).collect::<Vec<_>>(), ["1", "2", "3"]);
        let regions = named(&labels, &[vec![1, 2, 3], vec![2, 3], vec![3], vec![7, 8]], &[1, 2, 3, 9]).unwrap();
        let said: Vec<String> = regions.iter().map(|c| format!("{} {}", c.name, c.key())).collect();
        assert_eq!(said, ["whole (1, 2, 3)", "core (2, 3)", "enhancing 3", "7+8 (7, 8)"]);
        assert!(named(&[("background", 0)], &[], &[]).is_err());
        assert!(named(&[("far", 70_000)], &[], &[]).unwrap_err().contains("70000"));
    }
}
