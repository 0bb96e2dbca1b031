//! A patch: what a rule wants changed, as a value. The rule looks, the pass manager applies, counts and can stop after N.

use smallvec::SmallVec;

use crate::diag::{Diagnostic, Loc};
use crate::entity::{OpId, ValueId};
use crate::graph::{Graph, OpNode};
use crate::infer::infer;
use crate::ops::Op;
use crate::pattern::Part;
use crate::types::TensorType;

/// New ops to stand before `root`, and shunts of old values to new ones.
#[derive(Debug, Clone)]
pub struct Patch {
    /// The rule that made it.
    pub rule: &'static str,
    /// The op it was made for.
    pub root: OpId,
    pub(crate) base_values: usize,
    /// New ops with the types of their results and whether these are weights.
    pub(crate) ops: Vec<(OpNode, TensorType, bool)>,
    pub(crate) shunts: Vec<Shunt>,
    /// Whether the new ops stand behind the root, which then stays.
    pub(crate) behind: bool,
    loc: Loc,
    part: Option<Part>,
}

/// Uses of one value that another takes over.
#[derive(Debug, Clone)]
pub(crate) struct Shunt {
    pub(crate) old: ValueId,
    pub(crate) new: ValueId,
    /// The ops whose operands change; none for every use, outputs and updates included.
    pub(crate) readers: Option<Vec<OpId>>,
}

impl Patch {
    /// An empty patch. New ops inherit the root's location.
    pub fn new(rule: &'static str, graph: &Graph, root: OpId) -> Self {
        let loc = graph.node(root).loc.clone();
        Self { rule, root, base_values: graph.value_count(), ops: Vec::new(), shunts: Vec::new(), behind: false, loc, part: None }
    }

    /// The ops added from here on join the root's box as this part. Without a part they stand in no box.
    pub fn stand_as(&mut self, part: Part) {
        self.part = Some(part);
    }

    /// The ops added from here on come from where `op` came from, not from the root's place.
    pub fn locate(&mut self, graph: &Graph, op: OpId) {
        self.loc = graph.node(op).loc.clone();
    }

    /// Adds an op on old or new values.
    ///
    /// # Errors
    /// If the operands do not fit: a rule that matched too much.
    pub fn push(&mut self, graph: &Graph, op: Op, operands: &[ValueId]) -> Result<ValueId, Diagnostic> {
        let types: Vec<&TensorType> = operands.iter().map(|&v| self.ty(graph, v)).collect();
        let ty = infer(&op, &types)
            .map_err(|why| Diagnostic::new("ir-0108", &self.loc, format!("{}: {}: {why}", self.rule, op.info().mnemonic)))?;
        let result = ValueId::from_index(self.base_values + self.ops.len());
        let weight = op.key().is_some() || !operands.is_empty() && operands.iter().all(|&v| self.is_weight(graph, v));
        // Derived weights are computed once, outside every box.
        let place = graph.node(self.root).dispatch.zip(self.part).filter(|_| !weight);
        let node = OpNode {
            op,
            operands: SmallVec::from_slice(operands),
            result,
            loc: self.loc.clone(),
            dispatch: place.map(|(dispatch, _)| dispatch),
            part: place.map(|(_, part)| part),
        };
        self.ops.push((node, ty, weight));
        Ok(result)
    }

    /// Replaces every use of `old` by `new`.
    pub fn shunt(&mut self, old: ValueId, new: ValueId) {
        self.shunts.push(Shunt { old, new, readers: None });
    }

    /// Replaces `old` by `new` where these ops read it; other readers, outputs and updates keep the old value.
    pub fn shunt_for(&mut self, old: ValueId, new: ValueId, readers: &[OpId]) {
        self.shunts.push(Shunt { old, new, readers: Some(readers.to_vec()) });
    }

    /// The new ops stand behind the root instead of before it, and may read its result.
    pub fn stand_behind(&mut self) {
        self.behind = true;
    }

    /// Whether an old or new value depends on params and states alone.
    pub fn is_weight(&self, graph: &Graph, v: ValueId) -> bool {
        match v.index().checked_sub(self.base_values) {
            Some(i) => self.ops[i].2,
            None => graph.is_weight(v),
        }
    }

    /// Type of an old or new value.
    pub fn ty<'a>(&'a self, graph: &'a Graph, v: ValueId) -> &'a TensorType {
        match v.index().checked_sub(self.base_values) {
            Some(i) => &self.ops[i].1,
            None => graph.ty(v),
        }
    }
}
