//! `form-dispatches`: draws a box around the ops of each kernel launch sequence.

mod clone;
mod draw;
mod place;

use std::ops::RangeInclusive;

use mnx_ir::{Graph, Stage};

use crate::error::PassError;
use crate::graph::dce::Dce;
use crate::options::{OptionInfo, Options};
use crate::pass::{Changed, Pass, PassCx, Promise};
use crate::rewrite::{Rewrite, rewrite};

/// Puts every core op into a box such that the large tensors inside a block stay inside a box.
///
/// ```text
/// conv.depthwise, norm.stats                                      -> @<block>.dwconv_stats
/// norm.apply, conv.pointwise, gelu, conv.pointwise, add, ...      -> @<block>.norm_mlp         (skip sum, pad, head included)
/// conv.depthwise, norm.layer, conv.pointwise, gelu, ...           -> @<block>.dwconv_norm_mlp  (layer norm: one box)
/// norm.apply, conv.pointwise, gelu, grn.stats                     -> @<block>.norm_grn_stats   (GRN: the hidden tensor is computed twice)
/// conv.pointwise                                                  -> @stem, @up_0.res, @out_1.head
/// softmax; argmax                                                 -> @softmax; @argmax
/// ```
///
/// Ops are cloned where a tensor is cheaper made twice than stored: the stem, if depthwise convolutions and the identity residual
/// of the first block alone read it (its bias then joins the block's), and everything from the norm to the GELU in front of GRN.
///
/// *Requires* stage graph (dead ops are dropped first). *Ensures* stage dispatch: every core op in exactly one box, boxes contiguous in program order,
/// no cycle between boxes, weights before all boxes.
/// *Declines when:* never; an op that joins nothing gets a box of its own, which the plan may refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormDispatches {
    /// Recompute the stem inside its readers.
    pub recompute_stem: bool,
    /// Fuse the last head into the last block.
    pub fuse_head: bool,
    /// Most ops in a box; with a limit nothing is cloned.
    pub max_ops: Option<usize>,
}

impl Default for FormDispatches {
    fn default() -> Self {
        Self { recompute_stem: true, fuse_head: true, max_ops: None }
    }
}

impl FormDispatches {
    /// What it can be told.
    pub const OPTIONS: &'static [OptionInfo] = &[
        OptionInfo { name: "recompute-stem", default: "true", about: "recompute the stem inside its readers instead of storing it" },
        OptionInfo { name: "fuse-head", default: "true", about: "compute the last head inside the last block's box" },
        OptionInfo { name: "max-ops", default: "no limit", about: "most ops in a box; with a limit nothing is cloned" },
    ];

    /// From options.
    ///
    /// # Errors
    /// If a value does not parse.
    pub fn from_options(o: &Options) -> Result<Self, PassError> {
        let d = Self::default();
        Ok(Self {
            recompute_stem: o.flag("recompute-stem", d.recompute_stem)?,
            fuse_head: o.flag("fuse-head", d.fuse_head)?,
            max_ops: o.count("max-ops")?,
        })
    }

    /// The options that are not default, as pipelines write them.
    pub fn given(&self) -> Vec<(String, String)> {
        let d = Self::default();
        let flag = |name: &str, v: bool, default: bool| (v != default).then(|| (name.to_string(), v.to_string()));
        [
            flag("recompute-stem", self.recompute_stem, d.recompute_stem),
            flag("fuse-head", self.fuse_head, d.fuse_head),
            self.max_ops.map(|n| ("max-ops".to_string(), n.max(1).to_string())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Pass for FormDispatches {
    fn name(&self) -> &'static str {
        "form-dispatches"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Graph..=Stage::Graph, Promise::Exactly(Stage::Dispatch))
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        Dce.run(graph, cx)?;
        if self.max_ops.is_none() {
            let mut rules: Vec<&dyn Rewrite> = vec![&clone::CloneHidden];
            if self.recompute_stem {
                rules.extend([&clone::RecomputeStem as &dyn Rewrite, &clone::StemBias]);
            }
            rewrite(graph, cx, &rules)?;
            Dce.run(graph, cx)?;
        }
        if cx.stopped() {
            return Ok(Changed::Yes);
        }
        let boxes = draw::draw(self, graph);
        place::place(graph, cx, &boxes);
        Ok(Changed::Yes)
    }
}
