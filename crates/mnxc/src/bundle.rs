//! From plans to a bundle's contents: kernels get symbols, recipes become one weights section that all programs share.

use std::collections::HashMap;

use mnx_artifact::{ALIGNMENT, BufferRef, Command, Element, Label, ModelCard, Port, Program, Space, WeightEntry, Write};
use mnx_ir::{Graph, Op, ValueId};
use mnx_model::Config;
use mnx_plan::family::Strategy;
use mnx_plan::target::Machine;
use mnx_plan::{Kernel, LaunchArg, ModulePlan};
use mnx_weights::{Checkpoint, Recipe};

use crate::report::{Failure, Outcome, weights_failure};
use crate::source::{OutputKind, output_kind};

/// The distinct kernels of a plan under their symbols, `STRATEGY_NUMBER`, in the order of first use.
pub fn symbols(plan: &ModulePlan) -> Vec<(String, Kernel)> {
    let mut out: Vec<(String, Kernel)> = Vec::new();
    let mut seen: HashMap<&Kernel, ()> = HashMap::new();
    for launch in plan.dispatches.iter().flat_map(|d| &d.launches) {
        if seen.insert(&launch.kernel, ()).is_none() {
            let symbol = format!("{}_{}", launch.kernel.strategy().name.replace('.', "_"), out.len());
            out.push((symbol, launch.kernel.clone()));
        }
    }
    out
}

/// The strategy that a kernel's symbol names.
pub fn strategy_of(symbol: &str) -> Option<&'static Strategy> {
    let (stem, _) = symbol.rsplit_once('_')?;
    Kernel::strategies().find(|s| s.name.replace('.', "_") == stem)
}

/// The weights section while it is laid out.
#[derive(Debug, Default)]
pub struct WeightLayout {
    entries: Vec<(WeightEntry, Recipe)>,
    index: HashMap<String, usize>,
    names: HashMap<String, usize>,
    end: u64,
}

impl WeightLayout {
    /// The place of a recipe's tensor; equal recipes share one. `bytes` is what the kernel reads.
    fn place(&mut self, recipe: &Recipe) -> Outcome<BufferRef> {
        let json = serde_json::to_value(recipe).expect("a recipe holds only strings, numbers and lists");
        let key = json.to_string();
        let at = match self.index.get(&key) {
            Some(&i) => i,
            None => {
                let name = self.unique(name_of(recipe));
                let shape = recipe.shape().map_err(|e| weights_failure(&name, e))?;
                let bytes = (recipe.element_bytes() * shape.iter().product::<usize>()) as u64;
                let offset = self.end.next_multiple_of(ALIGNMENT);
                self.end = offset + bytes;
                self.entries.push((WeightEntry { name, offset, bytes, recipe: json }, recipe.clone()));
                self.index.insert(key, self.entries.len() - 1);
                self.entries.len() - 1
            }
        };
        let entry = &self.entries[at].0;
        Ok(BufferRef { space: Space::Weights, offset: entry.offset, bytes: entry.bytes })
    }

    fn unique(&mut self, name: String) -> String {
        let n = self.names.entry(name.clone()).or_insert(0);
        *n += 1;
        if *n == 1 { name } else { format!("{name}~{n}") }
    }

    /// The manifest's entries.
    pub fn entries(&self) -> Vec<WeightEntry> {
        self.entries.iter().map(|(e, _)| e.clone()).collect()
    }

    /// Evaluates every recipe: the bytes of the section.
    ///
    /// # Errors
    /// Tensors that the checkpoint lacks, or whose values are not finite: all of them.
    pub fn fill(&self, checkpoint: &Checkpoint, place: &str) -> Outcome<Vec<u8>> {
        let mut section = vec![0u8; self.end as usize];
        let mut problems = Vec::new();
        for (entry, recipe) in &self.entries {
            let tensor = match recipe.eval(checkpoint) {
                Ok(t) => t,
                Err(e) => {
                    let Failure::User(found) = weights_failure(place, e) else { continue };
                    problems.extend(found);
                    continue;
                }
            };
            let bad = tensor.data.iter().filter(|v| !v.is_finite()).count();
            if bad > 0 {
                let message = format!("weight \"{}\": {bad} of {} values are NaN or infinite", entry.name, tensor.len());
                problems.push(mnx_ir::Diagnostic::new("mnxc-0202", place, message));
            }
            let bytes = recipe.bytes_of(&tensor);
            section[entry.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        if problems.is_empty() { Ok(section) } else { Err(Failure::User(problems)) }
    }
}

/// A recipe's name for people: the checkpoint tensors it comes from and what was done to them.
fn name_of(recipe: &Recipe) -> String {
    match recipe {
        Recipe::Source { key, .. } => key.clone(),
        Recipe::Zeros { shape } => format!("zeros{shape}", shape = mnx_words::list(shape)),
        Recipe::ScaleIn { weight, .. } => format!("{}.scaled", name_of(weight)),
        Recipe::FoldBias { bias, .. } => format!("{}.folded", name_of(bias)),
        Recipe::Add { a, b } => format!("{}+{}", name_of(a), name_of(b)),
        Recipe::TransposeIo { weight } => format!("{}.transposed", name_of(weight)),
        Recipe::TapMajor { weight } => format!("{}.taps", name_of(weight)),
        Recipe::Panels { weight, .. } => format!("{}.panels", name_of(weight)),
        Recipe::Rows { weight, .. } => format!("{}.rows", name_of(weight)),
        Recipe::PadLast { weight, .. } => format!("{}.padded", name_of(weight)),
        Recipe::Cast { weight, to } => format!("{}.{}", name_of(weight), to.as_str()),
    }
}

/// A plan as a launch list; its weights are placed in the shared section.
///
/// # Errors
/// A recipe that does not hold together.
pub fn program(plan: &ModulePlan, kernels: &[(String, Kernel)], weights: &mut WeightLayout) -> Outcome<Program> {
    let symbols: HashMap<&Kernel, &str> = kernels.iter().map(|(s, k)| (k, s.as_str())).collect();
    let mut commands = Vec::new();
    for d in &plan.dispatches {
        for launch in &d.launches {
            let mut args = Vec::with_capacity(launch.args.len());
            for arg in &launch.args {
                args.push(match arg {
                    LaunchArg::Arena(buffer) => *buffer,
                    LaunchArg::Weight(recipe) => weights.place(recipe)?,
                });
            }
            commands.push(Command::Launch {
                dispatch: d.name.clone(),
                kernel: symbols[&launch.kernel].to_string(),
                args,
                workgroups: launch.kernel.workgroups() as u64,
                cost: launch.cost,
                geometry: launch.kernel.geometry(),
                writes: written(&launch.kernel),
            });
        }
    }
    let (requires, gpu) = match plan.target.machine {
        Machine::Cpu(cpu) => (cpu.requires.iter().map(ToString::to_string).collect(), None),
        Machine::Nvptx(gpu) => (Vec::new(), Some(gpu.needs())),
    };
    Ok(Program {
        target: plan.target.name.to_string(),
        requires,
        arena_bytes: plan.memory.arena_bytes,
        scratch_bytes: plan.memory.scratch_bytes,
        inputs: plan.inputs.clone(),
        outputs: plan.outputs.clone(),
        commands,
        precision: plan.precision.as_str().to_string(),
        gpu,
    })
}

/// The arguments that a kernel writes.
fn written(kernel: &Kernel) -> Vec<Write> {
    let args = kernel.args();
    let element = |e| match e {
        mnx_plan::slot::Element::F32 => Element::F32,
        mnx_plan::slot::Element::F64 => Element::F64,
        mnx_plan::slot::Element::I32 => Element::I32,
        mnx_plan::slot::Element::Bf16 => Element::Bf16,
        mnx_plan::slot::Element::F16 => Element::F16,
    };
    args.iter().enumerate().filter(|(_, a)| a.access.writes()).map(|(arg, a)| Write { arg, element: element(a.element) }).collect()
}

/// A graph's inputs or outputs as ports.
pub fn ports(graph: &Graph, list: &[(String, ValueId)]) -> Vec<Port> {
    let port = |(name, v): &(String, ValueId)| {
        let ty = graph.ty(*v);
        Port { name: name.clone(), shape: ty.shape.to_vec(), dtype: ty.dtype.to_string() }
    };
    list.iter().map(port).collect()
}

/// Multiply-accumulates of one run. A layer that several boxes recompute counts once.
pub fn macs(graph: &Graph) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let layers = mnx_model::summary(graph).layers;
    layers.iter().filter(|l| l.name == "unknown" || seen.insert((l.name.clone(), l.op))).map(|l| l.macs).sum()
}

/// The network in words. A graph without config is described by what it shows.
pub fn card(graph: &Graph, config: Option<&Config>) -> ModelCard {
    let kind = output_kind(graph);
    let input = graph.inputs().first().map(|(_, v)| graph.ty(*v).shape.to_vec()).unwrap_or_default();
    let scores = graph.outputs().first().map(|(_, v)| match graph.def(*v) {
        Some(id) if matches!(graph.op(id), Op::Argmax(_)) => graph.operands(id)[0],
        _ => *v,
    });
    let classes = scores.and_then(|v| graph.ty(v).shape.get(1).copied()).unwrap_or(0);
    let output = match kind {
        OutputKind::Logits => "logits",
        OutputKind::Softmax => "softmax",
        OutputKind::Argmax => "argmax",
    };
    ModelCard {
        name: config.map_or_else(|| graph.name.clone(), |c| c.name.clone()),
        flavour: config.map_or("graph", |c| c.flavour.as_str()).to_string(),
        spatial_dims: input.len().saturating_sub(2),
        in_channels: input.get(1).copied().unwrap_or(0),
        n_classes: config.map_or(classes, |c| c.n_classes),
        parameters: config.map_or_else(|| mnx_model::summary(graph).parameters, |c| mnx_model::signature(c).parameters()),
        macs: macs(graph),
        output: output.to_string(),
        config: config.map_or(serde_json::Value::Null, Config::to_json),
    }
}

/// The config's `[labels]` as the manifest has them.
pub fn labels(config: &Config) -> Vec<Label> {
    config.labels.iter().map(|(name, value)| Label { name: name.clone(), value: *value }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use mnx_weights::Tensor;

    fn source(key: &str, shape: &[usize]) -> Recipe {
        Recipe::Source { key: key.into(), shape: shape.to_vec() }
    }

    #[test]
    fn equal_recipes_share_a_place_and_all_places_are_aligned() {
        let mut layout = WeightLayout::default();
        let a = layout.place(&source("a", &[3])).unwrap();
        let b = layout.place(&source("b", &[5])).unwrap();
        let again = layout.place(&source("a", &[3])).unwrap();
        assert_eq!(a, again);
        assert_eq!((a.offset, a.bytes, b.offset, b.bytes), (0, 12, 64, 20));
        let scaled = |s: &str| Recipe::ScaleIn { weight: Box::new(source("w", &[2, 3])), scale: Box::new(source(s, &[3])) };
        layout.place(&scaled("a")).unwrap();
        layout.place(&scaled("b")).unwrap();
        let names: Vec<String> = layout.entries().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["a", "b", "w.scaled", "w.scaled~2"]);
    }

    #[test]
    fn the_section_holds_the_values_and_every_misfit_is_listed() {
        let mut layout = WeightLayout::default();
        layout.place(&source("a", &[3])).unwrap();
        layout.place(&source("b", &[2])).unwrap();
        let mut good = Checkpoint::new();
        good.insert("a", Tensor::new(vec![3], vec![1.0, -2.0, 3.5]));
        good.insert("b", Tensor::new(vec![2], vec![8.0, 9.0]));
        let section = layout.fill(&good, "w").unwrap();
        let words: Vec<f32> = section.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        assert_eq!((&words[..3], words[3], &words[16..]), (&[1.0, -2.0, 3.5][..], 0.0, &[8.0, 9.0][..]));

        let mut bad = Checkpoint::new();
        bad.insert("a", Tensor::new(vec![3], vec![1.0, f32::NAN, f32::INFINITY]));
        let Err(Failure::User(problems)) = layout.fill(&bad, "w") else { panic!("a bad checkpoint passed") };
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 2, "{text:?}");
        assert!(text[0].contains("\"a\": 2 of 3 values are NaN or infinite") && text[1].contains("\"b\" is missing"), "{text:?}");
    }
}
