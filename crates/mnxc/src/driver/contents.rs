//! What a bundle holds beside its code: the manifest, weights, test vectors; and the bundle itself.

use std::path::Path;

use mnx_artifact::{BundleError, BundleWriter, Fold, Manifest, storage_tolerance};
use mnx_ir::{Diagnostic, Graph};
use mnx_plan::ModulePlan;
use mnx_weights::Checkpoint;

use super::Compilation;
use super::plans::{Planned, precision};
use crate::bundle::{self, WeightLayout};
use crate::checkpoint::{self, Origin};
use crate::emit::Code;
use crate::report::{Failure, Outcome, size, system_reason};
use crate::request::Request;
use crate::source::Source;
use crate::vectors::{self, AUTO_MACS, When};

/// Everything of a bundle but its code.
pub struct Contents {
    manifest: Manifest,
    /// Bytes of the weights, for each fold.
    sections: Vec<Vec<u8>>,
    /// The first fold's weights, which test vectors are made with.
    checkpoint: Checkpoint,
}

impl Compilation<'_> {
    /// Lays the programs out and derives their weights. Test vectors and the digest, which names the code, come last.
    ///
    /// # Errors
    /// Weights that cannot be read or do not fit.
    pub fn contents(&mut self, source: &Source, planned: &Planned) -> Outcome<Contents> {
        let request = self.request;
        let Planned { graph, plans, .. } = planned;
        let config = source.origin.as_ref().map(|o| &o.config);
        let mut layout = WeightLayout::default();
        let mut programs = Vec::new();
        for plan in plans {
            programs.push(bundle::program(plan, &bundle::symbols(plan), &mut layout)?);
        }
        let (mut sections, mut folds, mut first) = (Vec::new(), Vec::new(), None);
        for set in weight_sets(request) {
            let checkpoint = self.times.measure("load weights", || checkpoint::provide(set.from, config, graph, self.voice))?;
            let mut section = self.times.measure("derive weights", || layout.fill(&checkpoint, &set.place))?;
            if request.hollow {
                section.fill(0);
            }
            sections.push(section);
            let name = set.fold.or_else(|| checkpoint.metadata.get("fold").cloned());
            folds.push(name.map_or_else(|| Fold::only()[0].clone(), |name| Fold { name }));
            first.get_or_insert(checkpoint);
        }
        let checkpoint = first.expect("there is at least one set of weights");
        let mut notes: Vec<String> = config.map(|c| c.notices.clone()).unwrap_or_default();
        if let Some(seed) = request.seed {
            notes.push(format!("weights are freshly initialised from seed {seed}"));
        }
        if request.hollow {
            notes.push("hollow: the weights are zeros until `mnx refit` fills them".to_string());
        }
        let input = graph.inputs().first().map(|(_, v)| graph.ty(*v).shape.to_vec()).unwrap_or_default();
        let manifest = Manifest {
            compiler: concat!("mnxc ", env!("CARGO_PKG_VERSION")).to_string(),
            model: bundle::card(graph, config),
            batch: input.first().copied().unwrap_or(1),
            patch: input.get(2..).unwrap_or_default().to_vec(),
            precision: plans.first().map_or("f32", |p| p.precision.as_str()).to_string(),
            gelu: request.gelu.as_str().to_string(),
            inputs: bundle::ports(graph, graph.inputs()),
            outputs: bundle::ports(graph, graph.outputs()),
            weights: layout.entries(),
            folds,
            programs,
            preprocess: config.and_then(|c| c.preprocess.clone()),
            inference: config.and_then(|c| c.inference.clone()),
            channels: config.map(|c| c.channels.clone()).unwrap_or_default(),
            labels: config.map(bundle::labels).unwrap_or_default(),
            vectors: None,
            formula: request.formula.clone(),
            source_digest: String::new(),
            notes,
        };
        Ok(Contents { manifest, sections, checkpoint })
    }

    /// Completes the contents with notes, digest and test vectors.
    ///
    /// # Errors
    /// As the reference interpreter.
    pub fn complete(&mut self, contents: &mut Contents, source: &Source, planned: &Planned, codes: &[Code]) -> Outcome {
        let Planned { graph, plans, notes } = planned;
        contents.manifest.notes.extend(notes.iter().cloned());
        contents.manifest.source_digest = digest(source.origin.as_ref().map(|o| o.config.to_json()), graph, plans, codes);
        self.add_vectors(contents, graph)
    }

    fn add_vectors(&mut self, contents: &mut Contents, graph: &Graph) -> Outcome {
        let Contents { manifest, checkpoint, .. } = contents;
        let request = self.request;
        if let Some(why) = no_vectors(request.vectors, graph, manifest.model.macs) {
            if request.vectors == When::Auto {
                self.voice.note(&format!("{why}; `mnx verify` will have nothing to check (--vectors always computes them)"));
            }
            manifest.notes.push(why);
            return Ok(());
        }
        let place = request.input.display().to_string();
        let loosest = request.targets.iter().map(|t| storage_tolerance(precision(request, t).as_str())).fold(0.0, f64::max);
        let tolerance = vectors::tolerance(request.gelu);
        let margin = loosest.max(tolerance);
        let made = self.times.measure("test vectors", || vectors::compute(graph, checkpoint, &place, tolerance, margin))?;
        manifest.vectors = Some(made);
        Ok(())
    }

    /// Writes the bundle and says what it holds.
    ///
    /// # Errors
    /// No ptxas where cubins are wanted, an unwritable file.
    pub fn write(&mut self, contents: &Contents, plans: &[ModulePlan], codes: &[Code], path: &Path) -> Outcome {
        let Contents { manifest, sections, .. } = contents;
        let cubins = self.cubins(plans, codes)?;
        let mut writer = sections.iter().fold(BundleWriter::new(manifest), |w, section| w.weights(section));
        for (code, cubin) in codes.iter().zip(&cubins) {
            writer = writer.code(&code.library).cubin(cubin.as_deref());
        }
        self.times.measure("write bundle", || writer.write(path)).map_err(bundle_failure)?;
        let code: usize = codes.iter().map(|c| c.library.len()).sum();
        let weights = size(sections[0].len() as u64);
        self.voice.note(&format!(
            "{}: {} at patch {}, batch {}, for {}; code {}, weights {}, arena {}",
            path.display(),
            manifest.model.name,
            mnx_words::extents(&manifest.patch),
            manifest.batch,
            mnx_words::both(&plans.iter().map(|p| p.target.name).collect::<Vec<_>>()),
            size(code as u64),
            if sections.len() > 1 { format!("{} folds of {weights}", sections.len()) } else { weights },
            size(plans.iter().map(|p| p.memory.arena_bytes).max().unwrap_or(0)),
        ));
        Ok(())
    }
}

/// A set of weights that goes into a section.
struct WeightSet<'a> {
    /// The fold's name, if the request tells it.
    fold: Option<String>,
    from: Origin<'a>,
    /// Names the set in complaints.
    place: String,
}

/// The sets of weights that a request names, at least one.
fn weight_sets(request: &Request) -> Vec<WeightSet<'_>> {
    let files = request.weights.iter();
    let mut sets: Vec<WeightSet<'_>> =
        files.map(|w| WeightSet { fold: w.fold.clone(), from: Origin::File(&w.path), place: w.path.display().to_string() }).collect();
    if sets.is_empty() {
        let (from, place) = match &request.formula {
            Some(case) => (Origin::Formula(case), "--formula"),
            None => (Origin::Seed(request.seed.unwrap_or(0)), "--seed"),
        };
        sets.push(WeightSet { fold: None, from, place: place.to_string() });
    }
    sets
}

/// Why a bundle gets no test vectors, if it gets none.
fn no_vectors(when: When, graph: &Graph, macs: u64) -> Option<String> {
    let giga = |macs: u64| macs as f64 / 1e9;
    match when {
        When::Always => None,
        When::Auto if graph.inputs().len() != 1 => {
            Some(format!("no test vectors: the graph has {}", mnx_words::many(graph.inputs().len(), "input")))
        }
        When::Auto if macs <= AUTO_MACS => None,
        When::Auto => Some(format!("no test vectors: one run costs {:.1} GMAC, more than {:.1}", giga(macs), giga(AUTO_MACS))),
        When::None => Some("no test vectors, as asked".to_string()),
    }
}

/// A name for what was compiled, whichever stage compilation started from: the digest of config, dispatches, plans and the code itself. Texts alone do not
/// tell code apart: neither the storage type of a GPU nor the form of GELU stands in every plan's text.
fn digest(config: Option<serde_json::Value>, graph: &Graph, plans: &[ModulePlan], codes: &[Code]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(config.map_or_else(String::new, |c| c.to_string()).as_bytes());
    part(graph.to_string().as_bytes());
    for (plan, code) in plans.iter().zip(codes) {
        part(plan.target.name.as_bytes());
        part(plan.precision.as_str().as_bytes());
        part(plan.to_string().as_bytes());
        part(&code.library);
    }
    hasher.finalize().to_hex().to_string()
}

/// Why a bundle cannot be written. Only a graph written by hand makes one that contradicts itself, for example a graph with a fourth axis.
fn bundle_failure(error: BundleError) -> Failure {
    match error {
        BundleError::Io { path, source } => Failure::user("mnxc-0002", path, system_reason(&source.to_string())),
        BundleError::Damaged { path, reason } => Failure::user("bundle-0102", path, reason),
        BundleError::Inconsistent { path, problems } => {
            let mut d = Diagnostic::new("mnxc-0304", path, "no bundle can carry this network");
            d.notes = problems;
            d.into()
        }
    }
}
