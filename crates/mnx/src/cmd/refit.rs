//! `mnx refit`: new weights in an old bundle.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mnx_artifact::{Bundle, BundleWriter, WeightEntry};
use mnx_console::Problem;
use mnx_weights::{Checkpoint, Recipe, golden_weight};
use mnx_words::many;

use crate::cmd::check_output;
use crate::failure::{Failure, misfits};
use crate::text;

/// Put other weights into a bundle, without compiling.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mnx refit m.mnxa --weights finetuned.safetensors -o n.mnxa
  mnx refit m.mnxa --weights weights_fold_3.safetensors --fold 3 -o n.mnxa

The weights must be of the architecture that the bundle was compiled for; every tensor that is missing or has another shape is listed.")]
pub struct Args {
    /// The bundle whose code is kept.
    bundle: PathBuf,
    /// The new weights.
    #[arg(long, short, value_name = "W.safetensors", required_unless_present = "formula")]
    weights: Option<PathBuf>,
    /// Weights by the test formula of a case instead of a file; test vectors of the same case are kept.
    #[arg(long, value_name = "CASE", conflicts_with = "weights")]
    formula: Option<String>,
    /// The fold whose weights they replace; needed if the bundle has several.
    #[arg(long, value_name = "NAME")]
    fold: Option<String>,
    /// Bundle to write.
    #[arg(long, short, value_name = "N.mnxa")]
    output: PathBuf,
}

/// Evaluates every recipe of the bundle against the new weights and writes the result.
pub fn run(args: &Args, quiet: bool) -> Result<(), Failure> {
    let inputs: Vec<&Path> = args.weights.iter().map(PathBuf::as_path).collect();
    check_output(&args.output, &inputs)?;
    let bundle = Bundle::open(&args.bundle)?;
    let fold = chosen(&bundle, args.fold.as_deref())?;
    let recipes = recipes(&bundle)?;
    let (checkpoint, place) = match (&args.weights, &args.formula) {
        (Some(path), _) => (Checkpoint::load(path)?, path.display().to_string()),
        (None, case) => {
            let case = case.clone().unwrap_or_default();
            let mut drawn = Checkpoint::new();
            for (key, shape) in recipes.iter().flat_map(|(_, r)| r.sources()) {
                if drawn.get(key).is_none() {
                    drawn.insert(key, golden_weight(&case, key, shape));
                }
            }
            (drawn, format!("the formula of {case}"))
        }
    };
    check_sources(&place, &recipes, &checkpoint)?;

    let mut section = vec![0u8; usize::try_from(bundle.weights_bytes()).unwrap_or(0)];
    let mut problems = Vec::new();
    for (entry, recipe) in &recipes {
        let tensor = recipe.eval(&checkpoint)?;
        let odd = tensor.data.iter().filter(|v| !v.is_finite()).count();
        if odd > 0 {
            problems.push(format!("weight \"{}\": {odd} of {} values", entry.name, tensor.len()));
        }
        let start = entry.offset as usize;
        section[start..start + entry.bytes as usize].copy_from_slice(&recipe.bytes_of(&tensor));
    }
    if !problems.is_empty() {
        let problem = Problem::new("mnx-0107", format!("{place}: the weights made of it are not finite"));
        return Err(Failure::User(problems.into_iter().fold(problem, Problem::note)));
    }

    let mut manifest = bundle.manifest().clone();
    let same = args.formula.is_some() && manifest.formula == args.formula;
    // Test vectors are those of the first fold.
    let dropped = fold == 0 && !same && manifest.vectors.take().is_some();
    if fold == 0 {
        manifest.formula.clone_from(&args.formula);
    }
    if dropped {
        manifest.notes.push("test vectors dropped by refit: they belong to the weights compiled in before".to_owned());
    }
    let kept = |i: usize| if i == fold { Ok(section.clone()) } else { bundle.read_weights(i) };
    let folds: Vec<Vec<u8>> = (0..bundle.folds()).map(kept).collect::<Result<_, _>>()?;
    let mut writer = folds.iter().fold(BundleWriter::new(&manifest), |w, bytes| w.weights(bytes));
    for index in 0..manifest.programs.len() {
        writer = writer.code(bundle.code(index)).cubin(bundle.cubin(index));
    }
    writer.write(&args.output)?;
    if quiet {
        return Ok(());
    }
    let used: BTreeSet<&str> = recipes.iter().flat_map(|(_, r)| r.sources()).map(|(key, _)| key).collect();
    let unused = checkpoint.names().filter(|n| !used.contains(n)).count();
    let mut report =
        format!("{}: {} from {} of {place}\n", args.output.display(), many(recipes.len(), "weight"), many(used.len(), "tensor"));
    if unused > 0 {
        report.push_str(&format!(
            "{} of the file {} not used by the compiled network\n",
            many(unused, "tensor"),
            if unused == 1 { "is" } else { "are" }
        ));
    }
    if dropped {
        report.push_str("test vectors dropped: they belong to the old weights (compile anew to have some)\n");
    }
    text::print(&report)
}

/// The fold to refit: the one named, else the only one.
fn chosen(bundle: &Bundle, name: Option<&str>) -> Result<usize, Failure> {
    let folds = &bundle.manifest().folds;
    let path = bundle.path().display();
    let names = || folds.iter().map(|f| f.name.as_str()).collect::<Vec<_>>().join(", ");
    match name {
        None if folds.len() == 1 => Ok(0),
        None => Err(Failure::user("mnx-0106", format!("{path}: has the folds {}; choose one with --fold", names()))),
        Some(name) => folds
            .iter()
            .position(|f| f.name == name)
            .ok_or_else(|| Failure::user("mnx-0106", format!("{path}: --fold {name}: there is no such fold; it has {}", names()))),
    }
}

/// Every entry with its recipe, whose shape must fill the entry.
fn recipes(bundle: &Bundle) -> Result<Vec<(&WeightEntry, Recipe)>, Failure> {
    let mut found = Vec::new();
    for entry in &bundle.manifest().weights {
        let wrong = |what: String| Failure::user("bundle-0103", format!("{}: weight \"{}\": {what}", bundle.path().display(), entry.name));
        let recipe: Recipe = serde_json::from_value(entry.recipe.clone()).map_err(|e| wrong(format!("recipe cannot be read: {e}")))?;
        let shape = recipe.shape().map_err(|e| wrong(e.to_string()))?;
        if (shape.iter().product::<usize>() * recipe.element_bytes()) as u64 != entry.bytes {
            return Err(wrong(format!(
                "recipe makes shape {shape}, the section has room for {} bytes",
                entry.bytes,
                shape = mnx_words::list(&shape)
            )));
        }
        found.push((entry, recipe));
    }
    Ok(found)
}

/// Reports every tensor that is missing or misshapen, each once.
fn check_sources(path: &str, recipes: &[(&WeightEntry, Recipe)], checkpoint: &Checkpoint) -> Result<(), Failure> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for (key, shape) in recipes.iter().flat_map(|(_, recipe)| recipe.sources()) {
        if seen.insert((key, shape))
            && let Err(error) = checkpoint.require(key, shape)
        {
            problems.push(error.to_string());
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(misfits(Some(path), problems))
}
