//! The network that a set of tensors belongs to: everything that names and shapes tell, and a strict comparison afterwards.

use mnx_model::{Config, Dim, Flavour, Variant, signature, to_monai};
use mnx_weights::{Checkpoint, Tensor};

use crate::error::ImportError;
use crate::options::Heads;
use crate::picking::{ignoring, of_a_layer};
use crate::state::StateDict;
use crate::wording::{count, extents, few};

/// What tensors tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub flavour: Flavour,
    pub dim: Dim,
    pub in_channels: usize,
    pub n_channels: usize,
    pub n_classes: usize,
    pub exp_r: [usize; 9],
    pub block_counts: [usize; 9],
    pub enc_kernel_size: usize,
    pub dec_kernel_size: usize,
    /// Whether training heads are kept, which [`heads`] decides.
    pub deep_supervision: bool,
    pub do_res_up_down: bool,
    pub grn: bool,
}

const STAGES: [&str; 9] =
    ["enc_block_0", "enc_block_1", "enc_block_2", "enc_block_3", "bottleneck", "dec_block_3", "dec_block_2", "dec_block_1", "dec_block_0"];

/// Whether a tensor is one of the training heads.
fn extra_head(name: &str) -> bool {
    ["out_1.", "out_2.", "out_3.", "out_4."].iter().any(|p| name.starts_with(p))
}

impl Facts {
    /// Reads names and shapes; `notes` hears of a dummy that is missing.
    pub fn read(state: &StateDict, notes: &mut Vec<String>) -> Result<Self, ImportError> {
        let fail = |reason: String| ImportError::format(state.path(), reason);
        let stem = state.shape("stem.weight").ok_or_else(|| {
            let names: Vec<&str> = state.shapes().map(|(k, _)| k).collect();
            fail(format!(
                "not a MedNeXt: no tensor is called \"stem.weight\" ({}: {}); mnx compiles MedNeXts only",
                count(names.len(), "tensor"),
                if names.is_empty() { "none".to_owned() } else { few(&names) }
            ))
        })?;
        let dim = match stem.len() {
            4 => Dim::Two,
            5 => Dim::Three,
            n => return Err(fail(format!("\"{}\" has {n} axes; 5 expected (4 for a 2-D network)", state.original("stem.weight")))),
        };
        let (n_channels, in_channels) = (stem[0], stem[1]);
        let head = state.shape("out_0.conv_out.weight").filter(|s| s.len() == stem.len());
        let n_classes = head.ok_or_else(|| {
            fail(format!(
                "not a MedNeXt: \"{}\" is missing or misshapen; mnx compiles MedNeXts only",
                named(state.monai, "out_0.conv_out.weight")
            ))
        })?[1];

        let block_counts: [usize; 9] = std::array::from_fn(|i| {
            let stage = STAGES[i];
            let number = |name: &str| name.strip_prefix(stage)?.strip_prefix('.')?.split('.').next()?.parse::<usize>().ok();
            // Numbers beyond what a config may hold are surplus, and listed as such.
            state.shapes().filter_map(|(k, _)| number(k)).filter(|n| *n < 256).max().map_or(0, |n| n + 1)
        });
        let ratio = |block: &str| {
            let w = state.shape(&format!("{block}.conv2.weight"))?;
            (w.len() >= 2 && w[1] > 0).then(|| w[0] / w[1])
        };
        let monai = state.monai;
        // A stage without blocks still has a ratio: that of the resampling block that takes it.
        let resampler = |i: usize| match i {
            0 if monai => ratio("down_0"),
            0 => None,
            1..=3 if monai => ratio(&format!("down_{i}")),
            1..=4 if !monai => ratio(&format!("down_{}", i - 1)),
            5..=8 => ratio(&format!("up_{}", 8 - i)),
            _ => None,
        };
        let exp_r = std::array::from_fn(|i| ratio(&format!("{}.0", STAGES[i])).or_else(|| resampler(i)).unwrap_or(1).max(1));
        let kernel =
            |blocks: &[&str]| blocks.iter().find_map(|b| state.shape(&format!("{b}.conv1.weight")).and_then(|s| s.last().copied()));
        let (enc, dec) = (kernel(&["down_0", "enc_block_0.0"]), kernel(&["up_0", "bottleneck.0", "dec_block_0.0"]));
        let (Some(enc_kernel_size), Some(dec_kernel_size)) = (enc, dec) else {
            return Err(fail(format!(
                "not a MedNeXt: \"{}\" or \"{}\" is missing; mnx compiles MedNeXts only",
                named(monai, "down_0.conv1.weight"),
                named(monai, "up_0.conv1.weight")
            )));
        };
        let has = |name: &str| state.shape(name).is_some();
        let grn = state.shapes().any(|(k, _)| k.ends_with(".grn_gamma") || k.ends_with(".grn_beta"));
        let flavour = match () {
            () if monai => Flavour::Monai,
            // The official code forgets GRN in down_0; MedNeXt-v2 has it there.
            () if grn && has("down_0.grn_gamma") => Flavour::V2,
            () => Flavour::Official,
        };
        if flavour == Flavour::Official && !has("dummy_tensor") {
            notes.push("\"dummy_tensor\" is not in the file; it is 1, as always".to_owned());
        }
        Ok(Self {
            flavour,
            dim,
            in_channels,
            n_channels,
            n_classes,
            exp_r,
            block_counts,
            enc_kernel_size,
            dec_kernel_size,
            deep_supervision: false,
            do_res_up_down: has("down_0.res_conv.weight"),
            grn,
        })
    }

    /// The published size that this is.
    pub fn variant(&self) -> Option<Variant> {
        let residual = self.do_res_up_down && self.n_channels == 32;
        let same = |v: &Variant| v.exp_r() == self.exp_r && v.block_counts() == self.block_counts;
        Variant::ALL.into_iter().filter(|_| residual && self.grn == (self.flavour == Flavour::V2)).find(same)
    }
}

/// Whether training heads are kept: if all folds have all four, as one network serves every fold. `notes` hears of heads that are dropped.
pub(crate) fn heads<'f>(
    first: (&'f str, &StateDict),
    others: impl Iterator<Item = Result<(&'f str, StateDict), ImportError>>,
    facts: &Facts,
    wanted: Heads,
    notes: &mut Vec<String>,
) -> Result<bool, ImportError> {
    let axes = facts.dim.axes() + 2;
    let complete = |state: &StateDict| {
        (1..5).all(|i| {
            let shape = |part: &str| state.shape(&format!("out_{i}.conv_out.{part}"));
            let wide = facts.n_channels.checked_shl(i).unwrap_or(0);
            shape("weight").is_some_and(|s| s.len() == axes && s[..2] == [wide, facts.n_classes])
                && shape("bias") == Some(&[facts.n_classes])
        })
    };
    let count = |state: &StateDict| state.shapes().filter(|(k, _)| extra_head(k)).count();
    let (mut there, mut folds) = (count(first.1), 1);
    let mut lacking = Vec::from_iter((!complete(first.1)).then_some(first.0));
    // What is dropped in any case needs no look at the other files.
    if wanted == Heads::All {
        for fold in others {
            let (name, state) = fold?;
            (there, folds) = (there + count(&state), folds + 1);
            lacking.extend((!complete(&state)).then_some(name));
        }
    }
    let kept = lacking.is_empty() && wanted == Heads::All;
    if there > 0 && !kept {
        notes.push(format!(
            "{there} tensors of deep-supervision heads are dropped{}",
            match (lacking.as_slice(), folds) {
                ([], _) => String::new(),
                (_, 1) => ": the set is not complete".to_owned(),
                (names, _) => format!(" in all folds: the set is not complete in fold {}", names.join(", ")),
            }
        ));
    }
    Ok(kept)
}

/// A name as the file's flavour has it.
fn named(monai: bool, official: &str) -> String {
    if monai { to_monai(official).unwrap_or_else(|| official.to_owned()) } else { official.to_owned() }
}

/// Reads the tensors of a network, under the config's own names and in their order. Training heads that the config leaves out are left
/// out; anything else that is missing, misshapen or surplus is listed.
pub(crate) fn fit(state: &mut StateDict, config: &Config) -> Result<Checkpoint, ImportError> {
    let wanted = signature(config);
    let official = |key: &str| {
        if config.flavour == Flavour::Monai { mnx_model::to_official(key).unwrap_or_else(|| key.to_owned()) } else { key.to_owned() }
    };
    let mut problems = Vec::new();
    let mut known = std::collections::HashSet::new();
    for t in &wanted.tensors {
        let name = official(&t.key);
        match state.shape(&name) {
            None if name == "dummy_tensor" => {}
            None => problems.push(format!("\"{}\" ({}) is missing", named(state.monai, &name), extents(&t.shape))),
            Some(shape) if shape != t.shape => {
                problems.push(format!(
                    "\"{}\" has shape {}, the network needs {}",
                    state.original(&name).escape_debug(),
                    extents(shape),
                    extents(&t.shape)
                ));
            }
            Some(_) => {}
        }
        known.insert(name);
    }
    let surplus = |(k, _): &(&str, &[usize])| !known.contains(*k) && !extra_head(k) && *k != "dummy_tensor";
    problems.extend(
        state
            .shapes()
            .filter(surplus)
            .map(|(k, s)| format!("\"{}\" ({}) does not belong to the network", state.original(k).escape_debug(), extents(s))),
    );
    if !problems.is_empty() {
        let mut what = format!(
            "{} not fit the network that the others tell of ({})",
            match problems.len() {
                1 => "1 tensor does".to_owned(),
                n => format!("{n} tensors do"),
            },
            config.name
        );
        // Surplus layers tell of another network; what is named otherwise (losses, counters) came along with it.
        let foreign: Vec<&str> = state.shapes().filter(surplus).map(|(k, _)| k).filter(|k| !of_a_layer(k)).collect();
        if let Some(first) = foreign.first() {
            let prefix = state.original(first).strip_suffix(first).unwrap_or("");
            what += &format!("; to leave out what is not the network's: {}", ignoring(prefix, foreign.iter().copied()));
        }
        return Err(ImportError::Several { path: state.path().to_owned(), what, problems });
    }
    let mut out = Checkpoint::new();
    for t in &wanted.tensors {
        let name = official(&t.key);
        let tensor = if state.shape(&name).is_none() { Tensor::new(vec![1], vec![1.0]) } else { state.take(&name)? };
        out.insert(t.key.clone(), tensor);
    }
    Ok(out)
}
