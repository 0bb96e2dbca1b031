//! What surrounds a network: how volumes are prepared and how scores become labels. Both nnU-Net readers end here.

use std::path::PathBuf;

use mnx_artifact::{Inference, Normalization, Preprocess};

use crate::fields::{Field, Wrong};
use crate::wording::quoted;

/// Everything but the tensors, as far as the files tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// For the model's name: the task or data set.
    pub title: Option<String>,
    /// The file that holds the plans, for complaints.
    pub source: PathBuf,
    /// Trainer class.
    pub trainer: Option<String>,
    pub patch: Option<Vec<usize>>,
    pub preprocess: Option<Preprocess>,
    pub inference: Option<Inference>,
    /// Names of the image channels, if every one has a name of its own.
    pub channels: Vec<String>,
    /// What is written into the config's text beside the values.
    pub remarks: Remarks,
    /// Names and labels.
    pub labels: Vec<(String, u32)>,
    /// Image channels that plans or data set name.
    pub in_channels: Option<usize>,
    /// Outputs that plans or data set ask for.
    pub n_classes: Option<usize>,
    /// Residuals around plain blocks, if plans tell.
    pub do_res: Option<bool>,
    /// Norm, if plans tell.
    pub norm: Option<mnx_model::NormType>,
    pub notes: Vec<String>,
}

/// The scheme of a CT's channel by its intensities; v1 and v2 call the deviation differently.
pub(crate) fn ct(properties: &Field<'_>, deviation: &str, masked: bool) -> Result<Normalization, Wrong> {
    let (low, high) = (properties.get("percentile_00_5")?, properties.get("percentile_99_5")?);
    let (mean, std) = (properties.get("mean")?.number()?, properties.get(deviation)?);
    if std.number()? <= 0.0 {
        return Err(std.wrong("a number above 0"));
    }
    if low.number()? >= high.number()? {
        return Err(low.wrong(&format!("a number below percentile_99_5, which is {}", high.json())));
    }
    Ok(Normalization::Ct { low: low.number()?, high: high.number()?, mean, std: std.number()?, masked })
}

/// Comments of the written config.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remarks {
    /// Lines before a key: `("preprocess.transpose", lines)`; a key of the root has no dot.
    pub before: Vec<(&'static str, Vec<String>)>,
    /// Lines at the end.
    pub last: Vec<String>,
}

/// Names of a data set's image channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Channels {
    /// How many the file lists.
    pub count: usize,
    /// Names of the channels in order; empty if they do not tell the channels apart.
    pub names: Vec<String>,
}

/// Reads `{"0": "CT", "1": "PET"}`. Names that are empty or stand twice tell nothing and are left out; `notes` hears of it.
pub(crate) fn channel_names(field: &Field<'_>, notes: &mut Vec<String>) -> Result<Channels, Wrong> {
    let entries = field.entries()?;
    let mut names = vec![String::new(); entries.len()];
    // The keys are the channels' numbers; where they are not, the order of the file counts, as it does for nnU-Net.
    let numbers: Vec<Option<usize>> = entries.iter().map(|(key, _)| key.parse().ok()).collect();
    let numbered = (0..entries.len()).all(|i| numbers.contains(&Some(i)));
    for (at, (_, name)) in entries.iter().enumerate() {
        let at = if numbered { numbers[at].unwrap_or(at) } else { at };
        name.json().as_str().unwrap_or("").trim().clone_into(&mut names[at]);
    }
    let count = names.len();
    let blank = names.iter().any(String::is_empty);
    let twice = names.iter().enumerate().find(|(i, n)| !n.is_empty() && names[..*i].contains(n)).map(|(_, n)| n.clone());
    if blank || twice.is_some() {
        let why = match twice {
            Some(name) => format!("{} stands for two channels", quoted(&name)),
            None => "one of them is empty".to_owned(),
        };
        notes.push(format!("the names of the image channels are left out: {why}; [channels] of config.toml takes better ones"));
        names.clear();
    }
    Ok(Channels { count, names })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn channels_are_named_by_number_and_only_if_the_names_tell_them_apart() {
        let read = |text: &str| {
            let json: serde_json::Value = serde_json::from_str(text).unwrap();
            let mut notes = Vec::new();
            let channels = channel_names(&Field::named(&json, "channel_names"), &mut notes).unwrap();
            (channels.count, channels.names, notes)
        };
        // The order is that of the numbers, not of the file, and 10 stands behind 9.
        assert_eq!(read(r#"{"1": "T1", "0": "T2"}"#), (2, vec!["T2".to_owned(), "T1".to_owned()], Vec::new()));
        let ten: Vec<String> = (0..11).rev().map(|i| format!("\"{i}\": \"c{i}\"")).collect();
        let want: Vec<String> = (0..11).map(|i| format!("c{i}")).collect();
        assert_eq!(read(&format!("{{{}}}", ten.join(", "))), (11, want, Vec::new()));
        for (text, why) in
            [(r#"{"0": "CT", "1": "CT"}"#, "\"CT\" stands for two channels"), (r#"{"0": "CT", "1": " "}"#, "one of them is empty")]
        {
            let (count, names, notes) = read(text);
            assert!(count == 2 && names.is_empty() && notes.len() == 1 && notes[0].contains(why), "{text}: {notes:?}");
        }
    }
}
