//! `cse`: common subexpression elimination.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use mnx_ir::builder::Draft;
use mnx_ir::{Graph, OpCode, OpId, Stage, ValueId};

use crate::error::PassError;
use crate::pass::{Changed, Pass, PassCx, Promise};
use crate::uses::Uses;

/// Merges ops of the same code, attributes and operands into the first of them.
///
/// ```text
/// %1 = gelu %x
/// %2 = gelu %x
/// %3 = add %1, %2
///     becomes
/// %1 = gelu %x
/// %3 = add %1, %1
/// ```
///
/// *Requires* stage model, graph or train: boxes clone ops on purpose. *Ensures* no two live ops compute the same thing from the same values.
/// *Declines when:* never.
#[derive(Debug, Clone, Copy)]
pub struct Cse;

impl Pass for Cse {
    fn name(&self) -> &'static str {
        "cse"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Model..=Stage::Train, Promise::Same)
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        // Program order is topological and shunts act at once, so one walk finds chains of equal ops too.
        let uses = Uses::of(graph);
        // Attributes hold floats and cannot be hashed: ops of one code on the same operands are compared one by one.
        let mut seen: HashMap<(OpCode, Vec<ValueId>), Vec<OpId>> = HashMap::new();
        let mut changed = Changed::No;
        for id in graph.order().to_vec() {
            if !uses.is_live(id) {
                continue;
            }
            let op = graph.op(id);
            let alike = seen.entry((op.code(), graph.operands(id).to_vec())).or_default();
            let equal = |&&other: &&OpId| graph.op(other) == op && graph.ty(graph.result(other)) == graph.ty(graph.result(id));
            match alike.iter().find(equal) {
                Some(&earlier) => {
                    let patch = Draft::new("merge-equal", graph, id).replace_root(graph.result(earlier));
                    if !cx.apply(graph, patch) {
                        return Ok(changed);
                    }
                    changed = Changed::Yes;
                }
                None => alike.push(id),
            }
        }
        Ok(changed)
    }
}
