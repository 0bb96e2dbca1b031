//! The straight path: source -> passes -> dispatches -> plan per target -> code per target -> bundle.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mnx_artifact::{BundleError, BundleWriter, Fold, Manifest, storage_tolerance};
use mnx_ir::{Diagnostic, Graph, Stage};
use mnx_passes::Changed;
use mnx_plan::gpu::Storage;
use mnx_plan::target::Target;
use mnx_plan::{ModulePlan, PlanText, plan_as};

use crate::bundle::{self, WeightLayout};
use crate::checkpoint::{self, Origin};
use crate::dump::Dump;
use crate::emit::{self, Code};
use crate::files::{check_output, read_text, write_or_emit};
use crate::memory;
use crate::phase::Phase;
use crate::pipeline::run_passes;
use crate::report::{Failure, Outcome, Voice, size, system_reason};
use crate::request::Request;
use crate::source::{Heads, Source};
use crate::times::Times;
use crate::tune::cache::Cache;
use crate::vectors::{self, AUTO_MACS, When};

/// Compiles.
///
/// # Errors
/// Everything that is wrong with the input; nothing is written then but dumps.
pub fn compile(req: &Request, voice: Voice) -> Outcome {
    let mut times = Times::default();
    let outcome = compile_timed(req, voice, &mut times);
    if req.time_passes {
        times.table().lines().for_each(|l| voice.tell(l));
    }
    outcome
}

fn compile_timed(req: &Request, voice: Voice, times: &mut Times) -> Outcome {
    emit::check_available(req.to)?;
    let output = check_request(req)?;
    let edited = req.plan.as_deref().map(read_plans).transpose()?;
    let tuned = req.tuned.as_deref().map(Cache::read).transpose()?;
    let mut dump = Dump::new(req.dump_dir.clone());

    let source = times.measure("build", || Source::load(&req.input, &req.shape))?;
    tracing::info!(file = %source.file, stage = %source.graph.stage, ops = source.graph.order().len(), "graph read");
    let notices = source.origin.iter().flat_map(|o| &o.config.notices);
    notices.for_each(|n| voice.warn(&format!("{}: {n}", source.file)));
    let header = source.header();
    let text = |g: &Graph| format!("{header}{g}").into_bytes();
    dump.stage(&format!("{}.mnx", source.graph.stage), || text(&source.graph))?;
    if req.to == Phase::Model {
        if source.graph.stage != Stage::Model {
            let message = format!("the graph has stage {}, beyond model", source.graph.stage);
            return Err(Failure::user("mnxc-0302", &source.file, message));
        }
        return write_or_emit(output.as_deref(), &text(&source.graph));
    }

    let lowered = lower(req, &source, &mut dump, times)?;
    if req.to == Phase::Graph {
        let graph = lowered.core.ok_or_else(|| {
            let message = "no pass of the pipeline leaves a graph of stage graph";
            Failure::user("mnxc-0302", &source.file, message)
        })?;
        return write_or_emit(output.as_deref(), &text(&graph));
    }
    let graph = lowered.last;
    if graph.stage != Stage::Dispatch {
        let message = format!("the pipeline leaves a graph of stage {}; dispatches are planned: end it with form-dispatches", graph.stage);
        return Err(Failure::user("mnxc-0302", &source.file, message));
    }
    if req.to == Phase::Dispatch {
        return write_or_emit(output.as_deref(), &text(&graph));
    }
    if !graph.updates().is_empty() || !graph.states().is_empty() {
        return Err(trains(&source));
    }

    let mut notes = Vec::new();
    let mut plans = match &tuned {
        Some(cache) => plan_tuned(req, &graph, cache, &mut notes, &mut dump, times)?,
        None => plan_all(req, &graph, edited.as_deref(), &mut dump, times)?,
    };
    notes.iter().for_each(|n| voice.note(n));
    plans.iter_mut().for_each(|p| p.set_gelu(req.gelu));
    for p in &plans {
        let (dispatches, kernels) = (p.dispatches.len(), bundle::symbols(p).len());
        tracing::info!(target = %p.target.name, dispatches, kernels, arena_bytes = p.memory.arena_bytes, "planned");
        for d in &p.dispatches {
            tracing::trace!(launches = d.launches.len(), "{}", d.name);
        }
    }
    memory::warn(&plans, &graph, voice);
    if req.to == Phase::Plan {
        let texts: Vec<String> = plans.iter().map(ToString::to_string).collect();
        return write_or_emit(output.as_deref(), texts.join("\n").as_bytes());
    }

    let assembly = (req.to == Phase::Bundle).then(|| assemble(req, &source, &graph, &plans, times, voice)).transpose()?;
    let codes = generate(req, &plans, &mut dump, times, voice)?;
    let Some((mut manifest, weights)) = assembly else {
        let mut bytes = Vec::new();
        for (plan, code) in plans.iter().zip(&codes) {
            if req.to == Phase::Binary {
                bytes.extend_from_slice(&code.library);
            }
            for (_, text) in code.texts.iter().filter(|(p, _)| *p == req.to) {
                if plans.len() > 1 {
                    let comment = match req.to {
                        Phase::Mlir => "//",
                        Phase::Llvm => ";",
                        Phase::Model | Phase::Graph | Phase::Dispatch | Phase::Plan | Phase::Asm | Phase::Binary | Phase::Bundle => {
                            if plan.target.gpu.is_some() { "//" } else { "#" }
                        }
                    };
                    bytes.extend_from_slice(format!("{comment} target {}\n", plan.target.name).as_bytes());
                }
                bytes.extend_from_slice(text);
            }
        }
        return write_or_emit(output.as_deref(), &bytes);
    };
    manifest.notes.extend(notes);
    manifest.source_digest = digest(source.origin.as_ref().map(|o| o.config.to_json()), &graph, &plans, &codes);
    let checkpoint = weights.checkpoint;
    vectors_for(req, &graph, &checkpoint, &mut manifest, times, voice)?;
    let path = output.unwrap_or_else(|| default_output(&req.input, "mnxa"));
    let cubins = assemble_all(req, &plans, &codes, times, voice)?;
    let mut writer = weights.sections.iter().fold(BundleWriter::new(&manifest), |w, section| w.weights(section));
    for (code, cubin) in codes.iter().zip(&cubins) {
        writer = writer.code(&code.library).cubin(cubin.as_deref());
    }
    times.measure("write bundle", || writer.write(&path)).map_err(bundle_failure)?;
    let code: usize = codes.iter().map(|c| c.library.len()).sum();
    voice.note(&format!(
        "{}: {} at patch {}, batch {}, for {}; code {}, weights {}, arena {}",
        path.display(),
        manifest.model.name,
        mnx_words::extents(&manifest.patch),
        manifest.batch,
        mnx_words::both(&plans.iter().map(|p| p.target.name).collect::<Vec<_>>()),
        size(code as u64),
        if weights.sections.len() > 1 { format!("{} folds of ", weights.sections.len()) } else { String::new() }
            + &size(weights.sections[0].len() as u64),
        size(plans.iter().map(|p| p.memory.arena_bytes).max().unwrap_or(0)),
    ));
    Ok(())
}

/// The cubins of GPU targets, if they are wanted.
fn assemble_all(req: &Request, plans: &[ModulePlan], codes: &[Code], times: &mut Times, voice: Voice) -> Outcome<Vec<Option<Vec<u8>>>> {
    let mut cubins = Vec::new();
    for (plan, code) in plans.iter().zip(codes) {
        if !req.cubin || plan.target.gpu.is_none() {
            cubins.push(None);
            continue;
        }
        let name = plan.target.name;
        let (cubin, resources) = times.measure(format!("ptxas {name}"), || emit::assemble(&code.library, name))?;
        for k in resources.iter().filter(|k| k.spilled > 0) {
            voice.warn(&format!("{name}: kernel {} spills {} of registers per thread", k.kernel, mnx_words::count(k.spilled, "byte")));
        }
        cubins.push(Some(cubin));
    }
    Ok(cubins)
}

/// What can be seen to be wrong before any work; answers where to write.
fn check_request(req: &Request) -> Outcome<Option<PathBuf>> {
    if usize::from(!req.weights.is_empty()) + usize::from(req.seed.is_some()) + usize::from(req.formula.is_some()) > 1 {
        return Err(Failure::Usage("--weights, --seed and --formula exclude each other".into()));
    }
    if req.to == Phase::Bundle && req.weights.is_empty() && req.seed.is_none() && req.formula.is_none() {
        let message = "a bundle holds weights: give --weights W.safetensors, or --seed N for fresh ones".to_string();
        return Err(Failure::Usage(message));
    }
    if req.to == Phase::Binary && req.targets.len() > 1 {
        let names: Vec<&str> = req.targets.iter().map(|t| t.name).collect();
        let message = format!("--to binary writes the object of one target; choose it with --target ({})", names.join(" or "));
        return Err(Failure::Usage(message));
    }
    if req.to == Phase::Asm && req.targets.len() > 1 && req.targets.iter().any(|t| t.gpu.is_some()) {
        let names: Vec<&str> = req.targets.iter().map(|t| t.name).collect();
        let message = format!("--to asm writes one PTX module, for one target; choose it with --target ({})", names.join(" or "));
        return Err(Failure::Usage(message));
    }
    if req.cubin && req.to != Phase::Bundle {
        return Err(Failure::Usage(format!("--cubin: a bundle holds cubins, and --to {} stops before it", req.to.name())));
    }
    if req.cubin && !req.targets.iter().any(|t| t.gpu.is_some()) {
        return Err(Failure::Usage("--cubin: no GPU among the targets".into()));
    }
    if req.to >= Phase::Binary && req.output.as_deref() == Some(Path::new("-")) {
        return Err(Failure::Usage(format!("-o -: {} is not text and goes to a file", req.to.name())));
    }
    if let Some(path) = req.weights.iter().map(|w| &w.path).find(|p| !p.is_file()) {
        let why = if path.exists() { "is not a file" } else { "no such file" };
        return Err(Failure::user("weights-0100", path.display(), why));
    }
    let output = match (&req.output, req.to) {
        (Some(p), _) => Some(p.clone()),
        (None, Phase::Bundle) => Some(default_output(&req.input, "mnxa")),
        (None, Phase::Binary) => {
            let gpu = req.targets.iter().any(|t| t.gpu.is_some());
            Some(default_output(&req.input, if gpu { "ptx" } else { "so" }))
        }
        (None, _) => None,
    };
    if let Some(path) = output.as_deref().filter(|p| *p != Path::new("-")) {
        check_output(path)?;
    }
    Ok(output)
}

/// The input's stem with another extension, in the current directory.
fn default_output(input: &Path, extension: &str) -> PathBuf {
    let stem = input.file_stem().unwrap_or(input.as_os_str());
    Path::new(stem).with_extension(extension)
}

fn read_plans(path: &Path) -> Outcome<Vec<PlanText>> {
    Ok(PlanText::parse(&read_text(path)?, &path.display().to_string())?)
}

/// What the passes left.
struct Lowered {
    /// The last graph of stage `graph`.
    core: Option<Graph>,
    /// The graph after all passes.
    last: Graph,
}

/// The refusal of a graph that changes named memory.
fn trains(source: &Source) -> Failure {
    let message = format!("@{} is a training graph; mnxc compiles graphs without states and updates", source.graph.name);
    Failure::user("mnxc-0302", &source.file, message)
}

fn lower(req: &Request, source: &Source, dump: &mut Dump, times: &mut Times) -> Outcome<Lowered> {
    let mut graph = source.graph.clone();
    let mut text = match (&req.pipeline, graph.stage) {
        (Some(text), _) => text.clone(),
        (None, Stage::Dispatch) => String::new(),
        (None, Stage::Model | Stage::Graph) => "infer".to_string(),
        (None, Stage::Train) => return Err(trains(source)),
    };
    if req.heads == Heads::Main {
        if graph.stage == Stage::Dispatch {
            let message = format!("--heads main: {} already has its dispatches, whose heads stay as they are", source.file);
            return Err(Failure::Usage(message));
        }
        let rest = if text.is_empty() { String::new() } else { format!(",{text}") };
        text = format!("drop-training-heads{{keep=out_0}},dce{rest}");
    }
    let mut core = (graph.stage == Stage::Graph).then(|| graph.clone());
    run_passes(&text, &mut graph, &source.header(), &mut |step, text| {
        times.add(step.pass, step.time);
        let (changed, ops, dispatches) = (step.changed == Changed::Yes, step.graph.order().len(), step.graph.dispatches().len());
        tracing::debug!(changed, patches = step.patches, ops, dispatches, "{}", step.pass);
        if step.graph.stage == Stage::Graph {
            core = Some(step.graph.clone());
        }
        match step.changed {
            Changed::Yes => dump.stage(&format!("{}.mnx", step.pass), || text(step.graph).into_bytes()),
            Changed::No => dump.unchanged(step.pass),
        }
    })?;
    Ok(Lowered { core, last: graph })
}

fn plan_all(req: &Request, graph: &Graph, edited: Option<&[PlanText]>, dump: &mut Dump, times: &mut Times) -> Outcome<Vec<ModulePlan>> {
    for e in edited.unwrap_or_default() {
        if !req.targets.iter().any(|t| t.name == e.target) {
            let names: Vec<&str> = req.targets.iter().map(|t| t.name).collect();
            let place = req.plan.as_deref().map_or_else(String::new, |p| p.display().to_string());
            let message = format!("a plan for target {}, which is not compiled for (--target gives {})", e.target, names.join(", "));
            return Err(Failure::user("mnxc-0303", place, message));
        }
    }
    let mut plans = Vec::new();
    for target in &req.targets {
        let text = edited.and_then(|all| all.iter().find(|e| e.target == target.name));
        let made = times.measure(format!("plan {}", target.name), || plan_as(graph, target, precision(req, target), text))?;
        dump.stage(&format!("{}.plan", target.name), || made.to_string().into_bytes())?;
        plans.push(made);
    }
    Ok(plans)
}

/// What a target stores activations in: CPUs float32.
fn precision(req: &Request, target: &Target) -> Storage {
    if target.gpu.is_some() { req.precision } else { Storage::F32 }
}

/// Plans with the tiles of a cache; `notes` gets what it gave, for people and for the manifest.
fn plan_tuned(
    req: &Request,
    graph: &Graph,
    cache: &Cache,
    notes: &mut Vec<String>,
    dump: &mut Dump,
    times: &mut Times,
) -> Outcome<Vec<ModulePlan>> {
    // Only the last component: the same file in another directory gives the same bundle.
    let file = req.tuned.as_deref().and_then(Path::file_name).map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let mut plans = Vec::new();
    for target in &req.targets {
        if target.gpu.is_some() {
            // The tuner measures on CPUs.
            let made = times.measure(format!("plan {}", target.name), || plan_as(graph, target, req.precision, None))?;
            dump.stage(&format!("{}.plan", target.name), || made.to_string().into_bytes())?;
            plans.push(made);
            continue;
        }
        let (made, applied) = times.measure(format!("plan {}", target.name), || cache.plan(graph, target))?;
        let mut note = format!(
            "tuned tiles for {}: {} of {} found in {file}",
            target.name,
            applied.found,
            mnx_words::many(applied.shapes, "kernel shape")
        );
        if applied.foreign > 0 {
            note.push_str(&format!("; {} of another compiler ignored", mnx_words::many(applied.foreign, "entry")));
        }
        notes.push(note);
        dump.stage(&format!("{}.plan", target.name), || made.to_string().into_bytes())?;
        plans.push(made);
    }
    Ok(plans)
}

/// The weights of a bundle.
struct Weights {
    /// One for each fold.
    sections: Vec<Vec<u8>>,
    /// The first fold's, which test vectors are made with.
    checkpoint: mnx_weights::Checkpoint,
}

/// Everything of the bundle but code and test vectors.
fn assemble(
    req: &Request,
    source: &Source,
    graph: &Graph,
    plans: &[ModulePlan],
    times: &mut Times,
    voice: Voice,
) -> Outcome<(Manifest, Weights)> {
    let config = source.origin.as_ref().map(|o| &o.config);
    let mut layout = WeightLayout::default();
    let mut programs = Vec::new();
    for plan in plans {
        programs.push(bundle::program(plan, &bundle::symbols(plan), &mut layout)?);
    }
    let mut sets: Vec<(Option<String>, Origin<'_>, String)> =
        req.weights.iter().map(|w| (w.fold.clone(), Origin::File(&w.path), w.path.display().to_string())).collect();
    if sets.is_empty() {
        sets.push(match &req.formula {
            Some(case) => (None, Origin::Formula(case), "--formula".to_string()),
            None => (None, Origin::Seed(req.seed.unwrap_or(0)), "--seed".to_string()),
        });
    }
    let (mut sections, mut folds, mut first) = (Vec::new(), Vec::new(), None);
    for (name, from, place) in sets {
        let checkpoint = times.measure("load weights", || checkpoint::provide(from, config, graph, voice))?;
        let mut section = times.measure("derive weights", || layout.fill(&checkpoint, &place))?;
        if req.hollow {
            section.fill(0);
        }
        sections.push(section);
        let name = name.or_else(|| checkpoint.metadata.get("fold").cloned());
        folds.push(name.map_or_else(|| Fold::only()[0].clone(), |name| Fold { name }));
        first.get_or_insert(checkpoint);
    }
    let checkpoint = first.expect("there is at least one set of weights");
    let mut notes: Vec<String> = config.map(|c| c.notices.clone()).unwrap_or_default();
    if let Some(seed) = req.seed {
        notes.push(format!("weights are freshly initialised from seed {seed}"));
    }
    if req.hollow {
        notes.push("hollow: the weights are zeros until `mnx refit` fills them".to_string());
    }
    let input = graph.inputs().first().map(|(_, v)| graph.ty(*v).shape.to_vec()).unwrap_or_default();
    let manifest = Manifest {
        compiler: concat!("mnxc ", env!("CARGO_PKG_VERSION")).to_string(),
        model: bundle::card(graph, config),
        batch: input.first().copied().unwrap_or(1),
        patch: input.get(2..).unwrap_or_default().to_vec(),
        precision: plans.first().map_or("f32", |p| p.precision.as_str()).to_string(),
        gelu: req.gelu.as_str().to_string(),
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
        formula: req.formula.clone(),
        // The code, which the digest names, is made later.
        source_digest: String::new(),
        notes,
    };
    Ok((manifest, Weights { sections, checkpoint }))
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

/// Code for every target.
fn generate(req: &Request, plans: &[ModulePlan], dump: &mut Dump, times: &mut Times, voice: Voice) -> Outcome<Vec<Code>> {
    let stages: Vec<Phase> = match (dump.wanted(), req.to) {
        (true, _) => vec![Phase::Mlir, Phase::Llvm, Phase::Asm],
        (false, Phase::Mlir | Phase::Llvm | Phase::Asm) => vec![req.to],
        (false, _) => Vec::new(),
    };
    let mut codes = Vec::new();
    for plan in plans {
        let kernels = bundle::symbols(plan);
        let name = plan.target.name;
        let line = format!("compiling {} for {name}", mnx_words::many(kernels.len(), "kernel"));
        let bar = voice.animated().then(|| {
            let bar = indicatif::ProgressBar::new_spinner().with_message(line.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if bar.is_none() {
            voice.note(&line);
        }
        let code = times.measure(format!("codegen {name}"), || emit::compile(&kernels, plan.target, &stages));
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let code = code?;
        for (step, time) in &code.times {
            times.add(format!("  {step} (cpu)"), *time);
        }
        let (asm, binary) = if plan.target.gpu.is_some() { ("kernels.ptx", "ptx") } else { ("s", "so") };
        for (phase, extension) in [(Phase::Mlir, "mlir"), (Phase::Llvm, "ll"), (Phase::Asm, asm)] {
            if let Some((_, text)) = code.texts.iter().find(|(p, _)| *p == phase) {
                dump.stage(&format!("{name}.{extension}"), || text.clone())?;
            }
        }
        dump.stage(&format!("{name}.{binary}"), || code.library.clone())?;
        codes.push(code);
    }
    Ok(codes)
}

fn vectors_for(
    req: &Request,
    graph: &Graph,
    checkpoint: &mnx_weights::Checkpoint,
    manifest: &mut Manifest,
    times: &mut Times,
    voice: Voice,
) -> Outcome {
    let macs = manifest.model.macs;
    let skip = match req.vectors {
        When::Always => None,
        When::Auto if graph.inputs().len() != 1 => {
            Some(format!("no test vectors: the graph has {}", mnx_words::many(graph.inputs().len(), "input")))
        }
        When::Auto if macs <= AUTO_MACS => None,
        When::Auto => {
            Some(format!("no test vectors: one run costs {:.1} GMAC, more than {:.1}", macs as f64 / 1e9, AUTO_MACS as f64 / 1e9))
        }
        When::None => Some("no test vectors, as asked".to_string()),
    };
    if let Some(why) = skip {
        if req.vectors == When::Auto {
            voice.note(&format!("{why}; `mnx verify` will have nothing to check (--vectors always computes them)"));
        }
        manifest.notes.push(why);
        return Ok(());
    }
    let place = req.input.display().to_string();
    let loosest = req.targets.iter().map(|t| storage_tolerance(precision(req, t).as_str())).fold(0.0, f64::max);
    let margin = loosest.max(vectors::tolerance(req.gelu));
    manifest.vectors =
        Some(times.measure("test vectors", || vectors::compute(graph, checkpoint, &place, vectors::tolerance(req.gelu), margin))?);
    Ok(())
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
