//! A module: the graphs of one file, which share their params and states by key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::diag::Diagnostic;
use crate::graph::Graph;
use crate::types::TensorType;
use crate::verify::verify;

/// The graphs of one file, in its order: `@step`, `@infer`, ... Passes take one graph at a time.
#[derive(Debug, Clone, Default)]
pub struct Module {
    /// The graphs; their names are unique in a sound module.
    pub graphs: Vec<Graph>,
}

impl Module {
    /// The graph of a name.
    ///
    /// # Errors
    /// If there is none; lists the names there are.
    pub fn graph(&self, name: &str) -> Result<&Graph, Diagnostic> {
        self.graphs.iter().find(|g| g.name == name).ok_or_else(|| {
            let names: Vec<String> = self.graphs.iter().map(|g| format!("@{}", g.name)).collect();
            Diagnostic::new("ir-0106", format!("@{name}"), format!("no graph of this name, expected one of {}", names.join(", ")))
        })
    }

    /// Verifies each graph, that no two have one name, and that a key is one param or state of one type in all of them.
    ///
    /// # Errors
    /// All problems.
    pub fn verify(&self) -> Result<(), Vec<Diagnostic>> {
        let mut errors = Vec::new();
        if self.graphs.is_empty() {
            errors.push(Diagnostic::new("ir-0102", "", "the module has no graph, expected at least one"));
        }
        let mut names = BTreeSet::new();
        // Key -> the graph that declares it first, what it declares and the type.
        let mut keys: BTreeMap<&str, (&str, &str, &TensorType)> = BTreeMap::new();
        for g in &self.graphs {
            if !names.insert(&g.name) {
                errors.push(Diagnostic::new("ir-0111", format!("@{}", g.name), "two graphs have this name, expected one"));
            }
            errors.extend(verify(g).err().unwrap_or_default());
            for (what, list) in [("param", g.params()), ("state", g.states())] {
                for (key, v) in list {
                    let here = (g.name.as_str(), what, g.ty(v));
                    let first = *keys.entry(key).or_insert(here);
                    // Two declarations within one graph are the verifier's to report.
                    if first.0 != here.0 && (first.1, first.2) != (here.1, here.2) {
                        let message = format!(
                            "@{} declares {} \"{key}\" : {}, @{} declares {} \"{key}\" : {}: expected one type in all graphs",
                            first.0, first.1, first.2, here.0, here.1, here.2
                        );
                        errors.push(Diagnostic::new("ir-0123", format!("@{}", g.name), message));
                    }
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, g) in self.graphs.iter().enumerate() {
            write!(f, "{}{g}", if i == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}
