//! Pipelines: their text, and the ones that have names.

use std::fmt;

use mnx_ir::DType;

use crate::error::PassError;
use crate::graph::form_dispatches::FormDispatches;
use crate::options::{OptionInfo, Options};
use crate::pass::Pass;
use crate::registry::PassInfo;

/// Passes in order, with the text each was written as.
#[derive(Debug, Default)]
pub struct Pipeline {
    items: Vec<(String, Box<dyn Pass>)>,
}

/// Named pipelines: they stand in a text like a pass.
pub const NAMES: &[(&str, &str)] = &[("infer", "everything from the model as written to boxes ready to be planned, for inference")];

/// Options of the pipeline `infer`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InferOptions {
    /// Keep this output alone; none keeps every head.
    pub keep: Option<String>,
    /// How boxes are drawn.
    pub dispatches: FormDispatches,
}

const KEEP: OptionInfo = OptionInfo { name: "keep", default: "every output", about: "name of the one output to keep" };

/// The pipeline of inference.
pub fn infer(options: &InferOptions) -> Pipeline {
    let mut pipeline = Pipeline::default();
    // First, so that nothing is done for heads that go.
    if let Some(keep) = &options.keep {
        pipeline.add("drop-training-heads", vec![("keep".to_string(), keep.clone())]);
        pipeline.add("dce", Vec::new());
    }
    for (pass, _why) in INFER {
        pipeline.add(pass, Vec::new());
    }
    pipeline.add("form-dispatches", options.dispatches.given());
    // Last, so that ops cloned into boxes get their layouts too.
    pipeline.add("assign-layouts", Vec::new());
    pipeline
}

/// The pipeline that says where kernels round that store activations as `storage`; it runs behind [`infer`] for targets that store 16 bits.
pub fn stored(storage: DType) -> Pipeline {
    let mut pipeline = Pipeline::default();
    pipeline.add("cast-precision", vec![("storage".to_string(), storage.to_string())]);
    pipeline
}

/// The passes of `infer` between heads and boxes, each with why it stands here.
pub const INFER: &[(&str, &str)] = &[
    ("canonicalize", "before all rules: they match one form each"),
    ("decompose-norm", "before every rule on statistics and affines: they know no sugar"),
    ("decompose-transposed", "after canonicalize took the stride-1 heads; ends the sugar"),
    ("drop-dead-bias", "needs norm.stats; before folding, which hides nothing from it but costs it readers"),
    ("fold-norm-affine", "needs norm.apply; makes weights that the boxes only read"),
    ("merge-bias", "after decompose-transposed made add.bias of the residuals' biases; pads sink behind sums"),
    ("canonicalize", "orders the operands of the sums that merge-bias made"),
    ("cse", "folding made one norm per convolution: merge them before boxes clone on purpose"),
    ("dce", "boxes are drawn around live ops alone"),
];

impl Pipeline {
    /// Reads `a,b{max-ops=8},c`. A named pipeline may stand for its passes: `infer{keep=out_0},dce`.
    ///
    /// # Errors
    /// The place and what was expected; unknown names with the nearest one.
    pub fn parse(text: &str) -> Result<Self, PassError> {
        let fail = |reason: String| PassError::Pipeline { text: text.to_string(), reason };
        let mut pipeline = Self::default();
        for item in split_items(text).map_err(fail)? {
            let (name, given) = read_item(item).map_err(fail)?;
            if name == "infer" {
                pipeline.items.extend(infer_from_text(given)?.items);
            } else {
                let info = PassInfo::find(name).map_err(fail)?;
                pipeline.items.push(make(info, given)?);
            }
        }
        Ok(pipeline)
    }

    /// Adds a pass that this room knows to exist and to take these options.
    fn add(&mut self, name: &str, given: Given) {
        let item = PassInfo::find(name).map(|info| make(info, given)).expect("named pipelines name passes of the table");
        self.items.push(item.expect("named pipelines give options that their passes take"));
    }

    /// The passes, in order.
    pub fn passes(&self) -> Vec<&dyn Pass> {
        self.items.iter().map(|(_, p)| p.as_ref()).collect()
    }

    /// Number of passes.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The first `n` passes, and the rest.
    #[must_use]
    pub fn split_at(mut self, n: usize) -> (Self, Self) {
        let rest = self.items.split_off(n.min(self.items.len()));
        (self, Self { items: rest })
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let items: Vec<&str> = self.items.iter().map(|(t, _)| t.as_str()).collect();
        f.write_str(&items.join(","))
    }
}

fn infer_from_text(given: Vec<(String, String)>) -> Result<Pipeline, PassError> {
    let known: Vec<OptionInfo> = std::iter::once(KEEP).chain(FormDispatches::OPTIONS.iter().copied()).collect();
    let options = Options::new("infer", given, &known)?;
    Ok(infer(&InferOptions { keep: options.text(KEEP.name).map(ToString::to_string), dispatches: FormDispatches::from_options(&options)? }))
}

/// Cuts at commas outside braces.
fn split_items(text: &str) -> Result<Vec<&str>, String> {
    let mut items = Vec::new();
    let (mut start, mut open) = (0, None);
    for (i, c) in text.char_indices() {
        match (c, open) {
            ('{', None) => open = Some(i),
            ('{', Some(_)) => return Err(format!("unexpected `{{` at column {}", i + 1)),
            ('}', Some(_)) => open = None,
            ('}', None) => return Err(format!("`}}` at column {} closes nothing", i + 1)),
            (',', None) => {
                items.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    if let Some(i) = open {
        return Err(format!("`{{` at column {} is not closed", i + 1));
    }
    items.push(&text[start..]);
    if items.len() == 1 && items[0].trim().is_empty() {
        return Ok(Vec::new());
    }
    Ok(items)
}

fn make(info: &PassInfo, given: Given) -> Result<(String, Box<dyn Pass>), PassError> {
    let options = Options::new(info.name, given, info.options)?;
    Ok((format!("{}{options}", info.name), (info.make)(&options)?))
}

type Given = Vec<(String, String)>;

fn read_item(item: &str) -> Result<(&str, Given), String> {
    let (name, braces) = match item.split_once('{') {
        None => (item.trim(), None),
        Some((name, rest)) => match rest.trim_end().strip_suffix('}') {
            Some(inner) => (name.trim(), Some(inner)),
            None => return Err(format!("expected `,` after `}}` in `{}`", item.trim())),
        },
    };
    if name.is_empty() {
        return Err("expected the name of a pass, found nothing between two commas".to_string());
    }
    let mut given = Vec::new();
    for option in braces.into_iter().flat_map(|b| b.split(',')) {
        match option.split_once('=') {
            Some((k, v)) if !k.trim().is_empty() && !v.trim().is_empty() => {
                given.push((k.trim().to_string(), v.trim().to_string()));
            }
            _ => {
                return Err(format!("option `{}` of `{name}`: expected name=value", option.trim()));
            }
        }
    }
    Ok((name, given))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn error(text: &str) -> String {
        Pipeline::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn text_and_pipeline_are_inverses() {
        for text in ["dce", "cse,dce", "drop-training-heads{keep=out_1},form-dispatches{max-ops=8,recompute-stem=false}", ""] {
            assert_eq!(Pipeline::parse(text).unwrap().to_string(), text);
        }
        let whole = infer(&InferOptions::default()).to_string();
        assert_eq!(Pipeline::parse("infer").unwrap().to_string(), whole);
        assert_eq!(Pipeline::parse(&whole).unwrap().to_string(), whole);
        assert_eq!(Pipeline::parse(" infer{ keep = out_0 } , dce").unwrap().len(), INFER.len() + 5);
    }

    #[test]
    fn any_name_of_a_head_makes_a_pipeline() {
        let keep = Some("a}, b=".to_string());
        assert_eq!(infer(&InferOptions { keep, ..InferOptions::default() }).len(), INFER.len() + 4);
    }

    #[test]
    fn bad_texts_name_the_fault_and_the_nearest_name() {
        assert!(error("cse,decompos-norm").contains("did you mean `decompose-norm`?"));
        assert!(error("infr").contains("did you mean `infer`?"));
        assert!(!error("zzzz").contains("did you mean"));
        assert!(error("cse,,dce").contains("nothing between two commas"));
        assert!(error("cse{").contains("column 4 is not closed"));
        assert!(error("cse}").contains("column 4 closes nothing"));
        assert!(error("form-dispatches{max-op=3}").contains("did you mean `max-ops`?"));
        assert!(error("form-dispatches{max-ops=0}").contains("positive whole number, got `0`"));
        assert!(error("form-dispatches{max-ops}").contains("expected name=value"));
        assert!(error("form-dispatches{max-ops=1,max-ops=2}").contains("given twice"));
        assert!(error("form-dispatches{max-ops=1}x").contains("expected `,`"));
        assert!(error("dce{a=1}").contains("it takes none"));
        assert!(error("infer{fuse-head=maybe}").contains("true or false, got `maybe`"));
    }
}
