//! `dce`: dead code elimination.

use std::ops::RangeInclusive;

use mnx_ir::{Graph, OpId, Stage};

use crate::error::PassError;
use crate::pass::{Changed, Pass, PassCx, Promise};
use crate::uses::Uses;

/// Drops every op, param, state and derived weight that no output and no update depends on. What an update changes stays declared.
///
/// ```text
/// %1 = gelu %x
/// %2 = softmax %x
/// return %2
///     becomes
/// %2 = softmax %x
/// return %2
/// ```
///
/// *Requires* any stage. *Ensures* every op reaches an output or an update, or declares what an update changes. *Declines when:* never; inputs stay even if unread.
#[derive(Debug, Clone, Copy)]
pub struct Dce;

impl Pass for Dce {
    fn name(&self) -> &'static str {
        "dce"
    }
    fn stages(&self) -> (RangeInclusive<Stage>, Promise) {
        (Stage::Model..=Stage::Dispatch, Promise::Same)
    }
    fn run(&self, graph: &mut Graph, cx: &mut PassCx) -> Result<Changed, PassError> {
        let uses = Uses::of(graph);
        let live: Vec<OpId> = graph.order().iter().copied().filter(|&id| uses.is_live(id)).collect();
        if live.len() == graph.order().len() || !cx.admit("drop-dead", format!("@{}", graph.name)) {
            return Ok(Changed::No);
        }
        graph.set_order(live);
        Ok(Changed::Yes)
    }
}
