//! Golden tests of plans.
//!
//! ```text
//! // test: plan --pipeline=infer --target=sm_90a --precision=f32 --gelu=fast --dispatch=b.norm_mlp
//! ```
//!
//! `--target` alone must be there. The pipeline takes the graph to stage dispatch. Of the plan one dispatch is shown, or all of them. Several
//! `// test:` lines plan the same graph several times; in the expected part each plan then stands behind a comment with its arguments. Lines
//! `// edit: ...` are a plan text whose tiles replace the default ones; its places are `edit:LINE`.

use mnx_ir::Stage;
use mnx_passes::{Pipeline, stored};
use mnx_plan::target::{Target, resolve};
use mnx_plan::vocabulary::{Gelu, Storage};
use mnx_plan::{ModulePlan, PlanOptions, PlanText, plan};

use super::split::Case;
use super::{Outcome, refused, run_checked};

/// How a case is planned, as its `// test:` line says.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    /// The target.
    pub target: &'static Target,
    precision: Storage,
    gelu: Gelu,
    pipeline: &'a str,
}

/// A plan, or what refused it.
pub type Planned = Result<ModulePlan, Outcome>;

/// Arguments as key and value.
pub type Arguments<'a> = Vec<(&'a str, &'a str)>;

/// Runs a case of the test `plan`.
///
/// # Errors
/// A case that says something else or that is wrong itself.
pub fn test(case: &Case<'_>) -> Result<Outcome, String> {
    let tests = case.values("test");
    let mut plans = Vec::new();
    let mut refusals = Vec::new();
    for test in &tests {
        let arguments = test.strip_prefix("plan ").ok_or_else(|| format!("unknown test `{test}`: expected plan --target=..."))?;
        match planned(case, arguments)? {
            Ok(plan) if tests.len() == 1 => plans.push(plan.to_string()),
            Ok(plan) => plans.push(format!("// {arguments}\n{plan}")),
            Err(refusal) => refusals.push(refusal),
        }
    }
    match (refusals.pop(), tests.len()) {
        (_, 0) => Err("no `// test: plan --target=...` says what is done".into()),
        (None, _) => Ok(Outcome::Text(plans.join("\n"))),
        (Some(refusal), 1) => Ok(refusal),
        (Some(_), _) => Err("one of several plans is refused: a refusal has a case of its own".into()),
    }
}

fn planned(case: &Case<'_>, arguments: &str) -> Result<Planned, String> {
    let (settings, rest) = Settings::read(arguments)?;
    let shown = match rest[..] {
        [] => None,
        [("dispatch", name)] => Some(name),
        [(key, value), ..] => return Err(format!("unknown argument `--{key}={value}`")),
    };
    let mut planned = settings.plan(case)?;
    if let (Ok(plan), Some(name)) = (&mut planned, shown) {
        let names: Vec<String> = plan.dispatches.iter().map(|d| d.name.clone()).collect();
        plan.dispatches.retain(|d| d.name == name);
        if plan.dispatches.is_empty() {
            return Err(format!("--dispatch={name}: expected one of {}", names.join(", ")));
        }
    }
    Ok(planned)
}

impl<'a> Settings<'a> {
    /// Reads arguments `--key=value`; gives back those it does not know.
    ///
    /// # Errors
    /// What is no argument, an unknown value, a key that stands twice, or a missing target.
    pub fn read(arguments: &'a str) -> Result<(Self, Arguments<'a>), String> {
        let mut found = Arguments::new();
        for word in arguments.split_whitespace() {
            let argument = word.strip_prefix("--").and_then(|w| w.split_once('='));
            let (key, value) = argument.ok_or_else(|| format!("expected --key=value, found `{word}`"))?;
            if found.iter().any(|(k, _)| *k == key) {
                return Err(format!("`--{key}` stands twice"));
            }
            found.push((key, value));
        }
        let mut take = |key: &str| found.iter().position(|(k, _)| *k == key).map(|i| found.remove(i).1);
        let target = take("target").ok_or("no --target=... says where")?;
        let target = match resolve(target).as_deref() {
            Some(&[target]) => target,
            _ => return Err(format!("--target={target}: expected the name of one target")),
        };
        let precision = take("precision").map(|p| Storage::parse(p).ok_or_else(|| format!("--precision={p}: expected f32, bf16 or f16")));
        let gelu = match take("gelu").unwrap_or(Gelu::Accurate.as_str()) {
            word if word == Gelu::Accurate.as_str() => Gelu::Accurate,
            word if word == Gelu::Fast.as_str() => Gelu::Fast,
            word => return Err(format!("--gelu={word}: expected accurate or fast")),
        };
        let settings = Self {
            target,
            precision: precision.transpose()?.unwrap_or_else(|| target.storage()),
            gelu,
            pipeline: take("pipeline").unwrap_or_default(),
        };
        Ok((settings, found))
    }

    /// The plan of a case's graph.
    ///
    /// # Errors
    /// A graph that does not read, or that the pipeline refuses.
    pub fn plan(&self, case: &Case<'_>) -> Result<Planned, String> {
        let mut graph = case.graph()?;
        let pipeline = Pipeline::parse(self.pipeline).map_err(|e| e.to_string())?;
        run_checked(&pipeline, &mut graph).map_err(|e| e.to_string())?;
        let edit = case.values("edit").join("\n");
        let edited = match edit.as_str() {
            "" => Vec::new(),
            text => match PlanText::parse(text, "edit") {
                Ok(texts) if texts.len() == 1 => texts,
                Ok(texts) => return Err(format!("expected one plan to edit, found {}", texts.len())),
                Err(errors) => return Ok(Err(refused(&errors))),
            },
        };
        let dtype = self.precision.as_str().parse()?;
        if graph.stage == Stage::Dispatch {
            run_checked(&stored(dtype), &mut graph).map_err(|e| e.to_string())?;
        }
        let options = PlanOptions { gelu: self.gelu, edited: edited.first() };
        Ok(match plan(&graph, self.target, &options) {
            Ok(plan) => Ok(plan),
            Err(errors) => Err(refused(&errors)),
        })
    }
}
