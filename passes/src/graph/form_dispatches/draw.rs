//! Which op joins which box.

use mnx_ir::{Graph, Op, OpId, Part, Pattern, ValueId};

use super::FormDispatches;
use super::clone::stem;
use crate::uses::Uses;

/// A box to be.
#[derive(Debug)]
pub(super) struct Drawn {
    /// What it does: the last part of its name.
    pub what: &'static str,
    /// What it is for.
    pub pattern: Pattern,
    /// The op whose location names it.
    pub anchor: OpId,
    /// Ops with their parts, in no order.
    pub ops: Vec<(OpId, Part)>,
}

impl Drawn {
    fn has(&self, part: Part) -> bool {
        self.ops.iter().any(|(_, p)| *p == part)
    }
}

struct Pen<'a> {
    g: &'a Graph,
    uses: Uses,
    options: &'a FormDispatches,
    boxes: Vec<Drawn>,
    owner: Vec<Option<usize>>,
}

/// Draws boxes around all ops of a graph without dead ops that are no weights. No cycle runs between boxes.
pub(super) fn draw(options: &FormDispatches, g: &Graph) -> Vec<Drawn> {
    let mut pen = Pen { g, uses: Uses::of(g), options, boxes: Vec::new(), owner: vec![None; g.op_count()] };
    let activations = || g.order().iter().copied().filter(|&id| !g.is_weight(g.result(id)));
    // The MLPs first: a layer norm takes its depthwise convolution along.
    for id in activations().filter(|&id| matches!(g.op(id), Op::Gelu(_))) {
        let b = pen.mlp(id);
        pen.name_pattern(b);
    }
    for id in activations().filter(|&id| matches!(g.op(id), Op::ConvDepthwise(_) | Op::ConvDepthwiseTransposed(_))) {
        pen.depthwise(id);
    }
    for id in activations() {
        pen.single(id);
    }
    pen.boxes
}

impl Pen<'_> {
    fn open(&mut self, what: &'static str, pattern: Pattern, op: OpId, part: Part) -> usize {
        let b = self.boxes.len();
        self.boxes.push(Drawn { what, pattern, anchor: op, ops: vec![(op, part)] });
        self.owner[op.index()] = Some(b);
        b
    }

    /// Lets ops join a box together, unless one stands in a box already, the box is full or a cycle between boxes would close.
    fn join(&mut self, b: usize, ops: &[(OpId, Part)]) -> bool {
        let full = self.options.max_ops.is_some_and(|n| self.boxes[b].ops.len() + ops.len() > n);
        if full || ops.iter().any(|(o, _)| self.owner[o.index()].is_some()) {
            return false;
        }
        for &(o, part) in ops {
            self.owner[o.index()] = Some(b);
            self.boxes[b].ops.push((o, part));
        }
        let ok = !self.returns(b);
        if !ok {
            let kept = self.boxes[b].ops.len() - ops.len();
            self.boxes[b].ops.truncate(kept);
            ops.iter().for_each(|(o, _)| self.owner[o.index()] = None);
        }
        ok
    }

    /// Whether a path leaves the box and comes back, seeing other boxes as single nodes.
    fn returns(&self, b: usize) -> bool {
        let mut seen = vec![false; self.g.op_count()];
        let mut todo: Vec<OpId> = Vec::new();
        let inputs = |id: OpId, todo: &mut Vec<OpId>| todo.extend(self.g.operands(id).iter().filter_map(|&v| self.g.def(v)));
        for &(id, _) in &self.boxes[b].ops {
            inputs(id, &mut todo);
        }
        todo.retain(|id| self.owner[id.index()] != Some(b));
        while let Some(id) = todo.pop() {
            if self.owner[id.index()] == Some(b) {
                return true;
            }
            if std::mem::replace(&mut seen[id.index()], true) {
                continue;
            }
            match self.owner[id.index()] {
                Some(other) => self.boxes[other].ops.iter().for_each(|&(o, _)| {
                    seen[o.index()] = true;
                    inputs(o, &mut todo);
                }),
                None => inputs(id, &mut todo),
            }
        }
        false
    }

    /// The op that defines `v`, if `reader` alone reads it.
    fn sole_def(&self, v: ValueId, reader: OpId) -> Option<OpId> {
        (self.uses.sole_reader(v) == Some(reader)).then(|| self.g.def(v)).flatten()
    }

    /// A stem that `reader` alone reads, if stems are recomputed.
    fn own_stem(&self, v: ValueId, reader: OpId) -> Option<OpId> {
        self.sole_def(v, reader).filter(|_| self.options.recompute_stem && stem(self.g, v).is_some())
    }

    /// The box around a depthwise convolution that no layer norm took along.
    fn depthwise(&mut self, conv: OpId) {
        if self.owner[conv.index()].is_some() {
            return;
        }
        let b = self.open("dwconv", Pattern::Conv, conv, Part::Conv);
        if let Some(stem) = self.own_stem(self.g.operands(conv)[0], conv) {
            self.join(b, &[(stem, Part::Stem)]);
        }
        let stats = self.uses.readers(self.g.result(conv)).iter().copied().find(|&r| matches!(self.g.op(r), Op::NormStats(_)));
        if stats.is_some_and(|s| self.join(b, &[(s, Part::Stats)])) {
            self.boxes[b].what = "dwconv_stats";
        }
    }

    /// Says what a box around a GELU came to be.
    fn name_pattern(&mut self, b: usize) {
        let drawn = &mut self.boxes[b];
        drawn.pattern = if drawn.has(Part::Compress) {
            Pattern::Mlp
        } else if drawn.ops.iter().any(|(op, _)| matches!(self.g.op(*op), Op::GrnStats(_))) {
            Pattern::GrnStats
        } else if let [(_, part)] = &mut drawn.ops[..] {
            *part = Part::Alone;
            Pattern::Alone
        } else {
            Pattern::Fragment
        };
    }

    /// The box around a GELU.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a box takes the ops of its pattern; any other op gets a box of its own")]
    fn mlp(&mut self, gelu: OpId) -> usize {
        let g = self.g;
        let b = self.open("gelu", Pattern::Fragment, gelu, Part::Gelu);
        // Backwards: expansion, norm, and in front of a layer norm the convolution.
        let Some(expand) = self.sole_def(g.operands(gelu)[0], gelu).filter(|&d| is_unit_pointwise(g, d)) else { return b };
        if !self.join(b, &[(expand, Part::Expand)]) {
            return b;
        }
        let (mut what, mut hidden_what) = ("mlp", "grn_stats");
        if let Some(norm) = self.sole_def(g.operands(expand)[0], expand) {
            match g.op(norm) {
                Op::NormApply(_) if self.join(b, &[(norm, Part::Norm)]) => (what, hidden_what) = ("norm_mlp", "norm_grn_stats"),
                Op::NormLayer(_) => {
                    let conv = self
                        .sole_def(g.operands(norm)[0], norm)
                        .filter(|&c| matches!(g.op(c), Op::ConvDepthwise(_) | Op::ConvDepthwiseTransposed(_)));
                    // A layer norm without its convolution has no kernel; alone it says so more clearly.
                    if let Some(conv) = conv
                        && self.join(b, &[(norm, Part::Norm), (conv, Part::Conv)])
                    {
                        (what, hidden_what) = ("dwconv_norm_mlp", "dwconv_norm_grn_stats");
                        if let Some(stem) = self.own_stem(g.operands(conv)[0], conv) {
                            self.join(b, &[(stem, Part::Stem)]);
                        }
                    }
                }
                _ => {}
            }
        }
        self.boxes[b].what = what;
        // Forwards: GRN, compression.
        let mut last = gelu;
        if let Some(r) = self.uses.sole_reader(g.result(last)) {
            if matches!(g.op(r), Op::GrnStats(_)) {
                if self.join(b, &[(r, Part::Grn)]) {
                    self.boxes[b].what = hidden_what;
                }
                return b;
            }
            if matches!(g.op(r), Op::GrnApply(_)) && g.operands(r)[0] == g.result(last) && self.join(b, &[(r, Part::Grn)]) {
                last = r;
            }
        }
        if let Some(r) = self.uses.sole_reader(g.result(last))
            && is_unit_pointwise(g, r)
            && g.operands(r)[0] == g.result(last)
            && self.join(b, &[(r, Part::Compress)])
        {
            self.tail(b, r);
        }
        b
    }

    /// What follows the compression: one residual sum, a pad, one skip sum behind it; or the head.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a box takes the ops of its pattern; any other op gets a box of its own")]
    fn tail(&mut self, b: usize, compress: OpId) {
        let g = self.g;
        let mut last = compress;
        while let Some(r) = self.uses.sole_reader(g.result(last)) {
            let padded = self.boxes[b].has(Part::Pad);
            let joined = match g.op(r) {
                Op::Add(_) if !padded && !self.boxes[b].has(Part::Sum) => self.sum(b, r, g.result(last)),
                Op::Add(_) if padded && !self.boxes[b].has(Part::Skip) => {
                    self.other(r, g.result(last)).is_some() && self.join(b, &[(r, Part::Skip)])
                }
                Op::PadFront(_) if !padded => self.join(b, &[(r, Part::Pad)]),
                Op::ConvPointwise(_) if !padded && self.options.fuse_head && self.is_head(r) && g.operands(r)[0] == g.result(last) => {
                    self.join(b, &[(r, Part::Head)]);
                    false
                }
                _ => false,
            };
            if !joined {
                break;
            }
            last = r;
        }
    }

    /// What a sum adds to a block's own value; none if that is the value once more.
    fn other(&self, add: OpId, own: ValueId) -> Option<ValueId> {
        self.g.other_operand(add, own).filter(|&v| v != own)
    }

    /// Lets the sum with the residual join, with the residual branch if the box can compute it.
    fn sum(&mut self, b: usize, add: OpId, own: ValueId) -> bool {
        let Some(other) = self.other(add, own) else { return false };
        let branch = self.residual(other, add);
        let with_branch: Vec<(OpId, Part)> = branch.into_iter().chain([(add, Part::Sum)]).collect();
        // A residual branch that cannot join is read as a stored tensor.
        with_branch.len() > 1 && self.join(b, &with_branch) || self.join(b, &[(add, Part::Sum)])
    }

    /// The ops of a residual branch that a block's box computes itself, `v` its result; none if it is a stored tensor.
    fn residual(&self, v: ValueId, reader: OpId) -> Vec<(OpId, Part)> {
        let Some(op) = self.sole_def(v, reader) else { return Vec::new() };
        if let Op::AddBias(_) = self.g.op(op) {
            let spread = self.g.operands(op)[0];
            let scatter = self.sole_def(spread, op).filter(|&d| matches!(self.g.op(d), Op::Scatter(_)));
            return scatter.map_or_else(Vec::new, |d| vec![(d, Part::Residual), (op, Part::Bias)]);
        }
        if self.is_residual(op, v) { vec![(op, Part::Residual)] } else { Vec::new() }
    }

    /// Whether the op is a residual branch that a block's box computes itself.
    fn is_residual(&self, op: OpId, result: ValueId) -> bool {
        let (op, stored) = (self.g.op(op), stem(self.g, result).is_some() && !self.options.recompute_stem);
        matches!(op, Op::Scatter(_)) || matches!(op, Op::ConvPointwise(_)) && !stored
    }

    /// Whether a pointwise convolution makes logits: nothing but classification reads it.
    fn is_head(&self, op: OpId) -> bool {
        let logits = self.g.result(op);
        is_unit_pointwise(self.g, op) && self.uses.readers(logits).iter().all(|&r| matches!(self.g.op(r), Op::Softmax(_) | Op::Argmax(_)))
    }

    /// A box for an op that joined none.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "pointwise convolutions have names by what they are for; any other op lends its own"
    )]
    fn single(&mut self, op: OpId) {
        if self.owner[op.index()].is_some() {
            return;
        }
        let g = self.g;
        let result = g.result(op);
        let lone = [(Pattern::Pointwise, Part::Pointwise), (Pattern::Classify, Part::Classify)];
        let (pattern, part) = lone.into_iter().find(|(_, part)| part.takes(g.op(op))).unwrap_or((Pattern::Alone, Part::Alone));
        let what = match g.op(op) {
            Op::ConvPointwise(_) if stem(g, result).is_some() && !self.is_head(op) => "stem",
            Op::ConvPointwise(_) if self.is_head(op) => "head",
            Op::ConvPointwise(_)
                if !hidden(g, g.operands(op)[0])
                    && self.uses.readers(result).iter().all(|&r| matches!(g.op(r), Op::Scatter(_) | Op::Add(_) | Op::AddBias(_))) =>
            {
                "res"
            }
            other => other.info().mnemonic,
        };
        self.open(what, pattern, op, part);
    }
}

fn is_unit_pointwise(g: &Graph, op: OpId) -> bool {
    matches!(g.op(op), Op::ConvPointwise(a) if a.stride == 1)
}

/// Whether a value is the hidden tensor of a block.
pub(super) fn hidden(g: &Graph, v: ValueId) -> bool {
    g.def(v).is_some_and(|d| matches!(g.op(d), Op::Gelu(_) | Op::GrnApply(_)))
}
