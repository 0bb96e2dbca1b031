//! Local rules and the loop that applies them.

use mnx_ir::builder::Draft;
use mnx_ir::{Diagnostic, Graph, Op, OpCode, OpId, Patch, TensorType, ValueId};

use crate::error::PassError;
use crate::pass::{Changed, PassCx};
use crate::uses::Uses;

/// A local rule: looks, never touches.
pub trait Rewrite: std::fmt::Debug {
    /// Kebab-case.
    fn name(&self) -> &'static str;
    /// Codes of the ops it may be rooted at.
    fn roots(&self) -> &'static [OpCode];
    /// What it wants changed at this op; `None` means "not mine".
    ///
    /// # Errors
    /// If it built an op whose operands do not fit: a rule that matched too much.
    fn matches(&self, site: &Site<'_>) -> Result<Option<Patch>, Diagnostic>;
}

/// An op that a rule looks at, with its surroundings.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Live readers of its values.
    pub uses: &'a Uses,
    /// The op.
    pub root: OpId,
}

impl<'a> Site<'a> {
    /// The op.
    pub fn op(&self) -> &'a Op {
        self.graph.op(self.root)
    }

    /// Operands of the root.
    pub fn operands(&self) -> &'a [ValueId] {
        self.graph.operands(self.root)
    }

    /// A patch for it, to be filled in.
    pub fn draft(&self, rule: &'static str) -> Draft<'a> {
        Draft::new(rule, self.graph, self.root)
    }

    /// Result of the root.
    pub fn result(&self) -> ValueId {
        self.graph.result(self.root)
    }

    /// Type of a value.
    pub fn ty(&self, v: ValueId) -> &'a TensorType {
        self.graph.ty(v)
    }

    /// The op that defines a value, with its operands.
    pub fn def(&self, v: ValueId) -> Option<(OpId, &'a Op, &'a [ValueId])> {
        self.graph.def(v).map(|id| (id, self.graph.op(id), self.graph.operands(id)))
    }

    /// The op that defines a value that nobody but `reader` reads.
    pub fn sole_def(&self, v: ValueId, reader: OpId) -> Option<(OpId, &'a Op, &'a [ValueId])> {
        (self.uses.sole_reader(v) == Some(reader)).then(|| self.def(v)).flatten()
    }
}

/// Applies rules to live ops until none matches, walking the ops in program order.
///
/// # Errors
/// If a rule builds an invalid op, or the rules never come to an end.
pub fn rewrite(graph: &mut Graph, cx: &mut PassCx, rules: &[&dyn Rewrite]) -> Result<Changed, PassError> {
    walk(graph, cx, rules, false)
}

/// Rewriting of dead ops too: for passes that promise that no op of a kind is left.
///
/// # Errors
/// As [`rewrite`].
pub fn rewrite_everywhere(graph: &mut Graph, cx: &mut PassCx, rules: &[&dyn Rewrite]) -> Result<Changed, PassError> {
    walk(graph, cx, rules, true)
}

fn walk(graph: &mut Graph, cx: &mut PassCx, rules: &[&dyn Rewrite], dead_too: bool) -> Result<Changed, PassError> {
    let bound = 8 * (graph.order().len() + 16);
    let mut patches = 0;
    let mut uses = Uses::of(graph);
    loop {
        let before = patches;
        for root in graph.order().to_vec() {
            for rule in rules {
                // A patch may have taken the root out of the graph.
                let here = uses.is_live(root) || dead_too && graph.order().contains(&root);
                if !rule.roots().contains(&graph.op(root).code()) || !here {
                    continue;
                }
                let Some(patch) = rule.matches(&Site { graph, uses: &uses, root })? else {
                    continue;
                };
                if !cx.apply(graph, patch) {
                    return Ok(Changed::when(patches > 0));
                }
                patches += 1;
                if patches > bound {
                    return Err(PassError::Endless { pass: cx.pass().to_string(), rule: rule.name().to_string(), patches });
                }
                uses = Uses::of(graph);
            }
        }
        if patches == before {
            return Ok(Changed::when(patches > 0));
        }
    }
}
