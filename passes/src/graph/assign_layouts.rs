//! `assign-layouts`: how activations lie in memory.

use std::ops::RangeInclusive;

use mnx_ir::{Graph, Layout, Op, Stage, ValueId};

use crate::error::PassError;
use crate::pass::{Changed, Pass, PassCx, Promise};

/// Activations inside the network become channels-last; inputs, outputs, updates and what class kernels read stay channels-first.
///
/// ```text
/// graph @g(%x: f32[1,1,4,4,4]) -> ...
/// %1 = conv.pointwise %x, ... : f32[1,32,4,4,4]
///     becomes
/// %1 = conv.pointwise %x, ... : f32[1,32,4,4,4]:channels_last
/// ```
///
/// *Requires* stage graph, train or dispatch: best after boxes are drawn, so that clones get theirs too.
/// *Ensures* every activation (not weights, statistics, labels of whatever rank) has its layout. *Declines when:* never.
#[derive(Debug, Clone, Copy)]
pub struct AssignLayouts;

impl Pass for AssignLayouts {
    fn name(&self) -> &'static str {
        "assign-layouts"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Graph..=Stage::Dispatch, Promise::Same)
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        let mut first = vec![false; graph.value_count()];
        let mut mark = |v: ValueId| first[v.index()] = true;
        graph.inputs().iter().for_each(|(_, v)| mark(*v));
        graph.outputs().iter().chain(graph.updates()).for_each(|(_, v)| mark(*v));
        for &id in graph.order() {
            if matches!(graph.op(id), Op::Softmax(_) | Op::Argmax(_)) {
                mark(graph.operands(id)[0]);
                mark(graph.result(id));
            }
        }
        let mut changed = Changed::No;
        for id in graph.order().to_vec() {
            let v = graph.result(id);
            if graph.is_weight(v) || !graph.ty(v).is_activation() {
                continue;
            }
            let layout = if first[v.index()] { Layout::ChannelsFirst } else { Layout::ChannelsLast };
            if graph.ty(v).layout != layout {
                if !cx.admit("set-layout", &graph.node(id).loc) {
                    return Ok(changed);
                }
                graph.set_layout(v, layout);
                changed = Changed::Yes;
            }
        }
        Ok(changed)
    }
}
