//! The check of a box against its pattern: parts present, ops that can play them, and which part reads which.

use crate::diag::Diagnostic;
use crate::entity::{DispatchId, OpId, ValueId};
use crate::graph::Graph;
use crate::ops::Op;

use super::{Part, Pattern};

/// Every way in which a box departs from its pattern.
///
/// Checked: each part the pattern needs is there, none is there too often or unknown to the pattern, each op can play its part, each
/// part reads the parts it should and nothing else of the box, and only the pattern's results are read outside. A `fragment` promises
/// no dataflow. A `cast` stands for the part that it rounds, of whatever type the value is then.
pub fn check(graph: &Graph, dispatch: DispatchId) -> Vec<Diagnostic> {
    let b = Reader { graph, dispatch, pattern: graph.dispatch(dispatch).pattern, parts: graph.parts(dispatch) };
    let mut errors = b.presence();
    // Without the right parts their dataflow has no meaning.
    if errors.is_empty() && b.pattern != Pattern::Fragment {
        for &(part, op) in &b.parts {
            b.form(part, op, &mut errors);
            b.reads(part, op, &mut errors);
        }
        b.results(&mut errors);
    }
    errors
}

struct Reader<'a> {
    graph: &'a Graph,
    dispatch: DispatchId,
    pattern: Pattern,
    parts: Vec<(Part, OpId)>,
}

/// What one operand of a part reads: the first of these parts that the box has.
struct Reads {
    /// Candidates, nearest first.
    parts: &'static [Part],
    /// Whether it is a stored tensor if the box has none of them.
    or_outside: bool,
}

const OUTSIDE: Reads = Reads { parts: &[], or_outside: true };

/// What the tensor operands of a part read. A second entry makes the operands an unordered pair, as those of a sum.
fn rules(part: Part) -> (Reads, Option<Reads>) {
    let from = |parts| (Reads { parts, or_outside: false }, None);
    let from_or_outside = |parts| (Reads { parts, or_outside: true }, None);
    match part {
        Part::Stem | Part::Residual | Part::Pointwise | Part::Classify | Part::Alone => (OUTSIDE, None),
        Part::Conv => from_or_outside(&[Part::Stem]),
        Part::Stats => from(&[Part::Conv]),
        Part::Norm => from_or_outside(&[Part::Conv]),
        Part::Expand => from_or_outside(&[Part::Norm]),
        Part::Gelu => from(&[Part::Expand]),
        Part::Grn => from(&[Part::Gelu]),
        Part::Compress => from(&[Part::Grn, Part::Gelu]),
        Part::Bias => from(&[Part::Residual]),
        Part::Sum => (from(&[Part::Compress]).0, Some(Reads { parts: &[Part::Bias, Part::Residual], or_outside: true })),
        Part::Pad | Part::Head => from(&[Part::Sum, Part::Compress]),
        // `Reader::reads` knows: a cast reads any part.
        Part::Cast => (OUTSIDE, None),
        Part::Skip => (from(&[Part::Pad, Part::Sum, Part::Compress]).0, Some(OUTSIDE)),
    }
}

impl Reader<'_> {
    fn name(&self) -> &str {
        &self.graph.dispatch(self.dispatch).name
    }

    fn error(&self, code: &'static str, op: Option<OpId>, message: &str) -> Diagnostic {
        let place = op.map_or_else(|| format!("@{}", self.name()), |op| self.graph.node(op).loc.to_string());
        Diagnostic::new(code, place, format!("dispatch @{} : {}: {message}", self.name(), self.pattern))
    }

    fn find(&self, part: Part) -> Option<OpId> {
        self.parts.iter().find(|(p, _)| *p == part).map(|(_, op)| *op)
    }

    /// The part that makes a value, or rather that which it is rounded from.
    fn inside(&self, v: ValueId) -> Option<(Part, OpId)> {
        let mut v = v;
        // As often as there are parts: an unsound graph may go round.
        for _ in 0..self.parts.len() {
            let def = self.graph.def(v)?;
            match self.parts.iter().copied().find(|(_, op)| *op == def)? {
                (Part::Cast, op) => v = *self.graph.operands(op).first()?,
                found => return Some(found),
            }
        }
        None
    }

    fn presence(&self) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        let row = self.pattern.info();
        for &need in row.needs {
            if self.find(need).is_none() {
                errors.push(self.error("ir-0131", None, &format!("the part `{need}` is missing")));
            }
        }
        for (i, &(part, op)) in self.parts.iter().enumerate() {
            let mnemonic = self.graph.op(op).info().mnemonic;
            if !row.needs.contains(&part) && !row.may.contains(&part) && !row.many.contains(&part) {
                errors.push(self.error("ir-0131", Some(op), &format!("{mnemonic} stands as `{part}`, which this pattern does not have")));
            } else if !row.many.contains(&part) && self.parts[..i].iter().any(|(p, _)| *p == part) {
                errors.push(self.error("ir-0131", Some(op), &format!("{mnemonic} is a second `{part}`, one is expected")));
            }
            if !part.takes(self.graph.op(op)) {
                let want: Vec<&str> = part.info().ops.iter().map(|o| o.info().mnemonic).collect();
                let message = format!("{mnemonic} cannot stand as `{part}`, expected {}", want.join(" or "));
                errors.push(self.error("ir-0131", Some(op), &message));
            }
        }
        errors
    }

    /// Restrictions that ops and parts alone do not express.
    fn form(&self, part: Part, op: OpId, errors: &mut Vec<Diagnostic>) {
        let mut refuse = |message: &str| errors.push(self.error("ir-0131", Some(op), message));
        let at = self.graph.op(op);
        if part == Part::Head && self.find(Part::Pad).is_some() {
            refuse("`head` cannot stand behind `pad`");
        }
        match part {
            Part::Stem | Part::Expand | Part::Compress | Part::Head => {
                if let Op::ConvPointwise(a) = at
                    && a.stride != 1
                {
                    refuse(&format!("`{part}` has stride {}, expected stride 1", a.stride));
                }
            }
            Part::Norm => {
                let conv = self.find(Part::Conv).is_some();
                if matches!(at, Op::NormLayer(_)) && !conv {
                    refuse("norm.layer stands behind its depthwise convolution, the part `conv` is missing");
                }
                if matches!(at, Op::NormApply(_)) && conv {
                    refuse("norm.apply reads a stored convolution, the part `conv` is too many");
                }
            }
            Part::Grn => {
                let want = if self.pattern == Pattern::GrnStats { "grn.stats" } else { "grn.apply" };
                if at.info().mnemonic != want {
                    refuse(&format!("{} cannot stand as `grn`, expected {want}", at.info().mnemonic));
                }
            }
            Part::Conv
            | Part::Stats
            | Part::Gelu
            | Part::Residual
            | Part::Bias
            | Part::Sum
            | Part::Pad
            | Part::Skip
            | Part::Pointwise
            | Part::Classify
            | Part::Cast
            | Part::Alone => {}
        }
    }

    /// The part that an operand must come from; `None` for a stored tensor.
    fn source(&self, reads: &Reads) -> Option<Part> {
        reads.parts.iter().copied().find(|&p| self.find(p).is_some())
    }

    fn reads(&self, part: Part, op: OpId, errors: &mut Vec<Diagnostic>) {
        let operands = self.graph.operands(op);
        if part == Part::Cast {
            if !operands.iter().any(|&v| self.inside(v).is_some()) {
                errors.push(self.error("ir-0132", Some(op), "`cast` reads a stored tensor, expected another part"));
            }
            return;
        }
        let (first, second) = rules(part);
        let tensors = if second.is_some() { 2 } else { 1 };
        let found: Vec<Option<Part>> = operands.iter().take(tensors).map(|&v| self.inside(v).map(|(p, _)| p)).collect();
        let mut want = vec![(self.source(&first), first.or_outside)];
        want.extend(second.map(|s| (self.source(&s), s.or_outside)));
        let sound = want.iter().all(|(part, or_outside)| part.is_some() || *or_outside);
        let parts: Vec<Option<Part>> = want.iter().map(|(part, _)| *part).collect();
        let swapped: Vec<Option<Part>> = found.iter().rev().copied().collect();
        if !sound || (found != parts && swapped != parts) {
            let names = |parts: &[Option<Part>]| {
                let name = |p: &Option<Part>| p.map_or_else(|| "a stored tensor".to_string(), |p| format!("`{p}`"));
                parts.iter().map(name).collect::<Vec<_>>().join(" and ")
            };
            let message = format!("`{part}` reads {}, expected {}", names(&found), names(&parts));
            errors.push(self.error("ir-0132", Some(op), &message));
        }
        // Weights, statistics and ratios come from outside.
        for &v in operands.iter().skip(tensors) {
            if let Some((other, _)) = self.inside(v) {
                let message = format!("`{part}` reads `{other}` where a weight or stored statistics are expected");
                errors.push(self.error("ir-0132", Some(op), &message));
            }
        }
    }

    /// Parts whose values other boxes may read; every other value is read inside.
    fn yields(&self, part: Part) -> bool {
        match self.pattern {
            Pattern::Conv => matches!(part, Part::Conv | Part::Stats),
            Pattern::Mlp => {
                let last = [Part::Skip, Part::Pad, Part::Sum, Part::Compress].into_iter().find(|&p| self.find(p).is_some());
                part == Part::Head || Some(part) == last
            }
            Pattern::GrnStats => part == Part::Grn,
            Pattern::Pointwise | Pattern::Classify | Pattern::Alone | Pattern::Fragment => true,
        }
    }

    fn results(&self, errors: &mut Vec<Diagnostic>) {
        let outside = crate::print::yields(self.graph, self.dispatch);
        for &(part, op) in &self.parts {
            let result = self.graph.result(op);
            let rounded = self.inside(result).map_or(part, |(part, _)| part);
            if self.yields(rounded) {
                continue;
            }
            if outside.contains(&result) {
                errors.push(self.error("ir-0132", Some(op), &format!("`{part}` is read outside the box")));
            }
            if !self.parts.iter().any(|(_, other)| self.graph.operands(*other).contains(&result)) {
                errors.push(self.error("ir-0132", Some(op), &format!("`{part}` is read by no part of the box")));
            }
        }
    }
}
