//! The weights a network is compiled with: a checkpoint that fits, or freshly drawn values.

use std::path::Path;

use mnx_ir::{Diagnostic, Graph};
use mnx_model::Config;
use mnx_passes::weights::fresh::fresh_checkpoint;
use mnx_weights::{Checkpoint, Role, golden_weight};

use crate::imported::WeightFile;
use crate::report::{Failure, Outcome, Voice, misfit, weights_failure};

/// Where weights come from.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// A safetensors file.
    File(&'a Path),
    /// Default initialisation from a seed.
    Seed(u64),
    /// The test formula ([`golden_weight`]) of a case.
    Formula(&'a str),
}

impl<'a> Origin<'a> {
    /// What the command line names, else the weights of an imported folder; none if there are neither.
    pub fn choose(file: Option<&'a Path>, seed: Option<u64>, folder: Option<&'a WeightFile>) -> Option<Self> {
        file.map(Self::File).or_else(|| seed.map(Self::Seed)).or_else(|| folder.map(|w| Self::File(&w.path)))
    }
}

/// Loads or draws the weights of a graph. A file's tensors are checked against the config's signature (or, for a graph
/// without config, against its params): all that are missing or have another shape are listed; surplus ones are a warning.
///
/// # Errors
/// An unreadable file, or tensors that do not fit.
pub fn provide(from: Origin<'_>, config: Option<&Config>, graph: &Graph, voice: Voice) -> Outcome<Checkpoint> {
    match (from, config) {
        (Origin::Seed(seed), Some(config)) => Ok(fresh_checkpoint(&mnx_model::signature(config), seed)),
        (Origin::Seed(seed), None) => Ok(draw_for(graph, &format!("seed/{seed}"))),
        (Origin::Formula(case), Some(config)) => {
            let mut out = Checkpoint::new();
            for t in mnx_model::signature(config).tensors {
                out.insert(&t.key, golden_weight(case, &t.key, &t.shape));
            }
            Ok(out)
        }
        (Origin::Formula(case), None) => Ok(draw_for(graph, case)),
        (Origin::File(path), _) => {
            let place = path.display().to_string();
            let checkpoint = Checkpoint::load(path).map_err(|e| weights_failure(&place, e))?;
            let wanted = wanted(config, graph);
            let surplus = fit(&place, &checkpoint, &wanted)?;
            if !surplus.is_empty() {
                voice.warn(&format!("{place}: not used, because the network has no such tensors: {}", surplus.join(", ")));
            }
            Ok(checkpoint)
        }
    }
}

/// A tensor the network may read.
struct Wanted {
    key: String,
    shape: Vec<usize>,
    /// Whether the network can do without.
    optional: bool,
}

fn wanted(config: Option<&Config>, graph: &Graph) -> Vec<Wanted> {
    let params: Vec<(&str, &[usize])> = graph.params().into_iter().map(|(k, v)| (k, graph.ty(v).shape.as_slice())).collect();
    let Some(config) = config else {
        return params.into_iter().map(|(k, s)| Wanted { key: k.to_string(), shape: s.to_vec(), optional: false }).collect();
    };
    // A head that the graph no longer has (`--heads main`) need not be in the checkpoint; nothing reads the dummy.
    let dropped_head = |key: &str| {
        let head = ["out_1.", "out_2.", "out_3.", "out_4.", "out_blocks."].iter().any(|p| key.starts_with(p));
        head && !params.iter().any(|(k, _)| *k == key)
    };
    let tensors = mnx_model::signature(config).tensors.into_iter();
    tensors.map(|t| Wanted { optional: t.role == Role::Dummy || dropped_head(&t.key), key: t.key, shape: t.shape }).collect()
}

/// Lists every misfit; on success the surplus tensors.
fn fit(place: &str, checkpoint: &Checkpoint, wanted: &[Wanted]) -> Outcome<Vec<String>> {
    let mut misfits = Vec::new();
    for w in wanted {
        match checkpoint.get(&w.key) {
            None if w.optional => {}
            None => misfits.push(format!("\"{}\" is missing, the network needs {}", w.key, mnx_words::list(&w.shape))),
            Some(t) if t.shape != w.shape => {
                misfits.push(format!(
                    "\"{}\" has shape {}, the network needs {}",
                    w.key,
                    mnx_words::list(&t.shape),
                    mnx_words::list(&w.shape)
                ));
            }
            Some(_) => {}
        }
    }
    let known: std::collections::HashSet<&str> = wanted.iter().map(|w| w.key.as_str()).collect();
    let surplus: Vec<String> =
        checkpoint.iter().filter(|(k, _)| !known.contains(k)).map(|(k, t)| format!("\"{k}\" {}", mnx_words::list(&t.shape))).collect();
    if misfits.is_empty() {
        return Ok(surplus);
    }
    let mut d = Diagnostic::new("weights-0102", place, misfit(misfits.len()));
    d.notes = misfits;
    let monai = |key: &str| key.starts_with("enc_stages.");
    if checkpoint.names().any(monai) && !wanted.iter().any(|w| monai(&w.key)) {
        d.notes.push("the file has MONAI's key names: flavour = \"monai\" in the config reads those".to_string());
    }
    if !surplus.is_empty() {
        d.notes.push(format!(
            "the file also holds {} that the network does not have: {}",
            mnx_words::many(surplus.len(), "tensor"),
            surplus.join(", ")
        ));
    }
    Err(Failure::User(vec![d]))
}

/// Values for a graph written by hand, whose params have no known role: the test formula, which goes by key.
fn draw_for(graph: &Graph, case: &str) -> Checkpoint {
    let mut out = Checkpoint::new();
    for (key, v) in graph.params() {
        out.insert(key, golden_weight(case, key, &graph.ty(v).shape));
    }
    out
}
