//! What a command is given: a config (`.toml`) or a graph (`.mnx`) with the stage it has reached.

use std::path::Path;

use clap::ValueEnum;
use mnx_ir::{Diagnostic, Graph, Loc, NoAttrs, Op, Stage};
use mnx_model::Config;

use crate::files::read_text;
use crate::header::Origin;
use crate::imported::Input;
use crate::report::{Failure, Outcome};

/// What the outputs of the compiled network hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputKind {
    /// Class scores as the heads give them
    Logits,
    /// Probabilities over the classes
    Softmax,
    /// Index of the best class, int32
    Argmax,
}

/// Which deep-supervision heads are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Heads {
    /// Every head the config has: out_0 (full resolution) .. out_4
    All,
    /// out_0 alone; the others are training-only
    Main,
}

impl Heads {
    /// The heads to keep if none were asked for: a folder is a model for `mnx predict`, which reads out_0 alone.
    pub fn choose(asked: Option<Self>, input: &Input) -> Self {
        asked.unwrap_or(if input.is_folder() { Self::Main } else { Self::All })
    }
}

/// How to read a source.
#[derive(Debug, Clone, Default)]
pub struct Shape {
    /// Samples per run; only for a config (default 1).
    pub batch: Option<usize>,
    /// Spatial extents; only for a config, which may have its own.
    pub patch: Option<Vec<usize>>,
    /// What outputs hold; only up to stage `model`.
    pub output: Option<OutputKind>,
}

/// A graph and where it came from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub file: String,
    /// The config, unless the graph was written by hand.
    pub origin: Option<Origin>,
    /// The graph, at any stage.
    pub graph: Graph,
}

impl Source {
    /// Reads a `.mnx` graph, a config, or an imported folder's config, and builds what is a config.
    ///
    /// # Errors
    /// Everything that is wrong with the file or folder, or with the patch asked for.
    pub fn load(path: &Path, shape: &Shape) -> Outcome<Self> {
        let path = &Input::find(path)?.file;
        let file = path.display().to_string();
        if path.extension().is_some_and(|e| e == "mnx") {
            let text = read_text(path)?;
            return Self::from_graph_text(&file, &text, shape);
        }
        let origin = Origin::read(&file, &read_text(path)?)?;
        let axes = origin.config.dim.axes();
        let patch = shape.patch.clone().or_else(|| origin.config.patch.clone()).unwrap_or_else(|| vec![mnx_model::DEFAULT_EXTENT; axes]);
        let mut graph = mnx_model::build(&origin.config, shape.batch.unwrap_or(1), &patch)?;
        classify(&mut graph, shape)?;
        Ok(Self { file, origin: Some(origin), graph })
    }

    fn from_graph_text(file: &str, text: &str, shape: &Shape) -> Outcome<Self> {
        if shape.patch.is_some() || shape.batch.is_some() {
            let message = format!("--patch and --batch are for a config; {file} is a graph, whose input already has its shape");
            return Err(Failure::Usage(message));
        }
        let mut graph = mnx_ir::parse::parse(text, file)?;
        mnx_ir::verify::verify(&graph)?;
        let origin = Origin::find(text)?;
        if graph.stage > Stage::Model && shape.output.is_some() {
            let message = format!("--output is for a config or a graph of stage model; {file} has stage {}", graph.stage);
            return Err(Failure::Usage(message));
        }
        classify(&mut graph, shape)?;
        Ok(Self { file: file.to_string(), origin, graph })
    }

    /// Comment lines to put above the graph's text.
    pub fn header(&self) -> String {
        self.origin.as_ref().map_or_else(String::new, Origin::header)
    }
}

/// Puts the classifier behind every output.
fn classify(graph: &mut Graph, shape: &Shape) -> Result<(), Diagnostic> {
    let op = match shape.output {
        None | Some(OutputKind::Logits) => return Ok(()),
        Some(OutputKind::Softmax) => Op::Softmax(NoAttrs {}),
        Some(OutputKind::Argmax) => Op::Argmax(NoAttrs {}),
    };
    let mut outputs = Vec::new();
    for (name, v) in graph.outputs().to_vec() {
        let y = graph.push(op.clone(), &[v], &Loc::layer(&format!("{name}.{}", op.info().mnemonic)))?;
        outputs.push((name, y));
    }
    graph.set_outputs(outputs);
    Ok(())
}

/// What the outputs of a graph hold, read off the ops that define them.
pub fn output_kind(graph: &Graph) -> OutputKind {
    let all = |test: fn(&Op) -> bool| graph.outputs().iter().all(|(_, v)| graph.def(*v).is_some_and(|id| test(graph.op(id))));
    if all(|op| matches!(op, Op::Softmax(_))) {
        OutputKind::Softmax
    } else if all(|op| matches!(op, Op::Argmax(_))) {
        OutputKind::Argmax
    } else {
        OutputKind::Logits
    }
}

/// The network of a config, or of an imported folder's config.
///
/// # Errors
/// Everything that is wrong with the config.
pub fn config(path: &Path) -> Outcome<Config> {
    let path = Input::find(path)?.file;
    Ok(Origin::read(&path.display().to_string(), &read_text(&path)?)?.config)
}
