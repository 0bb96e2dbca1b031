//! The graph: an arena of ops and values in program order, with dispatch boxes drawn around some of them.

use crate::diag::{Diagnostic, Loc};
use crate::entity::{DispatchId, OpId, ValueId};
use crate::infer::infer;
use crate::ops::Op;
use crate::patch::{Patch, Shunt};
use crate::pattern::{Part, Pattern};
use crate::stage::Stage;
use crate::types::TensorType;
use smallvec::SmallVec;

/// An op in place.
#[derive(Debug, Clone)]
pub struct OpNode {
    /// The op.
    pub op: Op,
    /// Operands, in the order of the table.
    pub operands: SmallVec<[ValueId; 4]>,
    /// Result of the op.
    pub result: ValueId,
    /// Where it comes from.
    pub loc: Loc,
    /// The box it stands in.
    pub dispatch: Option<DispatchId>,
    /// The part it plays there; every op of a box has one, no other op has.
    pub part: Option<Part>,
}

/// A value.
#[derive(Debug, Clone)]
pub struct ValueNode {
    /// Type of the value.
    pub ty: TensorType,
    /// The op that defines it; none for a graph input.
    pub def: Option<OpId>,
    /// Whether it depends on params and states alone.
    weight: bool,
}

/// A dispatch box: ops that become one launch sequence.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Name, unique in the graph: `enc_block_0.0.norm_mlp`.
    pub name: String,
    /// What the box is for, and so which parts its ops play.
    pub pattern: Pattern,
}

/// A typed tensor graph.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Name.
    pub name: String,
    /// How far it has come.
    pub stage: Stage,
    ops: Vec<OpNode>,
    values: Vec<ValueNode>,
    order: Vec<OpId>,
    inputs: Vec<(String, ValueId)>,
    outputs: Vec<(String, ValueId)>,
    updates: Vec<(String, ValueId)>,
    dispatches: Vec<Dispatch>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str, stage: Stage) -> Self {
        Self {
            name: name.to_string(),
            stage,
            ops: Vec::new(),
            values: Vec::new(),
            order: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            updates: Vec::new(),
            dispatches: Vec::new(),
        }
    }

    /// Declares an input.
    pub fn input(&mut self, name: &str, ty: TensorType) -> ValueId {
        let v = self.new_value(ty, None, false);
        self.inputs.push((name.to_string(), v));
        v
    }

    /// Declares a checkpoint tensor, or finds the one already declared under this key.
    ///
    /// # Errors
    /// If the key is already declared with another type.
    pub fn param(&mut self, key: &str, ty: TensorType) -> Result<ValueId, Diagnostic> {
        self.declare(Op::param(key), key, ty)
    }

    /// Declares a state, or finds the one already declared under this key.
    ///
    /// # Errors
    /// If the key is already declared with another type, or is a param's.
    pub fn state(&mut self, key: &str, ty: TensorType) -> Result<ValueId, Diagnostic> {
        self.declare(Op::state(key), key, ty)
    }

    fn declare(&mut self, op: Op, key: &str, ty: TensorType) -> Result<ValueId, Diagnostic> {
        let Some(id) = self.leaf(key) else {
            return Ok(self.push_typed(op, &[], ty, Loc::layer(key)));
        };
        let (old, v) = (self.op(id), self.result(id));
        if *old == op && *self.ty(v) == ty {
            return Ok(v);
        }
        let (old, new) = (old.info().mnemonic, op.info().mnemonic);
        Err(Diagnostic::new("ir-0103", key, format!("{new} \"{key}\" is declared as {old} {} and as {new} {ty}", self.ty(v))))
    }

    /// Appends an op; its result type is inferred.
    ///
    /// # Errors
    /// If the operands do not fit the op.
    pub fn push(&mut self, op: Op, operands: &[ValueId], loc: &Loc) -> Result<ValueId, Diagnostic> {
        let types: Vec<&TensorType> = operands.iter().map(|&v| self.ty(v)).collect();
        match infer(&op, &types) {
            Ok(ty) => Ok(self.push_typed(op, operands, ty, loc.clone())),
            Err(why) => {
                let mut d = Diagnostic::new("ir-0107", loc, format!("{}: {why}", op.info().mnemonic));
                for (v, t) in operands.iter().zip(&types) {
                    d = d.note(format!("{v} : {t}"));
                }
                Err(d)
            }
        }
    }

    /// Appends an op with a declared result type; the verifier checks it later.
    pub fn push_typed(&mut self, op: Op, operands: &[ValueId], ty: TensorType, loc: Loc) -> ValueId {
        let id = OpId::from_index(self.ops.len());
        let weight = op.key().is_some() || !operands.is_empty() && operands.iter().all(|&v| self.is_weight(v));
        let result = self.new_value(ty, Some(id), weight);
        self.ops.push(OpNode { op, operands: SmallVec::from_slice(operands), result, loc, dispatch: None, part: None });
        self.order.push(id);
        result
    }

    /// Declares an output.
    pub fn output(&mut self, name: &str, v: ValueId) {
        self.outputs.push((name.to_string(), v));
    }

    /// Declares that a run leaves `v` in the param or state `key`. Reads of the key in this graph still see the old value.
    pub fn update(&mut self, key: &str, v: ValueId) {
        self.updates.push((key.to_string(), v));
    }

    /// Opens a box; ops join it through [`Graph::set_dispatch`].
    pub fn add_dispatch(&mut self, name: &str, pattern: Pattern) -> DispatchId {
        self.dispatches.push(Dispatch { name: name.to_string(), pattern });
        DispatchId::from_index(self.dispatches.len() - 1)
    }

    /// Says what a box is for.
    pub fn set_pattern(&mut self, dispatch: DispatchId, pattern: Pattern) {
        self.dispatches[dispatch.index()].pattern = pattern;
    }

    /// Puts an op into a box as one of its parts, or takes it out.
    pub fn set_dispatch(&mut self, op: OpId, place: Option<(DispatchId, Part)>) {
        let node = &mut self.ops[op.index()];
        (node.dispatch, node.part) = place.map_or((None, None), |(dispatch, part)| (Some(dispatch), Some(part)));
    }

    /// Sets the memory layout of a value.
    pub fn set_layout(&mut self, v: ValueId, layout: crate::Layout) {
        self.values[v.index()].ty.layout = layout;
    }

    /// Replaces the program order. Ops left out are dropped.
    ///
    /// # Panics
    /// If an op is listed twice.
    pub fn set_order(&mut self, order: Vec<OpId>) {
        let mut seen = vec![false; self.ops.len()];
        for id in &order {
            assert!(!std::mem::replace(&mut seen[id.index()], true), "{id} listed twice");
        }
        self.order = order;
    }

    /// Drops the outputs for which `keep` is false.
    pub fn retain_outputs(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.outputs.retain(|(name, _)| keep(name));
    }

    /// Replaces the outputs.
    pub fn set_outputs(&mut self, outputs: Vec<(String, ValueId)>) {
        self.outputs = outputs;
    }

    /// Replaces the updates.
    pub fn set_updates(&mut self, updates: Vec<(String, ValueId)>) {
        self.updates = updates;
    }

    fn new_value(&mut self, ty: TensorType, def: Option<OpId>, weight: bool) -> ValueId {
        self.values.push(ValueNode { ty, def, weight });
        ValueId::from_index(self.values.len() - 1)
    }

    /// Live ops, in program order.
    pub fn order(&self) -> &[OpId] {
        &self.order
    }

    /// An op.
    pub fn node(&self, id: OpId) -> &OpNode {
        &self.ops[id.index()]
    }

    /// An op without its place.
    pub fn op(&self, id: OpId) -> &Op {
        &self.ops[id.index()].op
    }

    /// Operands of an op.
    pub fn operands(&self, id: OpId) -> &[ValueId] {
        &self.ops[id.index()].operands
    }

    /// Result of an op.
    pub fn result(&self, id: OpId) -> ValueId {
        self.ops[id.index()].result
    }

    /// Type of a value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        &self.values[v.index()].ty
    }

    /// The op that defines a value; none for an input.
    pub fn def(&self, v: ValueId) -> Option<OpId> {
        self.values[v.index()].def
    }

    /// Number of values ever made (ids are below it).
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// Number of ops ever made (ids are below it).
    pub fn op_count(&self) -> usize {
        self.ops.len()
    }

    /// Inputs with their names.
    pub fn inputs(&self) -> &[(String, ValueId)] {
        &self.inputs
    }

    /// Outputs with their names.
    pub fn outputs(&self) -> &[(String, ValueId)] {
        &self.outputs
    }

    /// Updates with the keys of the params and states that they change, in the order of declaration.
    pub fn updates(&self) -> &[(String, ValueId)] {
        &self.updates
    }

    /// The boxes; a box may have lost all its ops.
    pub fn dispatches(&self) -> &[Dispatch] {
        &self.dispatches
    }

    /// A box.
    pub fn dispatch(&self, id: DispatchId) -> &Dispatch {
        &self.dispatches[id.index()]
    }

    /// Boxes that hold ops, in program order, with their ops in order.
    pub fn boxes(&self) -> Vec<(DispatchId, Vec<OpId>)> {
        let mut out: Vec<(DispatchId, Vec<OpId>)> = Vec::new();
        for &id in &self.order {
            if let Some(d) = self.node(id).dispatch {
                match out.iter_mut().find(|(other, _)| *other == d) {
                    Some((_, ops)) => ops.push(id),
                    None => out.push((d, vec![id])),
                }
            }
        }
        out
    }

    /// For every value, the live ops that read it, in program order. Outputs are not counted.
    pub fn users(&self) -> Vec<Vec<OpId>> {
        let mut users = vec![Vec::new(); self.values.len()];
        for &id in &self.order {
            for v in &self.node(id).operands {
                let list: &mut Vec<OpId> = &mut users[v.index()];
                if list.last() != Some(&id) {
                    list.push(id);
                }
            }
        }
        users
    }

    /// Whether a value is an output of the graph.
    pub fn is_output(&self, v: ValueId) -> bool {
        self.outputs.iter().any(|(_, o)| *o == v)
    }

    /// Whether a value outlives the run: an output, or the new value of a param or state.
    pub fn is_kept(&self, v: ValueId) -> bool {
        self.is_output(v) || self.updates.iter().any(|(_, u)| *u == v)
    }

    /// Whether a value depends on params and states alone: a weight or a derived weight, whatever the op.
    pub fn is_weight(&self, v: ValueId) -> bool {
        self.values[v.index()].weight
    }

    /// The op that declares the param or state of a key.
    pub fn leaf(&self, key: &str) -> Option<OpId> {
        self.order.iter().copied().find(|&id| self.op(id).key() == Some(key))
    }

    /// Params with their keys, in program order.
    pub fn params(&self) -> Vec<(&str, ValueId)> {
        self.leaves(|op| matches!(op, Op::Param(_)))
    }

    /// States with their keys, in program order.
    pub fn states(&self) -> Vec<(&str, ValueId)> {
        self.leaves(|op| matches!(op, Op::State(_)))
    }

    fn leaves(&self, wanted: impl Fn(&Op) -> bool) -> Vec<(&str, ValueId)> {
        let leaf = |&id: &OpId| self.op(id).key().filter(|_| wanted(self.op(id))).map(|key| (key, self.result(id)));
        self.order.iter().filter_map(leaf).collect()
    }

    /// Applies a patch: its ops go in just before the root, its shunts replace uses everywhere.
    /// Replaced ops stay until dead code is removed, except the root if all uses of its result were shunted.
    ///
    /// # Panics
    /// If the patch was made for another state of this graph.
    pub fn apply(&mut self, patch: Patch) {
        assert_eq!(patch.base_values, self.values.len(), "patch `{}` is stale", patch.rule);
        let at = self.order.iter().position(|&id| id == patch.root).expect("a patch's root is live");
        let mut new_ids = Vec::with_capacity(patch.ops.len());
        for (node, ty, weight) in patch.ops {
            let id = OpId::from_index(self.ops.len());
            let v = self.new_value(ty, Some(id), weight);
            debug_assert_eq!(v, node.result);
            self.ops.push(node);
            new_ids.push(id);
        }
        let root = self.ops[patch.root.index()].result;
        let root_gone = !patch.behind && patch.shunts.iter().any(|s| s.old == root && s.readers.is_none());
        let at = at + usize::from(patch.behind);
        self.order.splice(at..at + usize::from(root_gone), new_ids);
        let reclassified = patch.shunts.iter().any(|s| self.is_weight(s.old) != self.is_weight(s.new));
        for Shunt { old, new, readers } in patch.shunts {
            for &id in readers.as_ref().unwrap_or(&self.order) {
                for v in &mut self.ops[id.index()].operands {
                    if *v == old {
                        *v = new;
                    }
                }
            }
            for (_, v) in self.outputs.iter_mut().chain(&mut self.updates) {
                if *v == old && readers.is_none() {
                    *v = new;
                }
            }
        }
        if reclassified {
            self.classify();
        }
    }

    /// Works out anew which values are weights, in one walk over the program.
    fn classify(&mut self) {
        for i in 0..self.order.len() {
            let node = &self.ops[self.order[i].index()];
            let weight = node.op.key().is_some() || !node.operands.is_empty() && node.operands.iter().all(|&v| self.is_weight(v));
            let result = node.result;
            self.values[result.index()].weight = weight;
        }
    }
}
