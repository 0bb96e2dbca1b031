//! Which tensors of a file are the network's: the dictionary that holds them, the names' prefix, and what else lies beside them.

use glob::Pattern;
use indexmap::IndexMap;

use crate::error::ImportError;
use crate::options::Options;
use crate::pickle::{Heap, Node, Value};
use crate::wording::{count, few, list, quoted};

/// Prefixes that wrappers put before every name: data parallel and `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// Keys under which training codes keep a state dict; nnU-Net's first.
const HOLDERS: [&str; 7] = ["network_weights", "state_dict", "model_state_dict", "model_state", "model", "net", "network"];

/// The name that every MedNeXt has.
const STEM: &str = "stem.weight";

/// Deepest nesting of dictionaries that is searched for a state dict.
const DEPTH: usize = 4;

/// Most entries that the search looks at.
const LOOKED_AT: usize = 200_000;

/// First parts of the names of a MedNeXt's layers, official and MONAI's; numbers may follow them.
const LAYERS: [&str; 12] = [
    "stem",
    "enc_block_",
    "down_",
    "bottleneck",
    "up_",
    "dec_block_",
    "out_",
    "enc_stages",
    "down_blocks",
    "up_blocks",
    "dec_stages",
    "dummy_tensor",
];

/// What the user says of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Picking {
    key: Option<String>,
    prefix: Option<String>,
    ignore: Vec<Pattern>,
}

/// A tensor by its full name, with whatever else is known of it.
pub(crate) type Named<T> = IndexMap<String, T>;

impl Picking {
    /// The options that concern names.
    pub fn new(options: &Options) -> Result<Self, ImportError> {
        let pattern = |text: &String| {
            Pattern::new(text)
                .map_err(|e| ImportError::Option(format!("--ignore {text}: not a pattern ({}); such as 'criterion.*' expected", e.msg)))
        };
        for (flag, value) in [("--key", &options.key), ("--prefix", &options.prefix)] {
            if value.as_ref().is_some_and(String::is_empty) {
                return Err(ImportError::Option(format!("{flag} is empty, a name expected")));
            }
        }
        let ignore = options.ignore.iter().map(pattern).collect::<Result<_, _>>()?;
        Ok(Self { key: options.key.clone(), prefix: options.prefix.clone(), ignore })
    }

    /// Whether a name is one of those that the user does without.
    pub fn ignores(&self, name: &str) -> bool {
        self.ignore.iter().any(|p| p.matches(name))
    }

    /// A file of tensors alone has no dictionaries to choose from.
    pub fn flat(&self, path: &str) -> Result<(), ImportError> {
        match &self.key {
            Some(key) => Err(ImportError::Option(format!(
                "--key {key} chooses within a PyTorch file; {path} holds tensors alone (--prefix chooses among them)"
            ))),
            None => Ok(()),
        }
    }

    /// The dictionary of tensors: the one that is asked for, else the only one with a MedNeXt in it.
    pub fn dictionary(&self, heap: &Heap, root: Value, path: &str) -> Result<Value, ImportError> {
        let found = dictionaries(heap, root);
        let names = |of: &[&Found]| of.iter().map(|f| f.name()).collect::<Vec<_>>();
        let all: Vec<&Found> = found.iter().collect();
        if let Some(key) = &self.key {
            let have = || {
                if all.is_empty() {
                    "it holds no dictionary of tensors".to_owned()
                } else {
                    format!("tensors lie under {}", list(&names(&all)))
                }
            };
            let value =
                resolve(heap, root, key).ok_or_else(|| ImportError::Option(format!("--key {key}: {path} has no such key; {}", have())))?;
            return match holds_tensors(heap, value) {
                true => Ok(value),
                false => Err(ImportError::Option(format!(
                    "--key {key}: {path} holds {} there, tensors by name expected; {}",
                    heap.kind(value),
                    have()
                ))),
            };
        }
        let networks: Vec<&Found> = found.iter().filter(|f| f.network).collect();
        match networks.as_slice() {
            [one] => Ok(one.value),
            [] => {
                let usual = HOLDERS.iter().find_map(|k| found.iter().find(|f| f.path == *k)).or_else(|| found.first());
                usual.map(|f| f.value).ok_or_else(|| {
                    let reason = format!(
                        "holds {}, no state dict; tensors by name expected, or such a dictionary under a key (state_dict, model, ...)",
                        heap.kind(root)
                    );
                    ImportError::format(path, reason)
                })
            }
            several => {
                let names = names(several);
                let reason =
                    format!("holds {} networks: {}; choose one with --key, such as --key {}", several.len(), list(&names), names[0]);
                Err(ImportError::Ambiguous { path: path.to_owned(), reason })
            }
        }
    }

    /// Names as the network has them; `notes` hears what was taken off and left out.
    pub fn names<T>(&self, path: &str, found: Named<T>, notes: &mut Vec<String>) -> Result<Named<T>, ImportError> {
        let found = self.leave_out(path, found, notes)?;
        let mut removed = std::collections::BTreeSet::new();
        let mut out: Named<T> = IndexMap::new();
        for (key, entry) in found {
            let mut name = key.as_str();
            while let Some(rest) = WRAPPERS.iter().find_map(|w| name.strip_prefix(w)) {
                name = rest;
            }
            if name.len() < key.len() {
                removed.insert(key[..key.len() - name.len()].to_owned());
            }
            let name = name.to_owned();
            if out.insert(name.clone(), entry).is_some() {
                return Err(ImportError::format(path, format!("two tensors are called {} once prefixes are gone", quoted(&name))));
            }
        }
        if let Some(prefix) = common_prefix(path, &out)? {
            out = out.into_iter().map(|(k, e)| (k[prefix.len()..].to_owned(), e)).collect();
            removed.insert(prefix);
        }
        if !removed.is_empty() {
            let shown: Vec<String> = removed.iter().map(|p| quoted(p)).collect();
            notes.push(format!("names lose the prefix {}", shown.join(", ")));
        }
        Ok(out)
    }

    /// What `--ignore` and `--prefix` leave, without the counter that `torch.optim.swa_utils.AveragedModel` adds.
    fn leave_out<T>(&self, path: &str, mut found: Named<T>, notes: &mut Vec<String>) -> Result<Named<T>, ImportError> {
        let mut dropped = Vec::new();
        found.retain(|name, _| {
            let keep = !self.ignores(name);
            if !keep {
                dropped.push(name.clone());
            }
            keep
        });
        if !dropped.is_empty() {
            notes.push(format!("{} left out by --ignore: {}", are(dropped.len()), few(&dropped)));
        }
        if let Some(unused) = self.ignore.iter().find(|p| !dropped.iter().any(|n| p.matches(n))) {
            notes.push(format!("warning: --ignore {unused} matches no tensor of {path}"));
        }
        if let Some(prefix) = &self.prefix {
            let (kept, others): (Named<T>, Named<T>) = found.into_iter().partition(|(name, _)| name.starts_with(prefix.as_str()));
            if kept.is_empty() {
                let names: Vec<&String> = others.keys().collect();
                return Err(ImportError::Option(format!(
                    "--prefix {prefix}: no tensor of {path} begins with it; there are {}",
                    few(&names)
                )));
            }
            if !others.is_empty() {
                let names: Vec<&String> = others.keys().collect();
                notes.push(format!("{} left out, without the prefix {prefix}: {}", are(others.len()), few(&names)));
            }
            notes.push(format!("names lose the prefix {}", quoted(prefix)));
            return Ok(kept.into_iter().map(|(name, entry)| (name[prefix.len()..].to_owned(), entry)).collect());
        }
        if found.contains_key("n_averaged") && found.keys().all(|k| k == "n_averaged" || k.starts_with("module.")) {
            found.shift_remove("n_averaged");
            notes.push("an AveragedModel: its counter \"n_averaged\" is left out, the averaged weights are taken".to_owned());
        }
        Ok(found)
    }
}

fn are(n: usize) -> String {
    format!("{} {}", count(n, "tensor"), if n == 1 { "is" } else { "are" })
}

/// What stands before every name of the one network that the names tell of.
fn common_prefix<T>(path: &str, names: &Named<T>) -> Result<Option<String>, ImportError> {
    if names.contains_key(STEM) {
        return Ok(None);
    }
    let prefixes: Vec<&str> = names.keys().filter_map(|k| k.strip_suffix(STEM)).filter(|p| p.ends_with('.')).collect();
    match prefixes.as_slice() {
        [] => Ok(None),
        [one] => {
            let outside: Vec<&String> = names.keys().filter(|k| !k.starts_with(one)).collect();
            if outside.is_empty() {
                return Ok(Some((*one).to_owned()));
            }
            let reason = format!(
                "{} beside the network, whose names begin with {}: {}; --prefix {one} takes the network alone, {} leaves the others out",
                if outside.len() == 1 { "1 tensor lies".to_owned() } else { format!("{} tensors lie", outside.len()) },
                quoted(one),
                few(&outside),
                ignoring("", outside.iter().map(|s| s.as_str()))
            );
            Err(ImportError::Ambiguous { path: path.to_owned(), reason })
        }
        several => {
            let reason = format!(
                "holds {} networks, whose names begin with {}; choose one with --prefix, such as --prefix {}",
                several.len(),
                few(several),
                several[0]
            );
            Err(ImportError::Ambiguous { path: path.to_owned(), reason })
        }
    }
}

/// The options that leave out names, for a shell; `prefix` stands before each of them in the file.
pub(crate) fn ignoring<'n>(prefix: &str, names: impl Iterator<Item = &'n str>) -> String {
    let prefix = Pattern::escape(prefix);
    let patterns: indexmap::IndexSet<String> = names
        .map(|n| match n.split_once('.') {
            Some((first, _)) => format!("--ignore '{prefix}{}.*'", Pattern::escape(first)),
            None => format!("--ignore '{prefix}{}'", Pattern::escape(n)),
        })
        .collect();
    patterns.into_iter().collect::<Vec<_>>().join(" ")
}

/// Whether a name begins as one of a MedNeXt's layers does.
pub(crate) fn of_a_layer(name: &str) -> bool {
    let first = name.split('.').next().unwrap_or(name).trim_end_matches(|c: char| c.is_ascii_digit());
    LAYERS.contains(&first) || first == "out_blocks"
}

/// A dictionary of tensors.
struct Found {
    /// Keys from the root, with dots; empty for the root itself.
    path: String,
    value: Value,
    /// Whether a MedNeXt's stem is among the tensors.
    network: bool,
}

impl Found {
    fn name(&self) -> String {
        if self.path.is_empty() { ".".to_owned() } else { self.path.clone() }
    }
}

fn holds_tensors(heap: &Heap, value: Value) -> bool {
    heap.dict(value).is_some_and(|d| d.iter().any(|(k, x)| heap.str(*k).is_some() && heap.tensor(*x).is_some()))
}

/// All dictionaries of tensors, outer ones first; two names of one object count once.
fn dictionaries(heap: &Heap, root: Value) -> Vec<Found> {
    let mut out: Vec<Found> = Vec::new();
    let mut level = vec![(String::new(), root)];
    let mut left = LOOKED_AT;
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for (path, value) in level {
            let Some(entries) = heap.dict(value) else { continue };
            if holds_tensors(heap, value) && out.iter().all(|f| f.value != value) {
                let stem = |k: &Value| heap.str(*k).is_some_and(|k| k == STEM || k.ends_with(&format!(".{STEM}")));
                let network = entries.iter().any(|(k, x)| stem(k) && heap.tensor(*x).is_some());
                out.push(Found { path: path.clone(), value, network });
            }
            for (key, value) in entries.iter().take(left) {
                if let (Some(key), Some(Node::Dict(_))) = (heap.str(*key), heap.of(*value)) {
                    next.push((if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }, *value));
                }
            }
            left = left.saturating_sub(entries.len());
        }
        level = next;
    }
    out
}

/// What lies at a path of keys; a key may itself have dots. `.` is the root.
fn resolve(heap: &Heap, from: Value, path: &str) -> Option<Value> {
    if path == "." {
        return Some(from);
    }
    if let Some(value) = heap.get(from, path) {
        return Some(value);
    }
    let cuts = path.match_indices('.').map(|(i, _)| i);
    cuts.rev().take(DEPTH * 4).find_map(|i| resolve(heap, heap.get(from, &path[..i])?, &path[i + 1..]))
}
