//! Builders: a graph at a location, and a patch under construction. Both have the methods of [`Builder`], one per op.

use crate::diag::{Diagnostic, Loc};
use crate::entity::{OpId, ValueId};
use crate::graph::Graph;
use crate::ops::{Builder, Op};
use crate::patch::Patch;
use crate::pattern::Part;
use crate::types::TensorType;

/// The end of a graph: ops are appended, all with one location.
#[derive(Debug)]
pub struct At<'g> {
    graph: &'g mut Graph,
    loc: Loc,
}

impl Graph {
    /// A builder that appends ops which come from the layer `name`.
    pub fn at(&mut self, name: &str) -> At<'_> {
        At { graph: self, loc: Loc::layer(name) }
    }
}

impl Builder for At<'_> {
    fn push(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId, Diagnostic> {
        self.graph.push(op, operands, &self.loc)
    }
}

/// A patch under construction, with the graph it is for in view.
#[derive(Debug)]
pub struct Draft<'g> {
    graph: &'g Graph,
    patch: Patch,
}

impl<'g> Draft<'g> {
    /// An empty patch. New ops inherit the root's location.
    pub fn new(rule: &'static str, graph: &'g Graph, root: OpId) -> Self {
        Self { graph, patch: Patch::new(rule, graph, root) }
    }

    /// The ops added from here on come from where `op` came from, not from the root's place.
    pub fn locate(&mut self, op: OpId) {
        self.patch.locate(self.graph, op);
    }

    /// The ops added from here on join the root's box as this part. Without a part they stand in no box.
    pub fn stand_as(&mut self, part: Part) {
        self.patch.stand_as(part);
    }

    /// The new ops stand behind the root instead of before it, and may read its result.
    pub fn stand_behind(&mut self) {
        self.patch.stand_behind();
    }

    /// Replaces `old` by `new` where these ops read it; other readers, outputs and updates keep the old value.
    pub fn shunt_for(&mut self, old: ValueId, new: ValueId, readers: &[OpId]) {
        self.patch.shunt_for(old, new, readers);
    }

    /// Replaces every use of `old` by `new`.
    pub fn shunt(&mut self, old: ValueId, new: ValueId) {
        self.patch.shunt(old, new);
    }

    /// Type of an old or new value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        self.patch.ty(self.graph, v)
    }

    /// The patch as it stands.
    pub fn finish(self) -> Patch {
        self.patch
    }

    /// The patch, with `new` in the place of the root's result.
    pub fn replace_root(mut self, new: ValueId) -> Patch {
        self.patch.shunt(self.graph.result(self.patch.root), new);
        self.patch
    }
}

impl Builder for Draft<'_> {
    fn push(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId, Diagnostic> {
        self.patch.push(self.graph, op, operands)
    }
}
