//! Names of boxes and program order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use mnx_ir::{Graph, Loc, OpId};

use super::draw::Drawn;
use crate::pass::PassCx;

/// Draws the boxes into the graph: weights first, then box after box, each as early as it stood. Stops at the patch limit.
pub(super) fn place(graph: &mut Graph, cx: &mut PassCx, boxes: &[Drawn]) {
    let mut order: Vec<OpId> = graph.order().to_vec();
    let mut position = vec![usize::MAX; graph.op_count()];
    for (i, id) in order.iter().enumerate() {
        position[id.index()] = i;
    }
    order.retain(|&id| graph.is_weight(graph.result(id)));
    let mut drawn = Vec::new();
    for b in sorted(graph, &position, boxes) {
        let mut ops = boxes[b].ops.clone();
        ops.sort_by_key(|(id, _)| position[id.index()]);
        order.extend(ops.iter().map(|(id, _)| *id));
        drawn.push((b, ops));
    }
    graph.set_order(order);
    let mut names = HashSet::new();
    for (b, ops) in drawn {
        let Drawn { what, pattern, anchor, .. } = &boxes[b];
        if !cx.admit("draw-box", &graph.node(*anchor).loc) {
            return;
        }
        let d = graph.add_dispatch(&name(&graph.node(*anchor).loc, what, &mut names), *pattern);
        ops.into_iter().for_each(|(id, part)| graph.set_dispatch(id, Some((d, part))));
    }
}

/// Topological order of boxes; among those that are ready, the one whose first op stood first.
fn sorted(graph: &Graph, position: &[usize], boxes: &[Drawn]) -> Vec<usize> {
    let mut owner = vec![usize::MAX; graph.op_count()];
    for (b, drawn) in boxes.iter().enumerate() {
        drawn.ops.iter().for_each(|(id, _)| owner[id.index()] = b);
    }
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); boxes.len()];
    let mut waits = vec![0usize; boxes.len()];
    for (b, drawn) in boxes.iter().enumerate() {
        let mut before: Vec<usize> = drawn
            .ops
            .iter()
            .flat_map(|&(id, _)| graph.operands(id))
            .filter_map(|&v| graph.def(v))
            .map(|id| owner[id.index()])
            .filter(|&o| o != usize::MAX && o != b)
            .collect();
        before.sort_unstable();
        before.dedup();
        waits[b] = before.len();
        before.into_iter().for_each(|o| after[o].push(b));
    }
    let first = |b: usize| boxes[b].ops.iter().map(|(id, _)| position[id.index()]).min().unwrap_or(usize::MAX);
    let mut ready: BinaryHeap<Reverse<(usize, usize)>> =
        (0..boxes.len()).filter(|&b| waits[b] == 0).map(|b| Reverse((first(b), b))).collect();
    let mut out = Vec::with_capacity(boxes.len());
    while let Some(Reverse((_, b))) = ready.pop() {
        out.push(b);
        for &next in &after[b] {
            waits[next] -= 1;
            if waits[next] == 0 {
                ready.push(Reverse((first(next), next)));
            }
        }
    }
    assert_eq!(out.len(), boxes.len(), "boxes are drawn without cycles");
    out
}

/// `enc_block_0.0.conv1` and `dwconv_stats` give `enc_block_0.0.dwconv_stats`; without a location the name is what the box does.
fn name(loc: &Loc, what: &str, taken: &mut HashSet<String>) -> String {
    let layer: Option<String> = loc.0.as_deref().map(|l| {
        let block = l.rsplit_once('.').map_or(l, |(block, _)| block);
        block.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '_' }).collect()
    });
    let plain = match layer {
        Some(layer) if layer == what => layer,
        Some(layer) if !layer.is_empty() => format!("{layer}.{what}"),
        _ => what.to_string(),
    };
    let mut name = plain.clone();
    let mut n = 1;
    while !taken.insert(name.clone()) {
        n += 1;
        name = format!("{plain}_{n}");
    }
    name
}
