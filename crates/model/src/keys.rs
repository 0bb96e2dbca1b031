//! Names: the official network's and MONAI's, both ways.

use mnx_weights::{Checkpoint, Tensor, WeightsError};

use crate::config::Flavour;

/// MONAI's key for an official one; none for `dummy_tensor` and for keys that no MedNeXt has.
pub fn to_monai(key: &str) -> Option<String> {
    let (head, rest) = split(key);
    let number = |prefix: &str, max: usize| level(head, prefix, max);
    let layer = if head == "stem" || head == "bottleneck" || head == "out_0" {
        head.to_string()
    } else if let Some(i) = number("enc_block_", 3) {
        format!("enc_stages.{i}")
    } else if let Some(i) = number("down_", 3) {
        format!("down_blocks.{i}")
    } else if let Some(i) = number("up_", 3) {
        format!("up_blocks.{}", 3 - i)
    } else if let Some(i) = number("dec_block_", 3) {
        format!("dec_stages.{}", 3 - i)
    } else if let Some(i) = number("out_", 4) {
        format!("out_blocks.{}", 4 - i)
    } else {
        return None;
    };
    Some(join(&layer, &rest.replace("grn_", "global_resp_")))
}

/// The official key for a MONAI one; none for keys that no MONAI MedNeXt has.
pub fn to_official(key: &str) -> Option<String> {
    let (head, rest) = split(key);
    let rest = rest.replace("global_resp_", "grn_");
    if head == "stem" || head == "bottleneck" || head == "out_0" {
        return Some(join(head, &rest));
    }
    let (index, rest) = split(&rest);
    let at = |max: usize| index.parse::<usize>().ok().filter(|i| *i <= max);
    let layer = match head {
        "enc_stages" => format!("enc_block_{}", at(3)?),
        "down_blocks" => format!("down_{}", at(3)?),
        "up_blocks" => format!("up_{}", 3 - at(3)?),
        "dec_stages" => format!("dec_block_{}", 3 - at(3)?),
        "out_blocks" => format!("out_{}", 4 - at(3)?),
        _ => return None,
    };
    Some(join(&layer, rest))
}

/// Renames a checkpoint's tensors: from official (or v2) keys to MONAI's, or from MONAI's to official (or v2) ones.
///
/// `dummy_tensor`, which only the official network has and which is always 1, is dropped or put first accordingly.
///
/// # Errors
/// `Mismatch` with every tensor whose key is not of the other naming.
pub fn map_keys(checkpoint: &Checkpoint, to: Flavour) -> Result<Checkpoint, WeightsError> {
    let mut out = Checkpoint::new();
    out.metadata = checkpoint.metadata.clone();
    if to == Flavour::Official {
        out.insert("dummy_tensor", Tensor::new(vec![1], vec![1.0]));
    }
    let mut unknown = Vec::new();
    for (key, tensor) in checkpoint.iter() {
        if key == "dummy_tensor" && to != Flavour::Official {
            continue;
        }
        let renamed = match to {
            Flavour::Monai => to_monai(key),
            Flavour::Official | Flavour::V2 => to_official(key),
        };
        match renamed {
            Some(new) => {
                out.insert(new, tensor.clone());
            }
            None => unknown.push(format!("tensor \"{key}\" has no name in flavour {}", to.as_str())),
        }
    }
    if unknown.is_empty() { Ok(out) } else { Err(WeightsError::Mismatch(unknown)) }
}

/// A layer or tensor name in a flavour, from the official one.
pub(crate) fn name_in(flavour: Flavour, official: &str) -> String {
    match flavour {
        Flavour::Official | Flavour::V2 => official.to_string(),
        Flavour::Monai => to_monai(official).expect("topology gives official names, and the dummy stands outside it"),
    }
}

fn split(key: &str) -> (&str, &str) {
    key.split_once('.').unwrap_or((key, ""))
}

fn join(layer: &str, rest: &str) -> String {
    if rest.is_empty() { layer.to_string() } else { format!("{layer}.{rest}") }
}

fn level(head: &str, prefix: &str, max: usize) -> Option<usize> {
    let digits = head.strip_prefix(prefix)?;
    (digits.len() == 1).then(|| digits.parse().ok()).flatten().filter(|i| *i <= max)
}
