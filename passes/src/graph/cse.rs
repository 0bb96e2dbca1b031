//! `cse`: common subexpression elimination.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use mnx_ir::{Graph, Op, Patch, Stage, ValueId};

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
        let mut first: HashMap<(String, Vec<ValueId>), ValueId> = HashMap::new();
        let mut changed = Changed::No;
        for id in graph.order().to_vec() {
            if !uses.is_live(id) {
                continue;
            }
            let op = graph.op(id);
            let key = (spelled(op), graph.operands(id).to_vec());
            let result = graph.result(id);
            match first.get(&key) {
                Some(&earlier) if graph.ty(earlier) == graph.ty(result) => {
                    let mut patch = Patch::new("merge-equal", graph, id);
                    patch.shunt(result, earlier);
                    if !cx.apply(graph, patch) {
                        return Ok(changed);
                    }
                    changed = Changed::Yes;
                }
                Some(_) => {}
                None => {
                    first.insert(key, result);
                }
            }
        }
        Ok(changed)
    }
}

/// Mnemonic and attributes; equal for ops that compute the same of the same operands.
fn spelled(op: &Op) -> String {
    let fields = op.attr_fields();
    fields.iter().fold(op.info().mnemonic.to_string(), |text, (name, value)| format!("{text} {name}={value}"))
}
